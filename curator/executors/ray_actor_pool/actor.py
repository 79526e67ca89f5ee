"""What lives in a Ray worker process: the fused stages of one step, and units of it, a few to a call.

Tasks flow in with the call or in payloads that other workers left on the cluster; the tasks made flow out in payloads,
and a small report beside them tells the driver how many there are. Errors of stages are returned, not raised, so that
they reach the driver as they are.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import ray

from curator.cluster.secrets import take_secrets
from curator.cluster.topology import get_worker_metadata_and_node_id
from curator.errors import CuratorError, ExecutorError
from curator.executors.freed_memory import keep_freed_memory
from curator.executors.isolation import ProbeOutcome
from curator.executors.open_files import reserve_open_files
from curator.executors.orphans import end_with_parent
from curator.executors.ray_actor_pool.probe import run_probe
from curator.executors.worker import StepWorker
from curator.pipeline import Step
from curator.stages.base import ProcessingStage
from curator.tasks import FailedTask, Task

_PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class UnitInput:
    """One unit as it is sent.

    Args:
        number: its number in the step.
        inputs: tasks, or positions in the payloads of the call: which payload, which of its tasks.
    """

    number: int
    inputs: Sequence[Task | tuple[int, int]]


@dataclass(slots=True)
class Outcome:
    """What became of one unit.

    Args:
        seconds: what it took.
        ids: ids of the tasks that it made.
        results: the tasks themselves where they are small and the driver wants them.
        failed: tasks that its stages gave up.
        error: what it failed with.
        out_of_memory: whether that was for want of memory.
    """

    seconds: float = 0.0
    ids: list[str] = field(default_factory=list)
    results: list[Task] = field(default_factory=list)
    failed: list[FailedTask] = field(default_factory=list)
    error: CuratorError | None = None
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What became of the units of a call, in their order, and how much memory the worker has now."""

    outcomes: list[Outcome]
    rss_bytes: int


class PoolWorker:
    """An actor of a pool."""

    def __init__(self) -> None:
        end_with_parent()
        keep_freed_memory()
        reserve_open_files()
        # Before a stage arrives: what it imports may look for them.
        take_secrets()
        self._step: Step | None = None
        self._worker: StepWorker | None = None
        self._attempts: str | None = None

    def locate(self) -> str:
        """The node that this actor is on."""
        return get_worker_metadata_and_node_id()[0].node_id

    def setup_on_node(self, stages: Sequence[ProcessingStage]) -> CuratorError | None:
        """Set this node up for some stages, in order."""
        for stage in stages:
            try:
                stage.setup_on_node(*get_worker_metadata_and_node_id())
            except CuratorError as error:
                return error
            except Exception as error:  # noqa: BLE001
                return ExecutorError(f"{stage.name}: setup_on_node failed: {type(error).__name__}: {error}")
        return None

    def prepare(self, step: Step, memory_limit_bytes: int | None) -> CuratorError | None:
        """Take on a step: tear down the stages of the last one, and set its own up."""
        self.release()
        _limit_memory(None)
        try:
            self._step, self._worker = step, StepWorker(step)
            self._worker.setup(get_worker_metadata_and_node_id()[1])
        except CuratorError as error:
            return error
        except Exception as error:  # noqa: BLE001
            return ExecutorError(f"{step.name}: setup failed: {type(error).__name__}: {error}")
        _limit_memory(memory_limit_bytes)
        return None

    def run(self, units: Sequence[UnitInput], attempts: str | None, slots: int, *payloads: list[Task]) -> Any:  # noqa: ANN401
        """Run units.

        Args:
            units: the units.
            attempts: where attempts get their directories; ``None`` for units that leave no files.
            slots: payloads to spread what is made over; 0 puts it into the report.
            payloads: tasks of other workers.

        Returns:
            A ``Report``, and behind it the payloads, lists of tasks, if there are any.
        """
        worker = self._with(attempts)
        outcomes, everything = [], []
        for unit in units:
            tasks = [payloads[each[0]][each[1]] if isinstance(each, tuple) else each for each in unit.inputs]
            outcome, made = _run_unit(worker, unit.number, tasks)
            outcomes.append(outcome)
            outcome.ids = [task.task_id for task in made]
            if slots:
                everything += made
            else:
                outcome.results = made
        report = Report(outcomes, _statm(1))
        count = len(everything)
        parts = [everything[count * slot // slots : count * (slot + 1) // slots] for slot in range(slots)]
        return (report, *parts) if slots else report

    def probe(self, step: Step, attempts: str | None, unit: int, tasks: Sequence[Task], limits: Any) -> ProbeOutcome:  # noqa: ANN401
        """Run one unit in a process of its own and say what became of that process."""
        self.release()
        return run_probe(step, attempts, unit, tasks, *limits)

    def release(self) -> CuratorError | None:
        """Tear the stages of the step down."""
        worker, self._worker, self._step, self._attempts = self._worker, None, None, None
        try:
            if worker is not None:
                worker.teardown()
        except Exception as error:  # noqa: BLE001
            return ExecutorError(f"teardown failed: {type(error).__name__}: {error}")
        return None

    def _with(self, attempts: str | None) -> StepWorker:
        """The worker for attempts in a directory; its stages are the ones that were set up."""
        assert self._step is not None
        assert self._worker is not None
        if attempts != self._attempts:
            self._worker, self._attempts = StepWorker(self._step, attempts), attempts
        return self._worker


def _run_unit(worker: StepWorker, number: int, tasks: Sequence[Task]) -> tuple[Outcome, list[Task]]:
    outcome = Outcome()
    made: list[Task] = []
    started = time.perf_counter()
    try:
        for task in worker.run(number, tasks):
            if isinstance(task, FailedTask):
                outcome.failed.append(task)
            else:
                made.append(task)
    except MemoryError as error:
        outcome.out_of_memory = True
        outcome.error = ExecutorError(f"out of memory: {error}")
    except CuratorError as error:
        outcome.error = error
    outcome.seconds = time.perf_counter() - started
    return outcome, made


def _statm(position: int) -> int:
    """An entry of this process's memory statistics in bytes: 1 is resident memory, 5 is data."""
    with open("/proc/self/statm", encoding="ascii") as handle:
        return int(handle.read().split()[position]) * _PAGE_BYTES


def _limit_memory(extra_bytes: int | None) -> None:
    """Let allocations fail that go beyond what is in use now and ``extra_bytes``; ``None`` lifts the limit."""
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    soft = hard if extra_bytes is None else _statm(5) + extra_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def actor_class() -> Any:  # noqa: ANN401
    """The class as Ray starts it."""
    return ray.remote(PoolWorker)
