"""Key tables on their way through a shuffle: one file a split, sorted by slices of the key space, read by partitions.

A slice is one 1024th of the key space, by the highest bits of the key. Slices are joined into partitions only when all
key files are there, so that a partition fits the memory it is given whatever the data looks like; equal keys are in one
slice and so in one partition, and no result depends on how many partitions there are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curator.stages.barrier.arrow_files import read_arrow, write_arrow

SLICE_BITS = 10
NUM_SLICES = 1 << SLICE_BITS
_PARALLEL_BYTES = 8 << 20
_PARALLEL_PARTITIONS = 16


class KeysWriter:
    """Collects the key tables of one split."""

    def __init__(self) -> None:
        self._tables: list[pa.Table] = []

    def add(self, keys: pa.Table) -> None:
        """Take the keys of one batch."""
        self._tables.append(keys)

    def close(self, path: Path) -> bool:
        """Write the file, with its columns also where it has no rows; False, and no file, if there was no batch."""
        if not self._tables:
            return False
        table = pa.concat_tables(self._tables)
        slices = (table["high"].to_numpy() >> np.uint64(64 - SLICE_BITS)).astype(np.uint16)
        order = np.argsort(slices, kind="stable")
        offsets = np.zeros(NUM_SLICES + 1, np.int64)
        np.cumsum(np.bincount(slices, minlength=NUM_SLICES), out=offsets[1:])
        table = table.take(pa.array(order)).replace_schema_metadata({"slices": offsets.astype("<i8").tobytes()})
        write_arrow(path, table)
        return True


def _slice_offsets(table: pa.Table) -> npt.NDArray[np.int64]:
    return np.frombuffer(table.schema.metadata[b"slices"], "<i8")


def plan_partitions(key_files: Sequence[str], partition_bytes: int) -> list[int]:
    """Join slices into partitions.

    Args:
        key_files: the key files of all splits.
        partition_bytes: bytes of key tables that one partition may hold; a single slice may exceed it.

    Returns:
        Slice numbers where partitions begin, and the end: ``[0, ..., 1024]``.
    """
    rows = np.zeros(NUM_SLICES, np.int64)
    total_bytes = 0
    for path in key_files:
        total_bytes += Path(path).stat().st_size
        rows += np.diff(_slice_offsets(read_arrow(path)))
    count = max(-(-total_bytes // partition_bytes), min(_PARALLEL_PARTITIONS, -(-total_bytes // _PARALLEL_BYTES)), 1)
    return cut_slices(rows, int(count))


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
    target = max(1, -(-int(rows.sum()) // count))
    bounds, held = [0], 0
    for number, size in enumerate(rows.tolist()):
        if held and held + size > target:
            bounds.append(number)
            held = 0
        held += size
    return [*bounds, len(rows)]


def write_keys_index(path: Path, key_files: Sequence[str], bounds: Sequence[int]) -> None:
    """List the key files and the partitions for the workers behind the barrier."""
    path.write_text(json.dumps({"files": list(key_files), "bounds": list(bounds)}), encoding="utf-8")


def read_partition(index_path: str, partition: int) -> pa.Table:
    """All rows of one partition, in split order."""
    index = json.loads(Path(index_path).read_text(encoding="utf-8"))
    begin, end = index["bounds"][partition], index["bounds"][partition + 1]
    parts = []
    for path in index["files"]:
        table = read_arrow(path)
        offsets = _slice_offsets(table)
        part = table.slice(int(offsets[begin]), int(offsets[end] - offsets[begin]))
        parts.append(part.replace_schema_metadata(None))
    return pa.concat_tables(parts)
