"""What is compared of many documents, in memory up to a limit, and in a file beyond it.

Texts, or sets of 64-bit words, flow in document by document and out as one array, whatever its size. A file is mapped,
and its pages are given back between chunks of work, so that no worker holds more than what it is comparing.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curator.stages.io.text_buffers import PADDING_BYTES

if TYPE_CHECKING:
    from curator.kernels.cover import Cover
    from curator.kernels.shingles import Shingling

_MOST_BUFFER_BYTES = 1 << 30
_CHUNK_SHARE = 4
"""A chunk of work touches this part of the limit at most, so that there is room for what it is compared with."""

Values = npt.NDArray[np.uint8] | npt.NDArray[np.uint64]
"""Texts, or words."""

_spare_buffers: list[npt.NDArray[np.uint8]] = []


class ContentStore:
    """Collects what is compared of documents, one after the other.

    Args:
        path: where it goes when it is more than what is held; nothing is there before that.
        held_bytes: bytes in memory.
        kind: the type of what comes: ``np.uint8`` for texts, ``np.uint64`` for words.

    Example:
        >>> store = ContentStore(Path("never made"), 1 << 10, np.uint64)
        >>> store.add(np.array([3, 5, 9], np.uint64), np.array([0, 1, 3]))
        >>> contents = store.close()
        >>> contents.values[:3].tolist(), contents.offsets.tolist(), contents.is_mapped
        ([3, 5, 9], [0, 1, 3], False)
    """

    def __init__(self, path: Path, held_bytes: int, kind: type[np.uint8 | np.uint64]) -> None:
        self._path = path
        self._held_bytes = held_bytes
        self._kind = np.dtype(kind)
        size = (min(held_bytes, _MOST_BUFFER_BYTES) // 8 + 1) * 8 + PADDING_BYTES
        fitting = [buffer for buffer in _spare_buffers if len(buffer) == size]
        _spare_buffers.clear()
        self._buffer = fitting[0] if fitting else np.empty(size, np.uint8)
        self._used = 0
        self._sizes: list[npt.NDArray[np.int64]] = [np.zeros(1, np.int64)]
        self._file: BinaryIO | None = None

    def add(self, values: Values, offsets: npt.NDArray[np.int64]) -> None:
        """Take what is compared of some documents.

        Args:
            values: uint8 or uint64, shape (n,); words come once in each document.
            offsets: where those of each document begin and, last, where all end; int64, shape (num_docs + 1,).
        """
        part = np.ascontiguousarray(values[offsets[0] : offsets[-1]], self._kind).view(np.uint8)
        self._sizes.append(np.diff(offsets))
        if self._used + len(part) > min(self._held_bytes, _MOST_BUFFER_BYTES):
            if self._file is None:
                self._file = open(self._path, "wb")  # noqa: SIM115
            for whole in (self._buffer[: self._used], part):
                self._file.write(whole.data)
            self._used = 0
            return
        self._buffer[self._used : self._used + len(part)] = part
        self._used += len(part)

    def close(self) -> Contents:
        """All that came, in its order; valid until ``release``."""
        offsets = np.cumsum(np.concatenate(self._sizes))
        self._buffer[self._used : self._used + PADDING_BYTES] = 0
        padded = self._buffer[: self._used + PADDING_BYTES]
        if self._file is None:
            return Contents(padded.view(self._kind), offsets, None, self._held_bytes)
        self._file.write(padded.data)
        self._file.close()
        with open(self._path, "rb") as handle:
            mapped = mmap.mmap(handle.fileno(), 0, prot=mmap.PROT_READ)
        return Contents(np.frombuffer(mapped, self._kind), offsets, mapped, self._held_bytes)

    def release(self) -> None:
        """Let go of the file, and leave the memory to the next store."""
        if self._file is not None:
            self._file.close()
            self._path.unlink(missing_ok=True)
        _spare_buffers.append(self._buffer)


@dataclass(frozen=True, slots=True)
class Contents:
    """What is compared of documents, one after the other.

    Args:
        values: texts, uint8, or words, none twice in each document, uint64; shape (n,), padded.
        offsets: where those of each document begin and, last, where all end; int64, shape (num_docs + 1,).
        mapped: the file behind ``values``; ``None`` if they are in memory.
        held_bytes: bytes of them that are to be in memory at a time.
    """

    values: Values
    offsets: npt.NDArray[np.int64]
    mapped: mmap.mmap | None = None
    held_bytes: int = 1 << 62

    @property
    def is_mapped(self) -> bool:
        """Whether they lie in a file."""
        return self.mapped is not None

    def chunks(self, num_bytes: npt.NDArray[np.int64]) -> Iterator[slice]:
        """Cut work into chunks that touch few enough bytes, and give back memory after each; one, if all is in memory.

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
        """Bytes of some documents; int64, shape (num_rows,)."""
        return (self.offsets[rows + 1] - self.offsets[rows]) * self.values.itemsize


@dataclass(frozen=True, slots=True)
class Members:
    """The documents of some components, and what is known of them; position ``i`` is the same document everywhere.

    Args:
        documents: uint64, shape (num_docs,), ascending.
        ids: the users' ids; large_string, shape (num_docs,).
        order: positions in keeper order; int64, shape (num_docs,).
        contents: what is compared.
        keys: keys of the buckets that a document shares with others; uint64, shape (m,).
        key_offsets: where those of each document begin and, last, where all end; int64, shape (num_docs + 1,).
        threshold: the least similarity of sets.
        num_protected: documents of earlier corpora, which come first in keeper order and never go.
        shingling: of texts; ``None`` if the contents are words.
    """

    documents: npt.NDArray[np.uint64]
    ids: pa.Array
    order: npt.NDArray[np.int64]
    contents: Contents
    keys: npt.NDArray[np.uint64]
    key_offsets: npt.NDArray[np.int64]
    threshold: float
    num_protected: int = 0
    shingling: Shingling | None = None

    def cover(
        self,
        keys: npt.NDArray[np.uint64],
        key_offsets: npt.NDArray[np.int64],
        *,
        max_comparisons: int,
        num_protected: int,
    ) -> Cover:
        """What ``kernels.cover`` decides, given the keys of the documents that count."""
        from curator.kernels.cover import cover, cover_texts

        values, offsets = self.contents.values, self.contents.offsets
        limits = {"max_comparisons": max_comparisons, "num_protected": num_protected}
        if self.shingling is None:
            words: Any = values
            return cover(self.order, words, offsets, keys, key_offsets, self.threshold, **limits)
        texts: Any = values
        return cover_texts(
            self.order, texts, offsets, keys, key_offsets, self.threshold, shingling=self.shingling, **limits
        )

    def similarities(
        self, left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], threshold: float = 0.0
    ) -> npt.NDArray[np.float64]:
        """Similarities of pairs; float64, shape (num_pairs,); -1 where they are below the threshold.

        Args:
            left: one document of each pair; int64, shape (num_pairs,).
            right: the other one.
            threshold: 0 to 1.
        """
        from curator.kernels.jaccard import pair_similarities, text_similarities

        found, values, offsets = np.empty(len(left), np.float64), self.contents.values, self.contents.offsets
        words: Any = values
        for part in self.contents.chunks(self.contents.num_bytes(left) + self.contents.num_bytes(right)):
            pairs = left[part], right[part], threshold
            if self.shingling is None:
                found[part] = pair_similarities(words, offsets, *pairs)
            else:
                found[part] = text_similarities(words, offsets, *pairs, shingling=self.shingling)
        return found
