"""UTF-8 validity, against ``bytes.decode``, through records that hold the bytes in a string."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.kernels.json_records import scan_records

EDGES = [0x20, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF]
EDGES += [0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]


def verdicts(texts):
    lines = [b'{"t":"' + text + b'"}' for text in texts]
    ends = np.cumsum([len(line) for line in lines], dtype=np.int64)
    starts = ends - np.array([len(line) for line in lines], np.int64)
    return (scan_records(np.frombuffer(b"".join(lines), np.uint8), starts, ends, (b"t",)).status == 0).tolist()


def by_python(text):
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@pytest.mark.parametrize("shift", [0, 54, 55, 56, 57, 58])
def test_all_sequences_of_critical_bytes_are_judged_as_by_python(shift):
    texts = [b"x" * shift + bytes(row) for n in (1, 2, 3) for row in itertools.product(EDGES, repeat=n)]
    assert verdicts(texts) == [by_python(text) for text in texts]


def test_four_byte_sequences_are_judged_as_by_python():
    leads, followers = (0xEF, 0xF0, 0xF1, 0xF4, 0xF5), (0x7F, 0x80, 0x8F, 0x90, 0xBF, 0xC0)
    texts = [b"x" * 55 + bytes(row) for row in itertools.product(leads, followers, followers, followers)]
    assert verdicts(texts) == [by_python(text) for text in texts]


@given(st.lists(st.binary(max_size=6) | st.text(st.characters(exclude_categories=["Cs"]), max_size=70).map(str.encode)))
def test_any_bytes_are_judged_as_by_python(parts):
    text = b"".join(parts).translate(None, bytes(range(0x20)) + b'"\\')
    assert verdicts([text]) == [by_python(text)]
