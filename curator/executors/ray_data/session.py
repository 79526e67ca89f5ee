"""Ray Data for the time of a run: a session, its settings, and the register; all of it is put back at the end.

Ray Data's settings and warnings are changed for this time only. On a cluster that was joined, the services that Ray
Data starts there for itself, and leaves, are ended too if they were not there before and nobody else is at work.
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray
from ray._private import state

from curator.cluster import alive_nodes, execute_setup_on_node, is_head_node, offers_from_nodes, ray_session
from curator.cluster.options import NODE_ID_LABEL
from curator.executors.ray_data.datasets import Datasets
from curator.executors.ray_data.register import start_register, wait_for_register
from curator.pipeline import Step

BLOCK_BYTES = 64 << 20
"""A block is handed on when it holds so much, however many rows the block before it had."""

_SERVICES = (
    ("datasets_stats_actor", "_dataset_stats_actor"),
    ("ActorLocationTracker", "ActorLocationTracker"),
    ("AutoscalingCoordinator", "AutoscalingCoordinator"),
    ("AutoscalingRequester", "AutoscalingRequester"),
    ("DataUsageCollectionActor", "DataUsageCollectionActor"),
)


@contextlib.contextmanager
def open_datasets(config: Mapping[str, Any], steps: Sequence[Step], *, ignore_head_node: bool) -> Iterator[Datasets]:
    """A session in which datasets can be run, with its nodes set up for all stages.

    Args:
        config: the executor's settings.
        steps: the steps that will be run.
        ignore_head_node: leave the head node alone.

    Raises:
        ExecutorError: the session cannot be had, no node may be used, or a node cannot be set up.
    """
    is_callers = ray.is_initialized()
    with ray_session(config["address"], runtime_env=config["runtime_env"]) as session:
        before = _services()
        with _settings(config, ignore_head_node=ignore_head_node):
            register = start_register()
            try:
                stages = {stage.name: stage for step in steps for stage in step.all_stages}
                execute_setup_on_node(
                    list(stages.values()), ignore_head_node=ignore_head_node, timeout_s=config["setup_timeout_s"]
                )
                offers = offers_from_nodes(alive_nodes(), ignore_head_node=ignore_head_node)
                heads = [str(node["NodeID"]) for node in alive_nodes() if ignore_head_node and is_head_node(node)]
                wait_for_register(register)
                yield Datasets(config=config, offers=offers, head_ids=heads, register=register)
            finally:
                ray.kill(register)
        if not is_callers and not session.started_here:
            _end_services(_services() - before)


@contextlib.contextmanager
def _settings(config: Mapping[str, Any], *, ignore_head_node: bool) -> Iterator[None]:
    with warnings.catch_warnings():
        # Ray Data warns of its own settings while it makes them, and of workers that a short input leaves idle.
        warnings.filterwarnings("ignore", message=".*is deprecated", module=r"ray\.data")
        warnings.filterwarnings("ignore", message=".*is deprecated", module=r"<string>")
        warnings.filterwarnings("ignore", message="The (minimum|maximum) number of concurrent")
        from ray.data import DataContext

        context: Any = DataContext.get_current().copy()
        context.enable_pandas_block = True
        context.batch_to_block_arrow_format = False
        context.target_max_block_size = BLOCK_BYTES
        context.max_errored_blocks = 0
        context.execution_no_progress_timeout_s = config["stall_timeout_s"]
        context.raise_original_map_exception = True
        context.enable_progress_bars = False
        context.print_on_execution_start = False
        context.enable_auto_log_stats = False
        if ignore_head_node:
            heads = ",".join(str(node["NodeID"]) for node in alive_nodes() if is_head_node(node))
            context.execution_options.label_selector = {NODE_ID_LABEL: f"!in({heads})"}
        with DataContext.current(context), _quiet_console():
            yield


@contextlib.contextmanager
def _quiet_console() -> Iterator[None]:
    """Keep Ray Data's messages out of the terminal; they stay in the log of the Ray session."""
    consoles = [one for one in logging.getLogger("ray.data").handlers if isinstance(one, logging.StreamHandler)]
    levels = [handler.level for handler in consoles]
    for handler in consoles:
        handler.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for handler, level in zip(consoles, levels, strict=True):
            handler.setLevel(level)


def _services() -> set[tuple[str, str]]:
    named: list[dict[str, str]] = ray.util.list_named_actors(all_namespaces=True)
    there = {(actor["name"], actor["namespace"]) for actor in named}
    return there & set(_SERVICES)


def _end_services(services: set[tuple[str, str]]) -> None:
    ours = ray.get_runtime_context().get_job_id()
    jobs: list[dict[str, Any]] = state.jobs()  # type: ignore[no-untyped-call]
    others = [job for job in jobs if job["JobID"] != ours and not job["IsDead"]]
    if others:
        return
    for name, namespace in services:
        with contextlib.suppress(ValueError):
            ray.kill(ray.get_actor(name, namespace=namespace))
