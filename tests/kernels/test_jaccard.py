"""Exact similarities, against plain Python."""

from fractions import Fraction
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.kernels.jaccard import at_least, pair_similarities, text_similarities
from curator.kernels.shingle_sets import shingle_sets
from tests.kernels.texts import SHINGLINGS, TEXTS, laid_out

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


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_thresholds_that_are_no_similarity_are_refused(threshold):
    with pytest.raises(ValueError, match="threshold"):
        at_least([1], [1], threshold)


def test_sets_that_do_not_exist_are_refused():
    with pytest.raises(ValueError, match="sets reach"):
        pair_similarities([1], [0, 1], [0], [1])
    with pytest.raises(ValueError, match="offsets"):
        pair_similarities([1], [0, 2], [0], [0])


@given(TEXTS, SHINGLINGS, THRESHOLDS, SEEDS.map(Random))
def test_texts_are_as_similar_as_their_sets_of_shingles(texts, shingling, threshold, random):
    data, offsets = laid_out(texts)
    left, right = (random.choices(range(len(texts)), k=9) for _ in range(2))
    expected = pair_similarities(*shingle_sets(data, offsets, shingling), left, right, threshold)
    assert text_similarities(data, offsets, left, right, threshold, shingling=shingling).tolist() == expected.tolist()
