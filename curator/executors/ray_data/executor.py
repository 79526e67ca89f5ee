"""Runs every chain of segments as one Ray Data dataset. Importing this imports neither Ray nor pandas; running does."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from curator.errors import ConfigError
from curator.executors.base import BaseExecutor, OnBytes, Unit
from curator.pipeline import Collective, Step
from curator.tasks import Task

_COUNTS = ("blocks_per_worker", "max_attempts")
_LIMITS = ("setup_timeout_s", "stall_timeout_s")


class RayDataExecutor(BaseExecutor):
    """Runs segments as ``map_batches`` operators that stream into one another, each with its own workers.

    The payload of tasks stays in Ray's object store between segments. Ray Data schedules, applies backpressure, grows
    and shrinks the workers, and runs a block again whose worker died; a block that was lost too often ends the run.

    Args:
        config: ``address`` (``host:port`` or ``auto``; ``None`` starts a private session on this machine),
            ``num_workers`` (at most so many for each segment; ``None``: as many as fit), ``runtime_env`` (environment
            of all workers), ``fuse`` (``False`` gives each stage workers of its own), ``blocks_per_worker`` (pieces
            that the input is cut into), ``max_attempts`` (how often a block may be begun), ``setup_timeout_s`` (for
            ``setup_on_node`` of all stages), ``stall_timeout_s`` (without any block going in or out).
        ignore_head_node: place no worker on the head node.
        show_progress: show progress on a terminal.
        progress_interval: seconds between progress messages in a log.

    Raises:
        ConfigError: a setting is wrong; every mistake is in the message.

    Example:
        >>> RayDataExecutor({"num_workers": 2})
        RayDataExecutor(ray_data: at most 2 workers for a segment in a private session on this machine)
    """

    config_defaults: ClassVar[Mapping[str, Any]] = {
        "address": None,
        "num_workers": None,
        "runtime_env": None,
        "fuse": True,
        "blocks_per_worker": 16,
        "max_attempts": 3,
        "setup_timeout_s": 3600.0,
        "stall_timeout_s": 3600.0,
    }

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
        if problems := _problems(self.config):
            raise ConfigError(problems)
        self._datasets: Any = None

    def describe(self) -> str:
        """The executor in a few words; starts nothing."""
        workers = self.config["num_workers"]
        where = "a private session on this machine" if self.config["address"] is None else self.config["address"]
        how_many = "as many workers as fit" if workers is None else f"at most {workers} workers for a segment"
        return f"ray_data: {how_many} in {where}"

    def session(self, steps: Sequence[Step], num_units: int) -> AbstractContextManager[object]:
        """A Ray session with its nodes set up; nothing for no steps.

        Raises:
            ConfigError: a stage asks for workers that cannot be; pandas, which Ray Data needs, is not installed.
            ExecutorError: the session cannot be had, a stage fits no node, or a node cannot be set up.
        """
        return self._session(steps)

    @contextmanager
    def _session(self, steps: Sequence[Step]) -> Iterator[object]:
        if not steps:
            yield None
            return
        if importlib.util.find_spec("pandas") is None:
            raise ConfigError(
                "executor: ray_data needs pandas, which is not installed. Type 'pip install curator[ray-data]', or "
                "choose executor=ray_actor_pool."
            )
        from curator.executors.ray_data.plan import check_steps
        from curator.executors.ray_data.session import open_datasets

        check_steps(steps)
        with (
            open_datasets(self.config, steps, ignore_head_node=self.ignore_head_node) as datasets,
            self.open_beside(),
        ):
            self._datasets = datasets
            try:
                yield datasets
            finally:
                self._datasets = None

    def run_step(
        self, step: Step, units: Sequence[Unit], attempts: Path | None, on_bytes: OnBytes
    ) -> Iterator[tuple[int, list[Task]]]:
        """Run the units as one dataset; results come block by block, in any order."""
        del on_bytes  # bytes are counted when a unit comes back
        yield from self._datasets.run_units(step, units, None if attempts is None else str(attempts))

    def run_chain(self, chain: Sequence[Step], tasks: Iterable[Task]) -> list[Task]:
        """Run all segments as one dataset, so that the second begins with the first blocks of the first."""
        made: list[Task] = self._datasets.run_chain(chain, list(tasks))
        return made

    def run_collective(self, step: Collective, tasks: Sequence[Task]) -> list[Task]:
        """Run the ranks of a group; Ray Data has no part in it."""
        from curator.executors.collective.session import run_collective_on_ray

        return run_collective_on_ray(
            step.stage,
            tasks,
            address=self.config["address"],
            runtime_env=self.config["runtime_env"],
            num_workers=self.config["num_workers"],
            ignore_head_node=self.ignore_head_node,
            setup_timeout_s=self.config["setup_timeout_s"],
        )


def _problems(config: Mapping[str, Any]) -> list[str]:
    problems = []
    if config["num_workers"] is not None and not _is_count(config["num_workers"]):
        problems.append(
            f"executor.num_workers={config['num_workers']!r}: must be a whole number of at least 1, or null."
        )
    problems += [
        f"executor.{key}={config[key]!r}: must be a whole number of at least 1."
        for key in _COUNTS
        if not _is_count(config[key])
    ]
    problems += [
        f"executor.{key}={config[key]!r}: must be a number of seconds above 0."
        for key in _LIMITS
        if isinstance(config[key], bool) or not isinstance(config[key], int | float) or not config[key] > 0
    ]
    if not isinstance(config["fuse"], bool):
        problems.append(f"executor.fuse={config['fuse']!r}: must be true or false.")
    address = config["address"]
    if address is not None and (not isinstance(address, str) or not address):
        problems.append(f"executor.address={address!r}: must be host:port, 'auto', or null for a private session.")
    return problems


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1
