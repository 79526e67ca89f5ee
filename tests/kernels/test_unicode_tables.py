"""The pinned tables against the interpreter's own, and folding against ``str.lower`` and ``str.split``."""

import base64
import unicodedata
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curator.kernels import unicode_tables
from curator.kernels.unicode_tables import (
    CASE_IGNORABLE,
    CASED,
    COUNT_LETTERS,
    LETTER,
    LOWER,
    NO_PUNCTUATION,
    ONE_SPACE,
    PUNCTUATION,
    SPACELESS,
    WHITE_SPACE,
    fold_text,
    properties,
)
from curator.kernels.versions import UNICODE_VERSION
from tests.kernels.plain_shingles import is_letter, is_punctuation, is_spaceless

SIGMA = "\u03c3"
SURROGATES = range(0xD800, 0xE000)
TEXT = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=120)
TRICKY = st.text(st.sampled_from("ΣΣ\u03c3ςaA.'\u00ad\u0301 İI\u0131ǅßẞ\U00010400文\u3000\x85\x1c-"), max_size=80)
same_version = pytest.mark.skipif(
    unicodedata.unidata_version != UNICODE_VERSION, reason="this Python has another version of Unicode"
)


def entry(point):
    """What ``properties`` should hold, from the methods of ``str`` alone."""
    character = chr(point)
    lowered = character.lower()
    flags = WHITE_SPACE if character.isspace() else 0
    flags |= PUNCTUATION if is_punctuation(character) else 0
    # A sigma shows what its neighbour is: it ends a word unless a cased letter follows, ignorable ones left aside.
    if f"AΣ{character}".lower()[1] == SIGMA:
        flags |= CASED
    elif f"AΣ{character}A".lower()[1] == SIGMA:
        flags |= CASE_IGNORABLE
    if is_letter(character):
        flags |= LETTER | (SPACELESS if is_spaceless(character) else 0)
    return (ord(lowered) - point if len(lowered) == 1 else 0) << 8 | flags


@same_version
def test_the_tables_are_those_of_the_pinned_version():
    expected = np.array([0 if point in SURROGATES else entry(point) for point in range(0x110000)], np.int32)
    changes = np.flatnonzero(np.diff(expected, prepend=~expected[0]))
    runs = np.stack([np.diff(changes, append=len(expected)), expected[changes]]).astype("<i4")
    planes = runs.view(np.uint8).reshape(2, -1, 4).transpose(0, 2, 1).copy()
    packed = base64.b85encode(zlib.compress(planes.tobytes(), 9))
    assert zlib.decompress(base64.b85decode(unicode_tables.RUNS)) == planes.tobytes(), f"RUNS should be {packed!r}"


@same_version
def test_the_table_that_kernels_read_says_the_same():
    table = properties()
    points = np.arange(0x110000)
    found = table[table[points >> 7] + (points & 127)]
    expected = [0 if point in SURROGATES else entry(point) for point in points.tolist()]
    assert found.tolist() == expected


def test_the_table_covers_everything_that_four_bytes_can_spell():
    table = properties()
    points = np.arange(0x110000, 0x200000)
    assert not table[table[points >> 7] + (points & 127)].any()


@same_version
def test_only_one_code_point_becomes_two():
    longer = [point for point in range(0x110000) if len(chr(point).lower()) > 1]
    assert longer == [0x130]


@same_version
@given(TEXT | TRICKY)
@example("ΔΣ" + "\u0301" * 70 + "Δ")
@example("x" * 63 + "Σ " + "y" * 63 + "ΔΣ")
@example("İ" * 200)
def test_folded_texts_are_what_python_makes_of_them(text):
    assert fold_text(text, LOWER) == text.lower()
    assert [word for word in fold_text(text).split(" ") if word] == text.lower().split()
    assert [word for word in fold_text(text, ONE_SPACE).split(" ") if word] == text.split()


@same_version
def test_every_character_is_folded_as_in_python():
    characters = [chr(point) for point in range(0x110000) if point not in SURROGATES]
    for begin in range(0, len(characters), 5000):
        text = "".join(f"a{character}b{character}" for character in characters[begin : begin + 5000])
        assert fold_text(text, LOWER) == text.lower()
        assert [word for word in fold_text(text).split(" ") if word] == text.lower().split()


@same_version
@given(TEXT | TRICKY)
def test_punctuation_becomes_a_space(text):
    expected = "".join(" " if is_punctuation(character) else character for character in text.lower())
    assert fold_text(text, LOWER | NO_PUNCTUATION) == expected
    assert fold_text(text, LOWER | NO_PUNCTUATION | COUNT_LETTERS) == expected


@same_version
def test_the_longest_expansion_fits():
    for character in "İȺȾ":
        for count in (1, 21, 22, 64, 1000):
            assert fold_text(character * count) == character.lower() * count


@given(st.binary(max_size=200))
def test_bytes_that_are_no_utf8_do_no_harm(data):
    source = np.zeros(len(data) + unicode_tables.SLACK, np.uint8)
    source[: len(data)] = np.frombuffer(data, np.uint8)
    target = np.full(len(data) * 3 // 2 + 2 * unicode_tables.SLACK, 0xA5, np.uint8)
    unicode_tables._fold_one(source, len(data), target, properties(), LOWER | ONE_SPACE | NO_PUNCTUATION)
    assert (target[len(data) * 3 // 2 + unicode_tables.SLACK :] == 0xA5).all()
