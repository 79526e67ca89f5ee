r"""Shingles: the n-grams of words or characters of a text, each as one 64-bit hash.

Addresses of texts flow in, blocks of hashes flow out, which ``shingle_sets`` collects and ``sketch`` consumes at once;
no Python object is made per document. Refused are parameters only; what is not UTF-8 gives hashes that mean
nothing. With case ``lower``, the words of a text are those of ``text.lower().split()``, by the Unicode version of
``unicode_tables``, and its characters the code points of ``" ".join(text.lower().split())``.

The hash is exact arithmetic modulo 2**64, the same on every machine; ``SHINGLE_VERSION`` names this definition:

* ``s(x) = x ^ x >> 32`` and ``fold(x) = s(x) * WORD``. A word of ``m`` bytes of UTF-8, in little-endian words of 8
  bytes: ``h = fold(m * LENGTH + s(last) * FIRST + s(first) * SECOND + s(second) * THIRD)``. The last 8 bytes are all,
  if there are not more; the first ones are 0 without more than 8, the second ones without more than 16. Then ``h =
  fold(h + c * FIRST)`` for each 8 bytes ``c`` from the 17th on that begin before the last ones.
* A window of ``n`` words ``h``: ``mix(n * COUNT + sum(h[i] * WINDOW ** (n - 1 - i)))``, where ``mix`` is the finaliser
  of SplitMix64.
* A window of characters, ``m`` bytes of UTF-8, of which ``c[i]`` are 8 from byte ``8 * i`` on, or the last 8 where not
  so many follow; a window of fewer is padded with zeros. ``x = m * LENGTH + sum(s(c[i]) * FIRST ** i)``, ``y = s(x) *
  SECOND``, and the hash is ``s(y)``.
* 2**64 - 1 becomes 2**64 - 2.
* A text with fewer than ``n`` units is one window of them all; a text without any has no shingles.

The constants are not secret. For texts that were not made to collide, two different shingles have equal hashes with a
probability of about 2**-64, so two documents of a million shingles each share a wrong one once in 18 million pairs.
Without ``s``, shingles that differ in the last byte of several 8 only, such as lines of columns eight wide, had equal
hashes with a probability of 2**-8.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curator.kernels.characters import (
    BLOCK,
    LARGEST,
    LARGEST_SIZE,
    OVERRUN,
    POSITION,
    next_character_windows,
)
from curator.kernels.compile import kernel
from curator.kernels.lanes import (
    MIX_FACTORS,
    MIX_SHIFTS,
    POWER,
    WORD_FACTOR,
    hash_words,
    mix_lanes,
    mix_polynomials,
    multiply_add_lanes,
)
from curator.kernels.normalise import collapse_white_space
from curator.kernels.unicode_tables import COUNT_LETTERS, LOWER, NO_PUNCTUATION, ONE_SPACE, SLACK, fold
from curator.kernels.vector import (
    address_of,
    count_bits,
    equal_mask,
    load_i64,
    load_u64,
    lowest_bit,
    shift_right,
    store_i64,
    store_u64,
)

UNITS = ("word", "char", "auto")
CASES = ("lower", "keep")
WHITE_SPACES = ("collapse", "keep")
PUNCTUATIONS = ("keep", "space")

WORDS, _CHARACTERS, _AUTO = range(3)
_BEFORE = 8  # bytes, since the last eight of a word are loaded at once, however short it is
_SPACE = 0x20
_MOST_EDGES = 256
_AT_ONCE = 24  # bytes of a word that are hashed with those of seven others
_FEW = 8  # words in a window, up to which it costs less to add them up one by one
_HELD, _START, _EDGES = POSITION + 1, POSITION + 2, POSITION + 3
STATE_FIELDS = _EDGES + _MOST_EDGES + 1 + 64
"""How far we are in the text; and of words: units held over, where an open one begins, the edges of some blocks."""

_FIRST, _WORD = np.uint64(POWER), np.uint64(WORD_FACTOR)
_WINDOW, _COUNT = np.uint64(0x5851F42D4C957F2D), np.uint64(0xA0761D6478BD642F)
_MIX_1, _MIX_2 = (np.uint64(factor) for factor in MIX_FACTORS)
_SHIFT_1, _SHIFT_2, _SHIFT_3 = (np.uint64(distance) for distance in MIX_SHIFTS)
_32 = np.uint64(32)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shingling:
    """What the shingles of a text are.

    Args:
        unit: ``word``; ``char``; or ``auto``: characters for a text of which more than half of the letters belong to
            scripts without spaces (Han, Hiragana, Katakana, Thai, Lao, Khmer, Myanmar), words for all others.
        size: units in a shingle, 1 to ``LARGEST_SIZE``.
        spaceless_size: characters in a shingle, where ``auto`` takes characters.
        case: ``lower`` or ``keep``.
        white_space: ``collapse``: a run counts as one space and none at the ends; or ``keep``. Words do not notice.
        punctuation: ``keep``, or ``space``: it counts as white space (Unicode's category P and ASCII's ``$+<=>^`|~``).

    Raises:
        ValueError: an option is not one of those.

    Example:
        >>> Shingling(unit="char", size=24).white_space
        'collapse'
    """

    unit: str = "word"
    size: int = 5
    spaceless_size: int = 5
    case: str = "lower"
    white_space: str = "collapse"
    punctuation: str = "keep"

    def __post_init__(self) -> None:
        for name, choices in (
            ("unit", UNITS),
            ("case", CASES),
            ("white_space", WHITE_SPACES),
            ("punctuation", PUNCTUATIONS),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r}: choose from {', '.join(choices)}")
        for name in ("size", "spaceless_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= LARGEST_SIZE:
                raise ValueError(f"{name}={value!r}: must be a whole number of 1 to {LARGEST_SIZE}")

    def codes(self) -> tuple[int, int, int, int]:
        """The numbers that kernels take: unit, size, size where ``auto`` takes characters, options of ``fold``."""
        unit = UNITS.index(self.unit)
        options = (LOWER if self.case == "lower" else 0) | (NO_PUNCTUATION if self.punctuation == "space" else 0)
        if self.white_space == "collapse":
            options |= ONE_SPACE
        if unit == _AUTO:
            options |= COUNT_LETTERS
        return unit, self.size, self.spaceless_size, options


@kernel
def new_units() -> npt.NDArray[np.uint64]:
    """Room for what ``next_shingles`` works on: the units, windows of some of them, and the last units of before.

    For words, three more rows have what is hashed of some of them. For characters, the first row has polynomials of all
    that follows each byte, the second one where they begin, and two more what is known of windows.
    """
    return np.empty((6, LARGEST_SIZE + BLOCK + OVERRUN), np.uint64)


@kernel
def scratch_texts(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Room for the longest of some texts, folded and then collapsed: two rows."""
    longest = np.int64(0)
    for index in range(len(offsets) - 1):
        longest = max(longest, offsets[index + 1] - offsets[index])
    return np.empty((2, _BEFORE + longest * 3 // 2 + SLACK), np.uint8)


@kernel
def fold_document(
    base: int,
    begin: int,
    end: int,
    scratch: npt.NDArray[np.uint8],
    properties: npt.NDArray[np.int32],
    unit: int,
    size: int,
    spaceless_size: int,
    options: int,
) -> tuple[int, int, int, int]:
    """Write the normalised form of a text into ``scratch``.

    Returns:
        Its address and length in bytes; 0 for words or 1 for characters; the size of its shingles.
    """
    kind, width = unit, size
    folded = address_of(scratch) + _BEFORE
    collapsed = folded + scratch.shape[1]
    wanted = options | ONE_SPACE if kind == WORDS else options
    length, letters, spaceless = fold(base, begin, end, folded, properties, wanted)
    if kind == _AUTO:
        kind = WORDS
        if 2 * spaceless > letters:
            kind, width = _CHARACTERS, spaceless_size
        elif not options & ONE_SPACE:
            length, _, _ = fold(base, begin, end, folded, properties, options | ONE_SPACE)
    if kind == _CHARACTERS and options & ONE_SPACE:
        length = collapse_white_space(folded, int(np.int64(0)), length, collapsed, int(np.int64(0)), int(np.int64(0)))
        folded = collapsed
    return folded, length, kind, width


@kernel
def begin_shingles(state: npt.NDArray[np.int64]) -> None:
    """Make ``next_shingles`` begin with a new text."""
    state[POSITION], state[_HELD], state[_START] = 0, 0, -1


@kernel
def next_shingles(
    text: int,
    length: int,
    kind: int,
    size: int,
    state: npt.NDArray[np.int64],
    units: npt.NDArray[np.uint64],
    shingles: npt.NDArray[np.uint64],
) -> int:
    """Write the next hashes of a text, in the order of the text and repeated ones too.

    Args:
        text: address of a normalised text, readable for 8 bytes before its beginning and 64 beyond its end.
        length: its bytes.
        kind: 0 for words, 1 for characters.
        size: units in a shingle.
        state: int64, shape (STATE_FIELDS,): how far we are; see ``begin_shingles``.
        units: what ``new_units`` made.
        shingles: uint64, shape (BLOCK,) or longer: the output.

    Returns:
        How many there are; 0 at the end of the text.
    """
    if kind != WORDS:
        return next_character_windows(text, length, size, state, units, shingles)
    current, held = units[0], state[_HELD]
    for index in range(held):
        current[index] = units[2, index]
    total = _next_words(text, length, held, state, units)
    if total == held:
        return 0
    kept = min(total, size - 1)
    for index in range(kept):
        units[2, index] = current[total - kept + index]
    state[_HELD] = kept
    if total < size:
        hashed = np.uint64(0)
        for index in range(total):
            hashed = hashed * _WINDOW + current[index]
        shingles[0] = min(mix(hashed + np.uint64(total) * _COUNT), LARGEST)
        return 1
    written, target, addend = total - size + 1, address_of(shingles), np.uint64(size) * _COUNT
    if size <= _FEW:
        source = address_of(current)
        for offset in range(0, 8 * written, 64):
            mix_polynomials(source, target, offset, size - 1, _WINDOW, addend)
        return written
    windows = address_of(_windows(units, total, size))
    for offset in range(0, 8 * written, 64):
        mix_lanes(windows, target, offset, addend)
    return written


@kernel
def _windows(units: npt.NDArray[np.uint64], total: int, size: int) -> npt.NDArray[np.uint64]:
    """The polynomials of all windows, from those of half the width: ``size`` in binary says which ones to join."""
    doubled, joined = address_of(units[0]), address_of(units[1])
    width, joined_width = 1, 0
    factor, joined_factor = _WINDOW, np.uint64(1)
    while True:
        if size & width:
            if joined_width == 0:
                units[1, :total] = units[0, :total]
            else:
                # The wider windows lie to the left of those that are joined already.
                for index in range(0, total, 8):
                    multiply_add_lanes(doubled, joined + 8 * width, joined, 8 * index, joined_factor)
            joined_width += width
            joined_factor *= factor
        if 2 * width > size:
            return units[1]
        for index in range(0, total, 8):
            multiply_add_lanes(doubled, doubled + 8 * width, doubled, 8 * index, factor)
        width *= 2
        factor *= factor


@kernel
def mix(word: np.uint64) -> np.uint64:
    """The finaliser of SplitMix64: a bijection that makes every bit depend on every other one."""
    word = (word ^ (word >> _SHIFT_1)) * _MIX_1
    word = (word ^ (word >> _SHIFT_2)) * _MIX_2
    return word ^ (word >> _SHIFT_3)


@kernel
def _next_words(text: int, length: int, count: int, state: npt.NDArray[np.int64], units: npt.NDArray[np.uint64]) -> int:
    """Append hashes of words to the first row of ``units``, and return how many there are.

    First the edges of many words are found, in turn where one begins and where it ends; so that the processor, which is
    bad at guessing how many words a block of 64 bytes has, must guess once for many blocks. Then what is hashed of each
    word is put side by side, and eight are hashed at a time.
    """
    position, edges = state[POSITION], address_of(state) + 8 * _EDGES
    limit = count + BLOCK
    while position <= length and limit - count > 32:
        found, space_before = int(np.int64(0)), int(np.int64(1))
        if state[_START] >= 0:
            store_i64(edges, 0, state[_START])
            found, space_before = int(np.int64(1)), int(np.int64(0))
        most = min(_MOST_EDGES, 2 * (limit - count) - 64)
        while position <= length and found <= most:
            spaces = equal_mask(text, position, _SPACE)
            if length - position < 64:
                spaces |= -1 << (length - position)
            turns = spaces ^ ((spaces << 1) | space_before)
            space_before = shift_right(spaces, 63)
            following = found + count_bits(turns)
            while found < following:
                for index in range(8):
                    store_i64(edges, 8 * (found + index), position + lowest_bit(turns))
                    turns &= turns - 1
                found += 8
            found = following
            position += 64
        _hash_words(text, edges, found >> 1, address_of(units) + 8 * count, units)
        count += found >> 1
        state[_START] = load_i64(edges, 8 * (found - 1)) if found & 1 else -1
    state[POSITION] = position
    return count


@kernel
def _hash_words(text: int, edges: int, num_words: int, target: int, units: npt.NDArray[np.uint64]) -> None:
    firsts, seconds, lasts = address_of(units[3]), address_of(units[4]), address_of(units[5])
    for offset in range(0, 8 * num_words, 8):
        begin, end = load_i64(edges, 2 * offset), load_i64(edges, 2 * offset + 8)
        store_u64(firsts, offset, load_u64(text, begin))
        store_u64(seconds, offset, load_u64(text, begin + 8))
        store_u64(lasts, offset, load_u64(text, end - 8))
    longer = int(np.int64(0))
    for offset in range(0, 8 * num_words, 64):
        longer |= hash_words(edges, firsts, seconds, lasts, target, offset)
    if longer:
        _finish_long_words(text, edges, num_words, target)


@kernel
def _finish_long_words(text: int, edges: int, num_words: int, target: int) -> None:
    """Hash what some words have beyond their 24th byte."""
    for offset in range(0, 8 * num_words, 8):
        begin, end = load_i64(edges, 2 * offset), load_i64(edges, 2 * offset + 8)
        if end - begin > _AT_ONCE:
            store_u64(target, offset, _long_word_hash(text, begin + 16, end - 8, load_u64(target, offset)))


@kernel
def _long_word_hash(text: int, begin: int, end: int, hashed: np.uint64) -> np.uint64:
    for position in range(begin, end, 8):
        hashed = _fold(hashed + load_u64(text, position) * _FIRST)
    return hashed


@kernel
def _fold(word: np.uint64) -> np.uint64:
    return (word ^ (word >> _32)) * _WORD
