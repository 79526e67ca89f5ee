"""The tasks of a collective stage, cut into one share per rank, and what one rank makes of its share.

Shares are contiguous and every rank is called, with an empty share too: the others would wait for it for ever. Results
in rank order are therefore results in input order.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TypeVar

from curator.errors import CuratorError, StageError
from curator.executors.adapter import BaseStageAdapter
from curator.stages.base import WorkerMetadata
from curator.stages.collective import CollectiveStage, SingleRank
from curator.tasks import Task

Item = TypeVar("Item")


def split_evenly(items: Sequence[Item], num_ranks: int) -> list[list[Item]]:
    """Cut a list into contiguous shares whose sizes differ by one at most, the larger ones first.

    Args:
        items: what to share, in order.
        num_ranks: how many shares, at least 1.

    Returns:
        ``num_ranks`` lists; put together they are ``items``.

    Raises:
        ValueError: ``num_ranks`` is less than 1.

    Example:
        >>> split_evenly([1, 2, 3, 4, 5], 3), split_evenly([1], 2)
        ([[1, 2], [3, 4], [5]], [[1], []])
    """
    if num_ranks < 1:
        raise ValueError(f"num_ranks={num_ranks!r}: must be at least 1.")
    size, larger = divmod(len(items), num_ranks)
    starts = [rank * size + min(rank, larger) for rank in range(num_ranks + 1)]
    return [list(items[start:stop]) for start, stop in pairwise(starts)]


class CollectiveAdapter(BaseStageAdapter):
    """Adapts a collective stage: as for any stage, and a share may be empty."""

    def process_batch(self, tasks: Sequence[Task]) -> list[Task]:
        """All that comes of a share, with ids, without sentinels.

        Raises:
            StageError: the stage raised something, returned what is no task, or made tasks of nothing.
        """
        if tasks:
            return [task.detach() for task in super().process_batch(tasks)]
        with self.timed():
            try:
                made = self.stage.process_batch([])
            except (CuratorError, MemoryError):
                raise
            except Exception as error:
                raise StageError(
                    f"stage {self.stage.name!r} failed on a rank without tasks: {type(error).__name__}: {error}",
                    stage=self.stage.name,
                ) from error
        if made:
            raise StageError(
                f"stage {self.stage.name!r} was given no tasks on this rank and returned {len(made)}; tasks that come "
                "of no task have no id. Let the rank that has the first task return them.",
                stage=self.stage.name,
            )
        return []


def run_collective_locally(stage: CollectiveStage, tasks: Sequence[Task], worker_id: str = "") -> list[Task]:
    """Run a collective stage as a group of one in this process.

    Args:
        stage: the stage; it is left without a communicator.
        tasks: all tasks, with ids.
        worker_id: what ``setup`` is told about this worker.

    Returns:
        What the stage made, and behind it the tasks that it gave up (``FailedTask``).

    Raises:
        CuratorError: the stage failed.

    Example:
        >>> from curator.tasks import EmptyTask
        >>> class Keep(CollectiveStage):
        ...     name = "keep"
        ...     def process_batch(self, tasks):
        ...         self.group.barrier()
        ...         return list(tasks)
        >>> [task.task_id for task in run_collective_locally(Keep(), [EmptyTask(task_id="0"), EmptyTask(task_id="1")])]
        ['0_0', '1_0']
    """
    if not tasks:
        return []
    adapter = CollectiveAdapter(stage)
    stage.join(SingleRank())
    try:
        adapter.setup(WorkerMetadata(worker_id=worker_id))
        try:
            return [*adapter.process_batch(tasks), *adapter.failed]
        finally:
            adapter.teardown()
    finally:
        stage.join(None)
