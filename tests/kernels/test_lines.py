"""The positions of lines, against splitting in Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.kernels.lines import find_lines
from curator.kernels.vector import PADDING


def found(data, begin=0, end=None):
    buffer = np.frombuffer(data + b"\n" * PADDING, np.uint8)
    starts, ends, consumed = find_lines(buffer, begin, len(data) if end is None else end)
    return [(int(start), int(stop)) for start, stop in zip(starts, ends, strict=True)], consumed


def expected(data, begin=0, end=None):
    places, start = [], begin
    for position in range(begin, len(data) if end is None else end):
        if data[position] == 10:
            if data[start:position].strip(b" \t\r"):
                places.append((start, position))
            start = position + 1
    return places, start


@given(st.lists(st.sampled_from([b"\n", b" ", b"\t", b"\r", b"\v", b"a", b"x" * 61, b"\xff", b"\0"])).map(b"".join))
def test_lines_are_those_of_python_without_blank_ones(data):
    assert found(data) == expected(data)


@given(st.binary(max_size=300), st.integers(0, 300), st.integers(0, 300))
def test_only_the_asked_part_is_looked_at(data, one, other):
    data = data.replace(b"\x01", b"\n").replace(b"\x02", b"\n")
    begin, end = sorted((min(one, len(data)), min(other, len(data))))
    assert found(data, begin, end) == expected(data, begin, end)


@pytest.mark.parametrize("length", [0, 1, 62, 63, 64, 65, 127, 128, 129])
def test_a_line_feed_is_seen_at_every_place_in_a_block(length):
    data = b"x" * length + b"\n" + b"y"
    assert found(data) == expected(data)


def test_nothing_is_consumed_without_a_line_feed():
    assert found(b"no end") == ([], 0)
    assert found(b"") == ([], 0)


def test_many_tiny_lines_are_all_found():
    assert found(b"1\n" * 5000) == expected(b"1\n" * 5000)


@pytest.mark.parametrize(("begin", "end"), [(-1, 2), (2, 1), (0, 99)])
def test_a_range_outside_the_buffer_is_refused(begin, end):
    with pytest.raises(ValueError, match=r"begin|buffer"):
        find_lines(np.zeros(10, np.uint8), begin, end)
