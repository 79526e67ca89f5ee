"""What a step asks of Ray Data: its stages in, actors or tasks, how many, and the options of each out. No Ray.

Refused: options that contradict each other or that this executor sets itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from loguru import logger

from curator.cluster.capacity import NodeOffer, explain_misfit, pack, workers_that_fit
from curator.cluster.options import actor_options
from curator.errors import ConfigError, ExecutorError
from curator.pipeline import Step
from curator.stages.base import ProcessingStage
from curator.stages.resources import Resources
from curator.stages.spec import RayStageSpec, read_ray_stage_spec

MANAGED_ARGUMENTS = frozenset(
    {
        *("fn", "batch_size", "batch_format", "zero_copy_batch", "fn_args", "fn_kwargs"),
        *("fn_constructor_args", "fn_constructor_kwargs", "udf_modifying_row_count", "ray_remote_args_fn"),
        *("compute", "concurrency", "max_calls", "max_concurrency", "num_returns", "name", "lifetime"),
        *("num_cpus", "num_gpus", "memory", "resources", "label_selector", "runtime_env"),
        *("max_retries", "max_restarts", "max_task_retries", "retry_exceptions"),
    }
)
"""Options that follow from a stage's resources, environment and worker counts, or from the retries of this executor."""

_SHARED_COUNTS: Mapping[str, Callable[[Iterable[int]], int]] = {
    "max_calls_per_worker": min,
    "min_workers": max,
    "max_workers": min,
    "initial_workers": max,
}
"""Which of several stages decides for the worker that they share."""

_CUTTER = Resources(cpus=1)
"""What Ray Data takes for a task that cuts blocks anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerPlan:
    """The workers of one step.

    Args:
        name: the step's stages.
        uses_actors: actors that keep the stages set up, or tasks that hold nothing.
        resources: what one worker takes.
        min_workers: actors that are kept while there is work.
        max_workers: workers at the same time at most.
        initial_workers: actors to begin with.
        max_calls: units after which the process of a task is ended; ``None`` is never.
        is_fanout: it makes many tasks of one; its output is cut into blocks, to be spread.
        options: options of its actors or tasks, as ``map_batches`` takes them.
    """

    name: str
    uses_actors: bool
    resources: Resources
    min_workers: int
    max_workers: int
    initial_workers: int
    max_calls: int | None = None
    is_fanout: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


def check_steps(steps: Iterable[Step]) -> None:
    """Check what stages ask of Ray, before anything is started.

    Raises:
        ConfigError: with every mistake of every stage.
    """
    problems: list[str] = []
    for step in steps:
        try:
            _combined(step)
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(list(dict.fromkeys(problems)))


def plan_workers(step: Step, offers: Sequence[NodeOffer], num_workers: int | None = None) -> WorkerPlan:
    """The workers of a step.

    Args:
        step: a segment or barrier.
        offers: the nodes that may be used.
        num_workers: at most so many; ``None`` is as many as fit.

    Raises:
        ConfigError: its stages contradict each other.
        ExecutorError: no node can hold a worker.
    """
    spec = _combined(step)
    stages = step.all_stages
    fitting = sum(workers_that_fit(step.resources, offers).values())
    if not fitting:
        raise ExecutorError(explain_misfit(step.name, step.resources, offers))
    # A worker that needs nothing fits without end; one for each core is enough.
    most = min(fitting, max(1, int(sum(offer.cpus for offer in offers)))) if not step.resources.cpus else fitting
    least = spec.min_workers or 1
    initial = spec.initial_workers or least
    if spec.max_workers is not None:
        most = min(most, spec.max_workers)
    wanted = [count for stage in stages if (count := stage.num_workers()) is not None]
    if wanted:
        # The stages say how many they want: a pool of fixed size.
        least = initial = min(wanted)
        most = min(most, least)
    if num_workers is not None:
        most = min(most, num_workers)
    if least > most:
        logger.warning("{}: {} workers are asked for, only {} can be had", step.name, least, most)
    if spec.max_calls_per_worker is not None and _uses_actors(step, spec):
        logger.warning("{}: max_calls_per_worker is passed over, since Ray Data never ends its actors", step.name)
    options = {**spec.ray_remote_args, **actor_options(step.resources)}
    if env := _runtime_env(step):
        options["runtime_env"] = env
    return WorkerPlan(
        name=step.name,
        uses_actors=_uses_actors(step, spec),
        resources=step.resources,
        min_workers=min(least, most),
        max_workers=most,
        initial_workers=min(max(initial, least), most),
        max_calls=spec.max_calls_per_worker,
        is_fanout=spec.is_fanout_stage,
        options=options,
    )


def cut_chain(plans: Sequence[WorkerPlan], cutters: Sequence[bool], offers: Sequence[NodeOffer]) -> list[range]:
    """Runs of segments that can work at the same time: all of their least workers fit on the nodes side by side.

    Segments whose actors wait for those of the segments before them would wait for ever, once those wait for room in
    the object store; so a new dataset begins there, when the one before is done.

    Args:
        plans: the workers of each segment.
        cutters: whether blocks are cut anew in front of it, which takes a core.
        offers: the nodes.

    Example:
        >>> one = WorkerPlan(
        ...     name="a", uses_actors=True, resources=_CUTTER, min_workers=1, max_workers=1, initial_workers=1
        ... )
        >>> cut_chain([one, one, one], [False, False, False], [NodeOffer(node_id="n", cpus=2)])
        [range(0, 2), range(2, 3)]
    """
    runs: list[range] = []
    first = 0
    for end in range(1, len(plans) + 1):
        demands = [(plan.resources, plan.min_workers) for plan in plans[first:end]]
        demands += [(_CUTTER, 1) for cut in cutters[first + 1 : end] if cut]
        if end - first > 1 and pack(demands, offers).counts != tuple(count for _, count in demands):
            runs.append(range(first, end - 1))
            first = end - 1
    runs.append(range(first, len(plans)))
    return runs


def _uses_actors(step: Step, spec: RayStageSpec) -> bool:
    if spec.is_actor_stage is not None:
        return spec.is_actor_stage
    keeps = any(_overrides(stage, hook) for stage in step.all_stages for hook in ("setup", "teardown"))
    return keeps or step.resources.gpus > 0


def _overrides(stage: ProcessingStage, hook: str) -> bool:
    method = getattr(stage, hook)
    return getattr(method, "__func__", method) is not getattr(ProcessingStage, hook)


def _combined(step: Step) -> RayStageSpec:
    """One spec for the stages of a step: they share a worker."""
    specs: list[tuple[str, RayStageSpec]] = []
    problems: list[str] = []
    for stage in step.all_stages:
        try:
            specs.append((stage.name, read_ray_stage_spec(stage.name, stage.ray_stage_spec())))
        except ConfigError as error:
            problems += error.problems
    problems += [
        f"{name}: ray_stage_spec.ray_remote_args.{key}: is set by this executor, from the stage's resources, "
        "runtime_env, num_workers() and ray_stage_spec; leave it out."
        for name, spec in specs
        for key in sorted(set(spec.ray_remote_args) & MANAGED_ARGUMENTS)
    ]
    problems += [
        f"{name}: ray_stage_spec.is_raft_actor: its workers form a group, so it must be a CollectiveStage."
        for name, spec in specs
        if spec.is_raft_actor
    ]
    arguments: dict[str, Any] = {}
    for name, spec in specs:
        for key, value in spec.ray_remote_args.items():
            if key in arguments and arguments[key] != value:
                problems.append(
                    f"{name}: ray_stage_spec.ray_remote_args.{key}: another stage of {step.name!r} differs."
                )
            arguments[key] = value
    if problems:
        raise ConfigError(problems)
    if len(specs) == 1:
        return specs[0][1]
    counts: dict[str, int] = {}
    for key, pick in _SHARED_COUNTS.items():
        if asked := [count for _, spec in specs if (count := getattr(spec, key)) is not None]:
            counts[key] = pick(asked)
    actors = [spec.is_actor_stage for _, spec in specs if spec.is_actor_stage is not None]
    flags = {"is_actor_stage": any(actors) if actors else None, "is_fanout_stage": specs[-1][1].is_fanout_stage}
    return read_ray_stage_spec(step.name, {**flags, **counts, "ray_remote_args": arguments})


def _runtime_env(step: Step) -> dict[str, Any]:
    asked = {stage.name: dict(stage.runtime_env) for stage in step.all_stages if stage.runtime_env}
    different = [env for env in asked.values() if env != next(iter(asked.values()))]
    if different:
        raise ConfigError(
            f"{', '.join(asked)}: ask for different runtime_envs, but run in one worker. Give them the same one."
        )
    return next(iter(asked.values()), {})
