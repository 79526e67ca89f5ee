"""How similar two sets are, given as sequences without repetition, in time that shrinks with what they have in common.

Two sequences of 64-bit words flow in, their Jaccard similarity flows out. The shingles of a text, in the sequence of
the text, are mostly those of a similar text in its sequence, but for some places. So runs of equal members are matched
eight at a time; after a difference, both sides are searched for the next member that they share; and only what is left
over is looked up in a table. The result is exact for any sequences: all that is gained from the sequence is time.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.lanes import equal_words, which_equal
from curator.kernels.vector import address_of, load_u64, lowest_bit

_NEAREST, _FARTHEST = 4, 512
"""Members behind a difference where a common one is looked for first, and at last."""

_AROUND = 16  # members more on the other side than on this one
_SPARSE, _MANY = 4, 1 << 20
"""Slots of the table for each member; and members of which two for each have to do."""

_1 = np.uint64(1)


class Room(NamedTuple):
    """What ``similarity`` works on, used again from pair to pair.

    Args:
        left_over: members of both sides; uint64, shape (2, members of the largest set).
        slots: of a table of the right set: the number of a member, counted from 1, or 0; uint32.
        bits: of the number of slots in use; 0 while there is no table; int64, shape (1,).
        seed: of the table: an odd number, random.
    """

    left_over: npt.NDArray[np.uint64]
    slots: npt.NDArray[np.uint32]
    bits: npt.NDArray[np.int64]
    seed: np.uint64


@kernel
def new_room(longest: int, seed: np.uint64) -> Room:
    """Room for sets of some members at most; what is not used of it is never touched."""
    slots = np.empty(1 << _bits_for(longest), np.uint32)
    return Room(np.empty((2, longest), np.uint64), slots, np.zeros(1, np.int64), seed)


@kernel
def similarity(left: int, left_size: int, right: int, right_size: int, threshold: float, room: Room) -> float:
    """Jaccard similarity, -1 if it is below the threshold; 0 for an empty set.

    Args:
        left: address of the members of a set, uint64, none twice.
        left_size: how many there are.
        right: likewise; ``room.bits`` must be 0, or as they are after the last call with this set.
        right_size: how many there are.
        threshold: 0 to 1.
        room: of ``new_room``.
    """
    if left_size == 0 or right_size == 0:
        return 0.0 if threshold == 0 else -1.0
    total = left_size + right_size
    needed = _needed(total, threshold)
    if min(left_size, right_size) < needed:
        return -1.0
    shared, num_left, num_right = _match_runs(left, left_size, right, right_size, room.left_over)
    if shared + min(num_left, num_right) < needed:
        return -1.0
    spare = shared + num_left - needed
    if num_left * num_right <= _SPARSE * right_size and not room.bits[0]:
        shared += _count_by_search(room.left_over, num_left, num_right, spare)
    else:
        if not room.bits[0]:
            _fill_table(right, right_size, room)
        shared += _count_in_table(room.left_over[0], num_left, right, room, spare)
    return shared / (total - shared) if shared >= needed else -1.0


@kernel
def _needed(total: int, threshold: float) -> int:
    """The smallest intersection of two sets of ``total`` members that is similar enough."""
    needed = max(int(threshold * total / (1 + threshold)) - 1, 0)
    while needed / (total - needed) < threshold:
        needed += 1
    return needed


@kernel
def _match_runs(
    left: int, left_size: int, right: int, right_size: int, left_over: npt.NDArray[np.uint64]
) -> tuple[int, int, int]:
    """Match runs of equal members; how many there are, and how many of each side are left over."""
    i, j, shared = int(np.int64(0)), int(np.int64(0)), int(np.int64(0))
    num_left, num_right = int(np.int64(0)), int(np.int64(0))
    while i < left_size and j < right_size:
        run = _equal_run(left + 8 * i, right + 8 * j, min(left_size - i, right_size - j))
        shared += run
        i += run
        j += run
        following, other = _next_common(left, i, left_size, right, j, right_size)
        num_left = _leave(left, i, following, left_over[0], num_left)
        num_right = _leave(right, j, other, left_over[1], num_right)
        i, j = following, other
    num_left = _leave(left, i, left_size, left_over[0], num_left)
    return shared, num_left, _leave(right, j, right_size, left_over[1], num_right)


@kernel
def _leave(members: int, begin: int, end: int, left_over: npt.NDArray[np.uint64], count: int) -> int:
    """Add some members to those that are left over, and return how many these are."""
    for index in range(begin, end):
        left_over[np.uint64(count)] = load_u64(members, 8 * index)
        count += 1
    return count


@kernel
def _equal_run(left: int, right: int, most: int) -> int:
    """How many members are equal, from the first ones on."""
    run = int(np.int64(0))
    while run + 8 <= most:
        differing = ~equal_words(left, right, 8 * run) & 255
        if differing:
            return run + int(lowest_bit(differing))
        run += 8
    while run < most and load_u64(left, 8 * run) == load_u64(right, 8 * run):
        run += 1
    return run


@kernel
def _next_common(left: int, i: int, left_end: int, right: int, j: int, right_end: int) -> tuple[int, int]:
    """Where both sides go on with the same member; their ends, if none is found."""
    step = _NEAREST
    while step <= _FARTHEST:
        place = i + step
        if place >= left_end:
            break
        wanted = load_u64(left, 8 * place)
        other = _find(right, j, min(j + 2 * step + _AROUND, right_end), wanted)
        if other >= 0:
            while place > i and other > j and load_u64(left, 8 * place - 8) == load_u64(right, 8 * other - 8):
                place -= 1
                other -= 1
            return place, other
        step *= 2
    return left_end, right_end


@kernel
def _find(members: int, begin: int, end: int, wanted: np.uint64) -> int:
    """Position of a member between two others; -1 if it is not there."""
    position = begin
    while position + 8 <= end:
        found = which_equal(members, 8 * position, wanted)
        if found:
            return position + lowest_bit(found)
        position += 8
    while position < end:
        if load_u64(members, 8 * position) == wanted:
            return position
        position += 1
    return -1


@kernel
def _count_by_search(left_over: npt.NDArray[np.uint64], num_left: int, num_right: int, spare: int) -> int:
    """How many of the left ones are among the right ones; fewer are counted once more than ``spare`` are not."""
    found, right = np.int64(0), address_of(left_over[1])
    for index in range(num_left):
        found += _find(right, int(np.int64(0)), num_right, left_over[0, index]) >= 0
        if index + 1 - found > spare:
            break
    return found  # type: ignore[return-value]


@kernel
def _count_in_table(members: npt.NDArray[np.uint64], count: int, right: int, room: Room, spare: int) -> int:
    """The same with a table of the right set: none of the members was matched, so none meets a matched one there."""
    shift, last = np.uint64(64 - room.bits[0]), np.uint64((1 << room.bits[0]) - 1)
    slots, seed, found = room.slots, room.seed, np.int64(0)
    for index in range(count):
        member = members[index]
        slot = (member * seed) >> shift
        there = np.int64(slots[slot])
        while there and load_u64(right, 8 * there - 8) != member:
            slot = (slot + _1) & last
            there = np.int64(slots[slot])
        found += there != 0
        if index + 1 - found > spare:
            break
    return found  # type: ignore[return-value]


@kernel
def _fill_table(right: int, right_size: int, room: Room) -> None:
    bits = _bits_for(right_size)
    shift, last, slots, seed = np.uint64(64 - bits), np.uint64((1 << bits) - 1), room.slots, room.seed
    slots[: 1 << bits] = 0
    for index in range(right_size):
        slot = (load_u64(right, 8 * index) * seed) >> shift
        while slots[slot]:
            slot = (slot + _1) & last
        slots[slot] = np.uint32(index + 1)
    room.bits[0] = bits


@kernel
def _bits_for(count: int) -> int:
    bits = 3
    while 1 << bits < (_SPARSE if count < _MANY else 2) * count:
        bits += 1
    return bits
