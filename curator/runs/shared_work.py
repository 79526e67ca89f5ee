"""Work that runs of a sweep have in common: the first pass over the input, kept by its content and taken up again.

The files that the workers of the first segment left (keys, rows, ledgers, quarantines) flow in, with their counts; a
later run with the same input, the same stages in that segment and the same settings of theirs gets them back as its
own. Entries appear whole or not at all, the first writer wins, and each file is checked before it is used. Refused are
segments that leave files for good, and whatever does not match its digest.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loguru import logger

from curator.errors import StorageError
from curator.pipeline import Plan, Segment, Step
from curator.pipeline.plan import FORMAT_VERSION
from curator.runs.scratch import PRIVATE, Scratch, new_attempt
from curator.stages.base import ProcessingStage, SourceStage
from curator.stages.io.output_file import digest_file
from curator.tasks import ResultTask

INDEX = "index.json"


class SharedWork:
    """The first pass of one run.

    Args:
        folder: where all runs of the sweep keep what they share; on the file system of the outputs, nothing is copied.
        plan: the plan of the run.
        executor: the executor in words: times are compared, so only runs of one and the same share work.
    """

    def __init__(self, folder: Path, plan: Plan, executor: str) -> None:
        step = plan.steps[0]
        self._step = step if _is_shareable(step) else None
        self._entry = folder / (first_pass_digest(plan, executor) if self._step is not None else "")
        self._began_s = time.perf_counter()
        self.seconds = 0.0
        """Wall time that the first pass took the run that did it; 0 if this one did it."""

    def take(self, step: Step, scratch: Scratch) -> list[ResultTask] | None:
        """What an earlier run left of this step.

        Args:
            step: any step.
            scratch: the scratch space of this run, which gets the files.

        Returns:
            The committed results in split order; ``None`` if the step has to be run.
        """
        self._began_s = time.perf_counter()
        if step is not self._step or not self._entry.is_dir():
            return None
        made: list[Path] = []
        try:
            index = json.loads((self._entry / INDEX).read_text(encoding="utf-8"))
            results = [self._take_unit(each, step, scratch, made) for each in index["units"]]
            self.seconds = float(index["seconds"])
        except (OSError, ValueError, LookupError, TypeError, StorageError) as error:
            logger.warning("{}: what an earlier run left cannot be used and is done again: {}", step.name, error)
            for directory in made:
                shutil.rmtree(directory, ignore_errors=True)
            shutil.rmtree(self._entry, ignore_errors=True)
            return None
        logger.info("{}: was done by an earlier run of this sweep, in {:.1f} s", step.name, self.seconds)
        return [scratch.commit(step.ordinal, str(result.unit), result) for result in results]

    def give(self, step: Step, results: Sequence[ResultTask]) -> None:
        """Leave the results of this step for later runs; nothing happens if they are there, or are not shared."""
        if step is not self._step or self._entry.is_dir():
            return
        seconds = time.perf_counter() - self._began_s
        staging = self._entry.with_name(f".{self._entry.name}-{secrets.token_hex(8)}")
        try:
            staging.mkdir(mode=PRIVATE, parents=True)
            units = [_leave_unit(result, staging) for result in results]
            (staging / INDEX).write_text(json.dumps({"seconds": seconds, "units": units}), encoding="utf-8")
            os.rename(staging, self._entry)
        except OSError as error:
            # Somebody was first, or there is no room; the run itself wants for nothing.
            logger.debug("{}: is not left for later runs: {}", step.name, error)
            shutil.rmtree(staging, ignore_errors=True)

    def _take_unit(self, entry: dict[str, Any], step: Step, scratch: Scratch, made: list[Path]) -> ResultTask:
        directory = new_attempt(scratch.attempts, step.ordinal, entry["unit"])
        made.append(directory)
        for name, (size_bytes, digest) in entry["digests"].items():
            source = self._entry / str(entry["unit"]) / name
            found = digest_file(source)
            if (found.size_bytes, found.digest) != (size_bytes, digest):
                raise ValueError(f"{str(source)!r} is not what was left there")
            link_or_copy(source, directory / name)
        return ResultTask(
            task_id=entry["task_id"],
            unit=entry["unit"],
            directory=str(directory),
            files=entry["files"],
            counts=entry["counts"],
            seconds=entry["seconds"],
        )


def first_pass_digest(plan: Plan, executor: str) -> str:
    """The digest of everything that decides what the workers of the first segment leave.

    Args:
        plan: the plan of a run.
        executor: the executor in words.
    """
    segment = plan.steps[0]
    assert isinstance(segment, Segment)
    content = {
        "version": FORMAT_VERSION,
        "executor": executor,
        "splits": [split.to_dict() for split in plan.splits],
        "stages": [[stage.name, list(stage.inputs()), stage.settings()] for stage in segment.stages],
        "shuffles": [
            [stage.name, list(stage.inputs()), stage.key_settings(), stage.get_band_iterations()]
            for stage in segment.shuffles
        ],
        "code": code_of(segment.all_stages),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()[:32]


def code_of(stages: Sequence[ProcessingStage]) -> dict[str, str]:
    """Classes of stages, and for those that are not curator's own a digest of the file that defines them.

    Example:
        >>> from curator import ExactDeduplication
        >>> code_of([ExactDeduplication()])
        {'curator.stages.dedup.exact.ExactDeduplication': ''}
    """
    found = {}
    for stage in stages:
        kind = type(stage)
        file = getattr(sys.modules.get(kind.__module__), "__file__", None)
        is_own = kind.__module__.startswith("curator.")
        digest = "" if is_own or file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
        found[f"{kind.__module__}.{kind.__qualname__}"] = digest
    return found


def link_or_copy(source: Path, target: Path) -> None:
    """Give a file a second name; across file systems, a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _leave_unit(result: ResultTask, staging: Path) -> dict[str, Any]:
    directory = staging / str(result.unit)
    directory.mkdir(mode=PRIVATE)
    digests = {}
    for name in result.files.values():
        link_or_copy(Path(result.directory) / name, directory / name)
        found = digest_file(directory / name)
        digests[name] = [found.size_bytes, found.digest]
    return {
        "task_id": result.task_id,
        "unit": result.unit,
        "files": result.files,
        "counts": result.counts,
        "seconds": result.seconds,
        "digests": digests,
    }


def _is_shareable(step: Step) -> bool:
    return (
        isinstance(step, Segment)
        and bool(step.shuffles)
        and not step.earlier
        and isinstance(step.stages[0], SourceStage)
        and all(stage.files_to_keep is None for stage in step.shuffles)
    )
