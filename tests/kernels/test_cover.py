"""Who is kept, against plain Python that compares everything with everything."""

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.kernels.cover import KEPT, cover, cover_texts
from curator.kernels.shingle_sets import shingle_sets
from curator.kernels.shingles import Shingling
from tests.kernels.test_jaccard import SEEDS, SETS, THRESHOLDS, csr, similarity
from tests.kernels.texts import SHINGLINGS, TEXTS, laid_out


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


@given(TEXTS, SHINGLINGS, THRESHOLDS, SEEDS.map(Random), st.integers(0, 2))
def test_texts_are_decided_as_their_sets_of_shingles(texts, shingling, threshold, random, num_protected):
    data, offsets = laid_out(texts)
    sets, begins = shingle_sets(data, offsets, shingling)
    keys = [set(random.choices(range(6), k=random.randint(0, 3))) for _ in texts]
    order, num_protected = random.sample(range(len(texts)), len(texts)), min(num_protected, len(texts))
    shared = (*csr(keys), threshold)
    for max_comparisons in (1, 256):
        options = {"max_comparisons": max_comparisons, "num_protected": num_protected}
        expected = cover(order, sets, begins, *shared, **options)
        found = cover_texts(order, data, offsets, *shared, shingling=shingling, **options)
        if (np.diff(begins) > 0).all():  # those without shingles have no keys
            for left, right in zip(expected, found, strict=True):
                np.testing.assert_array_equal(left, right)
        else:
            # They take up a comparison, and match nothing.
            assert (found.keepers[np.diff(begins) == 0] == KEPT).all()
            assert not np.isin(np.flatnonzero(np.diff(begins) == 0), found.keepers).any()


def test_more_sets_than_are_remembered_are_made_again():
    # 40 texts that share a key, of which each has 250,000 shingles: more than the 8 million words that are remembered.
    chance = np.random.default_rng(1)
    texts = ["".join(map(chr, chance.integers(0x61, 0x7B, 250_000))) for _ in range(40)]
    texts += [texts[row][:-9] + "!" for row in (0, 7, 39)]
    count, shingling = len(texts), Shingling(unit="char", size=24)
    found = cover_texts(
        np.arange(count), *laid_out(texts), np.zeros(count, np.uint64), np.arange(count + 1), 0.8, shingling=shingling
    )
    assert found.keepers.tolist() == [KEPT] * 40 + [0, 7, 39]
    assert found.comparisons == sum(range(40)) + 1 + 8 + 40
    left = {texts[0][place : place + 24] for place in range(len(texts[0]) - 23)}
    right = {texts[40][place : place + 24] for place in range(len(texts[40]) - 23)}
    assert found.similarities[40] == similarity(left, right)


def test_equal_texts_without_shingles_are_similar_to_nothing():
    data, offsets = laid_out(["  ", "  ", "", "a", "a"])
    found = cover_texts(range(5), data, offsets, [1] * 5, range(6), 0.5)
    assert found.keepers.tolist() == [KEPT, KEPT, KEPT, KEPT, 3]
