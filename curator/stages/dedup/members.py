"""What is compared: sets of 64-bit words of many documents, in memory up to a limit, and in a file beyond it.

Words flow in document by document and out as one array, whatever its size. A file is mapped, and its pages are given
back between chunks of work, so that no worker holds more than the words that it is comparing.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_WORD_BYTES = 8
_MOST_BUFFER_BYTES = 1 << 30
_CHUNK_SHARE = 4
"""A chunk of work touches this part of the limit at most, so that there is room for what it is compared with."""


_spare_buffers: list[npt.NDArray[np.uint64]] = []


class WordStore:
    """Collects the words of documents, one after the other.

    Args:
        path: where they go when they are more than what is held; nothing is there before that.
        held_bytes: bytes of words in memory.

    Example:
        >>> store = WordStore(Path("never made"), 1 << 10)
        >>> store.add(np.array([3, 5, 9], np.uint64), np.array([0, 1, 3]))
        >>> words = store.close()
        >>> words.values.tolist(), words.offsets.tolist(), words.is_mapped
        ([3, 5, 9], [0, 1, 3], False)
    """

    def __init__(self, path: Path, held_bytes: int) -> None:
        self._path = path
        self._held_bytes = held_bytes
        size = min(held_bytes, _MOST_BUFFER_BYTES) // _WORD_BYTES
        fitting = [buffer for buffer in _spare_buffers if len(buffer) == size]
        _spare_buffers.clear()
        self._buffer = fitting[0] if fitting else np.empty(size, np.uint64)
        self._used = 0
        self._sizes: list[npt.NDArray[np.int64]] = [np.zeros(1, np.int64)]
        self._file: BinaryIO | None = None

    def spare(self) -> npt.NDArray[np.uint64]:
        """Room for the next words: those that are made here need not be copied. uint64, with anything in it."""
        return self._buffer[self._used :]

    def add(self, values: npt.NDArray[np.uint64], offsets: npt.NDArray[np.int64]) -> None:
        """Take the words of some documents.

        Args:
            values: uint64, shape (num_words,), none twice in each document.
            offsets: where those of each document begin and, last, where all end; int64, shape (num_docs + 1,).
        """
        part, room = values[offsets[0] : offsets[-1]], self.spare()
        self._sizes.append(np.diff(offsets))
        if len(part) > len(room):
            if self._file is None:
                self._file = open(self._path, "wb")  # noqa: SIM115
            for whole in (self._buffer[: self._used], part):
                self._file.write(np.ascontiguousarray(whole).view(np.uint8).data)
            self._used = 0
            return
        if part.ctypes.data != room.ctypes.data:
            room[: len(part)] = part
        self._used += len(part)

    def close(self) -> Words:
        """All words, in the order they came; valid until ``release``."""
        offsets = np.cumsum(np.concatenate(self._sizes))
        if self._file is None:
            return Words(self._buffer[: self._used], offsets, None, self._held_bytes)
        self._file.write(self._buffer[: self._used].view(np.uint8).data)
        self._file.close()
        with open(self._path, "rb") as handle:
            mapped = mmap.mmap(handle.fileno(), 0, prot=mmap.PROT_READ)
        return Words(np.frombuffer(mapped, np.uint64), offsets, mapped, self._held_bytes)

    def release(self) -> None:
        """Let go of the file, and leave the memory to the next store."""
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)
        _spare_buffers.append(self._buffer)


@dataclass(frozen=True, slots=True)
class Words:
    """The words of documents, one after the other.

    Args:
        values: none twice in each document; uint64, shape (num_words,).
        offsets: where those of each document begin and, last, where all end; int64, shape (num_docs + 1,).
        mapped: the file behind ``values``; ``None`` if they are in memory.
        held_bytes: bytes of words that are to be in memory at a time.
    """

    values: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.int64]
    mapped: mmap.mmap | None = None
    held_bytes: int = 1 << 62

    @property
    def is_mapped(self) -> bool:
        """Whether they lie in a file."""
        return self.mapped is not None

    def chunks(self, num_bytes: npt.NDArray[np.int64]) -> Iterator[slice]:
        """Cut work into chunks that touch few enough words, and give back memory after each; one, if all is in memory.

        Args:
            num_bytes: what each piece of the work touches; int64, shape (num_pieces,).
        """
        if self.mapped is None:
            yield slice(0, len(num_bytes))
            return
        limit = max(1, self.held_bytes // _CHUNK_SHARE)
        chunk_of = np.cumsum(num_bytes) // limit
        bounds = [*np.flatnonzero(np.diff(chunk_of, prepend=-1)).tolist(), len(num_bytes)]
        for begin, end in pairwise(bounds):
            yield slice(begin, end)
            self.mapped.madvise(mmap.MADV_DONTNEED)

    def num_bytes(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Bytes of the words of some documents; int64, shape (num_rows,)."""
        return (self.offsets[rows + 1] - self.offsets[rows]) * _WORD_BYTES


@dataclass(frozen=True, slots=True)
class Members:
    """The documents of some components, and what is known of them; position ``i`` is the same document everywhere.

    Args:
        documents: uint64, shape (num_docs,), ascending.
        ids: the users' ids; large_string, shape (num_docs,).
        order: positions in keeper order; int64, shape (num_docs,).
        words: what is compared.
        keys: keys of the buckets that a document shares with others; uint64, shape (m,).
        key_offsets: where those of each document begin and, last, where all end; int64, shape (num_docs + 1,).
        threshold: the least similarity of ``words``.
        num_protected: documents of earlier corpora, which come first in keeper order and never go.
    """

    documents: npt.NDArray[np.uint64]
    ids: pa.Array
    order: npt.NDArray[np.int64]
    words: Words
    keys: npt.NDArray[np.uint64]
    key_offsets: npt.NDArray[np.int64]
    threshold: float
    num_protected: int = 0

    def similarities(
        self, left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], threshold: float = 0.0
    ) -> npt.NDArray[np.float64]:
        """Similarities of pairs; float64, shape (num_pairs,); -1 where they are below the threshold.

        Args:
            left: one document of each pair; int64, shape (num_pairs,).
            right: the other one.
            threshold: 0 to 1.
        """
        from curator.kernels.jaccard import pair_similarities

        found = np.empty(len(left), np.float64)
        for part in self.words.chunks(self.words.num_bytes(left) + self.words.num_bytes(right)):
            found[part] = pair_similarities(self.words.values, self.words.offsets, left[part], right[part], threshold)
        return found
