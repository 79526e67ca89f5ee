"""A plan of replicas, for people and for machines: which replica has which bundles on which nodes. Pure, no Ray."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curator.placement.gaps import bundle_of_resources, words_of_bundle
from curator.placement.replicas import ReplicaPlacement, ReplicaPlan, ReplicaRequest

NOT_ASKED = "the cluster is not asked before the run"


def render_replicas(requests: Sequence[ReplicaRequest], plan: ReplicaPlan | None = None) -> list[str]:
    """The lines of a table, a line for each replica that is placed, or for each request if there is no plan.

    Args:
        requests: what is asked for.
        plan: where it is to be; ``None`` where nobody knows the nodes yet.

    Returns:
        Lines without line breaks; none if nothing is asked for.

    Example:
        >>> for line in render_replicas([ReplicaRequest(name="judge", count=2, tp_size=4)]):
        ...     print(line)
        replica  size  bundles                    nodes
        judge    TP=4  2 x (1 CPU a node, 4 GPU)  the cluster is not asked before the run
    """
    if not requests:
        return []
    rows: list[tuple[str, ...]] = [("replica", "size", "bundles", "nodes")]
    if plan is None:
        rows += [_asked(request) for request in requests]
    else:
        rows += [_placed(placement) for placement in plan.placements]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def replicas_as_json(requests: Sequence[ReplicaRequest], plan: ReplicaPlan | None = None) -> list[dict[str, Any]]:
    """The same as values for ``json.dumps``: an object for each request, with its placements.

    Args:
        requests: what is asked for.
        plan: where it is to be; ``None`` where nobody knows the nodes yet, and ``placements`` is ``None`` then.

    Example:
        >>> replicas_as_json([ReplicaRequest(name="tiny", gpus=0, num_cpus=2)])[0]["placements"] is None
        True
    """
    return [
        {
            "name": request.name,
            "count": request.count,
            "tp_size": request.tp_size,
            "pp_size": request.pp_size,
            "gpus": request.total_gpus,
            "placements": None
            if plan is None
            else [_placement(each) for each in plan.placements if each.request.name == request.name],
        }
        for request in requests
    ]


def _placement(placement: ReplicaPlacement) -> dict[str, Any]:
    spec = placement.spec
    return {
        "name": placement.name,
        "strategy": spec.strategy,
        "bundles": [dict(bundle) for bundle in spec.bundles],
        "nodes": list(placement.node_ids),
    }


def _asked(request: ReplicaRequest) -> tuple[str, ...]:
    whole = request.bundle_resources(1)
    needs = words_of_bundle(bundle_of_resources(whole))
    # Without a number of cores in the request, it is one for each node, and nobody knows how many these are.
    cores = "" if request.num_cpus is not None or not request.total_gpus else " a node"
    needs = needs.replace("1 CPU", f"1 CPU{cores}", 1) if cores else needs
    return request.name, _size(request), f"{request.count} x ({needs})", NOT_ASKED


def _placed(placement: ReplicaPlacement) -> tuple[str, ...]:
    spec = placement.spec
    part = words_of_bundle(spec.bundles[0])
    bundles = f"{spec.nnodes} x ({part})" if spec.is_multi_node else part
    nodes = ", ".join(_short(node_id) for node_id in placement.node_ids)
    return placement.name, _size(placement.request), f"{bundles}, {spec.strategy}", nodes


def _size(request: ReplicaRequest) -> str:
    if not request.total_gpus:
        return "CPU"
    return f"TP={request.tp_size}" + (f" PP={request.pp_size}" if request.pp_size > 1 else "")


def _short(node_id: str) -> str:
    """Ids of Ray have 56 digits; the first 12 tell nodes apart."""
    return node_id[:12]
