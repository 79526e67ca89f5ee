"""The nodes of the session that is up: which is the head, what is free on them, where the current worker is.

Everything is asked of Ray when it is wanted; only the head's id is kept, and for one connection only.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from loguru import logger
from ray._private.state import available_resources_per_node

from curator.cluster.capacity import HEAD_RESOURCE, NodeOffer, offers_from_nodes
from curator.cluster.session import ray_session
from curator.errors import ExecutorError
from curator.stages.base import NodeInfo, WorkerMetadata

_HEAD_OF_CONNECTION: dict[tuple[str, str, str], str] = {}
"""The head's id of the connection that asked last."""


@dataclass(frozen=True, slots=True)
class WorkerAllocation:
    """What Ray gave to a worker.

    Args:
        cpus: CPU cores.
        gpus: GPUs, a fraction of one or whole ones.
        gpu_ids: the GPUs that it may use, sorted.
        custom: amounts of other resources, by name; memory in bytes.
    """

    cpus: float
    gpus: float
    gpu_ids: tuple[str, ...]
    custom: Mapping[str, float]


def alive_nodes() -> list[dict[str, Any]]:
    """The nodes that are alive, as ``ray.nodes()`` lists them, in the order of their ids.

    Raises:
        ExecutorError: no Ray session is up.
    """
    _check_connected()
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return sorted((node for node in nodes if node["Alive"]), key=lambda node: str(node["NodeID"]))


def get_head_node_id() -> str | None:
    """The id of the head node, ``None`` if there is none that is alive; asked of Ray once for each connection.

    Raises:
        ExecutorError: no Ray session is up.
    """
    _check_connected()
    context = ray.get_runtime_context()
    connection = (context.gcs_address, context.get_session_name(), context.get_job_id())
    if connection not in _HEAD_OF_CONNECTION:
        heads = [str(node["NodeID"]) for node in alive_nodes() if HEAD_RESOURCE in node["Resources"]]
        if not heads:
            return None
        _HEAD_OF_CONNECTION.clear()
        _HEAD_OF_CONNECTION[connection] = heads[0]
    return _HEAD_OF_CONNECTION[connection]


def is_head_node(node: Mapping[str, Any]) -> bool:
    """Whether a node, as ``ray.nodes()`` lists it, is the head; also of one that is dead and offers nothing."""
    if HEAD_RESOURCE in node.get("Resources", {}):
        return True
    return ray.is_initialized() and node["NodeID"] == get_head_node_id()


def available_offers(*, ignore_head_node: bool = False) -> list[NodeOffer]:
    """What is free now on each alive node.

    Raises:
        ExecutorError: no Ray session is up.
    """
    nodes = alive_nodes()
    if ignore_head_node and not any(is_head_node(node) for node in nodes):
        logger.warning("ignore_head_node: no head node is found among {} nodes; all of them are used", len(nodes))
    available = available_resources_per_node()  # type: ignore[no-untyped-call]
    return offers_from_nodes(nodes, available=available, ignore_head_node=ignore_head_node)


def get_gpu_topology(
    head_node_id: str | None = None, nodes: Sequence[Mapping[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """The alive nodes that have a GPU, ``[{"node_id", "num_gpus", "is_head"}, ...]``; what is in use counts, too.

    Args:
        head_node_id: the node to take for the head; ``None`` is the one that Ray marks, or, if it marks none, the one
            that this process is on.
        nodes: nodes as ``ray.nodes()`` lists them; ``None`` asks Ray.

    Raises:
        ExecutorError: Ray is to be asked, and no session is up.

    Example:
        >>> get_gpu_topology("a", [{"NodeID": "a", "Alive": True, "Resources": {"CPU": 8.0, "GPU": 2.0}}])
        [{'node_id': 'a', 'num_gpus': 2, 'is_head': True}]
    """
    listed = alive_nodes() if nodes is None else [node for node in nodes if node["Alive"]]
    marked = [str(node["NodeID"]) for node in listed if HEAD_RESOURCE in node["Resources"]]
    head = head_node_id or (marked[0] if marked else None)
    if head is None and ray.is_initialized():
        head = ray.get_runtime_context().get_node_id()
    offers = offers_from_nodes(listed)
    return [
        {"node_id": offer.node_id, "num_gpus": int(offer.gpus), "is_head": offer.node_id == head}
        for offer in offers
        if offer.gpus >= 1
    ]


def get_available_cpu_gpu_resources(
    init_and_shutdown: bool = False, ignore_head_node: bool = False
) -> tuple[float, float]:
    """CPUs and GPUs that are free now, summed over the nodes.

    Args:
        init_and_shutdown: if no session is up, join the one that ``RAY_ADDRESS`` names or start a private one, and end
            it afterwards.
        ignore_head_node: leave out what the head node has.

    Raises:
        ExecutorError: no Ray session is up, and none is to be started.
    """
    if init_and_shutdown and not ray.is_initialized():
        with ray_session(os.environ.get("RAY_ADDRESS")):
            return get_available_cpu_gpu_resources(ignore_head_node=ignore_head_node)
    offers = available_offers(ignore_head_node=ignore_head_node)
    return _total(offer.cpus for offer in offers), _total(offer.gpus for offer in offers)


def check_total_gpu_capacity(gpus_needed: float, ignore_head_node: bool = False) -> None:
    """Fail at once if the nodes, were they idle, have fewer GPUs than needed; Ray would wait for ever.

    Raises:
        ExecutorError: they have fewer; both numbers are in the message.
    """
    offers = offers_from_nodes(alive_nodes(), ignore_head_node=ignore_head_node)
    gpus = _total(offer.gpus for offer in offers)
    if gpus < gpus_needed:
        without_head = " without the head node" if ignore_head_node else ""
        raise ExecutorError(
            f"{gpus_needed:g} GPUs are needed, but the cluster has {gpus:g} on {len(offers)} nodes{without_head}. "
            "Ask for fewer, or add nodes with GPUs."
        )


def get_worker_metadata_and_node_id() -> tuple[NodeInfo, WorkerMetadata]:
    """Where the current process runs and what it was given; its id is that of its actor if it is one.

    Raises:
        ExecutorError: no Ray session is up.
    """
    _check_connected()
    context = ray.get_runtime_context()
    worker_id = context.get_actor_id() or context.get_worker_id()
    return NodeInfo(node_id=context.get_node_id()), WorkerMetadata(worker_id=worker_id, allocation=_allocation())


def _allocation() -> WorkerAllocation | None:
    context = ray.get_runtime_context()
    if ray._private.worker.global_worker.mode != ray.WORKER_MODE:
        return None
    assigned: dict[str, float] = dict(context.get_assigned_resources())  # type: ignore[no-untyped-call]
    gpu_ids = sorted(context.get_accelerator_ids().get("GPU", []), key=lambda gpu: (len(gpu), gpu))
    return WorkerAllocation(assigned.pop("CPU", 0.0), assigned.pop("GPU", 0.0), tuple(gpu_ids), assigned)


def _total(amounts: Any) -> float:  # noqa: ANN401
    # Ray counts ten-thousandths; a sum of floats may be a hair off.
    total = round(sum(amounts), 4)
    return int(total) if total == int(total) else total


def _check_connected() -> None:
    if not ray.is_initialized():
        raise ExecutorError("no Ray session is up. Start one with curator.cluster.ray_session() or ray.init().")
