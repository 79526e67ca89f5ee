"""Keys of the documents that are kept, each of which belongs to one of them: has a kept document this key?

Documents come in order, each with a key or several, and the kept document that each one lost to flows out.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.key_slots import KeySlots, Slots, find_key, new_words, place_of, slot_behind
from curator.kernels.vector import address_of, prefetch, read_only

NOT_COMPARED = -1

_GROWTH = 1.25
_PAIRS_AHEAD, _AHEAD = 32, 4
"""Documents whose slots are asked for before they are needed."""


class Decided(NamedTuple):
    """What became of some documents.

    Args:
        keepers: the number of the kept document that each one loses to, or its own if it is kept; ``NOT_COMPARED`` for
            those that do not count; int64, shape (num_docs,).
        kept: whether it is kept and has a number now; bool, shape (num_docs,).
    """

    keepers: npt.NDArray[np.int64]
    kept: npt.NDArray[np.bool_]


class KeptKeys(KeySlots):
    """The keys of kept documents, which are numbered from 0 on, in the order in which they come.

    Example:
        >>> table = KeptKeys()
        >>> decided = table.decide_words(np.array([[5, 7], [8, 9], [9, 5], [4, 7]], np.uint64), np.ones(4, np.bool_))
        >>> decided.keepers.tolist(), decided.kept.tolist()
        ([0, 1, 0, 0], [True, True, False, False])
    """

    def __init__(self) -> None:
        super().__init__()
        self._lows = new_words(0)
        self.num_kept = 0

    @property
    def num_bytes(self) -> int:
        """Bytes of the table."""
        return super().num_bytes + self._lows.nbytes

    def decide_pairs(
        self, high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64], compared: npt.NDArray[np.bool_]
    ) -> Decided:
        """Decide about documents with one 128-bit key each.

        Args:
            high: high halves of the keys; uint64, shape (num_docs,).
            low: low halves; uint64, shape (num_docs,).
            compared: whether a document counts; bool, shape (num_docs,).

        Returns:
            One is kept if it is the first with its key, and loses to the first otherwise.

        Example:
            >>> table = KeptKeys()
            >>> table.decide_pairs(*np.array([[1, 1, 1], [2, 3, 2]], np.uint64), np.ones(3, np.bool_)).keepers.tolist()
            [0, 1, 0]
        """
        self.make_room(len(high))
        if self.num_kept + len(high) > len(self._lows):
            lows = new_words(int(_GROWTH * (self.num_kept + len(high))))
            lows[: self.num_kept] = self._lows[: self.num_kept]
            self._lows = lows
        decided = Decided(np.empty(len(high), np.int64), np.zeros(len(high), np.bool_))
        self.num_kept = _decide_pairs(
            self.slots,
            self._lows,
            self.num_kept,
            read_only(high, np.uint64),  # type: ignore[arg-type]
            read_only(low, np.uint64),  # type: ignore[arg-type]
            read_only(compared, np.bool_),  # type: ignore[arg-type]
            *decided,
        )
        self.num_keys = self.num_kept
        return decided

    def decide_words(self, words: npt.NDArray[np.uint64], compared: npt.NDArray[np.bool_]) -> Decided:
        """Decide about documents with several keys each: one goes if a kept document has any of its keys.

        Args:
            words: the keys of each document; uint64, shape (num_docs, num_keys).
            compared: whether a document counts; bool, shape (num_docs,).

        Returns:
            One is kept if it shares no key with a kept document, and loses to the one that shares most keys with it
            otherwise, of several to the first.
        """
        num_docs, num_keys = words.shape
        self.make_room(num_docs * num_keys)
        decided = Decided(np.empty(num_docs, np.int64), np.zeros(num_docs, np.bool_))
        self.num_kept, self.num_keys = _decide_words(
            self.slots,
            self.num_keys,
            self.num_kept,
            read_only(words, np.uint64),  # type: ignore[arg-type]
            read_only(compared, np.bool_),  # type: ignore[arg-type]
            *decided,
        )
        return decided


@kernel
def _decide_pairs(
    slots: Slots,
    lows: npt.NDArray[np.uint64],
    num_kept: int,
    high: npt.NDArray[np.uint64],
    low: npt.NDArray[np.uint64],
    compared: npt.NDArray[np.bool_],
    keepers: npt.NDArray[np.int64],
    kept: npt.NDArray[np.bool_],
) -> int:
    keys, documents, _ = slots
    base = address_of(keys)
    for row in range(len(high)):
        prefetch(base, 8 * place_of(slots, high[min(row + _PAIRS_AHEAD, len(high) - 1)]))
        if not compared[row]:
            keepers[row] = NOT_COMPARED
            continue
        key = max(high[row], np.uint64(1))
        slot = place_of(slots, key)
        while keys[slot] != 0 and not (keys[slot] == key and lows[documents[slot]] == low[row]):
            slot = slot_behind(keys, slot)
        if keys[slot] == 0:
            keys[slot], documents[slot], lows[num_kept] = key, num_kept, low[row]
            kept[row] = True
            num_kept += 1
        keepers[row] = documents[slot]
    return num_kept


@kernel
def _decide_words(
    slots: Slots,
    used: int,
    num_kept: int,
    words: npt.NDArray[np.uint64],
    compared: npt.NDArray[np.bool_],
    keepers: npt.NDArray[np.int64],
    kept: npt.NDArray[np.bool_],
) -> tuple[int, int]:
    keys, documents, _ = slots
    num_docs, num_keys = words.shape
    places, found = np.empty(num_keys, np.int64), np.empty(num_keys, np.int64)
    base, other = address_of(keys), address_of(documents)
    for row in range(num_docs):
        for key in words[min(row + _AHEAD, num_docs - 1)]:
            prefetch(base, 8 * place_of(slots, key))
            prefetch(other, 4 * place_of(slots, key))
        if not compared[row]:
            keepers[row] = NOT_COMPARED
            continue
        num_found = 0
        for number in range(num_keys):
            places[number] = find_key(slots, max(words[row, number], np.uint64(1)))
            if keys[places[number]] != 0:
                found[num_found] = documents[places[number]]
                num_found += 1
        if num_found:
            keepers[row] = _most_frequent(found, num_found)
            continue
        for number in range(num_keys):
            key, slot = max(words[row, number], np.uint64(1)), places[number]
            if keys[slot] != 0:  # one before it took the place that was free
                slot = find_key(slots, key)
            used += keys[slot] == 0
            keys[slot], documents[slot] = key, num_kept
        keepers[row], kept[row] = num_kept, True
        num_kept += 1
    return num_kept, used


@kernel
def _most_frequent(found: npt.NDArray[np.int64], count: int) -> np.int64:
    """The number that is there most often, and of several the smallest; the first ``count`` are sorted."""
    found[:count].sort()
    best, most, begin = found[0], 0, 0
    for index in range(1, count + 1):
        if index == count or found[index] != found[begin]:
            if index - begin > most:
                best, most = found[begin], index - begin
            begin = index
    return best
