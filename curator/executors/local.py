"""The local executor: one process, one worker, no Ray; the reference for every other one."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

from curator.executors.base import BaseExecutor, OnBytes, Unit
from curator.executors.worker import StepWorker
from curator.pipeline import Step
from curator.stages.base import NodeInfo, WorkerMetadata
from curator.tasks import Task


class LocalExecutor(BaseExecutor):
    """Runs one unit after the other in this process.

    Example:
        >>> LocalExecutor()
        LocalExecutor(local: one worker in this process)
    """

    config_defaults: ClassVar[dict[str, Any]] = {"runtime_env": None}

    def describe(self) -> str:
        """The executor in a few words."""
        return "local: one worker in this process"

    @contextmanager
    def session(self, steps: Sequence[Step], num_units: int) -> Iterator[None]:
        """Set this node up for all steps, before the time of the run proper begins."""
        for step in steps:
            StepWorker(step).setup_on_node(NodeInfo(node_id=platform.node()))
        yield

    def run_step(
        self, step: Step, units: Sequence[Unit], attempts: Path | None, on_bytes: OnBytes
    ) -> Iterator[tuple[int, list[Task]]]:
        """Run the units in order."""
        worker = StepWorker(step, None if attempts is None else str(attempts))
        worker.setup(WorkerMetadata(worker_id=f"local-{os.getpid()}"))
        try:
            for number, unit in enumerate(units):
                yield number, worker.run(number, unit, on_bytes)
        finally:
            worker.teardown()
