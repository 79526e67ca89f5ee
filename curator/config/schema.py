"""The schema: what a composed config may say, as frozen dataclasses; all mistakes of a config in one message.

Plain Python flows in, once; nothing is built here, and only classes that pass the gate are imported to see what their
parameters are.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from curator.config.environment import check_environment, warn_of_code
from curator.config.layers import Layer, Settings, merge_layers, merge_stage_env
from curator.config.merge import describe_override
from curator.config.parameters import check_value
from curator.config.replicas import read_replicas
from curator.config.suggest import suggest
from curator.config.targets import TARGET, TRUSTED_PACKAGES, check_targets, resolve_target, without_target_keys
from curator.errors import ConfigError
from curator.serve.settings import ReplicaSettings

MODES = ("run", "plan", "explain")
Objective = Literal[
    "kept", "kept_share", "removed", "removed_share", "quarantined", "quarantined_share", "seconds", "mb_per_s"
]
"""What a sweeper can search for the best of; ``report.comparison`` says what they are."""

ROOT_KEYS: dict[str, Any] = {
    "executor": Any,
    "input_path": str | list[str],
    "mode": Literal["run", "plan", "explain"],
    "objective": Objective | None,
    "on_env_override": Literal["warn", "error", "ignore"],
    "output_mode": Literal["new", "replace"],
    "output_path": str,
    "plan_format": Literal["table", "json"],
    "replicas": Any,
    "runtime_env": Any,
    "shard": dict,
    "shared_work": Literal["remove", "keep", "off"],
    "stages": Any,
}
STAGE_KEYS: dict[str, Any] = {"batch_size": int, "resources": dict | None, "runtime_env": Any}
"""What any stage can be given besides the arguments of its constructor."""


@dataclass(frozen=True, slots=True)
class StageSettings:
    """One stage.

    Args:
        name: its key.
        kind: its class.
        arguments: for the constructor.
        changes: ``batch_size``, ``resources`` and ``runtime_env``, if they were given.
        environment: the environment of its workers, the job's included, with the source of each key.
    """

    name: str
    kind: type
    arguments: Mapping[str, Any] = field(repr=False)  # here and below, what may hold a secret
    changes: Mapping[str, Any] = field(repr=False)
    environment: Settings = field(repr=False)


@dataclass(frozen=True, slots=True)
class ExecutorSettings:
    """The executor.

    Args:
        kind: its class.
        arguments: for the constructor.
        config: the keys of its ``config_defaults``, the merged ``runtime_env`` among them.
        sources: where each key comes from.
    """

    kind: type
    arguments: Mapping[str, Any] = field(repr=False)
    config: Mapping[str, Any] = field(repr=False)
    sources: Mapping[tuple[str, ...], str] = field(repr=False)


@dataclass(frozen=True, slots=True)
class RunSettings:
    """A config that says nothing unknown.

    Args:
        stages: in running order.
        executor: who runs them.
        replicas: sets of replicas that are up meanwhile.
        mode: ``run``, ``plan`` or ``explain``.
        plan_format: ``table`` or ``json``.
        warnings: what is allowed, and worth a word.
    """

    stages: tuple[StageSettings, ...]
    executor: ExecutorSettings
    replicas: tuple[ReplicaSettings, ...] = ()
    mode: str = MODES[0]
    plan_format: str = "table"
    warnings: tuple[str, ...] = field(default=())


def read_schema(
    config: Mapping[str, Any],
    problems: list[str],
    layers: Sequence[Layer] | None = None,
    trusted: Sequence[str] = TRUSTED_PACKAGES,
) -> RunSettings | None:
    """Check a config.

    Args:
        config: plain Python, as ``read_config`` makes it.
        problems: gets a sentence for every mistake.
        layers: where its executor and runtime_env settings come from; ``None``: from its own sections.
        trusted: prefixes of trusted names.

    Returns:
        The settings without what is wrong; ``None`` if there is no executor left.

    Example:
        >>> problems = []
        >>> read_schema({"stages": {}, "executr": {}}, problems)
        >>> print(problems[0].partition(" The")[0])
        executr: there is no such key. Did you mean 'executor'?
    """
    problems += _check_root(config)
    problems += check_targets(config, slot_of, trusted)
    job = merge_layers(_own_layers(config) if layers is None else layers)
    problems += _check_job_env(config, job, trusted)
    stages = _read_stages(config.get("stages"), job, problems, trusted)
    executor = _read_executor(config.get("executor"), job, problems, trusted)
    replicas, environments = read_replicas(config.get("replicas"), job, problems, trusted)
    environments += [stage.environment for stage in stages]
    warnings = _on_override(config.get("on_env_override", "warn"), job, environments, problems)
    warnings += warn_of_code(job.executor.get("runtime_env"), "runtime_env")
    for stage in stages:
        warnings += warn_of_code(stage.changes.get("runtime_env"), f"stages.{stage.name}.runtime_env")
    if executor is None:
        return None
    mode, plan_format = str(config.get("mode", MODES[0])), str(config.get("plan_format", "table"))
    return RunSettings(tuple(stages), executor, replicas, mode, plan_format, tuple(warnings))


def slot_of(path: tuple[str, ...]) -> type | None:
    """The class that a place of the config holds, ``None`` if it holds no object.

    Example:
        >>> slot_of(("stages", "exact")).__name__, slot_of(("mode",))
        ('ProcessingStage', None)
    """
    from curator.executors.base import BaseExecutor
    from curator.stages.base import ProcessingStage

    if path == ("executor",):
        return BaseExecutor
    if len(path) == 2 and path[0] == "stages":
        return ProcessingStage
    return None


def _check_root(config: Mapping[str, Any]) -> list[str]:
    problems = [
        f"{key}: there is no such key. {suggest(str(key), ROOT_KEYS, kind='keys')}"
        for key in config
        if key not in ROOT_KEYS
    ]
    for key, hint in ROOT_KEYS.items():
        if key in config:
            problems += check_value(config[key], hint, key)
    return problems


def _own_layers(config: Mapping[str, Any]) -> list[Layer]:
    layers = []
    if isinstance(executor := config.get("executor"), Mapping):
        layers.append(Layer("executor", "executor", without_target_keys(executor)))
    # A runtime_env that is not there says nothing; null takes away what the executor says.
    if "runtime_env" in config and isinstance(config["runtime_env"], Mapping | None):
        layers.append(Layer("runtime_env", "runtime_env", config["runtime_env"]))
    return layers


def _check_job_env(config: Mapping[str, Any], job: Settings, trusted: Sequence[str]) -> list[str]:
    # Said by the key that was typed: the group's own, or the executor's.
    problems = check_environment(config.get("runtime_env"), "runtime_env", trusted)
    executor = config.get("executor")
    if isinstance(executor, Mapping):
        problems += check_environment(executor.get("runtime_env"), "executor.runtime_env", trusted)
    return problems or check_environment(job.executor.get("runtime_env"), "runtime_env", trusted)


def _read_stages(section: object, job: Settings, problems: list[str], trusted: Sequence[str]) -> list[StageSettings]:
    if not isinstance(section, Mapping) or not section:
        problems.append("stages: there is nothing to run. Choose some: 'stages=dedup' or 'stages=[read,write]'.")
        return []
    stages = []
    for name, settings in section.items():
        path = f"stages.{name}"
        if not isinstance(settings, Mapping):
            problems.append(f"{path}: {settings!r} is no mapping with a {TARGET}.")
            continue
        if TARGET not in settings:
            problems.append(f"{path}.{TARGET}: is missing: which class is this?")
            continue
        kind = _resolve(settings[TARGET], path, slot_of(("stages", str(name))), problems, trusted)
        if kind is None:
            continue
        arguments = without_target_keys(settings)
        taken = _parameters(kind)
        changes = {key: arguments.pop(key) for key in STAGE_KEYS if key in arguments and key not in taken}
        for key, value in changes.items():
            problems += check_value(value, STAGE_KEYS[key], f"{path}.{key}")
        if isinstance(changes.get("batch_size"), int) and changes["batch_size"] < 1:
            problems.append(f"{path}.batch_size: {changes['batch_size']} must be at least 1.")
        own = changes.get("runtime_env")
        problems += check_environment(own, f"{path}.runtime_env", trusted)
        environment = merge_stage_env(job, own, path) if isinstance(own, Mapping) else job
        stages.append(StageSettings(str(name), kind, arguments, changes, environment))
    return stages


def _read_executor(
    section: object, job: Settings, problems: list[str], trusted: Sequence[str]
) -> ExecutorSettings | None:
    if not isinstance(section, Mapping) or not section:
        problems.append("executor: nothing is chosen. Choose one: 'executor=local'.")
        return None
    kind = _resolve(section.get(TARGET), "executor", slot_of(("executor",)), problems, trusted)
    if kind is None:
        return None
    known = getattr(kind, "config_defaults", {})
    arguments = without_target_keys(section)
    settings = {key: arguments.pop(key) for key in list(arguments) if key in known}
    settings.pop("runtime_env", None)
    environment = job.executor.get("runtime_env")
    if isinstance(environment, Mapping) and environment:
        settings["runtime_env"] = dict(environment)
    if "config" in arguments:
        problems.append("executor.config: write its keys directly under executor.")
        del arguments["config"]
    return ExecutorSettings(kind, arguments, settings, job.sources)


def _resolve(target: object, path: str, base: type | None, problems: list[str], trusted: Sequence[str]) -> type | None:
    try:
        return resolve_target(target, f"{path}.{TARGET}", base, trusted)
    except ConfigError as error:
        problems += error.problems
        return None


def _parameters(kind: type) -> set[str]:
    return set(inspect.signature(kind).parameters)


def _on_override(choice: object, job: Settings, environments: Sequence[Settings], problems: list[str]) -> list[str]:
    own = [environment for environment in environments if environment is not job]
    found = [*job.overrides, *(each for environment in own for each in environment.overrides)]
    grouped: dict[tuple[str, str], list[str]] = {}
    for each in found:
        if each.weaker == each.stronger:
            continue  # somebody who says two things of the same variable means the second
        grouped.setdefault((each.weaker, each.stronger), []).append(each.name)
    sentences = [describe_override(sorted(names), *layers) for layers, names in grouped.items()]
    if choice == "error":
        problems += [f"{sentence} Take one of them out, or allow it: 'on_env_override=warn'." for sentence in sentences]
    return sentences if choice == "warn" else []
