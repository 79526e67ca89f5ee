"""JSON lines to document batches: positions and text by the compiled scanner, doubtful lines by the judge.

No Python object is made for a record that the scanner vouches for. The others are parsed one by one by
``judge.py``, which knows every reason to refuse a record, and good ones among them rejoin the batch in their place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curator.stages.barrier.rows import SelectedRows, read_selection
from curator.stages.io.byte_stream import check_unchanged
from curator.stages.io.judge import Verdict, judge
from curator.stages.io.line_reader import KEPT_BYTES, LineChunk, LineReader, borrowed_buffer, lines_at
from curator.tasks import DocumentBatch, Quarantined, RawLines, Selection, SplitTask

if TYPE_CHECKING:
    from curator.kernels.json_records import Records
    from curator.stages.io.read import Read

_MISSING, _STRING, _NULL = 0, 1, 2

_WITHOUT_TEXT_REASONS = {"missing": "missing_text", "null": "null_text", "other": "text_not_string"}


def read_jsonl(read: Read, task: SplitTask) -> Iterator[DocumentBatch]:
    """All records of a split, in batches of one chunk; at least one batch, also of an empty split."""
    split, file = task.split, task.split.file
    end = split.end if file.compression == "none" else None
    reader = LineReader(file, split.begin, end, max_record_bytes=read.max_record_bytes)
    next_row, position = 0, -1
    with borrowed_buffer() as text_buffer:
        for chunk in reader.chunks():
            batch = _batch(read, task, chunk, next_row, text_buffer)
            begin = reader.extent.first_byte if position < 0 else position
            position = reader.extent.last_byte
            batch.extent, batch.num_bytes = (begin, position), position - begin
            next_row += batch.num_read
            yield batch
    last = _empty_batch(read, task)
    last.extent = (reader.extent.first_byte, reader.extent.last_byte)
    if reader.damage is not None:
        damage = reader.damage
        last.quarantined.append(Quarantined(damage.reason, str(damage), reader.extent.last_byte, -1, 0, 0, b""))
    yield last
    check_unchanged(file)


def read_jsonl_selection(read: Read, task: SplitTask, selection: Selection) -> Iterator[DocumentBatch]:
    """The rows of a split that are left after a barrier, from their known places."""
    selected: SelectedRows = read_selection(selection, task.split.ordinal)
    first_batch = _empty_batch(read, task)
    first_batch.removed = selected.removed
    yield first_batch
    fields = read.fields() if read._columns else {}
    for lines, first, last in lines_at(task.split.file, selected.begins, selected.ends):
        rows = selected.rows[first:last]
        columns = (
            _columns(read, lines, fields, None)[0] if fields else pa.table({"id": pa.nulls(len(rows), pa.string())})
        )
        yield DocumentBatch(
            split=task.split,
            rows=rows,
            columns=columns,
            fields=fields,
            lines=lines,
            num_bytes=int((lines.ends - lines.starts).sum()) + len(rows),
        )
    check_unchanged(task.split.file)


def _empty_batch(read: Read, task: SplitTask) -> DocumentBatch:
    columns = pa.table({name: pa.array([], pa.large_string()) for name in read.fields()})
    return DocumentBatch(split=task.split, rows=np.empty(0, np.int64), columns=columns)


def _batch(
    read: Read, task: SplitTask, chunk: LineChunk, next_row: int, text_buffer: npt.NDArray[np.uint8]
) -> DocumentBatch:
    lines, oversized = chunk.lines, chunk.oversized
    num_lines = len(lines.starts)
    rows = next_row + np.arange(num_lines, dtype=np.int64)
    quarantined = []
    if oversized:
        places = np.array([record.offset - lines.offset for record in oversized], np.int64)
        rows += np.searchsorted(places, lines.starts)
        between = np.searchsorted(lines.starts, places)
        for index, record in enumerate(oversized):
            row = next_row + index + int(between[index])
            detail = f"{record.size_bytes:,} bytes, more than max_record_bytes={read.max_record_bytes:,}"
            quarantined.append(
                Quarantined("too_large", detail, record.offset, row, 1, record.size_bytes, record.head[:KEPT_BYTES])
            )
    columns, keep, verdicts = _columns(read, lines, read.fields(), text_buffer, last_is_open=chunk.unterminated)
    for index, verdict in verdicts.items():
        start, end = int(lines.starts[index]), int(lines.ends[index])
        quarantined.append(
            Quarantined(
                verdict.reason,
                verdict.detail,
                lines.place(index),
                int(rows[index]),
                1,
                end - start,
                lines.buffer[start : min(end, start + KEPT_BYTES)].tobytes(),
            )
        )
    quarantined.sort(key=lambda record: record.row)
    batch = DocumentBatch(
        split=task.split,
        rows=rows if keep is None else rows[keep],
        columns=columns,
        fields=read.fields(),
        lines=lines if keep is None else lines.take(keep),
        quarantined=quarantined,
        num_read=num_lines + len(oversized),
    )
    if read.without_text == "remove" and columns["text"].null_count:
        return batch.remove(columns["text"].is_null().to_numpy(), stage=read.name, reason="without_text")
    return batch


def _columns(
    read: Read,
    lines: RawLines,
    fields: dict[str, str],
    text_buffer: npt.NDArray[np.uint8] | None,
    *,
    last_is_open: bool = False,
) -> tuple[pa.Table, npt.NDArray[np.bool_] | None, dict[int, Verdict]]:
    """The wanted columns of the good lines, which those are (``None`` for all), and the verdicts on the others."""
    from curator.kernels.json_records import scan_records

    wanted = dict(fields)
    wanted.setdefault("text", read.text_field)
    names = list(dict.fromkeys(wanted.values()))
    records = scan_records(
        lines.buffer, lines.starts, lines.ends, tuple(name.encode() for name in names), max_depth=read.max_depth
    )
    text = names.index(read.text_field)
    doubtful = records.status != 0
    if read.without_text == "quarantine":
        doubtful |= records.kinds[text] != _STRING
    judged: dict[int, Verdict] = {}
    bad: dict[int, Verdict] = {}
    for index in np.flatnonzero(doubtful).tolist():
        is_open = last_is_open and index == len(lines.starts) - 1
        verdict = judge(lines.line(index), names, max_depth=read.max_depth, unterminated=is_open)
        if not verdict.reason and read.without_text == "quarantine" and verdict.kinds[text] != "string":
            kind = verdict.kinds[text]
            detail = f"field {read.text_field!r} " + {"missing": "is missing", "null": "is null"}.get(
                kind, "is no string"
            )
            verdict = Verdict(_WITHOUT_TEXT_REASONS[kind], detail)
        (bad if verdict.reason else judged)[index] = verdict
    keep = None
    if bad:
        keep = np.ones(len(lines.starts), np.bool_)
        keep[list(bad)] = False
    arrays = {
        column: _strings(
            lines,
            records,
            names.index(field),
            keep,
            judged,
            text_buffer if column == "text" else None,
            column == "text",
        )
        for column, field in fields.items()
    }
    return pa.table(arrays), keep, bad


def _strings(
    lines: RawLines,
    records: Records,
    field: int,
    keep: npt.NDArray[np.bool_] | None,
    judged: dict[int, Verdict],
    reuse: npt.NDArray[np.uint8] | None,
    text_only: bool,
) -> pa.Array:
    """One field as large_string: strings unescaped, other values as JSON, null where there is none.

    For the text column, a value that is no string is null as well: it is never compared.
    """
    from curator.kernels.json_records import gather_strings

    kinds, begins, ends = records.kinds[field], records.begins[field], records.ends[field]
    escaped = records.escaped[field]
    present = kinds == _STRING if text_only else (kinds != _MISSING) & (kinds != _NULL)
    if judged:
        present = present.copy()
        present[list(judged)] = False
    if not present.all():
        begins, ends = np.where(present, begins, 0), np.where(present, ends, 0)
        escaped = np.where(present, escaped, 0).astype(escaped.dtype)
    if keep is not None:
        begins, ends, escaped, present = begins[keep], ends[keep], escaped[keep], present[keep]
    offsets, data = gather_strings(lines.buffer, begins, ends, escaped, reuse)
    array = _large_string(offsets, data, None if present.all() else present)
    if not judged:
        return array
    rank = np.arange(len(lines.starts)) if keep is None else np.cumsum(keep) - 1
    return _with_judged(array, {int(rank[i]): v for i, v in judged.items()}, field, text_only=text_only)


def _large_string(
    offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8], valid: npt.NDArray[np.bool_] | None
) -> pa.Array:
    validity = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.Array.from_buffers(pa.large_string(), len(offsets) - 1, buffers)


def _with_judged(array: pa.Array, verdicts: dict[int, Verdict], field: int, *, text_only: bool) -> pa.Array:
    """Put the judge's values in their places."""
    values = [
        verdict.values[field] if not text_only or verdict.kinds[field] == "string" else None
        for verdict in verdicts.values()
    ]
    order = np.arange(len(array))
    order[list(verdicts)] = len(array) + np.arange(len(verdicts))
    return pa.concat_arrays([array, pa.array(values, pa.large_string())]).take(pa.array(order))
