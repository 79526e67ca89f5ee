r"""Columns that stages made, as fields of the records that are written; all other bytes of a record stay as they are.

JSON lines and columns flow in, lines flow out: a new field goes in front of the last brace, and a field that was there
before gets its new value in its old place. Lines that the scanner does not vouch for are taken apart and put together
again. Of a table, columns are appended, or replaced where they stood.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from curator.stages.io.judge import parse
from curator.tasks import RawLines

_ANY_DEPTH = 1 << 30  # the reader has looked at it already


def add_to_lines(lines: RawLines, columns: pa.Table, names: Sequence[str], *, max_depth: int = 512) -> list[bytes]:
    r"""Lines with some fields more, each with a line feed.

    Args:
        lines: JSON objects, one a line.
        columns: has the columns to add, in the order of the lines.
        names: which ones, in the order in which they are added.
        max_depth: of what the scanner looks at.

    Example:
        >>> import numpy as np
        >>> line = np.frombuffer(b'{"text": "a", "score": null}', np.uint8).copy()
        >>> lines = RawLines(line, np.array([0]), np.array([len(line)]), 0)
        >>> add_to_lines(lines, pa.table({"score": [3], "why": ["x"]}), ["score", "why"])
        [b'{"text": "a", "score": 3, "why": "x"}\n']
    """
    from curator.kernels.json_records import MISSING, STRING, VALID, scan_records

    keys = [json.dumps(name, ensure_ascii=False).encode() for name in names]
    values = [[json_value(value) for value in columns[name].to_pylist()] for name in names]
    found = scan_records(
        lines.buffer, lines.starts, lines.ends, tuple(name.encode() for name in names), max_depth=max_depth
    )
    plain = (found.status == VALID) & (found.kinds == MISSING).all(axis=0)
    made = []
    for row in range(len(lines.starts)):
        line = lines.line(row)
        fields = [each[row] for each in values]
        if found.status[row] != VALID:
            made.append(_rendered(line, names, fields))
            continue
        if not plain[row]:
            start = int(lines.starts[row])
            places = []
            for position, value in enumerate(fields):
                if found.kinds[position, row] != MISSING:
                    quote = int(found.kinds[position, row] == STRING)
                    begin, end = int(found.begins[position, row]) - quote, int(found.ends[position, row]) + quote
                    places.append((begin - start, end - start, value))
            for begin, end, value in sorted(places, reverse=True):
                line = line[:begin] + value + line[end:]
        new = [(keys[i], value) for i, value in enumerate(fields) if found.kinds[i, row] == MISSING]
        made.append(_appended(line, new))
    return made


def add_to_table(table: pa.Table, columns: pa.Table, names: Sequence[str]) -> pa.Table:
    """A table with some columns more.

    Example:
        >>> add_to_table(pa.table({"a": [1], "b": ["x"]}), pa.table({"a": [2.5], "c": [True]}), ["a", "c"]).to_pylist()
        [{'a': 2.5, 'b': 'x', 'c': True}]
    """
    for name in names:
        field = columns.schema.field(name)
        place = table.schema.get_field_index(name)
        if place < 0:
            table = table.append_column(field, columns[name])
        else:
            table = table.set_column(place, field, columns[name])
    return table


def json_value(value: Any) -> bytes:  # noqa: ANN401
    r"""One value as JSON; what JSON has no word for is ``null``.

    Example:
        >>> json_value("ä"), json_value(float("nan")), json_value(True)
        (b'"\xc3\xa4"', b'null', b'true')
    """
    if isinstance(value, float) and not math.isfinite(value):
        return b"null"
    return json.dumps(value, ensure_ascii=False).encode()


def _appended(line: bytes, fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A line with fields in front of its last brace."""
    if not fields:
        return line + b"\n"
    brace = line.rindex(b"}")
    head = line[:brace].rstrip(b" \t\r")
    comma = b"" if head.lstrip(b" \t\r") == b"{" else b", "
    added = b", ".join(key + b": " + value for key, value in fields)
    return head + comma + added + line[brace:] + b"\n"


def _rendered(line: bytes, names: Sequence[str], fields: Sequence[bytes]) -> bytes:
    from curator.stages.io.judge import render

    record = parse(line, _ANY_DEPTH)
    kept = {key: value for key, value in record.items() if key not in names}
    return _appended(render(kept).encode(), [(json_value(n), v) for n, v in zip(names, fields, strict=True)])
