"""One unit in a process of its own, which may die, eat memory or hang: its end is seen exactly, and nothing else ends.

A step and tasks flow in, pickled as Ray pickles them; a ``ProbeOutcome`` flows out. The process is a child of the
worker, in its environment and its process group, so that it goes when the worker goes.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from ray import cloudpickle

from curator.errors import CuratorError, ExecutorError
from curator.executors.isolation import ProbeOutcome, ProbeStatus
from curator.executors.orphans import end_with_parent
from curator.executors.worker import StepWorker
from curator.pipeline import Step
from curator.stages.base import WorkerMetadata
from curator.tasks import Task

_POLL_S = 0.02


def run_probe(
    step: Step,
    attempts: str | None,
    unit: int,
    tasks: Sequence[Task],
    limit_s: float | None,
    setup_limit_s: float,
    memory_limit_bytes: int | None,
) -> ProbeOutcome:
    """Run one unit in a child process.

    Args:
        step: the segment or barrier.
        attempts: where attempts get their directories.
        unit: its number.
        tasks: its tasks.
        limit_s: seconds that the unit may take; ``None`` is for ever.
        setup_limit_s: seconds that start and setup may take.
        memory_limit_bytes: memory that it may take on top of what its setup took.
    """
    # Among the attempts, what a worker leaves that is ended meanwhile goes with them.
    with tempfile.TemporaryDirectory(prefix="curator-probe-", dir=attempts) as folder:
        sent, answer, begun = Path(folder, "sent"), Path(folder, "answer"), Path(folder, "begun")
        sent.write_bytes(_pickled((step, attempts, unit, list(tasks), memory_limit_bytes)))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        child = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", __name__, str(sent), str(answer), str(begun)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            code = _wait(child, begun, limit_s, setup_limit_s)
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
        if answer.exists():
            outcome: ProbeOutcome = cloudpickle.loads(answer.read_bytes())
            return outcome
        how = "took too long" if code is None else f"ended with {_end_of(code)}"
        if not begun.exists():  # that says nothing about any record
            return ProbeOutcome(ProbeStatus.FAILED, error=ExecutorError(f"{step.name}: setup of a probe {how}"))
        if code is None:
            return ProbeOutcome(ProbeStatus.TIMED_OUT, f"{limit_s:g} s")
        return ProbeOutcome(ProbeStatus.DIED, _end_of(code))


def _end_of(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _pickled(value: object) -> bytes:
    pickled: bytes = cloudpickle.dumps(value)  # type: ignore[no-untyped-call]
    return pickled


def _wait(child: subprocess.Popen[bytes], begun: Path, limit_s: float | None, setup_limit_s: float) -> int | None:
    """The child's exit code, ``None`` if a limit passed; the unit's time begins when its setup has ended."""
    limits: list[float | None] = [setup_limit_s, limit_s]
    for phase, limit in enumerate(limits):
        since_s = time.monotonic()
        while limit is None or time.monotonic() - since_s < limit:
            try:
                return child.wait(_POLL_S)
            except subprocess.TimeoutExpired:
                if phase == 0 and begun.exists():
                    break
        else:
            return None
    return None


def _child(sent: Path, answer: Path, begun: Path) -> None:
    end_with_parent()
    step, attempts, unit, tasks, memory_limit_bytes = cloudpickle.loads(sent.read_bytes())
    try:
        worker = StepWorker(step, attempts)
        worker.setup(WorkerMetadata(worker_id=f"probe-{os.getpid()}"))
    except Exception as error:  # noqa: BLE001
        outcome = ProbeOutcome(
            ProbeStatus.FAILED,
            error=error
            if isinstance(error, CuratorError)
            else ExecutorError(f"{step.name}: setup failed: {type(error).__name__}: {error}"),
        )
    else:
        begun.touch()
        outcome = _outcome(worker, unit, tasks, memory_limit_bytes)
    unfinished = answer.with_suffix(".new")
    unfinished.write_bytes(_pickled(outcome))
    unfinished.rename(answer)


def _outcome(worker: StepWorker, unit: int, tasks: Sequence[Task], memory_limit_bytes: int | None) -> ProbeOutcome:
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    if memory_limit_bytes is not None:
        in_use = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_DATA, (in_use + memory_limit_bytes, hard))
    try:
        outcome = ProbeOutcome.passed(worker.run(unit, tasks))
    except MemoryError:
        outcome = ProbeOutcome(ProbeStatus.OUT_OF_MEMORY, "MemoryError")
    except CuratorError as error:
        outcome = ProbeOutcome(ProbeStatus.FAILED, error=error)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    return outcome


if __name__ == "__main__":
    _child(*(Path(argument) for argument in sys.argv[1:]))
