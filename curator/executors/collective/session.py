"""A collective stage on Ray: how many ranks fit, the nodes set up, the group run. For every executor on Ray."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray
from loguru import logger

from curator.cluster import alive_nodes, execute_setup_on_node, is_head_node, offers_from_nodes, ray_session
from curator.cluster.capacity import actor_options, exclude_head, explain_misfit, workers_that_fit
from curator.errors import ExecutorError
from curator.executors.collective.group import CollectiveGroup
from curator.stages.collective import CollectiveStage
from curator.stages.runtime_env import merge_executor_configs
from curator.tasks import Task


def run_collective_on_ray(
    stage: CollectiveStage,
    tasks: Sequence[Task],
    *,
    address: str | None,
    runtime_env: Mapping[str, Any] | None,
    num_workers: int | None,
    ignore_head_node: bool,
    setup_timeout_s: float,
) -> list[Task]:
    """Run a collective stage as a group of actors, in the session that is up or in one of its own.

    Args:
        stage: the stage.
        tasks: all tasks, in order.
        address: cluster to join if no session is up.
        runtime_env: environment of all workers, weaker than the stage's.
        num_workers: ranks at most; the stage's own ``num_ranks`` is stronger.
        ignore_head_node: place no rank on the head node.
        setup_timeout_s: limit for the setup of the nodes, and of the ranks.

    Raises:
        CuratorError: no rank fits, or the stage failed.
    """
    if not tasks:
        return []
    with ray_session(address, runtime_env=None if ray.is_initialized() else runtime_env):
        nodes = alive_nodes()
        offers = offers_from_nodes(nodes, ignore_head_node=ignore_head_node)
        fitting = sum(workers_that_fit(stage.resources, offers).values())
        if not fitting:
            raise ExecutorError(explain_misfit(stage.name, stage.resources, offers))
        asked = stage.num_workers()
        wanted = min(num_workers or fitting, len(tasks)) if asked is None else asked
        if wanted > fitting:
            logger.warning("{}: {} ranks are asked for, and {} fit the cluster", stage.name, wanted, fitting)
        options = actor_options(stage.resources)
        if ignore_head_node:
            options = exclude_head(options, [str(node["NodeID"]) for node in nodes if is_head_node(node)])
        if stage.runtime_env:
            options["runtime_env"] = merge_executor_configs(runtime_env, stage.runtime_env)
        execute_setup_on_node([stage], ignore_head_node=ignore_head_node, timeout_s=setup_timeout_s)
        group = CollectiveGroup(
            stage, num_ranks=min(wanted, fitting), actor_options=options, setup_timeout_s=setup_timeout_s
        )
        return group.run(tasks)
