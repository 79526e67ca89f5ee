"""Placement groups, the Ray calls: specs in, reserved groups out, or nothing at all; every wait has a limit.

Groups are detached and named, in one namespace, so that a later driver finds them and can remove them. Refused: a name
that a group has already, and what no node could ever hold.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import ray
from loguru import logger
from ray.exceptions import RayError
from ray.util.placement_group import (
    PlacementGroup,
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)

from curator.cluster.capacity import offers_from_nodes
from curator.cluster.session import NAMESPACE
from curator.cluster.topology import alive_nodes
from curator.errors import ConfigError, ExecutorError
from curator.placement.bundles import ReplicaBundleSpec
from curator.placement.gaps import explain_gap, resources_of_bundle, words_of_bundle
from curator.stopping import check_stop

_PAUSES_S = (0.005, 0.25)
"""The first and the longest pause between two looks at a group."""

_REMOVAL_S = 10.0

Value = TypeVar("Value")


def build_pg(
    bundles: Sequence[Mapping[str, float]],
    strategy: str,
    name: str,
    *,
    bundle_label_selector: Sequence[Mapping[str, str]] | None = None,
    timeout_s: float = 180.0,
    namespace: str = NAMESPACE,
) -> PlacementGroup:
    """Reserve a detached, named placement group and wait until all of it is there; on failure nothing is left of it.

    Args:
        bundles: what each bundle reserves, by Ray's names; memory in bytes.
        strategy: ``PACK``, ``SPREAD``, ``STRICT_PACK`` or ``STRICT_SPREAD``.
        name: the group's name, which no other group of the namespace has.
        bundle_label_selector: what labels of the node of each bundle must be; ``None`` asks for nothing.
        timeout_s: how long to wait for nodes that are busy.
        namespace: the namespace that the session must be in.

    Raises:
        ConfigError: the name is taken, or Ray does not know such bundles.
        ExecutorError: no node could ever hold it, at once and with what is missing; it was not free in time; no
            session is up, or one in another namespace.
    """
    pg, reason = try_build_pg(
        bundles, strategy, name, bundle_label_selector=bundle_label_selector, timeout_s=timeout_s, namespace=namespace
    )
    if pg is None:
        raise ExecutorError(f"{reason} Wait for what uses them, ask for less, or add nodes.")
    return pg


def try_build_pg(
    bundles: Sequence[Mapping[str, float]],
    strategy: str,
    name: str,
    *,
    bundle_label_selector: Sequence[Mapping[str, str]] | None = None,
    timeout_s: float,
    namespace: str = NAMESPACE,
) -> tuple[PlacementGroup | None, str]:
    """``build_pg`` that gives back ``None`` and why, in place of an error, if the nodes stayed busy."""
    check_namespace(namespace)
    if find_pg(name) is not None:
        raise ConfigError(
            f"placement group {name!r}: a group of that name is there already. Give the replicas another name, or "
            "remove what an earlier run left with 'curator replicas down'."
        )
    selectors = [dict(selector) for selector in bundle_label_selector] if bundle_label_selector is not None else None
    try:
        for bundle, selector in zip(bundles, selectors or [{}] * len(bundles), strict=True):
            resources_of_bundle(bundle, selector)
        pg = placement_group(
            [dict(bundle) for bundle in bundles],
            strategy,
            name,
            lifetime="detached",
            bundle_label_selector=selectors,
        )
    except ValueError as error:
        raise ConfigError(f"placement group {name!r}: {error}") from error
    except RayError as error:
        raise ExecutorError(f"placement group {name!r}: it cannot be made: {error}") from error
    is_whole = False
    try:
        is_whole = _wait_until_whole(pg, name, bundles, strategy, selectors, timeout_s)
    finally:
        if not is_whole:
            remove_pg(pg)
    if is_whole:
        return pg, ""
    wanted = "; ".join(dict.fromkeys(map(words_of_bundle, bundles)))
    return None, (
        f"placement group {name!r}: {len(bundles)} x ({wanted}), {strategy}, was not free within {timeout_s:g} s: "
        "nodes that could hold it are busy."
    )


def build_replica_pg(
    spec: ReplicaBundleSpec, name: str, *, timeout_s: float = 180.0, namespace: str = NAMESPACE
) -> PlacementGroup:
    """``build_pg`` for the bundles of one replica."""
    return build_pg(
        spec.bundles,
        spec.strategy,
        name,
        bundle_label_selector=spec.bundle_label_selector,
        timeout_s=timeout_s,
        namespace=namespace,
    )


def find_pg(name: str) -> PlacementGroup | None:
    """The group of that name, in the namespace of the session, that has not been removed."""
    try:
        pg = get_placement_group(name)
    except ValueError:
        return None
    return None if _state(pg)[0] == "REMOVED" else pg


def lost_bundles(pg: PlacementGroup) -> list[int]:
    """The bundles that have no node, or one that is not alive; all of them if the group was removed."""
    is_there = _state(pg)[0] != "REMOVED"
    alive = {node["NodeID"] for node in alive_nodes()} if is_there else set()
    # Of a group that was removed long ago, Ray knows nothing any more.
    return [index for index, node_id in enumerate(bundle_node_ids(pg) or [""]) if node_id not in alive]


def bundle_node_ids(pg: PlacementGroup) -> list[str]:
    """The id of the node of each bundle, empty for one that has none."""
    nodes: Mapping[int, str] = placement_group_table(pg).get("bundles_to_node_id", {})
    return [node_id for _, node_id in sorted(nodes.items())]


def remove_pg(pg: PlacementGroup, *, timeout_s: float = _REMOVAL_S) -> bool:
    """Remove a group, which ends what runs in it; whether that was seen to be done. Never raises for a lost cluster."""
    try:
        remove_placement_group(pg)
        return poll(lambda: _state(pg)[0] == "REMOVED" or None, timeout_s, can_stop=False) is not None
    except (RayError, RuntimeError, ConnectionError) as error:
        logger.warning("a placement group cannot be removed: {}", error)
        return False


def remove_named_pgs_with_prefix(prefix: str, *, namespace: str = NAMESPACE) -> int:
    """Remove the groups of the namespace whose names begin so, and with them what runs inside; others stay.

    Args:
        prefix: at least one character.
        namespace: the namespace that the session must be in.

    Returns:
        How many were removed; those that had been before do not count.

    Raises:
        ConfigError: the prefix is empty.
        ExecutorError: no session is up, or one in another namespace.
    """
    if not prefix:
        raise ConfigError("prefix='': would remove the placement groups of everybody. Name the run or the replicas.")
    check_namespace(namespace)
    names = {
        entry["name"]
        for entry in placement_group_table().values()
        if entry["state"] != "REMOVED" and entry["name"].startswith(prefix)
    }
    # The table is of all namespaces; a name leads to the group of this one.
    found = [pg for pg in map(find_pg, sorted(names)) if pg is not None]
    return sum(remove_pg(pg) for pg in found)


def check_namespace(namespace: str = NAMESPACE) -> None:
    """Refuse a session in which groups would get names that nobody finds again.

    Raises:
        ExecutorError: no session is up, or one in another namespace.
    """
    if not ray.is_initialized():
        raise ExecutorError("no Ray session is up. Start one with curator.cluster.ray_session() or ray.init().")
    found = ray.get_runtime_context().namespace
    if found != namespace:
        raise ExecutorError(
            f"the Ray session is in the namespace {found!r}; placement groups are named in {namespace!r}. Call "
            f"ray.init(namespace={namespace!r})."
        )


def _wait_until_whole(
    pg: PlacementGroup,
    name: str,
    bundles: Sequence[Mapping[str, float]],
    strategy: str,
    selectors: Sequence[Mapping[str, str]] | None,
    timeout_s: float,
) -> bool:
    def look() -> bool | None:
        state, scheduling = _state(pg)
        if state == "CREATED":
            return True
        if state == "REMOVED":
            raise ExecutorError(f"placement group {name!r}: it was removed while it waited for its nodes.")
        # Ray calls some groups busy that no nodes could ever hold, such as two bundles apart in a zone of one node; and
        # infeasible one whose node has not told yet that it is there.
        if scheduling in ("INFEASIBLE", "NO_RESOURCES"):
            offers = offers_from_nodes(alive_nodes())
            if gap := explain_gap(f"placement group {name!r}", bundles, strategy, selectors, offers):
                raise ExecutorError(f"{gap} Ask for less, or add nodes.")
        return None

    return poll(look, timeout_s) is not None


def _state(pg: PlacementGroup) -> tuple[str, str]:
    """The state of a group and of its scheduling; a group that nobody knows any more is removed."""
    entry = placement_group_table(pg)
    return (entry["state"], entry["stats"]["scheduling_state"]) if entry else ("REMOVED", "REMOVED")


def poll(look: Callable[[], Value | None], timeout_s: float, *, can_stop: bool = True) -> Value | None:
    """Look again and again until there is something, or the time is over.

    Args:
        look: gives ``None`` while there is nothing.
        timeout_s: the time.
        can_stop: whether a signal that stops the run ends this, too; other threads than the main one go on.
    """
    deadline_s = time.monotonic() + timeout_s
    pause_s, longest_s = _PAUSES_S
    while (seen := look()) is None and (left_s := deadline_s - time.monotonic()) > 0:
        if can_stop and threading.current_thread() is threading.main_thread():
            check_stop()
        time.sleep(min(pause_s, left_s))
        pause_s = min(2 * pause_s, longest_s)
    return seen
