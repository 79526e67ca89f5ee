"""Builds and runs datasets: steps and tasks in, the rows that the last step makes out, block by block.

A chain of segments becomes one dataset, or a few one after the other where its least workers would not fit the cluster
together. Rows come in any order and carry their places; only a segment that gathers several tasks into a batch makes
Ray Data keep the order, because the same tasks must meet in every run.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from loguru import logger
from ray._private import state
from ray.exceptions import RayError

from curator.cluster.capacity import NodeOffer, describe_needs, describe_offers
from curator.cluster.options import exclude_head
from curator.cluster.secrets import STAGE, hide_secrets
from curator.cluster.topology import available_offers
from curator.errors import CuratorError, ExecutorError
from curator.executors.base import Unit
from curator.executors.ray_data.plan import WorkerPlan, cut_chain, plan_workers
from curator.executors.ray_data.rows import Row, from_frame, in_order, to_frame
from curator.executors.ray_data.worker import Assignment, SegmentActor, run_in_task
from curator.pipeline import Segment, Step
from curator.tasks import FailedTask, Task

_FETCH_S = 600.0
_LEAVE_S = 60.0
_LEAVE_AFTER_FAILURE_S = 10.0
_DYING_S = 5.0
_POLL_S = 0.05


@dataclass(slots=True, kw_only=True)
class Datasets:
    """Runs steps as datasets in the session that is up.

    Args:
        config: the executor's settings.
        offers: the nodes that may be used.
        head_ids: nodes that may not be used.
        register: the actor that takes the workers' reports.
    """

    config: Mapping[str, Any]
    offers: Sequence[NodeOffer]
    head_ids: Sequence[str]
    register: Any

    def run_chain(self, chain: Sequence[Step], tasks: list[Task]) -> list[Task]:
        """Run segments that stream into one another; the result is in input order, tasks given up at its end."""
        rows = [Row((number,), task) for number, task in enumerate(tasks)]
        failed: list[FailedTask] = []
        made = list(self._run(chain, rows, None, failed))
        return [*in_order(made), *failed]

    def run_units(self, step: Step, units: Sequence[Unit], attempts: str | None) -> Iterator[tuple[int, list[Task]]]:
        """Run units; yields each once, as its block comes back.

        Units of a segment without files may hold several tasks and give any number: they come at the end.
        """
        rows = [Row((number, place), task) for number, unit in enumerate(units) for place, task in enumerate(unit)]
        failed: list[FailedTask] = []
        if attempts is not None:
            for row in self._run([step], rows, attempts, failed):
                yield row.place[0], [row.task]
            return
        made: list[list[Row]] = [[] for _ in units]
        for row in self._run([step], rows, None, failed):
            made[row.place[0]].append(row)
        for number, results in enumerate(made):
            # Tasks given up are told apart by nobody: they stand behind the last unit.
            yield number, [*in_order(results), *(failed if number == len(made) - 1 else [])]

    def _run(
        self, chain: Sequence[Step], rows: list[Row], attempts: str | None, failed: list[FailedTask]
    ) -> Iterator[Row]:
        try:
            if rows:
                yield from self._run_planned(chain, rows, attempts, failed)
        except BaseException:
            self._wait_for_workers(_LEAVE_AFTER_FAILURE_S)
            ray.get(self.register.close.remote(), timeout=_FETCH_S)
            raise

    def _run_planned(
        self, chain: Sequence[Step], rows: list[Row], attempts: str | None, failed: list[FailedTask]
    ) -> Iterator[Row]:
        plans = [plan_workers(step, self.offers, self.config["num_workers"]) for step in chain]
        sizes = [step.batch_size if isinstance(step, Segment) else 1 for step in chain]
        runs = cut_chain(plans, [size > 1 for size in sizes], self.offers)
        units_per_block = self._units_per_block(plans[runs[0].start], -(-len(rows) // sizes[0]))
        dataset = self._from_rows(rows, units_per_block * sizes[0], keep_order=any(size > 1 for size in sizes[1:]))
        for run in runs:
            for number in run:
                plan = plans[number]
                if number:
                    units_per_block = self._units_per_block(plan, -(-len(rows) // sizes[number]))
                    dataset = _cut(dataset, sizes[number], units_per_block, spread=plans[number - 1].is_fanout)
                assignment = Assignment(
                    chain[number], sizes[number], attempts, self.register, self.config["max_attempts"]
                )
                dataset = self._map(dataset, assignment, plan, units_per_block)
            if run is not runs[-1]:
                dataset = self._materialise(dataset, chain)
        yield from self._results(dataset, chain)
        self._wait_for_workers(_LEAVE_S)
        given_up, failures = ray.get(self.register.close.remote(), timeout=_FETCH_S)
        failed += given_up
        if failures:
            raise ExecutorError(failures[0])

    def _units_per_block(self, plan: WorkerPlan, num_units: int) -> int:
        blocks: int = plan.max_workers * self.config["blocks_per_worker"]
        units = max(1, -(-num_units // blocks))
        return units if plan.max_calls is None else min(units, plan.max_calls)

    def _from_rows(self, rows: Sequence[Row], rows_per_block: int, *, keep_order: bool) -> Any:  # noqa: ANN401
        import ray.data

        context = ray.data.DataContext.get_current().copy()
        context.execution_options.preserve_order = keep_order
        frames = [to_frame(rows[start : start + rows_per_block]) for start in range(0, len(rows), rows_per_block)]
        with ray.data.DataContext.current(context):
            return ray.data.from_blocks(frames)

    def _map(
        self,
        dataset: Any,  # noqa: ANN401
        assignment: Assignment,
        plan: WorkerPlan,
        units_per_block: int,
    ) -> Any:  # noqa: ANN401
        from ray.data import ActorPoolStrategy, TaskPoolStrategy

        arguments: dict[str, Any] = {
            "batch_size": None,
            "batch_format": "pandas",
            **exclude_head(plan.options, self.head_ids),
        }
        if "runtime_env" in arguments:
            arguments["runtime_env"] = hide_secrets(arguments["runtime_env"], STAGE)
        if not arguments["num_gpus"]:
            del arguments["num_gpus"]
        if plan.uses_actors:
            # Calls on the main thread: what setup() has opened may be bound to it.
            compute: Any = ActorPoolStrategy(
                min_size=plan.min_workers,
                max_size=plan.max_workers,
                initial_size=plan.initial_workers,
                enable_true_multi_threading=True,
            )
            return dataset.map_batches_internal(
                SegmentActor, compute=compute, fn_constructor_args=(assignment,), **arguments
            )
        if plan.max_calls is not None:
            arguments["max_calls"] = max(1, plan.max_calls // units_per_block)
        compute = TaskPoolStrategy(size=plan.max_workers)
        return dataset.map_batches_internal(run_in_task, compute=compute, fn_args=(assignment,), **arguments)

    def _materialise(self, dataset: Any, chain: Sequence[Step]) -> Any:  # noqa: ANN401
        try:
            return dataset.materialize()
        except Exception as error:
            raise self._reason(error, chain) from error

    def _results(self, dataset: Any, chain: Sequence[Step]) -> Iterator[Row]:  # noqa: ANN401
        bundles = None
        try:
            bundles = dataset.iter_internal_ref_bundles()
            while (bundle := next(bundles, None)) is not None:
                for entry in bundle.blocks:
                    yield from from_frame(ray.get(entry.ref, timeout=_FETCH_S))
        except Exception as error:
            raise self._reason(error, chain) from error
        finally:
            # An executor that is not run to its end is stopped when its iterator goes.
            del bundles

    def _reason(self, error: Exception, chain: Sequence[Step]) -> CuratorError:
        """The error that a worker has reported, or one that says what Ray Data said."""
        if isinstance(error, CuratorError) and not isinstance(error, RayError):
            return error
        names = " | ".join(step.name for step in chain)
        try:
            reported: CuratorError | None = ray.get(self.register.error.remote(), timeout=_FETCH_S)
        except RayError as lost:
            return ExecutorError(f"{names}: the driver's node lost a process of this run: {lost}")
        if reported is not None:
            return reported
        from ray.data.exceptions import ExecutionTimeoutError

        reason = f"{names}: Ray Data ended with {type(error).__name__}: {error}"
        if isinstance(error, ExecutionTimeoutError):
            needs = "; ".join(f"{step.name}: {describe_needs(step.resources)}" for step in chain)
            reason += (
                f"\nThat is executor.stall_timeout_s={self.config['stall_timeout_s']:g}. A worker needs {needs}. "
                f"The nodes have {describe_offers(self.offers)}; free now is {describe_offers(available_offers())}."
            )
        return ExecutorError(reason)

    def _wait_for_workers(self, limit_s: float) -> None:
        """Wait until every worker has torn its stages down or is long dead; Ray Data only lets go of them."""
        deadline = time.monotonic() + limit_s
        dead_since: dict[str, float] = {}
        while present := ray.get(self.register.present.remote(), timeout=_FETCH_S):
            now = time.monotonic()
            for worker in present:
                # An actor that is let go of counts as dead from then on, while it still tears down.
                if state.actors(actor_id=worker).get("State") == "DEAD":
                    dead_since.setdefault(worker, now)
            if all(now - dead_since.get(worker, now) > _DYING_S for worker in present):
                return
            if now > deadline:
                logger.warning("{} workers have not ended {:g} s after their last block", len(present), limit_s)
                return
            time.sleep(_POLL_S)


def _cut(dataset: Any, batch_size: int, units_per_block: int, *, spread: bool) -> Any:  # noqa: ANN401
    """Cut blocks anew in front of a segment, where its units would not be whole, or one block would hold too much."""
    if batch_size > 1:
        return dataset.repartition(target_num_rows_per_block=batch_size * units_per_block, strict=True)
    return dataset.repartition(target_num_rows_per_block=units_per_block) if spread else dataset
