"""How many workers a segment gets: hints of stages, settings and nodes in, plans and counts out. Pure, no Ray.

Refused: a segment that no node can hold, and options of actors that only the pool may set.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from loguru import logger

from curator.cluster.capacity import UNLIMITED, NodeOffer, explain_misfit, pack, workers_that_fit
from curator.errors import ConfigError, ExecutorError
from curator.executors.ray_actor_pool.settings import PoolSettings
from curator.pipeline import Step
from curator.stages.resources import Resources
from curator.stages.runtime_env import merge_executor_configs
from curator.stages.spec import read_ray_stage_spec

GROW_S = 1.0
"""Seconds that units may wait for a worker before another one is started; about what a start takes."""

_MANAGED = frozenset(
    {
        *("num_cpus", "num_gpus", "memory", "resources", "label_selector", "runtime_env", "name", "namespace"),
        *("lifetime", "get_if_exists", "max_restarts", "max_task_retries", "max_concurrency", "concurrency_groups"),
    }
)


@dataclass(frozen=True, slots=True)
class WorkerShape:
    """What makes two workers interchangeable: resources, environment, and further options of Ray."""

    resources: Resources
    runtime_env: Mapping[str, Any]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentPlan:
    """What the pool of one segment may do.

    Args:
        step: the segment or barrier.
        shape: what its workers are.
        capacity: workers that fit on the nodes, were it alone there.
        fixed: workers that were asked for by number; ``None`` follows the backlog.
        minimum: workers that it keeps while it may still get work.
        maximum: workers that it has at most.
        initial: workers to begin with; ``None`` leaves it to the backlog.
        max_calls: units after which a worker is replaced.
    """

    step: Step
    shape: WorkerShape
    capacity: int
    fixed: int | None
    minimum: int
    maximum: int
    initial: int | None
    max_calls: int | None

    @property
    def name(self) -> str:
        """The segment's name."""
        return self.step.name


def plan_segment(step: Step, settings: PoolSettings, offers: Sequence[NodeOffer]) -> SegmentPlan:
    """Read what the stages of a step ask for, and hold it against the nodes.

    Raises:
        ConfigError: a hint of a stage is wrong.
        ExecutorError: no node can hold a worker; what is missing is named.
    """
    specs = [read_ray_stage_spec(stage.name, stage.ray_stage_spec()) for stage in step.all_stages]
    options: dict[str, Any] = {}
    for stage, spec in zip(step.all_stages, specs, strict=True):
        if managed := sorted(_MANAGED & set(spec.ray_remote_args)):
            raise ConfigError(
                f"{stage.name}: ray_stage_spec.ray_remote_args: {', '.join(managed)} belong to the pool; use the "
                "stage's resources and runtime_env, and the executor's settings."
            )
        options |= spec.ray_remote_args
    capacity = sum(workers_that_fit(step.resources, offers).values())
    if capacity < 1:
        raise ExecutorError(explain_misfit(step.name, step.resources, offers))
    if capacity >= UNLIMITED:
        capacity = max(1, int(sum(offer.cpus for offer in offers)), _num_named(step, settings))
    asked = [count for stage in step.all_stages if (count := stage.num_workers()) is not None]
    fixed = min(asked) if asked else settings.num_workers
    if fixed is not None and fixed > capacity:
        who = "num_workers()" if asked else "executor.num_workers"
        logger.warning("{}: {}={}, but only {} workers fit the cluster", step.name, who, fixed, capacity)
    maxima = [capacity, settings.max_workers, *(spec.max_workers for spec in specs)]
    maximum = min(count for count in maxima if count is not None)
    minimum = min(maximum, max([settings.min_workers, *(spec.min_workers or 0 for spec in specs)]))
    initials = [spec.initial_workers for spec in specs if spec.initial_workers is not None]
    calls = [settings.max_calls_per_worker, *(spec.max_calls_per_worker for spec in specs)]
    return SegmentPlan(
        step=step,
        shape=WorkerShape(step.resources, stage_environment(step, settings), options),
        capacity=capacity,
        fixed=None if fixed is None else min(fixed, maximum),
        minimum=minimum,
        maximum=maximum,
        initial=min(maximum, max(initials)) if initials else None,
        max_calls=min((count for count in calls if count is not None), default=None),
    )


def _num_named(step: Step, settings: PoolSettings) -> int:
    """The greatest number of workers that anybody names, for workers that need nothing that a node has."""
    named = [stage.num_workers() or 0 for stage in step.all_stages]
    return max([settings.num_workers or 0, settings.max_workers or 0, *named])


def stage_environment(step: Step, settings: PoolSettings) -> dict[str, Any]:
    """What the stages' environments change for their workers, merged over that of the job; the rest Ray inherits."""
    merged: dict[str, Any] = dict(settings.runtime_env or {})
    changed: set[str] = set()
    for stage in step.all_stages:
        if stage.runtime_env:
            merged = merge_executor_configs(merged, stage.runtime_env)
            changed |= set(stage.runtime_env)
    return {key: merged[key] for key in sorted(changed) if merged[key] is not None}


def without_reserve(offers: Sequence[NodeOffer], settings: PoolSettings) -> list[NodeOffer]:
    """What nodes offer beyond the cores and GPUs that are left to others, taken from the first nodes.

    Example:
        >>> offers = [NodeOffer(node_id="a", cpus=4), NodeOffer(node_id="b", cpus=4)]
        >>> [offer.cpus for offer in without_reserve(offers, PoolSettings(reserved_cpus=5))]
        [0.0, 3.0]
    """
    cpus, gpus = settings.reserved_cpus, settings.reserved_gpus
    left = []
    for offer in offers:
        fewer_cpus, fewer_gpus = min(cpus, offer.cpus), min(gpus, offer.gpus)
        cpus, gpus = cpus - fewer_cpus, gpus - fewer_gpus
        left.append(replace(offer, cpus=float(offer.cpus - fewer_cpus), gpus=offer.gpus - fewer_gpus))
    return left


def wanted_workers(
    plan: SegmentPlan, *, num_open: int, seconds_per_unit: float | None, more_to_come: bool, num_behind: int = 0
) -> int:
    """Workers that a segment should have.

    Args:
        plan: the segment.
        num_open: its units that are not done and do not wait for others.
        seconds_per_unit: how long one takes; ``None`` before any was measured.
        more_to_come: whether segments before it may still make units for it.
        num_behind: segments behind it, which will want a place as well.
    """
    if not num_open:
        return plan.minimum if more_to_come else 0
    if plan.fixed is not None:
        wanted = plan.fixed
    elif seconds_per_unit is None:
        wanted = plan.initial or (1 if more_to_come else min(num_open, max(1, plan.maximum - num_behind)))
    else:
        wanted = math.ceil(min(1e9, num_open * seconds_per_unit / GROW_S))
    wanted = max(1, plan.minimum, min(wanted, plan.maximum))
    return wanted if more_to_come and plan.fixed is not None else min(wanted, num_open)


def has_room(shapes: Sequence[WorkerShape], extra: WorkerShape, offers: Sequence[NodeOffer]) -> bool:
    """Whether one more worker fits beside others, all of which run."""
    counts: dict[Resources, int] = {extra.resources: 1}
    for shape in shapes:
        counts[shape.resources] = counts.get(shape.resources, 0) + 1
    demands = list(counts.items())
    return pack(demands, offers).counts == tuple(count for _, count in demands)
