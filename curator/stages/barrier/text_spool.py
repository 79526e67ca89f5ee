"""Texts that are kept until the end of a run, in a file that has no name, so that it goes with the process.

Texts flow in, batch by batch, and any of them flow out again, one after the other.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curator.stages.io.output_file import storage_error

_RECENT_BYTES = 64 << 20
"""Texts that are held in memory since they were asked for."""


class TextSpool:
    """Keeps texts, which are numbered from 0 on.

    Args:
        directory: where the file lies.

    Example:
        >>> texts = pa.array(["one", "two", "three"], pa.large_string())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     spool = TextSpool(Path(folder))
        ...     spool.add(texts, np.array([0, 2]))
        ...     print(spool.take(np.array([1, 0])).to_pylist(), spool.num_bytes)
        ...     spool.close()
        ['three', 'one'] 11

    Raises:
        StorageError: the file cannot be made.
    """

    def __init__(self, directory: Path) -> None:
        self.num_bytes = 0
        self._path = directory / "texts"
        self._num_texts = 0
        self._recent: dict[int, bytes] = {}
        self._recent_bytes = 0
        self._begins = np.empty(0, np.int64)
        self._sizes = np.empty(0, np.int64)
        try:
            self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115
        except OSError as error:
            raise storage_error(self._path, error) from error

    @property
    def held_bytes(self) -> int:
        """Bytes of memory."""
        return self._begins.nbytes + self._sizes.nbytes + self._recent_bytes

    def add(self, texts: pa.Array, rows: npt.NDArray[np.int64]) -> None:
        """Keep some texts. All of them are written, since they lie side by side; those that count get numbers.

        Args:
            texts: large_string.
            rows: those that count; int64, ascending.

        Raises:
            StorageError: they cannot be written.
        """
        _, places, data = texts.buffers()
        offsets = np.frombuffer(places, np.int64, texts.offset + len(texts) + 1)[texts.offset :]
        first, last = int(offsets[0]), int(offsets[-1])
        rest = memoryview(data)[first:last] if data is not None else memoryview(b"")
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise storage_error(self._path, error) from error
        end = self._num_texts + len(rows)
        if end > len(self._begins):
            more = np.zeros(max(end, len(self._begins) // 2), np.int64)
            self._begins, self._sizes = np.append(self._begins, more), np.append(self._sizes, more)
        self._begins[self._num_texts : end] = self.num_bytes - first + offsets[rows]
        self._sizes[self._num_texts : end] = offsets[rows + 1] - offsets[rows]
        self._num_texts = end
        self.num_bytes += last - first

    def take(self, numbers: npt.NDArray[np.int64]) -> pa.Array:
        """Some texts; large_string, shape (num_texts,).

        Args:
            numbers: int64, shape (num_texts,).
        """
        sizes = self._sizes[numbers]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        wanted = zip(numbers.tolist(), self._begins[numbers].tolist(), sizes.tolist(), strict=True)
        texts = [self._recent.get(number) or self._read(number, begin, size) for number, begin, size in wanted]
        data = pa.py_buffer(b"".join(texts))
        return pa.Array.from_buffers(pa.large_string(), len(numbers), [None, pa.py_buffer(offsets), data])

    def _read(self, number: int, begin: int, size: int) -> bytes:
        """A text from the file; those that were asked for last are held, since many documents may be similar to one."""
        text = os.pread(self._file.fileno(), size, begin)
        self._recent[number] = text
        self._recent_bytes += size
        while self._recent_bytes > _RECENT_BYTES:
            self._recent_bytes -= len(self._recent.pop(next(iter(self._recent))))
        return text

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()
