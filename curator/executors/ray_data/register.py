"""The register of a run: one small actor that workers report to, what no row can carry.

Reports flow in: a block is begun or done, a task was given up, an error ends the run, a
worker has set its stages up or torn them down. The
driver asks for the tasks that were given up and for workers that have not left yet. No payload comes here.
"""

from __future__ import annotations

from typing import Any

import ray
from ray._raylet import RAY_NODE_ID_KEY  # type: ignore[attr-defined]
from ray.exceptions import RayError

from curator.errors import CuratorError, ExecutorError
from curator.tasks import FailedTask

_START_S = 600.0


class Register:
    """Keeps the reports of all workers of a run; reports may come twice, as blocks may be run twice."""

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}
        self._failed: dict[str, list[FailedTask]] = {}
        self._present: set[str] = set()
        self._failures: list[str] = []
        self._errors: list[tuple[tuple[int, ...], CuratorError]] = []

    def begin(self, block: str) -> int:
        """A worker begins a block; returns how often it was begun and not finished, this time included."""
        self._begun[block] = self._begun.get(block, 0) + 1
        return self._begun[block]

    def finish(self, block: str, failed: list[FailedTask]) -> None:
        """A block is done; ``failed`` are the tasks in it that a stage gave up."""
        self._begun.pop(block, None)
        if failed:
            self._failed[block] = failed

    def fail(self, place: tuple[int, ...], error: CuratorError) -> None:
        """A block that begins at ``place`` ends the run."""
        self._errors.append((place, error))

    def error(self) -> CuratorError | None:
        """What ended the run: of several errors, that of the first block in the order of the input."""
        return min(self._errors, key=lambda failed: failed[0])[1] if self._errors else None

    def enter(self, worker: str) -> None:
        """A worker sets its stages up; if it is there already, its process has died and this is a new one."""
        self._present.add(worker)

    def leave(self, worker: str, failure: str | None) -> None:
        """A worker has torn its stages down, or failed to."""
        self._present.discard(worker)
        if failure is not None:
            self._failures.append(failure)

    def present(self) -> list[str]:
        """Workers that have not torn their stages down."""
        return sorted(self._present)

    def close(self) -> tuple[list[FailedTask], list[str]]:
        """Everything about the dataset that has ended: tasks given up, and teardowns that failed; then forget it."""
        failed = [task for block in sorted(self._failed) for task in self._failed[block]]
        failures = self._failures
        self.__init__()  # type: ignore[misc]
        return failed, failures


def start_register() -> Any:  # noqa: ANN401
    """Start a register on the node of the driver, which it does not outlive."""
    create: Any = ray.remote(Register)
    return create.options(
        num_cpus=0,
        max_restarts=0,
        max_concurrency=1,
        label_selector={RAY_NODE_ID_KEY: ray.get_runtime_context().get_node_id()},
    ).remote()


def wait_for_register(register: Any) -> None:  # noqa: ANN401
    """Wait until a register answers: on a busy node, workers that are there already would ask it before it is up.

    Raises:
        ExecutorError: it does not answer.
    """
    try:
        ray.get(register.present.remote(), timeout=_START_S)
    except RayError as error:
        raise ExecutorError(f"a process on the driver's node could not be started: {error}") from error
