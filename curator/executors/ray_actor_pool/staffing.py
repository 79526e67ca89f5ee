"""Which worker serves which segment: started, handed on and ended with the backlog, on clusters of any size.

Backlogs flow in, orders to the pool flow out. Where not all segments fit at once, idle workers go to the segment that
has work, the last one first; a segment without any worker takes one from a segment that has two. A segment pauses while
too much waits behind it, so that every worker becomes idle in the end and no order of stages can block itself.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from curator.cluster.capacity import describe_needs, describe_offers
from curator.cluster.topology import available_offers
from curator.executors.ray_actor_pool.calls import Call, SegmentCalls
from curator.executors.ray_actor_pool.flow import Flow
from curator.executors.ray_actor_pool.pool import Worker, WorkerPool, WorkerState
from curator.executors.ray_actor_pool.sizing import SegmentPlan, wanted_workers

_PENDING_S = 2.0
"""Seconds after which a worker that has not started is taken to wait for resources that somebody else has."""

_PAUSE_S_PER_WORKER = 20e-6
_SHARE_OF_STORE = 0.25


class Staffing:
    """Keeps the workers of a chain where the work is.

    Args:
        pool: the workers.
        flow: the units.
        segments: the segments.
    """

    def __init__(self, pool: WorkerPool, flow: Flow, segments: Sequence[SegmentCalls]) -> None:
        self._pool = pool
        self._flow = flow
        self._segments = segments
        self._looked_s = 0.0
        self._wanted = [0] * len(segments)

    def is_blocked(self, index: int) -> bool:
        """Whether a segment pauses, because too much waits behind it."""
        if index + 1 == len(self._segments):
            return False
        behind = self._segments[index + 1]
        limit = self._pool.settings.max_buffered_bytes or _SHARE_OF_STORE * self._pool.object_store_bytes
        if self._flow.buffered_bytes(index + 1) > limit > 0:
            return True
        return self._flow.num_active(index + 1) > behind.most_buffered(len(self._pool.serving(behind.plan)))

    def staff(self, running: Sequence[Sequence[Call]]) -> None:
        """Give every segment the workers that it should have, as far as there is room.

        Args:
            running: the calls of each segment that are under way.
        """
        now_s = time.monotonic()
        if now_s - self._looked_s < _PAUSE_S_PER_WORKER * len(self._pool.workers):
            return
        self._looked_s = now_s
        for worker in list(self._pool.workers):
            if worker.state is WorkerState.READY and not worker.calls:
                if worker.leaving:
                    self._pool.stop(worker)
                elif worker.move_to is not None:
                    self._pool.retarget(worker, worker.move_to)
        for segment in self._segments:
            self._wanted[segment.index] = self._wish(segment, running[segment.index], now_s)
        for segment in reversed(self._segments):
            self._staff(segment, now_s)

    def retire(self, now_s: float) -> None:
        """End workers that have had nothing to do for a while."""
        for worker in list(self._pool.workers):
            idle = worker.state is WorkerState.READY and not worker.calls
            if idle and now_s - worker.idle_since_s > self._pool.settings.idle_timeout_s:
                index = self._index(worker.plan)
                if index is None or len(self._pool.serving(worker.plan)) > self._wanted[index]:
                    self._pool.stop(worker)

    def explain_wait(self, limit_s: float) -> str:
        """What is waited for, and why it does not come."""
        waiting = next((s for s in self._segments if len(self._flow.ready(s.index))), self._segments[0])
        return (
            f"{waiting.plan.name}: no worker could be started within executor.resource_timeout_s={limit_s:g}, and "
            f"nothing else goes on. A worker needs {describe_needs(waiting.plan.shape.resources)}. The nodes have "
            f"{describe_offers(self._pool.offers)}; free now is {describe_offers(available_offers())}. "
            "Wait until others are done, ask for less, or raise the limit."
        )

    def _wish(self, segment: SegmentCalls, running: Sequence[Call], now_s: float) -> int:
        index = segment.index
        # A worker that is stuck with a late call serves nobody else.
        stuck = sum(worker.stuck for worker in self._pool.serving(segment.plan))
        stuck = min(stuck, len(self._flow.ready(index)))
        wanted = wanted_workers(
            segment.plan,
            num_open=self._flow.num_active(index),
            seconds_per_unit=segment.seconds_per_unit(running, now_s),
            more_to_come=index > 0 and not self._flow.is_exhausted(index - 1),
            num_behind=len(self._segments) - index - 1,
        )
        return min(wanted + stuck, segment.plan.maximum)

    def _staff(self, segment: SegmentCalls, now_s: float) -> None:
        plan, pool = segment.plan, self._pool
        serving = pool.serving(plan)
        has_work = len(self._flow.ready(segment.index)) > 0
        only_pending = all(w.state is WorkerState.STARTING and now_s - w.since_s > _PENDING_S for w in serving)
        if serving and has_work and only_pending and not pool.has_coming_room():
            if (spare := self._spare(segment, starving=True)) is not None:
                pool.kill(serving[0])
                pool.retarget(spare, plan)
            else:
                self._make_room(segment)
            return
        able = sum(not worker.stuck for worker in serving)
        for missing in range(self._wanted[segment.index] - len(serving)):
            starving = has_work and not able and not missing
            if (spare := self._spare(segment, starving=starving)) is not None:
                pool.retarget(spare, plan)
            elif pool.has_room(plan):
                pool.start(plan)
            else:
                if starving:
                    self._make_room(segment)
                break

    def _spare(self, segment: SegmentCalls, *, starving: bool) -> Worker | None:
        """An idle worker of the same shape that its own segment can do without."""
        found: list[tuple[int, Worker]] = []
        for worker in self._pool.workers:
            idle = worker.state is WorkerState.READY and not worker.calls and worker.is_live
            if not idle or worker.plan.step is segment.plan.step or worker.shape != segment.plan.shape:
                continue
            index = self._index(worker.plan)
            if index is None:
                found.append((0, worker))
                continue
            count = len(self._pool.serving(worker.plan))
            has_work = len(self._flow.ready(index)) > 0 and not self.is_blocked(index)
            will_have = index > segment.index and not self._flow.is_exhausted(index - 1)
            if count > self._wanted[index] and not (will_have and count == 1 and not starving):
                found.append((1, worker))
            elif starving and not has_work:
                found.append((2, worker))
        return min(found, key=lambda pair: pair[0])[1] if found else None

    def _make_room(self, segment: SegmentCalls) -> None:
        """Ask one worker to leave its place to a segment that has none."""
        plan, pool = segment.plan, self._pool
        if pool.has_coming_room() or any(worker.move_to is plan for worker in pool.workers):
            return
        found: list[tuple[bool, bool, int, int, Worker]] = []
        for number, worker in enumerate(pool.workers):
            if not worker.is_live or worker.plan.step is plan.step or worker.state is WorkerState.PROBING:
                continue
            index = self._index(worker.plan)
            count = len(pool.serving(worker.plan))
            has_work = index is not None and len(self._flow.ready(index)) > 0 and not self.is_blocked(index)
            is_idle = worker.state is WorkerState.READY and not worker.calls and not has_work
            is_starting = worker.state is WorkerState.STARTING
            if is_idle or (count > 1 and (is_starting or worker.state is WorkerState.READY)):
                found.append((not is_idle, not is_starting, len(worker.calls) + worker.stuck * 9, number, worker))
        if not found:
            return
        worker = min(found, key=lambda each: each[:4])[4]
        if worker.state is WorkerState.STARTING:
            pool.kill(worker)
        elif worker.shape == plan.shape:
            worker.move_to = plan
        else:
            worker.leaving = True

    def _index(self, plan: SegmentPlan) -> int | None:
        return next((s.index for s in self._segments if s.plan.step is plan.step), None)
