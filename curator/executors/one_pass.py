"""One pass over a split in which it is read, decided and written: what two segments and their barriers would leave.

Batches flow through the stages in front of the barriers into the deciders, and what those keep flows on, while it is in
memory, through the stages behind them into the writer. There are two accounts, one for each of the segments, so that
files and numbers are those of a run that reads twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from curator.errors import TwoPassesError
from curator.executors.adapter import BaseStageAdapter
from curator.executors.guard import guard_stages
from curator.executors.reading import SplitReading
from curator.pipeline import OnePass
from curator.runs.recorder import Recorder
from curator.stages.io.judge import UNREADABLE_ROWS
from curator.tasks import DocumentBatch, ResultTask, SplitTask, Task

Flow = Callable[[Sequence[BaseStageAdapter], Iterable[Task]], Iterator[Task]]


class OnePassWorker:
    """Runs the splits of one step, which have to come in their order, each once.

    Args:
        step: the step.
        adapters: those of ``step.all_stages``.
        flow: pulls tasks through stages.
        directory: where deciders may have files, beside those of the attempts.
    """

    def __init__(self, step: OnePass, adapters: Sequence[BaseStageAdapter], flow: Flow, directory: Path) -> None:
        self._step = step
        self._flow = flow
        self._source, self._end = adapters[0], adapters[-1]
        first_behind = len(step.first.all_stages)
        self._before, self._behind = adapters[1:first_behind], adapters[first_behind:-1]
        self._deciding = [
            (adapter, shuffle.decider())
            for adapter, shuffle in zip(self._before[-len(step.shuffles) :], step.shuffles, strict=True)
        ]
        for _, decider in self._deciding:
            decider.open(directory)
        reader = step.second.stages[0]
        self._columns_behind = {"id", *getattr(reader, "fields", dict)()}

    def close(self) -> None:
        """Let go of what deciders hold."""
        for _, decider in self._deciding:
            decider.close()

    def run(
        self, unit: int, task: SplitTask, directory: Path, on_bytes: Callable[[int], None] | None
    ) -> list[ResultTask]:
        """Read, decide and write one split.

        Args:
            unit: its position in the step.
            task: the split.
            directory: private to this attempt.
            on_bytes: told about source bytes as they pass.

        Returns:
            What each of the two segments left.

        Raises:
            TwoPassesError: the deciders hold more than they may, or the rows of a split cannot be read as a whole.
        """
        first, second, name = self._step.first, self._step.second, self._source.stage.name
        before = Recorder(task.split, first.number, directory, source=name, keeps_rows=False)
        behind = Recorder(task.split, second.number, directory, source=name, keeps_rows=False)
        assert second.sink is not None
        writer = second.sink.open(task, unit, directory)
        reading = SplitReading(self._source, task, directory)
        for adapters in (self._before, self._behind):
            guard_stages(adapters, reading.enter)
        decided = sum(decider.num_removed for _, decider in self._deciding)
        for _, decider in self._deciding:
            decider.expect(self._step.num_splits / max(1, unit))
        try:
            for batch in self._flow(self._behind, self._left(reading, before, on_bytes)):
                assert isinstance(batch, DocumentBatch)
                behind.add(batch)
                reading.enter_batch(self._end.stage.name, batch)
                with self._end.timed():
                    writer.write(batch)
            with self._end.timed():
                result = writer.close()
        except BaseException:
            writer.abort()
            raise
        finally:
            reading.close()
        for adapter, decider in self._deciding:
            with adapter.timed():
                behind.add_removed(decider.removed())
        files, counts = before.close()
        read = ResultTask(unit=unit, directory=str(directory), files=files, counts=counts)
        read.counts["decided"] = sum(decider.num_removed for _, decider in self._deciding) - decided
        read.counts["summaries"] = {decider.stage: decider.summary() for _, decider in self._deciding}
        files, counts = behind.close()
        result.files.update(files)
        result.counts = {**counts, "part": result.counts}
        if usage := used_by([self._source, *self._before, *self._behind, self._end]):
            result.counts["usage"] = usage
        return [read, result]

    def _left(
        self, reading: SplitReading, before: Recorder, on_bytes: Callable[[int], None] | None
    ) -> Iterator[DocumentBatch]:
        """What is left of each batch behind the deciders, with the columns that it would have if it was read again."""
        for batch in self._flow(self._before, reading.batches()):
            assert isinstance(batch, DocumentBatch)
            before.add(batch)
            if any(entry.reason == UNREADABLE_ROWS for entry in batch.quarantined):
                raise TwoPassesError(
                    f"{self._step.name}: rows of {batch.split.name} cannot be read as a whole; their text may be."
                )
            if on_bytes is not None:
                on_bytes(batch.num_bytes)
            alive = np.ones(batch.num_items, np.bool_)
            for adapter, decider in self._deciding:
                with adapter.timed():
                    alive &= ~decider.decide(batch, alive)
            if (held := self._held_bytes()) > self._step.most_bytes:
                raise TwoPassesError(
                    f"{self._step.name}: {held:,} bytes of keys are held after {batch.split.name}, more than "
                    f"executor.one_pass_bytes={self._step.most_bytes:,}."
                )
            names = [name for name in batch.columns.column_names if name in self._columns_behind]
            left = replace(
                batch,
                columns=batch.columns.select(names),
                removed=[],
                quarantined=[],
                num_read=0,
                num_bytes=0,
                extent=None,
            )
            if alive.all():
                yield left
            elif alive.any():
                yield left.select(alive)

    def _held_bytes(self) -> int:
        return sum(decider.held_bytes for _, decider in self._deciding)


def used_by(adapters: Sequence[BaseStageAdapter]) -> dict[str, dict[str, dict[str, float]]]:
    """What stages used outside their worker, those that used anything; by the name of the stage."""
    return {each.stage.name: used for each in adapters if (used := each.stage.usage())}
