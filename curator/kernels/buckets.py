"""From the buckets of one partition to components: all documents of a bucket are connected.

Rows of keys and documents flow in; the documents, and the component of each, flow out. Rows whose key no other one has
are left out, without sorting the others. Every member of a bucket is joined to its first, so a bucket of ``n``
documents costs ``n - 1`` steps and not ``n * (n - 1) / 2``. Time and memory are those of the rows, whatever the sizes
of the buckets; documents are sorted once each, and not once a row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.numbering import number_words
from curator.kernels.union_find import root_of
from curator.kernels.vector import read_only

_FREE = -1
_ODD, _32 = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)
_RANGE_ROWS, _MOST_RANGES = 1 << 10, 1 << 13


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


def shared_rows(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """The rows whose key another row has too, those of one key side by side and in their sequence.

    Args:
        keys: uint64, shape (n,); fastest where they are evenly spread between the least and the largest of them.

    Returns:
        Positions of rows, int64, shape (m,); keys come by ranges, in a range as they are met first.

    Example:
        >>> shared_rows([9, 3, 9, 4, 3, 9]).tolist()
        [1, 4, 0, 2, 5]
    """
    return _shared_rows(read_only(keys, np.uint64))  # type: ignore[arg-type]


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
def _shared_rows(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """First rows are dealt by ranges of keys, then those of a range meet in a table that the cache holds."""
    moved, rows, bounds, most = _deal_by_range(keys)
    slots = 2
    while slots < 2 * most:
        slots *= 2
    table, first, sizes = np.empty(slots, np.int64), np.empty(most, np.int64), np.empty(most, np.int64)
    shared, written = np.empty(len(keys), np.int64), 0
    for number in range(len(bounds) - 1):
        begin, end = bounds[number], bounds[number + 1]
        slots = 2
        while slots < 2 * (end - begin):
            slots *= 2
        table[:slots] = _FREE
        for row in range(end - begin):
            key = moved[begin + row]
            slot = np.int64((key * _ODD) >> _32) & (slots - 1)
            while table[slot] != _FREE and moved[begin + table[slot]] != key:
                slot = (slot + 1) & (slots - 1)
            if table[slot] == _FREE:
                table[slot], sizes[row] = row, 0
            first[row] = table[slot]
            sizes[table[slot]] += 1
        for row in range(end - begin):
            leader = first[row]
            if leader == row:
                size = sizes[row]
                sizes[row] = written if size > 1 else _FREE
                written += size if size > 1 else 0
            if sizes[leader] != _FREE:
                shared[sizes[leader]] = rows[begin + row]
                sizes[leader] += 1
    return shared[:written]


@kernel
def _deal_by_range(
    keys: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32], npt.NDArray[np.int64], int]:
    """Keys, range by range; the row of each; where ranges begin and, last, where all end; rows of the largest one."""
    count, least, largest = len(keys), np.uint64(0xFFFFFFFFFFFFFFFF), np.uint64(0)
    for key in keys:
        least, largest = min(least, key), max(largest, key)
    ranges, shift = 2, np.uint64(0)  # two at least: a shift by 64 bits is none
    while ranges * _RANGE_ROWS < count and ranges < _MOST_RANGES:
        ranges *= 2
    while count and (largest - least) >> shift >= np.uint64(ranges):
        shift += np.uint64(1)
    bounds = np.zeros(ranges + 1, np.int64)
    for key in keys:
        bounds[((key - least) >> shift) + np.uint64(1)] += 1
    most = 0
    for number in range(ranges):
        most = max(most, bounds[number + 1])
        bounds[number + 1] += bounds[number]
    following, moved, rows = bounds[:-1].copy(), np.empty(count, np.uint64), np.empty(count, np.uint32)
    for row in range(count):
        number = (keys[row] - least) >> shift
        place = following[number]
        moved[place], rows[place] = keys[row], np.uint32(row)
        following[number] += 1
    return moved, rows, bounds, most


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
