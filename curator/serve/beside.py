"""Replicas beside a run: there and healthy when it begins, gone when it ends, however it ends.

Settings go in; the files of ``curator.serve.endpoints`` come out in the run's directory. A set that ``curator replicas
up`` keeps under the same name, with the same settings, is used instead and stays. What a driver left that died is
removed first. Refused: a set of that name with other settings.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
from loguru import logger
from ray.exceptions import RayError
from ray.util.placement_group import placement_group_table
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from curator.cluster.capacity import offers_from_nodes
from curator.cluster.session import NAMESPACE, ray_session
from curator.cluster.topology import alive_nodes
from curator.errors import ConfigError, ExecutorError
from curator.placement import remove_named_pgs_with_prefix
from curator.serve.endpoints import FAILED, UP
from curator.serve.keeper import ReplicaKeeper, ReplicaReport, group_prefix
from curator.serve.processes import PREFIX
from curator.serve.requests import request_of
from curator.serve.settings import ReplicaSettings
from curator.stopping import check_stop

KEEPER = "curator-keeper."
_CALL_S = 60.0
_LOOK_S = 0.1
_GONE_S = 5.0
_ENDING_S = 2.0
_RUN = "run-"


@contextlib.contextmanager
def replicas_beside(
    sets: Sequence[ReplicaSettings], directory: Path, *, ignore_head_node: bool = False, worker_cpus: float = 0.0
) -> Iterator[None]:
    """Have replicas up, in the Ray session of this process or in a private one.

    Args:
        sets: what is to be served.
        directory: for addresses, keys and logs; nodes that run stages or replicas must see it.
        ignore_head_node: leave the head node alone.
        worker_cpus: cores that a worker of the run takes.

    Raises:
        ConfigError: two sets have one name, or a set of that name is up with other settings.
        ExecutorError: they do not fit, or leave no room to a worker on any cluster of this size; a replica was given
            up. Nothing is left of them.
    """
    if not sets:
        yield
        return
    check_names(sets)
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    with ray_session():
        reap_groups()
        own = [each for each in sets if not _use_standing(each, directory)]
        _check_room(own, worker_cpus)
        owner = f"{_RUN}{ray.get_runtime_context().get_job_id()}"
        keeper = None
        try:
            if own:
                keeper = start_keeper(own, owner, directory, ignore_head_node=ignore_head_node)
                for report in wait_until_up(keeper):
                    logger.info("{} answers at {}", report.name, report.url)
            yield
        finally:
            if keeper is not None:
                end_keeper(keeper, owner, max(each.stop_timeout_s for each in own))


def _check_room(sets: Sequence[ReplicaSettings], worker_cpus: float) -> None:
    """Refuse replicas beside which a worker would wait for the end of the run, which is theirs."""
    cores = sum(offer.cpus for offer in offers_from_nodes(alive_nodes()))
    taken = sum(each.replicas * request_of(each).bundle_resources(1).cpus for each in sets)
    if taken <= cores < taken + worker_cpus:
        said = " or ".join(
            f"replicas.{each.name}.replicas ({each.replicas}) or its resources.cpus ({each.bundle().cpus:g})"
            for each in sets
        )
        raise ExecutorError(
            f"replicas: {taken:g} of {cores:g} CPUs are theirs for the whole run, and no worker of {worker_cpus:g} CPU "
            f"fits beside them: it would wait in vain. Lower {said}, or what a worker takes, or add nodes."
        )


def check_names(sets: Sequence[ReplicaSettings]) -> None:
    """Refuse two sets of one name.

    Raises:
        ConfigError: there are; each such name is in the message.
    """
    names = [each.name for each in sets]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError([f"replicas.{name}: two sets have this name. Give one of them another." for name in twice])


def start_keeper(
    sets: Sequence[ReplicaSettings],
    owner: str,
    directory: Path,
    *,
    ignore_head_node: bool = False,
    is_standing: bool = False,
) -> Any:  # noqa: ANN401
    """Make the keeper of some sets, which begins at once.

    Args:
        sets: what it keeps.
        owner: who for; the name of the keeper and of its placement groups follow from it.
        directory: for its files.
        ignore_head_node: leave the head node alone.
        is_standing: whether it stays when this process ends.
    """
    actor: Any = ray.remote(ReplicaKeeper)
    here = ray.get_runtime_context().get_node_id()
    return actor.options(
        name=f"{KEEPER}{owner}",
        namespace=NAMESPACE,
        lifetime="detached" if is_standing else None,
        num_cpus=0,
        max_restarts=-1 if is_standing else 3,
        max_concurrency=8,
        # It writes files that this process looks at.
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=is_standing),
    ).remote(list(sets), owner, str(directory), ignore_head_node)


def wait_until_up(keeper: Any) -> list[ReplicaReport]:  # noqa: ANN401
    """Wait for all replicas of a keeper; they have limits of their own.

    Raises:
        ExecutorError: one was given up, with the reason.
    """
    while True:
        check_stop()
        try:
            reports: list[ReplicaReport] = ray.get(keeper.report.remote(), timeout=_CALL_S)
        except RayError as error:
            raise ExecutorError(f"replicas: their keeper was lost: {error}") from error
        if failed := {report.set_name: report for report in reversed(reports) if report.state == FAILED}:
            raise ExecutorError(
                "\n".join(f"replicas.{name}: {report.name}: {report.reason}" for name, report in failed.items())
            )
        if all(report.state == UP for report in reports):
            return reports
        time.sleep(_LOOK_S)


def end_keeper(keeper: Any, owner: str, stop_timeout_s: float) -> None:  # noqa: ANN401
    """End a keeper with all it keeps; never raises, for the run may be ending because the cluster is lost."""
    try:
        for report in ray.get(keeper.report.remote(), timeout=_CALL_S):
            if report.ends:
                times = "once" if report.ends == 1 else f"{report.ends} times, the last time"
                logger.warning("{} ended {}: {}", report.name, times, report.reason)
        ray.get(keeper.stop.remote(), timeout=2 * stop_timeout_s + _CALL_S)
    except RayError as error:
        logger.warning("replicas of {}: their keeper does not end them: {}", owner, error)
    try:
        ray.kill(keeper)
        # One that is just reserving something could do so behind our back.
        deadline = time.monotonic() + _GONE_S
        while find_keeper(owner) is not None and time.monotonic() < deadline:
            time.sleep(_LOOK_S)
        remove_named_pgs_with_prefix(group_prefix(owner))
    except (RayError, ExecutorError, ValueError) as error:
        logger.warning("replicas of {}: their placement groups may be left: {}", owner, error)


def reap_groups() -> int:
    """Remove the placement groups of keepers that are gone, which ends what runs in them.

    The keeper of a run still has its name for a moment after the death of its driver: while there is such a one that
    has groups, it is looked at again, for two seconds at most.

    Returns:
        How many there were.
    """
    removed, deadline = 0, time.monotonic() + _ENDING_S
    while True:
        # Those of groups first: a keeper that begins meanwhile is among the living by then.
        owners, living = _owners_of_groups(), living_owners()
        removed += sum(remove_named_pgs_with_prefix(group_prefix(owner)) for owner in sorted(owners - living))
        if not any(owner.startswith(_RUN) for owner in owners & living) or time.monotonic() > deadline:
            return removed
        time.sleep(_LOOK_S)


def _owners_of_groups() -> set[str]:
    return {
        entry["name"].removeprefix(PREFIX).partition(".")[0]
        for entry in placement_group_table().values()
        if entry["state"] != "REMOVED" and entry["name"].startswith(PREFIX)
    }


def living_owners() -> set[str]:
    """Those that a keeper lives for."""
    named = ray.util.list_named_actors(all_namespaces=True)
    return {
        each["name"].removeprefix(KEEPER)
        for each in named
        if each["namespace"] == NAMESPACE and each["name"].startswith(KEEPER)
    }


def find_keeper(owner: str) -> Any | None:  # noqa: ANN401
    """The keeper of an owner, ``None`` if there is none."""
    try:
        return ray.get_actor(f"{KEEPER}{owner}", namespace=NAMESPACE)
    except ValueError:
        return None


def _use_standing(settings: ReplicaSettings, directory: Path) -> bool:
    """Let the files of a set that stands appear in the directory of this run, if there is one."""
    keeper = find_keeper(f"up-{settings.name}")
    if keeper is None:
        return False
    where, digests = ray.get(keeper.about.remote(), timeout=_CALL_S)
    if digests.get(settings.name) != settings.digest:
        raise ConfigError(
            f"replicas.{settings.name}: a set of that name is up with other settings. End it with 'curator replicas "
            f"down {settings.name}', or give this one another name."
        )
    for suffix in ("json", "key"):
        link = directory / f"{settings.name}.{suffix}"
        link.unlink(missing_ok=True)
        link.symlink_to(Path(where) / link.name)
    logger.info("replicas.{}: the set that is up already is used", settings.name)
    return True
