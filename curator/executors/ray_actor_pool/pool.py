"""A pool of actors that the driver feeds: bounded calls in flight, lost units given to a new actor.

Actors restart nothing by themselves (``max_restarts=0``, ``max_task_retries=0``), so that every attempt is the
driver's and is counted. A unit whose workers die again and again fails the run after ``MAX_ATTEMPTS``.
"""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from loguru import logger
from ray.exceptions import RayError

from curator.errors import ExecutorError
from curator.executors.base import Unit
from curator.executors.ray_actor_pool.actor import PoolWorker
from curator.pipeline import Step
from curator.stages.base import ProcessingStage
from curator.stages.resources import Resources
from curator.tasks import Task

CALLS_IN_FLIGHT = 2
"""Units an actor holds at a time: one it works on, one that waits, so that it never waits for the driver."""

MAX_ATTEMPTS = 3
_HEAD_RESOURCE = "node:__internal_head__"
_POLL_S = 1.0


@dataclass(slots=True)
class _Actor:
    handle: Any
    in_flight: int = 0


@dataclass(slots=True)
class _Call:
    actor: _Actor
    unit: int
    attempt: int


@dataclass(slots=True)
class ActorPool:
    """The actors of the current step.

    Args:
        num_workers: actors wanted; ``None`` is as many as fit.
        nodes: alive nodes of the session.
        ignore_head_node: whether the head node is left alone.
    """

    num_workers: int | None
    nodes: list[dict[str, Any]]
    ignore_head_node: bool = False
    _actors: list[_Actor] = field(default_factory=list)
    _resources: Resources | None = None
    _nodes_set_up: set[tuple[str, str]] = field(default_factory=set)

    def open(self, steps: Sequence[Step], num_units: int) -> None:
        """Set up the nodes for all steps, and start the workers of the first one.

        Raises:
            CuratorError: a stage cannot be set up, or no worker fits.
        """
        if not steps or not num_units:
            return
        self._resources = steps[0].resources
        started = self._create(self._wanted(steps[0], num_units), steps[0])
        self._actors += started
        self._set_up_nodes(started, steps)
        self._prepare(started, steps[0], None)
        self._release()

    def run(self, step: Step, units: Sequence[Unit], attempts: str | None) -> Iterator[tuple[int, list[Task]]]:
        """Run units; yields each once, as it comes back.

        Raises:
            CuratorError: a stage failed, or a unit was lost ``MAX_ATTEMPTS`` times.
        """
        if not units:
            return
        self._resize(step, len(units), attempts)
        waiting = deque((number, 1) for number in range(len(units)))
        calls: dict[Any, _Call] = {}
        try:
            while waiting or calls:
                while waiting and (actor := self._idlest()).in_flight < CALLS_IN_FLIGHT:
                    number, attempt = waiting.popleft()
                    reference = actor.handle.run.remote(number, list(units[number]))
                    actor.in_flight += 1
                    calls[reference] = _Call(actor, number, attempt)
                done, _ = ray.wait(list(calls), num_returns=1, timeout=_POLL_S)
                for reference in done:
                    call = calls.pop(reference)
                    call.actor.in_flight -= 1
                    try:
                        tasks, failure = ray.get(reference)
                    except RayError as error:
                        self._replace(call, error, step, attempts, waiting)
                        continue
                    if failure is not None:
                        raise failure
                    yield call.unit, tasks
        except BaseException:
            self.close()
            raise
        self._release()

    def close(self) -> None:
        """End the actors; those of a session that stays up would live on otherwise."""
        for actor in self._actors:
            with contextlib.suppress(RayError):
                ray.kill(actor.handle)
        self._actors = []

    def _idlest(self) -> _Actor:
        return min(self._actors, key=lambda actor: actor.in_flight)

    def _replace(
        self, call: _Call, error: RayError, step: Step, attempts: str | None, waiting: deque[tuple[int, int]]
    ) -> None:
        """Give the unit of a dead actor to another one, and put a new actor in its place."""
        if call.attempt >= MAX_ATTEMPTS:
            raise ExecutorError(
                f"{step.name}: unit {call.unit} was lost {MAX_ATTEMPTS} times; the last worker ended with: {error}"
            ) from error
        logger.warning("{}: a worker was lost with unit {}; it is given to another one", step.name, call.unit)
        waiting.appendleft((call.unit, call.attempt + 1))
        if call.actor in self._actors:
            self._actors.remove(call.actor)
            with contextlib.suppress(RayError):
                ray.kill(call.actor.handle)
            started = self._create(1, step)
            self._actors += started
            self._prepare(started, step, attempts)

    def _resize(self, step: Step, num_units: int, attempts: str | None) -> None:
        """As many prepared actors as the step can use; actors of other resources are ended."""
        if self._resources != step.resources:
            self.close()
            self._resources = step.resources
        self._actors += self._create(self._wanted(step, num_units) - len(self._actors), step)
        self._prepare(self._actors, step, attempts)

    def _wanted(self, step: Step, num_units: int) -> int:
        limits = [count for stage in step.all_stages if (count := stage.num_workers()) is not None]
        return max(1, min([self._capacity(step), num_units, *limits]))

    def _create(self, count: int, step: Step) -> list[_Actor]:
        resources = step.resources
        options: dict[str, Any] = {
            "num_cpus": resources.cpus,
            "num_gpus": resources.gpus,
            "max_restarts": 0,
            "max_task_retries": 0,
        }
        if resources.memory_gb:
            options["memory"] = int(resources.memory_gb * 1e9)
        if self.ignore_head_node:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(self._head_ids())})"}
        create: Any = PoolWorker.options  # type: ignore[attr-defined]
        return [_Actor(create(**options).remote()) for _ in range(count)]

    def _prepare(self, actors: Sequence[_Actor], step: Step, attempts: str | None) -> None:
        """Set the stages of a step up in some actors, and first the nodes that are new."""
        self._set_up_nodes(actors, [step])
        prepared = [actor.handle.prepare.remote(step, attempts) for actor in actors]
        try:
            failures = [failure for failure in ray.get(prepared) if failure is not None]
        except RayError as error:
            raise ExecutorError(f"{step.name}: a worker could not be set up: {error}") from error
        if failures:
            raise failures[0]

    def _release(self) -> None:
        """Tear the stages of the step down; the actors stay for the next one."""
        try:
            failures = ray.get([actor.handle.release.remote() for actor in self._actors])
        except RayError as error:
            raise ExecutorError(f"a worker was lost while it was torn down: {error}") from error
        for failure in failures:
            if failure is not None:
                raise failure

    def _capacity(self, step: Step) -> int:
        """Actors that fit on the nodes, node by node."""
        resources = step.resources
        fitting = 0
        for node in self._eligible_nodes():
            offered = node["Resources"]
            limits = [
                int(offered.get(name, 0.0) / need + 1e-9)
                for name, need in (
                    ("CPU", resources.cpus),
                    ("GPU", resources.gpus),
                    ("memory", resources.memory_gb * 1e9),
                )
                if need > 0
            ]
            fitting += min(limits, default=self.num_workers or 1)
        if fitting < 1:
            raise ExecutorError(
                f"{step.name}: no node can hold a worker, which needs {resources}. Offered: "
                f"{[{k: v for k, v in node['Resources'].items() if k in ('CPU', 'GPU')} for node in self.nodes]}."
            )
        if self.num_workers is not None and self.num_workers > fitting:
            logger.warning("executor.num_workers={}: only {} workers fit the cluster", self.num_workers, fitting)
        return fitting if self.num_workers is None else min(self.num_workers, fitting)

    def _eligible_nodes(self) -> list[dict[str, Any]]:
        if not self.ignore_head_node:
            return self.nodes
        return [node for node in self.nodes if _HEAD_RESOURCE not in node["Resources"]]

    def _head_ids(self) -> list[str]:
        return [node["NodeID"] for node in self.nodes if _HEAD_RESOURCE in node["Resources"]]

    def _set_up_nodes(self, actors: Sequence[_Actor], steps: Sequence[Step]) -> None:
        """Run ``setup_on_node`` of the stages that have one: once on each node with an actor, on all nodes at once."""
        every = [stage for step in steps for stage in step.all_stages]
        hooked = [stage for stage in every if type(stage).setup_on_node is not ProcessingStage.setup_on_node]
        try:
            nodes: list[str] = ray.get([actor.handle.node_id.remote() for actor in actors])
            first_on_node = dict(zip(reversed(nodes), reversed(actors), strict=True))
            pending = []
            for node, actor in first_on_node.items():
                stages = [stage for stage in hooked if (node, type(stage).__qualname__) not in self._nodes_set_up]
                self._nodes_set_up |= {(node, type(stage).__qualname__) for stage in stages}
                if stages:
                    pending.append(actor.handle.setup_on_node.remote(stages))
            failures = [failure for failure in ray.get(pending) if failure is not None]
        except RayError as error:
            raise ExecutorError(f"a node could not be set up: {error}") from error
        if failures:
            raise failures[0]
