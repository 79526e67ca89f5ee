"""The seam: an executor runs the units of one step on its backend; everything else is the same for all of them."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, ClassVar

from curator.errors import ConfigError
from curator.executors.adapter import BaseStageAdapter
from curator.executors.driver import run_pipeline
from curator.pipeline import Barrier, Pipeline, Segment, Step, build_steps
from curator.runs.result import RunResult
from curator.stages.base import NodeInfo, ProcessingStage, SinkStage, WorkerMetadata
from curator.tasks import EmptyTask, Task

__all__ = ["BaseExecutor", "BaseStageAdapter", "NodeInfo", "WorkerMetadata", "ignore_ray_head_node"]

Unit = Sequence[Task]
OnBytes = Callable[[int], None]


def ignore_ray_head_node() -> bool:
    """Whether ``CURATOR_IGNORE_RAY_HEAD_NODE`` asks to leave the head node alone: ``1``, ``true`` or ``yes``."""
    return os.environ.get("CURATOR_IGNORE_RAY_HEAD_NODE", "").strip().lower() in ("1", "true", "yes")


class BaseExecutor(ABC):
    """Runs pipelines on one backend.

    Args:
        config: settings of the backend; the keys and their defaults are ``config_defaults``.
        ignore_head_node: leave the head node of a cluster alone; the environment may ask for it as well.

    ``show_progress`` shows bars on a terminal, ``progress_interval`` is the time in s between lines in a log.

    Raises:
        ConfigError: a key that the backend does not know.
    """

    config_defaults: ClassVar[Mapping[str, Any]] = {}
    show_progress: bool = True
    progress_interval: float = 10.0

    def __init__(self, config: Mapping[str, Any] | None = None, ignore_head_node: bool = False) -> None:
        given = dict(config or {})
        unknown = sorted(set(given) - set(self.config_defaults))
        if unknown:
            known = ", ".join(sorted(self.config_defaults))
            raise ConfigError(
                [f"executor.{key}: is not known. {type(self).__name__} knows: {known}." for key in unknown]
            )
        self.config: dict[str, Any] = {**self.config_defaults, **given}
        self.ignore_head_node = ignore_head_node or ignore_ray_head_node()

    @abstractmethod
    def describe(self) -> str:
        """The executor in a few words, for plans and reports; starts nothing."""

    @abstractmethod
    def run_step(
        self, step: Step, units: Sequence[Unit], attempts: Path | None, on_bytes: OnBytes
    ) -> Iterator[tuple[int, list[Task]]]:
        """Run all units of a step.

        Args:
            step: the segment or barrier.
            units: its units of work.
            attempts: where attempts get their directories.
            on_bytes: to be told about source bytes as they are done.

        Yields:
            The position of a unit and what came of it, in any order, each unit once.

        Raises:
            CuratorError: a unit failed for good.
        """

    def session(self, steps: Sequence[Step], num_units: int) -> AbstractContextManager[object]:
        """What has to be up while steps run, workers for the first one included; by default nothing.

        Args:
            steps: the steps that will be run.
            num_units: units of the first one.
        """
        return nullcontext()

    def execute(self, stages: Sequence[ProcessingStage], initial_tasks: Sequence[Task] | None = None) -> list[Task]:
        """Run stages on tasks and return what comes out, in input order.

        Stages that end in a sink are run as a whole pipeline, with commit and publication; their tasks name the files.

        Args:
            stages: the stages in order; none gives back the tasks.
            initial_tasks: tasks for the first stage; none means one ``EmptyTask``.

        Raises:
            CuratorError: a stage failed.
        """
        if stages and isinstance(stages[-1], SinkStage):
            return list(self.run(Pipeline(stages)).parts)
        tasks: list[Task] = list(initial_tasks) if initial_tasks is not None else [EmptyTask()]
        steps = build_steps(stages)
        if any(isinstance(step, Barrier) for step in steps):
            raise ConfigError(f"stages: {stages[-1].name!r} decides what to remove, but nothing is written behind it.")
        for number, task in enumerate(tasks):
            task.task_id = task.task_id or str(number)
        with self.session(steps, len(tasks)):
            for step in steps:
                assert isinstance(step, Segment)
                size = max(1, step.stages[0].batch_size)
                units = [tasks[start : start + size] for start in range(0, len(tasks), size)]
                made: list[list[Task]] = [[] for _ in units]
                for unit, results in self.run_step(step, units, None, lambda _: None):
                    made[unit] = results
                tasks = [task for results in made for task in results]
        return tasks

    def run(
        self, pipeline: Pipeline, *, run_directory: Path | None = None, show_progress: bool | None = None
    ) -> RunResult:
        """Run a pipeline from its input to its published output.

        Raises:
            CuratorError: the run could not be finished; nothing was published then.
        """
        return run_pipeline(self, pipeline, run_directory=run_directory, show_progress=show_progress)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.describe()})"
