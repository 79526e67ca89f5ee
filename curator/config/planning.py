"""``mode=plan``: what a built run would do and take, or every reason why it could not run; without any effect."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from curator.config.build import Run
from curator.config.replicas import plan_sets
from curator.config.room import workers_beside
from curator.errors import ConfigError, CuratorError
from curator.pipeline.outlook import look_out, this_machine
from curator.pipeline.plan import Plan
from curator.pipeline.plan_table import plan_as_json, render_plan
from curator.placement.table import render_replicas, replicas_as_json
from curator.runs.scratch import check_output
from curator.stages.io.byte_stream import is_remote


def describe_plan(run: Run) -> str:
    """A plan as the config asks for it, ``plan_format=table`` or ``json``.

    Args:
        run: what ``build_run`` made.

    Raises:
        ConfigError: it could not run: the input is missing, the output is there already or lies in the input, a
            worker or a replica needs more than there is. All of it is in the message.
    """
    problems: list[str] = []
    plan: Plan | None = None
    try:
        plan = run.pipeline.plan(run.executor)
    except ConfigError as error:
        problems += error.problems
    sink = run.pipeline.stages[-1]
    output = str(getattr(sink, "output_path", ""))
    inputs = [split.file.path for split in plan.splits if not is_remote(split.file.path)] if plan else []
    try:
        existing = [path for path in dict.fromkeys(inputs) if os.path.exists(path)]
        check_output(
            Path(os.path.abspath(output)), replace=getattr(sink, "output_mode", "new") == "replace", inputs=existing
        )
    except CuratorError as error:
        problems += getattr(error, "problems", [str(error)])
    if plan is None:
        raise ConfigError(problems)
    machine = this_machine(output) if run.executor.config.get("address") is None else None
    requests, placements = plan_sets(run.settings.replicas, machine, run.executor, problems)
    outlook = look_out(plan.steps, plan.splits, run.executor, output, variables=run.secrets)
    problems += outlook.problems
    if not problems:
        outlook, doubts = workers_beside(outlook, run.settings.replicas, run.executor, problems)
        plan = replace(plan, doubts=[*plan.doubts, *doubts])
    if problems:
        raise ConfigError(problems)
    if run.settings.plan_format == "json":
        return plan_as_json(plan, outlook, replicas_as_json(requests, placements))
    return render_plan(plan, outlook, render_replicas(requests, placements))
