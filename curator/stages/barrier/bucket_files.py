"""Tables whose rows lie by bucket: one Arrow file a unit of work, in as many record batches as its memory asks for.

Tables and the bucket of each row flow in. Whenever the rows held reach a number of bytes they are moved into buckets by
a counting sort and written as one record batch, with the places of its buckets as metadata, so that memory does not
depend on how many rows there are, and files on nothing but the number of units. A range of buckets is read by memory
map and touches only its own pages. Inside a bucket, rows keep the sequence in which they were added.
"""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curator.stages.io.text_buffers import single

Deal = Callable[[pa.Table], tuple[pa.Table, npt.NDArray[np.uint16]]]

_WORD_BITS = (8, 16, 32, 64)
_MAPPED_AT_ONCE = 256
_SPARSE = 2
"""Times their size that the buffers behind held rows may have before they are copied: no slice is to hold a whole."""


class BucketWriter:
    """Writes one file of tables of one schema.

    Args:
        path: a name that nobody reads yet; nothing is written before the first rows are.
        num_buckets: how many there are, at most ``MOST_BUCKETS`` of the kernels.
        held_bytes: bytes of rows that are held before they are moved and written; that takes as much again.
        deal: given some rows, the rows to write, and the bucket of each: uint16, shape (num_rows,).

    Example:
        >>> import tempfile
        >>> def deal(table):
        ...     return table, np.array([1, 0, 1], np.uint16)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     writer = BucketWriter(Path(folder, "a.arrow"), 2, 1 << 20, deal)
        ...     writer.add(pa.table({"key": ["a", "b", "c"]}))
        ...     writer.close()
        ...     [part["key"].to_pylist() for part in read_buckets(Path(folder, "a.arrow"), 1, 2)]
        True
        [['a', 'c']]
    """

    def __init__(self, path: Path, num_buckets: int, held_bytes: int, deal: Deal) -> None:
        self._path = path
        self._num_buckets = num_buckets
        self._held_bytes = held_bytes
        self._deal = deal
        self._held: list[tuple[pa.Table, npt.NDArray[np.uint16]]] = []
        self._bytes = 0
        self._schema: pa.Schema | None = None
        self._sink: pa.OSFile | None = None
        self._writer: pa.RecordBatchFileWriter | None = None
        self.num_rows = 0
        """Rows written so far."""
        self.num_batches = 0
        """Record batches written so far."""

    def add(self, table: pa.Table) -> None:
        """Take rows.

        Raises:
            ValueError: the columns are not those of the tables before.
        """
        schema = table.schema.remove_metadata()
        if self._schema is None:
            self._schema = schema
        elif not schema.equals(self._schema):
            known = describe_schema(self._schema)
            raise ValueError(f"a table has the columns {describe_schema(schema)}; one before it had {known}")
        for part in _cut(table, self._held_bytes):
            rows, buckets = self._deal(part)
            if self._bytes + rows.nbytes > self._held_bytes:
                self._flush()
            self._held.append((rows, buckets))
            self._bytes += rows.nbytes
        if self._held and self._held[-1][0].get_total_buffer_size() > _SPARSE * self._bytes + self._held_bytes // 16:
            self._held = [(_copied(rows), buckets.copy()) for rows, buckets in self._held]

    def close(self) -> bool:
        """Finish the file, with its columns also where it has no rows; False, and no file, if there was no table."""
        if self._schema is None:
            return False
        self._flush()
        if self._writer is None:
            self._write([self._deal(self._schema.empty_table())])
        assert self._writer is not None
        assert self._sink is not None
        self._writer.close()
        self._sink.close()
        return True

    def abort(self) -> None:
        """Let go of the file after a failure."""
        if self._sink is not None:
            self._sink.close()

    def _flush(self) -> None:
        if self._held:
            held, self._held, self._bytes = self._held, [], 0
            self._write(held)

    def _write(self, held: list[tuple[pa.Table, npt.NDArray[np.uint16]]]) -> None:
        from curator.kernels.partition import places_by_bucket

        parts = [rows for rows, _ in held]
        schema = parts[0].schema.remove_metadata()
        if self._writer is None:
            self._sink = pa.OSFile(str(self._path), "wb")
            self._writer = pa.ipc.new_file(self._sink, schema)
        places, bounds = places_by_bucket(np.concatenate([buckets for _, buckets in held]), self._num_buckets)
        moved = pa.RecordBatch.from_arrays(_moved(parts, places), schema=schema)
        self._writer.write_batch(moved, custom_metadata={"buckets": bounds.astype("<u4").tobytes()})
        self.num_rows += moved.num_rows
        self.num_batches += 1


def read_buckets(path: str | Path, begin: int, end: int) -> list[pa.Table]:
    """The rows of buckets ``begin`` to ``end - 1``, copied: a table for each batch of the file that has some.

    There is one table at least, so that the columns are known.
    """
    parts: list[pa.Table] = []
    with _mapped(path) as (mapped, reader):
        for batch, bounds in _batches(reader):
            first, last = int(bounds[begin]), int(bounds[end])
            if last > first:
                parts.append(_copied(batch.slice(first, last - first)))
                del batch
                # The kernel maps 64 kB around each page that is touched: many times the rows, if they are few.
                mapped.madvise(mmap.MADV_DONTNEED)
        return parts or [reader.schema.empty_table()]


def read_rows(paths: Sequence[str | Path], begin: int, end: int) -> pa.Table:
    """The rows of buckets ``begin`` to ``end - 1`` of some files of equal columns, file by file, copied once."""
    joined: list[pa.Table] = []
    for start in range(0, len(paths), _MAPPED_AT_ONCE):
        with ExitStack() as stack:
            files = [stack.enter_context(_mapped(path)) for path in paths[start : start + _MAPPED_AT_ONCE]]
            parts = [
                batch.slice(int(bounds[begin]), int(bounds[end]) - int(bounds[begin]))
                for _, reader in files
                for batch, bounds in _batches(reader)
            ]
            joined.append(_copied(pa.Table.from_batches(parts, files[0][1].schema)))
            del parts
            for mapped, _ in files:
                mapped.madvise(mmap.MADV_DONTNEED)
    return joined[0] if len(joined) == 1 else pa.concat_tables(joined)


def count_rows(path: str | Path) -> npt.NDArray[np.int64]:
    """Rows in each bucket of a file: int64, shape (num_buckets,)."""
    with _mapped(path) as (_, reader):
        return np.asarray(sum(np.diff(bounds.astype(np.int64)) for _, bounds in _batches(reader)), np.int64)


def read_schema(path: str | Path) -> pa.Schema:
    """The columns of a file."""
    with _mapped(path) as (_, reader):
        return reader.schema


def describe_schema(schema: pa.Schema) -> str:
    """Columns and types in one line, for messages."""
    return ", ".join(f"{field.name}: {field.type}" for field in schema)


@contextmanager
def _mapped(path: str | Path) -> Iterator[tuple[mmap.mmap, pa.RecordBatchFileReader]]:
    with open(path, "rb") as handle:
        mapped = mmap.mmap(handle.fileno(), 0, prot=mmap.PROT_READ)
    yield mapped, pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped)))


def _batches(reader: pa.RecordBatchFileReader) -> Iterator[tuple[pa.RecordBatch, npt.NDArray[np.uint32]]]:
    for number in range(reader.num_record_batches):
        batch, metadata = reader.get_batch_with_custom_metadata(number)
        yield batch, np.frombuffer(metadata[b"buckets"], "<u4")


def _copied(rows: pa.RecordBatch | pa.Table) -> pa.Table:
    """The rows in memory of their own; with a second piece, joining copies."""
    columns = [column.chunks if isinstance(column, pa.ChunkedArray) else [column] for column in rows.columns]
    pieces = zip(columns, rows.schema.types, strict=True)
    joined = [pa.concat_arrays([pa.array([], kind), *chunks]) for chunks, kind in pieces]
    return pa.Table.from_arrays(joined, schema=rows.schema)


def _cut(table: pa.Table, held_bytes: int) -> Iterator[pa.Table]:
    """Pieces of about ``held_bytes`` at most, however unequal the rows are; a single row is never cut."""
    if table.num_rows > 1 and table.nbytes > held_bytes:
        half = table.num_rows // 2
        yield from _cut(table.slice(0, half), held_bytes)
        yield from _cut(table.slice(half), held_bytes)
    elif table.num_rows:
        yield table


def _moved(parts: list[pa.Table], places: npt.NDArray[np.uint32]) -> list[pa.Array]:
    """The columns with every row in its place; words are moved by the kernel, everything else is taken by Arrow."""
    order: pa.Array | None = None
    columns = []
    for number in range(parts[0].num_columns):
        arrays = [single(part.column(number)) for part in parts]
        if all(map(_are_words, arrays)):
            columns.append(_moved_words(arrays, places))
            continue
        if order is None:
            inverse = np.empty(len(places), np.uint32)
            inverse[places] = np.arange(len(places), dtype=np.uint32)
            order = pa.array(inverse)
        columns.append(pa.concat_arrays(arrays).take(order))
    return columns


def _are_words(array: pa.Array) -> bool:
    kind = array.type
    return bool(
        not array.null_count
        and pa.types.is_primitive(kind)
        and not pa.types.is_boolean(kind)
        and kind.bit_width in _WORD_BITS
    )


def _moved_words(arrays: list[pa.Array], places: npt.NDArray[np.uint32]) -> pa.Array:
    from curator.kernels.partition import move_rows

    kind, begin = arrays[0].type, 0
    width = kind.bit_width // 8
    moved: npt.NDArray[Any] = np.empty(len(places), f"u{width}")
    for array in arrays:
        words: npt.NDArray[Any] = np.frombuffer(
            array.buffers()[1] or b"", f"u{width}", len(array), array.offset * width
        )
        move_rows(words, places[begin : begin + len(words)], moved)
        begin += len(words)
    return pa.Array.from_buffers(kind, len(moved), [None, pa.py_buffer(moved)])
