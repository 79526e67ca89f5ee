"""The hints that a stage gives to Ray executors: ``ray_stage_spec()`` in, a checked ``RayStageSpec`` out.

Refused, all in one message: keys that are not known, values of a wrong type, and sizes that contradict each other.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from curator.errors import ConfigError
from curator.stages.resources import FrozenMapping


class RayStageSpecKeys(enum.StrEnum):
    """The keys of ``ProcessingStage.ray_stage_spec``."""

    IS_ACTOR_STAGE = "is_actor_stage"
    IS_FANOUT_STAGE = "is_fanout_stage"
    IS_LSH_STAGE = "is_lsh_stage"
    IS_RAFT_ACTOR = "is_raft_actor"
    IS_SHUFFLE_STAGE = "is_shuffle_stage"
    MAX_CALLS_PER_WORKER = "max_calls_per_worker"
    MIN_WORKERS = "min_workers"
    MAX_WORKERS = "max_workers"
    INITIAL_WORKERS = "initial_workers"
    RAY_REMOTE_ARGS = "ray_remote_args"


_FLAGS = [key for key in RayStageSpecKeys if key.startswith("is_")]
_COUNTS = [key for key in RayStageSpecKeys if "worker" in key]


@dataclass(frozen=True, slots=True, kw_only=True)
class RayStageSpec:
    """What a stage asks of a Ray executor.

    Args:
        is_actor_stage: keep its state between calls in actors; ``None`` leaves it to the executor.
        is_fanout_stage: it makes many tasks of one, which are to be spread over workers.
        is_lsh_stage: a shuffle in several turns, a range of bands in each.
        is_raft_actor: its workers form one group with ranks and a communicator.
        is_shuffle_stage: rows of equal key meet in it.
        max_calls_per_worker: calls after which a worker is replaced by a fresh one; ``None`` is never.
        min_workers: workers that are kept however short the backlog is.
        max_workers: workers that there are at most.
        initial_workers: workers to begin with, between the two.
        ray_remote_args: more options for its actors or tasks, as Ray names them.
    """

    is_actor_stage: bool | None = None
    is_fanout_stage: bool = False
    is_lsh_stage: bool = False
    is_raft_actor: bool = False
    is_shuffle_stage: bool = False
    max_calls_per_worker: int | None = None
    min_workers: int | None = None
    max_workers: int | None = None
    initial_workers: int | None = None
    ray_remote_args: Mapping[str, Any] = FrozenMapping()


def read_ray_stage_spec(stage_name: str, spec: Mapping[str, Any]) -> RayStageSpec:
    """Check the hints of a stage.

    Args:
        stage_name: the stage, for the message.
        spec: what its ``ray_stage_spec()`` returned; a value of ``None`` is the same as no such key.

    Raises:
        ConfigError: something is wrong with it; every mistake is in the message.

    Example:
        >>> read_ray_stage_spec("embed", {"is_actor_stage": True, "max_workers": 4}).max_workers
        4
        >>> read_ray_stage_spec("embed", {"max_worker": 4})
        Traceback (most recent call last):
        curator.errors.ConfigError: embed: ray_stage_spec.max_worker: there is no such key. Did you mean ...
    """
    if not isinstance(spec, Mapping):
        raise ConfigError(
            f"{stage_name}: ray_stage_spec() returned {spec!r}: must be a mapping, {{}} if it has no hints."
        )
    known = list(RayStageSpecKeys)
    problems = [_unknown(key) for key in spec if key not in known]
    given = {str(key): value for key, value in spec.items() if key in known and value is not None}
    problems += [
        f"ray_stage_spec.{key}={given[key]!r}: must be true or false."
        for key in _FLAGS
        if not isinstance(given.get(key, False), bool)
    ]
    wrong_counts = [key for key in _COUNTS if not _is_count(given.get(key, 1))]
    problems += [f"ray_stage_spec.{key}={given[key]!r}: must be a whole number of at least 1." for key in wrong_counts]
    counts = {str(key): given[key] for key in _COUNTS if key in given and key not in wrong_counts}
    problems += _contradictions(given, counts)
    arguments = given.get(RayStageSpecKeys.RAY_REMOTE_ARGS, {})
    if not isinstance(arguments, Mapping) or not all(isinstance(name, str) for name in arguments):
        problems.append(f"ray_stage_spec.ray_remote_args={arguments!r}: must be a mapping of option names to values.")
    if problems:
        raise ConfigError([f"{stage_name}: {problem}" for problem in problems])
    return RayStageSpec(**{**given, "ray_remote_args": FrozenMapping(arguments)})


def _unknown(key: object) -> str:
    known = sorted(RayStageSpecKeys)
    close = get_close_matches(str(key).lower(), known, n=1)
    meant = f" Did you mean {str(close[0])!r}?" if close else ""
    return f"ray_stage_spec.{key}: there is no such key.{meant} The keys are: {', '.join(known)}."


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _contradictions(given: Mapping[str, Any], counts: Mapping[str, int]) -> list[str]:
    ordered = [RayStageSpecKeys.MIN_WORKERS, RayStageSpecKeys.INITIAL_WORKERS, RayStageSpecKeys.MAX_WORKERS]
    sizes = [(key, counts[key]) for key in ordered if key in counts]
    problems = [
        f"ray_stage_spec.{low}={fewer}: must not be above ray_stage_spec.{high}={more}."
        for position, (low, fewer) in enumerate(sizes)
        for high, more in sizes[position + 1 :]
        if fewer > more
    ]
    set_flags = [key for key in _FLAGS if given.get(key) is True]
    shuffles = [key for key in (RayStageSpecKeys.IS_LSH_STAGE, RayStageSpecKeys.IS_SHUFFLE_STAGE) if key in set_flags]
    if RayStageSpecKeys.IS_RAFT_ACTOR in set_flags and shuffles:
        problems.append(f"ray_stage_spec.is_raft_actor: cannot be set together with {' and '.join(shuffles)}.")
    grouped = [key for key in set_flags if key in (*shuffles, RayStageSpecKeys.IS_RAFT_ACTOR)]
    if given.get(RayStageSpecKeys.IS_ACTOR_STAGE) is False and grouped:
        problems.append(f"ray_stage_spec.is_actor_stage=False: {' and '.join(grouped)} needs actors; leave it out.")
    return problems
