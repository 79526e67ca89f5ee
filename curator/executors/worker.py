"""What runs inside a worker, whatever started it: the fused stages of one step, unit by unit.

A unit flows in as a task or a few, and what it became flows out: tasks, or one small ``ResultTask`` that names the
files of the attempt. An attempt writes in a directory of its own; if it fails, the directory goes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from curator.errors import CuratorError, StageError
from curator.executors.adapter import BaseStageAdapter
from curator.pipeline import Barrier, Segment, Step
from curator.runs.recorder import Recorder
from curator.runs.scratch import new_attempt
from curator.stages.barrier.keys import KeysWriter, read_partition
from curator.stages.barrier.removals import write_removals
from curator.stages.base import NodeInfo, WorkerMetadata
from curator.tasks import DocumentBatch, PartitionTask, ResultTask, SplitTask, Task, child_ids


class StepWorker:
    """Runs units of one segment or barrier.

    Args:
        step: the segment or barrier.
        attempts: where attempts get their directories; ``None`` for steps that leave no files.
    """

    def __init__(self, step: Step, attempts: str | None = None) -> None:
        self.step = step
        self._attempts = None if attempts is None else Path(attempts)
        self._adapters = [BaseStageAdapter(stage) for stage in step.all_stages]
        self._on_bytes: Callable[[int], None] | None = None

    def setup_on_node(self, node_info: NodeInfo) -> None:
        """Prepare this node for all stages, in order."""
        for adapter in self._adapters:
            adapter.setup_on_node(node_info)

    def setup(self, worker_metadata: WorkerMetadata | None = None) -> None:
        """Set all stages up, in order."""
        for adapter in self._adapters:
            adapter.setup(worker_metadata)

    def teardown(self) -> None:
        """Tear all stages down, the last first, whatever one of them raises."""
        failure: Exception | None = None
        for adapter in reversed(self._adapters):
            try:
                adapter.teardown()
            except Exception as error:  # noqa: BLE001
                failure = failure or error
        if failure is not None:
            raise failure

    def run(self, unit: int, tasks: Sequence[Task], on_bytes: Callable[[int], None] | None = None) -> list[Task]:
        """Run one unit.

        Args:
            unit: its position in the step.
            tasks: what it is.
            on_bytes: told about source bytes as they pass.

        Raises:
            CuratorError: a stage failed; nothing of the attempt remains.
        """
        self._on_bytes = on_bytes
        for adapter in self._adapters:
            adapter.seconds = 0.0
            adapter.failed = []
        step = self.step
        if isinstance(step, Segment) and step.shuffle is None and step.sink is None:
            stages = self._adapters
            made = [task.detach() for task in self._flow(stages, list(tasks))]
            return [*made, *(failed for adapter in stages for failed in adapter.failed)]
        (task,) = tasks
        assert self._attempts is not None
        directory = new_attempt(self._attempts, step.ordinal, unit)
        try:
            if isinstance(step, Barrier):
                result = self._run_partition(step, task, unit, directory)
            else:
                result = self._run_split(step, task, unit, directory)
        except CuratorError:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        except Exception as error:
            shutil.rmtree(directory, ignore_errors=True)
            message = f"{step.name} failed on task {task.task_id!r}: {type(error).__name__}: {error}"
            raise StageError(message, stage=step.name, task_id=task.task_id) from error
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        result.task_id = child_ids([task.task_id], 1)[0]
        for adapter in self._adapters:
            result.seconds[adapter.stage.name] = result.seconds.get(adapter.stage.name, 0.0) + adapter.seconds
        return [result]

    def _flow(self, adapters: Sequence[BaseStageAdapter], tasks: list[Task]) -> Iterator[Task]:
        """Push tasks through stages, depth first, so that little is in memory at a time."""
        if not adapters:
            yield from tasks
            return
        first, rest = adapters[0], adapters[1:]
        size = max(1, first.stage.batch_size)
        following = max(1, rest[0].stage.batch_size) if rest else 1
        waiting: list[Task] = []
        for start in range(0, len(tasks), size):
            for made in first.stream(tasks[start : start + size]):
                waiting.append(made)
                if len(waiting) == following:
                    yield from self._flow(rest, waiting)
                    waiting = []
        if waiting:
            yield from self._flow(rest, waiting)

    def _run_split(self, segment: Segment, task: Task, unit: int, directory: Path) -> ResultTask:
        assert isinstance(task, SplitTask)
        recorder = Recorder(task.split, segment.ordinal, directory, keeps_rows=segment.shuffle is not None)
        keys = KeysWriter()
        end = self._adapters[-1]
        writer = None if segment.sink is None else segment.sink.open(task, unit, directory)
        adapters = self._adapters if segment.shuffle is not None else self._adapters[:-1]
        try:
            for batch in self._flow(adapters, [task]):
                assert isinstance(batch, DocumentBatch)
                recorder.add(batch)
                with end.timed():
                    if segment.shuffle is not None:
                        keys.add(segment.shuffle.keys(batch))
                    if writer is not None:
                        writer.write(batch)
                if self._on_bytes is not None:
                    self._on_bytes(batch.num_bytes)
            with end.timed():
                if writer is not None:
                    result = writer.close()
                else:
                    result = ResultTask(unit=unit, directory=str(directory))
                    if keys.close(directory / "keys.arrow"):
                        result.files["keys"] = "keys.arrow"
        except BaseException:
            if writer is not None:
                writer.abort()
            raise
        files, counts = recorder.close()
        result.files.update(files)
        result.counts = {**counts, "part": result.counts} if result.counts else counts
        return result

    def _run_partition(self, barrier: Barrier, task: Task, unit: int, directory: Path) -> ResultTask:
        assert isinstance(task, PartitionTask)
        result = ResultTask(unit=unit, directory=str(directory))
        with self._adapters[0].timed():
            removals = barrier.shuffle.decide(read_partition(task.index_path, task.partition))
            if write_removals(directory / "removals.arrow", removals):
                result.files["removals"] = "removals.arrow"
        result.counts = {"removed": removals.num_rows}
        return result
