"""What is done about losses: a worker, a node, an object, a unit that ends its workers, a stage that fails.

Faults flow in; units are queued again, alone and after a while, given up, or taken apart in processes of their own.
Each class of loss has its budget; beyond it, the run fails with the reason.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import ray
from loguru import logger
from ray.exceptions import RayError

from curator.errors import ConfigError, ExecutorError, StageError
from curator.executors.isolation import ProbeOutcome, isolate
from curator.executors.ray_actor_pool.actor import Outcome
from curator.executors.ray_actor_pool.budgets import RunBudget, charge, forgive, pause_s, verdict
from curator.executors.ray_actor_pool.calls import Call, SegmentCalls
from curator.executors.ray_actor_pool.faults import Fault
from curator.executors.ray_actor_pool.flow import Flow
from curator.executors.ray_actor_pool.pool import PoolEvent, Worker, WorkerPool, WorkerState
from curator.executors.ray_actor_pool.units import Unit, UnitState
from curator.tasks import FailedTask, Task

_LOOK_S = 5.0
_LOOK_OFTEN_S = 0.5
_WATCH_S = 30.0
"""Seconds after a loss in which the nodes are looked at often: Ray takes a while to notice that one is dead."""


class _ProberLostError(Exception):
    """The worker that probed is gone, which says nothing about what it probed."""


@dataclass(slots=True, eq=False)
class _Isolation:
    unit: Unit
    reason: str
    worker: Worker | None = None
    thread: threading.Thread | None = None
    stopped: threading.Event = field(default_factory=threading.Event)
    tasks: list[Task] | None = None
    error: Exception | None = None


class Losses:
    """Deals with the losses of one chain.

    Args:
        pool: the workers.
        flow: the units.
        segments: the segments.
        budget: losses of the run.
        delay: queues a unit again after some seconds.
    """

    def __init__(
        self,
        pool: WorkerPool,
        flow: Flow,
        segments: Sequence[SegmentCalls],
        budget: RunBudget,
        delay: Callable[[Unit, float], None],
    ) -> None:
        self.given_up: list[tuple[Unit, list[FailedTask]]] = []
        self._pool = pool
        self._flow = flow
        self._segments = segments
        self._budget = budget
        self._delay = delay
        self._isolations: list[_Isolation] = []
        self._looked_s = time.monotonic()
        self._watch_until_s = 0.0

    @property
    def is_isolating(self) -> bool:
        """Whether a unit is being taken apart."""
        return bool(self._isolations)

    def setup_ended(self, event: PoolEvent) -> None:
        """A worker is ready, or could not be set up.

        Raises:
            Exception: too many in a row could not; the first reason. A wrong setting is raised at once.
        """
        plan = event.worker.plan
        segment = next((each for each in self._segments if each.plan.step is plan.step), None)
        if segment is None:
            return
        if event.error is None:
            segment.budget.setup_done()
            return
        if isinstance(event.error, ConfigError):
            raise event.error
        logger.warning("{}; another worker is tried", event.error)
        if event.fault is not None:
            self.look_at_nodes(time.monotonic(), now=True)
            node_id = event.worker.node_id
            if event.fault.node_died or (node_id and not self._pool.is_alive(node_id)):
                return
        segment.budget.setup_failed(event.error)

    def worker_lost(self, worker: Worker, call: Call, others: Sequence[Call], fault: Fault, *, timeout: bool) -> None:
        """A worker ended during a call, or was ended because the call took too long.

        Args:
            worker: the worker.
            call: what it was at.
            others: what waited there.
            fault: how it ended.
            timeout: whether the driver ended it.
        """
        self._watch_until_s = time.monotonic() + _WATCH_S
        self.look_at_nodes(time.monotonic(), now=True)
        segment = self._segments[call.units[0].segment]
        if fault.node_died or not self._pool.is_alive(worker.node_id):
            logger.warning("{}: a worker was lost with its node; its units are given to others", segment.plan.name)
            return
        if len(call.units) == 1 and (timeout or not others):
            (unit,) = call.units
            if unit.state is not UnitState.DONE:
                logger.warning("{}: task {}: {}", segment.plan.name, unit.input_ids()[0], fault.reason)
                charge(unit, fault.reason, worker.node_id, timeout=timeout)
                self._settle(unit, segment)
            return
        concerned = [call] if timeout else [call, *others]
        for unit in [unit for each in concerned for unit in each.units]:
            unit.alone, unit.avoid = True, worker.node_id
        logger.warning("{}: a worker was lost ({}); its units are run one by one", segment.plan.name, fault.reason)
        segment.budget.worker_lost(fault.reason)

    def unit_failed(self, unit: Unit, outcome: Outcome, worker: Worker) -> None:
        """A stage raised, or ran out of memory.

        Raises:
            CuratorError: it raised a second time, on another worker if there is one, or trying again is of no use.
        """
        error = outcome.error
        assert error is not None
        if unit.state is not UnitState.RUNNING or unit.flights:
            return  # somebody else is at it too
        segment = self._segments[unit.segment]
        if outcome.out_of_memory:
            worker.leaving = True
            logger.warning("{}: task {}: {}", segment.plan.name, unit.input_ids()[0], error)
            charge(unit, "out_of_memory", worker.node_id)
            self._settle(unit, segment)
        elif type(error) is StageError and unit.failure is None:
            logger.warning("{}; it is tried once more", error)
            unit.failure, unit.alone, unit.avoid = error, True, worker.name
            self._flow.requeue(unit)
        else:
            raise error

    def arguments_lost(self, call: Call, fault: Fault) -> None:
        """What a call needed is gone: it will be made again."""
        self._watch_until_s = time.monotonic() + _WATCH_S
        segment = self._segments[call.units[0].segment]
        self.infrastructure_failed(f"{segment.plan.name}: {fault.reason}")
        for everything in (False, True):
            found = False
            for unit in call.units:
                for piece in unit.pieces():
                    made = piece.source.made
                    payload = None if made is None else made.payload_of(piece.index)
                    if payload is None or payload.reference is None:
                        found = True
                    elif everything or payload.reference.hex() in fault.lost:
                        self._flow.lose(unit.segment, payload)
                        found = True
            if found:
                return

    def infrastructure_failed(self, what: str) -> None:
        """Something was lost that no unit is to blame for.

        Raises:
            ExecutorError: that was one too many.
        """
        logger.warning("{}; it is made again", what)
        self._budget.infrastructure_failed(what)

    def look_at_nodes(self, now_s: float, *, now: bool = False) -> None:
        """See whether nodes are gone, and let go of what was on them."""
        often = now_s < self._watch_until_s
        if not now and now_s - self._looked_s < (_LOOK_OFTEN_S if often else _LOOK_S):
            return
        self._looked_s = now_s
        for node_id in self._pool.refresh_nodes():
            self._flow.lose_node(node_id)
            for unit in self._flow.open_units():
                forgive(unit, node_id)
            if node_id in self._pool.used_nodes:
                self._budget.infrastructure_failed(f"node {node_id}")
                logger.warning("node {} is gone; what was on it is done again elsewhere", node_id)

    def isolated(self) -> None:
        """Go on with units that are taken apart.

        Raises:
            Exception: one could not be.
        """
        for job in list(self._isolations):
            if job.unit.state is UnitState.DONE:
                self._end(job)
            elif job.thread is None:
                self._find_worker(job)
            elif not job.thread.is_alive():
                self._end(job)
                if isinstance(job.error, _ProberLostError):
                    self.infrastructure_failed(f"{self._segments[job.unit.segment].plan.name}: a worker that probed")
                    self._isolations.append(_Isolation(job.unit, job.reason))
                elif job.error is not None:
                    raise job.error
                else:
                    self._isolate_done(job)

    def stop(self) -> None:
        """Let go of the threads."""
        for job in self._isolations:
            job.stopped.set()

    def _settle(self, unit: Unit, segment: SegmentCalls) -> None:
        """Try a unit again after a while, or give it up."""
        reason = verdict(unit, self._pool.settings.max_attempts)
        if not reason:
            self._delay(unit, pause_s(len(unit.charges)))
            return
        segment.budget.unit_given_up(reason)
        self._flow.hold(unit)
        if segment.attempts is not None:
            logger.warning("{}: unit {} is taken apart: {}", segment.plan.name, unit.number, reason)
            self._isolations.append(_Isolation(unit, reason))
            return
        failed = [FailedTask(task_id=task_id, reason=reason) for task_id in unit.input_ids()]
        logger.warning("{}: tasks {} are given up: {}", segment.plan.name, [task.task_id for task in failed], reason)
        self._flow.finish(unit, None, [], failed)
        if segment.is_last:
            self.given_up.append((unit, failed))

    def _find_worker(self, job: _Isolation) -> None:
        """Take a worker from its segment for the probes, as soon as it is idle."""
        plan = self._segments[job.unit.segment].plan
        if job.worker is None or job.worker.state is not WorkerState.PROBING:
            ready = [worker for worker in self._pool.serving(plan) if worker.state is WorkerState.READY]
            job.worker = min(ready, key=lambda worker: len(worker.calls), default=None)
            if job.worker is not None:
                job.worker.state = WorkerState.PROBING
        if job.worker is not None and not job.worker.calls:
            job.thread = threading.Thread(target=self._isolate, args=(job,), daemon=True)
            job.thread.start()

    def _isolate(self, job: _Isolation) -> None:
        """In a thread of its own: find the records at fault."""
        segment, worker, unit = self._segments[job.unit.segment], job.worker, job.unit
        assert worker is not None
        settings = self._pool.settings
        memory_gb = settings.worker_memory_limit_gb
        memory_bytes = None if memory_gb is None else int(memory_gb * 1e9)

        def probe(tasks: Sequence[Task], limit_s: float | None) -> ProbeOutcome:
            limits = (limit_s, settings.setup_timeout_s, memory_bytes)
            answer = worker.handle.probe.remote(segment.plan.step, segment.attempts, unit.number, list(tasks), limits)
            while not ray.wait([answer], timeout=1.0)[0]:
                if job.stopped.is_set():
                    raise _ProberLostError
            try:
                outcome: ProbeOutcome = ray.get(answer, timeout=60.0)
            except RayError as error:
                raise _ProberLostError from error
            return outcome

        try:
            inputs: list[Any] = list(unit.inputs)
            job.tasks = isolate(
                segment.plan.step,
                inputs,
                job.reason,
                probe,
                unit=unit.number,
                attempts=segment.attempts,
                limit_s=settings.unit_timeout_s,
            )
        except Exception as error:  # noqa: BLE001
            job.error = error

    def _isolate_done(self, job: _Isolation) -> None:
        unit = job.unit
        assert job.tasks is not None
        unchanged = job.tasks == unit.inputs
        if unchanged and unit.isolated:
            name = self._segments[unit.segment].plan.name
            raise ExecutorError(
                f"{name}: unit {unit.number} ends its workers ({job.reason}), but no record of it does."
            )
        unit.isolated, unit.inputs, unit.charges = unchanged, job.tasks, []
        self._flow.requeue(unit)

    def _end(self, job: _Isolation) -> None:
        self._isolations.remove(job)
        job.stopped.set()
        if job.worker is not None and job.worker.state is WorkerState.PROBING:
            if isinstance(job.error, _ProberLostError) or (job.thread is not None and job.thread.is_alive()):
                self._pool.kill(job.worker)
            else:
                self._pool.retarget(job.worker, job.worker.plan)
