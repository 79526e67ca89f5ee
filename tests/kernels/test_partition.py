"""Dealing rows into buckets, against plain Python and numpy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from curator.kernels.partition import MOST_BUCKETS, bucket_of, mix_words, move_rows, places_by_bucket

WORDS = hnp.arrays(np.uint64, st.integers(0, 50), elements=st.integers(0, 2**64 - 1))
MASK = 2**64 - 1


def mixed_in_python(word, seed=None):
    word = (word + 0x9E3779B97F4A7C15) & MASK
    if seed is not None:
        word ^= seed * 0x9E3779B97F4A7C15 & MASK
    for multiplier in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        word = (word ^ word >> 33) * multiplier & MASK
    return word ^ word >> 33


@settings(deadline=None)
@given(WORDS)
def test_words_are_mixed_as_the_definition_says(words):
    assert mix_words(words).tolist() == [mixed_in_python(word) for word in words.tolist()]
    seeds = words[::-1].copy()
    expected = [mixed_in_python(*pair) for pair in zip(words.tolist(), seeds.tolist(), strict=True)]
    assert mix_words(words, seeds).tolist() == expected


@settings(deadline=None)
@given(WORDS, st.integers(1, MOST_BUCKETS))
def test_a_bucket_is_a_range_of_the_words(words, num_buckets):
    assert bucket_of(words, num_buckets).tolist() == [word * num_buckets >> 64 for word in words.tolist()]


def test_consecutive_keys_are_spread_evenly():
    counts = np.bincount(bucket_of(mix_words(np.arange(100_000, dtype=np.uint64)), 100), minlength=100)
    assert 850 < counts.min() <= counts.max() < 1150


@settings(deadline=None)
@given(st.lists(st.integers(0, 6), max_size=60), st.integers(0, 60))
def test_rows_lie_by_bucket_and_keep_their_sequence(buckets, part):
    places, bounds = places_by_bucket(np.array(buckets, np.uint16), 7)
    order = np.argsort(np.array(buckets, np.uint16), kind="stable")
    rows = np.arange(len(buckets), dtype=np.uint64)
    moved = np.empty(len(rows), np.uint64)
    for some in (slice(0, part), slice(part, None)):
        move_rows(rows[some], places[some], moved)
    assert moved.tolist() == order.tolist()
    assert np.diff(bounds).tolist() == np.bincount(buckets, minlength=7).tolist()


@pytest.mark.parametrize("kind", ["u1", "i2", "f4", "i8", "u8", "f8", "M8[us]"])
def test_values_of_any_width_are_moved_bit_by_bit(kind):
    values = np.random.default_rng(5).integers(0, 256, 8 * 100, np.uint8).view(kind)[:100]
    buckets = np.arange(100, dtype=np.uint16)[::-1].copy()
    places, _ = places_by_bucket(buckets, 100)
    moved = np.empty_like(values)
    move_rows(values, places, moved)
    assert moved.tobytes() == values[::-1].tobytes()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="num_buckets=65537: must be 1 to 65536"):
        bucket_of(np.zeros(1, np.uint64), MOST_BUCKETS + 1)
    with pytest.raises(ValueError, match="bucket 5 is not below num_buckets=5"):
        places_by_bucket(np.array([5], np.uint16), 5)
    places, moved = np.zeros(1, np.uint32), np.zeros(1, np.uint64)
    for values, output in [
        (np.zeros(2, np.uint64), moved),
        (np.zeros(1, np.uint32), moved),
        (moved, np.zeros(4, np.uint64)[::2]),
    ]:
        with pytest.raises(ValueError, match="must be as many, of one type"):
            move_rows(values, places, output)
    with pytest.raises(ValueError, match="place 1 is not below 1"):
        move_rows(moved, places + np.uint32(1), moved)
    with pytest.raises(ValueError, match="lengths 2 and 1"):
        mix_words(np.zeros(2, np.uint64), np.zeros(1, np.uint64))
