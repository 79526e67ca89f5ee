"""Groups of several replicas: all of them or none, without two runs waiting for each other; rebuilt when a node dies.

Requests or specs in, reserved groups out. Whoever cannot have all of its groups soon gives back what it has, pauses,
plans again on what is free then, and tries again, until its time is over.
"""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from loguru import logger
from ray.util.placement_group import PlacementGroup

from curator.cluster.capacity import offers_from_nodes
from curator.cluster.options import NODE_ID_LABEL
from curator.cluster.session import NAMESPACE
from curator.cluster.topology import alive_nodes, available_offers
from curator.errors import ExecutorError
from curator.placement.bundles import ReplicaBundleSpec
from curator.placement.groups import check_namespace, remove_pg, try_build_pg
from curator.placement.packing import plan_replicas
from curator.placement.replicas import ReplicaPlacement, ReplicaRequest
from curator.stopping import check_stop

_PATIENCE_S = 1.0
"""How long what is held already waits for the next group."""

_PAUSES_S = (0.2, 3.0)
"""The first and the longest pause between two attempts, a half more or less."""

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class ReplicaGroup:
    """A replica whose placement group is reserved.

    Args:
        name: the name of the group.
        placement: what it reserves, and where.
        pg: the group.
    """

    name: str
    placement: ReplicaPlacement
    pg: PlacementGroup


def acquire_groups(
    specs: Mapping[str, ReplicaBundleSpec], *, timeout_s: float = 180.0, namespace: str = NAMESPACE
) -> dict[str, PlacementGroup]:
    """Reserve several groups: all of them, or none.

    They are asked for in one order, that of their nodes and names, whoever asks. If one of them is not there soon, the
    others are given back, and all are tried again after a pause.

    Args:
        specs: the bundles of each group, by its name.
        timeout_s: how long to try.
        namespace: the namespace that the session must be in.

    Returns:
        The groups by name, in the order of ``specs``.

    Raises:
        ConfigError: a name is taken.
        ExecutorError: see ``build_pg``; nothing is left reserved.
    """
    return _retry(lambda: _reserve(specs, namespace), sorted(specs), timeout_s)


def acquire_replicas(
    requests: Sequence[ReplicaRequest],
    *,
    prefix: str,
    timeout_s: float = 180.0,
    ignore_head_node: bool | None = None,
    namespace: str = NAMESPACE,
) -> list[ReplicaGroup]:
    """Plan all replicas on what is free now, and reserve the group of each: all of them, or none.

    Args:
        requests: what is asked for; names differ.
        prefix: what the names of the groups begin with; ``<prefix><replica>-<index>`` is a name.
        timeout_s: how long to try while the cluster is busy.
        ignore_head_node: leave the head node out; ``None`` does what ``CURATOR_IGNORE_RAY_HEAD_NODE`` says.
        namespace: the namespace that the session must be in.

    Returns:
        A group for each replica, in the order of the requests and of their indices.

    Raises:
        ConfigError: two requests have one name, or a name is taken.
        ExecutorError: the replicas do not fit on the nodes even if these are idle, at once and with the sizes that
            would; they were not free in time. Nothing is left reserved.
    """
    check_namespace(namespace)

    def attempt() -> list[ReplicaGroup] | str:
        return _plan_and_reserve(requests, lambda placement: f"{prefix}{placement.name}", ignore_head_node, namespace)

    return _retry(attempt, [prefix], timeout_s)


def rebuild(
    group: ReplicaGroup,
    *,
    timeout_s: float = 180.0,
    ignore_head_node: bool | None = None,
    namespace: str = NAMESPACE,
) -> ReplicaGroup:
    """Remove a group, and what runs in it, and reserve it anew, under its name, where there is room now.

    A group that lost the node of one bundle still holds the others: Ray would wait for a node to take its place, and
    what ran in the others is of no use alone.

    Args:
        group: a group that lost a node, or any other one.
        timeout_s: how long to try while the cluster is busy.
        ignore_head_node: leave the head node out; ``None`` does what ``CURATOR_IGNORE_RAY_HEAD_NODE`` says.
        namespace: the namespace that the session must be in.

    Raises:
        ExecutorError: as ``acquire_replicas``; the old group is gone all the same.
    """
    check_namespace(namespace)
    remove_pg(group.pg)
    request, index = group.placement.request, group.placement.index
    alone = replace(request, count=1)

    def attempt() -> list[ReplicaGroup] | str:
        return _plan_and_reserve([alone], lambda _: group.name, ignore_head_node, namespace)

    (rebuilt,) = _retry(attempt, [group.name], timeout_s)
    return replace(rebuilt, placement=replace(rebuilt.placement, request=request, index=index))


def _plan_and_reserve(
    requests: Sequence[ReplicaRequest],
    name_of: Callable[[ReplicaPlacement], str],
    ignore_head_node: bool | None,
    namespace: str,
) -> list[ReplicaGroup] | str:
    """All groups, or why they are not to be had now."""
    plan = plan_replicas(requests, available_offers(), ignore_head_node=ignore_head_node)
    if plan.problems:
        plan_replicas(requests, offers_from_nodes(alive_nodes()), ignore_head_node=ignore_head_node).check()
        return "\n".join(["the replicas would fit, but the nodes are busy.", *plan.problems])
    specs = {name_of(placement): placement.spec for placement in plan.placements}
    try:
        held = _reserve(specs, namespace)
    except ExecutorError as error:
        # A node of the plan may be gone by now; the next plan is made without it, and says so if it was needed.
        return str(error)
    if isinstance(held, str):
        return held
    return [
        ReplicaGroup(name, placement, pg) for (name, pg), placement in zip(held.items(), plan.placements, strict=True)
    ]


def _reserve(specs: Mapping[str, ReplicaBundleSpec], namespace: str) -> dict[str, PlacementGroup] | str:
    """All groups, in the order of ``specs``, or why one is not to be had soon; then none is held."""
    held: dict[str, PlacementGroup] = {}
    reason = ""
    try:
        for name in sorted(specs, key=lambda name: (_nodes_of(specs[name]), name)):
            spec = specs[name]
            pg, reason = try_build_pg(
                spec.bundles,
                spec.strategy,
                name,
                bundle_label_selector=spec.bundle_label_selector,
                timeout_s=_PATIENCE_S,
                namespace=namespace,
            )
            if pg is None:
                break
            held[name] = pg
    finally:
        if len(held) < len(specs):
            _release(list(held.values()))
    return reason if len(held) < len(specs) else {name: held[name] for name in specs}


def _release(groups: Sequence[PlacementGroup]) -> None:
    if groups:
        try:
            remove_pg(groups[-1])
        finally:
            _release(groups[:-1])


def _nodes_of(spec: ReplicaBundleSpec) -> list[str]:
    return sorted(selector.get(NODE_ID_LABEL, "") for selector in spec.bundle_label_selector or ())


def _retry(attempt: Callable[[], Value | str], who: Sequence[str], timeout_s: float) -> Value:
    """Try until there is more than a reason, with pauses that two runs do not share."""
    deadline_s = time.monotonic() + timeout_s
    pause_s, longest_s = _PAUSES_S
    number = 0
    while isinstance(seen := attempt(), str):
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            raise ExecutorError(
                f"{seen}\nTried {number + 1} times in {timeout_s:g} s; nothing is reserved. Wait for what uses the "
                "nodes, ask for fewer or smaller replicas, or add nodes."
            )
        if threading.current_thread() is threading.main_thread():
            check_stop()
        number += 1
        share = zlib.crc32(f"{'/'.join(who)} {number}".encode()) / 2**32
        logger.debug("not reserved yet: {}", seen)
        time.sleep(min(left_s, pause_s * (0.5 + share)))
        pause_s = min(2 * pause_s, longest_s)
    return seen
