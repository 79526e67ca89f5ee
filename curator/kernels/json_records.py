"""JSON lines: which records are beyond doubt, and where the wanted fields are.

The bytes and the positions of lines flow in; positions of values, and from them columns of strings, flow out. A record
is ``VALID`` only if it is exactly one JSON object by RFC 8259 in valid UTF-8; everything else is ``UNUSUAL`` and left
to a real parser: what is not JSON, and also what is JSON but open to interpretation (see ``scan_records``). No number
is interpreted and no Python object is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.json_strings import copy_unescaped
from curator.kernels.json_structure import (
    BOOLEAN,
    CONTAINER,
    MISSING,
    NULL,
    NUMBER,
    STRING,
    UNUSUAL,
    VALID,
    scan_record,
)
from curator.kernels.vector import PADDING, address_of, copy_block, padded_input, read_only

__all__ = [
    "BOOLEAN",
    "CONTAINER",
    "MISSING",
    "NULL",
    "NUMBER",
    "STRING",
    "UNUSUAL",
    "VALID",
    "Records",
    "gather_strings",
    "scan_records",
]


class Records(NamedTuple):
    """What is known about ``n`` records and ``F`` wanted fields; of an ``UNUSUAL`` record every field is ``MISSING``.

    Args:
        status: ``VALID`` or ``UNUSUAL``; uint8, shape (n,).
        kinds: ``MISSING``, ``STRING``, ``NULL``, ``NUMBER``, ``BOOLEAN`` or ``CONTAINER``; uint8, shape (F, n).
        begins: first byte of the value, of a string the one after its quote; int64, shape (F, n).
        ends: one past its last byte, of a string the closing quote; int64, shape (F, n).
        escaped: 1 for a string that has a backslash; uint8, shape (F, n).
    """

    status: npt.NDArray[np.uint8]
    kinds: npt.NDArray[np.uint8]
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    escaped: npt.NDArray[np.uint8]


def scan_records(
    buffer: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    names: Sequence[bytes],
    max_depth: int = 256,
) -> Records:
    r"""Judge every line and find the wanted fields among the keys of the outermost object.

    ``UNUSUAL`` is a line that is no JSON object in UTF-8, and one that is nested deeper than ``max_depth``, starts with
    a byte-order mark, has a backslash in an outermost key, has a wanted key twice, or escapes half a surrogate pair.

    Args:
        buffer: uint8, shape (num_bytes,), with ``PADDING`` bytes after the last line, or it is copied.
        starts: first byte of each line; int64, shape (n,).
        ends: one past the last byte of each line; int64, shape (n,).
        names: the wanted fields, as UTF-8, all different.
        max_depth: how many objects and arrays may be open at once, the outermost included.

    Raises:
        ValueError: a line lies outside the buffer, a name comes twice, or ``max_depth`` is not positive.

    Example:
        >>> line = b'{"id": 7, "text": "one\\ntwo"}'
        >>> records = scan_records(np.frombuffer(line, np.uint8), [0], [len(line)], (b"text", b"id"))
        >>> records.status.tolist(), records.kinds.tolist(), records.escaped.tolist()
        ([0], [[1], [3]], [[1], [0]])
        >>> line[records.begins[0, 0] : records.ends[0, 0]]
        b'one\\ntwo'
    """
    if len(set(names)) != len(names):
        raise ValueError(f"names={list(names)}: a name comes twice")
    if max_depth < 1:
        raise ValueError(f"max_depth={max_depth}: must be at least 1")
    starts, ends, used = _checked_spans(starts, ends)
    packed = _packed_names(names)
    return Records(*_scan_records(padded_input(buffer, used), starts, ends, packed, len(names), int(max_depth)))


def gather_strings(
    buffer: npt.NDArray[np.uint8],
    begins: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    escaped: npt.NDArray[np.uint8],
    reuse: npt.NDArray[np.uint8] | None = None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint8]]:
    r"""Put strings one after the other, unescaped, in the layout of Arrow's ``large_string``.

    Args:
        buffer: uint8, shape (num_bytes,), with ``PADDING`` bytes after the last string, or it is copied.
        begins: first byte of each string; int64, shape (m,).
        ends: one past its last byte; int64, shape (m,).
        escaped: not 0 where backslashes are escapes of JSON that ``scan_records`` has found valid; uint8, shape (m,).
        reuse: where to put the bytes if it is large enough; memory that has been touched before is faster by half.

    Returns:
        Offsets, int64, shape (m + 1,); and bytes, uint8, of which the first ``offsets[-1]`` are used and at least
        ``PADDING`` more can be read.

    Raises:
        ValueError: a string lies outside the buffer.

    Example:
        >>> offsets, data = gather_strings(np.frombuffer(b'a "caf\\u00e9"', np.uint8), [0, 3], [1, 12], [0, 1])
        >>> offsets.tolist(), data[: offsets[-1]].tobytes().decode()
        ([0, 1, 6], 'acafé')
    """
    begins, ends, used = _checked_spans(begins, ends)
    escaped = read_only(escaped, np.uint8)  # type: ignore[assignment]
    if len(escaped) != len(begins):
        raise ValueError(f"{len(begins)} strings, but {len(escaped)} entries in escaped")
    needed = int((ends - begins).sum()) + PADDING
    data = np.empty(needed, np.uint8) if reuse is None or len(reuse) < needed else reuse
    return _gather_strings(padded_input(buffer, used), begins, ends, escaped, data), data


def _checked_spans(
    begins: npt.ArrayLike, ends: npt.ArrayLike
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
    first: npt.NDArray[np.int64] = read_only(begins, np.int64)  # type: ignore[assignment]
    last: npt.NDArray[np.int64] = read_only(ends, np.int64)  # type: ignore[assignment]
    if len(first) != len(last):
        raise ValueError(f"{len(first)} begins, but {len(last)} ends")
    if not len(first):
        return first, last, 0
    if first.min() < 0 or (last < first).any():
        raise ValueError("a span begins before byte 0 or ends before it begins")
    return first, last, int(last.max())


def _packed_names(names: Sequence[bytes]) -> npt.NDArray[np.uint8]:
    """Offset and length of every name as int64, then the names."""
    places, offset = [], 16 * len(names)
    for name in names:
        places += [offset, len(name)]
        offset += len(name)
    packed = np.array(places, np.int64).tobytes() + b"".join(names)
    return padded_input(np.frombuffer(packed, np.uint8), len(packed))


@kernel
def _scan_records(
    buffer: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    names: npt.NDArray[np.uint8],
    num_fields: int,
    max_depth: int,
) -> tuple[
    npt.NDArray[np.uint8], npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.uint8]
]:
    count = len(starts)
    status = np.zeros(count, np.uint8)
    kinds = np.zeros((num_fields, count), np.uint8)
    value_begins = np.zeros((num_fields, count), np.int64)
    value_ends = np.zeros((num_fields, count), np.int64)
    escaped = np.zeros((num_fields, count), np.uint8)
    fields = np.zeros((num_fields, 4), np.int64)
    containers = np.zeros(max_depth + 1, np.uint8)
    base, name_base = address_of(buffer), address_of(names)
    field_base, container_base = address_of(fields), address_of(containers)
    for record in range(count):
        fields[:, 0] = MISSING
        containers[0] = 0  # numba frees an array after its last use, and scan_record has only the address
        start, end = starts[record], ends[record]
        verdict = scan_record(base, start, end, name_base, num_fields, field_base, container_base, max_depth)
        status[record] = verdict
        if verdict == VALID:
            for field in range(num_fields):
                if fields[field, 0] != MISSING:
                    kinds[field, record] = fields[field, 0]
                    value_begins[field, record] = fields[field, 1]
                    value_ends[field, record] = fields[field, 2]
                    escaped[field, record] = fields[field, 3]
    return status, kinds, value_begins, value_ends, escaped


@kernel
def _gather_strings(
    buffer: npt.NDArray[np.uint8],
    begins: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    escaped: npt.NDArray[np.uint8],
    data: npt.NDArray[np.uint8],
) -> npt.NDArray[np.int64]:
    offsets = np.empty(len(begins) + 1, np.int64)
    base, target = address_of(buffer), address_of(data)
    written = int(np.int64(0))  # a literal 0 would be a type of its own and compile twice
    offsets[0] = 0
    for index in range(len(begins)):
        begin, end = begins[index], ends[index]
        if escaped[index]:
            written = copy_unescaped(base, begin, end, target, written)
        else:
            for block in range(0, end - begin, 64):
                copy_block(base, begin + block, target, written + block)
            written += end - begin
        offsets[index + 1] = written
    data[written : written + PADDING] = 0
    return offsets
