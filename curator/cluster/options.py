"""From what a worker needs to the options of its Ray actor or task. Pure, no Ray.

Refused: leaving out the head node for a worker that asks for it by its id.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from curator.cluster.amounts import GRAINS, needs_of
from curator.errors import ConfigError
from curator.stages.resources import Resources, parse_label_selector

NODE_ID_LABEL = "ray.io/node-id"
"""The label that Ray gives every node."""


def ignore_ray_head_node() -> bool:
    """Whether ``CURATOR_IGNORE_RAY_HEAD_NODE`` asks to leave the head node alone: ``1``, ``true`` or ``yes``."""
    return os.environ.get("CURATOR_IGNORE_RAY_HEAD_NODE", "").strip().lower() in ("1", "true", "yes")


def actor_options(resources: Resources) -> dict[str, Any]:
    """The options of a Ray actor or task that reserve these resources.

    Example:
        >>> actor_options(Resources(cpus=0.5, memory_gb=2, labels={"zone": "!z1"}))
        {'num_cpus': 0.5, 'num_gpus': 0, 'memory': 2000000000, 'label_selector': {'zone': '!z1'}}
    """
    needs = needs_of(resources)
    amounts: dict[str, float] = {
        kind: need // GRAINS if need % GRAINS == 0 else need / GRAINS for kind, need in needs.items()
    }
    options: dict[str, Any] = {"num_cpus": amounts.pop("CPU", 0), "num_gpus": amounts.pop("GPU", 0)}
    if "memory" in amounts:
        options["memory"] = amounts.pop("memory")
    if amounts:
        options["resources"] = amounts
    if resources.labels:
        options["label_selector"] = dict(resources.labels)
    return options


def exclude_head(options: Mapping[str, Any], head_ids: Iterable[str]) -> dict[str, Any]:
    """Options of an actor or task that Ray will not place on a head node; other labels that they ask for stay.

    Args:
        options: options as ``actor_options`` makes them; they are not changed.
        head_ids: ids of the head nodes; none changes nothing.

    Raises:
        ConfigError: the options ask for a head node and no other one.

    Example:
        >>> exclude_head({"label_selector": {"zone": "z1"}}, ["a1"])
        {'label_selector': {'zone': 'z1', 'ray.io/node-id': '!in(a1)'}}
    """
    heads = frozenset(head_ids)
    if not heads:
        return dict(options)
    labels = dict(options.get("label_selector") or {})
    asked = parse_label_selector(labels[NODE_ID_LABEL]) if NODE_ID_LABEL in labels else None
    if asked is None or asked.negated:
        excluded = heads | (asked.values if asked else frozenset())
        labels[NODE_ID_LABEL] = f"!in({','.join(sorted(excluded))})"
    elif asked.values - heads:
        labels[NODE_ID_LABEL] = f"in({','.join(sorted(asked.values - heads))})"
    else:
        raise ConfigError(
            f"resources.labels.{NODE_ID_LABEL}={labels[NODE_ID_LABEL]!r}: asks for the head node, which "
            "executor.ignore_head_node=true leaves alone. Name another node, or drop one of the two."
        )
    return {**options, "label_selector": labels}
