"""Kept lines to a JSON lines file, in runs of bytes as they lie in the reader's buffer."""

from __future__ import annotations

import base64
import datetime
import decimal
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.stages.base import SinkWriter
from curator.stages.io.added_columns import add_to_lines, add_to_table
from curator.stages.io.output_file import OutputFile
from curator.tasks import DocumentBatch, RawLines, ResultTask, SplitTask, Task

_LINE_FEED = 10
_GATHER_BELOW_BYTES = 4096
"""Shorter runs are copied together by a kernel first: one write a run would cost more than the copy."""


class JsonlSplitWriter(SinkWriter):
    """Writes the file of one split."""

    def __init__(
        self,
        path: Path,
        suffix: str,
        task: SplitTask,
        unit: int,
        *,
        level: int | None,
        durable: bool,
        add_columns: Sequence[str] = (),
    ) -> None:
        compression = suffix.partition(".")[2] or "none"
        if compression == "gz" and level is not None:
            level = min(max(level, 0), 3)
        self._file = OutputFile(path, compression=compression, level=level, durable=durable)
        self._directory = path.parent
        self._task = task
        self._unit = unit
        self._add_columns = add_columns
        self._rows = 0

    def write(self, task: Task) -> None:
        """Append the documents of a batch."""
        assert isinstance(task, DocumentBatch)
        if not task.num_items:
            return
        if task.lines is not None and self._add_columns:
            self._file.write(memoryview(b"".join(add_to_lines(task.lines, task.columns, self._add_columns))))
        elif task.lines is not None:
            self._write_lines(task.lines)
        else:
            assert task.table is not None
            self._file.write(memoryview(json_lines(add_to_table(task.table, task.columns, self._add_columns))))
        self._rows += task.num_items

    def _write_lines(self, lines: RawLines) -> None:
        starts, ends, buffer = lines.starts, lines.ends, lines.buffer
        breaks = np.flatnonzero(starts[1:] != ends[:-1] + 1) + 1
        firsts = np.concatenate([[0], breaks])
        lasts = np.concatenate([breaks, [len(starts)]]) - 1
        buffer[ends[lasts]] = _LINE_FEED  # it is one already, but for the last line of a file that lacks it
        total = int((ends - starts).sum()) + len(starts)
        if total < _GATHER_BELOW_BYTES * len(firsts) and len(firsts) > 1:
            from curator.kernels.json_records import gather_strings

            nothing_escaped = np.zeros(len(firsts), np.uint8)
            offsets, data = gather_strings(buffer, starts[firsts], ends[lasts] + 1, nothing_escaped)
            self._file.write(data.data[: int(offsets[-1])])
            return
        view = buffer.data
        places = zip(starts[firsts].tolist(), (ends[lasts] + 1).tolist(), strict=True)
        self._file.write_all([view[begin:end] for begin, end in places])

    def close(self) -> ResultTask:
        """Finish the file."""
        record = self._file.close()
        return ResultTask(
            unit=self._unit,
            directory=str(self._directory),
            files={"part": record.name},
            counts={"kept": self._rows, "bytes": record.size_bytes, "digest": record.digest},
        )

    def abort(self) -> None:
        """Let go of the file."""
        self._file.abort()


def json_lines(table: pa.Table) -> bytes:
    r"""Rows of a table as JSON lines; what JSON has no word for becomes a string, not-a-number becomes null.

    Example:
        >>> json_lines(pa.table({"id": [1], "text": ["ä"]})).decode()
        '{"id": 1, "text": "ä"}\n'
    """
    dump = json.JSONEncoder(ensure_ascii=False, default=_as_json, allow_nan=False).encode
    names, columns = table.column_names, [_values(column) for column in table.columns]
    lines = []
    for values in zip(*columns, strict=True):
        row = dict(zip(names, values, strict=True))
        try:
            lines.append(dump(row))
        except ValueError:
            lines.append(dump(_finite(row)))
    return ("\n".join(lines) + "\n").encode() if lines else b""


def _values(column: pa.ChunkedArray) -> list[Any]:
    """A column as Python values; moments that Python cannot hold as text, bytes that are not UTF-8 replaced."""
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError):
        spelled = column.cast(_spelled(column.type))
    if pa.types.is_timestamp(column.type):
        spelled = pc.replace_substring(spelled, " ", "T", max_replacements=1)
    return [_decoded(value) for value in spelled.to_pylist()]


def _spelled(kind: pa.DataType) -> pa.DataType:
    """A type with moments as text, and text as bytes, at every depth."""
    if pa.types.is_temporal(kind):
        return pa.string()
    if pa.types.is_dictionary(kind):
        return _spelled(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.large_binary()
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_spelled(field.type)) for field in kind])
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.large_list(kind.value_field.with_type(_spelled(kind.value_type)))
    return kind


def _decoded(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, dict):
        return {_decoded(key): _decoded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_decoded(item) for item in value]
    return value


def _as_json(value: Any) -> str:  # noqa: ANN401
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, datetime.timedelta):
        return str(value)
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value)


def _finite(value: Any) -> Any:  # noqa: ANN401
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return value
