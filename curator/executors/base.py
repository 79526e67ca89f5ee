"""The seam: an executor runs the units of one step on its backend; everything else is the same for all of them."""

from __future__ import annotations

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from curator.cluster.options import ignore_ray_head_node
from curator.errors import ConfigError
from curator.executors.adapter import BaseStageAdapter
from curator.executors.driver import run_pipeline
from curator.executors.shuffle import hand_on, shuffle_scratch
from curator.pipeline import Barrier, Collective, Pipeline, Segment, Step, build_steps, chains
from curator.runs.result import RunResult
from curator.stages.base import NodeInfo, ProcessingStage, SinkStage, WorkerMetadata
from curator.tasks import EmptyTask, FailedTask, Task

__all__ = ["BaseExecutor", "BaseStageAdapter", "NodeInfo", "WorkerMetadata", "cut_units", "ignore_ray_head_node"]

Unit = Sequence[Task]
OnBytes = Callable[[int], None]


def cut_units(tasks: Iterable[Task], batch_size: int) -> Iterator[list[Task]]:
    """Units of work: ``batch_size`` consecutive tasks each, the last one may be shorter.

    Example:
        >>> [len(unit) for unit in cut_units([EmptyTask(), EmptyTask(), EmptyTask()], 2)]
        [2, 1]
    """
    unit: list[Task] = []
    for task in tasks:
        unit.append(task)
        if len(unit) == batch_size:
            yield unit
            unit = []
    if unit:
        yield unit


def _streaming(steps: Sequence[Step]) -> list[Step]:
    return [step for step in steps if not isinstance(step, Collective)]


def _place(task: Task) -> list[int]:
    """Where in the input a task came from, by its id: ``0~2_1`` is behind ``0_5`` and before ``3``."""
    return [int(part) for part in re.split("[_~]", task.task_id) if part.isdigit()]


class BaseExecutor(ABC):
    """Runs pipelines on one backend.

    Args:
        config: settings of the backend; the keys and their defaults are ``config_defaults``. All know ``scratch_path``:
            where table shuffles keep their files, a directory that all nodes see; ``None`` is the system's for
            temporary files.
        ignore_head_node: leave the head node of a cluster alone; the environment may ask for it as well.

    ``show_progress`` shows bars on a terminal, ``progress_interval`` is the time in s between lines in a log.

    Raises:
        ConfigError: a key that the backend does not know.
    """

    config_defaults: ClassVar[Mapping[str, Any]] = {"scratch_path": None}
    show_progress: bool = True
    progress_interval: float = 10.0
    beside: Sequence[Callable[[], AbstractContextManager[object]]] = ()
    """What is up while steps run, such as replicas: opened in the session, before any worker of a step starts."""

    shared_path: Path | None = None
    """Where the runs of a sweep keep the work that they have in common; ``None`` shares nothing."""

    @property
    def one_pass_bytes(self) -> int:
        """Bytes of keys that its one worker, which gets the splits in their order, may hold; 0 if it has several."""
        return 0

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.config_defaults = {**BaseExecutor.config_defaults, **cls.config_defaults}

    def __init__(self, config: Mapping[str, Any] | None = None, ignore_head_node: bool = False) -> None:
        given = dict(config or {})
        unknown = sorted(set(given) - set(self.config_defaults))
        if unknown:
            known = sorted(self.config_defaults)
            problems = []
            for key in unknown:
                near = difflib.get_close_matches(str(key), known, 1)
                meant = f" Did you mean {near[0]!r}?" if near else ""
                problems.append(
                    f"executor.{key}: is not known.{meant} {type(self).__name__} knows: {', '.join(known)}."
                )
            raise ConfigError(problems)
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
        return self.open_beside()

    @contextmanager
    def open_beside(self) -> Iterator[None]:
        """Have up what is to be up beside the steps."""
        with ExitStack() as stack:
            for opened in self.beside:
                stack.enter_context(opened())
            yield

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
        steps = build_steps(stages, fuse=self.config.get("fuse", True))
        if any(isinstance(step, Barrier) for step in steps):
            raise ConfigError(f"stages: {stages[-1].name!r} decides what to remove, but nothing is written behind it.")
        for number, task in enumerate(tasks):
            task.task_id = task.task_id or str(number)
        failed: list[Task] = []
        with shuffle_scratch(steps, self.config["scratch_path"]) as steps, self.session(_streaming(steps), len(tasks)):
            for chain in chains(steps):
                if isinstance(chain[0], Collective):
                    made = self.run_collective(chain[0], tasks)
                else:
                    made = self.run_chain(chain, tasks)
                failed += [task for task in made if isinstance(task, FailedTask)]
                tasks = hand_on(chain, tasks, [task for task in made if not isinstance(task, FailedTask)])
        return [*tasks, *sorted(failed, key=_place)]

    def run_chain(self, chain: Sequence[Step], tasks: Iterable[Task]) -> list[Task]:
        """Run segments that stream into one another.

        Args:
            chain: the segments.
            tasks: what the first one takes, in order.

        Returns:
            What the last one made, in input order, and the tasks that any of them gave up, anywhere.
        """
        failed: list[Task] = []
        for step in chain:
            assert isinstance(step, Segment)
            made = dict(self.run_step(step, list(cut_units(tasks, step.batch_size)), None, lambda _: None))
            results = [task for unit in sorted(made) for task in made[unit]]
            failed += [task for task in results if isinstance(task, FailedTask)]
            tasks = [task for task in results if not isinstance(task, FailedTask)]
        return [*tasks, *failed]

    @abstractmethod
    def run_collective(self, step: Collective, tasks: Sequence[Task]) -> list[Task]:
        """Run a stage whose workers are the ranks of one group.

        Args:
            step: the stage.
            tasks: all tasks, in order.

        Returns:
            What the ranks made, in rank order, and behind it the tasks that were given up.

        Raises:
            CuratorError: the stage failed, or its ranks cannot be had.
        """

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
