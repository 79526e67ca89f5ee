"""Keys in slots, so that it is known at once who has one: the part that all such tables have in common.

The slots are in the order of what a random factor makes of the 64-bit keys, so that nobody can choose keys that end up
side by side: a key is looked for where it would be if there were no others, and in the slots behind that place. What is
found does not depend on the factor. A slot takes 12 bytes, and two thirds of them or more are in use. The key of a free
slot is 0; a key that is 0 counts as 1.
"""

from __future__ import annotations

import mmap
import secrets
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel

Slots = tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32], np.uint64]
"""Keys, the number of a document for each, and the factor, which is odd."""

_LEAST_SLOTS = 1 << 12
_MOST_USED = 0.85
_GROWTH, _MOST_GROWTH = 1.25, 4
_LARGE_BYTES = 16 << 20
"""From here on pages are large, since a few of them only half used do not matter."""

_ODD, _32 = np.uint64(0x9E3779B97F4A7C15), np.uint64(32)


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
        self.slots = _empty_slots(_LEAST_SLOTS, np.uint64(secrets.randbits(64) | 1))
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
            size = max(needed, expected, int(_GROWTH * len(self.slots[0])))
            larger = _empty_slots(size, self.slots[2])
            _move(self.slots, larger)
            self.slots = larger


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


def _empty_slots(count: int, factor: np.uint64) -> Slots:
    return new_words(count), new_words(count, np.int32), factor


@kernel
def place_of(slots: Slots, key: np.uint64) -> int:
    """The slot where a key would be if there were no others."""
    mixed = key * slots[2]
    mixed = ((mixed ^ (mixed >> _32)) * _ODD) >> _32
    return np.int64((mixed * np.uint64(len(slots[0]))) >> _32)  # type: ignore[return-value]


@kernel
def slot_behind(keys: npt.NDArray[np.uint64], slot: int) -> int:
    """The slot behind one; behind the last comes the first."""
    return 0 if slot + 1 == len(keys) else slot + 1


@kernel
def find_key(slots: Slots, key: np.uint64) -> int:
    """The first slot that has a key, or else the free one where it belongs; the key is not 0."""
    keys, slot = slots[0], place_of(slots, key)
    while keys[slot] != key and keys[slot] != 0:
        slot = slot_behind(keys, slot)
    return slot


@kernel
def _move(slots: Slots, into: Slots) -> None:
    for number in range(len(slots[0])):
        key = slots[0][number]
        if key != 0:
            slot = place_of(into, key)
            while into[0][slot] != 0:
                slot = slot_behind(into[0], slot)
            into[0][slot], into[1][slot] = key, slots[1][number]
