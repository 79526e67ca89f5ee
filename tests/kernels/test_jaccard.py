"""Exact similarities and the cover, against plain Python that compares everything with everything."""

from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.kernels.jaccard import KEPT, at_least, cover, pair_similarities

MEMBERS = st.integers(0, 12) | st.sampled_from([2**63, 2**64 - 2])
SEEDS = st.integers(0, 2**32)  # draws of an st.randoms() are recorded one by one, which takes seconds for thousands
SETS = st.sets(MEMBERS, max_size=12)
THRESHOLDS = st.sampled_from([0.0, 0.1, 0.3, 1 / 3, 0.5, 0.6, 2 / 3, 0.7, 0.75, 0.8, 0.9, 0.99, 1.0]) | st.floats(0, 1)


def similarity(left, right):
    return len(left & right) / len(left | right) if left | right else 0.0


def csr(collections):
    offsets = np.cumsum([0, *map(len, collections)])
    return np.array([each for members in collections for each in sorted(members)], np.uint64), offsets


@given(SETS, SETS, THRESHOLDS)
def test_a_similarity_is_exact_or_below_the_threshold(left, right, threshold):
    exact = similarity(left, right)
    sets, offsets = csr([left, right])
    found = at_least(sets[: offsets[1]], sets[offsets[1] :], threshold)
    assert found == (exact if exact >= threshold else -1)
    assert pair_similarities(sets, offsets, [0, 1], [1, 0], threshold).tolist() == [found, found]


def edited(members, random, edits):
    """A sequence with some runs replaced, left out, put in, or moved, each member once."""
    members, fresh = list(members), 10**6
    for _ in range(edits):
        place, size = random.randrange(len(members) + 1), random.choice([1, 4, 30, 700])
        kind = random.choice(["replace", "drop", "insert", "move"])
        run = members[place : place + size] if kind != "insert" else []
        members[place : place + len(run)] = range(fresh, fresh + size) if kind in ("replace", "insert") else []
        fresh += size
        if kind == "move":
            target = random.randrange(len(members) + 1)
            members[target:target] = run
    return members


@given(SEEDS.map(Random), st.integers(0, 3000), st.integers(0, 12), THRESHOLDS)
def test_what_was_replaced_left_out_put_in_or_moved_is_counted_exactly(random, size, edits, threshold):
    left = random.sample(range(2**40), size)
    right = edited(left, random, edits)
    exact = similarity(set(left), set(right))
    expected = exact if exact >= threshold else -1
    sides = [np.array(side, np.uint64) for side in (left, right)]
    assert at_least(*sides, threshold) == at_least(*sides[::-1], threshold) == expected
    random.shuffle(right)
    assert at_least(sides[0], np.array(right, np.uint64), threshold) == expected


def test_every_size_of_the_intersection_is_judged_as_python_judges_it():
    for threshold in (0.7, 0.8, 0.9, 1 / 3):
        for size in (1, 9, 10, 100, 117):
            left = np.arange(size, dtype=np.uint64)
            for shift in range(0, size, max(size // 50, 1)):
                right = left + np.uint64(shift)
                exact = (size - shift) / (size + shift)
                assert at_least(left, right, threshold) == (exact if exact >= threshold else -1)


def test_a_similarity_at_the_threshold_is_enough():
    left, right = np.arange(9, dtype=np.uint64), np.arange(1, 10, dtype=np.uint64)
    assert at_least(left, right, 0.8) == 0.8 == float(Fraction(8, 10))
    assert at_least(left, right, np.nextafter(0.8, 1)) == -1


def test_empty_sets_are_similar_to_nothing():
    for other in ([], [1]):
        assert at_least([], other, 0.01) == at_least(other, [], 0.01) == -1
        assert at_least([], other, 0.0) == 0


def plain_cover(order, sets, keys, threshold, num_protected=0):
    """Every kept document that shares a key, most shared keys first, then in keeper order."""
    kept, keepers, similarities = [], [KEPT] * len(sets), [None] * len(sets)
    for rank, document in enumerate(order):
        candidates = [each for each in kept if keys[each] & keys[document] and sets[each] and sets[document]]
        candidates.sort(key=lambda each: -len(keys[each] & keys[document]))
        for other in candidates if rank >= num_protected else []:
            if similarity(sets[document], sets[other]) >= threshold:
                keepers[document], similarities[document] = other, similarity(sets[document], sets[other])
                break
        else:
            kept.append(document)
    return keepers, similarities


def run_cover(order, sets, keys, threshold, **options):
    return cover(np.array(order, np.int64), *csr(sets), *csr(keys), threshold, **options)


COLLECTIONS = st.lists(st.tuples(SETS, st.sets(st.integers(0, 6), max_size=4)), max_size=14)


@given(COLLECTIONS, THRESHOLDS, st.randoms(), st.integers(0, 3))
def test_the_cover_is_that_of_comparing_everything(documents, threshold, random, num_protected):
    sets, keys = [each[0] for each in documents], [each[1] for each in documents]
    order = random.sample(range(len(documents)), len(documents))
    num_protected = min(num_protected, len(documents))
    found = run_cover(order, sets, keys, threshold, num_protected=num_protected)
    keepers, similarities = plain_cover(order, sets, keys, threshold, num_protected)
    assert found.keepers.tolist() == keepers
    assert [None if np.isnan(each) else each for each in found.similarities.tolist()] == similarities
    assert not found.bounded.any()


@given(COLLECTIONS, THRESHOLDS)
def test_what_goes_has_a_similar_keeper_and_no_similar_pair_stays(documents, threshold):
    sets, keys = [each[0] for each in documents], [each[1] for each in documents]
    keepers = run_cover(range(len(sets)), sets, keys, threshold).keepers.tolist()
    for document, keeper in enumerate(keepers):
        if keeper != KEPT:
            assert keepers[keeper] == KEPT
            assert keeper < document
            assert keys[keeper] & keys[document]
            assert similarity(sets[keeper], sets[document]) >= threshold
        elif sets[document]:
            others = [
                each for each in range(document) if keepers[each] == KEPT and keys[each] & keys[document] and sets[each]
            ]
            assert all(similarity(sets[each], sets[document]) < threshold for each in others)


@given(COLLECTIONS, COLLECTIONS, THRESHOLDS)
def test_components_may_be_decided_together_or_apart(some, others, threshold):
    def decide(documents, shift=0):
        keys = [{key + shift for key in each[1]} for each in documents]
        found = run_cover(range(len(documents)), [each[0] for each in documents], keys, threshold)
        return found.keepers.tolist()

    together = run_cover(
        range(len(some) + len(others)),
        [each[0] for each in some + others],
        [each[1] for each in some] + [{key + 100 for key in each[1]} for each in others],
        threshold,
    ).keepers.tolist()
    moved = [each if each == KEPT else each + len(some) for each in decide(others, 100)]
    assert together == decide(some) + moved


def test_a_chain_loses_every_second_document_and_not_all_but_one():
    sets = [set(range(start, start + 9)) for start in range(5)]
    found = run_cover(range(5), sets, [{1}] * 5, 0.8)
    assert found.keepers.tolist() == [KEPT, 0, KEPT, 2, KEPT]
    assert found.similarities[1] == 0.8


def test_the_order_decides_who_is_kept():
    sets = [set(range(start, start + 9)) for start in range(3)]
    assert run_cover([1, 0, 2], sets, [{1}] * 3, 0.8).keepers.tolist() == [1, KEPT, 1]


def test_many_near_equal_documents_need_one_comparison_each():
    sets = [set(range(200)) - {document % 10} for document in range(5000)]
    found = run_cover(range(5000), sets, [{1, 2, 3}] * 5000, 0.8)
    assert (found.keepers[1:] == 0).all()
    assert found.comparisons == 4999


def test_a_template_with_many_bodies_is_bounded_and_says_so():
    count = 300
    sets = [set(range(10)) | set(range(1000 * document, 1000 * document + 10)) for document in range(1, count + 1)]
    found = run_cover(range(count), sets, [{7}] * count, 0.8, max_comparisons=5)
    assert (found.keepers == KEPT).all()
    assert found.comparisons <= 5 * count
    assert not found.bounded[:6].any()
    assert found.bounded[6:].all()


def test_the_bound_spends_its_comparisons_on_those_that_share_most():
    template = [set(range(100 * document, 100 * document + 10)) for document in range(1, 50)]
    sets = [*template, {1, 2, 3}, {1, 2, 3}]
    keys = [{7}] * 49 + [{7, 8, 9}] * 2
    found = run_cover(range(51), sets, keys, 0.8, max_comparisons=1)
    assert found.keepers[50] == 49


def test_protected_documents_stay_and_others_lose_to_them():
    found = run_cover(range(3), [{1, 2}] * 3, [{5}] * 3, 0.8, num_protected=2)
    assert found.keepers.tolist() == [KEPT, KEPT, 0]


def test_equal_documents_without_a_common_key_are_no_candidates():
    assert run_cover(range(2), [{1, 2}] * 2, [{5}, {6}], 0.8).keepers.tolist() == [KEPT, KEPT]


def test_empty_documents_are_kept_and_match_nothing():
    assert run_cover(range(3), [set(), set(), {1}], [{5}] * 3, 0.0).keepers.tolist() == [KEPT] * 3


@pytest.mark.parametrize(
    ("order", "options", "complaint"),
    [
        ([0, 0], {}, "order"),
        ([0, 2], {}, "order"),
        ([-1, 0], {}, "order"),
        ([0], {}, "must be as many"),
        ([0, 1], {"max_comparisons": 0}, "max_comparisons"),
        ([0, 1], {"num_protected": 3}, "num_protected"),
    ],
)
def test_what_does_not_belong_together_is_refused(order, options, complaint):
    with pytest.raises(ValueError, match=complaint):
        run_cover(order, [{1}, {2}], [{1}, {1}], 0.8, **options)


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_thresholds_that_are_no_similarity_are_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        at_least([1], [1], threshold)


def test_sets_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="sets reach"):
        pair_similarities([1], [0, 1], [0], [1])
    with pytest.raises(ValueError, match="offsets"):
        pair_similarities([1], [0, 2], [0], [0])
