"""Band keys as a column of a batch, and the words that keep documents of different scopes apart."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def pack_words(words: npt.NDArray[np.uint64]) -> pa.Array:
    """Some words of each document as a column.

    Args:
        words: uint64, contiguous, shape (num_docs, num_words).

    Example:
        >>> unpack_words(pack_words(np.array([[1, 2], [3, 4]], np.uint64))[1:]).tolist()
        [[3, 4]]
    """
    return pa.Array.from_buffers(pa.binary(8 * words.shape[1]), len(words), [None, pa.py_buffer(words)])


def unpack_words(packed: pa.Array) -> npt.NDArray[np.uint64]:
    """The inverse of ``pack_words``; uint64, shape (num_docs, num_words)."""
    count = packed.type.byte_width // 8
    words = np.frombuffer(packed.buffers()[1], np.uint64, len(packed) * count, packed.offset * 8 * count)
    return words.reshape(-1, count)


def scope_words(values: pa.Array) -> npt.NDArray[np.uint64]:
    """A word for the scope of each document, uint64, shape (num_docs,); no value is a scope as well.

    Args:
        values: what the column says, of any type that can be written as text.
    """
    from curator.kernels.xxh3 import hash_texts
    from curator.stages.io.text_buffers import text_buffers

    texts = values.cast(pa.large_string())
    offsets, data = text_buffers(texts)
    words, _ = hash_texts(data, offsets)
    return np.where(texts.is_null().to_numpy(zero_copy_only=False), np.uint64(0), words)
