"""The workers of a run: Ray actors that are started, set up for a segment, handed to another one, and ended.

Plans of segments flow in, events flow out: a worker is ready, could not be set up, or is lost. Actors restart nothing
by themselves (``max_restarts=0``, ``max_task_retries=0``): every attempt is the driver's and is counted. Nothing here
waits, except ``close`` for the workers that are torn down.
"""

from __future__ import annotations

import contextlib
import enum
import secrets
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import ray
from loguru import logger
from ray.exceptions import RayError

from curator.cluster.capacity import HEAD_RESOURCE, NodeOffer, offers_from_nodes
from curator.cluster.node_setup import has_setup_on_node
from curator.cluster.options import actor_options, exclude_head
from curator.cluster.secrets import STAGE, hide_secrets
from curator.cluster.topology import alive_nodes
from curator.errors import ExecutorError
from curator.executors.ray_actor_pool.actor import actor_class
from curator.executors.ray_actor_pool.faults import Fault, read_fault
from curator.executors.ray_actor_pool.settings import PoolSettings
from curator.executors.ray_actor_pool.sizing import SegmentPlan, WorkerShape, has_room, without_reserve
from curator.pipeline import Step
from curator.stages.base import ProcessingStage

if TYPE_CHECKING:
    from curator.executors.ray_actor_pool.calls import Call

TEARDOWN_S = 30.0
"""Seconds that a worker gets to tear its stages down before it is ended."""

_GET_S = 60.0
_NAME_LENGTH = 60


class WorkerState(enum.Enum):
    """Where a worker is in its life."""

    STARTING = enum.auto()
    NODE_SETUP = enum.auto()
    PREPARING = enum.auto()
    READY = enum.auto()
    PROBING = enum.auto()
    STOPPING = enum.auto()
    GONE = enum.auto()


@dataclass(slots=True, eq=False)
class Worker:
    """One actor, as the driver sees it.

    Args:
        name: its name in Ray.
        handle: Ray's handle.
        shape: what it was started as.
        plan: the segment that it serves.
        since_s: when it came into its state.
    """

    name: str
    handle: Any
    shape: WorkerShape
    plan: SegmentPlan
    since_s: float
    state: WorkerState = WorkerState.STARTING
    node_id: str = ""
    calls: deque[Call] = field(default_factory=deque)
    units_done: int = 0
    rss_bytes: int = 0
    idle_since_s: float = 0.0
    leaving: bool = False
    stuck: bool = False
    move_to: SegmentPlan | None = None

    @property
    def is_live(self) -> bool:
        """Whether it works or will."""
        return self.state not in (WorkerState.STOPPING, WorkerState.GONE) and not self.leaving


@dataclass(frozen=True, slots=True)
class PoolEvent:
    """What happened to a worker.

    Args:
        worker: which.
        error: why it could not be set up.
        fault: how it was lost; ``None`` if it was not.
    """

    worker: Worker
    error: Exception | None = None
    fault: Fault | None = None


class WorkerPool:
    """Every worker of a run.

    Args:
        settings: what the user said.
        ignore_head_node: leave the head node alone.
    """

    def __init__(self, settings: PoolSettings, *, ignore_head_node: bool) -> None:
        self.settings = settings
        self.workers: list[Worker] = []
        self.pending: dict[Any, Worker] = {}
        self.steps: Sequence[Step] = ()
        self.offers: list[NodeOffer] = []
        self._ignore_head_node = ignore_head_node
        self._head_ids: list[str] = []
        self._alive: set[str] = set()
        self._run = secrets.token_hex(4)
        self._started = 0
        self._nodes_set_up: set[tuple[str, str, str]] = set()
        self._setting_up: dict[str, Worker] = {}
        self.object_store_bytes = 0.0
        self.used_nodes: set[str] = set()
        self.refresh_nodes()

    def refresh_nodes(self) -> set[str]:
        """Look at the nodes again.

        Returns:
            Ids of the nodes that are gone since the last look.
        """
        nodes = alive_nodes()
        before, self._alive = self._alive, {str(node["NodeID"]) for node in nodes}
        self._head_ids = [str(node["NodeID"]) for node in nodes if HEAD_RESOURCE in node["Resources"]]
        offers = offers_from_nodes(nodes, ignore_head_node=self._ignore_head_node)
        self.offers = without_reserve(offers, self.settings)
        self.object_store_bytes = sum(node["Resources"].get("object_store_memory", 0.0) for node in nodes)
        gone = before - self._alive
        self._nodes_set_up = {key for key in self._nodes_set_up if key[0] not in gone}
        return gone

    def is_alive(self, node_id: str) -> bool:
        """Whether a node was alive when the nodes were last looked at."""
        return node_id in self._alive

    def serving(self, plan: SegmentPlan) -> list[Worker]:
        """The live workers of a segment, those that still start included."""
        return [worker for worker in self.workers if worker.plan.step is plan.step and worker.is_live]

    def has_room(self, plan: SegmentPlan) -> bool:
        """Whether one more worker fits beside all that there are."""
        return has_room([worker.shape for worker in self.workers], plan.shape, self.offers)

    def has_coming_room(self) -> bool:
        """Whether a worker is on its way out."""
        return any(worker.leaving or worker.state is WorkerState.STOPPING for worker in self.workers)

    def start(self, plan: SegmentPlan) -> Worker:
        """Start a worker for a segment."""
        self._started += 1
        stages = "-".join(stage.name for stage in plan.step.all_stages)[:_NAME_LENGTH]
        name = f"curator-{self._run}-{stages}-{self._started}"
        options = actor_options(plan.shape.resources)
        if self._ignore_head_node:
            options = exclude_head(options, self._head_ids)
        options |= {"name": name, "max_restarts": 0, "max_task_retries": 0, "enable_task_events": False}
        if plan.shape.runtime_env:
            options["runtime_env"] = hide_secrets(plan.shape.runtime_env, STAGE)
        handle: Any = actor_class().options(**{**plan.shape.options, **options}).remote()
        worker = Worker(name, handle, plan.shape, plan, time.monotonic())
        self.workers.append(worker)
        self.pending[handle.locate.remote()] = worker
        return worker

    def retarget(self, worker: Worker, plan: SegmentPlan) -> None:
        """Set an idle worker up for another segment."""
        worker.plan, worker.move_to, worker.leaving = plan, None, False
        self._advance(worker)

    def stop(self, worker: Worker) -> None:
        """Tear an idle worker down, and end it then."""
        self._enter(worker, WorkerState.STOPPING)
        self.pending[worker.handle.release.remote()] = worker

    def kill(self, worker: Worker) -> None:
        """End a worker at once."""
        with contextlib.suppress(RayError):
            ray.kill(worker.handle)
        self._forget(worker)

    def num_ready(self) -> int:
        """Workers that can take calls."""
        return sum(worker.state is WorkerState.READY for worker in self.workers)

    def kill_all(self) -> None:
        """End every worker at once."""
        for worker in list(self.workers):
            self.kill(worker)

    def close(self) -> None:
        """Tear all idle workers down, and end every one."""
        for worker in list(self.workers):
            if worker.state is WorkerState.READY and not worker.calls:
                self.stop(worker)
            elif worker.state is not WorkerState.STOPPING:
                self.kill(worker)
        deadline = time.monotonic() + TEARDOWN_S
        try:
            while self.pending and (left_s := deadline - time.monotonic()) > 0:
                done, _ = ray.wait(list(self.pending), num_returns=1, timeout=left_s)
                for reference in done:
                    self.advance(reference)
        finally:
            self.kill_all()

    def advance(self, reference: Any) -> list[PoolEvent]:  # noqa: ANN401
        """A worker has answered: take it to its next state."""
        worker = self.pending.pop(reference)
        try:
            answer = ray.get(reference, timeout=_GET_S)
        except Exception as error:  # noqa: BLE001
            return self._not_answered(worker, error)
        if worker.state is WorkerState.STOPPING:
            if answer is not None:
                logger.warning("{}: {}", worker.plan.name, answer)
            self.kill(worker)
            return []
        if worker.state is WorkerState.STARTING:
            worker.node_id = answer
            self.used_nodes.add(answer)
        elif answer is not None:
            self._give_up_node_setup(worker)
            self.kill(worker)
            self._wake_up()
            return [PoolEvent(worker, error=answer)]
        elif worker.state is WorkerState.PREPARING:
            self._enter(worker, WorkerState.READY)
            worker.idle_since_s = worker.since_s
            return [PoolEvent(worker)]
        elif self._setting_up.get(worker.node_id) is worker:
            del self._setting_up[worker.node_id]
            self._nodes_set_up |= {self._key(worker, stage) for stage in self._hooked(worker)}
        self._advance(worker)
        self._wake_up()
        return []

    def expired(self, now_s: float) -> list[PoolEvent]:
        """End the workers whose setup or teardown takes too long."""
        events = []
        for worker in list(self.workers):
            took_s = now_s - worker.since_s
            if worker.state is WorkerState.STOPPING and took_s > TEARDOWN_S:
                self.kill(worker)
            in_setup = worker.state in (WorkerState.NODE_SETUP, WorkerState.PREPARING)
            waits = worker.state is WorkerState.NODE_SETUP and self._setting_up.get(worker.node_id) is not worker
            if in_setup and not waits and took_s > self.settings.setup_timeout_s:
                what = "setup" if worker.state is WorkerState.PREPARING else "setup_on_node"
                limit = f"executor.setup_timeout_s={self.settings.setup_timeout_s:g}"
                self._give_up_node_setup(worker)
                self.kill(worker)
                error = ExecutorError(f"{worker.plan.name}: {what} took more than {limit}")
                events.append(PoolEvent(worker, error=error))
        if events:
            self._wake_up()
        return events

    def _not_answered(self, worker: Worker, error: Exception) -> list[PoolEvent]:
        fault = read_fault(error)
        state = worker.state
        logger.debug("{}: {}", worker.name, " ".join(str(error).split())[:500])
        self._give_up_node_setup(worker)
        self.kill(worker)
        self._wake_up()
        if state is WorkerState.STOPPING:
            return []
        what = "could not be started" if state is WorkerState.STARTING else "ended while it was set up"
        return [PoolEvent(worker, ExecutorError(f"{worker.plan.name}: a worker {what}: {fault.reason}"), fault)]

    def _advance(self, worker: Worker) -> None:
        """Set the node up if that has to be done, and then the worker."""
        stages = [stage for stage in self._hooked(worker) if self._key(worker, stage) not in self._nodes_set_up]
        if stages and worker.node_id in self._setting_up:
            self._enter(worker, WorkerState.NODE_SETUP)
        elif stages:
            self._setting_up[worker.node_id] = worker
            self._enter(worker, WorkerState.NODE_SETUP)
            self._send(worker, "setup_on_node", stages)
        else:
            self._enter(worker, WorkerState.PREPARING)
            limit_gb = self.settings.worker_memory_limit_gb
            self._send(worker, "prepare", worker.plan.step, None if limit_gb is None else int(limit_gb * 1e9))

    def _send(self, worker: Worker, method: str, *arguments: object) -> None:
        try:
            self.pending[getattr(worker.handle, method).remote(*arguments)] = worker
        except RayError:
            raise
        except Exception as error:
            raise ExecutorError(
                f"{worker.plan.name}: a stage cannot be sent to a worker: {type(error).__name__}: {error}"
            ) from error

    def _wake_up(self) -> None:
        """Go on with workers whose node somebody else has set up, or has failed to."""
        for worker in self.workers:
            if worker.state is WorkerState.NODE_SETUP and worker.node_id not in self._setting_up:
                self._advance(worker)

    def _give_up_node_setup(self, worker: Worker) -> None:
        if self._setting_up.get(worker.node_id) is worker:
            del self._setting_up[worker.node_id]

    def _hooked(self, worker: Worker) -> list[ProcessingStage]:
        """Stages with a hook that workers of this shape run: those of its step, and of all steps like it."""
        stages = list(worker.plan.step.all_stages)
        if not worker.shape.runtime_env:
            alike = [step for step in self.steps if step.resources == worker.shape.resources]
            stages += [stage for step in alike for stage in step.all_stages if not stage.runtime_env]
        hooked = [stage for stage in reversed(stages) if has_setup_on_node(stage)]
        return list({(type(stage), stage.name): stage for stage in hooked}.values())

    @staticmethod
    def _key(worker: Worker, stage: ProcessingStage) -> tuple[str, str, str]:
        return worker.node_id, f"{type(stage).__module__}.{type(stage).__qualname__}", stage.name

    @staticmethod
    def _enter(worker: Worker, state: WorkerState) -> None:
        worker.state, worker.since_s = state, time.monotonic()

    def _forget(self, worker: Worker) -> None:
        worker.state = WorkerState.GONE
        if worker in self.workers:
            self.workers.remove(worker)
        self.pending = {reference: each for reference, each in self.pending.items() if each is not worker}
