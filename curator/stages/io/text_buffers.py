"""String arrays as the kernels take them: offsets and bytes, with room to read beyond the last one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

PADDING_BYTES = 64
"""Bytes that the kernels may read beyond the last one."""

TextBuffers = tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]


def text_buffers(texts: pa.Array) -> TextBuffers:
    """Offsets and padded bytes of a string array; copied only if the array is sliced, narrow or not padded."""
    texts = texts.cast(pa.large_string())
    _, offsets_buffer, data_buffer = texts.buffers()
    if texts.offset == 0 and texts.null_count == 0 and data_buffer is not None:
        offsets = np.frombuffer(offsets_buffer, np.int64, len(texts) + 1)
        if data_buffer.size >= offsets[-1] + PADDING_BYTES and offsets[0] == 0:
            return offsets, np.frombuffer(data_buffer, np.uint8)
    lengths = np.zeros(len(texts) + 1, np.int64)
    filled = texts.fill_null("")
    _, offsets_buffer, data_buffer = filled.buffers()
    found = np.frombuffer(offsets_buffer, np.int64, filled.offset + len(filled) + 1)[filled.offset :]
    lengths[:] = found - found[0]
    data = np.empty(int(lengths[-1]) + PADDING_BYTES, np.uint8)
    data[lengths[-1] :] = 0
    if lengths[-1]:
        data[: lengths[-1]] = np.frombuffer(data_buffer, np.uint8)[found[0] : found[-1]]
    return lengths, data


def own_strings(strings: pa.Array) -> pa.Array:
    """A string array in memory of its own, as large_string: for those who keep it longer than what it is a part of.

    Example:
        >>> own_strings(pa.array(["a", None, "b"])[1:]).to_pylist()
        [None, 'b']
    """
    strings = strings.cast(pa.large_string())
    if strings.null_count or not len(strings):
        return strings.take(pa.array(np.arange(len(strings))))
    _, offsets_buffer, data_buffer = strings.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int64, strings.offset + len(strings) + 1)[strings.offset :]
    data = np.frombuffer(data_buffer, np.uint8)[offsets[0] : offsets[-1]].copy()
    buffers = [None, pa.py_buffer(offsets - offsets[0]), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(strings), buffers)


def single(column: pa.ChunkedArray) -> pa.Array:
    """A column in one piece, copied only if it has several.

    Example:
        >>> single(pa.chunked_array([["a"], ["b"]])).to_pylist()
        ['a', 'b']
    """
    if column.num_chunks == 1:
        return column.chunk(0)
    return pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
