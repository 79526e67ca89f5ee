"""Connected components of pairs, each named by its smallest document.

Edges between document ids flow in, in any order and number; the documents that they touch, and the component of each,
flow out. A component has the same name whatever the order of the edges, and the output is a list of edges again, so
that components can be merged: those of several partitions, or of the bands so far with those of the next ones.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.numbering import number_words
from curator.kernels.vector import read_only


class Components(NamedTuple):
    """Documents that are connected with others.

    Args:
        documents: those that an edge touches, ascending, each once; uint64, shape (n,).
        roots: the smallest document of the component of each; uint64, shape (n,).
    """

    documents: npt.NDArray[np.uint64]
    roots: npt.NDArray[np.uint64]


def components(first: npt.NDArray[np.uint64], other: npt.NDArray[np.uint64]) -> Components:
    """Find the connected components of a graph.

    Args:
        first: one end of each edge; uint64, shape (num_edges,).
        other: its other end, which may be the same document; uint64, shape (num_edges,).

    Raises:
        ValueError: the arrays differ in length.

    Example:
        >>> documents, roots = components([7, 3, 8], [3, 5, 9])
        >>> documents.tolist(), roots.tolist()
        ([3, 5, 7, 8, 9], [3, 3, 3, 8, 8])
    """
    ends = [read_only(end, np.uint64) for end in (first, other)]
    if len(ends[0]) != len(ends[1]):
        raise ValueError(f"{len(ends[0])} first ends and {len(ends[1])} other ends: must be as many")
    documents, places = number_words(np.concatenate(ends))
    indices = read_only(places.reshape(2, -1), np.int64)
    return Components(documents, documents[_roots(indices, len(documents))])  # type: ignore[arg-type]


@kernel
def _roots(edges: npt.NDArray[np.int64], num_documents: int) -> npt.NDArray[np.int64]:
    """The smallest member of the component of each of ``0 ... num_documents - 1``; edges: int64, shape (2, n)."""
    parents = np.arange(num_documents)
    for edge in range(edges.shape[1]):
        left, right = root_of(parents, edges[0, edge]), root_of(parents, edges[1, edge])
        if left < right:
            parents[right] = left
        else:
            parents[left] = right
    for index in range(num_documents):
        # A parent is never larger than its child, so that of this parent is known.
        parents[index] = parents[parents[index]]
    return parents


@kernel
def root_of(parents: npt.NDArray[np.int64], index: int) -> int:
    """Follow the parents to the end, and halve the way for the next one."""
    while parents[index] != index:
        parents[index] = parents[parents[index]]
        index = parents[index]
    return index
