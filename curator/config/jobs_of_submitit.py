"""Listening to every job of a sweep on SLURM, also behind one that died.

Jobs of submitit flow in; what became of each flows out. Hydra's launcher asks them in their order, and the first that
was killed raises: what became of the others would never be known. submitit hears of a job that died from ``sacct``
alone, so where there is no accounting the queue itself is asked: a job that is in it no more, and left no result, died.
"""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

POLL_S = 1.0
ASK_S = 10.0
"""Between two questions to the queue; a job must be missing in two answers, for a result may need time to be seen."""


class JobDiedError(RuntimeError):
    """A job ended without a result.

    Args:
        message: what the scheduler said.
        log: what the job printed.
    """

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


@contextmanager
def every_job_is_heard(launcher: object) -> Iterator[None]:
    """While a launcher of submitit launches, a job that died is a result, and no exception.

    Args:
        launcher: any launcher; others are left alone.
    """
    if not type(launcher).__module__.startswith("hydra_plugins.hydra_submitit_launcher."):
        yield
        return
    import submitit as found

    submitit: Any = found
    plain: Any = submitit.AutoExecutor

    class Heard(plain):  # type: ignore[misc]
        def map_array(self, *arguments: Any) -> list[_Job]:  # noqa: ANN401
            return [_Job(job) for job in super().map_array(*arguments)]

    log = logging.getLogger("submitit")
    handlers, log.handlers, log.propagate = log.handlers, [], True
    log.addFilter(_worth_a_line)
    submitit.AutoExecutor = Heard
    try:
        yield
    finally:
        submitit.AutoExecutor = plain
        log.removeFilter(_worth_a_line)
        log.handlers, log.propagate = handlers, False


class _Job:
    def __init__(self, job: Any) -> None:  # noqa: ANN401
        self._job = job

    def results(self) -> list[JobReturn]:
        try:
            self._wait()
            results: list[JobReturn] = self._job.results()
        except Exception as error:  # noqa: BLE001 - every way to die has an exception of its own
            died = JobReturn(status=JobStatus.FAILED)
            said = str(error).strip().splitlines()
            died.return_value = JobDiedError(said[-1] if said else type(error).__name__, Path(self._job.paths.stderr))
            return [died]
        return results

    def _wait(self) -> None:
        asked_s, missing = time.monotonic(), 0
        while not self._job.done():
            time.sleep(POLL_S)
            if time.monotonic() - asked_s >= ASK_S:
                missing = 0 if is_in_queue(str(self._job.job_id)) else missing + 1
                asked_s = time.monotonic()
            if missing == 2 and not self._job.done():
                raise JobDiedError(f"Job {self._job.job_id} is in the queue no more.")


def is_in_queue(job_id: str) -> bool:
    """Whether SLURM still means to do something about a job; also true if it does not answer."""
    command = ["squeue", "--noheader", "--format=%T", f"--jobs={job_id}"]
    try:
        asked = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return True
    if asked.returncode:
        return "Invalid job id" not in asked.stderr
    return bool(asked.stdout.strip())


def _worth_a_line(record: logging.LogRecord) -> bool:
    # It would come with every question, on every cluster without accounting.
    return "Bypassing sacct error" not in record.getMessage()
