"""Why a placement group can never be reserved, as a sentence: bundles and offers in, the gap out. Pure, no Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from curator.cluster.capacity import NodeOffer, explain_misfit, pack, workers_that_fit
from curator.cluster.options import actor_options
from curator.placement.bundles import STRICT_PACK, STRICT_SPREAD
from curator.stages.resources import Resources


def explain_gap(
    name: str,
    bundles: Sequence[Mapping[str, float]],
    strategy: str,
    selectors: Sequence[Mapping[str, str]] | None,
    offers: Sequence[NodeOffer],
) -> str | None:
    """Say what a group lacks on nodes that nobody else uses; ``None`` if it would fit.

    Args:
        name: the group.
        bundles: what each bundle reserves, by Ray's names; memory in bytes.
        strategy: ``PACK``, ``SPREAD``, ``STRICT_PACK`` or ``STRICT_SPREAD``.
        selectors: what labels of the node of each bundle must be; ``None`` asks for nothing.
        offers: the nodes.

    Example:
        >>> explain_gap("judge", [{"GPU": 2}], "STRICT_PACK", None, [NodeOffer(node_id="a", gpus=1)])
        'judge: no node can hold its one bundle, which needs 2 GPU. The best of 1 offers 0 CPU, 1 GPU: 1 GPU missing.'
    """
    needs = [
        resources_of_bundle(bundle, selector)
        for bundle, selector in zip(bundles, selectors or [{}] * len(bundles), strict=True)
    ]
    if strategy == STRICT_PACK:
        whole = _sum(needs)
        if any(workers_that_fit(whole, offers).values()):
            return None
        return explain_misfit(name, whole, offers, what="its one bundle" if len(needs) == 1 else "all bundles")
    for need in needs:
        if not any(workers_that_fit(need, offers).values()):
            return explain_misfit(name, need, offers, what="one of its bundles")
    if strategy == STRICT_SPREAD:
        matched = _distinct_nodes(needs, offers)
        if matched == len(needs):
            return None
        return (
            f"{name}: {len(needs)} bundles must be on as many nodes, but {matched} of {len(offers)} can hold one. "
            f"A bundle needs {words_of_bundle(bundles[0])}."
        )
    counts = pack([(need, 1) for need in needs], offers).counts
    if all(counts):
        return None
    return f"{name}: only {sum(counts)} of {len(needs)} bundles fit beside each other on {len(offers)} nodes."


def resources_of_bundle(bundle: Mapping[str, float], selector: Mapping[str, str]) -> Resources:
    """A bundle as the resources of a worker that would fill it.

    Example:
        >>> resources_of_bundle({"GPU": 2, "memory": 3e9}, {"zone": "z1"})
        Resources(cpus=0, gpus=2, memory_gb=3.0, labels={'zone': 'z1'})
    """
    rest = {kind: amount for kind, amount in bundle.items() if kind not in ("CPU", "GPU", "memory")}
    return Resources(
        cpus=bundle.get("CPU", 0),
        gpus=bundle.get("GPU", 0),
        memory_gb=bundle.get("memory", 0) / 1e9,
        custom=rest,
        labels=selector,
    )


def _sum(needs: Sequence[Resources]) -> Resources:
    names = {name for need in needs for name in need.custom}
    return Resources(
        cpus=sum(need.cpus for need in needs),
        gpus=sum(need.gpus for need in needs),
        memory_gb=sum(need.memory_gb for need in needs),
        custom={name: sum(need.custom.get(name, 0.0) for need in needs) for name in names},
        labels={label: selector for need in needs for label, selector in need.labels.items()},
    )


def _distinct_nodes(needs: Sequence[Resources], offers: Sequence[NodeOffer]) -> int:
    """How many bundles can have a node of their own: the largest matching, by augmenting paths."""
    hosts = [[node for node, count in workers_that_fit(need, offers).items() if count] for need in needs]
    bundle_on: dict[str, int] = {}

    def place(bundle: int, seen: set[str]) -> bool:
        for node in hosts[bundle]:
            if node not in seen:
                seen.add(node)
                if node not in bundle_on or place(bundle_on[node], seen):
                    bundle_on[node] = bundle
                    return True
        return False

    return sum(place(bundle, set()) for bundle in range(len(needs)))


def bundle_of_resources(resources: Resources) -> dict[str, float]:
    """What a bundle reserves so that a worker fills it, by Ray's names; nothing that is 0.

    Example:
        >>> bundle_of_resources(Resources(cpus=2, gpus=1, memory_gb=3))
        {'CPU': 2, 'GPU': 1, 'memory': 3000000000}
    """
    options = actor_options(resources)
    bundle = {"CPU": options["num_cpus"], "GPU": options["num_gpus"], **options.get("resources", {})}
    bundle["memory"] = options.get("memory", 0)
    return {kind: amount for kind, amount in bundle.items() if amount}


def words_of_bundle(bundle: Mapping[str, float]) -> str:
    """A bundle as a person writes it.

    Example:
        >>> words_of_bundle({"CPU": 1, "GPU": 4, "memory": 2e9})
        '1 CPU, 4 GPU, 2 GB memory'
    """
    return ", ".join(
        f"{amount / 1e9:g} GB memory" if kind == "memory" else f"{amount:g} {kind}" for kind, amount in bundle.items()
    )
