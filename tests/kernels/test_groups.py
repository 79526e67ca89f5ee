"""The keeper of equal keys, against plain Python."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.kernels.groups import first_of_equal

WORDS = st.integers(0, 2**64 - 1)
KEYS = st.tuples(st.sampled_from([0, 1, 2**63, 2**64 - 1]) | WORDS, st.sampled_from([0, 1, 2**64 - 1]))
ORDERS = st.sampled_from([0.0, -0.0, 1.5, math.inf, -math.inf, math.nan])
ROWS = st.lists(st.tuples(KEYS, ORDERS, WORDS), unique_by=lambda row: row[2])


def keepers(rows):
    return first_of_equal(
        np.array([key[0] for key, _, _ in rows], np.uint64),
        np.array([key[1] for key, _, _ in rows], np.uint64),
        np.array([order for _, order, _ in rows], np.float64),
        np.array([document for _, _, document in rows], np.uint64),
    ).tolist()


def rank(row):
    return (math.inf if math.isnan(row[1]) else -row[1], row[2])


@given(ROWS)
def test_the_keeper_is_the_best_row_of_its_key(rows):
    expected = [
        min((other for other in range(len(rows)) if rows[other][0] == row[0]), key=lambda other: rank(rows[other]))
        for row in rows
    ]
    assert keepers(rows) == expected


@given(ROWS, st.randoms())
def test_the_sequence_of_the_rows_does_not_matter(rows, random):
    shuffled = random.sample(rows, len(rows))
    assert {rows[keeper] for keeper in keepers(rows) if rows[keeper][1] == rows[keeper][1]} == {
        shuffled[keeper] for keeper in keepers(shuffled) if shuffled[keeper][1] == shuffled[keeper][1]
    }


def test_many_identical_keys_have_one_keeper():
    count = 5000
    ones = np.ones(count, np.uint64)
    documents = np.arange(count, dtype=np.uint64)[::-1].copy()
    assert set(first_of_equal(ones, ones, np.zeros(count), documents).tolist()) == {count - 1}


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("step", [1, 2**32, 2**40])
def test_keys_that_differ_in_one_word_only_are_told_apart_quickly(swapped, step):
    count = 200_000
    same, different = np.full(count, 42, np.uint64), np.arange(count, dtype=np.uint64) * np.uint64(step)
    words = (different, same) if swapped else (same, different)
    unique = np.arange(count)
    assert (first_of_equal(*words, np.zeros(count), unique.astype(np.uint64)) == unique).all()


def test_arrays_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="lengths"):
        first_of_equal(np.zeros(2, np.uint64), np.zeros(1, np.uint64), np.zeros(2), np.zeros(2, np.uint64))
