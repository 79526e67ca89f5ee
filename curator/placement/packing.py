"""All replicas of all models on one snapshot of the nodes: requests and offers in, a plan out. Pure, no Ray.

What does not fit is no error here: the plan says which replicas they are, why, and which sizes would fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from curator.cluster.amounts import GRAINS, pieces_of
from curator.cluster.capacity import NodeOffer
from curator.cluster.options import NODE_ID_LABEL, ignore_ray_head_node
from curator.errors import ConfigError
from curator.placement.bundles import STRICT_PACK, STRICT_SPREAD, ReplicaBundleSpec
from curator.placement.gaps import bundle_of_resources
from curator.placement.misfits import explain_request
from curator.placement.replicas import ReplicaPlacement, ReplicaPlan, ReplicaRequest
from curator.placement.search import Board, plan_splits

_CUT = "There are too many to try everything: another order may place them all."


def plan_replicas(
    requests: Sequence[ReplicaRequest], offers: Sequence[NodeOffer], *, ignore_head_node: bool | None = None
) -> ReplicaPlan:
    """Place every replica of every request, beside each other, never more on a node than it offers.

    A replica is on one node, or has equal parts of its GPUs on several, each part whole pipeline stages or an equal
    part of one. Together the replicas span as few nodes as can be. Up to a few dozen replicas on as many nodes, a
    placement is found whenever there is one; beyond that the largest come first, each where it fits best.

    Args:
        requests: what is asked for; names differ.
        offers: what each node has: all of it, or what is free now.
        ignore_head_node: leave the head node out; ``None`` does what ``CURATOR_IGNORE_RAY_HEAD_NODE`` says.

    Returns:
        A plan, the same for any order of the offers. If not all replicas fit, those that found room, the largest
        first, and why the others did not.

    Raises:
        ConfigError: two requests have one name.

    Example:
        >>> nodes = [NodeOffer(node_id="a", cpus=8, gpus=2), NodeOffer(node_id="b", cpus=8, gpus=4)]
        >>> judge, filters = ReplicaRequest(name="judge", tp_size=4), ReplicaRequest(name="filter", count=2)
        >>> [(each.name, each.node_ids) for each in plan_replicas([filters, judge], nodes).placements]
        [('filter-0', ('a',)), ('filter-1', ('a',)), ('judge-0', ('b',))]
    """
    names = [request.name for request in requests]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError([f"replicas.{name}: two sets of replicas have this name. Rename one." for name in twice])
    ignores_head = ignore_ray_head_node() if ignore_head_node is None else ignore_head_node
    everywhere = sorted(offers, key=lambda offer: offer.node_id)
    nodes = [offer for offer in everywhere if not (ignores_head and offer.is_head)]
    splits = [plan_splits(request, nodes) for request in requests]
    order = sorted(
        ((which, index) for which, request in enumerate(requests) if splits[which] for index in range(request.count)),
        key=lambda each: (_size(requests[each[0]]), each[1]),
    )
    board = Board([pieces_of(node.amounts()) for node in nodes], [splits[which] for which, _ in order])
    placed, free = (board.place_all() if all(splits) else None), None
    was_cut = board.was_cut
    if placed is None:
        placed, free = board.place_some()
    where = {each: chosen for each, chosen in zip(order, placed, strict=True) if chosen}
    placements = tuple(
        _placement(requests[which], index, [nodes[node].node_id for node in chosen])
        for (which, index), chosen in sorted(where.items())
    )
    if free is None:
        return ReplicaPlan(placements)
    left = [_offer(node, pieces) for node, pieces in zip(nodes, free, strict=True)]
    problems = []
    for which, request in enumerate(requests):
        count = sum(which == each for each, _ in where)
        if count < request.count:
            sentence = explain_request(request, count, everywhere, nodes, left)
            problems.append(f"{sentence} {_CUT}" if was_cut and splits[which] else sentence)
    return ReplicaPlan(placements, tuple(problems))


def _size(request: ReplicaRequest) -> tuple[object, ...]:
    """Ascending from the largest replica on; names break ties."""
    whole = request.bundle_resources(1)
    return -request.total_gpus, -whole.memory_gb, -whole.cpus, request.name


def _placement(request: ReplicaRequest, index: int, node_ids: Sequence[str]) -> ReplicaPlacement:
    nnodes = len(node_ids)
    bundle = bundle_of_resources(request.bundle_resources(nnodes))
    spec = ReplicaBundleSpec(
        bundles=[dict(bundle) for _ in node_ids],
        strategy=STRICT_PACK if nnodes == 1 else STRICT_SPREAD,
        nnodes=nnodes,
        per_node_gpus=request.total_gpus // nnodes,
        bundle_label_selector=[{NODE_ID_LABEL: node_id} for node_id in node_ids],
    )
    return ReplicaPlacement(request, index, spec, tuple(node_ids))


def _offer(node: NodeOffer, pieces: Mapping[str, Sequence[int]]) -> NodeOffer:
    """A node with what is left on it."""
    left = {**node.amounts(), **{kind: sum(each) / GRAINS for kind, each in pieces.items()}}
    cpus, gpus, memory = left.pop("CPU"), left.pop("GPU"), left.pop("memory")
    return replace(node, cpus=cpus, gpus=gpus, memory=memory, custom=left)
