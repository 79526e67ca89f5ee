"""What runs inside Ray Data's workers: a block of rows in, the rows that the stages of one step make of it out.

An actor sets its stages up when it gets its first block and tears them down when Ray Data lets it go; a task does both
around each block. What a stage raises goes to the driver as it is.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
from loguru import logger
from ray.exceptions import ActorDiedError

from curator.cluster import get_worker_metadata_and_node_id
from curator.cluster.secrets import take_secrets
from curator.errors import CuratorError, ExecutorError
from curator.executors.freed_memory import keep_freed_memory
from curator.executors.open_files import reserve_open_files
from curator.executors.ray_data.rows import Row, from_frame, to_frame
from curator.executors.worker import StepWorker
from curator.pipeline import Step
from curator.tasks import FailedTask

FRAME_BYTES = 16 << 20
"""Rows are handed on when they hold so much: half a block would be too late, every task too often."""

_REGISTER_S = 600.0
"""For an answer that takes a millisecond: the node of the register may be busy, and a run is not to end for that."""

_WATCH_S = 5.0


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the workers of one step need to know.

    Args:
        step: the segment or barrier.
        batch_size: tasks in a unit.
        attempts: where attempts get their directories; ``None`` for steps that leave no files.
        register: the actor that takes reports.
        max_attempts: how often a block may be begun without being finished.
    """

    step: Step
    batch_size: int
    attempts: str | None
    register: Any
    max_attempts: int


class SegmentActor:
    """The callable that Ray Data keeps in an actor."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._worker: StepWorker | None = None
        self._worker_id = ""

    def __call__(self, frame: Any) -> Iterator[Any]:  # noqa: ANN401
        """Run a block."""
        rows = from_frame(frame)
        try:
            with _reported(self._assignment, rows), _watched(self._assignment):
                if self._worker is None:
                    self._worker_id = _enter(self._assignment)
                    self._worker = _set_up(self._assignment)
                yield from _run_block(self._assignment, self._worker, rows)
        except BaseException:
            # An error keeps this object alive, and the run ends anyway.
            self._end()
            raise

    def __del__(self) -> None:
        # Ray Data deletes this when the actor ends in peace, which is the last that it hears.
        self._end()

    def _end(self) -> None:
        worker, self._worker = self._worker, None
        worker_id, self._worker_id = self._worker_id, ""
        if worker_id:
            failure = None if worker is None else _tear_down(worker)
            with contextlib.suppress(Exception):
                ray.get(self._assignment.register.leave.remote(worker_id, failure), timeout=_REGISTER_S)


def run_in_task(frame: Any, assignment: Assignment) -> Iterator[Any]:  # noqa: ANN401
    """Run a block in a task."""
    rows = from_frame(frame)
    with _reported(assignment, rows), _watched(assignment):
        worker = _set_up(assignment)
        try:
            yield from _run_block(assignment, worker, rows)
        finally:
            _tear_down(worker)


@contextlib.contextmanager
def _reported(assignment: Assignment, rows: list[Row]) -> Iterator[None]:
    """Give errors to the register: on their way through Ray Data they lose what they carry."""
    try:
        yield
    except CuratorError as error:
        place = rows[0].place if rows else ()
        ray.get(assignment.register.fail.remote(place, error), timeout=_REGISTER_S)
        raise


@contextlib.contextmanager
def _watched(assignment: Assignment) -> Iterator[None]:
    """End this process if the run ends while a block is being worked on: Ray Data would leave it to its work."""
    done = threading.Event()
    threading.Thread(target=_watch, args=(assignment, done), daemon=True).start()
    try:
        yield
    finally:
        done.set()


def _watch(assignment: Assignment, done: threading.Event) -> None:
    while not done.wait(_WATCH_S):
        try:
            ray.get(assignment.register.present.remote(), timeout=_REGISTER_S)
        except ActorDiedError:
            if not done.wait(_WATCH_S):
                os._exit(1)
        except Exception:  # noqa: BLE001
            logger.warning("{}: the register of the run does not answer", assignment.step.name)


def _set_up(assignment: Assignment) -> StepWorker:
    take_secrets()
    keep_freed_memory()
    reserve_open_files()
    worker = StepWorker(assignment.step, assignment.attempts)
    try:
        worker.setup(get_worker_metadata_and_node_id()[1])
    except CuratorError:
        raise
    except Exception as error:
        raise ExecutorError(f"{assignment.step.name}: setup failed: {type(error).__name__}: {error}") from error
    return worker


def _tear_down(worker: StepWorker) -> str | None:
    try:
        worker.teardown()
    except Exception as error:  # noqa: BLE001
        logger.warning("{}: teardown failed: {}", worker.step.name, error)
        return f"{worker.step.name}: teardown failed: {type(error).__name__}: {error}"
    return None


def _enter(assignment: Assignment) -> str:
    worker_id = ray.get_runtime_context().get_actor_id() or ""
    ray.get(assignment.register.enter.remote(worker_id), timeout=_REGISTER_S)
    return worker_id


def _run_block(assignment: Assignment, worker: StepWorker, rows: list[Row]) -> Iterator[Any]:
    """Run the units of a block; frames of rows come out as they fill, and one at the end, be it empty."""
    if not rows:
        yield to_frame([])
        return
    block = f"{assignment.step.ordinal}:{rows[0].place}"
    begun = ray.get(assignment.register.begin.remote(block), timeout=_REGISTER_S)
    if begun > assignment.max_attempts:
        raise ExecutorError(
            f"{assignment.step.name}: the block of {len(rows)} tasks that begins with task {rows[0].task.task_id!r} "
            f"was lost {assignment.max_attempts} times: its workers died. Look for a task that takes too much memory "
            "or ends its process; executor=ray_actor_pool finds the record and goes on without it."
        )
    failed: list[FailedTask] = []
    ready: list[Row] = []
    num_bytes = 0
    for start in range(0, len(rows), assignment.batch_size):
        unit = rows[start : start + assignment.batch_size]
        place = unit[0].place
        made = worker.run(place[0], [row.task for row in unit])
        failed += [task for task in made if isinstance(task, FailedTask)]
        kept = [task for task in made if not isinstance(task, FailedTask)]
        for index, task in enumerate(kept):
            row = Row((*place, index), task)
            ready.append(row)
            num_bytes += row.__sizeof__()
            if num_bytes >= FRAME_BYTES:
                yield to_frame(ready)
                ready, num_bytes = [], 0
    ray.get(assignment.register.finish.remote(block, failed), timeout=_REGISTER_S)
    yield to_frame(ready)
