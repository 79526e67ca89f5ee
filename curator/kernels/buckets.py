"""From the buckets of one partition to edges: every member of a bucket is joined to its first.

Rows of keys and documents flow in; pairs of documents flow out, without repetition. A bucket of ``n`` documents gives
``n - 1`` edges and not ``n * (n - 1) / 2``, which connect it all the same. Time and memory are those of sorting the
rows, whatever the sizes of the buckets.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.vector import read_only


class StarEdges(NamedTuple):
    """What the buckets of a partition say.

    Args:
        first: the first document of a bucket in keeper order; uint64, shape (num_edges,), ascending.
        other: another document of it; uint64, shape (num_edges,), ascending for each ``first``.
        num_buckets: buckets of two documents or more.
        largest: documents in the largest bucket; 0 if there are no rows.
    """

    first: npt.NDArray[np.uint64]
    other: npt.NDArray[np.uint64]
    num_buckets: int
    largest: int


def star_edges(
    keys: npt.NDArray[np.uint64], documents: npt.NDArray[np.uint64], order: npt.NDArray[np.float64] | None = None
) -> StarEdges:
    """Join the documents that share a bucket.

    Args:
        keys: the bucket of each row; uint64, shape (n,); sorted rows are not sorted again.
        documents: the document of each row; uint64, shape (n,); in a bucket, one that comes twice counts once.
        order: which document to prefer as the first: the largest, where NaN counts as minus infinity; among equals,
            and without it, the smallest ``document``. float64, shape (n,).

    Raises:
        ValueError: the arrays differ in length.

    Example:
        >>> edges = star_edges([5, 9, 5, 5], [1, 1, 2, 0])
        >>> edges.first.tolist(), edges.other.tolist(), edges.largest
        ([0, 0], [1, 2], 3)
    """
    words: list[npt.NDArray[Any]] = [read_only(column, np.uint64) for column in (keys, documents)]
    ranks = read_only(
        np.zeros(len(words[0])) if order is None else np.where(np.isnan(order), -np.inf, order), np.float64
    )
    if len({len(words[0]), len(words[1]), len(ranks)}) > 1:
        raise ValueError(f"lengths {len(words[0])}, {len(words[1])} and {len(ranks)}: must be equal")
    if (words[0][1:] < words[0][:-1]).any():
        sequence = np.argsort(words[0], kind="stable")
        words, ranks = (
            [read_only(column[sequence], np.uint64) for column in words],
            read_only(ranks[sequence], ranks.dtype),
        )
    first, other, num_buckets, largest = _star_edges(words[0], words[1], ranks)  # type: ignore[arg-type]
    sequence = np.lexsort((other, first))
    first, other = first[sequence], other[sequence]
    fresh = np.ones(len(first), np.bool_)
    fresh[1:] = (first[1:] != first[:-1]) | (other[1:] != other[:-1])
    return StarEdges(first[fresh], other[fresh], num_buckets, largest)


@kernel
def _star_edges(
    keys: npt.NDArray[np.uint64], documents: npt.NDArray[np.uint64], order: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], int, int]:
    first, other = np.empty(len(keys), np.uint64), np.empty(len(keys), np.uint64)
    written, num_buckets, largest, begin = 0, 0, 0, 0
    while begin < len(keys):
        best, end = begin, begin + 1
        while end < len(keys) and keys[end] == keys[begin]:
            if order[end] > order[best] or (order[end] == order[best] and documents[end] < documents[best]):
                best = end
            end += 1
        before = written
        for row in range(begin, end):
            if documents[row] != documents[best]:
                first[written], other[written] = documents[best], documents[row]
                written += 1
        num_buckets += written > before
        largest = max(largest, end - begin)
        begin = end
    return first[:written], other[:written], num_buckets, largest
