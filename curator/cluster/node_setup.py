"""Setting nodes up: ``setup_on_node`` of every stage that has one, once on every node that can host the stage.

All pairs of stage and node are submitted at once, each pinned to its node, in the environment of its stage, and awaited
together. They reserve nothing, so that busy workers do not hold them up, and see every GPU of the node.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray
from loguru import logger
from ray.exceptions import RayError, RuntimeEnvSetupError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from curator.cluster.capacity import explain_misfit, offers_from_nodes, workers_that_fit
from curator.cluster.runtime_env import check_runtime_env, setup_failure
from curator.cluster.secrets import STAGE, hide_secrets, take_secrets
from curator.cluster.topology import alive_nodes, get_worker_metadata_and_node_id
from curator.errors import ExecutorError
from curator.stages.base import ProcessingStage

_POLL_S = 10.0
_VLLM_METHOD = "VLLM_WORKER_MULTIPROC_METHOD"


@dataclass(frozen=True, slots=True)
class _Pair:
    stage: ProcessingStage
    node_id: str

    def __str__(self) -> str:
        return f"{self.stage.name} on node {self.node_id}"


def execute_setup_on_node(
    stages: Sequence[ProcessingStage], ignore_head_node: bool = False, timeout_s: float = 3600.0
) -> None:
    """Run ``setup_on_node`` of the stages that override it, on every alive node that can host a worker of theirs.

    A node that dies meanwhile is passed over if the stage has been set up on another one.

    Args:
        stages: the stages; of those that share class and name, the first is set up for all.
        ignore_head_node: leave the head node out.
        timeout_s: seconds that all of them may take together.

    Raises:
        ConfigError: the ``runtime_env`` of a stage is wrong.
        ExecutorError: a stage fits no node, a hook failed, or the time is over; stage, node and reason are named.
    """
    # A source is read by several segments, each with a copy of it: one of them speaks for all.
    named: dict[tuple[type, str], ProcessingStage] = {}
    for stage in filter(has_setup_on_node, stages):
        named.setdefault((type(stage), stage.name), stage)
    hooked = list(named.values())
    if not hooked:
        return
    offers = offers_from_nodes(alive_nodes(), ignore_head_node=ignore_head_node)
    hosts = {}
    for number, stage in enumerate(hooked):
        fitting = workers_that_fit(stage.resources, offers)
        hosts[number] = [node_id for node_id, count in fitting.items() if count]
        if not hosts[number]:
            raise ExecutorError(explain_misfit(stage.name, stage.resources, offers))
    pending: dict[Any, _Pair] = {}
    try:
        for number, stage in enumerate(hooked):
            pending |= _submit(stage, hosts[number])
        done = _await(pending, time.monotonic() + timeout_s, timeout_s)
    finally:
        for reference in pending:
            ray.cancel(reference, force=True)
    for stage in hooked:
        if not any(pair.stage is stage for pair in done):
            raise ExecutorError(f"{stage.name}: every node that could host it died while it was set up.")


def has_setup_on_node(stage: ProcessingStage) -> bool:
    """Whether a stage overrides the hook."""
    hook = stage.setup_on_node
    return getattr(hook, "__func__", hook) is not ProcessingStage.setup_on_node


def _submit(stage: ProcessingStage, node_ids: Sequence[str]) -> dict[Any, _Pair]:
    env = hide_secrets(check_runtime_env(stage.runtime_env, where=f"{stage.name}: runtime_env", is_job=False), STAGE)
    if stage.resources.gpus:
        env = {**env, "env_vars": {"RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0", **env.get("env_vars", {})}}
    task: Any = ray.remote(_setup_stage_on_node)
    try:
        sent = ray.put(stage)
    except Exception as error:
        raise ExecutorError(f"{stage.name}: cannot be sent to a worker: {error}") from error
    references = {}
    for node_id in node_ids:
        pinned = task.options(
            name=f"setup_on_node {stage.name}",
            num_cpus=0,
            max_retries=1,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False),
            runtime_env=env or None,
        )
        references[pinned.remote(sent)] = _Pair(stage, node_id)
    return references


def _setup_stage_on_node(stage: ProcessingStage) -> str | None:
    """Run the hook; what it raises is returned as text, which any driver can read."""
    take_secrets()
    # vLLM forks unless it is told not to, and a fork cannot use CUDA again; it looks only for actors by itself.
    was_set = _VLLM_METHOD in os.environ
    os.environ.setdefault(_VLLM_METHOD, "spawn")
    try:
        stage.setup_on_node(*get_worker_metadata_and_node_id())
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    finally:
        if not was_set:
            os.environ.pop(_VLLM_METHOD, None)
    return None


def _await(pending: dict[Any, _Pair], deadline: float, timeout_s: float) -> list[_Pair]:
    """Wait for all; takes out of ``pending`` what is finished, and returns the pairs that went well."""
    done: list[_Pair] = []
    failures: list[str] = []
    while pending and not failures:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            hanging = "; ".join(str(pair) for pair in pending.values())
            raise ExecutorError(f"setup_on_node did not finish within {timeout_s:g} s: {hanging}.")
        ready, _ = ray.wait(list(pending), num_returns=1, timeout=min(left_s, _POLL_S))
        if not ready:
            logger.info("setup_on_node: still waiting for {}", "; ".join(str(pair) for pair in pending.values()))
        # What has finished beside the first is looked at too, so that its failures are counted.
        ready, _ = ray.wait(list(pending), num_returns=len(pending), timeout=0) if ready else ([], [])
        for reference in ready:
            pair = pending.pop(reference)
            failure = _failure(reference, pair)
            if failure is not None:
                failures.append(failure)
            elif pair.node_id in {node["NodeID"] for node in alive_nodes()}:
                done.append(pair)
    if failures:
        others = f" {len(failures) - 1} more failed." if failures[1:] else ""
        raise ExecutorError(f"{failures[0]}{others}")
    return done


def _failure(reference: Any, pair: _Pair) -> str | None:  # noqa: ANN401
    """What went wrong; ``None`` if nothing did, or if the node is not there any more."""
    try:
        reason: str | None = ray.get(reference)
    except RuntimeEnvSetupError as error:
        reason = f"its runtime_env cannot be made: {setup_failure(error)}"
    except RayError as error:
        if pair.node_id not in {node["NodeID"] for node in alive_nodes()}:
            logger.warning("{}: the node died while it was set up; it is passed over", pair)
            return None
        reason = f"the process died: {error}"
    return None if reason is None else f"{pair.stage.name}: setup_on_node failed on node {pair.node_id}: {reason}"
