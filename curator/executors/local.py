"""The local executor: one process, one worker, no Ray; the reference for every other one."""

from __future__ import annotations

import os
import platform
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from curator.errors import ConfigError, ExecutorError
from curator.executors.base import BaseExecutor, OnBytes, Unit, cut_units
from curator.executors.collective.shares import run_collective_locally
from curator.executors.worker import StepWorker
from curator.pipeline import Collective, Segment, Step
from curator.stages.base import NodeInfo, WorkerMetadata
from curator.tasks import FailedTask, Task


class LocalExecutor(BaseExecutor):
    """Runs one unit after the other in this process.

    Args:
        config: ``runtime_env``; ``one_pass_bytes``: bytes of keys that may be held to decide who stays as documents
            pass, so that the input is read once. Where keys are more, or 0 is given, it is read again behind a barrier.
        ignore_head_node: makes no difference here.

    Raises:
        ConfigError: a key that is not known, or a value that is not allowed.

    Example:
        >>> LocalExecutor()
        LocalExecutor(local: one worker in this process)
    """

    config_defaults: ClassVar[dict[str, Any]] = {"runtime_env": None, "one_pass_bytes": 1 << 30}

    def __init__(self, config: Mapping[str, Any] | None = None, ignore_head_node: bool = False) -> None:
        super().__init__(config, ignore_head_node)
        most = self.config["one_pass_bytes"]
        if isinstance(most, bool) or not isinstance(most, int) or most < 0:
            raise ConfigError(f"executor.one_pass_bytes={most!r}: must be a whole number of at least 0.")

    @property
    def one_pass_bytes(self) -> int:
        """As configured; 0 where runs share the making of keys, which would then not be a step of its own."""
        return int(self.config["one_pass_bytes"]) if self.shared_path is None else 0

    def describe(self) -> str:
        """The executor in a few words."""
        return "local: one worker in this process"

    @contextmanager
    def session(self, steps: Sequence[Step], num_units: int) -> Iterator[None]:
        """Set this node up for all steps, before the time of the run proper begins."""
        with self.open_beside():
            for step in steps:
                StepWorker(step).setup_on_node(NodeInfo(node_id=platform.node()))
            yield

    def run_chain(self, chain: Sequence[Step], tasks: Iterable[Task]) -> list[Task]:
        """Pull tasks through all segments at once, so that no more than a unit of each is in memory."""
        failed: list[Task] = []
        with ExitStack() as stack:
            for step in chain:
                tasks = stack.enter_context(closing(_through(step, tasks, failed)))
            return [*tasks, *failed]

    def run_collective(self, step: Collective, tasks: Sequence[Task]) -> list[Task]:
        """Run the stage as a group of one."""
        step.stage.setup_on_node(NodeInfo(node_id=platform.node()), WorkerMetadata())
        return run_collective_locally(step.stage, tasks, f"local-{os.getpid()}")

    def run_step(
        self, step: Step, units: Sequence[Unit], attempts: Path | None, on_bytes: OnBytes
    ) -> Iterator[tuple[int, list[Task]]]:
        """Run the units in order."""
        worker = StepWorker(step, None if attempts is None else str(attempts))
        worker.setup(WorkerMetadata(worker_id=f"local-{os.getpid()}"))
        try:
            for number, unit in enumerate(units):
                yield number, _run(worker, number, unit, on_bytes)
        finally:
            worker.teardown()


def _run(worker: StepWorker, number: int, unit: Unit, on_bytes: OnBytes | None) -> list[Task]:
    try:
        return worker.run(number, unit, on_bytes)
    except MemoryError as error:
        raise ExecutorError(
            f"{worker.step.name}: this process ran out of memory on task {unit[0].task_id!r}. Type "
            "'executor=ray_actor_pool': its workers are processes of their own, and the record at fault is found."
        ) from error


def _through(step: Step, tasks: Iterable[Task], failed: list[Task]) -> Generator[Task, None, None]:
    assert isinstance(step, Segment)
    worker = StepWorker(step)
    worker.setup(WorkerMetadata(worker_id=f"local-{os.getpid()}"))
    try:
        for number, unit in enumerate(cut_units(tasks, step.batch_size)):
            for made in _run(worker, number, unit, None):
                if isinstance(made, FailedTask):
                    failed.append(made)
                else:
                    yield made
    finally:
        worker.teardown()
