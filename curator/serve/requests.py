"""From the settings of a set of replicas to what it asks of the nodes. Pure, no Ray."""

from __future__ import annotations

from curator.placement.replicas import ReplicaRequest
from curator.serve.settings import ReplicaSettings


def request_of(settings: ReplicaSettings) -> ReplicaRequest:
    """What a set asks of the nodes.

    Example:
        >>> request_of(ReplicaSettings(name="judge", model="m", tp_size=4, replicas=2)).total_gpus
        4
    """
    whole = settings.bundle()
    return ReplicaRequest(
        name=settings.name,
        count=settings.replicas,
        tp_size=settings.tp_size,
        pp_size=settings.pp_size,
        gpus=0 if settings.device == "cpu" else None,
        num_cpus=whole.cpus,
        memory_gb=whole.memory_gb,
        resources=whole.custom,
        labels=whole.labels,
    )
