"""From the buckets of one partition to components: all documents of a bucket are connected.

Rows of keys and documents flow in; the documents, and the component of each, flow out. Every member of a bucket is
joined to its first, so a bucket of ``n`` documents costs ``n - 1`` steps and not ``n * (n - 1) / 2``. Time and memory
are those of the rows, whatever the sizes of the buckets; documents are sorted once each, and not once a row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curator.kernels.compile import kernel
from curator.kernels.union_find import root_of
from curator.kernels.vector import read_only


class Buckets(NamedTuple):
    """What the buckets of a partition say.

    Args:
        documents: those in the rows, ascending, each once; uint64, shape (num_docs,).
        roots: the smallest document of the component of each; uint64, shape (num_docs,).
        places: the document of each row, as its position in ``documents``; int64, shape (num_rows,).
        num_buckets: buckets of two documents or more.
        largest: rows of the largest bucket; 0 if there are none.
    """

    documents: npt.NDArray[np.uint64]
    roots: npt.NDArray[np.uint64]
    places: npt.NDArray[np.int64]
    num_buckets: int
    largest: int


def connect_buckets(keys: npt.NDArray[np.uint64], documents: npt.NDArray[np.uint64]) -> Buckets:
    """Connect the documents that share a bucket.

    Args:
        keys: the bucket of each row; uint64, shape (num_rows,), equal ones one after the other.
        documents: the document of each row; uint64, shape (num_rows,).

    Raises:
        ValueError: the arrays differ in length.

    Example:
        >>> found = connect_buckets([5, 5, 5, 9], [1, 2, 0, 7])
        >>> found.documents.tolist(), found.roots.tolist(), found.places.tolist(), found.largest
        ([0, 1, 2, 7], [0, 0, 0, 7], [1, 2, 0, 3], 3)
    """
    if len(keys) != len(documents):
        raise ValueError(f"{len(keys)} keys and {len(documents)} documents: must be as many")
    distinct, places = number_words(documents)
    roots, num_buckets, largest = _connect_buckets(read_only(keys, np.uint64), places, len(distinct))  # type: ignore[arg-type]
    return Buckets(distinct, distinct[roots], places, num_buckets, largest)


def number_words(words: npt.ArrayLike) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The distinct ones of some words, and the position of each word among them: ``numpy.unique`` without sorting all.

    Args:
        words: uint64, shape (n,).

    Returns:
        uint64, ascending, shape (m,); and int64, shape (n,).

    Example:
        >>> [part.tolist() for part in number_words([7, 3, 7])]
        [[3, 7], [1, 0, 1]]
    """
    encoded = pa.array(read_only(words, np.uint64)).dictionary_encode()
    found = encoded.dictionary.to_numpy()
    order = np.argsort(found)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return found[order], ranks[encoded.indices.to_numpy()]


def group_words(
    words: npt.NDArray[np.uint64], places: npt.NDArray[np.int64], count: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Sort words by place, and inside a place by themselves.

    Args:
        words: uint64, shape (n,).
        places: int64, shape (n,), each below ``count``.
        count: how many places there are.

    Returns:
        The words, uint64, shape (n,); where those of each place begin and, last, where all end: int64, shape
        (count + 1,).

    Raises:
        ValueError: the arrays differ in length, or a place is out of range.

    Example:
        >>> [part.tolist() for part in group_words([9, 8, 3, 5], [1, 0, 1, 1], 2)]
        [[8, 3, 5, 9], [0, 1, 4]]
    """
    if len(words) != len(places):
        raise ValueError(f"{len(words)} words and {len(places)} places: must be as many")
    numbers = read_only(places, np.int64)
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < count:
        raise ValueError(f"places reach from {numbers.min()} to {numbers.max()}, but there are {count}")
    return _group_words(read_only(words, np.uint64), numbers, count)  # type: ignore[arg-type]


@kernel
def _connect_buckets(
    keys: npt.NDArray[np.uint64], places: npt.NDArray[np.int64], num_documents: int
) -> tuple[npt.NDArray[np.int64], int, int]:
    parents = np.arange(num_documents)
    num_buckets, largest, begin = 0, 0, 0
    while begin < len(keys):
        end, is_shared = begin + 1, False
        while end < len(keys) and keys[end] == keys[begin]:
            is_shared |= places[end] != places[begin]
            left, right = root_of(parents, places[begin]), root_of(parents, places[end])
            parents[max(left, right)] = min(left, right)
            end += 1
        num_buckets += is_shared
        largest = max(largest, end - begin)
        begin = end
    for index in range(num_documents):
        # A parent is never larger than its child, so that of this parent is known.
        parents[index] = parents[parents[index]]
    return parents, num_buckets, largest


@kernel
def _group_words(
    words: npt.NDArray[np.uint64], places: npt.NDArray[np.int64], count: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    bounds = np.zeros(count + 1, np.int64)
    for place in places:
        bounds[place + 1] += 1
    for place in range(count):
        bounds[place + 1] += bounds[place]
    following, grouped = bounds[:-1].copy(), np.empty(len(words), np.uint64)
    for row in range(len(words)):
        grouped[following[places[row]]] = words[row]
        following[places[row]] += 1
    for place in range(count):
        grouped[bounds[place] : bounds[place + 1]].sort()
    return grouped, bounds
