"""Gathering of strings, against Python's unescaping, and its bounds on input that nobody has checked."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.kernels.json_records import gather_strings
from curator.kernels.vector import PADDING

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from('\\"\n😀é'), max_size=150)


def gathered(pieces, escaped):
    ends = np.cumsum([len(piece) for piece in pieces], dtype=np.int64)
    begins = ends - np.array([len(piece) for piece in pieces], np.int64)
    offsets, data = gather_strings(np.frombuffer(b"".join(pieces), np.uint8), begins, ends, escaped)
    assert len(data) >= offsets[-1] + PADDING
    return [data[offsets[i] : offsets[i + 1]].tobytes() for i in range(len(pieces))]


@given(st.lists(st.tuples(TEXTS, st.booleans(), st.booleans()), max_size=6))
def test_strings_are_unescaped_only_where_asked(rows):
    pieces = [json.dumps(text, ensure_ascii=plain)[1:-1].encode() for text, plain, _ in rows]
    expected = [text.encode() if unescape else piece for (text, _, unescape), piece in zip(rows, pieces, strict=True)]
    assert gathered(pieces, [unescape for _, _, unescape in rows]) == expected


@given(
    st.lists(st.sampled_from([b"\\", b"\\u", b"\\ud83d", b"\\udc00", b"\\u12", b"x" * 61, b"n", b"\xff"]), max_size=40)
)
def test_unchecked_input_stays_inside_the_output(parts):
    whole = b"".join(parts)
    cut = [whole[place : place + 3] for place in range(0, len(whole), 3)]
    for pieces in ([whole], cut):
        assert all(
            len(out) <= len(piece) for out, piece in zip(gathered(pieces, [1] * len(pieces)), pieces, strict=True)
        )


@pytest.mark.parametrize("length", [0, 1, 63, 64, 65, 127, 128, 129, 1000])
def test_plain_strings_of_every_length_are_copied(length):
    pieces = [b"a" * length, b"", b"b" * length]
    assert gathered(pieces, [0, 0, 0]) == pieces


def test_spans_may_repeat_and_overlap_in_any_sequence():
    offsets, data = gather_strings(np.frombuffer(b"abcdef", np.uint8), [3, 0, 0, 0], [6, 6, 0, 2], [0, 0, 0, 0])
    assert offsets.tolist() == [0, 3, 9, 9, 11]
    assert data[:11].tobytes() == b"defabcdefab"


def test_as_many_flags_as_strings_are_needed():
    with pytest.raises(ValueError, match="escaped"):
        gather_strings(np.zeros(4, np.uint8), [0, 1], [1, 2], [0])
