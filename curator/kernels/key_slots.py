"""Keys in slots, so that it is known at once who has one: the part that all such tables have in common.

The slots are in the order of the keys, which are evenly spread 64-bit hashes: a key is looked for where it would be if
there were no others, and in the slots behind that place. A slot takes 12 bytes, and two thirds of them or more are in
use. The key of a free slot is 0; a key that is 0 counts as 1.
"""

from __future__ import annotations

import mmap
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel

Slots = tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]
"""Keys, and the number of a document for each."""

_LEAST_SLOTS = 1 << 12
_MOST_USED = 0.85
_GROWTH, _MOST_GROWTH = 1.25, 4
_LARGE_BYTES = 16 << 20
"""From here on pages are large, since a few of them only half used do not matter."""

_32 = np.uint64(32)


class KeySlots:
    """A table that grows.

    ``num_keys`` are in it. ``expected_keys`` is how many there will be at last, as far as one knows: the table then
    grows less often.

    Example:
        >>> table = KeySlots()
        >>> table.make_room(1_000_000)
        >>> round(table.num_bytes / 1_000_000)
        14
    """

    def __init__(self) -> None:
        self.slots = _empty_slots(_LEAST_SLOTS)
        self.num_keys = 0
        self.expected_keys = 0

    @property
    def num_bytes(self) -> int:
        """Bytes of the table."""
        return self.slots[0].nbytes + self.slots[1].nbytes

    def make_room(self, count: int) -> None:
        """Make the table large enough for more keys.

        Args:
            count: how many.
        """
        needed = int((self.num_keys + count) / _MOST_USED) + 1
        if needed > len(self.slots[0]):
            expected = min(int(self.expected_keys / _MOST_USED), _MOST_GROWTH * needed)
            self.slots = _move(self.slots, _empty_slots(max(needed, expected, int(_GROWTH * len(self.slots[0])))))


def new_words(count: int, kind: type[np.uint64 | np.int32] = np.uint64) -> npt.NDArray[Any]:
    """Zeros in memory of their own, which the system gets back as soon as they are gone.

    What grows again and again would leave holes in the memory that a process keeps.

    Args:
        count: how many.
        kind: of what type.

    Example:
        >>> new_words(3).tolist()
        [0, 0, 0]
    """
    size = max(1, count * np.dtype(kind).itemsize)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if size >= _LARGE_BYTES and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):
            memory.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(memory, kind, count)


def _empty_slots(count: int) -> Slots:
    return new_words(count), new_words(count, np.int32)


@kernel
def place_of(keys: npt.NDArray[np.uint64], key: np.uint64) -> int:
    """The slot where a key would be if there were no others."""
    return np.int64(((key >> _32) * np.uint64(len(keys))) >> _32)  # type: ignore[return-value]


@kernel
def slot_behind(keys: npt.NDArray[np.uint64], slot: int) -> int:
    """The slot behind one; behind the last comes the first."""
    return 0 if slot + 1 == len(keys) else slot + 1


@kernel
def find_key(keys: npt.NDArray[np.uint64], key: np.uint64) -> int:
    """The first slot that has a key, or else the free one where it belongs; the key is not 0."""
    slot = place_of(keys, key)
    while keys[slot] != key and keys[slot] != 0:
        slot = slot_behind(keys, slot)
    return slot


@kernel
def _move(slots: Slots, into: Slots) -> Slots:
    for number in range(len(slots[0])):
        key = slots[0][number]
        if key != 0:
            slot = place_of(into[0], key)
            while into[0][slot] != 0:
                slot = slot_behind(into[0], slot)
            into[0][slot], into[1][slot] = key, slots[1][number]
    return into
