"""What is asked on the node of a bundle: a group and an index in, an address, a free port or any answer out.

The question is a task in the bundle, so that it is answered where the servers will be. Refused: a bundle whose node is
gone, an address that the whole world can reach; every wait has a limit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.placement_group import PlacementGroup
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from curator.errors import ConfigError, CuratorError, ExecutorError
from curator.placement.addresses import FIRST_PORT, LAST_PORT, check_address, check_ports, find_free_port
from curator.placement.groups import bundle_node_ids, lost_bundles, poll

_ANSWER_S = 10.0

Value = TypeVar("Value")


def get_bundle_node_ip(pg: PlacementGroup, index: int, *, timeout_s: float = 60.0) -> str:
    """The address of the node of a bundle, for servers inside to listen on and for others to reach them.

    Args:
        pg: a group that is whole.
        index: the bundle, from 0 on.
        timeout_s: how long to wait for an answer from the node.

    Raises:
        ConfigError: there is no such bundle.
        ExecutorError: the address can be reached from everywhere; the bundle's node is lost; no answer in time.
    """
    return run_in_bundle(pg, index, _node_address, timeout_s=timeout_s)


def get_free_port_in_bundle(
    pg: PlacementGroup,
    index: int,
    start_port: int = FIRST_PORT,
    get_next: bool = True,
    *,
    end_port: int = LAST_PORT,
    timeout_s: float = 60.0,
) -> int:
    """A port that nobody listens on, on the node of a bundle; tried there, by binding it.

    It is not kept: whoever starts a server there tries another port if somebody was quicker, as replicas do.

    Args:
        pg: a group that is whole.
        index: the bundle, from 0 on.
        start_port: the first port to try, at least 1024.
        get_next: whether to go on to the next ports if it is in use.
        end_port: the last port to try, at most 65535.
        timeout_s: how long to wait for an answer from the node.

    Raises:
        ConfigError: there is no such bundle, or no such range of ports.
        ExecutorError: all ports are in use; the address can be reached from everywhere; the bundle's node is lost; no
            answer in time.
    """
    last = end_port if get_next else start_port
    check_ports(start_port, last)
    return run_in_bundle(pg, index, _free_port, start_port, last, timeout_s=timeout_s)


def run_in_bundle(
    pg: PlacementGroup,
    index: int,
    function: Callable[..., Value],
    *arguments: Any,  # noqa: ANN401
    timeout_s: float,
) -> Value:
    """Call a function on the node of a bundle, beside what runs in it.

    Raises:
        ConfigError: there is no such bundle.
        ExecutorError: the bundle is lost, at once; no answer in time.
        CuratorError: what the function raised, if it is one; any other exception becomes an ``ExecutorError``.
    """
    count = len(bundle_node_ids(pg))
    if isinstance(index, bool) or not 0 <= index < count:
        raise ConfigError(f"bundle {index!r}: the placement group has {count} bundles, counted from 0 on.")
    where = PlacementGroupSchedulingStrategy(pg, placement_group_bundle_index=index)
    task = ray.remote(function).options(num_cpus=0, max_retries=0, scheduling_strategy=where)

    def check_bundle() -> None:
        # Ray lets a task for a bundle that is gone wait for ever.
        if index in lost_bundles(pg):
            raise ExecutorError(f"bundle {index} of a placement group is lost: its node is gone, or it was removed.")

    def answer() -> bool | None:
        check_bundle()
        return bool(ray.wait([reference], timeout=0)[0]) or None

    check_bundle()
    reference = task.remote(*arguments)
    try:
        if poll(answer, timeout_s) is None:
            raise ExecutorError(f"bundle {index} of a placement group: no answer from its node within {timeout_s:g} s.")
    except BaseException:
        ray.cancel(reference, force=True)
        raise
    try:
        value: Value = ray.get(reference, timeout=_ANSWER_S)
    except RayTaskError as error:
        if isinstance(error.cause, CuratorError):
            raise error.cause from None
        raise ExecutorError(f"bundle {index} of a placement group: {error.cause!r} on its node.") from error
    except RayError as error:
        raise ExecutorError(f"bundle {index} of a placement group: its node failed: {error}") from error
    return value


def _node_address() -> str:
    return check_address(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]


def _free_port(first: int, last: int) -> int:
    return find_free_port(_node_address(), first, last)
