"""The driver's side of a run, the same for every executor: plan, step by step, commit, account, publish.

Only small results come here: counts and names of files. Text stays with the workers, keys and removals in files.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import platform
import time
from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loguru import logger

from curator.errors import ConfigError, ExecutorError, TooManyBadRecordsError, TwoPassesError
from curator.executors.handover import Handover
from curator.pipeline import OnePass, Pipeline, Plan, Segment, Step, plan_run
from curator.report.progress import Progress
from curator.report.table import render_report
from curator.runs.accounts import Accounts
from curator.runs.kept_files import build_kept_folders, check_kept_folders
from curator.runs.publish import build_output, publish
from curator.runs.result import RunResult
from curator.runs.scratch import Scratch, check_output
from curator.runs.shared_work import SharedWork
from curator.stages.barrier.arrow_files import look_for_pandas
from curator.stages.base import SinkStage, SourceStage
from curator.stages.io.byte_stream import is_remote
from curator.stages.io.inputs import EMBEDDED
from curator.stages.io.output_file import is_full, storage_error
from curator.stopping import check_stop, hold_stops
from curator.tasks import ResultTask

if TYPE_CHECKING:
    from curator.executors.base import BaseExecutor


def run_pipeline(
    executor: BaseExecutor, pipeline: Pipeline, *, run_directory: Path | None, show_progress: bool | None
) -> RunResult:
    """Run a pipeline from its input to its published output.

    Raises:
        CuratorError: the run could not be finished; nothing was published, and the inputs are as they were.
    """
    source, sink = pipeline.stages[0], pipeline.stages[-1]
    if not isinstance(source, SourceStage) or not isinstance(sink, SinkStage):
        raise ConfigError(
            "stages: a run begins with a stage that reads and ends with one that writes, as in [read,exact,write]."
        )
    output_path = Path(os.path.abspath(getattr(sink, "output_path", "")))
    durable = getattr(sink, "durability", "full") == "full"
    replace = getattr(sink, "output_mode", "new") == "replace"
    named = [path for path in getattr(source, "input_path", []) if path != EMBEDDED and not is_remote(path)]
    check_output(output_path, replace=replace, inputs=[path for path in named if os.path.exists(path)])
    scratch = Scratch(output_path, durable=durable)
    check_stop()
    scratch.open()
    try:
        input_directory = (run_directory or output_path.with_name(output_path.name + ".run")) / "input"
        stages = [source.materialise(input_directory), *pipeline.stages[1:]]
        plan = plan_run(stages, executor=executor.describe(), one_pass_bytes=executor.one_pass_bytes)
        local = [split.file.path for split in plan.splits if not is_remote(split.file.path)]
        check_output(output_path, replace=replace, inputs=list(dict.fromkeys(local)))
        check_kept_folders(plan, output_path, [*(path for path in named if os.path.isdir(path)), *local])
        for line in str(plan).splitlines():
            logger.log("WARNING" if line.startswith("doubt ") else "INFO", "{}", line)
        run = partial(_run_planned, durable=durable, replace=replace, show_progress=show_progress)
        try:
            return run(executor, plan, scratch)
        except TwoPassesError as error:
            logger.warning("{} The run begins again and reads the input twice.", error)
            scratch.clear()
            return run(executor, dataclasses.replace(plan, steps=plan.parts), scratch)
    except OSError as error:
        if not is_full(error):
            raise
        raise storage_error(scratch.path, error) from error
    finally:
        hold_stops()
        scratch.close()


def _run_planned(
    executor: BaseExecutor, plan: Plan, scratch: Scratch, *, durable: bool, replace: bool, show_progress: bool | None
) -> RunResult:
    accounts = Accounts(plan)
    before_session = time.perf_counter()
    handover = Handover(plan, scratch)
    look_for_pandas()
    shared = None if executor.shared_path is None else SharedWork(executor.shared_path, plan, _in_words(executor))
    with executor.session(plan.steps, len(plan.splits)):
        started = time.perf_counter()
        startup_s = started - before_session
        begun = datetime.datetime.now(datetime.UTC)
        shown = show_progress if show_progress is not None or executor.show_progress else False
        with Progress(shown, interval_s=executor.progress_interval) as progress:
            for step in plan.steps:
                if isinstance(step, OnePass):
                    both = _run_step(executor, step, handover, scratch, progress)
                    for part, results in zip((step.first, step.second), both, strict=True):
                        accounts.add(part, results)
                        _check_quarantine(plan, accounts, results)
                        accounts.decided(results)
                        handover.finish(part, results)
                    continue
                taken = None if shared is None else shared.take(step, scratch)
                if taken is None:
                    (taken,) = _run_step(executor, step, handover, scratch, progress)
                results = taken
                accounts.add(step, results)
                if shared is not None:
                    shared.give(step, results)
                if isinstance(step, Segment) and not step.earlier:
                    _check_quarantine(plan, accounts, results)
                handover.finish(step, results)
        seconds = time.perf_counter() - started
    accounts.finish()
    segment_results = handover.segment_results
    totals, stages = accounts.totals(), [stage.to_dict() for stage in accounts.stages.values()]
    read_bytes = next(iter(accounts.stages.values())).bytes
    report = render_report(
        totals,
        stages,
        seconds=seconds,
        read_bytes=read_bytes,
        output_path=scratch.output_path,
        damaged_files=accounts.damaged_files,
    )
    run: dict[str, Any] = {
        "version": 1,
        "status": "done",
        "fingerprint": plan.fingerprint,
        "executor": plan.executor,
        "host": platform.node(),
        "python": platform.python_version(),
        "began": begun.isoformat(timespec="seconds"),
        "startup_seconds": round(startup_s, 3),
        "shutdown_seconds": round(time.perf_counter() - started - seconds, 3),
        "seconds": round(seconds, 3),
        **({"shared_seconds": round(shared.seconds, 3)} if shared is not None and shared.seconds else {}),
        "input": {
            "files": len({split.file.path for split in plan.splits}),
            "bytes": plan.total_bytes,
            "uncompressed_bytes": read_bytes,
            "splits": len(plan.splits),
        },
        "counts": totals,
        "stages": stages,
    }
    kept = build_kept_folders(plan, segment_results, accounts.split_counts, durable=durable)
    try:
        staging = build_output(scratch, plan, accounts, segment_results, run=run, report=report, durable=durable)
        check_stop()
        hold_stops()
        for folder in kept:
            folder.publish()
        publish(staging, scratch.output_path, replace=replace)
    finally:
        for folder in kept:
            folder.close()
    logger.info("published {}", scratch.output_path)
    for result in segment_results[-1]:
        result.directory = str(scratch.output_path)
    return RunResult(scratch.output_path, totals, stages, seconds, report, segment_results[-1])


def _in_words(executor: BaseExecutor) -> str:
    # Secrets among the settings show as ***.
    return f"{executor!r} {sorted(executor.config.items())!r}"


def _check_quarantine(plan: Plan, accounts: Accounts, results: Sequence[ResultTask]) -> None:
    """Stop early when too many records are bad: the night is long, and the output would be thrown away."""
    limit = getattr(plan.steps[0].all_stages[0], "max_quarantined", None)
    totals = accounts.totals()
    bad, read = totals["quarantined"], totals["read"]
    if limit is None or bad <= limit * read:
        return
    reasons: Counter[str] = Counter()
    for result in results:
        for found in result.counts["quarantined"].values():
            reasons.update(found)
    worst = max(results, key=lambda result: sum(sum(found.values()) for found in result.counts["quarantined"].values()))
    shown = ", ".join(f"{reason} {count:,}" for reason, count in reasons.most_common(5))
    raise TooManyBadRecordsError(
        f"{bad:,} of {read:,} records are bad, more than read.max_quarantined={limit}: {shown}; most of them in "
        f"{plan.splits[worst.unit].file.path!r}. Nothing is published. Mend the input, or raise the limit to see them "
        "in the quarantine."
    )


def _run_step(
    executor: BaseExecutor, step: Step, handover: Handover, scratch: Scratch, progress: Progress
) -> list[list[ResultTask]]:
    """The results of each part of a step: two if it joins two passes, and one otherwise."""
    units = handover.units(step)
    parts = (step.first, step.second) if isinstance(step, OnePass) else (step,)
    results: list[dict[int, ResultTask]] = [{} for _ in parts]
    total = handover.plan.bytes_of(step)
    with progress.step(step.name, total_bytes=total, num_units=len(units)) as shown:
        for unit, tasks in executor.run_step(step, units, scratch.attempts, shown.add_bytes):
            for part, made, result in zip(parts, results, tasks, strict=True):
                assert isinstance(result, ResultTask)
                made[unit] = scratch.commit(part.ordinal, units[unit][0].task_id, result)
            split = getattr(units[unit][0], "split", None)
            shown.unit_done(0 if split is None else split.size_bytes)
            handover.give_back()
            check_stop()
    if missing := len(units) - len(results[0]):
        raise ExecutorError(f"{step.name}: {missing:,} of {len(units):,} units never came back. Nothing is published.")
    return [[made[unit] for unit in sorted(made)] for made in results]
