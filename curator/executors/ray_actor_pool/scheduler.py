"""The driver's loop: feeds workers, takes their answers, and keeps work and workers together until all is done.

Units of a chain flow in, results of its last segment flow out, in any order. What is lost is done again, within the
limits of ``budgets``; an answer that nobody waits for any more changes nothing. Every wait has a limit.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from loguru import logger

from curator.errors import ExecutorError, StageError
from curator.executors.ray_actor_pool.actor import Outcome, Report
from curator.executors.ray_actor_pool.budgets import RunBudget
from curator.executors.ray_actor_pool.calls import Call, SegmentCalls, payloads_of
from curator.executors.ray_actor_pool.faults import Fault, FaultKind, read_fault
from curator.executors.ray_actor_pool.feeding import Feeding
from curator.executors.ray_actor_pool.flow import Flow
from curator.executors.ray_actor_pool.losses import Losses
from curator.executors.ray_actor_pool.pool import Worker, WorkerPool, WorkerState
from curator.executors.ray_actor_pool.sizing import SegmentPlan
from curator.executors.ray_actor_pool.staffing import Staffing
from curator.executors.ray_actor_pool.units import Made, Payload, Unit, UnitState
from curator.tasks import FailedTask, Task

_POLL_S = 1.0
_SHORT_POLL_S = 0.05
_TICK_S = 0.25
_GET_S = 60.0
_FETCH_S = 600.0


class Scheduler:
    """Runs one chain.

    Args:
        pool: the workers of the run.
        plans: the segments.
        flow: their units.
        attempts: where attempts get their directories; ``None`` for segments that leave no files.
        budget: losses of the run so far.
        progress_interval_s: seconds between lines in the log.
    """

    def __init__(
        self,
        pool: WorkerPool,
        plans: Sequence[SegmentPlan],
        flow: Flow,
        attempts: str | None,
        budget: RunBudget,
        progress_interval_s: float,
    ) -> None:
        self.pool = pool
        self.flow = flow
        last = len(plans) - 1
        self.segments = [SegmentCalls(index, plan, attempts, is_last=index == last) for index, plan in enumerate(plans)]
        self._calls: dict[Any, Call] = {}
        self._fetches: dict[Any, tuple[Call, list[tuple[Unit, Outcome]], float]] = {}
        self._results: list[tuple[Unit, list[Task], list[FailedTask]]] = []
        self._delayed: list[tuple[float, int, Unit]] = []
        self._staffing = Staffing(pool, flow, self.segments)
        self._losses = Losses(pool, flow, self.segments, budget, self._delay)
        self._feeding = Feeding(pool, flow, self.segments, self._staffing, self._calls)
        self._interval_s = progress_interval_s
        self._ticked_s = self._busy_s = time.monotonic()

    def run(self) -> Iterator[tuple[Unit, list[Task], list[FailedTask]]]:
        """Run until all is done.

        Yields:
            A unit of the last segment, what it made, and what its stages gave up.

        Raises:
            CuratorError: something failed for good.
        """
        try:
            while not self.flow.is_done:
                self._tick()
                self._staffing.staff(self._running())
                self._feeding.feed()
                yield from self._take_results()  # whoever takes them may take a while: workers are fed by now
                self._collect()
            yield from self._take_results()
        finally:
            self._losses.stop()
        for worker in list(self.pool.workers):
            if worker.calls or worker.state is WorkerState.PROBING:
                self.pool.kill(worker)  # it is at something that nobody waits for

    def open(self) -> bool:
        """Start the workers that the units need, and wait a little for them; whether all of them are ready.

        Raises:
            CuratorError: they cannot be started or set up.
        """
        self._staffing.staff(self._running())
        self._collect()
        for event in self.pool.expired(time.monotonic()):
            self._losses.setup_ended(event)
        self._check_stuck(time.monotonic())
        return bool(self.pool.workers) and not self.pool.pending

    def _take_results(self) -> Iterator[tuple[Unit, list[Task], list[FailedTask]]]:
        results, self._results = self._results, []
        given_up, self._losses.given_up = self._losses.given_up, []
        yield from results
        for unit, failed in given_up:
            yield unit, [], failed

    def _running(self) -> list[list[Call]]:
        running: list[list[Call]] = [[] for _ in self.segments]
        for call in self._calls.values():
            running[call.units[0].segment].append(call)
        return running

    # Taking answers

    def _collect(self) -> None:
        """Wait until something has happened, and deal with it."""
        references = [*self._calls, *self._fetches, *self.pool.pending]
        wait_s = self._wait_s()
        if not references:
            time.sleep(min(wait_s, _SHORT_POLL_S))
            return
        ready, rest = ray.wait(references, num_returns=1, timeout=wait_s)
        if ready and rest:
            more, _ = ray.wait(rest, num_returns=len(rest), timeout=0)
            ready += more
        for reference in ready:
            if (call := self._calls.pop(reference, None)) is not None:
                self._answered(call)
            elif reference in self._fetches:
                self._fetched(*self._fetches.pop(reference)[:2])
            elif reference in self.pool.pending:
                for event in self.pool.advance(reference):
                    self._losses.setup_ended(event)

    def _wait_s(self) -> float:
        if self._losses.is_isolating:
            return _SHORT_POLL_S
        wait_s = _TICK_S if self._calls else _POLL_S
        return max(0.0, min(wait_s, self._delayed[0][0] - time.monotonic())) if self._delayed else wait_s

    def _answered(self, call: Call) -> None:
        worker, segment = call.worker, self.segments[call.units[0].segment]
        self._land(call)
        worker.stuck = False
        try:
            report: Report = ray.get(call.report, timeout=_GET_S)
        except Exception as error:  # noqa: BLE001
            self._not_answered(call, read_fault(error), error)
            return
        payloads = payloads_of(call)
        worker.units_done += len(call.units)
        worker.rss_bytes = report.rss_bytes
        made = sum(len(outcome.ids) for outcome in report.outcomes)
        segment.measured(
            call,
            sum(outcome.seconds for outcome in report.outcomes),
            made,
            sum(payload.size_bytes for payload in payloads),
        )
        starts = [made * slot // len(payloads) for slot in range(len(payloads))]
        self._accept(call, segment, report, payloads, starts)
        limit_gb = self.pool.settings.max_worker_rss_gb
        too_large = limit_gb is not None and worker.rss_bytes > limit_gb * 1e9
        if too_large or (segment.plan.max_calls is not None and worker.units_done >= segment.plan.max_calls):
            worker.leaving = True

    def _accept(
        self, call: Call, segment: SegmentCalls, report: Report, payloads: list[Payload], starts: list[int]
    ) -> None:
        first = 0
        fetched: list[tuple[Unit, Outcome]] = []
        for unit, outcome in zip(call.units, report.outcomes, strict=True):
            made = Made(payloads, starts, first, len(outcome.ids))
            first += len(outcome.ids)
            if unit.state is UnitState.DONE:
                continue  # another worker was faster
            if outcome.error is not None:
                self._losses.unit_failed(unit, outcome, call.worker)
                continue
            segment.budget.unit_done()
            if not segment.is_last:
                self.flow.finish(unit, made, outcome.ids, outcome.failed)
                segment.units_done += 1
            elif segment.reports_results:
                self._done(segment, unit, outcome, outcome.results)
            else:
                unit.made = made
                fetched.append((unit, outcome))
        if fetched:
            for unit, _ in fetched:
                unit.flights += 1
            self._fetches[payloads[-1].reference] = (call, fetched, time.monotonic())
            if len(payloads) > 1:
                ray.wait([payload.reference for payload in payloads], num_returns=len(payloads), timeout=0)

    def _done(self, segment: SegmentCalls, unit: Unit, outcome: Outcome, tasks: list[Task]) -> None:
        self.flow.finish(unit, None, outcome.ids, outcome.failed)
        segment.units_done += 1
        self._results.append((unit, tasks, outcome.failed))

    def _fetched(self, call: Call, fetched: list[tuple[Unit, Outcome]]) -> None:
        """What the last segment made is here."""
        segment = self.segments[-1]
        for unit, _ in fetched:
            unit.flights -= 1
        try:
            payloads: list[list[Task]] = ray.get(list(call.payloads), timeout=_FETCH_S)
        except Exception as error:  # noqa: BLE001
            fault = read_fault(error)
            self._losses.infrastructure_failed(f"{segment.plan.name}: {fault.reason}")
            for unit, _ in fetched:
                unit.made = None
                self._again(unit)
            return
        everything = [task for payload in payloads for task in payload]
        for unit, outcome in fetched:
            made, unit.made = unit.made, None
            if unit.state is not UnitState.DONE and made is not None:
                self._done(segment, unit, outcome, everything[made.first : made.first + made.count])

    def _land(self, call: Call) -> None:
        """A call is over, however it went: its worker begins the next one."""
        worker = call.worker
        if call in worker.calls:
            worker.calls.remove(call)
        if worker.calls and worker.calls[0].begun_s is None:
            worker.calls[0].begun_s = time.monotonic()
        if not worker.calls:
            worker.idle_since_s = time.monotonic()
        for unit in call.units:
            unit.flights -= 1

    def _again(self, unit: Unit) -> None:
        """Queue a unit again, unless it is done, or somebody is at it."""
        if unit.state is UnitState.RUNNING and unit.flights == 0:
            self.flow.requeue(unit)

    # What goes wrong

    def _not_answered(self, call: Call, fault: Fault, error: Exception) -> None:
        segment = self.segments[call.units[0].segment]
        logger.debug("{}: {}", call.worker.name, " ".join(str(error).split())[:500])
        if fault.kind is FaultKind.WORKER_LOST or fault.kind is FaultKind.NOT_STARTED:
            self._worker_lost(call, fault)
        elif fault.kind is FaultKind.ARGUMENTS_LOST:
            self._losses.arguments_lost(call, fault)
            for unit in call.units:
                self._again(unit)
        elif fault.kind is FaultKind.NOT_DONE:
            for unit in call.units:
                self._again(unit)
        elif len(call.units) > 1:
            for unit in call.units:
                unit.alone = True
                self._again(unit)
        else:
            unit = call.units[0]
            failure = StageError(
                f"{segment.plan.name}: what came of task {unit.input_ids()[0]!r} cannot be sent: {fault.reason}",
                stage=segment.plan.name,
                task_id=unit.input_ids()[0],
            )
            if unit.state is not UnitState.DONE:
                self._losses.unit_failed(unit, Outcome(error=failure), call.worker)

    def _worker_lost(self, call: Call, fault: Fault, *, timeout: bool = False) -> None:
        """A worker ended: blame the unit that it was at if it was alone, and give all others to somebody else."""
        worker = call.worker
        others = list(worker.calls)
        for other in others:
            self._calls.pop(other.report, None)
            self._land(other)
        self.pool.kill(worker)
        self._losses.worker_lost(worker, call, others, fault, timeout=timeout)
        for unit in [unit for each in [call, *others] for unit in each.units]:
            self._again(unit)

    def _delay(self, unit: Unit, seconds: float) -> None:
        self.flow.hold(unit)
        heapq.heappush(self._delayed, (time.monotonic() + seconds, id(unit), unit))

    # What has to be looked at now and then

    def _tick(self) -> None:
        now_s = time.monotonic()
        while self._delayed and self._delayed[0][0] <= now_s:
            unit = heapq.heappop(self._delayed)[2]
            if unit.state is UnitState.HELD:
                self.flow.requeue(unit)
        if now_s - self._ticked_s < _TICK_S and not self._losses.is_isolating:
            return
        self._ticked_s = now_s
        for event in self.pool.expired(now_s):
            self._losses.setup_ended(event)
        self._losses.look_at_nodes(now_s)
        self._losses.isolated()
        self._check_calls(now_s)
        self._staffing.retire(now_s)
        self._check_stuck(now_s)
        self._feeding.say(now_s, self._interval_s)

    def _check_calls(self, now_s: float) -> None:
        """End workers whose unit takes too long, and help those that are merely late."""
        limit_s = self.pool.settings.unit_timeout_s
        for worker in list(self.pool.workers):
            call = worker.calls[0] if worker.calls else None
            if call is None or call.begun_s is None:
                continue
            segment = self.segments[call.units[0].segment]
            if limit_s is not None and now_s - call.begun_s > limit_s:
                self._calls.pop(call.report, None)
                self._land(call)
                logger.warning("{}: a worker was ended after {:g} s with one call", segment.plan.name, limit_s)
                self._worker_lost(call, Fault(FaultKind.WORKER_LOST, f"timeout after {limit_s:g} s"), timeout=True)
            elif segment.is_overdue(call, now_s):
                self._relieve(worker, call)
        for reference, (_, fetched, since_s) in list(self._fetches.items()):
            if now_s - since_s > _FETCH_S:
                del self._fetches[reference]
                self._losses.infrastructure_failed(f"{self.segments[-1].plan.name}: a result did not arrive")
                for unit, _ in fetched:
                    unit.flights -= 1
                    self._again(unit)

    def _relieve(self, worker: Worker, call: Call) -> None:
        """A call is late: give what waits behind it to others, and its own units as well, one by one."""
        worker.stuck = True
        for other in list(worker.calls)[1:]:
            ray.cancel(other.report)
            self._calls.pop(other.report, None)
            self._land(other)
            for unit in other.units:
                self._again(unit)
        ready = self.flow.ready(call.units[0].segment)
        if len(call.units) == 1 and call.units[0].flights > 1 and len(ready):
            self._calls.pop(call.report, None)
            self._land(call)
            self.pool.kill(worker)  # the late one of a call that was taken apart; the first worker is still at it
        elif len(call.units) > 1 and not call.taken_apart:
            call.taken_apart = True
            for unit in call.units:
                if unit.state is UnitState.RUNNING:
                    unit.alone, unit.avoid = True, worker.name
                    self.flow.requeue(unit)

    def _check_stuck(self, now_s: float) -> None:
        """Fail when nothing goes on but the wait for resources, and that for too long."""
        works = self._calls or self._fetches or self._losses.is_isolating or self._delayed
        setting_up = (WorkerState.NODE_SETUP, WorkerState.PREPARING, WorkerState.STOPPING)
        if works or any(worker.state in setting_up for worker in self.pool.workers):
            self._busy_s = now_s
        limit_s = self.pool.settings.resource_timeout_s
        if limit_s is not None and now_s - self._busy_s > limit_s:
            raise ExecutorError(self._staffing.explain_wait(limit_s))
