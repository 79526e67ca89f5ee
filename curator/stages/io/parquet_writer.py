"""Kept rows to a Parquet file with the schema of their source."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curator.stages.base import SinkWriter
from curator.stages.io.added_columns import add_to_table
from curator.stages.io.judge import parse, render
from curator.stages.io.output_file import digest_file, storage_error
from curator.tasks import DocumentBatch, ResultTask, SplitTask, Task

ROW_GROUP_BYTES = 64 << 20
_ANY_DEPTH = 1 << 30  # the reader has looked at it already
_FROM_JSON = pa.schema([("text", pa.large_string()), ("id", pa.large_string()), ("extra", pa.large_string())])


class ParquetSplitWriter(SinkWriter):
    """Writes the file of one split in row groups of about 64 MB of memory."""

    def __init__(
        self,
        path: Path,
        task: SplitTask,
        unit: int,
        *,
        level: int | None,
        durable: bool,
        add_columns: Sequence[str] = (),
    ) -> None:
        self._path = path
        self._task = task
        self._unit = unit
        self._level = 1 if level is None else level
        self._durable = durable
        self._add_columns = add_columns
        self._empty = _FROM_JSON.empty_table()
        self._writer: pq.ParquetWriter | None = None
        self._held: list[pa.Table] = []
        self._held_bytes = 0
        self._rows = 0

    def write(self, task: Task) -> None:
        """Take the documents of a batch."""
        assert isinstance(task, DocumentBatch)
        table = task.table if task.lines is None else _from_json_lines(task, self._add_columns)
        if table is None:
            self._empty = add_to_table(_FROM_JSON.empty_table(), task.columns.slice(0, 0), self._add_columns)
            return
        table = add_to_table(table, task.columns, self._add_columns)
        if self._writer is None:
            self._open(table.schema)
        self._held.append(table)
        self._held_bytes += table.nbytes
        self._rows += table.num_rows
        if self._held_bytes >= ROW_GROUP_BYTES:
            self._flush()

    def _open(self, schema: pa.Schema) -> None:
        try:
            self._writer = pq.ParquetWriter(str(self._path), schema, compression="zstd", compression_level=self._level)
        except OSError as error:
            raise storage_error(self._path, error) from error

    def _flush(self) -> None:
        table = pa.concat_tables(self._held)
        self._held, self._held_bytes = [], 0
        assert self._writer is not None
        try:
            if table.num_rows:
                self._writer.write_table(table, row_group_size=table.num_rows)
        except OSError as error:
            raise storage_error(self._path, error) from error

    def close(self) -> ResultTask:
        """Finish the file; a split without any row becomes a file with a schema and no rows."""
        if self._writer is None:
            self._open(self._empty.schema)
        if self._held:
            self._flush()
        assert self._writer is not None
        try:
            self._writer.close()
            if self._durable:
                with open(self._path, "rb") as handle:
                    os.fsync(handle.fileno())
        except OSError as error:
            raise storage_error(self._path, error) from error
        record = digest_file(self._path)
        return ResultTask(
            unit=self._unit,
            directory=str(self._path.parent),
            files={"part": record.name},
            counts={"kept": self._rows, "bytes": record.size_bytes, "digest": record.digest},
        )

    def abort(self) -> None:
        """Let go of the file."""
        if self._writer is not None:
            self._writer.close()


def _from_json_lines(batch: DocumentBatch, add_columns: Sequence[str]) -> pa.Table:
    """The text and the id of each line, and its other fields, but those that are added, as one JSON text."""
    assert batch.lines is not None
    known = {batch.fields["text"], batch.fields["id"], *add_columns}
    extra = []
    for index in range(batch.num_items):
        record = parse(batch.lines.line(index), max_depth=_ANY_DEPTH)
        rest = {key: value for key, value in record.items() if key not in known}
        extra.append(render(rest) if rest else None)
    columns = [batch.columns["text"], batch.columns["id"], pa.array(extra, pa.large_string())]
    return pa.table(columns, names=_FROM_JSON.names).cast(_FROM_JSON)
