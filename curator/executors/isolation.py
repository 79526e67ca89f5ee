"""Which records of a unit its workers do not survive: found by probing halves, never by guessing.

A unit flows in whose workers died, ran out of memory or never came back; the same unit flows out, with the records at
fault excluded, so that they go to the quarantine and everything else is done as if nothing had happened. The caller
brings the ``probe``: it runs the given tasks in a worker of their own and says what became of that worker. A record is
blamed only if a worker that held nothing but this record was lost twice. Refused: partitions of a barrier, which have
no records to blame, and tasks that are no split.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Self

from loguru import logger

from curator.errors import CuratorError, ExecutorError
from curator.pipeline import Barrier, Step
from curator.tasks import Exclusion, PartitionTask, ResultTask, SplitTask, Task

MAX_EXCLUDED = 8
"""Records of one unit that may be given up; more of them are no bad luck but a stage that does not work."""

PROBE_FLOOR_S = 10.0
"""Seconds that every probe gets besides its share of the time of the whole unit, unless a unit gets less itself."""


class ProbeStatus(StrEnum):
    """What became of the worker of a probe."""

    PASSED = "passed"
    DIED = "died"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    FAILED = "failed"


_REASONS = {
    ProbeStatus.DIED: "killed_worker",
    ProbeStatus.OUT_OF_MEMORY: "out_of_memory",
    ProbeStatus.TIMED_OUT: "timeout",
}
"""What a lost worker makes of its record in the quarantine."""


@dataclass(frozen=True, slots=True)
class ProbeOutcome:
    """What a probe found out.

    Args:
        status: what became of the worker. A worker that was lost with its node, or for any other reason that lies
            outside of it, has found out nothing: the caller runs such a probe again and does not report it.
            ``MemoryError`` from ``StepWorker.run`` is ``OUT_OF_MEMORY``, a ``CuratorError`` from it is ``FAILED``.
        detail: how it ended, in a few words that are the same in every run, such as ``"SIGKILL"`` or ``"exit code 3"``:
            no process id, no address, no actor id, since it goes to the quarantine.
        row_end: one past the last row that the source gave; known from a probe that passed.
        seconds: how long its stages worked; likewise.
        error: what the unit failed with, where it did.
    """

    status: ProbeStatus
    detail: str = ""
    row_end: int = 0
    seconds: float = 0.0
    error: CuratorError | None = None

    @classmethod
    def passed(cls, made: Sequence[Task]) -> Self:
        """The outcome of a probe that came back.

        Args:
            made: what ``StepWorker.run`` returned for it.
        """
        (result,) = made
        assert isinstance(result, ResultTask)
        return cls(ProbeStatus.PASSED, row_end=int(result.counts["row_end"]), seconds=sum(result.seconds.values()))


Probe = Callable[[Sequence[Task], float | None], ProbeOutcome]
"""Runs tasks in a fresh worker that is used for nothing else, for at most so many seconds from when it begins them."""


def can_isolate(tasks: Sequence[Task]) -> bool:
    """Whether a unit has records that can be told apart: it is one split."""
    return len(tasks) == 1 and isinstance(tasks[0], SplitTask)


def isolate(
    step: Step,
    tasks: Sequence[Task],
    reason: str,
    probe: Probe,
    *,
    unit: int,
    attempts: str | Path | None = None,
    limit_s: float | None = None,
    max_excluded: int = MAX_EXCLUDED,
) -> list[Task]:
    """Find the records that end their worker, and exclude them.

    At most ``k * (log2(rows) + 4) + 3`` probes for ``k`` records, one after the other. If everything passes now, the
    tasks come back as they were, to be run once more; a caller that gets them back unchanged a second time gives the
    unit up.

    Args:
        step: the segment or barrier.
        tasks: the unit; records that it excludes already stay excluded.
        reason: what became of its workers so far, in a few words, for messages.
        probe: runs tasks and says what became of the worker.
        unit: position of the unit in the step.
        attempts: where attempts have their directories; the last breadcrumb there says where to look first.
        limit_s: time limit of the whole unit in s; a probe gets its share of it by rows, and a few seconds.
        max_excluded: records that may be excluded in all.

    Returns:
        The unit to run next.

    Raises:
        ExecutorError: there are too many such records, the worker does not survive reading alone, or the unit is no
            split; the message names the partition or split.
        CuratorError: a probe failed with it.
    """
    search = _Search(step, _only_split(step, tasks, reason), probe, unit, attempts, limit_s, max_excluded, reason)
    return [search.run()]


def _only_split(step: Step, tasks: Sequence[Task], reason: str) -> SplitTask:
    task = tasks[0] if tasks else None
    if isinstance(step, Barrier) or isinstance(task, PartitionTask):
        which = f"task {task.task_id!r}" if task is not None else "a partition"
        if isinstance(task, PartitionTask):
            which = f"partition {task.partition} of {task.num_partitions}"
        raise ExecutorError(
            f"{step.name}: {which} was lost again and again ({reason}). A partition has no single record to blame: "
            "give its workers more memory, or make partitions smaller with 'partition_bytes'. Nothing is published."
        )
    if not can_isolate(tasks):
        named = ", ".join(repr(one.task_id) for one in tasks)
        raise ExecutorError(f"{step.name}: tasks {named} were lost again and again ({reason}).")
    assert isinstance(task, SplitTask)
    return task


@dataclass(slots=True)
class _Search:
    """One search over the rows of one split."""

    step: Step
    task: SplitTask
    probe: Probe
    unit: int
    attempts: str | Path | None
    limit_s: float | None
    max_excluded: int
    reason: str
    row_end: int = 0
    reading_s: float = 0.0

    def run(self) -> SplitTask:
        hint = last_breadcrumb(self.attempts, self.step.ordinal, self.unit)
        self._measure()
        begin, end = 0, self.row_end
        if hint is not None and self._search(hint.begin, last := min(hint.end, end)):
            begin = last  # what came before passed when that breadcrumb was dropped
        self._search(begin, end)
        return self.task

    def _measure(self) -> None:
        """Read the split and give no row to any stage: how many there are, and whether reading is to blame."""
        limit_s = None if self.limit_s is None else self.limit_s + PROBE_FLOOR_S
        outcome = self.probe([replace(self.task, probe=(0, 0))], limit_s)
        if self._lost(outcome):
            raise ExecutorError(
                f"{self.step.name}: {self.task.split.name} of {self.task.split.file.path!r} ends every worker as it is "
                f"read ({outcome.detail or self.reason}), before any stage has seen a record of it. Leave the file "
                "out, or give the workers more memory. Nothing is published."
            )
        self.row_end, self.reading_s = outcome.row_end, outcome.seconds

    def _search(self, begin: int, end: int) -> bool:
        """Exclude all that has to be from ``[begin, end)``; whether the whole of it was lost at all."""
        lost = False
        while begin < end and self._lost(self._run(begin, end)):
            lost = True
            row, was_alone = self._first(begin, end)
            alone = (row, row + 1)
            if (was_alone or self._lost(self._run(*alone))) and self._lost(outcome := self._run(*alone)):
                self._exclude(row, outcome)
            begin = row + 1
        return lost

    def _first(self, begin: int, end: int) -> tuple[int, bool]:
        """The first row of a lost ``[begin, end)`` that is lost, and whether it was alone: all before it has passed."""
        was_alone = end - begin == 1
        while end - begin > 1:
            middle = (begin + end) // 2
            if self._lost(self._run(begin, middle)):
                end, was_alone = middle, middle - begin == 1
            else:
                begin = middle
        return begin, was_alone

    def _run(self, begin: int, end: int) -> ProbeOutcome:
        limit_s = self.limit_s
        if limit_s is not None:
            share = (end - begin) / self.row_end
            limit_s = min(PROBE_FLOOR_S, limit_s) + 2 * self.reading_s + share * limit_s
        return self.probe([replace(self.task, probe=(begin, end))], limit_s)

    def _lost(self, outcome: ProbeOutcome) -> bool:
        if outcome.status is ProbeStatus.FAILED:
            raise outcome.error or ExecutorError(f"{self.step.name}: a probe failed: {outcome.detail}")
        return outcome.status is not ProbeStatus.PASSED

    def _exclude(self, row: int, outcome: ProbeOutcome) -> None:
        if len(self.task.excluded) >= self.max_excluded:
            found = ", ".join(str(one.row) for one in self.task.excluded)
            raise ExecutorError(
                f"{self.step.name}: {self.task.split.name} of {self.task.split.file.path!r} has more than "
                f"{self.max_excluded} records that end their worker (rows {found}, {row}; {outcome.detail}). That is a "
                "stage that does not work, or a worker with too little memory or time. Nothing is published."
            )
        crumb = last_breadcrumb(self.attempts, self.step.ordinal, self.unit)
        named = "" if crumb is None else crumb.stage
        after_source = [stage.name for stage in self.step.all_stages[1:]]
        known = [name for name in after_source if named and name.startswith(named)]
        stage = known[0] if known else after_source[0]
        reason = _REASONS[outcome.status]
        what = outcome.detail
        if outcome.status is ProbeStatus.TIMED_OUT and self.limit_s is not None:
            what = f"not back within {self.limit_s:g} s"  # the probe's own limit is another one every time
        detail = f"{stage}: {what}" if known else what
        logger.warning(
            "{}: row {} of {} goes to the quarantine: {}, {}", self.step.name, row, self.task.split.name, reason, detail
        )
        excluded = (*self.task.excluded, Exclusion(row, reason, detail, stage))
        self.task = replace(self.task, excluded=tuple(sorted(excluded, key=lambda one: one.row)))


@dataclass(frozen=True, slots=True)
class Breadcrumb:
    """Where a worker was when it last moved on: a stage, or the beginning of its name, and the rows it got."""

    stage: str
    begin: int
    end: int


_BREADCRUMB = "breadcrumb"
_BREADCRUMB_BYTES = 64


class BreadcrumbWriter:
    """Keeps the position of a worker in a tiny file of its attempt, for those who come after it.

    Args:
        directory: private directory of the attempt.
    """

    def __init__(self, directory: Path) -> None:
        self._file = os.open(directory / _BREADCRUMB, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def drop(self, stage: str, begin: int, end: int) -> None:
        """Say that a stage gets some rows now; it is not forced to the medium: it only has to outlive the process."""
        place = f"{begin} {end} ".encode()
        name = stage.encode()[: _BREADCRUMB_BYTES - len(place) - 1]
        os.pwrite(self._file, (place + name).ljust(_BREADCRUMB_BYTES - 1) + b"\n", 0)

    def close(self) -> None:
        """Close the file; it goes with its directory."""
        os.close(self._file)


def clear_attempt(directory: Path) -> None:
    """Remove all that an attempt left but its breadcrumb."""
    with contextlib.suppress(OSError):
        for path in directory.iterdir():
            if path.name != _BREADCRUMB:
                path.unlink()


def last_breadcrumb(attempts: str | Path | None, step: int, unit: int) -> Breadcrumb | None:
    """The youngest breadcrumb that an attempt at a unit left; ``None`` if there is none.

    Args:
        attempts: where attempts have their directories.
        step: ordinal of the segment.
        unit: position of the unit.
    """
    found = list(_breadcrumbs(attempts, step, unit))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def _breadcrumbs(attempts: str | Path | None, step: int, unit: int) -> Iterator[tuple[int, Breadcrumb]]:
    if attempts is None:
        return
    for path in Path(attempts).glob(f"{step}-{unit:08d}-*/{_BREADCRUMB}"):
        try:
            begin, end, stage = path.read_text(encoding="utf-8", errors="replace").split(" ", 2)
            whole = stage.strip().rstrip("\N{REPLACEMENT CHARACTER}")  # of a character that the end cut in two
            yield path.stat().st_mtime_ns, Breadcrumb(whole, int(begin), int(end))
        except (OSError, ValueError):
            continue
