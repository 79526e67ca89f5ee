"""Where the lines of a buffer are.

Bytes flow in; the positions of complete lines that are not blank flow out. Nothing is copied and nothing is refused:
the bytes of a line may be anything. A last line without a line feed is not returned; its reader appends one.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.vector import address_of, equal_mask, load_byte, lowest_bit, padded_input, store_i64

_LINE_FEED, _CARRIAGE_RETURN, _TAB, _SPACE = 0x0A, 0x0D, 0x09, 0x20


class Lines(NamedTuple):
    """Positions of lines.

    Args:
        starts: first byte of each line; int64, shape (num_lines,).
        ends: its line feed; int64, shape (num_lines,).
        consumed: position after the last line feed; ``begin`` if there is none.
    """

    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    consumed: int


def find_lines(buffer: npt.NDArray[np.uint8], begin: int, end: int) -> Lines:
    r"""Find the complete lines in ``buffer[begin:end]``; lines of white space (space, TAB, CR) are left out.

    Args:
        buffer: uint8, shape (num_bytes,), with ``PADDING`` bytes after ``end``, or it is copied.
        begin: first byte to look at.
        end: one past the last byte to look at.

    Raises:
        ValueError: not ``0 <= begin <= end <= len(buffer)``.

    Example:
        >>> starts, ends, consumed = find_lines(np.frombuffer(b"one\n\ntwo\nthr", np.uint8), 0, 12)
        >>> starts.tolist(), ends.tolist(), consumed
        ([0, 5], [3, 8], 9)
    """
    if not 0 <= begin <= end:
        raise ValueError(f"begin={begin} and end={end}: must be 0 <= begin <= end")
    starts, ends, consumed = _find_lines(padded_input(buffer, end), int(begin), int(end))
    return Lines(starts, ends, consumed)


@kernel
def _find_lines(
    buffer: npt.NDArray[np.uint8], begin: int, end: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    # Room for a line feed in every other byte: memory that is never touched is never there, and counting costs a pass.
    room = (end - begin) // 2 + 1
    starts = np.empty(room, np.int64)
    ends = np.empty(room, np.int64)
    count, consumed = _fill_lines(address_of(buffer), begin, end, address_of(starts), address_of(ends))
    return starts[:count].copy(), ends[:count].copy(), consumed


@kernel
def _fill_lines(base: int, begin: int, end: int, starts: int, ends: int) -> tuple[int, int]:
    count, start = 0, begin
    for block in range(begin, end, 64):
        feeds = equal_mask(base, block, _LINE_FEED)
        while feeds:
            feed = block + lowest_bit(feeds)
            if feed >= end:
                break
            feeds &= feeds - 1
            if not _is_blank(base, start, feed):
                store_i64(starts, 8 * count, start)
                store_i64(ends, 8 * count, feed)
                count += 1
            start = feed + 1
    return count, start


@kernel
def _is_blank(base: int, start: int, end: int) -> bool:
    while start < end:
        byte = load_byte(base, start)
        if byte not in (_SPACE, _TAB, _CARRIAGE_RETURN):
            return False
        start += 1
    return True
