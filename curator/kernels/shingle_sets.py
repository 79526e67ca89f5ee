"""The set of shingles of each document, for exact Jaccard similarities.

Texts in Arrow's ``large_string`` layout flow in; arrays of 64-bit hashes without repetition flow out, one after the
other, in the sequence of the text: similar texts have similar arrays, which ``jaccard`` makes use of. Equal hashes meet
in a table whose seed is random, so that nobody can prepare texts that collide in it; nothing that comes out depends on
it. The time is linear in the number of shingles; the memory beside the output, in the distinct ones of one text.
"""

from __future__ import annotations

import secrets
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

_BYTES_OF_WORD = 4
_SPARSE, _MOST_BITS = 4, 16  # slots for each hash, until there are 2**16; two for each from there on
_1 = np.uint64(1)


class ShingleSets(NamedTuple):
    """The shingles of each document, each one once, as the text has them first.

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
) -> ShingleSets:
    """Find the set of shingles of each text.

    Args:
        data: the texts one after the other, UTF-8; uint8, with ``PADDING`` bytes after the last one, or it is copied.
        offsets: where each text begins and, last, where all end; int64, shape (num_docs + 1,).
        shingling: ``None`` stands for five lower-case words.

    Raises:
        ValueError: ``offsets`` is empty, decreases, or leaves the data.

    Example:
        >>> text = np.frombuffer(b"To be or not to be or not to be", np.uint8)
        >>> shingle_sets(text, [0, 2, 31]).offsets.tolist()
        [0, 1, 5]
    """
    texts, positions = checked_texts(data, offsets)
    codes = (shingling or Shingling()).codes()
    # Pages that are never written to cost nothing, growing and copying would.
    most = int(positions[-1] - positions[0]) // (_BYTES_OF_WORD if codes[0] == WORDS else 1) + BLOCK
    hashes = np.empty(most, np.uint64)
    return ShingleSets(*_shingle_sets(texts, positions, properties(), *codes, hashes, random_seed()))


def random_seed() -> np.uint64:
    """A seed for tables: an odd number below 2**64."""
    return np.uint64(secrets.randbits(64) | 1)


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
    seed: np.uint64,
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    count = len(offsets) - 1
    set_offsets = np.empty(count + 1, np.int64)
    set_offsets[0] = 0
    scratch, state, units = scratch_texts(offsets), np.empty(STATE_FIELDS, np.int64), new_units()
    room, slots = new_room(), new_slots()
    base = address_of(data)
    used = int(np.int64(0))  # a literal 0 would be a type of its own and compile twice
    for index in range(count):
        text, length, kind, width = fold_document(
            base, offsets[index], offsets[index + 1], scratch, table, unit, size, spaceless_size, options
        )
        room, slots, distinct = distinct_shingles(text, length, kind, width, state, units, room, slots, seed)
        if used + distinct > len(hashes):
            larger = np.empty(2 * (used + distinct), np.uint64)
            larger[:used] = hashes[:used]
            hashes = larger
        hashes[used : used + distinct] = room[:distinct]
        used += distinct
        set_offsets[index + 1] = used
    return hashes[:used], set_offsets


@kernel
def new_room() -> npt.NDArray[np.uint64]:
    """Room for the hashes of ``distinct_shingles``."""
    return np.empty(4 * BLOCK, np.uint64)


@kernel
def new_slots() -> npt.NDArray[np.uint32]:
    """Slots of the table of ``distinct_shingles``."""
    return np.empty(1 << _MOST_BITS, np.uint32)


@kernel
def distinct_shingles(
    text: int,
    length: int,
    kind: int,
    size: int,
    state: npt.NDArray[np.int64],
    units: npt.NDArray[np.uint64],
    room: npt.NDArray[np.uint64],
    slots: npt.NDArray[np.uint32],
    seed: np.uint64,
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint32], int]:
    """Collect the distinct hashes of a text.

    Args:
        text: address of a normalised text; this and the next five are as ``next_shingles`` takes them.
        length: its bytes.
        kind: 0 for words, 1 for characters.
        size: units in a shingle.
        state: is overwritten.
        units: is overwritten.
        room: what ``new_room`` made, or this returned; is overwritten.
        slots: what ``new_slots`` made, or this returned; is overwritten.
        seed: of the table.

    Returns:
        The hashes, as the text has them first: ``room``, or something larger; the slots, likewise; how many there are.
    """
    begin_shingles(state)
    used, bits = int(np.int64(0)), int(np.int64(6))
    while 1 << bits < _SPARSE * (length // _BYTES_OF_WORD if kind == WORDS else length) and bits < _MOST_BITS:
        bits += 1
    slots[: 1 << bits] = 0
    while True:
        if used + 2 * BLOCK > len(room):
            larger = np.empty(2 * len(room), np.uint64)
            larger[:used] = room[:used]
            room = larger
        count = next_shingles(text, length, kind, size, state, units, room[used:])
        if count == 0:
            return room, slots, used
        if 2 * (used + count) > 1 << bits:
            while 2 * (used + count) > 1 << bits:
                bits += 1
            if 1 << bits > len(slots):
                slots = np.empty(1 << bits, np.uint32)
            slots[: 1 << bits] = 0
            used = add_distinct(room, int(np.int64(0)), used, int(np.int64(0)), slots, bits, seed)
        used = add_distinct(room, used, used + count, used, slots, bits, seed)


@kernel
def add_distinct(
    hashes: npt.NDArray[np.uint64],
    begin: int,
    end: int,
    used: int,
    slots: npt.NDArray[np.uint32],
    bits: int,
    seed: np.uint64,
) -> int:
    """Put some hashes into a table, and those that are new to it behind the ``used`` first ones.

    Args:
        hashes: uint64; only ``hashes[used:end]`` may change.
        begin: the first one to add.
        end: one past the last.
        used: how many are in the table, at most ``begin``.
        slots: of the table: the number of a hash, counted from 1, or 0.
        bits: of the number of slots, which must be more than there will be hashes; a few times as many are faster.
        seed: of the table, odd.

    Returns:
        ``used`` and the new ones.
    """
    shift, last, written = np.uint64(64 - bits), np.uint64((1 << bits) - 1), np.uint64(used)
    for index in range(begin, end):
        hashed = hashes[np.uint64(index)]
        slot = (hashed * seed) >> shift
        there = np.uint64(slots[slot])
        hashes[written] = hashed
        if there:
            while there and hashes[there - _1] != hashed:
                slot = (slot + _1) & last
                there = np.uint64(slots[slot])
            if there:
                continue
        written += _1
        slots[slot] = np.uint32(written)
    return np.int64(written)  # type: ignore[return-value]
