"""Dealing rows into buckets: which bucket a key belongs to, and a counting sort that moves columns there.

Words flow in, buckets, places and moved columns flow out. Everything depends on the words alone: the mix is a bijection
of 64-bit words (the finish of MurmurHash3), and a bucket is a range of the mixed words, so the buckets of ``n`` and of
``2 * n`` nest. Rows of one bucket keep their sequence. Two passes over the rows, at the speed of the memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.vector import read_only

MOST_BUCKETS = 1 << 16
"""Buckets that rows can be dealt into at once."""

_MIX_1, _MIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_ODD = np.uint64(0x9E3779B97F4A7C15)
_33, _32 = np.uint64(33), np.uint64(32)
_LOW_32 = np.uint64(0xFFFFFFFF)


def mix_words(words: npt.ArrayLike, seeds: npt.NDArray[np.uint64] | None = None) -> npt.NDArray[np.uint64]:
    """Mix 64-bit words, so that any of their bits decides about all bits of the result.

    Args:
        words: uint64, shape (n,).
        seeds: uint64, shape (n,): what the words of another column were mixed to; makes one word of several.

    Returns:
        uint64, shape (n,). Without seeds, different words give different results.

    Raises:
        ValueError: the arrays differ in length.

    Example:
        >>> [f"{word:016x}" for word in mix_words(np.array([0, 1], np.uint64))]
        ['9ca066f1a4ab2eea', 'e5fdc025e13eeed5']
    """
    column = read_only(words, np.uint64)
    before = read_only(np.zeros(1, np.uint64) if seeds is None else seeds, np.uint64)
    if seeds is not None and len(before) != len(column):
        raise ValueError(f"lengths {len(column)} and {len(before)}: must be equal")
    return _mix_words(column, before, seeds is not None)  # type: ignore[arg-type]


def bucket_of(words: npt.NDArray[np.uint64], num_buckets: int) -> npt.NDArray[np.uint16]:
    """The bucket of each mixed word: ``word * num_buckets >> 64``.

    Args:
        words: uint64, shape (n,), evenly spread over all 64-bit words.
        num_buckets: 1 to ``MOST_BUCKETS``.

    Returns:
        uint16, shape (n,), below ``num_buckets``.

    Raises:
        ValueError: too few or too many buckets.

    Example:
        >>> bucket_of(np.array([0, 2**63, 2**64 - 1], np.uint64), 10).tolist()
        [0, 5, 9]
    """
    if not 1 <= num_buckets <= MOST_BUCKETS:
        raise ValueError(f"num_buckets={num_buckets}: must be 1 to {MOST_BUCKETS}")
    return _bucket_of(read_only(words, np.uint64), np.uint64(num_buckets))  # type: ignore[arg-type]


def places_by_bucket(
    buckets: npt.NDArray[np.uint16], num_buckets: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    """Where each row goes so that buckets lie one after the other, each in the sequence of the rows.

    Args:
        buckets: uint16, shape (n,), each below ``num_buckets``; fewer than 2**32 rows.
        num_buckets: 1 to ``MOST_BUCKETS``.

    Returns:
        The places, uint32, shape (n,), a permutation; and where each bucket begins and, last, where all end: int64,
        shape (num_buckets + 1,).

    Raises:
        ValueError: a bucket is out of range.

    Example:
        >>> places, bounds = places_by_bucket(np.array([1, 0, 1], np.uint16), 2)
        >>> places.tolist(), bounds.tolist()
        ([1, 0, 2], [0, 1, 3])
    """
    numbers = read_only(buckets, np.uint16)
    if len(numbers) and int(numbers.max()) >= num_buckets:
        raise ValueError(f"bucket {numbers.max()} is not below num_buckets={num_buckets}")
    return _places_by_bucket(numbers, num_buckets)  # type: ignore[arg-type]


def move_rows(values: npt.NDArray[Any], places: npt.NDArray[np.uint32], moved: npt.NDArray[Any]) -> None:
    """Put rows in their places.

    Args:
        values: shape (n,), of a type with 1, 2, 4 or 8 bytes.
        places: uint32, shape (n,), all different.
        moved: of the same type, contiguous, with all of these places: the output.

    Raises:
        ValueError: the arrays do not belong together.

    Example:
        >>> moved = np.zeros(3, np.uint64)
        >>> move_rows(np.array([10, 20], np.uint64), np.array([2, 0], np.uint32), moved)
        >>> moved.tolist()
        [20, 0, 10]
    """
    if len(values) != len(places) or values.dtype != moved.dtype or not moved.flags.c_contiguous:
        raise ValueError(
            f"{len(values)} rows of {values.dtype}, {len(places)} places, {moved.dtype}: must be as many, of one type"
        )
    if len(places) and int(places.max()) >= len(moved):
        raise ValueError(f"place {places.max()} is not below {len(moved)}")
    word = np.dtype(f"u{values.dtype.itemsize}")
    source = read_only(np.ascontiguousarray(values).view(word), word)
    _move_words(source, read_only(places, np.uint32), moved.view(word))  # type: ignore[arg-type]


@kernel
def _mix_words(words: npt.NDArray[np.uint64], seeds: npt.NDArray[np.uint64], is_seeded: bool) -> npt.NDArray[np.uint64]:
    mixed = np.empty(len(words), np.uint64)
    for row in range(len(words)):
        word = words[row] + _ODD  # zero would stay zero
        if is_seeded:
            word ^= seeds[row] * _ODD
        word = (word ^ (word >> _33)) * _MIX_1
        word = (word ^ (word >> _33)) * _MIX_2
        mixed[row] = word ^ (word >> _33)
    return mixed


@kernel
def _bucket_of(words: npt.NDArray[np.uint64], num_buckets: np.uint64) -> npt.NDArray[np.uint16]:
    buckets = np.empty(len(words), np.uint16)
    for row in range(len(words)):
        # num_buckets fits 32 bits, so the high word of the product needs no 128-bit multiplication.
        low = ((words[row] & _LOW_32) * num_buckets) >> _32
        buckets[row] = np.uint16(((words[row] >> _32) * num_buckets + low) >> _32)
    return buckets


@kernel
def _places_by_bucket(
    buckets: npt.NDArray[np.uint16], num_buckets: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    bounds = np.zeros(num_buckets + 1, np.int64)
    for row in range(len(buckets)):
        bounds[np.int64(buckets[row]) + 1] += 1
    for bucket in range(num_buckets):
        bounds[bucket + 1] += bounds[bucket]
    following = bounds[:-1].copy()
    places = np.empty(len(buckets), np.uint32)
    for row in range(len(buckets)):
        number = np.int64(buckets[row])
        places[row] = np.uint32(following[number])
        following[number] += 1
    return places, bounds


@kernel
def _move_words(values: npt.NDArray[Any], places: npt.NDArray[np.uint32], moved: npt.NDArray[Any]) -> None:
    for row in range(len(values)):
        moved[places[row]] = values[row]
