"""The front of a segment that reads: batches of one split, less what the task says no stage may see.

Excluded records leave as quarantine entries of their batch. In a probe, only the probed rows go on. On the way, a
breadcrumb in the attempt's directory says which stage has which rows, for those who ask why the worker died.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from curator.executors.adapter import BaseStageAdapter
from curator.executors.isolation import BreadcrumbWriter
from curator.tasks import DocumentBatch, SplitTask


class SplitReading:
    """Reads one split for one attempt.

    Args:
        source: the adapter of the stage that reads.
        task: the split, with exclusions, and a range of rows if it is a probe.
        directory: private directory of the attempt.

    ``row_end`` is one past the last row that the source gave so far.
    """

    def __init__(self, source: BaseStageAdapter, task: SplitTask, directory: Path) -> None:
        self.row_end = 0
        self._source = source
        self._task = task
        self._excluded = {exclusion.row: exclusion for exclusion in task.excluded}
        self._breadcrumb = BreadcrumbWriter(directory)

    def batches(self) -> Iterator[DocumentBatch]:
        """The batches that the stages get, each valid until the next one is asked for."""
        name = self._source.stage.name
        self.enter(name, 0, 0)
        for batch in self._source.stream([self._task]):
            assert isinstance(batch, DocumentBatch)
            if batch.num_items:
                self.row_end = int(batch.rows[-1]) + 1
            admitted = self._probed(self._admitted(batch))
            if admitted is not None:
                yield admitted
            if self._is_done():
                return
            self.enter(name, self.row_end, self.row_end)

    def enter(self, stage: str, begin: int, end: int) -> None:
        """Leave a breadcrumb: a stage gets the rows ``[begin, end)`` now."""
        self._breadcrumb.drop(stage, begin, end)

    def enter_batch(self, stage: str, batch: DocumentBatch) -> None:
        """Leave a breadcrumb for a batch that has documents."""
        if batch.num_items:
            self.enter(stage, int(batch.rows[0]), int(batch.rows[-1]) + 1)

    def close(self) -> None:
        """Close the breadcrumb's file."""
        self._breadcrumb.close()

    def _admitted(self, batch: DocumentBatch) -> DocumentBatch:
        if not self._excluded:
            return batch
        drop = np.isin(batch.rows, list(self._excluded))
        found = [self._excluded[int(row)] for row in batch.rows[drop]]
        for exclusion in found:
            one = batch.rows == exclusion.row
            batch = batch.quarantine(one, stage=exclusion.stage, reasons=[exclusion.reason], details=[exclusion.detail])
        return batch

    def _probed(self, batch: DocumentBatch) -> DocumentBatch | None:
        if self._task.probe is None:
            return batch
        begin, end = self._task.probe
        keep = (batch.rows >= begin) & (batch.rows < end)
        return batch.select(keep) if keep.any() else None

    def _is_done(self) -> bool:
        """Whether a probe has had all of its rows; the one of no rows at all reads on, to count them."""
        if self._task.probe is None:
            return False
        begin, end = self._task.probe
        return begin < end <= self.row_end
