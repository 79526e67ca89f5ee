"""The two halves of a table shuffle in a worker, and the plan between them.

*Insert*: a worker deals the rows of one unit into buckets and writes them to one file of its attempt. When all units
are there, the driver plans partitions from the counts and names that came back. *Extract*: a worker reads the
partitions of one unit. Every unit is an attempt of its own, so a worker that dies costs only the unit that it was at;
of a unit that was inserted twice, only the first result counts.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from loguru import logger

from curator.errors import CuratorError, StageError, StorageError
from curator.executors.adapter import BaseStageAdapter
from curator.pipeline import Barrier, Segment, Step
from curator.runs.scratch import new_attempt
from curator.stages.barrier.rounds import ONLY_IDS, DocumentReader
from curator.stages.barrier.table_files import (
    TableWriter,
    plan_table_partitions,
    read_table_index,
    read_table_partition,
    write_table_index,
)
from curator.stages.io.output_file import storage_error
from curator.stages.shuffle import TableShuffle
from curator.tasks import ExtractTask, ResultTask, RoundTask, TableTask, Task, child_ids

Flow = Callable[[Sequence[BaseStageAdapter], Iterable[Task]], Iterator[Task]]


class ShuffleWorker:
    """Inserts into, and extracts from, one table shuffle.

    Args:
        shuffle: the stage.
        scratch: a directory that all workers of the shuffle see.
        rank: which of the workers this is, from 0 on.
        num_ranks: how many there are.

    Example:
        >>> import pyarrow as pa
        >>> with tempfile.TemporaryDirectory() as scratch:
        ...     worker = ShuffleWorker(TableShuffle("key", num_partitions=2), scratch)
        ...     inserted = worker.read_and_insert([TableTask(task_id="0", table=pa.table({"key": [1, 5, 1]}))])
        ...     units = worker.insert_finished([inserted])
        ...     [(task.task_id, task.table["key"].to_pylist()) for task in worker.extract_and_write(units)]
        [('0_0', [5]), ('0_1', [1, 1])]
    """

    def __init__(self, shuffle: TableShuffle, scratch: str | Path, rank: int = 0, num_ranks: int = 1) -> None:
        self.shuffle = shuffle
        self.rank = rank
        self.num_ranks = num_ranks
        self._scratch = Path(scratch)
        self._num_inserted = 0

    def read_and_insert(
        self, tasks: Iterable[Task], band_range: tuple[int, int] | None = None, *, unit: int | None = None
    ) -> ResultTask:
        """Insert one unit of work.

        Args:
            tasks: table tasks; they are taken one after the other, and none is kept.
            band_range: insert only rows of these bands; ``None`` for all of them, so that the tasks are needed once.
            unit: position of the unit; by default units are numbered over all ranks.

        Returns:
            The file and what is in it: small.

        Raises:
            StageError: a task is no table, or its columns are not right.
            StorageError: the file cannot be written.
        """
        number = self.rank + self._num_inserted * self.num_ranks if unit is None else unit
        self._num_inserted += 1
        if not self._scratch.is_dir():
            raise StorageError(
                f"{self.shuffle.name}.scratch_path: {str(self._scratch)!r} is not there for this worker. Name a "
                "directory that all nodes share."
            )
        directory = new_attempt(self._scratch, 0, number)
        result = ResultTask(unit=number, directory=str(directory))
        writer = TableWriter(self.shuffle, directory / "rows.arrow", band_range)
        ids: list[str] = []
        try:
            for task in tasks:
                if not isinstance(task, TableTask):
                    raise ValueError(f"came a {type(task).__name__}; a shuffle takes a TableTask")
                ids = [*ids[:1], task.task_id]
                writer.add(task.table)
            counts = writer.close()
        except BaseException as error:
            writer.abort()
            shutil.rmtree(directory, ignore_errors=True)
            if isinstance(error, CuratorError | MemoryError) or not isinstance(error, Exception):
                raise
            if isinstance(error, OSError):
                raise storage_error(directory, error) from error
            task_id = ids[-1] if ids else ""
            raise StageError(
                f"stage {self.shuffle.name!r} failed on task {task_id!r}: {error}",
                stage=self.shuffle.name,
                task_id=task_id,
            ) from error
        if counts is not None:
            result.files["rows"] = "rows.arrow"
            result.counts = {**counts, "ids": [ids[0], ids[-1]]}
        return result

    def insert_finished(self, inserted: Iterable[ResultTask]) -> list[ExtractTask]:
        """Plan the partitions when all units are there.

        Args:
            inserted: the results, in input order; of two with the same unit, the first one counts.

        Returns:
            The units of the extract, in order of partitions.

        Raises:
            StageError: the tables have different columns.
        """
        first_of_unit: dict[int, ResultTask] = {}
        for result in inserted:
            first_of_unit.setdefault(result.unit, result)
        counted = [result for result in first_of_unit.values() if result.files]
        if not counted:
            return []
        files = [f"{result.directory}/{result.files['rows']}" for result in counted]
        if dropped := sum(result.counts["dropped"] for result in counted):
            logger.info("{}: {:,} rows without a key were dropped", self.shuffle.name, dropped)
        total_bytes = sum(result.counts["bytes"] for result in counted)
        plan = plan_table_partitions(self.shuffle, files, total_bytes)
        if plan.largest_bytes > 2 * self.shuffle.most_partition_bytes:
            logger.warning(
                "{}: the largest partition has about {:,} bytes, more than the {:,} that it should: one key has that "
                "many rows, or num_partitions is too small. A worker holds all of it.",
                self.shuffle.name,
                plan.largest_bytes,
                self.shuffle.most_partition_bytes,
            )
        first, last = counted[0].counts["ids"][0], counted[-1].counts["ids"][1]
        name = first if first == last else f"{first}~{last}"
        index = self._scratch / "partitions.json"
        write_table_index(index, files, plan.bounds, name)
        return [
            ExtractTask(task_id=f"{name}_{begin}", index_path=str(index), begin=begin, end=end)
            for begin, end in plan.units
        ]

    def extract_and_write(self, units: Sequence[ExtractTask]) -> Iterator[TableTask]:
        """The partitions of this rank, one at a time: of every ``num_ranks`` units the one at ``rank``.

        Raises:
            StageError: a file of the shuffle cannot be read.
        """
        for unit in units[self.rank :: self.num_ranks]:
            try:
                index = read_table_index(unit.index_path)
                for number in range(unit.begin, unit.end):
                    begin, end = index["bounds"][number : number + 2]
                    table = read_table_partition(self.shuffle, index["files"], begin, end)
                    if table.num_rows or self.shuffle.keep_empty:
                        yield TableTask(task_id=f"{index['name']}_{number}", table=table, partition=number)
            except (OSError, ValueError) as error:
                raise StageError(
                    f"{self.shuffle.name}: partitions {unit.begin} to {unit.end - 1} cannot be read: {error}",
                    stage=self.shuffle.name,
                    task_id=unit.task_id,
                ) from error


def run_shuffled(
    segment: Segment, unit: int, tasks: Sequence[Task], adapters: Sequence[BaseStageAdapter], flow: Flow
) -> list[Task]:
    """Run one unit of a segment that extracts, inserts, or both.

    Args:
        segment: the segment.
        unit: its position.
        tasks: one ``ExtractTask``, or what the stages of the segment take.
        adapters: those of all stages of the segment.
        flow: pushes tasks through stages.

    Returns:
        One small ``ResultTask`` if the segment inserts, otherwise what its last stage made; and what was given up.
    """
    flowing: Iterable[Task] = tasks
    between = list(adapters)
    if segment.extract is not None:
        own = [task for task in tasks if isinstance(task, ExtractTask)]
        flowing = _timed(between.pop(0), ShuffleWorker(segment.extract, "").extract_and_write(own))
    made: list[Task]
    if segment.insert is None:
        made = [task.detach() for task in flow(between, flowing)]
    else:
        inserter = between.pop()
        assert segment.scratch is not None
        worker = ShuffleWorker(segment.insert, segment.scratch)
        with inserter.timed():
            result = worker.read_and_insert(flow(between, flowing), unit=unit)
        inserter.seconds -= sum(adapter.seconds for adapter in adapters if adapter is not inserter)
        result.seconds = {adapter.stage.name: adapter.seconds for adapter in adapters}
        result.task_id = child_ids([task.task_id for task in tasks], 1)[0]
        made = [result]
    return [*made, *(failed for adapter in adapters for failed in adapter.failed)]


def run_round(barrier: Barrier, unit: int, task: Task, directory: Path) -> ResultTask:
    """Run one unit of a round behind a barrier.

    Args:
        barrier: the round.
        unit: position of the unit.
        task: the unit.
        directory: private to this attempt.
    """
    reader = None
    if barrier.source is not None:
        assert isinstance(task, RoundTask)
        reader = DocumentReader(barrier.source, task.documents_path, only_ids=barrier.work.columns == ONLY_IDS)
    result = barrier.work.run(task, directory, reader)
    result.unit, result.directory = unit, str(directory)
    result.counts.setdefault("removed", 0)
    return result


def hand_on(chain: Sequence[Step], taken: Sequence[Task], made: list[Task]) -> list[Task]:
    """What the next chain takes: if this one inserted, the units of the extract; otherwise what it made.

    Args:
        chain: the segments that have run.
        taken: what the first of them took; if it extracted, the files behind that go.
        made: what the last one made, in input order.
    """
    last = chain[-1]
    for directory in {Path(task.index_path).parent for task in taken if isinstance(task, ExtractTask)}:
        shutil.rmtree(directory, ignore_errors=True)
    if not isinstance(last, Segment) or last.insert is None:
        return made
    assert last.scratch is not None
    inserted = [task for task in made if isinstance(task, ResultTask)]
    return list(ShuffleWorker(last.insert, last.scratch).insert_finished(inserted))


@contextmanager
def shuffle_scratch(steps: Sequence[Step], executor_path: str | None) -> Iterator[list[Step]]:
    """A private directory for each table shuffle of a pipeline; gone at the end, whatever happened.

    Args:
        steps: the steps of the pipeline.
        executor_path: where the executor wants such directories; a stage's own ``scratch_path`` is stronger.

    Yields:
        The steps, those that insert with their ``scratch``.

    Raises:
        StorageError: no directory can be made there.
    """
    made: list[str] = []
    prepared: list[Step] = []
    try:
        for step in steps:
            if isinstance(step, Segment) and step.insert is not None:
                parent = step.insert.scratch_path or executor_path or tempfile.gettempdir()
                try:
                    Path(parent).mkdir(parents=True, exist_ok=True)
                    made.append(tempfile.mkdtemp(prefix="curator-shuffle-", dir=parent))
                except OSError as error:
                    raise storage_error(parent, error) from error
                step = replace(step, scratch=made[-1])
            prepared.append(step)
        yield prepared
    finally:
        for directory in made:
            shutil.rmtree(directory, ignore_errors=True)


def _timed(adapter: BaseStageAdapter, made: Iterator[TableTask]) -> Iterator[Task]:
    while True:
        before = adapter.seconds
        with adapter.timed():
            task = next(made, None)
        if task is None:
            return
        task.seconds = {adapter.stage.name: adapter.seconds - before}
        yield task
