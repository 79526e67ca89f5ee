"""Normalisation of ASCII texts, against ``str``."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from curator.kernels.normalise import is_ascii, lower_and_collapse_ascii

ASCII = st.text(st.characters(max_codepoint=127), max_size=200)
SPACED = st.lists(st.sampled_from(["a", "Z", "@[`{", " ", "\n", "\x1c", "x" * 62, "\t" * 63, "\0"]), max_size=12).map(
    "".join
)


def packed(texts):
    offsets = np.zeros(len(texts) + 1, np.int64)
    np.cumsum([len(text.encode()) for text in texts], out=offsets[1:])
    return np.frombuffer("".join(texts).encode(), np.uint8), offsets


def normalised(texts, rows, lower, collapse):
    offsets, data = lower_and_collapse_ascii(*packed(texts), np.array(rows, np.int64), lower, collapse)
    return [data[offsets[i] : offsets[i + 1]].tobytes().decode("ascii") for i in range(len(rows))]


def by_python(text, lower, collapse):
    text = text.lower() if lower else text
    return " ".join(text.split()) if collapse else text


@given(st.lists(ASCII | SPACED, max_size=5), st.booleans(), st.booleans())
@example([" " * 64 + "a", "", " ", "a" + " " * 64 + "b"], True, True)
def test_texts_become_what_python_makes_of_them(texts, lower, collapse):
    rows = list(range(len(texts)))[::-1]
    expected = [by_python(texts[row], lower, collapse) for row in rows]
    assert normalised(texts, rows, lower, collapse) == expected


def test_every_ascii_byte_is_treated_as_in_python():
    texts = [f"x{chr(byte)}y{chr(byte)}" for byte in range(128)]
    for lower in (False, True):
        for collapse in (False, True):
            expected = [by_python(text, lower, collapse) for text in texts]
            assert normalised(texts, range(128), lower, collapse) == expected


@given(st.lists(st.text(max_size=100), max_size=6))
def test_ascii_texts_are_recognised(texts):
    assert is_ascii(*packed(texts)).tolist() == [text.isascii() for text in texts]


@pytest.mark.parametrize("length", [0, 1, 62, 63, 64, 65, 128])
def test_a_neighbour_that_is_not_ascii_does_not_count(length):
    texts = ["é", "x" * length, "é", "x" * length + "é"]
    assert is_ascii(*packed(texts)).tolist() == [False, True, False, False]


def test_a_row_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="rows"):
        normalised(["one"], [1], True, True)
