"""Sets that are compared: given as words, or made of texts when they are asked for, and forgotten soon.

Documents flow in by number; the address of the set of each, and how many members it has, flow out. A text is much
smaller than the set of its shingles, and similar documents are compared with each other and with few others: so what is
held of all documents is their texts, and sets are made of those at hand, in memory that stays in the cache.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curator.kernels.characters import BLOCK
from curator.kernels.compile import kernel
from curator.kernels.shingle_sets import distinct_shingles, new_slots
from curator.kernels.shingles import STATE_FIELDS, WORDS, Shingling, fold_document, new_units, scratch_texts
from curator.kernels.unicode_tables import properties
from curator.kernels.vector import address_of, load_byte, load_u64, read_only

_POOL_WORDS = 8 << 20
"""Members of all sets that are remembered; more only if two sets need it. Pages are touched as they are needed."""

_NOT_MADE = -1
_SLACK = 4 * BLOCK

Given = tuple[
    npt.NDArray[np.uint64],
    npt.NDArray[np.uint8],
    npt.NDArray[np.int64],
    npt.NDArray[np.int32],
    tuple[int, int, int, int],
    bool,
]
"""Words, texts, where those of each document begin, properties of code points, codes of the shingling, whether the
texts count: what kernels make ``Sets`` of."""


class Sets(NamedTuple):
    """The sets of some documents, and what they are made with.

    Args:
        words: the sets one after the other; uint64; empty if there are texts.
        texts: uint8; empty if there are words.
        offsets: where the words or the text of each document begin and, last, where all end; int64.
        table: ``properties`` of code points.
        codes: of the shingling.
        is_text: whether sets are made of texts.
        pool: members of those that are made; uint64.
        made: where in the pool the set of each document begins, or -1, and its size; int64, shape (2, num_docs).
        used: of the pool; int64, shape (1,).
        slots: of ``distinct_shingles``.
        scratch: of ``fold_document``.
        state: of ``next_shingles``.
        units: of ``next_shingles``.
        seed: of tables.
    """

    words: npt.NDArray[np.uint64]
    texts: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]
    table: npt.NDArray[np.int32]
    codes: tuple[int, int, int, int]
    is_text: bool
    pool: npt.NDArray[np.uint64]
    made: npt.NDArray[np.int64]
    used: npt.NDArray[np.int64]
    slots: npt.NDArray[np.uint32]
    scratch: npt.NDArray[np.uint8]
    state: npt.NDArray[np.int64]
    units: npt.NDArray[np.uint64]
    seed: np.uint64


def given_words(words: npt.NDArray[np.uint64], offsets: npt.NDArray[np.int64]) -> Given:
    """Sets as they are: uint64, none twice in each; and where they begin, checked."""
    no_texts = read_only(np.zeros(1, np.uint8), np.uint8)
    return read_only(words, np.uint64), no_texts, offsets, properties(), Shingling().codes(), False  # type: ignore[return-value]


def given_texts(texts: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64], shingling: Shingling) -> Given:
    """Texts, padded, and where they begin, checked; of which the sets of shingles are compared."""
    no_words = read_only(np.zeros(1, np.uint64), np.uint64)
    return no_words, texts, offsets, properties(), shingling.codes(), True  # type: ignore[return-value]


@kernel
def new_sets(given: Given, seed: np.uint64) -> Sets:
    """Sets of which none is made yet."""
    words, texts, offsets, table, codes, is_text = given
    count, most = len(offsets) - 1, largest_size(given)
    room, bits = (max(_POOL_WORDS, 2 * most) if is_text else int(np.int64(1))), int(np.int64(0))
    while is_text and 1 << bits < 2 * most:
        bits += 1
    return Sets(
        words,
        texts,
        offsets,
        table,
        codes,
        is_text,
        np.empty(room, np.uint64),
        np.full((2, count), _NOT_MADE, np.int64),
        np.zeros(1, np.int64),
        np.empty(1 << bits, np.uint32) if 1 << bits > len(new_slots()) else new_slots(),
        scratch_texts(offsets) if is_text else np.empty((2, 1), np.uint8),
        np.empty(STATE_FIELDS, np.int64),
        new_units(),
        seed,
    )


@kernel
def largest_size(given: Given) -> int:
    """Members that the largest set may have, and some more where they are written by blocks."""
    _, _, offsets, _, codes, is_text = given
    longest = int(np.int64(1))
    for index in range(len(offsets) - 1):
        longest = max(longest, int(offsets[index + 1] - offsets[index]))
    return _most_shingles(longest, codes[0]) if is_text else longest


@kernel
def _most_shingles(num_bytes: int, unit: int) -> int:
    """Folding makes a text longer by half at most; a word has a byte, and another one behind it."""
    return (3 * num_bytes // 4 if unit == WORDS else 3 * num_bytes // 2) + _SLACK


@kernel
def set_of(sets: Sets, document: int) -> tuple[int, int]:
    """The address of the members of a set that has been made, and how many there are."""
    if sets.is_text:
        return address_of(sets.pool) + 8 * sets.made[0, document], sets.made[1, document]
    begin, end = sets.offsets[document], sets.offsets[document + 1]
    return address_of(sets.words) + 8 * begin, end - begin


@kernel
def make_set(sets: Sets, document: int, other: int) -> None:
    """Make the set of a document, if there is none yet; that of ``other`` stays, whatever else has to go."""
    if not sets.is_text or sets.made[0, document] != _NOT_MADE:
        return
    begin, end = sets.offsets[document], sets.offsets[document + 1]
    if sets.used[0] + _most_shingles(end - begin, sets.codes[0]) > len(sets.pool):
        _forget_all_but(sets, other)
    used = sets.used[0]
    unit, size, spaceless_size, options = sets.codes
    text, length, kind, width = fold_document(
        address_of(sets.texts), begin, end, sets.scratch, sets.table, unit, size, spaceless_size, options
    )
    # Pool and slots are as large as they may have to be, so that the set is made in its place.
    _, _, count = distinct_shingles(
        text, length, kind, width, sets.state, sets.units, sets.pool[used:], sets.slots, sets.seed
    )
    sets.made[0, document], sets.made[1, document] = used, count
    sets.used[0] = used + count


@kernel
def drop_last_set(sets: Sets, document: int) -> None:
    """Forget the set of a document that will not be asked for again, if it was made last."""
    begin = sets.made[0, document]
    if begin != _NOT_MADE and begin + sets.made[1, document] == sets.used[0]:
        sets.used[0], sets.made[0, document] = begin, _NOT_MADE


@kernel
def forget_sets(sets: Sets, documents: npt.NDArray[np.int64]) -> None:
    """Forget the sets of some documents, which are all that there are."""
    sets.used[0] = 0
    for document in documents:
        sets.made[0, document] = _NOT_MADE


@kernel
def _forget_all_but(sets: Sets, document: int) -> None:
    begin = sets.made[0, document]
    sets.made[0, :] = _NOT_MADE
    sets.used[0] = 0
    if begin == _NOT_MADE:
        return
    for index in range(sets.made[1, document]):
        sets.pool[index] = sets.pool[begin + index]
    sets.made[0, document], sets.used[0] = 0, sets.made[1, document]


@kernel
def are_equal_texts(sets: Sets, document: int, other: int) -> bool:
    """Whether two documents have texts, and the same one."""
    begin, there = sets.offsets[document], sets.offsets[other]
    length = sets.offsets[document + 1] - begin
    if not sets.is_text or sets.offsets[other + 1] - there != length:
        return False
    left, right, offset = address_of(sets.texts) + begin, address_of(sets.texts) + there, int(np.int64(0))
    while offset + 8 <= length:
        if load_u64(left, offset) != load_u64(right, offset):
            return False
        offset += 8
    while offset < length and load_byte(left, offset) == load_byte(right, offset):
        offset += 1
    return offset == length
