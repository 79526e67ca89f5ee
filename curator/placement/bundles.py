"""The bundles of one replica, from how many GPUs it spans and how many each node has. Pure; asks Ray only if not told.

In come a size and a topology, out come bundles and a strategy: one bundle if a node is large enough, else equal ones on
the fewest nodes. Refused: sizes below 1, a cluster without GPUs, sizes that no equal split can place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curator.cluster.options import ignore_ray_head_node
from curator.errors import ConfigError, ExecutorError

STRICT_PACK = "STRICT_PACK"
STRICT_SPREAD = "STRICT_SPREAD"

WORKER_NODE_LABEL = {"ray.io/node-type": "worker"}
"""The label of nodes that are not the head; who starts the nodes sets it."""

LARGEST_SIZE_NAMED = 64


@dataclass(frozen=True, slots=True)
class ReplicaBundleSpec:
    """The bundles of one replica: one on one node, or equal ones on as many nodes.

    Args:
        bundles: what each bundle reserves, by Ray's names; memory in bytes.
        strategy: ``STRICT_PACK`` on one node, ``STRICT_SPREAD`` on several.
        nnodes: nodes, at least 1; as many as bundles.
        per_node_gpus: GPUs of each bundle; 0 for a replica on CPUs.
        bundle_label_selector: what labels of the node of each bundle must be; ``None`` asks for nothing.
    """

    bundles: list[dict[str, float]]
    strategy: str
    nnodes: int
    per_node_gpus: int
    bundle_label_selector: list[dict[str, str]] | None = None

    @property
    def is_multi_node(self) -> bool:
        """Whether it spans more than one node."""
        return self.nnodes > 1

    @property
    def total_gpus(self) -> int:
        """GPUs of all bundles."""
        return self.nnodes * self.per_node_gpus


def plan_replica_bundle_shape(
    tp_size: int, *, head_node_id: str | None = None, topology: Sequence[Mapping[str, Any]] | None = None
) -> ReplicaBundleSpec:
    """The bundles of one replica on a cluster that nobody else uses.

    One bundle, ``STRICT_PACK``, if a node has all the GPUs. Else equal bundles, ``STRICT_SPREAD``, on the fewest nodes
    that allow it; a model server needs as many GPUs on each of its nodes, so that nothing uneven is considered. Where
    ``CURATOR_IGNORE_RAY_HEAD_NODE`` asks for it, the head is left out and each bundle asks for a node with the label
    ``ray.io/node-type=worker``.

    Args:
        tp_size: GPUs that the replica spans, at least 1.
        head_node_id: the node to take for the head, where the topology is read; ``None`` is what Ray says.
        topology: the GPUs of each node, idle or not: ``[{"node_id", "num_gpus", "is_head"}, ...]``; ``None`` reads it
            from the session that is up.

    Raises:
        ConfigError: ``tp_size`` is below 1 or no whole number.
        ExecutorError: no node has a GPU, only the head has, or no equal split fits; no session is up to be asked.

    Example:
        >>> nodes = [{"node_id": name, "num_gpus": 4, "is_head": False} for name in "ab"]
        >>> spec = plan_replica_bundle_shape(8, topology=nodes)
        >>> spec.strategy, spec.bundles
        ('STRICT_SPREAD', [{'CPU': 1, 'GPU': 4}, {'CPU': 1, 'GPU': 4}])
    """
    if isinstance(tp_size, bool) or not isinstance(tp_size, int) or tp_size < 1:
        raise ConfigError(f"tp_size={tp_size!r}: tp_size must be >= 1, a whole number of GPUs.")
    if topology is None:
        from curator.cluster.topology import get_gpu_topology

        topology = get_gpu_topology(head_node_id)
    nodes = [node for node in topology if node["num_gpus"] >= 1]
    if not nodes:
        raise ExecutorError(
            f"tp_size={tp_size}: No GPU nodes found in the Ray cluster. Add nodes with GPUs, or run the replica on "
            "CPUs: 'device: cpu'."
        )
    ignores_head = ignore_ray_head_node()
    if ignores_head:
        nodes = [node for node in nodes if not node["is_head"]]
        if not nodes:
            raise ExecutorError(
                "CURATOR_IGNORE_RAY_HEAD_NODE is set but no non-head GPU nodes are available. Add worker nodes with "
                "GPUs, or unset it."
            )
    gpus = sorted((int(node["num_gpus"]) for node in nodes), reverse=True)
    nnodes = _fewest_nodes(tp_size, gpus)
    if nnodes is None:
        sizes = sizes_that_fit(sum(gpus), lambda size: _fewest_nodes(size, gpus) is not None)
        raise ExecutorError(
            f"Cannot place TP={tp_size}: need an even split across nodes but no valid combination found across "
            f"{len(nodes)} eligible node(s) with {gpus_in_words(gpus)} GPUs. {sizes}"
        )
    per_node = tp_size // nnodes
    return ReplicaBundleSpec(
        bundles=[{"CPU": 1, "GPU": per_node} for _ in range(nnodes)],
        strategy=STRICT_PACK if nnodes == 1 else STRICT_SPREAD,
        nnodes=nnodes,
        per_node_gpus=per_node,
        bundle_label_selector=[dict(WORKER_NODE_LABEL) for _ in range(nnodes)] if ignores_head else None,
    )


def sizes_that_fit(total: int, does_fit: Callable[[int], bool]) -> str:
    """A sentence that names the sizes that would fit, up to a size that is more than any model needs.

    Args:
        total: GPUs there are.
        does_fit: whether a replica of a size would.
    """
    is_cut = total > LARGEST_SIZE_NAMED
    sizes = sizes_in_words(size for size in range(1, min(total, LARGEST_SIZE_NAMED) + 1) if does_fit(size))
    return f"Sizes {f'up to {LARGEST_SIZE_NAMED} ' if is_cut else ''}that would fit: {sizes}."


def gpus_in_words(gpus: Iterable[float]) -> str:
    """The GPUs of each node, the most first.

    Example:
        >>> gpus_in_words([4, 8, 8, 0]), gpus_in_words([])
        ('2 x 8, 4', '0')
    """
    counts = sorted(Counter(each for each in gpus if each).items(), reverse=True)
    return ", ".join(f"{count} x {each:g}" if count > 1 else f"{each:g}" for each, count in counts) or "0"


def sizes_in_words(sizes: Iterable[int]) -> str:
    """Sizes as a person writes them.

    Args:
        sizes: ascending.

    Example:
        >>> sizes_in_words([1, 2, 3, 4, 6, 8]), sizes_in_words([])
        ('1 to 4, 6, 8', 'none')
    """
    runs: list[list[int]] = []
    for size in sizes:
        if runs and runs[-1][-1] == size - 1:
            runs[-1].append(size)
        else:
            runs.append([size])
    words = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return ", ".join(words) or "none"


def _fewest_nodes(tp_size: int, gpus: Sequence[int]) -> int | None:
    """Nodes of the best equal split; ``gpus`` of the nodes, the most first."""
    return next(
        (n for n in range(1, len(gpus) + 1) if tp_size % n == 0 and gpus[n - 1] >= tp_size // n),
        None,
    )
