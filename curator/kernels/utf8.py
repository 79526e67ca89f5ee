"""Whether bytes are UTF-8, 64 of them at a time.

Addresses flow in, a verdict flows out. Refused is what RFC 3629 refuses: stray and missing continuation bytes, overlong
forms, surrogates, and code points above U+10FFFF.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.vector import (
    address_of,
    between_mask,
    checked_texts,
    high_mask,
    misleading_mask,
    shift_right,
)


def are_utf8(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    r"""Find the texts that are valid UTF-8.

    Args:
        data: the texts one after the other; uint8, with ``PADDING`` bytes after the last one, or it is copied.
        offsets: where each text begins and, last, where all end; int64, shape (n + 1,).

    Raises:
        ValueError: ``offsets`` is empty, decreases, or leaves the data.

    Example:
        >>> are_utf8(np.frombuffer(b"a\xff\xc3\xa9", np.uint8), [0, 1, 2, 4]).tolist()
        [True, False, True]
    """
    return _are_utf8(*checked_texts(data, offsets))


@kernel
def is_utf8(base: int, position: int, end: int) -> bool:
    """Decide whether the bytes from ``position`` to ``end`` of a padded buffer are valid UTF-8."""
    carry = int(np.int64(0))  # a literal 0 would be a type of its own and compile twice
    while position < end:
        high = high_mask(base, position)
        if high or carry:
            carry = _check_block(base, position, end - position, carry)
            if carry < 0:
                return False
        position += 64
    return carry == 0


@kernel
def _are_utf8(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    valid = np.empty(len(offsets) - 1, np.bool_)
    base = address_of(data)
    for index in range(len(valid)):
        valid[index] = is_utf8(base, offsets[index], offsets[index + 1])
    return valid


@kernel
def _check_block(base: int, position: int, remaining: int, carry: int) -> int:
    """Check one block; bits 0 to 2 of ``carry`` say which of its first bytes must be continuations.

    Returns:
        The carry for the next block; -1 if the bytes are not UTF-8.
    """
    inside = -1 if remaining >= 64 else (1 << remaining) - 1
    continuation = between_mask(base, position, 0x80, 0xBF) & inside
    lead_2 = between_mask(base, position, 0xC2, 0xDF) & inside
    lead_3 = between_mask(base, position, 0xE0, 0xEF) & inside
    lead_4 = between_mask(base, position, 0xF0, 0xF4) & inside
    long_lead = lead_3 | lead_4
    lead = lead_2 | long_lead
    if high_mask(base, position) & inside != continuation | lead:
        return -1
    if (lead << 1) | (long_lead << 2) | (lead_4 << 3) | carry != continuation:
        return -1
    if misleading_mask(base, position) & inside:
        return -1
    return shift_right(lead, 63) | shift_right(long_lead, 62) | shift_right(lead_4, 61)
