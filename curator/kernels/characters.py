"""Shingles of characters: the hashes of all windows of some characters of a text.

Addresses of normalised texts flow in, blocks of hashes flow out; ``shingles`` says what a hash is. The polynomial of a
window is the difference of two sums over all that follows a byte, which are made once for a stretch of text. So a
window costs the same however wide it is, and eight are made at a time where all characters are ASCII.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.lanes import FINISH_FACTOR, LENGTH_FACTOR, POWER, finish_windows, hash_windows, sum_suffixes
from curator.kernels.vector import (
    address_of,
    begin_mask,
    count_bits,
    high_mask,
    load_i64,
    load_u64,
    lowest_bit,
    shift_right,
    store_i64,
    store_u64,
)

BLOCK = 1024
"""Most shingles that are written at once, so that what is worked on stays in the first-level cache."""

LARGEST_SIZE = 256
"""Units in a shingle, at most."""

OVERRUN = 64
"""Words that may be written beyond the last used one of a row, as blocks are written whole."""

POSITION = 0
"""Of the byte in a text that comes next, in the state of who writes shingles."""

LENGTH = np.uint64(LENGTH_FACTOR)
LARGEST = np.uint64(0xFFFFFFFFFFFFFFFE)
_SECOND, _32 = np.uint64(FINISH_FACTOR), np.uint64(32)

_MOST_BYTES = 4  # of a character
_LONG_RUN, _AT_ONCE = 16, 64  # windows

_POWERS = np.array([pow(POWER, power, 2**64) for power in range(LARGEST_SIZE // 2)], np.uint64)
"""For each word of a window, whose characters have four bytes at most."""


@kernel
def next_character_windows(
    text: int,
    length: int,
    size: int,
    state: npt.NDArray[np.int64],
    units: npt.NDArray[np.uint64],
    shingles: npt.NDArray[np.uint64],
) -> int:
    """Write the hashes of the next windows; those that are as long as their neighbours, by eights."""
    position = state[POSITION]
    if position >= length:
        return 0
    here, left = text + position, length - position
    reach = min(left, max(BLOCK + size, _MOST_BYTES * (size + 1)) + 8)
    suffixes, begins = address_of(units[0]), address_of(units[1])
    sum_suffixes(here, (reach + 7) >> 3, suffixes)
    plain = _is_plain(here, reach)
    found = reach if plain else _find_begins(here, reach, begins)
    if reach == left:
        store_i64(begins, 8 * found, reach)
        found += 1
    windows = min(found - size, BLOCK)
    if windows < 1:  # a text that is shorter than one window
        shingles[0] = _window_hash(here, 0, reach, suffixes)
        state[POSITION] += reach
        return 1
    target, sums = address_of(shingles), address_of(units[2])
    written = int(np.int64(0))
    if plain:
        _hash_even(here, int(np.int64(0)), windows, size, suffixes, target)
        written += windows
    while written < windows:
        begin, output = load_i64(begins, 8 * written), target + 8 * written
        end = load_i64(begins, 8 * (written + size))
        # While the characters that a window leaves and takes in are ASCII, it keeps its bytes, whatever else it has.
        steps = min(lowest_bit(high_mask(here, begin)), lowest_bit(high_mask(here, end)))
        run = min(1 + steps, windows - written)
        if run >= _LONG_RUN:
            _hash_even(here, begin, run, end - begin, suffixes, output)
        else:
            run = min(_AT_ONCE, windows - written)
            _hash_uneven(here, begins + 8 * written, run, size, suffixes, sums, output)
        written += run
    done = reach == left and windows == found - size
    following = windows if plain else load_i64(begins, 8 * windows)
    state[POSITION] = length if done else position + following
    return windows


@kernel
def _hash_even(text: int, begin: int, count: int, length: int, suffixes: int, target: int) -> None:
    """Write the hashes of the windows of as many bytes that begin at some neighbouring ones."""
    further, ending, mask = 8 * ((length - 1) >> 3), max(length - 8, 0), _mask(length)
    power, start = _POWERS[(length - 1) >> 3], np.uint64(length) * LENGTH
    for offset in range(begin, begin + count, 8):
        output = target + 8 * (offset - begin)
        hash_windows(suffixes + 8 * offset, text + offset, output, further, ending, mask, power, start)


@kernel
def _hash_uneven(text: int, begins: int, count: int, size: int, suffixes: int, sums: int, target: int) -> None:
    """Write the hashes of some neighbouring windows, whatever is in them: first their sums, then eight at a time."""
    if size < 8:
        for offset in range(0, 8 * count, 8):
            total = _window_sum(text, load_i64(begins, offset), load_i64(begins, offset + 8 * size), suffixes)
            store_u64(sums, offset, total)
    else:
        for offset in range(0, 8 * count, 8):
            begin, end = load_i64(begins, offset), load_i64(begins, offset + 8 * size)
            further = (end - begin - 1) >> 3
            rest = _spread(load_u64(text, end - 8)) - load_u64(suffixes, 8 * begin + 64 * further)
            total = load_u64(suffixes, 8 * begin) + rest * _POWERS[np.uint64(further)]
            store_u64(sums, offset, total + np.uint64(end - begin) * LENGTH)
    for offset in range(0, 8 * count, 64):
        finish_windows(sums, target, offset)


@kernel
def _is_plain(text: int, length: int) -> bool:
    """Whether all characters are ASCII."""
    offset = 0
    while offset < length and lowest_bit(high_mask(text, offset)) >= min(length - offset, 64):
        offset += 64
    return offset >= length


@kernel
def _find_begins(text: int, length: int, begins: int) -> int:
    """Write where the characters begin, and return how many there are."""
    found = int(np.int64(0))
    for offset in range(0, length, 64):
        inside = -1 if length - offset >= 64 else (1 << (length - offset)) - 1
        if high_mask(text, offset) & inside == 0:
            for index in range(64):
                store_i64(begins, 8 * (found + index), offset + index)
            found += count_bits(inside)
            continue
        mask = begin_mask(text, offset) & inside
        following = found + count_bits(mask)
        while found < following:
            for index in range(8):
                store_i64(begins, 8 * (found + index), offset + lowest_bit(mask))
                mask &= mask - 1
            found += 8
        found = following
    return found


@kernel
def _window_hash(text: int, begin: int, end: int, suffixes: int) -> np.uint64:
    total = _window_sum(text, begin, end, suffixes)
    total = (total ^ (total >> _32)) * _SECOND
    return min(total ^ (total >> _32), LARGEST)


@kernel
def _window_sum(text: int, begin: int, end: int, suffixes: int) -> np.uint64:
    length = end - begin
    further = (length - 1) >> 3
    last = load_u64(text, end - 8) if length >= 8 else load_u64(text, begin) & _mask(length)
    rest = _spread(last) - load_u64(suffixes, 8 * begin + 64 * further)
    return load_u64(suffixes, 8 * begin) + rest * _POWERS[further] + np.uint64(length) * LENGTH


@kernel
def _spread(word: np.uint64) -> np.uint64:
    """So that a difference in the last bytes of words is one in their middle too, and cannot vanish in a sum."""
    return word ^ (word >> _32)


@kernel
def _mask(length: int) -> np.uint64:
    """Which of eight bytes belong to a window of 1 byte or more."""
    return np.uint64(shift_right(-1, max(64 - 8 * length, 0)))
