"""A plan with its outlook, for people and for machines. Names of environment variables, never their values."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from curator.pipeline.outlook import Outlook, StepOutlook
from curator.pipeline.plan import Plan, size

_NO_GROUPS = ("no placement groups",)


def render_plan(plan: Plan, outlook: Outlook, placement: Sequence[str] = ()) -> str:
    """A plan as a table.

    Args:
        plan: what will be done.
        outlook: what it will take.
        placement: lines on the placement groups of replicas.
    """
    head = ("step", "", "units", "workers", "a worker takes", "memory")
    rows = [head, *(_row(number, step) for number, step in enumerate(outlook.steps, start=1))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    table = ["  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines = [line for line in str(plan).splitlines() if not line.startswith("step ")]
    machine = outlook.machine
    there = (
        "unknown: a cluster is not asked before the run"
        if machine is None
        else (f"{machine.cpus} CPUs, {machine.gpus} GPUs, {size(machine.memory_bytes)} of memory on this machine")
    )
    place = "" if machine is None or machine.free_bytes is None else f", of {size(machine.free_bytes)} that are free"
    lines += [
        f"documents {'about ' if not _is_counted(plan) else ''}{outlook.num_documents:,}",
        f"scratch   about {size(outlook.scratch_bytes)} beside the output{place}",
        f"there is  {there}",
        *(f"{'' if number else 'placement':9} {line}" for number, line in enumerate(placement or _NO_GROUPS)),
        f"variables {', '.join(outlook.environment) or 'none besides those of this command'}",
        *(
            f"          {', '.join(step.environment)} for {step.name}"
            for step in outlook.steps
            if step.environment != outlook.environment
        ),
        "",
        *table,
    ]
    return "\n".join(lines)


def plan_as_json(plan: Plan, outlook: Outlook, placement: Sequence[Mapping[str, Any]] = ()) -> str:
    """A plan as one JSON object, with a line break at its end left to the caller.

    Args:
        plan: what will be done.
        outlook: what it will take.
        placement: the placement groups of replicas.
    """
    files = {split.file.path: split.file for split in plan.splits}
    content: dict[str, Any] = {
        "input": {
            "files": len(files),
            "bytes": plan.total_bytes,
            "estimated": plan.is_estimated,
            "formats": sorted({file.suffix for file in files.values()}),
            "ignored": plan.ignored,
            "splits": [
                {"name": split.name, "file": split.file.path, "bytes": split.size_bytes} for split in plan.splits
            ],
        },
        "read_bytes": plan.read_bytes,
        "documents": {"count": outlook.num_documents, "estimated": not _is_counted(plan)},
        "executor": plan.executor,
        "steps": [
            {
                "name": step.name,
                "kind": type(plan.steps[number]).__name__.lower(),
                "stages": [stage.name for stage in plan.steps[number].all_stages],
                "units": step.units,
                "workers": step.workers,
                "worker": {
                    "cpus": step.resources.cpus,
                    "gpus": step.resources.gpus,
                    "memory_gb": step.resources.memory_gb,
                    "expected_memory_bytes": step.memory_bytes,
                },
                "variables": list(step.environment),
            }
            for number, step in enumerate(outlook.steps)
        ],
        "machine": None if outlook.machine is None else asdict(outlook.machine),
        "scratch_bytes": outlook.scratch_bytes,
        "placement_groups": list(placement),
        "variables": list(outlook.environment),
        "output_path": plan.output_path,
        "fingerprint": None if plan.is_estimated else plan.fingerprint,
        "notes": plan.notes,
        "doubts": plan.doubts,
    }
    return json.dumps(content, indent=2)


def _is_counted(plan: Plan) -> bool:
    return all(split.file.num_rows is not None for split in plan.splits)


def _row(number: int, step: StepOutlook) -> tuple[str, ...]:
    needs = step.resources
    parts = [f"{needs.cpus:g} CPU"]
    parts += [f"{needs.gpus:g} GPU"] * bool(needs.gpus)
    parts += [f"{needs.memory_gb:g} GB"] * bool(needs.memory_gb)
    workers = "as fit" if step.workers is None else f"{step.workers:,}"
    return (f"{number}", step.name, f"{step.units:,}", workers, ", ".join(parts), f"about {size(step.memory_bytes)}")
