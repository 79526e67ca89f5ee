"""Handing ready units to workers: the last segment first, several short units to a call, suspects alone.

Ready units flow in, calls flow out. A segment whose successor has too much to do is passed over, unless nothing at all
goes on: then it is fed whatever waits behind it, so that no chain can block itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from loguru import logger

from curator.errors import StageError
from curator.executors.ray_actor_pool.calls import Call, SegmentCalls
from curator.executors.ray_actor_pool.flow import Flow
from curator.executors.ray_actor_pool.pool import Worker, WorkerPool, WorkerState
from curator.executors.ray_actor_pool.staffing import Staffing
from curator.executors.ray_actor_pool.units import Unit


class Feeding:
    """Gives work out.

    Args:
        pool: the workers.
        flow: the units.
        segments: the segments.
        staffing: says which segments pause.
        calls: the calls under way, by reference of their report; new ones are added.
    """

    def __init__(
        self,
        pool: WorkerPool,
        flow: Flow,
        segments: Sequence[SegmentCalls],
        staffing: Staffing,
        calls: dict[Any, Call],
    ) -> None:
        self._pool = pool
        self._flow = flow
        self._segments = segments
        self._staffing = staffing
        self._calls = calls
        self._began_s = self._said_s = time.monotonic()

    def feed(self) -> None:
        """Send units to the workers that can take some."""
        ready = [segment for segment in reversed(self._segments) if len(self._flow.ready(segment.index))]
        sent = False
        for segment in ready:
            if not self._staffing.is_blocked(segment.index):
                sent |= self._feed_segment(segment)
        if not sent and not any(worker.calls for worker in self._pool.workers):
            for segment in ready:
                if self._feed_segment(segment):
                    return

    def say(self, now_s: float, interval_s: float) -> None:
        """Log a line for each segment of a chain, now and then; a run with attempts has a bar of its own."""
        if now_s - self._said_s < interval_s or self._segments[0].attempts is not None:
            return
        self._said_s = now_s
        for segment in self._segments:
            logger.info(
                "{}: {:,} units done, {:,} queued, {} workers, {:,.1f} units/s",
                segment.plan.name,
                segment.units_done,
                len(self._flow.ready(segment.index)),
                len(self._pool.serving(segment.plan)),
                segment.units_done / max(now_s - self._began_s, 1e-9),
            )

    def _feed_segment(self, segment: SegmentCalls) -> bool:
        serving = self._pool.serving(segment.plan)
        workers = [w for w in serving if w.state is WorkerState.READY and not w.stuck and w.move_to is None]
        # A suspect needs a worker that has nothing else, so no worker gets a second call while there is one.
        ready, sent = self._flow.ready(segment.index), False
        for calls_held in range(2):
            for worker in workers:
                depth = 1 if ready.num_alone else segment.depth(ready.num_together, len(workers))
                if len(worker.calls) == calls_held < depth:
                    sent |= self._feed_worker(segment, worker, workers)
        return sent

    def _feed_worker(self, segment: SegmentCalls, worker: Worker, workers: Sequence[Worker]) -> bool:
        units = [unit for unit in self._take(segment, worker, workers) if self._is_complete(unit)]
        if not units:
            return False
        try:
            call = segment.send(worker, units)
        except Exception as error:
            ids = ", ".join(repr(task_id) for unit in units for task_id in unit.input_ids())
            reason = f"{type(error).__name__}: {error}"
            raise StageError(f"{segment.plan.name}: task {ids} cannot be sent to a worker: {reason}") from error
        self._calls[call.report] = call
        return True

    def _take(self, segment: SegmentCalls, worker: Worker, workers: Sequence[Worker]) -> list[Unit]:
        ready = self._flow.ready(segment.index)
        if ready.num_alone and not worker.calls:
            places = [(each.node_id, each.name) for each in workers]
            if (suspect := ready.take_alone((worker.node_id, worker.name), places)) is not None:
                return [suspect]
        if not ready.num_together or any(call.units[0].alone for call in worker.calls):
            return []
        count = segment.group_size(ready.num_together, len(workers))
        if segment.plan.max_calls is not None:
            held = sum(len(call.units) for call in worker.calls)
            count = min(count, segment.plan.max_calls - worker.units_done - held)
        taken = ready.take(worker.node_id, count) if count > 0 else []
        for unit in taken[(fitting := segment.fitting(taken)) :]:
            ready.push(unit)
        return taken[:fitting]

    def _is_complete(self, unit: Unit) -> bool:
        """Whether all inputs of a unit are there; if not, it waits until they have been made again."""
        if not unit.missing():
            return True
        self._flow.requeue(unit)
        return False
