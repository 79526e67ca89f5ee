"""Reductions of every numpy number through the few that a backend of torch has: sums of signed integers and floats.

Arrays flow in as a stage gave them and out as a backend takes them, and back. Sums of unsigned integers are those of
signed ones with the same bits. ``min`` and ``max`` go through signed integers in the order of the numbers, floats too:
backends leave open what a NaN does, numpy lets it win.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from curator.stages.collective import Array, Reduction

_SIGNED: dict[int, type[np.signedinteger[Any]]] = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}


def encode(array: Array, op: Reduction) -> Array:
    """What a backend reduces in place of ``array``.

    Args:
        array: booleans, integers, or floats of at most 64 bits, shape (num_elements,); the result may share its memory.
        op: the reduction.

    Returns:
        int8, int32, int64, float16, float32 or float64, shape (num_elements,).

    Example:
        >>> encode(np.array([0, 2**64 - 1], dtype=np.uint64), "max")
        array([-9223372036854775808,  9223372036854775807])
    """
    if op == "sum":
        encoded = array if array.dtype.kind == "f" else array.view(_signed(array))
    elif array.dtype.kind == "f":
        encoded = _ordered(array.view(_signed(array)))
        limits = np.iinfo(encoded.dtype)
        encoded[np.isnan(array)] = limits.max if op == "max" else limits.min
    elif array.dtype.kind == "u":
        encoded = array.view(_signed(array)) ^ np.iinfo(_signed(array)).min
    else:
        encoded = array.view(_signed(array))
    return encoded.astype(np.int32) if encoded.dtype == np.int16 else encoded


def decode(reduced: Array, dtype: np.dtype[Any], op: Reduction) -> Array:
    """The result, as the stage gave its array.

    Args:
        reduced: what a backend made of encoded arrays.
        dtype: what they were.
        op: the reduction.

    Returns:
        ``dtype``, shape (num_elements,).

    Example:
        >>> numbers = np.array([1.5, -np.inf, np.nan], dtype=np.float32)
        >>> decode(encode(numbers, "min"), numbers.dtype, "min")
        array([ 1.5, -inf,  nan], dtype=float32)
    """
    if op == "sum" and dtype.kind == "f":
        return reduced
    signed = _SIGNED[dtype.itemsize]
    narrow = reduced.astype(signed, copy=False)
    if op != "sum" and dtype.kind == "u":
        unsigned: Array = (narrow ^ np.iinfo(signed).min).view(dtype)
        return unsigned
    if dtype.kind != "f":
        return narrow.view(dtype)
    limits = np.iinfo(signed)
    missing = narrow == (limits.max if op == "max" else limits.min)
    decoded: Array = _ordered(narrow).view(dtype)
    decoded[missing] = np.nan
    return decoded


def _signed(array: Array) -> type[np.signedinteger[Any]]:
    return _SIGNED[array.dtype.itemsize]


def _ordered(bits: Array) -> Array:
    """Bits of floats as integers in the order of the floats, and back: the sign bit stays, negative ones turn round."""
    return np.where(bits < 0, bits ^ np.iinfo(bits.dtype).max, bits)
