"""Counting resources as Ray counts them: amounts of a need or a node in, whole ten-thousandths (grains) out.

Ten workers of 0.1 fit on one core. A resource of whole devices, such as GPUs, is counted device by device: a worker of
0.6 GPU sits on one of them, not on a bit of two, and a worker of 2 GPUs needs two that nobody else uses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from curator.stages.resources import Resources

GRAINS = 10_000
"""Grains of an amount of 1."""

DEVICES = frozenset({"GPU", "TPU", "NPU", "HPU", "RBLN", "FURIOSA", "TTNPU", "MBLT", "neuron_cores"})
"""What Ray hands out by the device."""


def grains(amount: float) -> int:
    """An amount in ten-thousandths, the rest cut off.

    Example:
        >>> grains(0.3), grains(1 / 6)
        (3000, 1666)
    """
    # A decimal such as 0.3 is a hair off in binary: the inner rounding takes the hair away before the rest is cut off.
    return math.floor(round(amount * GRAINS, 6))


def needs_of(resources: Resources) -> dict[str, int]:
    """What is asked for, in grains, by Ray's names; nothing that is 0."""
    memory_bytes = round(resources.memory_gb * 1e9)
    needs = {"CPU": grains(resources.cpus), "GPU": grains(resources.gpus), "memory": memory_bytes * GRAINS}
    needs |= {kind: grains(amount) for kind, amount in resources.custom.items()}
    return {kind: need for kind, need in needs.items() if need}


def pieces_of(amounts: Mapping[str, float]) -> dict[str, list[int]]:
    """What is free on a node, in grains: a piece for each device, one piece of anything else."""
    pieces = {}
    for kind, amount in amounts.items():
        free = grains(amount)
        whole, rest = divmod(free, GRAINS)
        pieces[kind] = [GRAINS] * whole + [rest] * bool(rest) if kind in DEVICES else [free]
    return pieces


def times(kind: str, need: int, free: Mapping[str, Sequence[int]]) -> int:
    """How often ``need`` can be taken of what is free."""
    pieces = free.get(kind, ())
    if kind in DEVICES and need >= GRAINS:
        return sum(piece == GRAINS for piece in pieces) // math.ceil(need / GRAINS)
    return sum(piece // need for piece in pieces)


def fits(free: Mapping[str, Sequence[int]], needs: Mapping[str, int]) -> bool:
    """Whether all of ``needs`` can be taken of what is free."""
    return all(times(kind, need, free) for kind, need in needs.items())


def take(free: Mapping[str, list[int]], needs: Mapping[str, int]) -> None:
    """Take ``needs``, which must fit, away from what is free: part of a device from the one that it fills best."""
    for kind, need in needs.items():
        pieces = free[kind]
        if kind in DEVICES and need >= GRAINS:
            for _ in range(math.ceil(need / GRAINS)):
                pieces[pieces.index(GRAINS)] = 0
        else:
            tightest = min((piece, position) for position, piece in enumerate(pieces) if piece >= need)[1]
            pieces[tightest] -= need
