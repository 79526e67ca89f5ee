"""The unit that moves between stages, its sentinels, and ids that are derived, never random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from curator.tasks.split import Selection, Split


@dataclass(slots=True, kw_only=True)
class Task:
    """One unit of data between two stages.

    Args:
        task_id: the path of the task through the pipeline, ``parent_childindex``; set by the adapter.
        seconds: seconds that each stage spent on this task, by stage name; set by the adapter.
    """

    task_id: str = ""
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def num_items(self) -> int:
        """How much one task holds, in the unit of its kind."""
        return 1

    def detach(self) -> Task:
        """A task that shares no memory with the stage that made it."""
        return self


@dataclass(slots=True, kw_only=True)
class EmptyTask(Task):
    """What a source stage receives when no tasks are given."""

    @property
    def num_items(self) -> int:
        """Nothing."""
        return 0


@dataclass(slots=True, kw_only=True)
class NoneTask(Task):
    """Holds the place of a task that a stage answered with ``None``; never reaches the next stage."""


@dataclass(slots=True, kw_only=True)
class FailedTask(Task):
    """A task that a stage gave up, with its reason; reported, and never reaches the next stage."""

    reason: str = ""


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A record of a split that no stage gets to see any more, because its worker did not survive it.

    Args:
        row: its row in the split.
        reason: one word for the quarantine.
        detail: which stage, and what became of the worker.
        stage: name of the stage that it is counted against; empty where nobody knows.
    """

    row: int
    reason: str
    detail: str
    stage: str = ""


@dataclass(slots=True, kw_only=True)
class SplitTask(Task):
    """A split to be read; after a barrier, only its selection.

    Args:
        split: the split.
        selection: what is left of it behind a barrier; ``None`` for all of it.
        excluded: records that go to the quarantine as soon as they are read, by row.
        probe: first row and one past the last row of an attempt that only finds out whether its worker survives these
            rows: nothing that it leaves counts. ``None`` for an attempt that counts.
        known_keys: list of key files; only keys that are in them need to be sent to the barrier. Empty: all.
    """

    split: Split
    selection: Selection | None = None
    excluded: tuple[Exclusion, ...] = ()
    probe: tuple[int, int] | None = None
    known_keys: str = ""


@dataclass(slots=True, kw_only=True)
class PartitionTask(Task):
    """One partition of a shuffle.

    Args:
        partition: which one, 0-based.
        num_partitions: how many there are.
        index_path: JSON file that lists the key files in split order.
    """

    partition: int
    num_partitions: int
    index_path: str


@dataclass(slots=True, kw_only=True)
class ResultTask(Task):
    """What one unit of work left on disk: small, and all that ever travels to the driver.

    Args:
        unit: position of the unit in its segment.
        directory: private directory of the attempt.
        files: name of a kind of file (``rows``, ``keys``, ``part``...) to its file name there.
        counts: numbers and nested tables of numbers, JSON values only.
    """

    unit: int
    directory: str
    files: dict[str, str] = field(default_factory=dict)
    counts: dict[str, Any] = field(default_factory=dict)


def child_ids(parents: Sequence[str], num_children: int) -> list[str]:
    """Ids for the tasks that a stage made of ``parents``.

    One parent: its children are numbered. As many children as parents: each follows its own parent. Any other number:
    the children are numbered below the run of parents, which is the same in every run because batches are cut in order.

    Args:
        parents: ids of the tasks that went in, at least one.
        num_children: tasks that came out.

    Returns:
        ``num_children`` ids.

    Example:
        >>> child_ids(["0"], 2), child_ids(["0", "1"], 2), child_ids(["0", "1", "2"], 1)
        (['0_0', '0_1'], ['0_0', '1_0'], ['0~2_0'])
    """
    if len(parents) == 1:
        return [f"{parents[0]}_{index}" for index in range(num_children)]
    if len(parents) == num_children:
        return [f"{parent}_0" for parent in parents]
    return [f"{parents[0]}~{parents[-1]}_{index}" for index in range(num_children)]
