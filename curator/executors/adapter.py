"""One stage in one worker: batches, derived ids, timing and sentinels, the same on every backend."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from curator.errors import CuratorError, StageError
from curator.stages.base import NodeInfo, ProcessingStage, WorkerMetadata
from curator.tasks import FailedTask, NoneTask, Task, child_ids


class BaseStageAdapter:
    """Adapts a stage to a backend.

    Args:
        stage: the stage; its ``setup`` has not been called yet.

    Example:
        >>> from curator.tasks import EmptyTask
        >>> class Twice(ProcessingStage):
        ...     name = "twice"
        ...     def process(self, task):
        ...         return [EmptyTask(), EmptyTask()]
        >>> [task.task_id for task in BaseStageAdapter(Twice()).process_batch([EmptyTask(task_id="0")])]
        ['0_0', '0_1']
    """

    def __init__(self, stage: ProcessingStage) -> None:
        self.stage = stage
        self.seconds = 0.0
        self.failed: list[FailedTask] = []

    def setup_on_node(self, node_info: NodeInfo | None = None, worker_metadata: WorkerMetadata | None = None) -> None:
        """Prepare the node that this process is on."""
        self.stage.setup_on_node(node_info or NodeInfo(), worker_metadata or WorkerMetadata())

    def setup(self, worker_metadata: WorkerMetadata | None = None) -> None:
        """Prepare the stage in this worker."""
        self.stage.setup(worker_metadata or WorkerMetadata())

    def teardown(self) -> None:
        """Release what ``setup`` took."""
        self.stage.teardown()

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Counts what is done inside as time of this stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds += time.perf_counter() - started

    def process_batch(self, tasks: Sequence[Task]) -> list[Task]:
        """All that comes of a batch, with ids, without sentinels.

        Raises:
            StageError: the stage raised something, or returned what is no task.
            MemoryError: it ran out of memory, which is no fault of its own: the worker has to go.
        """
        return list(self.stream(tasks))

    def stream(self, tasks: Sequence[Task]) -> Iterator[Task]:
        """Like ``process_batch``, but a task that becomes many is taken on as they come."""
        parents = [task.task_id for task in tasks]
        if len(tasks) == 1 and type(self.stage).process_batch is ProcessingStage.process_batch:
            yield from self._named_as_they_come(tasks[0], parents[0])
            return
        started = time.perf_counter()
        try:
            made = self._checked(self.stage.process_batch(tasks), parents[0])
        except (CuratorError, MemoryError):
            raise
        except Exception as error:
            raise self._failure(error, parents[0]) from error
        finally:
            self.seconds += time.perf_counter() - started
        for task, name in zip(made, child_ids(parents, len(made)), strict=True):
            yield from self._accept(task, name)

    def _named_as_they_come(self, task: Task, parent: str) -> Iterator[Task]:
        started = time.perf_counter()
        try:
            result = self.stage.process(task)
            if isinstance(result, list):
                result = self._checked(result, parent)
            made = iter((result,)) if result is None or isinstance(result, Task) else iter(result)
            index = 0
            while True:
                try:
                    child = next(made)
                except StopIteration:
                    return
                self.seconds += time.perf_counter() - started
                yield from self._accept(self._checked([child], parent)[0], f"{parent}_{index}")
                index += 1
                started = time.perf_counter()
        except (CuratorError, MemoryError):
            raise
        except Exception as error:
            raise self._failure(error, parent) from error
        finally:
            self.seconds += time.perf_counter() - started

    def _checked(self, made: Iterable[object], parent: str) -> list[Task]:
        tasks: list[Task] = []
        seen: set[int] = set()
        for task in made:
            if task is not None and not isinstance(task, Task):
                raise StageError(
                    f"stage {self.stage.name!r} returned a {type(task).__name__} for task {parent!r}; a stage returns "
                    "a task, a list or an iterator of tasks, or None.",
                    stage=self.stage.name,
                    task_id=parent,
                )
            if id(task) in seen:
                task = copy.copy(task)  # one object returned twice is two tasks, with an id each
            seen.add(id(task))
            tasks.append(NoneTask() if task is None else task)
        return tasks

    def _accept(self, task: Task, name: str) -> Iterator[Task]:
        task.task_id = name
        if isinstance(task, FailedTask):
            self.failed.append(task)
        elif not isinstance(task, NoneTask):
            yield task

    def _failure(self, error: Exception, task_id: str, circumstance: str = "") -> StageError:
        return StageError(
            f"stage {self.stage.name!r} failed on task {task_id!r}: {type(error).__name__}: {error}"
            + (f" ({circumstance})" if circumstance else ""),
            stage=self.stage.name,
            task_id=task_id,
        )
