"""Connected buckets and grouped words against plain Python."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.kernels.buckets import connect_buckets, group_words, shared_rows
from curator.kernels.numbering import number_words
from curator.kernels.union_find import components

KEYS = st.integers(0, 4) | st.sampled_from([2**63, 2**64 - 1])
DOCUMENTS = st.integers(0, 9) | st.sampled_from([2**63, 2**64 - 1])
ROWS = st.lists(st.tuples(KEYS, DOCUMENTS), max_size=40)


def found(rows):
    ordered = sorted(rows, key=lambda row: row[0])
    keys, documents = (np.array([row[side] for row in ordered], np.uint64) for side in (0, 1))
    return connect_buckets(keys, documents), ordered


def roots_of(connected):
    return dict(zip(connected.documents.tolist(), connected.roots.tolist(), strict=True))


def plain_roots(rows):
    groups = [{document} for _, document in rows]
    for key in {key for key, _ in rows}:
        members = {document for other, document in rows if other == key}
        touched = [group for group in groups if group & members]
        groups = [group for group in groups if not group & members] + [set.union(*touched)]
    return {document: min(group) for group in groups for document in group}


@given(ROWS)
def test_documents_of_a_bucket_are_connected(rows):
    connected, ordered = found(rows)
    assert roots_of(connected) == plain_roots(rows)
    assert connected.documents[connected.places].tolist() == [document for _, document in ordered]
    members = [{document for other, document in rows if other == key} for key in {key for key, _ in rows}]
    assert connected.num_buckets == sum(len(each) > 1 for each in members)
    keys = [key for key, _ in rows]
    assert connected.largest == max(map(keys.count, keys), default=0)


@given(ROWS, st.randoms())
def test_the_sequence_of_the_rows_does_not_matter(rows, random):
    assert roots_of(found(rows)[0]) == roots_of(found(random.sample(rows, len(rows)))[0])


@given(ROWS, st.integers(1, 4))
def test_partitions_by_key_give_the_same_components(rows, num_partitions):
    parts = [found([row for row in rows if row[0] % num_partitions == part])[0] for part in range(num_partitions)]
    joined = components(*(np.concatenate([getattr(part, side) for part in parts]) for side in ("documents", "roots")))
    assert dict(zip(joined.documents.tolist(), joined.roots.tolist(), strict=True)) == plain_roots(rows)


def test_one_bucket_of_a_million_documents_is_one_component():
    documents = np.arange(1_000_000, dtype=np.uint64)[::-1]
    connected = connect_buckets(np.zeros(1_000_000, np.uint64), documents)
    assert (len(connected.documents), connected.roots.max()) == (1_000_000, 0)
    assert (connected.num_buckets, connected.largest) == (1, 1_000_000)


def test_no_rows_give_no_components():
    assert [len(part) for part in found([])[0][:3]] == [0, 0, 0]
    assert found([])[0][3:] == (0, 0)


@given(st.lists(DOCUMENTS, max_size=40))
def test_words_are_numbered_as_numpy_does(words):
    expected = np.unique(np.array(words, np.uint64), return_inverse=True)
    for part, wanted in zip(number_words(np.array(words, np.uint64)), expected, strict=True):
        assert part.tolist() == wanted.tolist()


@given(st.lists(st.tuples(KEYS, st.integers(0, 6)), max_size=40))
def test_words_are_grouped_by_place_and_sorted_inside(rows):
    words, bounds = group_words(
        np.array([word for word, _ in rows], np.uint64), np.array([place for _, place in rows], np.int64), 7
    )
    groups = [words[bounds[place] : bounds[place + 1]].tolist() for place in range(7)]
    assert groups == [sorted(word for word, other in rows if other == place) for place in range(7)]


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="must be as many"):
        connect_buckets([1, 2], [1])
    with pytest.raises(ValueError, match="must be as many"):
        group_words([1, 2], [1], 2)


def test_a_place_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="places reach from 0 to 2, but there are 2"):
        group_words([1, 2], [0, 2], 2)


@given(st.lists(KEYS | st.integers(0, 2**64 - 1), max_size=60))
def test_shared_rows_are_those_whose_key_comes_twice_side_by_side(keys):
    rows = shared_rows(np.array(keys, np.uint64)).tolist()
    assert sorted(rows) == [row for row, key in enumerate(keys) if keys.count(key) > 1]
    begins = [place for place, row in enumerate(rows) if place == 0 or keys[rows[place - 1]] != keys[row]]
    assert len(begins) == len({keys[row] for row in rows})
    assert all(one < other or keys[one] != keys[other] for one, other in itertools.pairwise(rows))


def test_shared_rows_of_many_ranges_of_keys():
    random = np.random.default_rng(4)
    keys = random.integers(0, 2**64, 50_000, np.uint64)
    keys[random.integers(0, 50_000, 9_000)] = keys[random.integers(0, 50_000, 9_000)]
    keys[:3_000] = 77
    _, places, counts = np.unique(keys, return_inverse=True, return_counts=True)
    assert sorted(shared_rows(keys).tolist()) == np.flatnonzero(counts[places] > 1).tolist()
