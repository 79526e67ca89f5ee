"""The set of shingles of each document, for exact Jaccard similarities.

Texts in Arrow's ``large_string`` layout flow in; sorted arrays of 64-bit hashes without repetition flow out, one after
the other. The time is linear in the number of shingles; the memory beside the output, in the distinct ones of one text.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curator.kernels.characters import BLOCK
from curator.kernels.compile import kernel
from curator.kernels.shingles import (
    STATE_FIELDS,
    WORDS,
    Shingling,
    begin_shingles,
    fold_document,
    new_units,
    next_shingles,
    scratch_texts,
)
from curator.kernels.unicode_tables import properties
from curator.kernels.vector import address_of, checked_texts

_MOST_BITS, _DIGIT_BITS = 20, 8
_BYTES_OF_WORD = 4
_1 = np.uint64(1)


class ShingleSets(NamedTuple):
    """The shingles of each document, each one once, in ascending order.

    Args:
        hashes: uint64, shape (num_shingles,).
        offsets: where each document begins and, last, where all end; int64, shape (num_docs + 1,).
    """

    hashes: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.int64]


def shingle_sets(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    shingling: Shingling | None = None,
    room: npt.NDArray[np.uint64] | None = None,
) -> ShingleSets:
    """Find the set of shingles of each text.

    Args:
        data: the texts one after the other, UTF-8; uint8, with ``PADDING`` bytes after the last one, or it is copied.
        offsets: where each text begins and, last, where all end; int64, shape (num_docs + 1,).
        shingling: ``None`` stands for five lower-case words.
        room: where the hashes are written if it is as large as they may become, for memory that has been touched before
            is faster than new one; uint64, shape (m,), contiguous.

    Raises:
        ValueError: ``offsets`` is empty, decreases, or leaves the data.

    Example:
        >>> text = np.frombuffer(b"To be or not to be or not to be", np.uint8)
        >>> shingle_sets(text, [0, 2, 31]).offsets.tolist()
        [0, 1, 5]
    """
    texts, positions = checked_texts(data, offsets)
    codes = (shingling or Shingling()).codes()
    # Pages that are never written to cost nothing, growing and copying costs twice as much as the sorting.
    most = int(positions[-1] - positions[0]) // (_BYTES_OF_WORD if codes[0] == WORDS else 1) + BLOCK
    hashes = np.empty(most, np.uint64) if room is None or len(room) < most else room
    return ShingleSets(*_shingle_sets(texts, positions, properties(), *codes, hashes))


@kernel
def _shingle_sets(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    table: npt.NDArray[np.int32],
    unit: int,
    size: int,
    spaceless_size: int,
    options: int,
    hashes: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    count = len(offsets) - 1
    set_offsets = np.empty(count + 1, np.int64)
    set_offsets[0] = 0
    scratch, state, units, room = scratch_texts(offsets), np.empty(STATE_FIELDS, np.int64), new_units(), new_room()
    base = address_of(data)
    used = int(np.int64(0))  # a literal 0 would be a type of its own and compile twice
    for index in range(count):
        text, length, kind, width = fold_document(
            base, offsets[index], offsets[index + 1], scratch, table, unit, size, spaceless_size, options
        )
        room, distinct = distinct_shingles(text, length, kind, width, state, units, room)
        if used + distinct > len(hashes):
            larger = np.empty(2 * (used + distinct), np.uint64)
            larger[:used] = hashes[:used]
            hashes = larger
        hashes[used : used + distinct] = room[0, :distinct]
        used += distinct
        set_offsets[index + 1] = used
    return hashes[:used], set_offsets


@kernel
def new_room() -> npt.NDArray[np.uint64]:
    """Room for ``distinct_shingles``."""
    return np.empty((2, 4 * BLOCK), np.uint64)


@kernel
def distinct_shingles(
    text: int,
    length: int,
    kind: int,
    size: int,
    state: npt.NDArray[np.int64],
    units: npt.NDArray[np.uint64],
    room: npt.NDArray[np.uint64],
) -> tuple[npt.NDArray[np.uint64], int]:
    """Collect the distinct hashes of a text; repeated ones are thrown out whenever the room is full.

    Args:
        text: address of a normalised text; this and the next five are as ``next_shingles`` takes them.
        length: its bytes.
        kind: 0 for words, 1 for characters.
        size: units in a shingle.
        state: is overwritten.
        units: is overwritten.
        room: uint64, shape (2, at least ``2 * BLOCK``).

    Returns:
        Where the hashes are, in ascending order in the first row: ``room``, or something larger; and how many.
    """
    begin_shingles(state)
    used = int(np.int64(0))
    while True:
        if used + BLOCK > room.shape[1]:
            used = _sort_unique(room, used)
            if 2 * used > room.shape[1]:
                larger = np.empty((2, 2 * room.shape[1]), np.uint64)
                larger[0, :used] = room[0, :used]
                room = larger
        count = next_shingles(text, length, kind, size, state, units, room[0][used:])
        if count == 0:
            return room, _sort_unique(room, used)
        used += count


@kernel
def _sort_unique(room: npt.NDArray[np.uint64], count: int) -> int:
    """Sort the first ``count`` hashes of the first row, and drop repeated ones; return how many are left.

    Hashes are spread evenly, so their highest bits put almost every one into its place. Many repeated ones break that
    rule, and are sorted digit by digit.
    """
    hashes, ordered = room[0], room[1]
    if count == 0:
        return 0
    bits = 1
    while bits < _MOST_BITS and 1 << bits < 2 * count:
        bits += 1
    _distribute(hashes, ordered, count, np.uint64(64 - bits), 1 << bits)
    if not _finish_order(ordered, count):
        for digit in range(0, 64, _DIGIT_BITS):
            _distribute(ordered, hashes, count, np.uint64(digit), 1 << _DIGIT_BITS)
            ordered, hashes = hashes, ordered
    target = room[0]
    written = 0
    previous = ~ordered[0]
    for index in range(count):
        hashed = ordered[index]
        written += hashed != previous
        target[written - 1] = hashed
        previous = hashed
    return written


@kernel
def _distribute(
    hashes: npt.NDArray[np.uint64], target: npt.NDArray[np.uint64], count: int, shift: np.uint64, places: int
) -> None:
    """Order hashes by one digit: those of ``hashes[index] >> shift & (places - 1)``, and equal ones as they come."""
    counts = np.zeros(places + 1, np.uint32)
    last = np.uint64(places - 1)
    for index in range(count):
        counts[((hashes[index] >> shift) & last) + _1] += np.uint32(1)
    for place in range(places):
        counts[place + 1] += counts[place]
    for index in range(count):
        digit = (hashes[index] >> shift) & last
        target[counts[digit]] = hashes[index]
        counts[digit] += np.uint32(1)


@kernel
def _finish_order(hashes: npt.NDArray[np.uint64], count: int) -> bool:
    """Sort what is nearly sorted; give up, with ``False``, after a few times as many moves as there are hashes."""
    patience = 4 * count
    for index in range(1, count):
        hashed = hashes[index]
        place = index
        while place > 0 and hashes[place - 1] > hashed:
            hashes[place] = hashes[place - 1]
            place -= 1
        hashes[place] = hashed
        patience -= index - place
        if patience < 0:
            return False
    return True
