"""What the steps of a run hand on to one another: the units of a step, from what the steps before it left.

Results come in, small tasks go out; the driver sees counts and names of files only. What no later step needs any more
is given back: rounds when all have run, keys when the last range of bands has been taken, once the next step is at
work, so that its workers do not wait for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from loguru import logger

from curator.pipeline import Barrier, OnePass, Plan, Segment, Step
from curator.runs.scratch import Scratch
from curator.stages.barrier.keys import keys_kind, plan_partitions, write_keys_index
from curator.stages.barrier.known_keys import write_known_keys
from curator.stages.barrier.rounds import DOCUMENTS, write_documents_index
from curator.stages.barrier.rows import write_removals_index
from curator.tasks import PartitionTask, ResultTask, RoundTask, Selection, SplitTask, Task


@dataclass(slots=True)
class Handover:
    """The state of a run between its steps.

    Args:
        plan: the plan of the run.
        scratch: its scratch space.
    """

    plan: Plan
    scratch: Scratch
    segment_results: list[list[ResultTask]] = field(default_factory=list)
    """The results of each finished segment, in split order."""
    _earlier: dict[str, tuple[Segment, list[ResultTask]]] = field(default_factory=dict)
    """By the stage that compares with them, the corpora that came before, and the results of reading them."""
    _round: list[ResultTask] = field(default_factory=list)
    """The results of the round before, in task order; of all ranges of bands for the first one."""
    _bounds: list[list[int]] = field(default_factory=list)
    """The partitions of each range of bands."""
    _finished: list[ResultTask] = field(default_factory=list)
    """The results of the rounds before that."""
    _removals: list[tuple[str, list[str]]] = field(default_factory=list)
    """Stage and removal files of each barrier since the last segment."""
    _spent: list[str] = field(default_factory=list)
    """Files that no later step needs."""

    def units(self, step: Step) -> list[list[Task]]:
        """The units of a step, all steps before it being finished."""
        if isinstance(step, Segment) and step.earlier:
            known = self._known_keys(step)
            return [[SplitTask(task_id=str(split.ordinal), split=split, known_keys=known)] for split in step.earlier]
        if isinstance(step, OnePass):
            return [[SplitTask(task_id=str(split.ordinal), split=split)] for split in self.plan.splits]
        if isinstance(step, Segment):
            return [[self._split_task(step, ordinal)] for ordinal in range(len(self.plan.splits))]
        assert isinstance(step, Barrier)
        return self._partitions(step) if not step.round else self._round_tasks(step)

    def finish(self, step: Step, results: list[ResultTask]) -> None:
        """Take the results of a step, leave what the next one needs, and give back what nobody does."""
        if isinstance(step, Segment) and step.earlier:
            self._earlier[step.shuffles[0].name] = (step, results)
            name, compared = step.shuffles[0].name, sum(result.counts["alive"] for result in results)
            reasons = [found for result in results for found in result.counts["quarantined"].values()]
            bad = sum(sum(found.values()) for found in reasons)
            logger.info("{}: compares with {:,} documents; {:,} bad records are not among them", name, compared, bad)
            return
        if isinstance(step, Segment):
            self.segment_results.append(results)
            self._removals = []
            return
        assert isinstance(step, Barrier)
        if not step.round:
            self._round += results
            if step.iteration < len(step.shuffle.get_band_iterations()) - 1:
                return
            self._spent += self._key_files(step)
        elif results:
            self._finished += self._round
            self._round = results
        if step.is_last:
            self._removals.append((step.shuffle.name, _files(self._round, "removals")))
            write_removals_index(self.scratch.step_file(step.ordinal, "removals.json"), self._removals)
            self.scratch.discard(self._finished)
            self._round, self._finished = [], []

    def give_back(self) -> None:
        """Remove what no later step needs; a file of a moderate run takes 0.1 ms, so this is for idle moments."""
        while self._spent:
            Path(self._spent.pop()).unlink()

    def _known_keys(self, step: Segment) -> str:
        """Where the run's own keys are listed for a segment that reads earlier corpora; empty if it is no use."""
        if sum(split.size_bytes for split in step.earlier) < self.plan.total_bytes:
            return ""
        own = [other for other in self.plan.steps[: step.ordinal] if isinstance(other, Segment) and not other.earlier]
        position = [shuffle.name for shuffle in own[-1].shuffles].index(step.shuffles[0].name)
        path = self.scratch.step_file(step.ordinal, "known.json")
        is_listed = write_known_keys(path, _files(self.segment_results[-1], keys_kind(position)))
        return str(path) if is_listed else ""

    def _split_task(self, segment: Segment, ordinal: int) -> SplitTask:
        selection = None
        if self.segment_results:
            removals = self.scratch.step_file(segment.ordinal - 1, "removals.json")
            selection = Selection(self._rows_path(ordinal), str(removals))
        return SplitTask(task_id=str(ordinal), split=self.plan.splits[ordinal], selection=selection)

    def _partitions(self, barrier: Barrier) -> list[list[Task]]:
        key_files = self._key_files(barrier)
        if not barrier.iteration:
            num_iterations = len(barrier.shuffle.get_band_iterations())
            self._bounds = plan_partitions(key_files, barrier.shuffle.partition_bytes, num_iterations)
        bounds = self._bounds[barrier.iteration]
        index = self.scratch.step_file(barrier.ordinal, "keys.json")
        removals = [path for _, files in self._removals for path in files]
        write_keys_index(index, key_files, bounds, barrier.iteration, removals)
        count = len(bounds) - 1
        if not key_files:
            return []
        return [
            [PartitionTask(task_id=str(number), partition=number, num_partitions=count, index_path=str(index))]
            for number in range(count)
        ]

    def _round_tasks(self, barrier: Barrier) -> list[list[Task]]:
        directory = self.scratch.step_file(barrier.ordinal, "round")
        directory.mkdir()
        documents_path = ""
        if barrier.source is not None:
            index = directory / DOCUMENTS
            splits, rows_paths = list(self.plan.splits), [self._rows_path(split.ordinal) for split in self.plan.splits]
            if barrier.shuffle.name in self._earlier:
                segment, results = self._earlier[barrier.shuffle.name]
                splits += segment.earlier
                rows_paths += _files(results, "rows")
            write_documents_index(index, splits, rows_paths)
            documents_path = str(index)
        tasks: list[RoundTask] = list(barrier.work.plan(self._round, directory))
        for number, task in enumerate(tasks):
            task.task_id, task.documents_path = str(number), documents_path
        return [[task] for task in tasks]

    def _rows_path(self, ordinal: int) -> str:
        result = self.segment_results[-1][ordinal]
        return f"{result.directory}/{result.files['rows']}"

    def _key_files(self, barrier: Barrier) -> list[str]:
        files = _files(self.segment_results[-1], keys_kind(barrier.position))
        if barrier.shuffle.name in self._earlier:
            files += _files(self._earlier[barrier.shuffle.name][1], keys_kind(0))
        return files


def _files(results: Sequence[ResultTask], kind: str) -> list[str]:
    return [f"{result.directory}/{name}" for result in results if (name := result.files.get(kind))]
