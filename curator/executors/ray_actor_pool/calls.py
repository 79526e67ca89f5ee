"""The calls of one segment: which units go into one, what it carries, and what is known about how long they take.

A call should take about ``TARGET_S``, so that short units do not pay for the way to the worker and long ones are never
made to wait for one another. Of splits it is known how large they are, and nobody waits for the first of them: their
calls may take ``SPLITS_TARGET_S``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from curator.executors.ray_actor_pool.actor import UnitInput
from curator.executors.ray_actor_pool.budgets import PoolBudget
from curator.executors.ray_actor_pool.pool import Worker
from curator.executors.ray_actor_pool.sizing import SegmentPlan
from curator.executors.ray_actor_pool.units import Payload, Piece, Unit, UnitState
from curator.tasks import SplitTask

TARGET_S = 0.05
SPLITS_TARGET_S = 0.15
MOST_UNITS = 64
MOST_SLOTS = 64

ALIKE_UNITS = 32
"""Units that must have been short before several go into one call: a few say nothing about the next one."""

ALIKE_SPLITS = 2
"""The same of splits, of which no more go into one call than their bytes allow."""

TWO_IN_FLIGHT_S = 1.0
"""Calls that take longer gain nothing from a second one that waits at the worker."""

_SHORT_S = 0.02
"""Calls that take longer are better left to whoever is done first, if they are the last ones."""

_SHARES = 1.5
"""Calls for each worker that what is ready should at least make, so that nobody has much to do when others are done.

A call costs 3 ms beside splits of 33 ms: with 3 of these, two workers took 2 % longer for 600 MB as for 2 GB.
"""

_OVERDUE_S = 1.0
_OVERDUE_TIMES = 8
_CALL_BYTES = 4 << 20
_SLOT_BYTES = 8 << 20
_WEIGHT = 0.3


@dataclass(slots=True, eq=False)
class Call:
    """Units at a worker.

    Args:
        worker: the worker.
        units: the units.
        report: reference to the report.
        payloads: references to what is made.
        begun_s: when the worker began it; ``None`` while it works on another one.
        taken_apart: whether its units were given to other workers as well.
    """

    worker: Worker
    units: list[Unit]
    report: Any
    payloads: Sequence[Any]
    begun_s: float | None
    taken_apart: bool = False


class SegmentCalls:
    """Makes the calls of one segment.

    Args:
        index: its position in the chain.
        plan: the segment.
        attempts: where its attempts get their directories.
        is_last: whether what it makes leaves the chain.
    """

    def __init__(self, index: int, plan: SegmentPlan, attempts: str | None, *, is_last: bool) -> None:
        self.index = index
        self.plan = plan
        self.attempts = attempts
        self.is_last = is_last
        self.budget = PoolBudget(plan.name)
        self.units_done = 0
        self._seconds: float | None = None
        self._bytes = self._tasks = 0.0
        self._num_measured = 0
        self._split_bytes_per_s: float | None = None
        self._inserts = getattr(plan.step, "insert", None) is not None

    @property
    def reports_results(self) -> bool:
        """Whether what a unit makes is small and comes back in the report."""
        return self.attempts is not None or (self.is_last and self._inserts)

    def seconds_per_unit(self, running: Sequence[Call], now_s: float) -> float | None:
        """What a unit takes; while none has come back, as long as the longest is at it, if that is long."""
        if self._seconds is not None:
            return self._seconds
        elapsed = max((now_s - call.begun_s for call in running if call.begun_s is not None), default=0.0)
        return elapsed if elapsed > TWO_IN_FLIGHT_S else None

    def measured(self, call: Call, seconds: float, tasks: int, size_bytes: int) -> None:
        """Learn from a call that came back."""
        count = len(call.units)
        self._num_measured += count
        if split_bytes := sum(map(_split_bytes, call.units)) if self.attempts is not None else 0:
            rate = split_bytes / max(seconds, 1e-6)
            before = rate if self._split_bytes_per_s is None else self._split_bytes_per_s
            self._split_bytes_per_s = before + _WEIGHT * (rate - before)
        if self._seconds is None:
            self._seconds, self._tasks, self._bytes = seconds / count, tasks / count, size_bytes / count
            return
        self._seconds += _WEIGHT * (seconds / count - self._seconds)
        self._tasks += _WEIGHT * (tasks / count - self._tasks)
        self._bytes += _WEIGHT * (size_bytes / count - self._bytes)

    def group_size(self, num_ready: int, num_workers: int) -> int:
        """Units for the next call: 1 until they are known to be short, few if little is left to share."""
        alike, target_s = ALIKE_UNITS, TARGET_S
        if self._split_bytes_per_s is not None:
            alike, target_s = ALIKE_SPLITS, SPLITS_TARGET_S
        if self._seconds is None or self._num_measured < alike:
            return 1
        by_time = target_s / max(self._seconds, 1e-6)
        by_bytes = _CALL_BYTES / max(self._bytes, 1.0)
        by_share = num_ready / (_SHARES * max(1, num_workers))
        return max(1, int(min(MOST_UNITS, by_time, by_bytes, by_share)))

    def fitting(self, units: Sequence[Unit]) -> int:
        """How many units, from the first one on, may go together by the bytes of their splits; at least 1.

        A large file behind many small ones goes alone, however short those were.
        """
        if self._split_bytes_per_s is None:
            return len(units)
        most_bytes, total_bytes = SPLITS_TARGET_S * self._split_bytes_per_s, 0
        for number, unit in enumerate(units):
            total_bytes += _split_bytes(unit)
            if number and total_bytes > most_bytes:
                return number
        return len(units)

    def depth(self, num_ready: int, num_workers: int) -> int:
        """Calls that a worker may hold at a time.

        Args:
            num_ready: units that wait. The last ones are for whoever is done first, unless they are so short that
                asking for them would take as long.
            num_workers: workers that they may go to.
        """
        if self._seconds is None or self._seconds >= TWO_IN_FLIGHT_S:
            return 1
        return 2 if num_ready >= num_workers or self._seconds < _SHORT_S else 1

    def most_buffered(self, num_workers: int) -> int:
        """Units that may wait in front of this segment before the one before it pauses."""
        group = 1 if self._seconds is None else min(MOST_UNITS, TARGET_S / max(self._seconds, 1e-6))
        return int(16 + 8 * max(1, num_workers) * max(1.0, group))

    def is_overdue(self, call: Call, now_s: float) -> bool:
        """Whether a call takes much longer than others did."""
        if call.begun_s is None or self._seconds is None:
            return False
        return now_s - call.begun_s > max(_OVERDUE_S, _OVERDUE_TIMES * self._seconds * len(call.units))

    def send(self, worker: Worker, units: list[Unit]) -> Call:
        """Send units to a worker.

        Raises:
            TypeError: a task cannot be pickled.
        """
        payloads: dict[int, tuple[int, Payload]] = {}
        sent = []
        for unit in units:
            inputs: list[Any] = []
            for each in unit.inputs:
                if not isinstance(each, Piece):
                    inputs.append(each)
                    continue
                made = each.source.made
                assert made is not None
                payload = made.payload_of(each.index)
                number = payloads.setdefault(id(payload), (len(payloads), payload))[0]
                inputs.append((number, made.within(each.index)))
            sent.append(UnitInput(unit.number, inputs))
        slots = 0 if self.reports_results else self._slots(len(units))
        references = [payload.reference for _, payload in payloads.values()]
        answer = worker.handle.run.options(num_returns=1 + slots).remote(sent, self.attempts, slots, *references)
        report, *made_payloads = answer if slots else [answer]
        for unit in units:
            unit.state, unit.flights = UnitState.RUNNING, unit.flights + 1
        call = Call(worker, units, report, made_payloads, None if worker.calls else time.monotonic())
        worker.calls.append(call)
        return call

    def _slots(self, num_units: int) -> int:
        """Payloads for a call: one, or as many as keep each at some megabytes if there are that many tasks."""
        by_bytes = math.ceil(self._bytes * num_units / _SLOT_BYTES)
        return max(1, min(MOST_SLOTS, by_bytes, round(self._tasks * num_units)))


def _split_bytes(unit: Unit) -> int:
    return sum(each.split.size_bytes for each in unit.inputs if isinstance(each, SplitTask))


def payloads_of(call: Call) -> list[Payload]:
    """What a call left on the cluster, with sizes."""
    if not call.payloads:
        return []
    found = ray.experimental.get_local_object_locations(list(call.payloads))
    return [
        Payload(reference, call.worker.node_id, int((found.get(reference) or {}).get("object_size") or 0))
        for reference in call.payloads
    ]
