"""Key tables on their way through a barrier: one file a split, sorted by slices of the key space, read by partitions.

A slice is one 1024th of the key space, by the highest bits of the key. Slices are joined into partitions only when all
key files are there, so that a partition fits the memory it is given whatever the data looks like; equal keys are in one
slice and so in one partition, and no result depends on how many partitions there are. Where a stage has bands, a file
holds those of every iteration, one iteration after the other, so that the input is read once for all of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curator.stages.barrier.bucket_files import BucketWriter, count_rows, read_buckets, read_rows
from curator.stages.barrier.removals import removed_documents
from curator.tasks.split import ROW_BITS

SLICE_BITS = 10
NUM_SLICES = 1 << SLICE_BITS
MOST_ITERATIONS = 64
"""Ranges of bands that one stage may take, so that slices of all of them are numbered in 16 bits."""

HELD_BYTES = 64 << 20
"""Bytes of keys that a worker holds before they are dealt into slices and written."""

_GATHERED_BYTES = 4 << 20
"""Bytes of small tables that are joined before they are dealt: each step costs as much for a few rows as for many."""

_PARALLEL_BYTES = 16 << 20
_PARALLEL_PARTITIONS = 16
_WORTH_TWO_BYTES = 2 << 20
"""Bytes of tables beyond which a second worker is of use."""

ONE_ITERATION = ((0, 1),)


def keys_kind(position: int) -> str:
    """What the key files of a shuffle are called among the files of a result: by its place in its segment."""
    return f"keys-{position}"


class KeysWriter:
    """Writes the key tables of one split.

    Args:
        path: the file.
        iterations: the ranges of bands that are taken one after the other behind the barrier; ``((0, 1),)`` means that
            there are no bands.
        held_bytes: bytes of keys that are held before they are written.
    """

    def __init__(
        self, path: Path, iterations: Sequence[tuple[int, int]] = ONE_ITERATION, held_bytes: int = HELD_BYTES
    ) -> None:
        self._num_bands = iterations[-1][1]
        of_band = [number for number, (begin, end) in enumerate(iterations) for _ in range(begin, end)]
        self._first_slices = np.array(of_band, np.uint16) * np.uint16(NUM_SLICES)
        self._writer = BucketWriter(path, len(iterations) * NUM_SLICES, held_bytes, self._deal)
        self._gathered: list[pa.Table] = []
        self._gathered_bytes = 0

    def add(self, keys: pa.Table | Sequence[pa.Table]) -> None:
        """Take the keys of one batch: a table with a column ``band`` if there are bands, or one table a band.

        Raises:
            ValueError: there is no table for some band, no such column, or a band that there is not.
        """
        if isinstance(keys, pa.Table):
            self._check_bands(keys)
            self._gather(keys)
            return
        if len(keys) != self._num_bands:
            raise ValueError(f"keys() returned {len(keys)} tables for {self._num_bands} bands")
        for band, table in enumerate(keys):
            self._gather(table.append_column("band", pa.array(np.full(table.num_rows, band, np.uint16))))

    def close(self) -> bool:
        """Finish the file, with its columns also where it has no rows; False, and no file, if there was no batch."""
        self._pass_on()
        return self._writer.close()

    def abort(self) -> None:
        """Let go of the file after a failure."""
        self._writer.abort()

    def _check_bands(self, keys: pa.Table) -> None:
        if self._num_bands == 1:
            return
        if "band" not in keys.column_names:
            raise ValueError("keys() returned a table without the column 'band', but there are bands")
        if keys.num_rows and (band := int(keys["band"].to_numpy().max())) >= self._num_bands:
            raise ValueError(f"keys() returned the band {band}, but there are {self._num_bands}")

    def _gather(self, keys: pa.Table) -> None:
        keys = keys.replace_schema_metadata()
        if self._gathered and keys.schema != self._gathered[0].schema:
            self._pass_on()
        self._gathered.append(keys)
        self._gathered_bytes += keys.get_total_buffer_size()
        if self._gathered_bytes > _GATHERED_BYTES:
            self._pass_on()

    def _pass_on(self) -> None:
        """Give what was gathered to the writer, which refuses columns that are not those before."""
        gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
        if gathered:
            self._writer.add(pa.concat_tables(gathered).combine_chunks())

    def _deal(self, keys: pa.Table) -> tuple[pa.Table, npt.NDArray[np.uint16]]:
        slices = (keys["high"].to_numpy() >> np.uint64(64 - SLICE_BITS)).astype(np.uint16)
        if self._num_bands > 1:
            slices += self._first_slices[keys["band"].to_numpy()]
        return keys, slices


def plan_partitions(key_files: Sequence[str], partition_bytes: int, num_iterations: int = 1) -> list[list[int]]:
    """Join the slices of each iteration into partitions.

    Args:
        key_files: the key files of all splits; only where their rows are is read, and not even that if all rows fit
            one partition: keys are hashes, so that equal ranges of slices have about equal rows.
        partition_bytes: bytes of key tables that one partition may hold; a single slice may exceed it.
        num_iterations: ranges of bands in the files.

    Returns:
        For each iteration the slice numbers where partitions begin, and the end: ``[0, ..., 1024]``.
    """
    total_bytes = sum(Path(path).stat().st_size for path in key_files)
    if total_bytes <= partition_bytes:
        count = choose_count(-(-total_bytes // num_iterations), partition_bytes)
        return [cut_slices(np.ones(NUM_SLICES, np.int64), count) for _ in range(num_iterations)]
    rows = np.zeros(num_iterations * NUM_SLICES, np.int64)
    for path in key_files:
        rows += count_rows(path)
    total_rows = max(int(rows.sum()), 1)
    plans = []
    for own in rows.reshape(num_iterations, NUM_SLICES):
        own_bytes = -(-total_bytes * int(own.sum()) // total_rows)
        plans.append(cut_slices(own, choose_count(own_bytes, partition_bytes)))
    return plans


def choose_count(total_bytes: int, partition_bytes: int) -> int:
    """How many partitions to aim at: enough to fit, and some to be worked on at once if that is worth it."""
    parallel = min(_PARALLEL_PARTITIONS, -(-total_bytes // _PARALLEL_BYTES))
    parallel = max(parallel, 2) if total_bytes > _WORTH_TWO_BYTES else 1
    even = 1 << (parallel - 1).bit_length() if parallel > 1 else 1  # three would keep two workers waiting for one
    return max(-(-total_bytes // partition_bytes), even)


def cut_slices(rows: npt.NDArray[np.int64], count: int) -> list[int]:
    """Cut slices into about ``count`` runs of equal rows.

    Args:
        rows: int64, shape (num_slices,): rows in each slice.
        count: runs wanted, at least 1.

    Returns:
        Where runs begin, and the end.

    Example:
        >>> cut_slices(np.array([4, 4, 1, 1, 6]), 2)
        [0, 2, 5]
    """
    through = np.cumsum(rows)
    shares = np.arange(1, count) * int(through[-1]) // count
    cuts = np.searchsorted(through, shares, side="left") + 1
    return [0, *(cut for cut in np.unique(cuts).tolist() if cut < len(rows)), len(rows)]


def write_keys_index(
    path: Path,
    key_files: Sequence[str],
    bounds: Sequence[int],
    iteration: int = 0,
    removals: Sequence[str] = (),
) -> None:
    """List the key files and the partitions of an iteration for the workers behind the barrier.

    Args:
        path: a name that nobody reads yet.
        key_files: the key files, in split order.
        bounds: the slices where partitions begin, and the end.
        iteration: which range of bands.
        removals: the removal files of barriers that decided after the keys were made.
    """
    first = iteration * NUM_SLICES
    content = {"files": list(key_files), "bounds": [first + bound for bound in bounds], "removals": list(removals)}
    path.write_text(json.dumps(content), encoding="utf-8")


def read_partition(index_path: str, partition: int) -> pa.Table:
    """All rows of one partition, in split order, less those of documents that an earlier barrier removed."""
    index = json.loads(Path(index_path).read_text(encoding="utf-8"))
    begin, end = index["bounds"][partition], index["bounds"][partition + 1]
    if not index["removals"]:
        return read_rows(index["files"], begin, end)
    parts = [part for path in index["files"] for part in read_buckets(path, begin, end)]
    return pa.concat_tables(_without_removed(parts, index["removals"]))


def _without_removed(parts: Sequence[pa.Table], removals: Sequence[str]) -> Iterator[pa.Table]:
    """Keys of documents that are left; a part holds documents of one split."""
    removed, known = np.empty(0, np.uint64), -1
    for part in parts:
        documents = part["document"].to_numpy()
        if len(documents) and (split := int(documents[0]) >> ROW_BITS) != known:
            removed, known = removed_documents(removals, split), split
        gone = np.isin(documents, removed, kind="sort")
        yield part.filter(pa.array(~gone)) if gone.any() else part


def warm_keys() -> None:
    """Compile what deals keys into slices, or load it."""
    from curator.kernels.warm import warm_partitioning

    warm_partitioning()
