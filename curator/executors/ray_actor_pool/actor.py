"""What lives in a Ray worker process: the fused stages of the current step."""

from __future__ import annotations

from collections.abc import Sequence

import ray

from curator.errors import CuratorError, ExecutorError
from curator.executors.worker import StepWorker
from curator.pipeline import Step
from curator.stages.base import NodeInfo, ProcessingStage, WorkerMetadata
from curator.tasks import Task


@ray.remote
class PoolWorker:
    """An actor of a pool. Errors of stages are returned, not raised, so that they reach the driver as they are."""

    def __init__(self) -> None:
        self._worker: StepWorker | None = None

    def node_id(self) -> str:
        """Where this actor is."""
        return str(ray.get_runtime_context().get_node_id())

    def setup_on_node(self, stages: Sequence[ProcessingStage]) -> CuratorError | None:
        """Set this node up for some stages, in order."""
        for stage in stages:
            try:
                stage.setup_on_node(NodeInfo(node_id=self.node_id()), WorkerMetadata())
            except CuratorError as error:
                return error
            except Exception as error:  # noqa: BLE001
                return ExecutorError(f"{stage.name}: setup_on_node failed: {type(error).__name__}: {error}")
        return None

    def prepare(self, step: Step, attempts: str | None) -> CuratorError | None:
        """Take on a step: set its stages up."""
        try:
            self._worker = StepWorker(step, attempts)
            self._worker.setup(WorkerMetadata(worker_id=ray.get_runtime_context().get_actor_id() or ""))
        except CuratorError as error:
            return error
        except Exception as error:  # noqa: BLE001
            return ExecutorError(f"{step.name}: setup failed: {type(error).__name__}: {error}")
        return None

    def run(self, unit: int, tasks: Sequence[Task]) -> tuple[list[Task], CuratorError | None]:
        """Run one unit."""
        if self._worker is None:
            return [], ExecutorError("this worker has not been prepared")
        try:
            return self._worker.run(unit, tasks), None
        except CuratorError as error:
            return [], error

    def release(self) -> CuratorError | None:
        """Tear the stages of the step down."""
        worker, self._worker = self._worker, None
        try:
            if worker is not None:
                worker.teardown()
        except Exception as error:  # noqa: BLE001
            return ExecutorError(f"teardown failed: {type(error).__name__}: {error}")
        return None
