"""A batch of documents: a reference to its split, the columns some stage asked for, and the rows that are left.

Rows keep their place in the source. A stage that removes rows says so in ``removed``; nothing leaves a batch without a
reason. The raw lines and the text point into the reader's buffers, which are used again for the next batch: a stage
that keeps a batch longer than its own call must ``detach()`` it first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curator.tasks.split import Split
from curator.tasks.task import Task

QUARANTINED_BYTES = 64 << 10
"""Bytes of a record that go to the quarantine with it."""


@dataclass(frozen=True, slots=True)
class RawLines:
    """The bytes of JSON lines, without copying them.

    Args:
        buffer: uint8, shape (capacity,).
        starts: int64, shape (num_lines,): first byte of each line in ``buffer``.
        ends: int64, shape (num_lines,): one past its last byte, the line feed not included.
        offset: what the position of a byte in the uncompressed file is more than that in ``buffer``: one number, or, of
            lines from several places, one for each; int64, shape (num_lines,).
    """

    buffer: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    offset: int | npt.NDArray[np.int64]

    def take(self, keep: npt.NDArray[np.bool_]) -> RawLines:
        """The lines where ``keep`` is true."""
        offset = self.offset if isinstance(self.offset, int) else self.offset[keep]
        return replace(self, starts=self.starts[keep], ends=self.ends[keep], offset=offset)

    def place(self, index: int) -> int:
        """Where a line begins in the uncompressed file."""
        offset = self.offset if isinstance(self.offset, int) else self.offset[index]
        return int(self.starts[index] + offset)

    def line(self, index: int) -> bytes:
        """One line as bytes."""
        return self.buffer[self.starts[index] : self.ends[index]].tobytes()


@dataclass(frozen=True, slots=True)
class Quarantined:
    """A bad record, or a part of a file that holds no readable record.

    Args:
        reason: one word of the list in ``stages/io/judge.py``.
        detail: what the parser said.
        offset: byte offset in the uncompressed file (JSONL); -1 where there is none.
        row: row in the split; -1 where the entry is not one record.
        records: how many input records it accounts for: 1, or 0 or more for a part of a file.
        size_bytes: length of the bad bytes.
        bytes: the first of them, up to a limit.
        stage: name of the stage that could not take it; empty for the one that reads.
    """

    reason: str
    detail: str
    offset: int
    row: int
    records: int
    size_bytes: int
    bytes: bytes
    stage: str = ""


@dataclass(frozen=True, slots=True)
class Removed:
    """Documents that one stage removed for one reason, column by column.

    Args:
        stage: name of the stage.
        reason: why, one word for all of them.
        rows: int64, shape (num_docs,): rows in the split.
        ids: string array, shape (num_docs,): the users' ids; null where a document has none.
        keys: string array: what was compared (exact: the hash in hexadecimal); null where nothing was.
        scores: float64 array, shape (num_docs,): the score or similarity; null where there is none.
        kept: uint64 array, shape (num_docs,): the document each one lost to; null where there is none.
        kept_ids: string array: the users' ids of those.
        kept_in: string array: the earlier corpus that they are in; null where they are of this run; ``None``: all are.
    """

    stage: str
    reason: str
    rows: npt.NDArray[np.int64]
    ids: pa.Array
    keys: pa.Array
    scores: pa.Array
    kept: pa.Array
    kept_ids: pa.Array
    kept_in: pa.Array | None = None


@dataclass(slots=True, kw_only=True)
class DocumentBatch(Task):
    """Some consecutive documents of one split.

    Args:
        split: where they come from.
        rows: int64, shape (num_docs,): the rows that are left, ascending.
        columns: the columns that stages asked for, in the order of ``rows``.
        lines: the raw JSON lines in the order of ``rows``; ``None`` for Parquet.
        table: all source columns in the order of ``rows`` when a writer wants them; ``None`` for JSONL.
        fields: column name to field name in the source.
        removed: what stages took out since the batch was read.
        quarantined: what the reader or a stage could not accept.
        num_read: records of the source that this batch accounts for; 0 when they were counted before a barrier.
        num_bytes: uncompressed bytes of the source that it accounts for, likewise.
        extent: first byte and one past the last byte of the file that it covers; ``None`` where bytes do not tell.
    """

    split: Split
    rows: npt.NDArray[np.int64]
    columns: pa.Table
    lines: RawLines | None = None
    table: pa.Table | None = None
    fields: dict[str, str] = field(default_factory=dict)
    removed: list[Removed] = field(default_factory=list)
    quarantined: list[Quarantined] = field(default_factory=list)
    num_read: int = 0
    num_bytes: int = 0
    extent: tuple[int, int] | None = None

    @property
    def num_items(self) -> int:
        """Documents that are left."""
        return len(self.rows)

    def remove(
        self,
        drop: npt.NDArray[np.bool_],
        *,
        stage: str,
        reason: str,
        keys: pa.Array | None = None,
        scores: pa.Array | None = None,
    ) -> DocumentBatch:
        """A batch without the rows where ``drop`` is true, with the removal on record.

        Args:
            drop: bool, shape (num_docs,).
            stage: name of the stage that removes them.
            reason: one word.
            keys: what was compared, for all rows of this batch.
            scores: float64 scores, for all rows of this batch.
        """
        if not drop.any():
            return self
        mask, rows = pa.array(drop), self.rows[drop]
        ids = self.columns["id"].combine_chunks().filter(mask)
        record = Removed(
            stage=stage,
            reason=reason,
            rows=rows,
            ids=ids,
            keys=keys.filter(mask) if keys is not None else pa.nulls(len(rows), pa.string()),
            scores=scores.filter(mask) if scores is not None else pa.nulls(len(rows), pa.float64()),
            kept=pa.nulls(len(rows), pa.uint64()),
            kept_ids=pa.nulls(len(rows), pa.string()),
        )
        return replace(self.select(~drop), removed=[*self.removed, record])

    def quarantine(
        self, drop: npt.NDArray[np.bool_], *, stage: str, reasons: Sequence[str], details: Sequence[str]
    ) -> DocumentBatch:
        """A batch without the rows where ``drop`` is true, which are in its quarantine, with their first bytes.

        Args:
            drop: bool, shape (num_docs,).
            stage: name of the stage that could not take them.
            reasons: one word for each of them, in the order of the rows.
            details: what happened to each of them.
        """
        entries = [
            self._refused(int(index), stage, reason, detail)
            for index, reason, detail in zip(np.flatnonzero(drop), reasons, details, strict=True)
        ]
        return replace(self.select(~drop), quarantined=[*self.quarantined, *entries]) if entries else self

    def _refused(self, index: int, stage: str, reason: str, detail: str) -> Quarantined:
        row = int(self.rows[index])
        if self.lines is not None:
            start, end = int(self.lines.starts[index]), int(self.lines.ends[index])
            head = self.lines.buffer[start : min(end, start + QUARANTINED_BYTES)].tobytes()
            return Quarantined(reason, detail, self.lines.place(index), row, 1, end - start, head, stage)
        text = self.columns["text"][index].as_py() if "text" in self.columns.column_names else None
        content = text.encode() if isinstance(text, str) else b""
        return Quarantined(reason, detail, -1, row, 1, len(content), content[:QUARANTINED_BYTES], stage)

    def select(self, keep: npt.NDArray[np.bool_]) -> DocumentBatch:
        """The rows where ``keep`` is true; the others go without a word, so the caller has to account for them.

        Args:
            keep: bool, shape (num_docs,).
        """
        return replace(
            self,
            rows=self.rows[keep],
            columns=self.columns.filter(pa.array(keep)),
            lines=None if self.lines is None else self.lines.take(keep),
            # In one piece, so that what is written does not tell how many steps it took to select it.
            table=None if self.table is None else self.table.take(pa.array(np.flatnonzero(keep))),
        )

    def copy(self) -> DocumentBatch:
        """The same batch for a stage that may change it: what is mutable in it is copied, the columns are not."""
        return replace(
            self,
            rows=self.rows.copy(),
            fields=dict(self.fields),
            removed=list(self.removed),
            quarantined=list(self.quarantined),
            seconds=dict(self.seconds),
        )

    def detach(self) -> DocumentBatch:
        """A batch that owns its bytes and outlives the reader's buffer."""
        if self.lines is None:
            return self
        everything = pa.array(np.arange(self.num_items))
        lines = replace(self.lines, buffer=self.lines.buffer.copy())
        return replace(self, lines=lines, columns=self.columns.take(everything))
