"""However a file is cut, its lines are read exactly once and the extents of its splits tile it."""

import gzip
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.stages.io.byte_stream import version_of
from curator.stages.io.line_reader import LineReader, lines_at
from curator.stages.io.splits import cut_bytes
from curator.tasks import InputFile

FILES = {
    "plain": b"one\ntwo two\nthree three three\n",
    "crlf": b"one\r\ntwo two\r\n\r\nthree\r\n",
    "blank lines": b"\n\n  \none\n\n\n \t\r\n\n\ntwo\n\n\n\n",
    "blank tail without a line feed": b"one\n\n\n   ",
    "no final line feed": b"one\ntwo\nthree",
    "one line": b"x" * 40,
    "one line, ended": b"x" * 40 + b"\n",
    "a line longer than several splits": b"a\n" + b"y" * 60 + b"\nb\n" + b"z" * 33,
    "only line feeds": b"\n" * 30,
    "only blanks": b" " * 30,
    "long blank line": b"one\n" + b" " * 50 + b"\ntwo\n",
    "empty": b"",
    "other separators": b"a\x0bb\x0cc\rd\xe2\x80\xa8e\n\x00\n",
}
LIMIT = 25


def expected(data, limit):
    """Start, line and whether it is too long, by the plainest means."""
    found, start = [], 0
    for line in data.split(b"\n"):
        if line.strip(b" \t\r"):
            found.append((start, line if len(line) <= limit else len(line)))
        start += len(line) + 1
    return found


def read_range(file, begin, end, limit, chunk_bytes):
    reader = LineReader(file, begin, end, max_record_bytes=limit, chunk_bytes=chunk_bytes)
    found = []
    for chunk in reader.chunks():
        lines = chunk.lines
        found += [(int(lines.starts[i]) + lines.offset, lines.line(i)) for i in range(len(lines.starts))]
        found += [(record.offset, record.size_bytes) for record in chunk.oversized]
    return sorted(found, key=lambda entry: entry[0]), reader.extent


def file_of(path, data):
    path.write_bytes(data)
    return InputFile(str(path), *version_of(str(path)), "jsonl")


def check_all_cuts(file, data, limit, chunk_bytes):
    for split_bytes in range(1, len(data) + 2):
        lines, position = [], 0
        for begin, end in cut_bytes(len(data), split_bytes):
            found, extent = read_range(file, begin, end, limit, chunk_bytes)
            assert extent.first_byte == position, (split_bytes, begin, end)
            position = extent.last_byte
            lines += found
        assert position == len(data), split_bytes
        assert lines == expected(data, limit), split_bytes


@pytest.mark.parametrize("chunk_bytes", [7, 64, 4096])
@pytest.mark.parametrize("name", FILES)
def test_splits_of_every_size_read_every_line_once_and_tile_the_file(name, chunk_bytes, tmp_path):
    data = FILES[name]
    check_all_cuts(file_of(tmp_path / "a.jsonl", data), data, 10**6, chunk_bytes)


@pytest.mark.parametrize("chunk_bytes", [7, 64, 4096])
@pytest.mark.parametrize("name", FILES)
def test_lines_over_the_limit_are_reported_wherever_the_cuts_lie(name, chunk_bytes, tmp_path):
    data = FILES[name]
    check_all_cuts(file_of(tmp_path / "a.jsonl", data), data, LIMIT, chunk_bytes)


@settings(max_examples=60, deadline=None)
@given(
    lines=st.lists(st.sampled_from([b"", b" ", b"a", b"bb\r", b"c" * 9, b"d" * 30]), max_size=12),
    ended=st.booleans(),
    split_bytes=st.integers(1, 80),
    chunk_bytes=st.integers(1, 60),
    limit=st.integers(1, 40),
)
def test_any_lines_in_any_splits_equal_a_naive_reading(tmp_path_factory, lines, ended, split_bytes, chunk_bytes, limit):
    data = b"\n".join(lines) + (b"\n" if ended else b"")
    file = file_of(tmp_path_factory.mktemp("lines") / "a.jsonl", data)
    found, position = [], 0
    for begin, end in cut_bytes(len(data), split_bytes):
        part, extent = read_range(file, begin, end, limit, chunk_bytes)
        assert extent.first_byte == position
        position = extent.last_byte
        found += part
    assert (found, position) == (expected(data, limit), len(data))


def test_only_the_head_of_an_oversized_line_is_held(tmp_path):
    file = file_of(tmp_path / "a.jsonl", b'{"a": "' + b"x" * 9_000_000 + b'"}\nlast\n')
    reader = LineReader(file, 0, None, max_record_bytes=1000)
    oversized, found = [], []
    for chunk in reader.chunks():
        oversized += chunk.oversized
        found += [chunk.lines.line(i) for i in range(len(chunk.lines.starts))]
    assert [(r.offset, r.size_bytes, len(r.head)) for r in oversized] == [(0, 9_000_009, 64 << 10)]
    assert found == [b"last"]


def test_a_stream_that_breaks_in_an_oversized_line_is_reported_as_damaged(tmp_path):
    packed = gzip.compress(b"first\n" + random.Random(0).randbytes(300_000).replace(b"\n", b""))
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(packed[:-5000])
    file = InputFile(str(path), *version_of(str(path)), "jsonl", "gz")
    reader = LineReader(file, 0, None, max_record_bytes=1000, chunk_bytes=4096)
    oversized = [record for chunk in reader.chunks() for record in chunk.oversized]
    assert [(record.offset, record.terminated) for record in oversized] == [(6, False)]
    assert reader.damage is not None
    assert reader.damage.reason == "truncated_stream"


@pytest.mark.parametrize("chunk_bytes", [5, 17, 4096])
@pytest.mark.parametrize("name", FILES)
def test_lines_are_found_again_at_their_places(name, chunk_bytes, tmp_path):
    data = FILES[name]
    file = file_of(tmp_path / "a.jsonl", data)
    all_lines = expected(data, 10**6)
    for step in (1, 2, 3):
        wanted = all_lines[::step]
        begins = np.array([start for start, _ in wanted], np.int64)
        ends = np.array([start + len(line) for start, line in wanted], np.int64)
        found, ranges = [], []
        for lines, first, last in lines_at(file, begins, ends, chunk_bytes=chunk_bytes):
            found += [lines.line(i) for i in range(last - first)]
            ranges += range(first, last)
        assert found == [line for _, line in wanted]
        assert ranges == list(range(len(wanted)))


def test_what_lies_far_from_all_wanted_lines_is_not_read(tmp_path):
    """A terabyte of nothing lies between two lines: whoever reads it does not come to the end."""
    path, far = tmp_path / "a.jsonl", 1 << 40
    with path.open("wb") as handle:
        handle.write(b"first\nsecond\n")
        handle.seek(far)
        handle.write(b"third\nfourth")
    file = InputFile(str(path), *version_of(str(path)), "jsonl", "none")
    begins, ends = np.array([0, 6, far, far + 6]), np.array([5, 12, far + 5, far + 12])
    ((lines, first, last),) = lines_at(file, begins, ends)
    assert [lines.line(index) for index in range(first, last)] == [b"first", b"second", b"third", b"fourth"]
    assert [lines.place(index) for index in range(4)] == begins.tolist()
    chosen = lines.take(np.array([False, True, True, False]))
    assert [chosen.place(index) for index in range(2)] == [6, far]
    assert lines.buffer[: lines.ends[-1] + 1].tobytes() == b"first\nsecond\nthird\nfourth\n"
