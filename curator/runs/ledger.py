"""The ledger and the quarantine: one row for each removal and each bad record, as Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from curator.stages.io.output_file import storage_error
from curator.tasks import Quarantined, Removed, Split, document_ids

LEDGER = pa.schema(
    [
        ("document_id", pa.uint64()),
        ("split", pa.uint32()),
        ("row", pa.uint32()),
        ("id", pa.string()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("key", pa.string()),
        ("score", pa.float64()),
        ("kept_document_id", pa.uint64()),
        ("kept_id", pa.string()),
        ("kept_in", pa.string()),
    ]
)
"""A removed document, why, and what it lost to: ``document_id`` is ``split * 2**32 + row``, ``id`` the user's.

``kept_in`` is null for a document of the run, and names the earlier corpus that ``kept_document_id`` counts in."""

QUARANTINE = pa.schema(
    [
        ("split", pa.uint32()),
        ("row", pa.int64()),
        ("file", pa.string()),
        ("offset", pa.int64()),
        ("stage", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("records", pa.int64()),
        ("size_bytes", pa.int64()),
        ("bytes", pa.binary()),
    ]
)
"""A bad record or a damaged part of a file: where it is, which stage could not take it, why, and its first bytes.

``offset`` counts uncompressed bytes and is -1 where there are none; ``row`` is -1 for what is not one record."""


_REPEATED = ["split", "file", "stage", "reason", "kept_in"]
"""Columns of few different values: a dictionary halves these, and makes keys and ids larger and slower."""


def ledger_table(split: Split, removed: Sequence[Removed]) -> pa.Table:
    """The ledger of one split, sorted by row."""
    tables = [LEDGER.empty_table()]
    for part in removed:
        count = len(part.rows)
        tables.append(
            pa.table(
                {
                    "document_id": document_ids(split.ordinal, part.rows),
                    "split": np.full(count, split.ordinal, np.uint32),
                    "row": part.rows.astype(np.uint32),
                    "id": part.ids,
                    "stage": pa.array([part.stage] * count, pa.string()),
                    "reason": pa.array([part.reason] * count, pa.string()),
                    "key": part.keys,
                    "score": part.scores,
                    "kept_document_id": part.kept,
                    "kept_id": part.kept_ids,
                    "kept_in": pa.nulls(count, pa.string()) if part.kept_in is None else part.kept_in,
                }
            ).cast(LEDGER)
        )
    return pa.concat_tables(tables).sort_by("row")


def quarantine_table(split: Split, quarantined: Sequence[Quarantined]) -> pa.Table:
    """The quarantine of one split, in the order of the file."""
    rows = [
        {
            "split": split.ordinal,
            "row": entry.row,
            "file": split.file.path,
            "offset": entry.offset,
            "stage": entry.stage,
            "reason": entry.reason,
            "detail": entry.detail,
            "records": entry.records,
            "size_bytes": entry.size_bytes,
            "bytes": entry.bytes,
        }
        for entry in quarantined
    ]
    return pa.Table.from_pylist(rows, QUARANTINE)


def write_parquet(path: Path, table: pa.Table) -> None:
    """Write a small table; the same table gives the same bytes.

    Raises:
        StorageError: the file cannot be written.
    """
    try:
        pq.write_table(table, str(path), compression="zstd", compression_level=1, use_dictionary=_REPEATED)
    except OSError as error:
        raise storage_error(path, error) from error
