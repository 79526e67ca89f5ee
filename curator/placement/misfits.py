"""Why replicas do not fit, and which sizes would: a request and the nodes in, sentences out. Pure, no Ray."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from curator.cluster.capacity import NodeOffer, explain_misfit, workers_that_fit
from curator.placement.bundles import gpus_in_words, sizes_that_fit
from curator.placement.gaps import bundle_of_resources, words_of_bundle
from curator.placement.replicas import ReplicaRequest
from curator.placement.search import plan_splits
from curator.stages.resources import Resources


def explain_request(
    request: ReplicaRequest,
    count: int,
    everywhere: Sequence[NodeOffer],
    nodes: Sequence[NodeOffer],
    left: Sequence[NodeOffer],
) -> str:
    """Say why some replicas of a request found no room.

    Args:
        request: the request.
        count: how many of its replicas found room.
        everywhere: all nodes.
        nodes: those that may be used.
        left: those, with what is left on them beside all replicas that found room.

    Example:
        >>> nodes = [NodeOffer(node_id="a", cpus=8, gpus=4)]
        >>> explain_request(ReplicaRequest(name="judge", tp_size=8), 0, nodes, nodes, nodes)  # doctest: +ELLIPSIS
        'replicas.judge: Cannot place TP=8: need an even split ... with 4 GPUs. Sizes that would fit: 1 to 4.'
    """
    at = f"replicas.{request.name}"
    if request.total_gpus:
        if not any(node.gpus >= 1 for node in everywhere):
            return (
                f"{at}: No GPU nodes found: none of {len(everywhere)} nodes offers a GPU. Add nodes with GPUs, or run "
                "it on CPUs: 'device: cpu'."
            )
        if not any(node.gpus >= 1 for node in nodes):
            return (
                f"{at}: the head node is left alone (CURATOR_IGNORE_RAY_HEAD_NODE is set, or ignore_head_node), and no "
                "non-head GPU nodes are available. Add worker nodes with GPUs, or let the head be used."
            )
    if not nodes:
        return f"{at}: there is no node that may be used. Add nodes, or let the head be used."
    if plan_splits(request, nodes):
        return _explain_crowd(at, request, count, left)
    if nnodes := _nodes_by_gpus(request, nodes):
        return _explain_part(at, request, nnodes, nodes)
    return (
        f"{at}: Cannot place {_size(request)}: need an even split across nodes but no valid combination found across "
        f"{sum(node.gpus >= 1 for node in nodes)} eligible node(s) with {_gpus(nodes)} GPUs. {_sizes(request, nodes)}"
    )


def _explain_part(
    start: str, request: ReplicaRequest, nnodes: int, nodes: Sequence[NodeOffer], what: str = "a replica"
) -> str:
    """There are GPUs enough: something else is missing."""
    part = request.bundle_resources(nnodes)
    fitting = sum(count > 0 for count in workers_that_fit(part, nodes).values())
    whole = what if nnodes == 1 else f"one of {nnodes} equal parts of {what}"
    if not fitting:
        return f"{explain_misfit(start, part, nodes, what=whole)} Ask for less, or add nodes."
    return (
        f"{start}: {nnodes} nodes must hold an equal part of {what} each, {_words(part)}; {fitting} of {len(nodes)} "
        "can. Ask for less, or add nodes."
    )


def _explain_crowd(at: str, request: ReplicaRequest, count: int, left: Sequence[NodeOffer]) -> str:
    """One of them fits, all of them do not."""
    start = f"{at}: {count} of {request.count} replicas fit beside the others"
    if nnodes := _nodes_by_gpus(request, left):
        return _explain_part(start, request, nnodes, left, "another one")
    return f"{start}; {_gpus(left)} GPUs are left. {_sizes(request, left)} Ask for fewer replicas, or add nodes."


def _nodes_by_gpus(request: ReplicaRequest, nodes: Sequence[NodeOffer]) -> int | None:
    """The fewest nodes that a replica could have if nothing but GPUs mattered; ``None`` if there are too few GPUs."""
    if not request.total_gpus:
        return 1
    bare = plan_splits(replace(request, num_cpus=0, memory_gb=0, resources={}, labels={}), nodes)
    return bare[0].nnodes if bare else None


def _sizes(request: ReplicaRequest, nodes: Sequence[NodeOffer]) -> str:
    """The values of ``tp_size`` that one replica could have."""
    total = int(sum(node.gpus for node in nodes)) // request.pp_size
    return sizes_that_fit(total, lambda size: bool(plan_splits(replace(request, tp_size=size, gpus=None), nodes)))


def _size(request: ReplicaRequest) -> str:
    return f"TP={request.tp_size}" + (f" x PP={request.pp_size}" if request.pp_size > 1 else "")


def _words(part: Resources) -> str:
    labels = [f"{label}={selector}" for label, selector in part.labels.items()]
    return ", ".join([words_of_bundle(bundle_of_resources(part)), *labels])


def _gpus(nodes: Sequence[NodeOffer]) -> str:
    return gpus_in_words(node.gpus for node in nodes)
