r"""Shingles: the n-grams of words or characters of a text, each as one 64-bit hash.

Addresses of texts flow in, blocks of hashes flow out, which ``shingle_sets`` collects and ``sketch`` consumes at once;
no Python object is made per document. Refused are parameters only; what is not UTF-8 gives hashes that mean
nothing. With case ``lower``, the words of a text are those of ``text.lower().split()``, by the Unicode version of
``unicode_tables``, and its characters the code points of ``" ".join(text.lower().split())``.

The hash is exact arithmetic modulo 2**64, the same on every machine; ``SHINGLE_VERSION`` names this definition:

* A word of ``m`` bytes of UTF-8, in little-endian words ``c[0], c[1], ...`` of 8 bytes, the last one padded with zeros:
  ``h = fold(m * LENGTH + c[0] * FIRST + c[1] * SECOND)``, then ``h = fold(h + c[i] * FIRST)`` for each further one,
  where ``fold(x) = (x ^ x >> 32) * WORD``. A character is its code point.
* A window of ``n`` units ``u``: ``mix(n * COUNT + sum(u[i] * WINDOW ** (n - 1 - i)))``, where ``mix`` is the finaliser
  of SplitMix64, and 2**64 - 1 becomes 2**64 - 2. A text with fewer than ``n`` units is one window of them all; a text
  without any has no shingles.

The constants are not secret. For texts that were not made to collide, two different shingles have equal hashes with a
probability of about 2**-64, so two documents of a million shingles each share a wrong one once in 18 million pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.normalise import collapse_white_space
from curator.kernels.unicode_tables import (
    COUNT_LETTERS,
    LOWER,
    NO_PUNCTUATION,
    ONE_SPACE,
    SLACK,
    decode,
    fold,
)
from curator.kernels.vector import (
    address_of,
    equal_mask,
    high_mask,
    load_byte,
    load_u64,
    lowest_bit,
    multiply_add_lanes,
    shift_right,
)

UNITS = ("word", "char", "auto")
CASES = ("lower", "keep")
WHITE_SPACES = ("collapse", "keep")
PUNCTUATIONS = ("keep", "space")
LARGEST_SIZE = 256

BLOCK = 1024
"""Most shingles that ``next_shingles`` writes at once, so that what it works on stays in the first-level cache."""

WORDS, _CHARACTERS, _AUTO = range(3)
_SPACE = 0x20
_MOST_WORDS_IN_64_BYTES = 33
_POSITION, _HELD, _START = range(3)
STATE_FIELDS = 3

_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_LENGTH, _WORD = np.uint64(0x165667B19E3779F9), np.uint64(0xD6E8FEB86659FD93)
_WINDOW, _COUNT = np.uint64(0x5851F42D4C957F2D), np.uint64(0xA0761D6478BD642F)
_MIX_1, _MIX_2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_LARGEST = np.uint64(0xFFFFFFFFFFFFFFFE)
_27, _30, _31, _32 = (np.uint64(distance) for distance in (27, 30, 31, 32))


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
    """Room for what ``next_shingles`` works on: the units, windows of some of them, and the last units of before."""
    return np.empty((3, LARGEST_SIZE + BLOCK + 8), np.uint64)


@kernel
def scratch_texts(offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """Room for the longest of some texts, folded and then collapsed: two rows."""
    longest = np.int64(0)
    for index in range(len(offsets) - 1):
        longest = max(longest, offsets[index + 1] - offsets[index])
    return np.empty((2, longest * 3 // 2 + SLACK), np.uint8)


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
    folded, collapsed = address_of(scratch), address_of(scratch) + scratch.shape[1]
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
    state[_POSITION], state[_HELD], state[_START] = 0, 0, -1


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
        text: address of a normalised text, readable for 64 bytes beyond its end.
        length: its bytes.
        kind: 0 for words, 1 for characters.
        size: units in a shingle.
        state: int64, shape (STATE_FIELDS,): how far we are; see ``begin_shingles``.
        units: what ``new_units`` made.
        shingles: uint64, shape (BLOCK,) or longer: the output.

    Returns:
        How many there are; 0 at the end of the text.
    """
    current, held = units[0], state[_HELD]
    for index in range(held):
        current[index] = units[2, index]
    if kind == WORDS:
        total = _next_words(text, length, held, state, current)
    else:
        total = _next_characters(text, length, held, state, current)
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
        shingles[0] = min(mix(hashed + np.uint64(total) * _COUNT), _LARGEST)
        return 1
    windows = _windows(units, total, size)
    written = total - size + 1
    mark = np.uint64(size) * _COUNT
    for index in range(written):
        shingles[index] = min(mix(windows[index] + mark), _LARGEST)
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
    word = (word ^ (word >> _30)) * _MIX_1
    word = (word ^ (word >> _27)) * _MIX_2
    return word ^ (word >> _31)


@kernel
def _next_words(text: int, length: int, count: int, state: npt.NDArray[np.int64], units: npt.NDArray[np.uint64]) -> int:
    """Append hashes of words to ``count`` units, whole blocks of 64 bytes at a time, and return how many there are."""
    position, start = state[_POSITION], state[_START]
    limit = count + BLOCK - _MOST_WORDS_IN_64_BYTES
    space_before = np.int64(start < 0)
    while position <= length and count <= limit:
        spaces = equal_mask(text, position, _SPACE)
        if length - position < 64:
            spaces |= -1 << (length - position)
        edges = spaces ^ ((spaces << 1) | space_before)
        ends, starts = edges & spaces, edges & ~spaces
        if space_before:
            start = position + lowest_bit(starts)
            starts &= starts - 1
        while ends:
            units[count] = _word_hash(text, start, position + lowest_bit(ends) - start)
            count += 1
            ends &= ends - 1
            start = position + lowest_bit(starts)
            starts &= starts - 1
        space_before = shift_right(spaces, 63)
        position += 64
    state[_POSITION], state[_START] = position, -1 if space_before else start
    return count


@kernel
def _word_hash(text: int, start: int, length: int) -> np.uint64:
    total = np.uint64(length) * _LENGTH
    if length <= 8:
        return _fold(total + _leading_bytes(text, start, length) * _FIRST)
    total += load_u64(text, start) * _FIRST
    if length <= 16:
        return _fold(total + _leading_bytes(text, start + 8, length - 8) * _SECOND)
    hashed = _fold(total + load_u64(text, start + 8) * _SECOND)
    for offset in range(16, length, 8):
        hashed = _fold(hashed + _leading_bytes(text, start + offset, min(length - offset, 8)) * _FIRST)
    return hashed


@kernel
def _leading_bytes(text: int, start: int, count: int) -> np.uint64:
    """One to eight bytes, little endian."""
    return load_u64(text, start) & np.uint64(shift_right(-1, 64 - 8 * count))


@kernel
def _fold(word: np.uint64) -> np.uint64:
    return (word ^ (word >> _32)) * _WORD


@kernel
def _next_characters(
    text: int, length: int, count: int, state: npt.NDArray[np.int64], units: npt.NDArray[np.uint64]
) -> int:
    """Append code points to ``count`` units, and return how many there are."""
    position, limit = state[_POSITION], count + BLOCK
    while position < length and count < limit:
        plain = min(lowest_bit(high_mask(text, position)), length - position, limit - count)
        for offset in range(plain):
            units[count + offset] = np.uint64(load_byte(text, position + offset))
        position += plain
        count += plain
        while position < length and count < limit and load_byte(text, position) >= 0x80:
            point, consumed = decode(text, position)
            units[count] = np.uint64(point)
            count += 1
            position += consumed
    state[_POSITION] = position
    return count
