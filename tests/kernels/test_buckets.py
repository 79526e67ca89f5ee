"""Star edges against plain Python."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.kernels.buckets import star_edges
from curator.kernels.union_find import components

KEYS = st.integers(0, 4) | st.sampled_from([2**63, 2**64 - 1])
DOCUMENTS = st.integers(0, 9) | st.sampled_from([2**63, 2**64 - 1])
ORDERS = dict(enumerate([0, 1, math.nan, 1, -1, 2, 2, math.inf, 0, -math.inf]))
ROWS = st.lists(st.tuples(KEYS, DOCUMENTS), max_size=40)


def found(rows, with_order=True):
    keys, documents = (np.array([row[side] for row in rows], np.uint64) for side in (0, 1))
    order = np.array([ORDERS.get(row[1], 0.5) for row in rows], np.float64) if with_order else None
    return star_edges(keys, documents, order)


def rank(document):
    order = ORDERS.get(document, 0.5)
    return (math.inf if math.isnan(order) else -order, document)


@given(ROWS, st.booleans())
def test_every_member_of_a_bucket_is_joined_to_its_first(rows, with_order):
    buckets = {}
    for key, document in rows:
        buckets.setdefault(key, set()).add(document)
    expected = set()
    for members in buckets.values():
        first = min(members, key=rank if with_order else None)
        expected |= {(first, other) for other in members - {first}}
    edges = found(rows, with_order)
    assert list(zip(edges.first.tolist(), edges.other.tolist(), strict=True)) == sorted(expected)
    assert edges.num_buckets == sum(len(members) > 1 for members in buckets.values())


@given(ROWS, st.randoms())
def test_the_sequence_of_the_rows_does_not_matter(rows, random):
    edges, shuffled = found(rows), found(random.sample(rows, len(rows)))
    assert [column.tolist() for column in edges[:2]] == [column.tolist() for column in shuffled[:2]]
    assert edges[2:] == shuffled[2:]


@given(ROWS, st.integers(1, 4))
def test_partitions_by_key_give_the_same_components(rows, num_partitions):
    parts = [found([row for row in rows if row[0] % num_partitions == part]) for part in range(num_partitions)]
    joined = components(*(np.concatenate([part[side] for part in parts]) for side in (0, 1)))
    whole = found(rows)
    expected = components(whole.first, whole.other)
    assert [column.tolist() for column in joined] == [column.tolist() for column in expected]


def test_one_bucket_of_a_million_documents_gives_a_million_edges_less_one():
    documents = np.arange(1_000_000, dtype=np.uint64)[::-1]
    edges = star_edges(np.zeros(1_000_000, np.uint64), documents)
    assert (len(edges.first), edges.first.max(), edges.num_buckets, edges.largest) == (999_999, 0, 1, 1_000_000)


def test_no_rows_give_no_edges():
    assert [len(found([]).first), *found([])[2:]] == [0, 0, 0]


def test_columns_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="lengths"):
        star_edges([1, 2], [1])
