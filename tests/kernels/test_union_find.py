"""Components against a plain graph search."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.kernels.union_find import components

DOCUMENTS = st.integers(0, 12) | st.sampled_from([2**63, 2**64 - 1])
EDGES = st.lists(st.tuples(DOCUMENTS, DOCUMENTS), max_size=30)


def found(edges):
    first, other = (np.array([edge[side] for edge in edges], np.uint64) for side in (0, 1))
    result = components(first, other)
    return dict(zip(result.documents.tolist(), result.roots.tolist(), strict=True))


def expected(edges):
    neighbours = {}
    for left, right in edges:
        neighbours.setdefault(left, set()).add(right)
        neighbours.setdefault(right, set()).add(left)
    roots = {}
    for document in sorted(neighbours):
        waiting = [] if document in roots else [document]
        while waiting:
            reached = waiting.pop()
            if reached not in roots:
                roots[reached] = document
                waiting += neighbours[reached]
    return roots


@given(EDGES)
def test_every_document_gets_the_smallest_that_it_is_connected_with(edges):
    assert found(edges) == expected(edges)


@given(EDGES, st.randoms())
def test_the_order_and_the_direction_of_edges_do_not_matter(edges, random):
    shuffled = [edge[:: random.choice([1, -1])] for edge in random.sample(edges, len(edges))]
    assert found(shuffled) == found(edges)


@given(EDGES, EDGES)
def test_components_can_be_merged_as_edges(some, others):
    assert found([*found(some).items(), *found(others).items()]) == found(some + others)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_chain_of_a_million_documents_is_one_component(reverse):
    chain = np.arange(1_000_000, dtype=np.uint64)[:: -1 if reverse else 1]
    assert not components(chain[1:], chain[:-1]).roots.any()


def test_documents_are_sorted_and_unique():
    documents, roots = components([9, 9, 4], [9, 4, 9])
    assert (documents.tolist(), documents.dtype, roots.dtype) == ([4, 9], np.uint64, np.uint64)


def test_no_edges_give_no_components():
    assert [part.tolist() for part in components([], [])] == [[], []]


def test_edges_with_one_end_are_refused():
    with pytest.raises(ValueError, match="first ends"):
        components([1, 2], [1])
