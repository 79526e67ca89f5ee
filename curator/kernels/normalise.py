"""Lower case and single spaces for ASCII texts, as Python's ``str`` does them.

Texts in Arrow's ``large_string`` layout flow in and out. Other than ASCII bytes pass unchanged and are never white
space here, so a caller sends only the texts that ``is_ascii`` names and leaves the others to Python.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.vector import (
    PADDING,
    address_of,
    checked_texts,
    copy_folded_block,
    high_mask,
    load_byte,
    lowest_bit,
    read_only,
    shift_right,
    white_space_mask,
)

_SPACE = 0x20


def is_ascii(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Find the texts that have no byte above 0x7f.

    Args:
        data: the texts one after the other; uint8, with ``PADDING`` bytes after the last one, or it is copied.
        offsets: where each text begins and, last, where all end; int64, shape (n + 1,).

    Raises:
        ValueError: ``offsets`` is empty, decreases, or leaves the data.

    Example:
        >>> is_ascii(np.frombuffer("aé".encode(), np.uint8), [0, 1, 3]).tolist()
        [True, False]
    """
    return _is_ascii(*checked_texts(data, offsets))


def lower_and_collapse_ascii(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    lower: bool,
    collapse: bool,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    r"""Normalise some ASCII texts: ``" ".join(text.lower().split())``, or one half of it.

    Args:
        data: the texts one after the other; uint8, with ``PADDING`` bytes after the last one, or it is copied.
        offsets: where each text begins and, last, where all end; int64, shape (n + 1,).
        rows: which texts; int64, shape (m,).
        lower: turn A-Z into a-z.
        collapse: turn every run of white space into one space, and remove it at both ends.

    Returns:
        Offsets, int64, shape (m + 1,); and bytes, uint8, with at least ``PADDING`` after the used ones.

    Raises:
        ValueError: ``offsets`` is empty, decreases, or leaves the data; or a row is out of range.

    Example:
        >>> text = np.frombuffer(b" One\n\tTWO ", np.uint8)
        >>> offsets, data = lower_and_collapse_ascii(text, [0, 10], [0], lower=True, collapse=True)
        >>> data[: offsets[-1]].tobytes()
        b'one two'
    """
    padded, positions = checked_texts(data, offsets)
    chosen: npt.NDArray[np.int64] = read_only(rows, np.int64)  # type: ignore[assignment]
    if len(chosen) and not 0 <= chosen.min() <= chosen.max() < len(positions) - 1:
        raise ValueError(f"rows reach from {chosen.min()} to {chosen.max()}, but there are {len(positions) - 1} texts")
    new_offsets, new_data = _normalise(padded, positions, chosen, int(lower), int(collapse))
    return new_offsets, new_data


@kernel
def _is_ascii(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    count = len(offsets) - 1
    plain = np.empty(count, np.bool_)
    base = address_of(data)
    for row in range(count):
        position, end = offsets[row], offsets[row + 1]
        while position < end and position + lowest_bit(high_mask(base, position)) >= min(position + 64, end):
            position += 64
        plain[row] = position >= end
    return plain


@kernel
def _normalise(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], rows: npt.NDArray[np.int64], lower: int, collapse: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    longest = 0
    for row in rows:
        longest += offsets[row + 1] - offsets[row]
    new_offsets = np.empty(len(rows) + 1, np.int64)
    new_data = np.empty(longest + PADDING, np.uint8)
    base, target = address_of(data), address_of(new_data)
    written = int(np.int64(0))  # a literal 0 would be a type of its own and compile twice
    new_offsets[0] = 0
    for index in range(len(rows)):
        begin, end = offsets[rows[index]], offsets[rows[index] + 1]
        if collapse:
            written = collapse_white_space(base, begin, end, target, written, lower)
        else:
            for block in range(0, end - begin, 64):
                copy_folded_block(base, begin + block, target, written + block, lower, 0)
            written += end - begin
        new_offsets[index + 1] = written
    new_data[written : written + PADDING] = 0
    return new_offsets, new_data


@kernel
def collapse_white_space(base: int, position: int, end: int, target: int, written: int, lower: int) -> int:
    """Write one text and return where its output ends; a run of white space is kept by its first byte, as a space."""
    first = written
    space_before = 1
    while position < end:
        spaces = white_space_mask(base, position)
        dropped = spaces & ((spaces << 1) | space_before)
        space_before = shift_right(spaces, 63)
        length = min(64, end - position)
        offset = 0
        while offset < length:
            kept = min(lowest_bit(shift_right(dropped, offset)), length - offset)
            copy_folded_block(base, position + offset, target, written, lower, 1)
            written += kept
            offset += kept
            if offset < length:
                offset += lowest_bit(~shift_right(dropped, offset))
        position += 64
    if written > first and load_byte(target, written - 1) == _SPACE:
        written -= 1
    return written
