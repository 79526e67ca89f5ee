"""How many workers fit where: what workers need and what nodes offer in, counts, placements, explanations out. No Ray.

Label selectors and the grain of amounts are taken as Ray takes them, so that what is planned here can be scheduled.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from typing import Any

from curator.cluster.amounts import DEVICES, GRAINS, fits, grains, needs_of, pieces_of, take, times
from curator.cluster.options import actor_options, exclude_head
from curator.stages.resources import FrozenMapping, Resources, parse_label_selector

__all__ = [
    "UNLIMITED",
    "NodeOffer",
    "Packing",
    "actor_options",
    "exclude_head",
    "explain_misfit",
    "offers_from_nodes",
    "pack",
    "workers_that_fit",
]

UNLIMITED = 2**31 - 1
"""Workers that fit on a node of which they ask nothing."""

HEAD_RESOURCE = "node:__internal_head__"
"""The resource that only the head node has."""

_NOT_CUSTOM = frozenset({"CPU", "GPU", "memory", "object_store_memory"})


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOffer:
    """What one node has for workers.

    Args:
        node_id: Ray's id of the node.
        is_head: whether it is the head node.
        cpus: CPU cores.
        gpus: GPUs.
        memory: bytes.
        custom: amounts of its other resources, by name.
        labels: its labels.
    """

    node_id: str
    is_head: bool = False
    cpus: float = 0.0
    gpus: float = 0.0
    memory: float = 0.0
    custom: Mapping[str, float] = FrozenMapping()
    labels: Mapping[str, str] = FrozenMapping()

    def amounts(self) -> dict[str, float]:
        """Every amount, by the name that Ray has for it."""
        return {**self.custom, "CPU": self.cpus, "GPU": self.gpus, "memory": self.memory}


@dataclass(frozen=True, slots=True)
class Packing:
    """Workers of several shapes on the same nodes.

    Args:
        counts: workers of each demand that were placed.
        placement: for each demand, workers by node id; nodes without one are left out.
    """

    counts: tuple[int, ...]
    placement: tuple[dict[str, int], ...]


def offers_from_nodes(
    nodes: Iterable[Mapping[str, Any]],
    *,
    available: Mapping[str, Mapping[str, float]] | None = None,
    ignore_head_node: bool = False,
) -> list[NodeOffer]:
    """Offers of the alive nodes, in the order of their ids.

    Args:
        nodes: nodes as ``ray.nodes()`` lists them.
        available: what is free on each node, by node id; ``None`` offers all that a node has.
        ignore_head_node: leave the head node out.

    Example:
        >>> node = {"NodeID": "a", "Alive": True, "Resources": {"CPU": 4.0}, "Labels": {"zone": "z1"}}
        >>> offers_from_nodes([node])[0].cpus
        4.0
    """
    offers = []
    for node in nodes:
        total: Mapping[str, float] = node["Resources"]
        is_head = HEAD_RESOURCE in total
        if not node["Alive"] or (ignore_head_node and is_head):
            continue
        free = total if available is None else available.get(node["NodeID"], {})
        offers.append(
            NodeOffer(
                node_id=node["NodeID"],
                is_head=is_head,
                cpus=free.get("CPU", 0.0),
                gpus=free.get("GPU", 0.0),
                memory=free.get("memory", 0.0),
                custom=FrozenMapping({k: v for k, v in free.items() if k not in _NOT_CUSTOM}),
                labels=FrozenMapping(node.get("Labels") or {}),
            )
        )
    return sorted(offers, key=lambda offer: offer.node_id)


def workers_that_fit(resources: Resources, offers: Iterable[NodeOffer]) -> dict[str, int]:
    """Workers that fit on each node, were they alone there.

    Args:
        resources: what one worker needs.
        offers: the nodes.

    Returns:
        A count for each node, 0 included, by node id; ``UNLIMITED`` where a worker needs nothing.

    Example:
        >>> workers_that_fit(Resources(cpus=0.1), [NodeOffer(node_id="a", cpus=1.0)])
        {'a': 10}
        >>> workers_that_fit(Resources(cpus=0, gpus=0.6), [NodeOffer(node_id="a", gpus=2.0)])
        {'a': 2}
    """
    needs = needs_of(resources)
    fitting = {}
    for offer in offers:
        free = pieces_of(offer.amounts())
        most = min((times(kind, need, free) for kind, need in needs.items()), default=UNLIMITED)
        fitting[offer.node_id] = most if _matches(resources, offer) else 0
    return fitting


def pack(demands: Sequence[tuple[Resources, int]], offers: Sequence[NodeOffer]) -> Packing:
    """Place workers of several shapes side by side, never more on a node than it offers.

    The demands take turns, one worker each, those that fit on the fewest nodes first, until all have what they want or
    nothing more fits. A worker goes where it wastes the fewest devices that it does not need. The same arguments give
    the same placement.

    Args:
        demands: what one worker needs, and how many workers are wanted, at least 0.
        offers: the nodes.

    Example:
        >>> nodes = [NodeOffer(node_id="cpu", cpus=2), NodeOffer(node_id="gpu", cpus=2, gpus=1)]
        >>> pack([(Resources(cpus=1), 9), (Resources(cpus=1, gpus=1), 9)], nodes).placement
        ({'cpu': 2, 'gpu': 1}, {'gpu': 1})
    """
    free = {offer.node_id: pieces_of(offer.amounts()) for offer in offers}
    needs = [needs_of(resources) for resources, _ in demands]
    hosts = [
        {node_id for node_id, count in workers_that_fit(resources, offers).items() if count} for resources, _ in demands
    ]
    # For each demand, its hosts, the best first; an entry is stale when its node has changed since it was put there.
    changes = dict.fromkeys(free, 0)
    queues: list[list[tuple[Any, ...]]] = [
        sorted((*_waste(free[node_id], need), node_id, 0) for node_id in nodes)
        for need, nodes in zip(needs, hosts, strict=True)
    ]
    placement: list[dict[str, int]] = [{} for _ in demands]
    counts = [0] * len(demands)
    wanting = sorted(range(len(demands)), key=lambda demand: (len(hosts[demand]), demand))
    while wanting := [demand for demand in wanting if counts[demand] < demands[demand][1]]:
        for demand in tuple(wanting):
            queue = queues[demand]
            while queue and queue[0][-1] != changes[queue[0][-2]]:
                heappop(queue)
            if not queue:
                wanting.remove(demand)
                continue
            node_id = queue[0][-2]
            take(free[node_id], needs[demand])
            changes[node_id] += 1
            placement[demand][node_id] = placement[demand].get(node_id, 0) + 1
            counts[demand] += 1
            for other, need in enumerate(needs):
                if node_id in hosts[other] and fits(free[node_id], need):
                    heappush(queues[other], (*_waste(free[node_id], need), node_id, changes[node_id]))
    return Packing(tuple(counts), tuple(dict(sorted(nodes.items())) for nodes in placement))


def explain_misfit(name: str, resources: Resources, offers: Sequence[NodeOffer], *, what: str = "a worker") -> str:
    """Say why no node can hold a worker: what it needs, what the best node offers, and what is missing there.

    Args:
        name: the stage or the segment.
        resources: what one worker needs.
        offers: the nodes that may be used.
        what: what is to be held, if it is no worker.

    Example:
        >>> explain_misfit("embed", Resources(gpus=1), [NodeOffer(node_id="a", cpus=4)])
        'embed: no node can hold a worker, which needs 1 CPU, 1 GPU. The best of 1 offers 4 CPU, 0 GPU: 1 GPU missing.'
    """
    needs = needs_of(resources)
    start = f"{name}: no node can hold {what}, which needs {describe_needs(resources)}."
    if not offers:
        return f"{start} There is no node that may be used."
    gaps = {offer.node_id: _gaps(resources, offer) for offer in offers}

    def distance(offer: NodeOffer) -> tuple[int, float, str]:
        return len(gaps[offer.node_id]), sum(gaps[offer.node_id].values()), offer.node_id

    best = min(offers, key=distance)
    amounts = best.amounts()
    offered = [_text(kind, grains(amounts.get(kind, 0.0))) for kind in {"CPU": 0, "GPU": 0, **needs}]
    offered += [f"{label}={best.labels[label]}" for label in resources.labels if label in best.labels]
    missing = ", ".join(gaps[best.node_id]) or "nothing"
    return f"{start} The best of {len(offers)} offers {', '.join(offered)}: {missing} missing."


def describe_needs(resources: Resources) -> str:
    """What a worker needs.

    Example:
        >>> describe_needs(Resources(gpus=0.5, memory_gb=4, labels={"zone": "west"}))
        '1 CPU, 0.5 GPU, 4 GB memory, zone=west'
    """
    needs = [_text(kind, need) for kind, need in needs_of(resources).items()]
    return ", ".join([*needs, *(f"{label}={value}" for label, value in resources.labels.items())]) or "nothing"


def describe_offers(offers: Iterable[NodeOffer]) -> str:
    """What each node has, by the start of its id, and its labels but those that Ray gives to every node.

    Example:
        >>> west = NodeOffer(node_id="91d3a8c44f", cpus=2, gpus=1, labels={"zone": "west"})
        >>> describe_offers([NodeOffer(node_id="5a0f17c2be", cpus=4), west])
        '5a0f17c2: 4 CPU, 0 GPU; 91d3a8c4: 2 CPU, 1 GPU, zone=west'
        >>> describe_offers([])
        'nothing'
    """
    described = []
    for offer in offers:
        labels = [f"{label}={value}" for label, value in offer.labels.items() if not label.startswith("ray.io/")]
        described.append(f"{offer.node_id[:8]}: {', '.join([_amounts(offer.amounts()), *labels])}")
    return "; ".join(described) or "nothing"


def _amounts(amounts: Mapping[str, float]) -> str:
    named = [kind for kind, amount in amounts.items() if amount and kind not in ("CPU", "GPU")]
    # Ray gives every node a resource of its own name, which no worker asks for.
    kinds = ["CPU", "GPU", *(kind for kind in named if not kind.startswith("node:"))]
    return ", ".join(_text(kind, grains(amounts.get(kind, 0.0))) for kind in kinds)


def _waste(free: Mapping[str, Sequence[int]], needs: Mapping[str, int]) -> tuple[int, ...]:
    """How badly a worker suits a node: devices there that it leaves idle, then what is free of what it needs."""
    idle = sum(sum(pieces) for kind, pieces in free.items() if kind in DEVICES and kind not in needs)
    return idle, *(sum(free[kind]) for kind in needs)


def _matches(resources: Resources, offer: NodeOffer) -> bool:
    return all(
        parse_label_selector(selector).matches(offer.labels.get(label)) for label, selector in resources.labels.items()
    )


def _gaps(resources: Resources, offer: NodeOffer) -> dict[str, float]:
    """What is missing on a node, as text, and how large a part of the need that is, in (0, 1]."""
    free = pieces_of(offer.amounts())
    gaps = {}
    for kind, need in needs_of(resources).items():
        if not times(kind, need, free):
            there = sum(piece for piece in free.get(kind, ()) if kind not in DEVICES or piece == GRAINS)
            short = need - there if need >= GRAINS or kind not in DEVICES else need - max(free.get(kind) or [0])
            gaps[_text(kind, short)] = short / need
    for label, selector in resources.labels.items():
        if not parse_label_selector(selector).matches(offer.labels.get(label)):
            gaps[f"{label}={selector}"] = 1.0
    return gaps


def _text(kind: str, grains: int) -> str:
    if kind == "memory":
        return f"{grains / GRAINS / 1e9:g} GB memory"
    return f"{grains / GRAINS:g} {kind}"
