"""Whether the workers of a run have room beside its replicas on this machine. Settings in, numbers and words out; pure.

Replicas are there before the first worker and as long as the run, so that no worker gets what they take. A run that
would have no worker is a mistake; one that has fewer is a doubt of its plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from curator.pipeline.outlook import Outlook
from curator.serve.requests import request_of

if TYPE_CHECKING:
    from curator.executors.base import BaseExecutor
    from curator.serve.settings import ReplicaSettings


def workers_beside(
    outlook: Outlook, sets: Sequence[ReplicaSettings], executor: BaseExecutor, problems: list[str]
) -> tuple[Outlook, list[str]]:
    """What is left to the workers.

    Args:
        outlook: what the run would take without replicas.
        sets: what is served beside it.
        executor: who runs; one whose worker is this process has no workers that wait.
        problems: gets a sentence if a step has no worker.

    Returns:
        The outlook with the workers that fit, and a doubt if they are fewer.
    """
    machine = outlook.machine
    if machine is None or not sets or "num_workers" not in executor.config:
        return outlook, []
    doubts = []
    steps = list(outlook.steps)
    for kind, total in (("CPU", machine.cpus), ("GPU", machine.gpus)):
        taken = sum(_amount(each, kind) for each in sets)
        left = total - taken - (executor.config.get(f"reserved_{kind.lower()}s") or 0)
        fewer = []
        for number, step in enumerate(steps):
            need = getattr(step.resources, f"{kind.lower()}s")
            fits = max(0, int(left / need + 1e-9)) if need else step.workers
            if step.workers and fits is not None and fits < step.workers:
                steps[number] = replace(step, workers=fits)
                fewer.append((fits, step.workers, number + 1))
        if not fewer:
            continue
        fits, wanted, number = min(fewer)
        what = f"replicas: {taken:g} of {total} {kind}s are theirs for the whole run"
        change = f"{'lower' if fits else 'Lower'} {_numbers_to_change(sets, kind)}, or what a worker of it takes"
        if fits:
            workers = f"{fits} worker{'s' * (fits > 1)} and not {wanted}"
            doubts.append(f"{what}, so that step {number} has {workers}. For more, {change}.")
        else:
            problems.append(
                f"{what}, and no worker of step {number} fits beside them: it would wait in vain. {change}."
            )
    return replace(outlook, steps=tuple(steps)), doubts


def _amount(settings: ReplicaSettings, kind: str) -> float:
    whole = request_of(settings).bundle_resources(1)
    return settings.replicas * (whole.cpus if kind == "CPU" else whole.gpus)


def _numbers_to_change(sets: Sequence[ReplicaSettings], kind: str) -> str:
    said = []
    for each in sets:
        if amount := _amount(each, kind) / each.replicas:
            said += [f"replicas.{each.name}.replicas (now {each.replicas})"] * (each.replicas > 1)
            key, value = ("resources.cpus", amount) if kind == "CPU" else ("tp_size", each.tp_size)
            said.append(f"replicas.{each.name}.{key} (now {value:g})")
    return " or ".join(said)
