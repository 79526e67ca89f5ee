"""The table of kept keys against plain Python."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.kernels.kept_keys import NOT_COMPARED, KeptKeys
from curator.kernels.key_slots import place_of
from curator.kernels.shared_keys import SharedKeys

# Few enough to meet, at both ends of the table.
KEYS = st.sampled_from([1, 2, 3, 4, 2**32 - 1, 2**32, 2**63, 2**64 - 2, 2**64 - 1])
CUTS = st.lists(st.integers(1, 9), min_size=1, max_size=4)


def chunks(rows, sizes):
    begin = 0
    while begin < len(rows):
        size = sizes[begin % len(sizes)]
        yield rows[begin : begin + size]
        begin += size


def plain_decisions(rows, num_found):
    """Number of the keeper of each document: of the kept ones that share keys, the one that shares most, the first."""
    owners, keepers = {}, []
    for words, is_compared in rows:
        found = Counter(owners[word] for word in words if word in owners)
        if not is_compared:
            keepers.append(NOT_COMPARED)
        elif found:
            keepers.append(min(found, key=lambda number: (-found[number], number)))
        else:
            keepers.append(num_found)
            owners |= dict.fromkeys(words, num_found)
            num_found += 1
    return keepers


@settings(deadline=None)
@given(st.lists(st.tuples(st.tuples(KEYS, KEYS, KEYS), st.booleans()), max_size=60), CUTS, st.integers(0, 10**6))
def test_a_document_loses_to_the_kept_one_that_shares_most_keys_with_it(rows, sizes, expected):
    table, keepers, kept = KeptKeys(), [], []
    table.expected_keys = expected
    for part in chunks(rows, sizes):
        words = np.array([words for words, _ in part], np.uint64)
        decided = table.decide_words(words, np.array([is_compared for _, is_compared in part]))
        keepers += decided.keepers.tolist()
        kept += decided.kept.tolist()
    assert keepers == plain_decisions(rows, 0)
    assert [number for number, stays in zip(keepers, kept, strict=True) if stays] == list(range(table.num_kept))
    of_kept = [words for (words, _), stays in zip(rows, kept, strict=True) if stays]
    assert table.num_keys == len({word for words in of_kept for word in words})


@settings(deadline=None)
@given(st.lists(st.tuples(KEYS, KEYS, st.booleans()), max_size=60), CUTS)
def test_pairs_are_equal_only_as_a_whole(rows, sizes):
    table, keepers = KeptKeys(), []
    for part in chunks(rows, sizes):
        high, low = np.array([pair[:2] for pair in part], np.uint64).T
        keepers += table.decide_pairs(high, low, np.array([pair[2] for pair in part])).keepers.tolist()
    assert keepers == plain_decisions([([(high, low)], is_compared) for high, low, is_compared in rows], 0)


@pytest.mark.parametrize("expected", [0, 150_000, 10**9])
def test_a_table_that_has_grown_many_times_knows_all_keys(expected):
    random = np.random.default_rng(7)
    words = random.integers(0, 2**64, (30_000, 5), np.uint64)
    words[::1000, 0] = 2**64 - 1  # the end of the table, over and over
    table, keepers = KeptKeys(), []
    table.expected_keys = expected
    for begin in range(0, len(words), 700):
        part = words[begin : begin + 700]
        keepers += table.decide_words(part, np.ones(len(part), np.bool_)).keepers.tolist()
    assert keepers == plain_decisions([(row, True) for row in words.tolist()], 0)
    again = table.decide_words(words, np.ones(len(words), np.bool_))
    assert again.keepers.tolist() == keepers
    assert not again.kept.any()


def test_many_pairs_grow_as_well():
    high, low = np.random.default_rng(7).integers(0, 2**64, (2, 30_000), np.uint64)
    table, ones = KeptKeys(), np.ones(30_000, np.bool_)
    assert table.decide_pairs(high, low, ones).keepers.tolist() == list(range(30_000))
    assert table.decide_pairs(high, low, ones).keepers.tolist() == list(range(30_000))
    assert table.decide_pairs(high, low[::-1], ones).keepers.tolist() == list(range(30_000, 60_000))


def test_a_key_of_many_takes_few_bytes():
    words = np.random.default_rng(7).integers(0, 2**64, (50_000, 14), np.uint64)
    table = KeptKeys()
    for begin in range(0, len(words), 1_000):
        table.decide_words(words[begin : begin + 1_000], np.ones(1_000, np.bool_))
    assert table.num_bytes / table.num_kept < 250


def test_the_key_of_a_free_slot_counts_as_one():
    words, ones = np.array([[0, 5], [1, 6], [0, 7]], np.uint64), np.ones(3, np.bool_)
    assert KeptKeys().decide_words(words, ones).keepers.tolist() == [0, 0, 0]
    pairs = np.array([[0, 0], [1, 0], [0, 0]], np.uint64)
    assert KeptKeys().decide_pairs(*pairs.T, ones).keepers.tolist() == [0, 0, 0]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.tuples(KEYS, KEYS), st.booleans(), st.booleans()), max_size=60), CUTS, st.integers(0, 10**5)
)
def test_all_kept_documents_that_share_a_key_are_found(rows, sizes, expected):
    table, known, first = SharedKeys(), [], 0
    table.expected_keys = expected
    for part in chunks(rows, sizes):
        words = np.array([words for words, _, _ in part], np.uint64)
        found = table.find(words, np.array([is_compared for _, is_compared, _ in part]))
        wanted = [
            (row, number, word)
            for row, (own, is_compared, _) in enumerate(part)
            for word in own
            for number, theirs in known
            for their in theirs
            if is_compared and word == their
        ]
        assert sorted(zip(*(column.tolist() for column in found[:3]), strict=True)) == sorted(wanted)
        assert (np.diff(found.rows) >= 0).all()
        stay = [place for place, (_, _, stays) in enumerate(part) if stays]
        numbers = np.arange(first, first + len(stay))
        table.add(words[stay], numbers)
        known += [(int(number), part[place][0]) for number, place in zip(numbers, stay, strict=True)]
        first += len(stay)
    assert table.num_keys == 2 * first


def test_keys_that_begin_alike_do_not_end_up_side_by_side():
    words = (np.uint64(0xDEADBEEF) << np.uint64(32)) + np.arange(20_000, dtype=np.uint64).reshape(-1, 1)
    table = KeptKeys()
    assert table.decide_words(words, np.ones(len(words), np.bool_)).kept.all()
    keys, documents, _ = table.slots
    used = np.flatnonzero(keys)
    homes = np.array([place_of(table.slots, key) for key in keys[used]])
    assert np.array_equal(np.sort(words[documents[used], 0]), words[:, 0])
    assert ((used - homes) % len(keys)).mean() < 100
