"""What a planned run will take: workers against what is there, memory, scratch space. Estimates, and marked as such.

A plan and the words of an executor flow in, numbers flow out. Nothing is started and nobody is asked: of this machine
the kernel is read, of a cluster elsewhere nothing is known before the run.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.pipeline.plan import DOCUMENT_BYTES, count_documents
from curator.pipeline.segments import Barrier, Collective, OnePass, Segment, Step
from curator.stages.barrier.deciders import InOrder
from curator.stages.resources import Resources
from curator.tasks import Split

BASE_BYTES = 400 << 20
"""Memory of a worker before it holds any data: the interpreter, Arrow, compiled kernels."""

KEY_BYTES = 64
"""Scratch space of one document: its key, its row and its removal."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What this machine has for workers.

    Args:
        cpus: CPU cores that this process may use.
        gpus: GPUs of the one kind that can be seen without asking anybody.
        memory_bytes: memory, or the limit of this process' group.
        free_bytes: free space where the output will be; ``None`` if that cannot be told.
    """

    cpus: int
    gpus: int
    memory_bytes: int
    free_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class StepOutlook:
    """What one step will take.

    Args:
        name: the step.
        units: units of work; of a barrier, estimated.
        workers: workers at once; ``None`` where the cluster decides.
        resources: what each of them takes.
        memory_bytes: about what each of them holds.
        environment: names of the environment variables that its workers get.
    """

    name: str
    units: int
    workers: int | None
    resources: Resources
    memory_bytes: int
    environment: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a run will take.

    Args:
        steps: in running order.
        machine: where the workers are; ``None`` for a cluster, which is not asked.
        num_documents: records of the input: counted by Parquet footers, assumed elsewhere.
        scratch_bytes: space beside the output: the output until it gets its name, and the tables between the steps.
        environment: names of the environment variables of all workers.
        problems: why it cannot run.
    """

    steps: tuple[StepOutlook, ...]
    machine: Machine | None
    num_documents: int
    scratch_bytes: int
    environment: tuple[str, ...]
    problems: tuple[str, ...] = ()


def look_out(
    steps: Sequence[Step], splits: Sequence[Split], executor: object, output_path: str, *, variables: Iterable[str] = ()
) -> Outlook:
    """Estimate what a run will take.

    Args:
        steps: the steps of the plan.
        splits: its splits.
        executor: an executor; what is read of it are ``config`` and its keys ``address``, ``num_workers``,
            ``reserved_cpus`` and ``runtime_env``, where it has them.
        output_path: where the output will be.
        variables: names of environment variables that all workers inherit.
    """
    config: Mapping[str, Any] = getattr(executor, "config", {})
    shared = "num_workers" in config
    is_here = config.get("address") is None
    machine = this_machine(output_path) if is_here else None
    documents = count_documents(splits)
    environment = tuple(sorted({*_names(config.get("runtime_env")), *variables}))
    problems: list[str] = []
    looked = []
    for step in steps:
        memory = _memory_bytes(step, splits, documents)
        if isinstance(step, Barrier | Collective):
            units = _partitions(step, documents)
        else:
            units = len((step.earlier if isinstance(step, Segment) else ()) or splits)
        workers: int | None = 1
        if shared:
            workers = _workers(step, units, config, machine)
            if machine is not None and workers == 0:
                problems.append(_misfit(step, machine))
        own = tuple(dict.fromkeys((*environment, *(n for s in step.all_stages for n in _names(s.runtime_env)))))
        name = f"{step.name} in one pass" if isinstance(step, OnePass) else step.name
        looked.append(StepOutlook(name, units, workers, step.resources, memory, own))
    scratch = sum(split.size_bytes for split in splits) + documents * KEY_BYTES * len(steps)
    if any(takes.holds_texts for step in steps for takes in _in_order(step, splits)):
        scratch += documents * DOCUMENT_BYTES
    if machine is not None and machine.free_bytes is not None and machine.free_bytes < scratch // 2:
        problems.append(
            f"output_path: about {scratch:,} bytes are needed at {output_path!r}, and {machine.free_bytes:,} are free."
        )
    return Outlook(tuple(looked), machine, documents, scratch, environment, tuple(dict.fromkeys(problems)))


def this_machine(output_path: str) -> Machine:
    """What the kernel says about this machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        memory = min(memory, int(limit)) if limit.isdigit() else memory
    except OSError:
        pass
    gpus = sum(name.removeprefix("nvidia").isdigit() for name in os.listdir("/dev")) if os.path.isdir("/dev") else 0
    place = Path(os.path.abspath(output_path or "."))
    place = next((each for each in (place, *place.parents) if each.is_dir()), Path("/"))
    try:
        free = shutil.disk_usage(place).free
    except OSError:
        free = None
    return Machine(len(os.sched_getaffinity(0)), gpus, memory, free)


def _memory_bytes(step: Step, splits: Sequence[Split], documents: int) -> int:
    asked = round(step.resources.memory_gb * 1e9)
    if isinstance(step, Segment | OnePass):
        # JSON lines stream; of Parquet, the row groups of a split are held while they are read.
        held = max((split.size_bytes * 3 for split in splits if split.file.format == "parquet"), default=64 << 20)
        held += documents * sum(takes.document_bytes for takes in _in_order(step, splits))
    elif isinstance(step, Collective):
        held = 0
    else:
        held = 4 * min(step.shuffle.partition_bytes, documents * KEY_BYTES)
    return max(asked, BASE_BYTES + held)


def _in_order(step: Step, splits: Sequence[Split]) -> list[InOrder]:
    """What deciders of a step take."""
    shuffles = step.shuffles if isinstance(step, OnePass) else ()
    return [takes for shuffle in shuffles if (takes := shuffle.in_order(splits)) is not None]


def _partitions(step: Step, documents: int) -> int:
    size = getattr(step.all_stages[0], "partition_bytes", 256 << 20)
    return max(1, -(-documents * KEY_BYTES // max(1, size)))


def _workers(step: Step, units: int, config: Mapping[str, Any], machine: Machine | None) -> int | None:
    wanted = config.get("num_workers") or config.get("max_workers") or units
    if machine is None:
        return min(wanted, units) if config.get("num_workers") else None
    needs, fits = step.resources, units
    for there, need in (
        (machine.cpus - (config.get("reserved_cpus") or 0), needs.cpus),
        (machine.gpus - (config.get("reserved_gpus") or 0), needs.gpus),
        (machine.memory_bytes, needs.memory_gb * 1e9),
    ):
        if need:
            fits = min(fits, int(there / need + 1e-9))
    return max(0, min(wanted, fits, units))


def _misfit(step: Step, machine: Machine) -> str:
    needs = step.resources
    stage = next((each for each in step.all_stages if each.resources == needs), step.all_stages[0])
    has = f"{machine.cpus} CPUs, {machine.gpus} GPUs and {machine.memory_bytes / 1e9:.1f} GB"
    return (
        f"stages.{stage.name}.resources: a worker takes {needs.cpus:g} CPU, {needs.gpus:g} GPU and {needs.memory_gb:g} "
        f"GB, and this machine has {has} for workers. Ask for less, or join a cluster: 'executor.address=host:port'."
    )


def _names(runtime_env: Mapping[str, Any] | None) -> tuple[str, ...]:
    variables = (runtime_env or {}).get("env_vars") or {}
    return tuple(sorted(str(name) for name, value in variables.items() if value is not None))
