"""The rows of a split that are alive, and where they lie, written before a barrier and read behind it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curator.stages.barrier.arrow_files import read_arrow, write_arrow
from curator.stages.barrier.removals import read_removals
from curator.stages.io.text_buffers import own_strings
from curator.tasks import DocumentBatch, Removed, Selection, document_ids


@dataclass(frozen=True, slots=True)
class SelectedRows:
    """What is left of a split behind a barrier, and what the barrier took.

    Args:
        rows: int64, shape (num_docs,), ascending.
        begins: int64, shape (num_docs,): first byte of each line in the uncompressed file; empty for Parquet.
        ends: int64, shape (num_docs,): one past its last byte, the line feed not included.
        removed: the removals, by stage and reason.
    """

    rows: npt.NDArray[np.int64]
    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    removed: list[Removed]


class RowsWriter:
    """Collects the places of the rows that are still alive at the end of a segment.

    Args:
        with_ids: also their ids, for those behind the barrier who need nothing else of a document.
    """

    def __init__(self, *, with_ids: bool = False) -> None:
        self._ids: list[pa.Array] | None = [pa.array([], pa.large_string())] if with_ids else None
        self._rows: list[npt.NDArray[np.int64]] = []
        self._begins: list[npt.NDArray[np.int64]] = []
        self._ends: list[npt.NDArray[np.int64]] = []

    def add(self, batch: DocumentBatch) -> None:
        """Take the rows of a batch; copies, so the batch may go."""
        self._rows.append(batch.rows.copy())
        if self._ids is not None and batch.num_items:
            self._ids += map(own_strings, batch.columns["id"].chunks)  # they lie in the reader's buffer
        if batch.lines is not None:
            self._begins.append(batch.lines.starts + batch.lines.offset)
            self._ends.append(batch.lines.ends + batch.lines.offset)

    def close(self, path: Path) -> None:
        """Write the file."""
        empty = np.empty(0, np.int64)
        columns: dict[str, Any] = {"row": np.concatenate([empty, *self._rows])}
        if self._begins:
            columns["begin"] = np.concatenate([empty, *self._begins])
            columns["end"] = np.concatenate([empty, *self._ends])
        if self._ids is not None:
            columns["id"] = pa.concat_arrays(self._ids)
        write_arrow(path, pa.table(columns))


def write_removals_index(path: Path, removals: Sequence[tuple[str, Sequence[str]]]) -> None:
    """List, for the splits behind some barriers, the stage and the removal files of each of them."""
    listed = [{"stage": stage, "files": list(files)} for stage, files in removals]
    path.write_text(json.dumps(listed), encoding="utf-8")


def read_selection(selection: Selection, split_ordinal: int) -> SelectedRows:
    """The rows of a split that neither left before the barrier nor were removed by it.

    Raises:
        ValueError: the selection names a row that is not among them.
    """
    table = read_arrow(selection.rows_path)
    rows = table["row"].to_numpy()
    keep = np.ones(len(rows), np.bool_)
    removed: list[Removed] = []
    if selection.removals_index:
        for index in json.loads(Path(selection.removals_index).read_text(encoding="utf-8")):
            removals = read_removals(index["files"], split_ordinal)
            removed += _by_reason(index["stage"], removals)
            keep[_places(document_ids(split_ordinal, rows), removals["document"].to_numpy())] = False
    if selection.rows is not None:
        wanted = np.zeros(len(rows), np.bool_)
        wanted[_places(rows, selection.rows)] = True
        keep &= wanted
        if int(keep.sum()) != len(selection.rows):
            left = int(keep.sum())
            raise ValueError(f"{len(selection.rows):,} rows of a split are wanted, {left:,} of them are left")
    empty = np.empty(0, np.int64)
    has_places = "begin" in table.column_names
    return SelectedRows(
        rows=rows[keep],
        begins=table["begin"].to_numpy()[keep] if has_places else empty,
        ends=table["end"].to_numpy()[keep] if has_places else empty,
        removed=removed,
    )


def _places(ascending: npt.NDArray[Any], values: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Where in ascending numbers some values are, those that are there; faster than sorting both, if they are few."""
    places: npt.NDArray[np.int64] = np.searchsorted(ascending, values)
    inside = places < len(ascending)
    found: npt.NDArray[np.int64] = places[inside]
    return found[np.asarray(ascending[found] == values[inside], np.bool_)]


def _by_reason(stage: str, removals: pa.Table) -> list[Removed]:
    found = []
    reasons = sorted(pc.unique(removals["reason"]).to_pylist())
    for reason in reasons:
        part = removals if len(reasons) == 1 else removals.filter(pc.equal(removals["reason"], reason))
        part = part.combine_chunks()
        column = {name: _array(part[name]) for name in part.column_names}
        rows = (part["document"].to_numpy() & np.uint64(0xFFFFFFFF)).astype(np.int64)
        found.append(
            Removed(
                stage=stage,
                reason=reason,
                rows=rows,
                ids=column["id"],
                keys=column["key"],
                scores=column["score"],
                kept=column["kept"],
                kept_ids=column["kept_id"],
                kept_in=column["kept_in"],
            )
        )
    return found


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)
