"""Sets of replicas that stand for many runs: put up, listed, taken down; and what dead drivers left is reaped.

All of it happens in the Ray session of this process. Nothing of a living run is touched, unless its set is named.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from curator.cluster.topology import alive_nodes
from curator.errors import ConfigError
from curator.serve.beside import (
    check_names,
    end_keeper,
    find_keeper,
    living_owners,
    reap_groups,
    start_keeper,
    wait_until_up,
)
from curator.serve.keeper import ReplicaReport
from curator.serve.processes import kill_orphans
from curator.serve.settings import ReplicaSettings

_STANDING = "up-"
_CALL_S = 60.0


@dataclass(frozen=True, slots=True)
class Reaped:
    """What was found without an owner, and removed.

    Args:
        groups: placement groups.
        processes: processes of model servers.
    """

    groups: int
    processes: int


def put_up(sets: Sequence[ReplicaSettings], directory: Path, *, ignore_head_node: bool = False) -> list[ReplicaReport]:
    """Start sets that stay when this process ends, the largest first; all of them or none.

    Args:
        sets: what is to stand.
        directory: for addresses, keys and logs, a folder below it for each set.
        ignore_head_node: leave the head node alone.

    Raises:
        ConfigError: two sets have one name, or a set of that name stands already.
        ExecutorError: they do not fit, or a replica was given up; those that were put up here are gone again.
    """
    check_names(sets)
    reap_groups()
    problems = [
        f"replicas.{each.name}: a set of that name is up already. 'curator replicas down {each.name}' ends it."
        for each in sets
        if find_keeper(_STANDING + each.name) is not None
    ]
    if problems:
        raise ConfigError(problems)
    reports: list[ReplicaReport] = []
    begun: list[tuple[Any, ReplicaSettings]] = []
    try:
        for each in sorted(sets, key=lambda settings: -settings.tp_size * settings.pp_size):
            place = directory / each.name
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            keeper = start_keeper(
                [each], _STANDING + each.name, place, ignore_head_node=ignore_head_node, is_standing=True
            )
            begun.append((keeper, each))
            reports += wait_until_up(keeper)
    except BaseException:
        for keeper, each in begun:
            end_keeper(keeper, _STANDING + each.name, each.stop_timeout_s)
        raise
    return reports


def list_replicas() -> list[tuple[str, ReplicaReport]]:
    """All replicas of the cluster, with their owners: ``up`` for those that stand, or the run."""
    found = []
    for owner in sorted(living_owners()):
        keeper = find_keeper(owner)
        if keeper is None:
            continue
        try:
            reports: list[ReplicaReport] = ray.get(keeper.report.remote(), timeout=_CALL_S)
        except RayError:
            continue  # it has ended meanwhile, or is starting again on another node
        found += [("up" if owner.startswith(_STANDING) else owner, report) for report in reports]
    return found


def take_down(names: Sequence[str] = ()) -> tuple[list[str], Reaped]:
    """End sets that stand, and remove what drivers left that died.

    Args:
        names: sets; none means all.

    Returns:
        The sets that were ended, and what was reaped.

    Raises:
        ConfigError: no set of such a name stands; nothing is ended then.
    """
    standing = sorted(owner.removeprefix(_STANDING) for owner in living_owners() if owner.startswith(_STANDING))
    if unknown := sorted(set(names) - set(standing)):
        there = f"These are up: {', '.join(standing)}." if standing else "None is up."
        raise ConfigError([f"replicas.{name}: no set of that name is up. {there}" for name in unknown])
    ended = [name for name in standing if not names or name in names]
    for name in ended:
        keeper = find_keeper(_STANDING + name)
        if keeper is not None:
            end_keeper(keeper, _STANDING + name, _CALL_S)
    return ended, reap()


def reap() -> Reaped:
    """Remove placement groups and processes whose owners are gone, on all nodes."""
    groups = reap_groups()
    task: Any = ray.remote(kill_orphans)
    sweeps = [
        task.options(
            num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote()
        for node in alive_nodes()
    ]
    done, _ = ray.wait(sweeps, num_returns=len(sweeps), timeout=_CALL_S)
    killed = 0
    for sweep in done:
        try:
            killed += len(ray.get(sweep, timeout=_CALL_S))
        except RayError:
            continue  # the node has gone, and its processes with it
    return Reaped(groups, killed)
