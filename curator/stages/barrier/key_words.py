"""Keys of a table as 64-bit words: what decides in which partition a row is, the same on every machine.

One column: integers, booleans, dates and times are widened to 64 bits and mixed; floats are mixed by the bits of their
64-bit value, with one zero and one NaN; strings, binaries and decimals give the high word of the XXH3-128 of their
bytes. Further columns are mixed into the word of those before. A null has a word of its own. Equal keys give equal
words; different keys may, and then share a partition, nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_NULL = np.uint64(0x6E756C6C206B6579)
_STORED_IN = {1: pa.int8(), 8: pa.int8(), 16: pa.int16(), 32: pa.int32(), 64: pa.int64()}


def key_words(table: pa.Table, key_columns: Sequence[str]) -> npt.NDArray[np.uint64]:
    """The word of each row's key.

    Args:
        table: the rows.
        key_columns: the columns of the key, at least one.

    Returns:
        uint64, shape (num_rows,), evenly spread.

    Raises:
        ValueError: there is no such column, or its type cannot be a key.

    Example:
        >>> table = pa.table({"a": pa.array([1, 2, 1], pa.int16()), "b": ["x", "x", "x"]})
        >>> first, second, third = key_words(table, ["a", "b"])
        >>> bool(first == third), bool(first == second)
        (True, False)
    """
    from curator.kernels.partition import mix_words

    missing = [name for name in key_columns if name not in table.column_names]
    if missing:
        raise ValueError(f"there is no key column {missing[0]!r}; the columns are: {', '.join(table.column_names)}")
    mixed: npt.NDArray[np.uint64] | None = None
    for name in key_columns:
        column = table[name].combine_chunks()
        words, is_hash = _words(column, name)
        if column.null_count:
            words = np.where(column.is_null().to_numpy(zero_copy_only=False), _NULL, words)
        mixed = words if is_hash and mixed is None else mix_words(words, mixed)
    assert mixed is not None
    return mixed


def _words(column: pa.Array, name: str) -> tuple[npt.NDArray[np.uint64], bool]:
    """A word of each value, anything for nulls; and whether the words are evenly spread already."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _words(column.dictionary_decode(), name)
    if pa.types.is_floating(kind):
        floats = np.array(pc.fill_null(column.cast(pa.float64()), 0.0), np.float64)
        floats[floats == 0] = 0.0
        floats[np.isnan(floats)] = np.nan
        return floats.view(np.uint64), False
    if pa.types.is_boolean(kind):
        return np.array(pc.fill_null(column, False).cast(pa.uint8()), np.uint64), False
    if pa.types.is_decimal(kind):
        return _words(column.cast(pa.string()), name)
    if pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        stored = _STORED_IN.get(kind.bit_width)
        if stored is not None:
            integers = column if pa.types.is_integer(kind) else column.view(stored)
            values = np.asarray(pc.fill_null(integers, 0) if column.null_count else integers)
            return values.astype(np.uint64, copy=False), False
    if pa.types.is_fixed_size_binary(kind):
        return _words(column.cast(pa.large_binary()), name)
    if any(test(kind) for test in _TEXTS):
        return _text_words(column), True
    raise ValueError(
        f"column {name!r} is of type {kind}, which cannot be a key; numbers, times, strings and binaries can"
    )


_TEXTS: tuple[Any, ...] = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_string_view,
    pa.types.is_binary_view,
)


def _text_words(column: pa.Array) -> npt.NDArray[np.uint64]:
    from curator.kernels.xxh3 import hash_texts

    large = column.cast(pa.large_binary())
    if not len(large):
        return np.empty(0, np.uint64)
    _, offsets, data = large.buffers()
    positions = np.frombuffer(offsets, np.int64)[large.offset : large.offset + len(large) + 1]
    content = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    high, _ = hash_texts(content, positions)
    return high
