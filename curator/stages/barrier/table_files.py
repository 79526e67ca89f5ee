"""The files of a table shuffle: rows go in, dealt into buckets; partitions are planned and come out.

A bucket is a partition where their number is given; otherwise it is a slice, one 1024th of the words of the keys, and
slices are joined into partitions when all rows are there. Rows of one bucket are in input order as they lie; where
slices are joined, a column of places puts them in order again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curator.errors import StageError
from curator.stages.barrier.bucket_files import BucketWriter, count_rows, describe_schema, read_buckets, read_schema
from curator.stages.barrier.key_words import key_words
from curator.stages.barrier.keys import NUM_SLICES, choose_count, cut_slices
from curator.stages.shuffle import TableShuffle

_PLACE = "__place"
_HELD_SHARE = 8
_MOST_ROWS = 1 << 32


class TableWriter:
    """Writes the rows of one unit of work.

    Args:
        shuffle: the stage.
        path: a name that nobody reads yet.
        band_range: take only rows of these bands; ``None`` for all.

    ``bytes`` are those of the tables that came, ``dropped`` the rows that had a null in their key.
    """

    def __init__(self, shuffle: TableShuffle, path: Path, band_range: tuple[int, int] | None = None) -> None:
        from curator.kernels.partition import bucket_of

        self._shuffle = shuffle
        self._band_range = band_range
        self._bucket_of = bucket_of
        iterations = shuffle.get_band_iterations()
        self._per_iteration = shuffle.num_buckets // len(iterations)
        self._iteration_of = np.array([n for n, (begin, end) in enumerate(iterations) for _ in range(begin, end)])
        held_bytes = max(1, shuffle.memory_budget_bytes // _HELD_SHARE)
        self._writer = BucketWriter(path, shuffle.num_buckets, held_bytes, self._deal)
        self._placed = 0
        self.bytes = 0
        self.dropped = 0

    def add(self, table: pa.Table) -> None:
        """Take a table.

        Raises:
            ValueError: its columns differ from those before.
        """
        self.bytes += table.nbytes
        self._writer.add(_decoded(table))

    def close(self) -> dict[str, int] | None:
        """Finish the file; counts of what is in it, or ``None``, and no file, if there was no table."""
        if not self._writer.close():
            return None
        return {
            "rows": self._writer.num_rows,
            "bytes": self.bytes,
            "batches": self._writer.num_batches,
            "dropped": self.dropped,
        }

    def abort(self) -> None:
        """Let go of the file after a failure."""
        self._writer.abort()

    def _deal(self, table: pa.Table) -> tuple[pa.Table, npt.NDArray[np.uint16]]:
        shuffle = self._shuffle
        if _PLACE in table.column_names:
            raise ValueError(f"there is a column {_PLACE!r}, which is a name that the shuffle needs; rename it")
        if shuffle.num_bands is not None:
            table = self._own_bands(table)
        if shuffle.null_keys == "drop" and any(table[name].null_count for name in shuffle.key_columns):
            rows = table.num_rows
            table = table.filter(_all_valid(table, shuffle.key_columns)).combine_chunks()
            self.dropped += rows - table.num_rows
        buckets = self._bucket_of(key_words(table, shuffle.key_columns), self._per_iteration)
        if shuffle.num_bands is not None:
            numbers = self._iteration_of[_bands(table)] * self._per_iteration + buckets
            buckets = numbers.astype(np.uint16)
        if shuffle.num_partitions is None:
            first, self._placed = self._placed, self._placed + table.num_rows
            if self._placed > _MOST_ROWS:
                raise ValueError(f"one unit has more than {_MOST_ROWS:,} rows; make the tables come in more units")
            table = table.append_column(_PLACE, pa.array(np.arange(first, self._placed, dtype=np.uint32)))
        return table, buckets

    def _own_bands(self, table: pa.Table) -> pa.Table:
        if "band" not in table.column_names or not pa.types.is_integer(table.schema.field("band").type):
            raise ValueError(f"there is no column 'band' of integers; the columns are: {describe_schema(table.schema)}")
        allowed = self._shuffle.num_bands or 1
        extent = pc.min_max(table["band"]).as_py()
        if table["band"].null_count or (table.num_rows and not 0 <= extent["min"] <= extent["max"] < allowed):
            raise ValueError(f"column 'band' must hold numbers from 0 to {allowed - 1}, and no nulls")
        bands = _bands(table)
        if self._band_range is None:
            return table
        begin, end = self._band_range
        return table.filter(pa.array((bands >= begin) & (bands < end))).combine_chunks()


@dataclass(frozen=True, slots=True)
class PartitionPlan:
    """The partitions of a finished insert, and how they are shared out.

    Args:
        bounds: the buckets where partitions begin, and the end: int, shape (num_partitions + 1,).
        units: ranges of partitions that one unit of work takes.
        largest_bytes: about how many bytes of rows the largest partition has.
    """

    bounds: list[int]
    units: list[tuple[int, int]]
    largest_bytes: int


def plan_table_partitions(shuffle: TableShuffle, files: Sequence[str], total_bytes: int) -> PartitionPlan:
    """Cut what was inserted into partitions and units of work; reads only where the rows are.

    Args:
        shuffle: the stage.
        files: the inserted files, in input order.
        total_bytes: bytes of the tables that were inserted.

    Raises:
        StageError: the files have different columns.
    """
    rows = np.zeros(shuffle.num_buckets, np.int64)
    first: pa.Schema | None = None
    for path in files:
        schema = read_schema(path)
        first = first or schema
        if not schema.equals(first):
            raise StageError(
                f"{shuffle.name}: tables have different columns: {_shown(first)}; and: {_shown(schema)}. All tables "
                "of a shuffle must have the same.",
                stage=shuffle.name,
            )
        rows += count_rows(path)
    bounds = [0]
    total_rows = max(int(rows.sum()), 1)
    if shuffle.num_partitions is not None:
        bounds = list(range(shuffle.num_buckets + 1))
    else:
        for start in range(0, shuffle.num_buckets, NUM_SLICES):
            own = rows[start : start + NUM_SLICES]
            count = choose_count(total_bytes * int(own.sum()) // total_rows, shuffle.most_partition_bytes)
            bounds += [start + bound for bound in cut_slices(own, count)[1:]]
    sizes = np.add.reduceat(rows, bounds[:-1])
    shares = cut_slices(sizes, choose_count(total_bytes, shuffle.most_partition_bytes))
    units = [(begin, end) for begin, end in pairwise(shares) if sizes[begin:end].any()]
    if shuffle.keep_empty:
        units = list(pairwise(shares))
    return PartitionPlan(bounds, units, total_bytes * int(sizes.max()) // total_rows)


def write_table_index(path: Path, files: Sequence[str], bounds: Sequence[int], name: str) -> None:
    """List the files and the partitions for the workers that extract; ``name`` begins the ids of their tasks."""
    path.write_text(json.dumps({"files": list(files), "bounds": list(bounds), "name": name}), encoding="utf-8")


def read_table_index(path: str) -> dict[str, Any]:
    """What ``write_table_index`` wrote."""
    index: dict[str, Any] = json.loads(Path(path).read_text(encoding="utf-8"))
    return index


def read_table_partition(shuffle: TableShuffle, files: Sequence[str], begin: int, end: int) -> pa.Table:
    """The rows of some buckets, which are one partition, copied into memory of their own.

    Args:
        shuffle: the stage.
        files: the inserted files, in input order.
        begin: the first bucket.
        end: one past the last one.
    """
    parts = [part for path in files for part in read_buckets(path, begin, end)]
    table = pa.concat_tables(parts)
    if _PLACE in table.column_names:
        order = _input_order(table[_PLACE], [part.num_rows for part in parts]) if end - begin > 1 else None
        table = table.drop_columns([_PLACE])
        table = table if order is None else table.take(order)
    if shuffle.sort_by_key:
        table = table.take(_sorted_by_key(table, shuffle.key_columns))
    return table.combine_chunks()


def _input_order(places: pa.ChunkedArray, sizes: Sequence[int]) -> pa.Array:
    """The order in which rows came; places count up in each record batch, and there are ``sizes`` rows of it."""
    batches = np.repeat(np.arange(len(sizes), dtype=np.uint64), sizes)
    return pa.array(np.argsort((batches << np.uint64(32)) | places.to_numpy(), kind="stable"))


def _sorted_by_key(table: pa.Table, key_columns: Sequence[str]) -> pa.Array:
    column = table[key_columns[0]]
    if len(key_columns) == 1 and not column.null_count and pa.types.is_integer(column.type):
        return pa.array(np.argsort(column.to_numpy(), kind="stable"))
    return pc.sort_indices(table, [(name, "ascending") for name in key_columns])


def _all_valid(table: pa.Table, key_columns: Sequence[str]) -> pa.ChunkedArray:
    valid = table[key_columns[0]].is_valid()
    for name in key_columns[1:]:
        valid = pc.and_(valid, table[name].is_valid())
    return valid


def _decoded(table: pa.Table) -> pa.Table:
    """Dictionaries become their values: those of two tables differ, and a file can hold only one."""
    for position, column in enumerate(table.schema):
        if pa.types.is_dictionary(column.type):
            table = table.set_column(position, column.name, table[column.name].cast(column.type.value_type))
    return table


def _bands(table: pa.Table) -> npt.NDArray[np.int64]:
    return np.asarray(table["band"].to_numpy(), np.int64)


def _shown(schema: pa.Schema) -> str:
    return describe_schema(pa.schema([field for field in schema if field.name != _PLACE]))
