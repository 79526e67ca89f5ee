"""Parquet to document batches: the wanted columns of some row groups, a bounded number of rows at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from curator.errors import InputError, StageError
from curator.stages.barrier.rows import read_selection
from curator.stages.io.byte_stream import check_unchanged, is_remote
from curator.stages.io.judge import UNREADABLE_ROWS
from curator.stages.io.parquet_sizes import rows_at_once
from curator.stages.io.splits import cut_row_groups
from curator.stages.io.text_buffers import text_buffers
from curator.tasks import DocumentBatch, InputFile, Quarantined, Selection, SplitTask

if TYPE_CHECKING:
    from curator.stages.io.read import Read

_BATCH_BYTES = 8 << 20
_MAX_BATCH_ROWS = 16_384
_MAX_FOOTER_BYTES = 256 << 20
_KEPT_BYTES = 64 << 10


def _source(file: InputFile) -> Any:  # noqa: ANN401
    return fsspec.open(file.path, "rb").open() if is_remote(file.path) else file.path


def _open(file: InputFile) -> pq.ParquetFile:
    return pq.ParquetFile(
        _source(file),
        pre_buffer=False,
        thrift_string_size_limit=_MAX_FOOTER_BYTES,
        arrow_extensions_enabled=False,
        page_checksum_verification=True,
    )


def inspect_parquet(file: InputFile, text_field: str, split_bytes: int) -> tuple[InputFile, list[tuple[int, int, int]]]:
    """Look at the footer: is it whole, does it have the text, how many rows are there, where are they cut.

    Raises:
        InputError: the footer is damaged, or the columns are not what the stages need.
    """
    try:
        opened = _open(file)
        metadata, schema = opened.metadata, opened.schema_arrow
    except (pa.ArrowException, OSError) as error:
        first_line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"input_path: {file.path!r} is damaged Parquet: {first_line}") from None
    with opened:
        _check_schema(file.path, schema, text_field)
        sizes = [
            sum(metadata.row_group(g).column(c).total_compressed_size for c in range(metadata.num_columns))
            for g in range(metadata.num_row_groups)
        ]
        counted = InputFile(file.path, file.size_bytes, file.version, "parquet", num_rows=metadata.num_rows)
    return counted, cut_row_groups(sizes, split_bytes)


def column_names(file: InputFile) -> list[str]:
    """Names of the outermost columns of a file."""
    with _open(file) as opened:
        names: list[str] = opened.schema_arrow.names
        return names


def _check_schema(path: str, schema: pa.Schema, text_field: str) -> None:
    found = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
    for name in dict.fromkeys(schema.names):
        if schema.names.count(name) > 1:
            raise InputError(f"input_path: {path!r} has {schema.names.count(name)} columns named {name!r}.")
    if text_field not in schema.names:
        raise InputError(
            f"input_path: {path!r} has no column {text_field!r}. Its columns: {found}. "
            "Name the right one, for example 'stages.read.text_field=content'."
        )
    kind = schema.field(text_field).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if not _is_textual(kind):
        raise InputError(f"input_path: {path!r}: column {text_field!r} is {kind}, not text. Its columns: {found}.")


def _is_textual(kind: pa.DataType) -> bool:
    tests = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    binary = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(test(kind) for test in (*tests, *binary))


def _raw_batches(file: InputFile, groups: range, columns: list[str] | None) -> Iterator[tuple[int, pa.Table | str]]:
    """Tables of some rows, each with its first row in the split; a message for a group that is damaged."""
    row = 0
    with _open(file) as opened:
        for group in groups:
            metadata = opened.metadata.row_group(group)
            num_rows, done = metadata.num_rows, 0
            per_row = max(1, metadata.total_byte_size // max(1, num_rows))
            batch_rows = max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES // per_row))
            try:
                step = rows_at_once(_source(file), opened.metadata, group, columns, batch_rows)
                batches = opened.iter_batches(step, [group], columns=columns, use_threads=False)
                for table in _joined(batches, batch_rows):
                    yield row + done, _without_views(table)
                    done += table.num_rows
            except (pa.ArrowException, OSError) as error:
                message = str(error).splitlines()[0] if str(error) else type(error).__name__
                yield row + done, f"{num_rows - done}:{message}"
                done = num_rows
            if done < num_rows:
                yield row + done, f"{num_rows - done}:row group {group} ends after {done:,} of its {num_rows:,} rows"
            row += num_rows


def _joined(batches: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.Table]:
    """Join batches that had to be small until they are as large as they may be; what came before a fault comes too."""
    held: list[pa.RecordBatch] = []
    num_rows = num_bytes = 0
    try:
        for batch in batches:
            held.append(batch)
            num_rows, num_bytes = num_rows + batch.num_rows, num_bytes + batch.nbytes
            if any(pa.types.is_dictionary(kind) for kind in batch.schema.types):
                num_bytes = _BATCH_BYTES  # nobody knows what it will be when it is decoded
            if num_rows >= rows or num_bytes >= _BATCH_BYTES:
                yield pa.Table.from_batches(held)
                held, num_rows, num_bytes = [], 0, 0
    except (pa.ArrowException, OSError):
        if held:
            yield pa.Table.from_batches(held)
        raise
    if held:
        yield pa.Table.from_batches(held)


def read_parquet(read: Read, task: SplitTask) -> Iterator[DocumentBatch]:
    """All rows of a split; at least one batch, also of an empty split."""
    file = task.split.file
    check_unchanged(file)
    fields = {**read.fields(), "text": read.text_field}
    available = _open(file).schema_arrow.names
    wanted = None if read._whole_rows else [name for name in dict.fromkeys(fields.values()) if name in available]
    yield _empty(read, task)
    for first_row, table in _raw_batches(file, range(task.split.begin, task.split.end), wanted):
        if isinstance(table, str):
            count, _, message = table.partition(":")
            bad = Quarantined(UNREADABLE_ROWS, message, -1, first_row, int(count), 0, b"")
            yield DocumentBatch(
                split=task.split,
                rows=np.empty(0, np.int64),
                columns=_empty(read, task).columns,
                quarantined=[bad],
                num_read=int(count),
            )
            continue
        yield _batch(read, task, first_row, table, fields)
    check_unchanged(file)


def _batch(read: Read, task: SplitTask, first_row: int, table: pa.Table, fields: dict[str, str]) -> DocumentBatch:
    rows = first_row + np.arange(table.num_rows, dtype=np.int64)
    text, broken = _as_text(table[read.text_field])
    quarantined = [
        Quarantined("bad_unicode", f"column {read.text_field!r} is not UTF-8", -1, int(rows[i]), 1, len(value), value)
        for i, value in broken
    ]
    keep = np.ones(table.num_rows, np.bool_)
    keep[[i for i, _ in broken]] = False
    if read.without_text == "quarantine":
        without = text.is_null().to_numpy(zero_copy_only=False) & keep
        quarantined += [
            Quarantined("null_text", f"column {read.text_field!r} is null", -1, int(rows[i]), 1, 0, b"")
            for i in np.flatnonzero(without)
        ]
        keep &= ~without
    quarantined.sort(key=lambda record: record.row)
    columns = {
        column: text if column == "text" else _column(table, field, as_string=column == "id")
        for column, field in read.fields().items()
    }
    mask = None if keep.all() else pa.array(keep)
    selected = pa.table(columns)
    batch = DocumentBatch(
        split=task.split,
        rows=rows if mask is None else rows[keep],
        columns=selected if mask is None else selected.filter(mask),
        fields=fields,
        table=None if not read._whole_rows else (table if mask is None else table.take(pa.array(np.flatnonzero(keep)))),
        quarantined=quarantined,
        num_read=table.num_rows,
        num_bytes=int(table.nbytes),
    )
    if read.without_text == "remove":
        drop = text.is_null().to_numpy(zero_copy_only=False)[keep]
        return batch.remove(drop, stage=read.name, reason="without_text")
    return batch


def read_parquet_selection(read: Read, task: SplitTask, selection: Selection) -> Iterator[DocumentBatch]:
    """The rows of a split that are left after a barrier; row groups without any are not decoded."""
    file = task.split.file
    check_unchanged(file)
    selected = read_selection(selection, task.split.ordinal)
    first_batch = _empty(read, task)
    first_batch.removed = selected.removed
    yield first_batch
    fields = {**read.fields(), "text": read.text_field}
    wanted = None if read._whole_rows else list(dict.fromkeys(fields.values()))
    for first_row, table in _raw_batches(file, range(task.split.begin, task.split.end), wanted):
        if isinstance(table, str):
            count, _, message = table.partition(":")
            if len(lost := _rows_between(selected.rows, first_row, first_row + int(count))):
                raise StageError(
                    f"{file.path!r}: {len(lost):,} documents from row {int(lost[0]):,} of {task.split.name} on have a "
                    f"text that can be read, but other columns that cannot: {message}. Duplicates of them may be gone "
                    "already, so nothing is published. Mend the file or leave it out.",
                    stage=read.name,
                    task_id=task.task_id,
                )
            continue
        rows = _rows_between(selected.rows, first_row, first_row + table.num_rows)
        if not len(rows):
            continue
        kept = table if len(rows) == table.num_rows else table.take(pa.array(rows - first_row))
        columns = {
            column: _as_text(kept[field])[0] if column == "text" else _column(kept, field, as_string=column == "id")
            for column, field in read.fields().items()
        }
        yield DocumentBatch(
            split=task.split,
            rows=rows,
            columns=pa.table(columns),
            fields=fields,
            table=kept if read._whole_rows else None,
            num_bytes=int(kept.nbytes),
        )
    check_unchanged(file)


def _without_views(table: pa.Table) -> pa.Table:
    """A table whose views are plain strings and bytes, which are the same in Parquet and can be selected from."""
    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    if plain.keys().isdisjoint(table.schema.types):
        return table
    fields = [field.with_type(plain.get(field.type, field.type)) for field in table.schema]
    return table.cast(pa.schema(fields, table.schema.metadata))


def _rows_between(rows: npt.NDArray[np.int64], begin: int, end: int) -> npt.NDArray[np.int64]:
    first, last = np.searchsorted(rows, [begin, end])
    return rows[first:last]


def _empty(read: Read, task: SplitTask) -> DocumentBatch:
    schema = _open(task.split.file).schema_arrow if read._whole_rows else None
    return DocumentBatch(
        split=task.split,
        rows=np.empty(0, np.int64),
        columns=pa.table({name: pa.array([], pa.large_string()) for name in read.fields()}),
        table=None if schema is None else _without_views(schema.empty_table()),
    )


def _column(table: pa.Table, field: str, *, as_string: bool) -> pa.Array:
    if field not in table.column_names:
        return pa.nulls(table.num_rows, pa.large_string())
    column = _single(table[field])
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if not as_string:
        return column
    try:
        strings = column.cast(pa.large_string())
        strings.validate(full=True)
        return strings
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        pass
    if _is_textual(column.type):
        values = [None if v is None else v.decode(errors="replace") for v in column.cast(pa.large_binary()).to_pylist()]
    else:
        values = [None if v is None else str(v) for v in column.to_pylist()]
    return pa.array(values, pa.large_string())


def _as_text(column: pa.ChunkedArray) -> tuple[pa.Array, list[tuple[int, bytes]]]:
    """A column as large_string, null where it is not UTF-8, and the places and first bytes of those.

    A Parquet file may call any bytes a string, so every value is looked at.
    """
    from curator.kernels.utf8 import are_utf8

    array = _single(column)
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    binary = array.cast(pa.large_binary())
    text = pa.Array.from_buffers(pa.large_string(), len(binary), binary.buffers(), offset=binary.offset)
    offsets, data = text_buffers(text)
    valid = are_utf8(data, offsets)
    if valid.all():
        return text, []
    broken = [(i, binary[i].as_py()[:_KEPT_BYTES]) for i in np.flatnonzero(~valid).tolist()]
    return pa.compute.if_else(pa.array(valid), text, None), broken


def _single(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    return column.unify_dictionaries().combine_chunks()
