"""The worker's side of the accounts: what became of every record of one split in one segment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from curator.runs.ledger import ledger_table, quarantine_table, write_parquet
from curator.stages.barrier.rows import RowsWriter
from curator.stages.io.output_file import FileRecord, digest_file
from curator.tasks import DocumentBatch, Quarantined, Removed, Split

_HELD_BYTES = 64 << 20


class Recorder:
    """Counts and records while batches of one split pass.

    Args:
        split: the split.
        step: ordinal of the segment; part of the names, since a document may leave in any of them.
        directory: private directory of the attempt.
        source: name of the stage that reads; what no other stage could not take is counted against it.
        keeps_rows: whether a barrier follows, behind which the rows that are left must be found again.
        keeps_ids: whether somebody behind it needs their ids and nothing else.
    """

    def __init__(
        self, split: Split, step: int, directory: Path, *, source: str, keeps_rows: bool, keeps_ids: bool = False
    ) -> None:
        self._split = split
        self._step = step
        self._directory = directory
        self._source = source
        self._rows = RowsWriter(with_ids=keeps_ids) if keeps_rows else None
        self._removed: list[Removed] = []
        self._quarantined: list[Quarantined] = []
        self._held_bytes = 0
        self._read = self._bytes = self._alive = 0
        self._extent: list[int] | None = None
        self._reasons: dict[str, Counter[str]] = {}

    def add(self, batch: DocumentBatch) -> None:
        """Take note of a batch at the end of the segment."""
        self._read += batch.num_read
        self._bytes += batch.num_bytes
        self._alive += batch.num_items
        if batch.extent is not None:
            first, last = batch.extent
            self._extent = [first if self._extent is None else self._extent[0], last]
        self._removed += batch.removed
        for entry in batch.quarantined:
            entry = replace(entry, stage=entry.stage or self._source)
            self._reasons.setdefault(entry.stage, Counter())[entry.reason] += entry.records
            self._held_bytes += len(entry.bytes)
            if self._held_bytes > _HELD_BYTES:
                entry = replace(entry, bytes=b"")
            self._quarantined.append(entry)
        if self._rows is not None:
            self._rows.add(batch)

    def add_removed(self, removed: Sequence[Removed]) -> None:
        """Take note of documents that went without their batch saying so."""
        self._removed += removed

    def close(self) -> tuple[dict[str, str], dict[str, Any]]:
        """Write what there is to write.

        Returns:
            The files by kind, and the counts.
        """
        files: dict[str, str] = {}
        records: dict[str, Any] = {}
        if self._removed:
            ledger = ledger_table(self._split, self._removed)
            if ledger.num_rows:
                files["ledger"] = f"{self._split.name}-{self._step}.ledger.parquet"
                write_parquet(self._directory / files["ledger"], ledger)
                records["ledger"] = self._record(files["ledger"], ledger.num_rows)
        if self._quarantined:
            files["quarantine"] = f"{self._split.name}-{self._step}.quarantine.parquet"
            in_order = sorted(self._quarantined, key=lambda entry: (entry.row < 0, entry.row))
            write_parquet(self._directory / files["quarantine"], quarantine_table(self._split, in_order))
            records["quarantine"] = self._record(files["quarantine"], len(self._quarantined))
        if self._rows is not None:
            files["rows"] = "rows.arrow"
            self._rows.close(self._directory / files["rows"])
        removed: dict[str, Counter[str]] = {}
        for part in self._removed:
            removed.setdefault(part.stage, Counter())[part.reason] += len(part.rows)
        counts = {
            "read": self._read,
            "bytes": self._bytes,
            "alive": self._alive,
            "removed": {stage: dict(sorted(found.items())) for stage, found in sorted(removed.items())},
            "quarantined": {stage: dict(sorted(found.items())) for stage, found in sorted(self._reasons.items())},
            "extent": self._extent,
            "records": records,
        }
        return files, counts

    def _record(self, name: str, rows: int) -> dict[str, Any]:
        record: FileRecord = digest_file(self._directory / name)
        return {"size_bytes": record.size_bytes, "digest": record.digest, "rows": rows}
