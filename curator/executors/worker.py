"""What runs inside a worker, whatever started it: the fused stages of one step, unit by unit.

A unit flows in as a task or a few, and what it became flows out: tasks, or one small ``ResultTask`` that names the
files of the attempt. An attempt writes in a directory of its own; if it fails, the directory goes.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow as pa

from curator.errors import CuratorError, StageError
from curator.executors.adapter import BaseStageAdapter
from curator.executors.guard import GuardedStageAdapter, guard_stages
from curator.executors.isolation import clear_attempt
from curator.executors.one_pass import OnePassWorker, used_by
from curator.executors.reading import SplitReading
from curator.executors.shuffle import run_round, run_shuffled
from curator.pipeline import Barrier, OnePass, Segment, Step
from curator.runs.recorder import Recorder
from curator.runs.scratch import new_attempt
from curator.stages.barrier.arrow_files import look_for_pandas
from curator.stages.barrier.deciders import warm_deciders
from curator.stages.barrier.keys import KeysWriter, keys_kind, warm_keys
from curator.stages.barrier.known_keys import KnownKeys
from curator.stages.barrier.removals import close_removals
from curator.stages.barrier.rounds import ONLY_IDS
from curator.stages.base import NodeInfo, ProcessingStage, SourceStage, WorkerMetadata
from curator.stages.io.output_file import is_full, storage_error
from curator.tasks import DocumentBatch, ResultTask, SplitTask, Task, child_ids


class StepWorker:
    """Runs units of one segment or barrier.

    Args:
        step: the segment or barrier.
        attempts: where attempts get their directories; ``None`` for steps that leave no files.
    """

    def __init__(self, step: Step, attempts: str | None = None) -> None:
        self.step = step
        self._attempts = None if attempts is None else Path(attempts)
        self._adapters = [self._adapter(stage) for stage in step.all_stages]
        self._on_bytes: Callable[[int], None] | None = None
        self._known_keys: KnownKeys | None = None
        self._one_pass: OnePassWorker | None = None

    def _adapter(self, stage: ProcessingStage) -> BaseStageAdapter:
        reads = isinstance(self.step, Segment | OnePass) and isinstance(self.step.all_stages[0], SourceStage)
        return BaseStageAdapter(stage) if not reads or isinstance(stage, SourceStage) else GuardedStageAdapter(stage)

    def setup_on_node(self, node_info: NodeInfo) -> None:
        """Prepare this node for all stages, in order."""
        for adapter in self._adapters:
            adapter.setup_on_node(node_info)
        self._warm()

    def _warm(self) -> None:
        """Load what the ends of the step need, besides what its stages know of."""
        if isinstance(self.step, OnePass):
            warm_deciders()
        elif isinstance(self.step, Segment) and self.step.shuffles:
            warm_keys()

    def setup(self, worker_metadata: WorkerMetadata | None = None) -> None:
        """Set all stages up, in order, and load what no unit should have to wait for."""
        look_for_pandas()
        for adapter in self._adapters:
            adapter.setup(worker_metadata)
        self._warm()
        if isinstance(self.step, OnePass):
            assert self._attempts is not None
            self._one_pass = OnePassWorker(self.step, self._adapters, _flow, self._attempts)

    def teardown(self) -> None:
        """Tear all stages down, the last first, whatever one of them raises."""
        failure: Exception | None = None
        close_removals()
        if self._one_pass is not None:
            self._one_pass.close()
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
            MemoryError: it ran out of memory; only its breadcrumb remains, and this worker should not go on.
        """
        self._on_bytes = on_bytes
        for adapter in self._adapters:
            adapter.seconds = 0.0
            adapter.failed = []
        step = self.step
        if isinstance(step, Segment) and (step.extract is not None or step.insert is not None):
            return run_shuffled(step, unit, tasks, self._adapters, _flow)
        if isinstance(step, Segment) and not step.shuffles and step.sink is None:
            stages = self._adapters
            made = [task.detach() for task in _flow(stages, tasks)]
            return [*made, *(failed for adapter in stages for failed in adapter.failed)]
        (task,) = tasks
        assert self._attempts is not None
        directory = new_attempt(self._attempts, step.ordinal, unit)
        try:
            if isinstance(step, Barrier):
                with self._adapters[0].timed():
                    results = [run_round(step, unit, task, directory)]
            elif self._one_pass is not None:
                assert isinstance(task, SplitTask)
                results = self._one_pass.run(unit, task, directory, on_bytes)
            else:
                assert isinstance(step, Segment)
                results = [self._run_split(step, task, unit, directory)]
        except CuratorError:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        except MemoryError:
            clear_attempt(directory)
            raise
        except Exception as error:
            # Tables are written by libraries that raise what they like; what is free is told before the directory goes.
            full = storage_error(directory, error) if isinstance(error, OSError) and is_full(error) else None
            shutil.rmtree(directory, ignore_errors=True)
            if full is not None:
                raise full from error
            message = f"{step.name} failed on task {task.task_id!r}: {type(error).__name__}: {error}"
            raise StageError(message, stage=step.name, task_id=task.task_id) from error
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        for result, name in zip(results, child_ids([task.task_id], len(results)), strict=True):
            result.task_id = name
        seconds = results[-1].seconds
        for adapter in self._adapters:
            seconds[adapter.stage.name] = seconds.get(adapter.stage.name, 0.0) + adapter.seconds
        return list(results)

    def _run_split(self, segment: Segment, task: Task, unit: int, directory: Path) -> ResultTask:
        assert isinstance(task, SplitTask)
        source, end = self._adapters[0], self._adapters[-1]
        recorder = Recorder(
            task.split,
            segment.number,
            directory,
            source=source.stage.name,
            keeps_rows=bool(segment.shuffles),
            keeps_ids=any(work.columns == ONLY_IDS for shuffle in segment.shuffles for work in shuffle.rounds()),
        )
        keys = [
            KeysWriter(directory / f"{keys_kind(position)}.arrow", shuffle.get_band_iterations())
            for position, shuffle in enumerate(segment.shuffles)
        ]
        keeping = {
            number: folder.open(task.split, directory / f"kept-{number}.arrow")
            for number, shuffle in enumerate(segment.shuffles)
            if (folder := shuffle.files_to_keep) is not None and not segment.earlier
        }
        if task.known_keys and self._known_keys is None:
            self._known_keys = KnownKeys.read(task.known_keys)
        known = self._known_keys if task.known_keys else None
        shuffling = list(zip(self._adapters[-len(keys) :], segment.shuffles, keys, strict=True)) if keys else []
        writer = None if segment.sink is None else segment.sink.open(task, unit, directory)
        between = self._adapters[1:] if writer is None else self._adapters[1:-1]
        reading = SplitReading(source, task, directory)
        try:
            guard_stages(between, reading.enter)
            for batch in _flow(between, reading.batches()):
                assert isinstance(batch, DocumentBatch)
                recorder.add(batch)
                reading.enter_batch(end.stage.name, batch)
                for adapter, shuffle, opened in shuffling:
                    with adapter.timed():
                        made = shuffle.keys(batch)
                        opened.add(made if known is None else _known_only(made, known))
                for kept in keeping.values():
                    kept.add(batch)
                if writer is not None:
                    with end.timed():
                        writer.write(batch)
                if self._on_bytes is not None and task.probe is None:
                    self._on_bytes(batch.num_bytes)
            with end.timed():
                result = ResultTask(unit=unit, directory=str(directory)) if writer is None else writer.close()
            for position, (adapter, _, opened) in enumerate(shuffling):
                with adapter.timed():
                    if opened.close():
                        result.files[keys_kind(position)] = f"{keys_kind(position)}.arrow"
            kept_files = {number: kept.close() for number, kept in keeping.items()}
        except BaseException:
            for unfinished in keys:
                unfinished.abort()
            for kept in keeping.values():
                kept.abort()
            if writer is not None:
                writer.abort()
            raise
        finally:
            reading.close()
        if task.probe is not None:
            shutil.rmtree(directory, ignore_errors=True)
            return ResultTask(unit=unit, directory="", counts={"row_end": reading.row_end})
        files, counts = recorder.close()
        result.files.update(files)
        result.counts = {**counts, "part": result.counts} if result.counts else counts
        if usage := used_by(self._adapters):
            result.counts["usage"] = usage
        for number, kept_file in kept_files.items():
            result.files[f"kept-{number}"] = f"kept-{number}.arrow"
            result.counts[f"kept-{number}"] = kept_file
        return result


def _known_only(keys: pa.Table | Sequence[pa.Table], known: KnownKeys) -> pa.Table | list[pa.Table]:
    return known.select(keys) if isinstance(keys, pa.Table) else [known.select(table) for table in keys]


def _flow(adapters: Sequence[BaseStageAdapter], tasks: Iterable[Task]) -> Iterator[Task]:
    """Pull tasks through stages one by one, so that little is in memory at a time."""
    for adapter in adapters:
        tasks = _through(adapter, tasks)
    yield from tasks


def _through(adapter: BaseStageAdapter, tasks: Iterable[Task]) -> Iterator[Task]:
    size = max(1, adapter.stage.batch_size)
    if size == 1:
        for task in tasks:
            yield from adapter.stream([task])
        return
    gathered: list[Task] = []
    for task in tasks:
        gathered.append(task.detach())  # the one before it shares the reader's buffer with it
        if len(gathered) == size:
            yield from adapter.stream(gathered)
            gathered = []
    if gathered:
        yield from adapter.stream(gathered)
