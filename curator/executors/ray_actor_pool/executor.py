"""Runs every step on a pool of Ray actors. Importing this does not import Ray; running does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from curator.errors import ConfigError
from curator.executors.base import BaseExecutor, OnBytes, Unit
from curator.pipeline import Step
from curator.tasks import Task


class RayActorPoolExecutor(BaseExecutor):
    """Runs the units of a step on actors, one unit at a time in each.

    Results come back in any order and are put in input order by the driver. Actors are used again by the next step if
    it needs the same resources, so that a barrier does not cost a start.

    Args:
        config: ``address`` (``host:port`` or ``auto``; ``None`` starts a private session on this machine and never
        joins
            another), ``num_workers`` (``None``: as many as fit), ``runtime_env`` (environment of all workers).
        ignore_head_node: place no worker on the head node.
        show_progress: show progress on a terminal.
        progress_interval: seconds between progress messages in a log.

    Raises:
        ConfigError: a setting is wrong.

    Example:
        >>> RayActorPoolExecutor({"num_workers": 2})
        RayActorPoolExecutor(ray_actor_pool: 2 workers in a private session on this machine)
    """

    config_defaults: ClassVar[Mapping[str, Any]] = {"address": None, "num_workers": None, "runtime_env": None}

    def __init__(
        self,
        config: Mapping[str, Any] | None = None,
        ignore_head_node: bool = False,
        show_progress: bool = True,
        progress_interval: float = 10.0,
    ) -> None:
        super().__init__(config, ignore_head_node)
        self.show_progress = show_progress
        self.progress_interval = progress_interval
        num_workers = self.config["num_workers"]
        problems = []
        if num_workers is not None and (
            isinstance(num_workers, bool) or not isinstance(num_workers, int) or num_workers < 1
        ):
            problems.append(f"executor.num_workers={num_workers!r}: must be a whole number of at least 1, or null.")
        address = self.config["address"]
        if address is not None and (not isinstance(address, str) or not address):
            problems.append(f"executor.address={address!r}: must be host:port, 'auto', or null for a private session.")
        if problems:
            raise ConfigError(problems)
        self._pool: Any = None

    def describe(self) -> str:
        """The executor in a few words; starts nothing."""
        workers = self.config["num_workers"]
        where = "a private session on this machine" if self.config["address"] is None else self.config["address"]
        how_many = "as many workers as fit" if workers is None else f"{workers} workers"
        return f"ray_actor_pool: {how_many} in {where}"

    def session(self, steps: Sequence[Step], num_units: int) -> AbstractContextManager[object]:
        """A Ray session, its nodes set up, and a pool with the workers of the first step."""
        return self._session(steps, num_units)

    @contextmanager
    def _session(self, steps: Sequence[Step], num_units: int) -> Iterator[object]:
        from curator.cluster import ray_session
        from curator.executors.ray_actor_pool.pool import ActorPool

        with ray_session(self.config["address"], runtime_env=self.config["runtime_env"]) as session:
            self._pool = ActorPool(self.config["num_workers"], session.nodes, ignore_head_node=self.ignore_head_node)
            try:
                self._pool.open(steps, num_units)
                yield session
            finally:
                self._pool.close()
                self._pool = None

    def run_step(
        self, step: Step, units: Sequence[Unit], attempts: Path | None, on_bytes: OnBytes
    ) -> Iterator[tuple[int, list[Task]]]:
        """Run the units on the pool."""
        del on_bytes  # bytes are counted when a unit comes back
        yield from self._pool.run(step, units, None if attempts is None else str(attempts))
