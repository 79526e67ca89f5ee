"""Keys of the documents that are kept, where several of them may have the same: who of them has a key of mine?

Documents come in order, each with as many keys, and pairs flow out: a document, and a kept one that has a key of it.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.key_slots import KeySlots, Slots, find_key, place_of, slot_behind
from curator.kernels.vector import address_of, prefetch, read_only

_AHEAD = 4
"""Documents whose slots are asked for before they are needed."""

_ROOM = 8
"""Pairs of a document, on the average, for which there is room at first."""


class Sharers(NamedTuple):
    """Documents that share keys with kept ones, pair by pair, as they come.

    Args:
        rows: the document; int64, shape (num_pairs,), ascending.
        numbers: the kept one; int64, shape (num_pairs,).
        keys: the key that both have; uint64, shape (num_pairs,).
        slots: where the table has the two last; int64, shape (num_pairs,).
    """

    rows: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint64]
    slots: npt.NDArray[np.int64]


class SharedKeys(KeySlots):
    """The keys of kept documents, which are numbered by those who add them.

    Example:
        >>> table = SharedKeys()
        >>> table.add(np.array([[5, 7], [5, 9]], np.uint64), np.array([0, 1]))
        >>> found = table.find(np.array([[4, 6], [9, 5]], np.uint64), np.ones(2, np.bool_))
        >>> sorted(zip(found.rows.tolist(), found.numbers.tolist(), found.keys.tolist()))
        [(1, 0, 5), (1, 1, 5), (1, 1, 9)]
    """

    def find(self, words: npt.NDArray[np.uint64], compared: npt.NDArray[np.bool_]) -> Sharers:
        """Find the kept documents that have keys of some documents.

        Args:
            words: the keys of each document; uint64, shape (num_docs, num_keys).
            compared: whether a document counts; bool, shape (num_docs,).
        """
        room = _ROOM * max(len(words), 1)
        while True:
            rows, numbers, places = np.empty((3, room), np.int64)
            found = Sharers(rows, numbers, np.empty(room, np.uint64), places)
            count = _find_all(
                self.slots,
                read_only(words, np.uint64),  # type: ignore[arg-type]
                read_only(compared, np.bool_),  # type: ignore[arg-type]
                *found,
            )
            if count <= room:
                return Sharers(rows[:count], numbers[:count], found.keys[:count], places[:count])
            room = count

    def add(self, words: npt.NDArray[np.uint64], numbers: npt.NDArray[np.int64]) -> None:
        """Add the keys of documents that are kept.

        Args:
            words: as for ``find``.
            numbers: the number of each document, below 2**31; int64, shape (num_docs,).
        """
        self.make_room(words.size)
        _add(self.slots, read_only(words, np.uint64), read_only(numbers, np.int64))  # type: ignore[arg-type]
        self.num_keys += words.size


@kernel
def _find_all(
    slots: Slots,
    words: npt.NDArray[np.uint64],
    compared: npt.NDArray[np.bool_],
    rows: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.int64],
    shared: npt.NDArray[np.uint64],
    places: npt.NDArray[np.int64],
) -> int:
    """Write the pairs for which there is room, and count all of them."""
    keys, documents, _ = slots
    base, count, room = address_of(keys), 0, len(rows)
    for row in range(len(words)):
        for key in words[min(row + _AHEAD, len(words) - 1)]:
            prefetch(base, 8 * place_of(slots, key))
        if not compared[row]:
            continue
        for word in words[row]:
            key = max(word, np.uint64(1))
            slot = find_key(slots, key)
            while keys[slot] != 0:
                if keys[slot] == key:
                    if count < room:
                        rows[count], numbers[count] = row, documents[slot]
                        shared[count], places[count] = word, slot
                    count += 1
                slot = slot_behind(keys, slot)
    return count


@kernel
def _add(slots: Slots, words: npt.NDArray[np.uint64], numbers: npt.NDArray[np.int64]) -> None:
    keys, documents, _ = slots
    base, other = address_of(keys), address_of(documents)
    for row in range(len(words)):
        for key in words[min(row + _AHEAD, len(words) - 1)]:
            prefetch(base, 8 * place_of(slots, key))
            prefetch(other, 4 * place_of(slots, key))
        for word in words[row]:
            key = max(word, np.uint64(1))
            slot = place_of(slots, key)
            while keys[slot] != 0:
                slot = slot_behind(keys, slot)
            keys[slot], documents[slot] = key, numbers[row]
