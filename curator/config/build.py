"""From plain config to objects: the executor and the pipeline, or every mistake of the config in one message.

Building has no effect anywhere: constructors touch neither files nor the network, so that ``mode=plan`` can build too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curator.config.arguments import construct
from curator.config.environment import reveal, secrets_of, set_in_process, without_secrets
from curator.config.layers import Layer
from curator.config.merge import SecretText, merge_executor_configs
from curator.config.replicas import ask_replicas, beside, tell_sources, unasked
from curator.config.schema import ExecutorSettings, RunSettings, StageSettings, read_schema
from curator.config.targets import TRUSTED_PACKAGES
from curator.errors import ConfigError

if TYPE_CHECKING:
    from curator.executors.base import BaseExecutor
    from curator.pipeline import Pipeline
    from curator.runs.result import RunResult
    from curator.serve.settings import ReplicaSettings
    from curator.stages.base import ProcessingStage


@dataclass(frozen=True, slots=True)
class Run:
    """What a config says, built.

    Args:
        settings: the checked config.
        pipeline: what is to be run.
        executor: who runs it; nothing is started.
        secrets: variables that the workers of a session of our own inherit from this process.
        asked: the set of replicas that each stage asks which asks one, by its name.
    """

    settings: RunSettings
    pipeline: Pipeline
    executor: BaseExecutor
    secrets: Mapping[str, str]
    asked: Mapping[str, ReplicaSettings] = field(default_factory=dict)

    def warn(self) -> None:
        """Log what is allowed and worth a word; once per run, in the run's own log."""
        from loguru import logger

        idle = unasked(self.settings.replicas, self.asked)
        for sentence in (*self.settings.warnings, *idle):
            logger.warning("{}", sentence)

    def run(self, run_directory: Path) -> RunResult:
        """Run it, in a process of ours; a secret of the workers' environment is in its environment meanwhile.

        Raises:
            CuratorError: the run could not be finished.
        """
        from curator.executors.freed_memory import keep_freed_memory
        from curator.pipeline import Pipeline

        keep_freed_memory()
        stages = tell_sources(self.pipeline.stages, self.asked, run_directory)
        with set_in_process(self.secrets), beside(self.executor, self.settings.replicas, run_directory, stages):
            return Pipeline(stages).run(self.executor, run_directory=run_directory)


def build_run(
    config: Mapping[str, Any],
    layers: Sequence[Layer] | None = None,
    trusted: Sequence[str] = TRUSTED_PACKAGES,
) -> Run:
    """Build what a config says.

    Args:
        config: plain Python, as ``read_config`` makes it.
        layers: where its executor and runtime_env settings come from; ``None``: from its own sections.
        trusted: prefixes of trusted names.

    Raises:
        ConfigError: the config is wrong; every mistake is in the message.

    Example:
        >>> build_run({"stages": {}, "executr": {}})
        Traceback (most recent call last):
        ...
        curator.errors.ConfigError: executr: there is no such key. Did you mean 'executor'? ...
    """
    from curator.pipeline import Pipeline

    problems: list[str] = []
    settings = read_schema(config, problems, layers, trusted)
    stages = [_collect(problems, _build_stage, each) for each in settings.stages] if settings else []
    executor, secrets = (_collect(problems, _build_executor, settings.executor) if settings else None) or (None, {})
    built = [stage for stage in stages if stage is not None]
    problems += _check_inputs(built)
    # Without the stages that could not be built, the order of the others says nothing.
    whole = len(built) == len(stages) and built
    asked: dict[str, ReplicaSettings] = {}
    if whole:
        problems += _check_shard(config, built)
        sets, chosen = settings.replicas if settings else (), config.get("replicas") or {}
        # Nor does it say whom a stage could ask if one of the sets is wrong.
        if isinstance(chosen, Mapping) and len(sets) == len(chosen):
            built, asked = ask_replicas(built, sets, problems)
    pipeline = _collect(problems, Pipeline, built) if whole else None
    if problems or settings is None or pipeline is None or executor is None:
        # The gate is passed twice, by the whole config and by each part: what it says is said once.
        raise ConfigError(list(dict.fromkeys(problems)))
    return Run(settings, pipeline, executor, secrets, asked)


def build_pipeline(config: Mapping[str, Any]) -> tuple[Pipeline, BaseExecutor]:
    """The pipeline and the executor of ``build_run``; warnings are logged."""
    run = build_run(config)
    run.warn()
    return run.pipeline, run.executor


def _build_stage(settings: StageSettings) -> ProcessingStage:
    path = f"stages.{settings.name}"
    stage: ProcessingStage = construct(settings.kind, settings.arguments, path)
    changes = dict(settings.changes)
    if changes.get("resources") is not None:
        from curator.stages.resources import Resources

        # What is not said stays as the class has it.
        whole = vars_of(stage.resources) | changes["resources"]
        changes["resources"] = construct(Resources, whole, f"{path}.resources")
    if isinstance(changes.get("runtime_env"), Mapping):
        changes["runtime_env"] = reveal(merge_executor_configs(stage.runtime_env, changes["runtime_env"]))
    given = {key: value for key, value in changes.items() if value is not None or key == "runtime_env"}
    stage = stage.with_(**given) if given else stage
    stage.name = settings.name
    return stage


def _build_executor(settings: ExecutorSettings) -> tuple[BaseExecutor, dict[str, SecretText]]:
    config = dict(settings.config)
    secrets: dict[str, SecretText] = {}
    if "runtime_env" in config:
        config["runtime_env"] = reveal(config["runtime_env"])
        if config.get("address") is None:
            secrets = secrets_of(config["runtime_env"])
            config["runtime_env"] = without_secrets(config["runtime_env"])
    executor: BaseExecutor = construct(settings.kind, settings.arguments, "executor", config=config)
    return executor, secrets


def vars_of(resources: Any) -> dict[str, Any]:  # noqa: ANN401
    """The fields of a dataclass by name, not copied."""
    return {name: getattr(resources, name) for name in resources.__dataclass_fields__}


def _check_shard(config: Mapping[str, Any], stages: Sequence[ProcessingStage]) -> list[str]:
    shard = config.get("shard") or {}
    if shard.get("index") is None and shard.get("count") is None:
        return []
    return [
        f"shard: stages.{stage.name} knows no shards, and would {what}. Leave shard.index and shard.count out."
        for stage, what in ((stages[0], "read the whole input"), (stages[-1], "write where the other shards do"))
        if getattr(stage, "shard_count", None) is None
    ]


def _check_inputs(stages: Sequence[ProcessingStage]) -> list[str]:
    """Columns that a stage needs and that only a later one makes; what no stage makes is a field of the input."""
    problems = []
    for position, stage in enumerate(stages):
        before = {column for each in stages[:position] for column in each.outputs()}
        for column in stage.inputs():
            later = [each.name for each in stages[position + 1 :] if column in each.outputs()]
            if column not in before and later:
                problems.append(
                    f"stages.{stage.name}: needs the column {column!r}, which stages.{later[0]} makes only behind it. "
                    f"Put {later[0]} in front, as in 'stages=[...,{later[0]},{stage.name},...]'."
                )
    return problems


def _collect(problems: list[str], build: Any, *arguments: Any) -> Any:  # noqa: ANN401
    try:
        return build(*arguments)
    except ConfigError as error:
        problems += error.problems
        return None
