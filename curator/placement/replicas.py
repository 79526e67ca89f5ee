"""Replicas that are asked for, and where they are to be. Values only: no Ray, nothing done.

Refused when a request is made: sizes below 1, a replica on CPUs that spans GPUs, amounts and labels Ray does not know.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from curator.cluster.amounts import GRAINS, grains
from curator.errors import ConfigError, ExecutorError
from curator.placement.bundles import ReplicaBundleSpec
from curator.stages.resources import SMALLEST_AMOUNT, FrozenMapping, Resources

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaRequest:
    """Replicas of one model that are all alike.

    A replica spans ``tp_size * pp_size`` GPUs. One that runs on CPUs alone is asked for by ``gpus=0``, with both sizes
    left at 1: it has one bundle, without a GPU, on one node. A ``tp_size`` of 0 is always a mistake.

    Args:
        name: what the replicas are called: at most 63 letters, digits, ``-``, ``_`` and ``.``.
        count: replicas, at least 1.
        tp_size: GPUs that each layer is split over (tensor parallel), at least 1.
        pp_size: parts that the layers are split into (pipeline parallel), at least 1.
        gpus: ``None`` for ``tp_size * pp_size``, or 0 for a replica on CPUs; no other value.
        num_cpus: CPU cores of a whole replica, each of its nodes has an equal part; ``None`` is 1 for each node.
        memory_gb: memory of a whole replica in GB, each of its nodes has an equal part; 0 asks for nothing.
        resources: amounts of custom resources of a whole replica, each of its nodes has an equal part.
        labels: what labels of its nodes must be: ``x``, ``!x``, ``in(x,y)`` or ``!in(x,y)``, by label.

    Raises:
        ConfigError: a name, size, amount or label is wrong; every mistake is in the message.

    Example:
        >>> ReplicaRequest(name="judge", tp_size=4, pp_size=2).total_gpus
        8
        >>> ReplicaRequest(name="tiny", gpus=0, num_cpus=2).bundle_resources(1)
        Resources(cpus=2, gpus=0, memory_gb=0.0)
    """

    name: str
    count: int = 1
    tp_size: int = 1
    pp_size: int = 1
    gpus: int | None = None
    num_cpus: float | None = None
    memory_gb: float = 0.0
    resources: Mapping[str, float] = FrozenMapping()
    labels: Mapping[str, str] = FrozenMapping()

    def __post_init__(self) -> None:
        at = f"replicas.{self.name}"
        problems = []
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            problems.append(
                f"replicas: {self.name!r} is no name: at most 63 of letters, digits, '-', '_' and '.', the first a "
                "letter or a digit."
            )
        for key in ("count", "tp_size", "pp_size"):
            size = getattr(self, key)
            if isinstance(size, bool) or not isinstance(size, int) or size < 1:
                on_cpus = " A replica on CPUs has 'device: cpu' (gpus=0)." if key == "tp_size" else ""
                problems.append(f"{at}.{key}={size!r}: must be a whole number, at least 1.{on_cpus}")
        if not problems:
            problems += self._problems_of_gpus(at)
        if not problems:
            try:
                whole = self.bundle_resources(1)
                object.__setattr__(self, "resources", whole.custom)
                object.__setattr__(self, "labels", whole.labels)
            except (ValueError, TypeError, AttributeError) as error:
                problems.append(f"{at}: {error}")
        if not problems and self.total_gpus == 0 and self.num_cpus == 0:
            problems.append(f"{at}.num_cpus=0: a replica without GPUs needs CPU cores, more than 0.")
        if problems:
            raise ConfigError(problems)

    def _problems_of_gpus(self, at: str) -> list[str]:
        spanned = self.tp_size * self.pp_size
        if self.gpus is None or (self.gpus == spanned and not isinstance(self.gpus, bool)):
            return []
        if self.gpus != 0 or isinstance(self.gpus, bool):
            return [
                f"{at}.gpus={self.gpus!r}: a replica has tp_size * pp_size = {spanned} GPUs. Leave it out, or say 0 "
                "for one on CPUs."
            ]
        if spanned != 1:
            return [f"{at}.gpus=0: a replica without GPUs has no tp_size or pp_size; leave both out."]
        return []

    @property
    def total_gpus(self) -> int:
        """GPUs of one replica, 0 if it runs on CPUs."""
        return 0 if self.gpus == 0 else self.tp_size * self.pp_size

    def bundle_resources(self, nnodes: int) -> Resources:
        """What one bundle reserves, and what the labels of its node must be.

        Args:
            nnodes: nodes of the replica, a divisor of ``total_gpus``; 1 for a replica on CPUs.
        """
        return Resources(
            cpus=1 if self.num_cpus is None else _part(self.num_cpus, nnodes),
            gpus=self.total_gpus // nnodes,
            memory_gb=_part(self.memory_gb, nnodes),
            custom={name: _part(amount, nnodes) for name, amount in self.resources.items()},
            labels=self.labels,
        )


def _part(amount: float, nnodes: int) -> float:
    """An equal part, in the grain of Ray, rounded up so that the parts are the whole."""
    return amount if nnodes == 1 else grains(amount / nnodes + 0.999 * SMALLEST_AMOUNT) / GRAINS


@dataclass(frozen=True, slots=True)
class ReplicaPlacement:
    """Where one replica is to be.

    Args:
        request: what was asked for.
        index: which of the ``request.count`` replicas it is, from 0 on.
        spec: its bundles; each asks for its node by the node's id.
        node_ids: the node of each bundle.
    """

    request: ReplicaRequest
    index: int
    spec: ReplicaBundleSpec
    node_ids: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name of the replica, such as ``judge-0``."""
        return f"{self.request.name}-{self.index}"


@dataclass(frozen=True, slots=True)
class ReplicaPlan:
    """Where all replicas of all models are to be.

    Args:
        placements: where each replica that fits is to be, in the order of the requests and of their indices.
        problems: why the others do not fit, and which sizes would: a sentence or two for each request; empty if all
            fit.
    """

    placements: tuple[ReplicaPlacement, ...]
    problems: tuple[str, ...] = ()

    def check(self) -> ReplicaPlan:
        """The plan itself, if every replica fits.

        Raises:
            ExecutorError: some do not; all ``problems`` are in the message.
        """
        if self.problems:
            raise ExecutorError("\n".join(self.problems))
        return self
