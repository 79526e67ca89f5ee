"""JSON lines of a byte range, in chunks of whole lines.

Bytes flow in from a ``ByteStream``; chunks of line positions over one buffer, used again and again, flow out. A split
owns the lines that start inside its byte range, so the lines of a file are read exactly once however it is cut. A
line longer than the limit is never held in memory: its position, length and first bytes are reported instead.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from curator.stages.io.byte_stream import ByteStream, CorruptStreamError, is_remote
from curator.stages.io.text_buffers import PADDING_BYTES
from curator.tasks import InputFile, RawLines

CHUNK_BYTES = 4 << 20
"""Bytes of text in one chunk: small enough to stay in the last-level cache from the scan to the hash."""

_SEARCH_BYTES = 64 << 10
_NEAR_BYTES = {False: 16 << 10, True: 1 << 20}
"""Bytes between two wanted lines that are rather read than skipped, of a local and of a remote file."""

_LINE_FEED = 0x0A

KEPT_BYTES = 64 << 10
"""Bytes of an unreadable record that go to the quarantine."""


@dataclass(frozen=True, slots=True)
class Oversized:
    """A line that is longer than the limit: where it starts, how long it is, and its first bytes."""

    offset: int
    size_bytes: int
    head: bytes
    terminated: bool


@dataclass(slots=True)
class LineChunk:
    """Some consecutive lines; ``unterminated`` says that the last one has no line feed because the data ends there."""

    lines: RawLines
    oversized: list[Oversized] = field(default_factory=list)
    unterminated: bool = False


@dataclass(slots=True)
class Extent:
    """The bytes whose lines a split owned: the extents of a file's splits tile it without a gap."""

    first_byte: int = 0
    last_byte: int = 0


class LineReader:
    """Reads the lines that start in ``[begin, end)`` of a file.

    Args:
        file: an uncompressed or compressed JSON lines file.
        begin: first byte of the split.
        end: one past its last byte; ``None`` for the whole file.
        max_record_bytes: longest line that is read, in bytes.

    After the last chunk, ``extent`` says which bytes were covered and ``damage`` what ended a compressed file too
    early.
    """

    def __init__(
        self, file: InputFile, begin: int, end: int | None, *, max_record_bytes: int, chunk_bytes: int = CHUNK_BYTES
    ) -> None:
        self._file = file
        self._begin = begin
        self._end = end
        self._max_record_bytes = max_record_bytes
        self._chunk_bytes = min(chunk_bytes, CHUNK_BYTES)
        self._buffer = np.empty(0, np.uint8)
        self._used = 0
        self._offset = max(begin - 1, 0)
        self.extent = Extent()
        self.damage: CorruptStreamError | None = None

    def chunks(self) -> Iterator[LineChunk]:
        """The chunks, front to back; each is valid until the next one is asked for."""
        from curator.kernels.lines import find_lines

        with borrowed_buffer() as buffer, ByteStream(self._file, self._offset) as stream:
            self._buffer = buffer[: self._chunk_bytes + PADDING_BYTES]
            if self._begin:
                exhausted = self._skip_line(stream, not self._fill(stream, _SEARCH_BYTES))
            else:
                exhausted = not self._fill(stream)
            self.extent.first_byte = self.extent.last_byte = self._offset
            while self._used and not self._beyond(self._offset):
                starts, ends, consumed = find_lines(self._buffer, 0, self._used)
                oversized: list[Oversized] = []
                unterminated = False
                if not consumed:
                    if not exhausted and self._used <= self._max_record_bytes:
                        exhausted = not self._grow(stream)
                        continue
                    if exhausted:
                        self._buffer[self._used] = 10
                        starts, ends, consumed = find_lines(self._buffer, 0, self._used + 1)
                        consumed, unterminated = self._used, True
                    else:
                        oversized, exhausted = self._skip_oversized(stream)
                        self.extent.last_byte = self._offset
                        yield LineChunk(RawLines(self._buffer, starts, ends, self._offset), oversized)
                        continue
                base = self._offset
                last = base + consumed
                if self._end is not None and last > self._end:
                    feed = self._find_newline(self._end - 1 - base)
                    last = base + feed + 1 if feed >= 0 else last  # none: the file ends without one
                    own = int(np.searchsorted(starts, self._end - base))
                    starts, ends = starts[:own], ends[:own]
                too_long = np.flatnonzero(ends - starts > self._max_record_bytes)
                if len(too_long):
                    oversized = [self._report(int(starts[i]), int(ends[i])) for i in too_long]
                    keep = np.ones(len(starts), np.bool_)
                    keep[too_long] = False
                    starts, ends = starts[keep], ends[keep]
                self.extent.last_byte = last
                yield LineChunk(RawLines(self._buffer, starts, ends, base), oversized, unterminated)
                if self._beyond(last):
                    return
                self._drop(consumed)
                exhausted = not self._fill(stream)
            self.damage = stream.damage

    def _beyond(self, position: int) -> bool:
        return self._end is not None and position >= self._end

    def _report(self, start: int, end: int) -> Oversized:
        head = self._buffer[start : min(end, start + KEPT_BYTES)].tobytes()
        return Oversized(self._offset + start, end - start, head, terminated=True)

    def _fill(self, stream: ByteStream, limit: int | None = None) -> bool:
        """Read until the buffer is full or the split has ended; False when the file has ended."""
        room = len(self._buffer) - PADDING_BYTES - self._used
        if limit is None and self._end is not None:
            limit = max(self._end - self._offset - self._used, 0) + _SEARCH_BYTES
        if limit is not None:
            room = min(room, limit)
        try:
            view = self._buffer.data[self._used : self._used + room]
            count = stream.readinto(view)
        except CorruptStreamError:
            return False
        self._used += count
        return count == room and room > 0

    def _grow(self, stream: ByteStream) -> bool:
        """Read more of a line that is longer than what has been read."""
        if self._used < len(self._buffer) - PADDING_BYTES:
            return self._fill(stream)
        capacity = min(2 * len(self._buffer), self._max_record_bytes + CHUNK_BYTES + PADDING_BYTES)
        bigger = np.empty(capacity, np.uint8)
        bigger[: self._used] = self._buffer[: self._used]
        self._buffer = bigger
        return self._fill(stream)

    def _drop(self, count: int) -> None:
        rest = self._used - count
        self._buffer[:rest] = self._buffer[count : self._used].copy()
        self._offset += count
        self._used = rest

    def _find_newline(self, start: int = 0) -> int:
        for begin in range(max(start, 0), self._used, _SEARCH_BYTES):
            window = self._buffer[begin : min(begin + _SEARCH_BYTES, self._used)].tobytes()
            if (position := window.find(b"\n")) >= 0:
                return begin + position
        return -1

    def _skip_line(self, stream: ByteStream, exhausted: bool) -> bool:
        """Leave out the line that began before this split; returns whether the file has ended."""
        while (position := self._find_newline()) < 0:
            self._drop(self._used)
            if exhausted:
                return True
            exhausted = not self._fill(stream)
        self._drop(position + 1)
        return exhausted if exhausted else not self._fill(stream)

    def _skip_oversized(self, stream: ByteStream) -> tuple[list[Oversized], bool]:
        """Leave out a line that is longer than the limit, read and forget the rest of it; nothing if it is blank."""
        start, head, exhausted, blank = self._offset, self._buffer[:KEPT_BYTES].tobytes(), False, True
        while (position := self._find_newline()) < 0:
            blank = blank and self._begins_blank(self._used)
            self._drop(self._used)
            if exhausted:
                return [Oversized(start, self._offset - start, head, terminated=False)] * (not blank), True
            exhausted = not self._fill(stream)
        blank = blank and self._begins_blank(position)
        size = self._offset + position - start
        self._drop(position + 1)
        if len(self._buffer) > 2 * CHUNK_BYTES:
            self._buffer = np.concatenate([self._buffer[: self._used], np.empty(CHUNK_BYTES, np.uint8)])
        found = [Oversized(start, size, head, terminated=True)] * (not blank)
        return found, exhausted if exhausted else not self._fill(stream)

    def _begins_blank(self, count: int) -> bool:
        return not self._buffer[:count].tobytes().strip(b" \t\r")


_spare_buffers: list[npt.NDArray[np.uint8]] = []


@contextmanager
def borrowed_buffer() -> Iterator[npt.NDArray[np.uint8]]:
    """A buffer for one chunk, which the next borrower gets again: memory that has been touched costs nothing to touch.

    Yields:
        uint8, shape (``CHUNK_BYTES + PADDING_BYTES``,), with anything in it.
    """
    buffer = _spare_buffers.pop() if _spare_buffers else np.empty(CHUNK_BYTES + PADDING_BYTES, np.uint8)
    try:
        yield buffer
    finally:
        _spare_buffers.append(buffer)


def lines_at(
    file: InputFile, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64], *, chunk_bytes: int = CHUNK_BYTES
) -> Iterator[tuple[RawLines, int, int]]:
    """Read lines again whose places are known, front to back, without looking for line ends.

    Args:
        file: the file as planned.
        begins: int64, shape (num_lines,), ascending: first byte of each line.
        ends: int64, shape (num_lines,): one past its last byte.
        chunk_bytes: bytes held at a time, more only for a single longer line.

    Yields:
        The lines over one buffer that is used again, one after the other, and the range ``first:last`` of the arguments
        that they are. Of a file that can be read in places, what lies far from all of them is not read.

    Raises:
        CorruptStreamError: the file is damaged, or ends too early.
    """
    if not len(begins):
        return
    near = np.iinfo(np.int64).max if file.compression != "none" else _NEAR_BYTES[is_remote(file.path)]
    gaps = begins[1:] - ends[:-1]
    breaks = np.flatnonzero(gaps > near) + 1
    gaps[breaks - 1] = 1  # a line feed is all that is left of what is not read
    before = np.concatenate([np.zeros(1, np.int64), np.cumsum(gaps)])
    ends_here = np.cumsum(ends - begins) + before
    begins_here = ends_here - (ends - begins)
    first, num_lines = 0, len(begins)
    with borrowed_buffer() as borrowed, ByteStream(file, int(begins[0])) as stream:
        while first < num_lines:
            start = int(begins_here[first])
            last = max(int(np.searchsorted(ends_here, start + min(chunk_bytes, CHUNK_BYTES), side="right")), first + 1)
            needed = int(ends_here[last - 1]) - start
            buffer = borrowed if needed <= CHUNK_BYTES else np.empty(needed + PADDING_BYTES, np.uint8)
            inside = breaks[np.searchsorted(breaks, first, side="right") : np.searchsorted(breaks, last)]
            run_begins, run_ends = np.append(first, inside), np.append(inside, last) - 1
            places = begins[run_begins].tolist()
            heres, theres = begins_here[run_begins] - start, ends_here[run_ends] - start
            for place, here, there in zip(places, heres.tolist(), theres.tolist(), strict=True):
                if stream.readinto_at(buffer.data[here:there], place) < there - here:
                    raise CorruptStreamError("truncated_stream", "the file ends before the rows that it held")
            buffer[theres] = _LINE_FEED
            own = slice(first, last)
            offset = begins[own] - begins_here[own] + start
            one_place = offset if len(inside) else int(offset[0])
            yield RawLines(buffer, begins_here[own] - start, ends_here[own] - start, one_place), first, last
            first = last
