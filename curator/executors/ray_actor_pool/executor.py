"""Runs every segment on a pool of Ray actors. Importing this does not import Ray; running does."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from loguru import logger

from curator.executors.base import BaseExecutor, OnBytes, Unit, cut_units
from curator.executors.ray_actor_pool.budgets import RunBudget
from curator.executors.ray_actor_pool.flow import Flow
from curator.executors.ray_actor_pool.settings import DEFAULTS, read_settings
from curator.executors.ray_actor_pool.sizing import SegmentPlan, plan_segment
from curator.pipeline import Collective, Segment, Step, chains
from curator.tasks import FailedTask, Task

if TYPE_CHECKING:
    from curator.executors.ray_actor_pool.pool import WorkerPool
    from curator.executors.ray_actor_pool.scheduler import Scheduler

_OPEN_S = 1.0
"""Seconds that a session waits for the other workers once one is ready."""

_SAY_S = 10.0
"""Seconds without any worker after which the log says what is waited for."""


class RayActorPoolExecutor(BaseExecutor):
    """Runs segments on actors that stream into one another.

    A task goes on to the next segment as soon as it is made, without passing the driver; only barriers wait. Workers
    start, change segments and end with the backlog; what a lost worker, node or object takes with it is done again. A
    task that ends three workers, or two within ``unit_timeout_s``, is given up and reported; of a split, only the
    records at fault. Results come in input order, with the ids and bytes of a ``local`` run.

    Args:
        config: the keys of ``PoolSettings``, which says what each one does.
        ignore_head_node: place no worker on the head node.
        show_progress: show progress on a terminal.
        progress_interval: seconds between progress messages in a log.

    Raises:
        ConfigError: a setting is wrong.

    Example:
        >>> RayActorPoolExecutor({"num_workers": 2})
        RayActorPoolExecutor(ray_actor_pool: 2 workers in a private session on this machine)
    """

    config_defaults: ClassVar[Mapping[str, Any]] = DEFAULTS

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
        self.settings = read_settings(self.config)
        self._pool: WorkerPool | None = None
        self._budget = RunBudget(self.settings.max_node_failures)

    def describe(self) -> str:
        """The executor in a few words; starts nothing."""
        workers, address = self.settings.num_workers, self.settings.address
        where = "a private session on this machine" if address is None else address
        how_many = "as many workers as fit" if workers is None else f"{workers} workers"
        return f"ray_actor_pool: {how_many} in {where}"

    def session(self, steps: Sequence[Step], num_units: int) -> AbstractContextManager[object]:
        """A Ray session with a pool; the nodes are set up, and workers of the first chain are ready."""
        return self._session(steps, num_units)

    @contextmanager
    def _session(self, steps: Sequence[Step], num_units: int) -> Iterator[object]:
        from curator.cluster import ray_session
        from curator.executors.ray_actor_pool.pool import WorkerPool

        with (
            ray_session(self.settings.address, runtime_env=self.settings.runtime_env) as session,
            self.open_beside(),
        ):
            pool = WorkerPool(self.settings, ignore_head_node=self.ignore_head_node)
            self._pool, self._budget = pool, RunBudget(self.settings.max_node_failures)
            pool.steps = steps
            try:
                plans = {id(step): plan_segment(step, self.settings, pool.offers) for step in steps}
                first = next(iter(chains(steps)), [])
                self._open(pool, [plans[id(step)] for step in first], num_units)
                yield session
            except BaseException:
                pool.kill_all()
                raise
            else:
                pool.close()
            finally:
                self._pool = None

    def _open(self, pool: WorkerPool, plans: Sequence[SegmentPlan], num_units: int) -> None:
        """Start workers of the first chain, and wait until one is ready, or until it is clear that none will be."""
        if not plans or not num_units:
            return
        from curator.executors.ray_actor_pool.scheduler import Scheduler

        flow = Flow([1] * len(plans), [[]] * num_units)
        starting = Scheduler(pool, plans, flow, None, self._budget, self.progress_interval)
        ready_s, say_s = None, time.monotonic() + _SAY_S
        while not starting.open() and (ready_s is None or time.monotonic() - ready_s < _OPEN_S):
            if ready_s is None and pool.num_ready():
                ready_s = time.monotonic()
            elif ready_s is None and time.monotonic() > say_s:
                logger.info(
                    "the first worker is being set up; the first run on a machine compiles for about half a minute"
                )
                say_s = math.inf

    def run_step(
        self, step: Step, units: Sequence[Unit], attempts: Path | None, on_bytes: OnBytes
    ) -> Iterator[tuple[int, list[Task]]]:
        """Run the units of one step."""
        del on_bytes  # bytes are counted when a unit comes back
        scheduler = self._scheduler([step], units, attempts)
        for unit, made, failed in scheduler.run():
            yield unit.number, [*made, *failed]

    def run_chain(self, chain: Sequence[Step], tasks: Iterable[Task]) -> list[Task]:
        """Run segments that stream into one another."""
        first = chain[0]
        assert isinstance(first, Segment)
        scheduler = self._scheduler(chain, cut_units(tasks, first.batch_size), None)
        made = sorted(((unit.place, tasks) for unit, tasks, _ in scheduler.run()), key=lambda pair: pair[0])
        failed: list[FailedTask] = scheduler.flow.failed
        return [*(task for _, results in made for task in results), *failed]

    def run_collective(self, step: Collective, tasks: Sequence[Task]) -> list[Task]:
        """Run the ranks of a group; the workers of the pool make room for them."""
        from curator.executors.collective.session import run_collective_on_ray

        if self._pool is not None:
            self._pool.close()
        return run_collective_on_ray(
            step.stage,
            tasks,
            address=self.settings.address,
            runtime_env=self.settings.runtime_env,
            num_workers=self.settings.num_workers,
            ignore_head_node=self.ignore_head_node,
            setup_timeout_s=self.settings.setup_timeout_s,
        )

    def _scheduler(self, chain: Sequence[Step], units: Iterable[Unit], attempts: Path | None) -> Scheduler:
        from curator.executors.ray_actor_pool.scheduler import Scheduler

        assert self._pool is not None
        plans = [plan_segment(step, self.settings, self._pool.offers) for step in chain]
        sizes = [step.batch_size if isinstance(step, Segment) else 1 for step in chain]
        where = None if attempts is None else str(attempts)
        return Scheduler(self._pool, plans, Flow(sizes, units), where, self._budget, self.progress_interval)
