"""From plain config to objects: the executor and the pipeline, or every mistake of the config in one message.

Building has no effect anywhere: constructors touch neither files nor the network, so that ``mode=plan`` can build too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from curator.config.arguments import construct
from curator.config.suggest import suggest
from curator.config.targets import TARGET, check_targets, resolve_target, without_target_keys
from curator.errors import ConfigError

if TYPE_CHECKING:
    from curator.executors.base import BaseExecutor
    from curator.pipeline import Pipeline
    from curator.stages.base import ProcessingStage

MODES = ("run", "plan")
ROOT_KEYS = (
    "executor",
    "input_path",
    "mode",
    "output_mode",
    "output_path",
    "runtime_env",
    "stages",
)


def build_pipeline(config: Mapping[str, Any]) -> tuple[Pipeline, BaseExecutor]:
    """Build what a config says.

    Args:
        config: plain Python, as ``read_config`` makes it.

    Returns:
        The pipeline, and the executor that is to run it.

    Raises:
        ConfigError: the config is wrong; every mistake is in the message.

    Example:
        >>> build_pipeline({"stages": {}, "executr": {}})
        Traceback (most recent call last):
        ...
        curator.errors.ConfigError: executr: there is no such key. Did you mean 'executor'? ...
    """
    from curator.pipeline import Pipeline

    problems = _check_root(config)
    problems += check_targets(config, _slot_of)
    stages = _collect(problems, build_stages, config.get("stages"))
    executor = _collect(problems, build_executor, config.get("executor"), config.get("runtime_env"))
    pipeline = _collect(problems, Pipeline, stages) if stages else None
    if problems or pipeline is None or executor is None:
        # The gate is passed twice, by the whole config and by each part: what it says is said once.
        raise ConfigError(list(dict.fromkeys(problems)))
    return pipeline, executor


def build_stages(section: object) -> list[ProcessingStage]:
    """Build the stages, in the order of the section; each is named by its key.

    Args:
        section: name of each stage to its ``_target_`` and arguments.

    Returns:
        The stages, at least one.

    Raises:
        ConfigError: with all problems of all stages.

    Example:
        >>> build_stages({})
        Traceback (most recent call last):
        ...
        curator.errors.ConfigError: stages: there is nothing to run. Choose some: ...
    """
    from curator.stages.base import ProcessingStage

    if not isinstance(section, Mapping) or not section:
        raise ConfigError("stages: there is nothing to run. Choose some: 'stages=dedup' or 'stages=[read,write]'.")
    problems: list[str] = []
    stages: list[ProcessingStage] = []
    for name, settings in section.items():
        stage = _collect(problems, _build, settings, f"stages.{name}", ProcessingStage)
        if stage is not None:
            stage.name = name
            stages.append(stage)
    if problems:
        raise ConfigError(problems)
    return stages


def build_executor(section: object, runtime_env: Mapping[str, Any] | None = None) -> BaseExecutor:
    """Build the executor; keys that its constructor does not take become its ``config``.

    Args:
        section: ``_target_``, constructor arguments, and keys of the executor's ``config_defaults``.
        runtime_env: the environment of workers; stronger than a ``runtime_env`` in the section.

    Returns:
        The executor; nothing is started.

    Raises:
        ConfigError: with all problems of the section.

    Example:
        >>> build_executor(None)
        Traceback (most recent call last):
        ...
        curator.errors.ConfigError: executor: nothing is chosen. Choose one: 'executor=local'.
    """
    from curator.executors.base import BaseExecutor

    if not isinstance(section, Mapping) or not section:
        raise ConfigError("executor: nothing is chosen. Choose one: 'executor=local'.")
    if runtime_env is not None and not isinstance(runtime_env, Mapping):
        raise ConfigError(f"runtime_env: {runtime_env!r} is no mapping. Try 'runtime_env=inherit'.")
    kind = resolve_target(section.get(TARGET), f"executor.{TARGET}", BaseExecutor)
    known = set(getattr(kind, "config_defaults", {}))
    arguments = without_target_keys(section)
    settings = {key: arguments.pop(key) for key in list(arguments) if key in known}
    environment = _merge(settings.get("runtime_env") or {}, runtime_env or {})
    if environment:
        settings["runtime_env"] = environment
    if "config" in arguments:
        raise ConfigError("executor.config: write its keys directly under executor.")
    executor: BaseExecutor = construct(kind, arguments, "executor", config=settings)
    return executor


def _build(section: object, path: str, base: type) -> Any:  # noqa: ANN401
    if not isinstance(section, Mapping):
        raise ConfigError(f"{path}: {section!r} is no mapping with a {TARGET}.")
    if TARGET not in section:
        raise ConfigError(f"{path}.{TARGET}: is missing: which class is this?")
    kind = resolve_target(section[TARGET], f"{path}.{TARGET}", base)
    return construct(kind, without_target_keys(section), path)


def _check_root(config: Mapping[str, Any]) -> list[str]:
    problems = [
        f"{key}: there is no such key. {suggest(str(key), ROOT_KEYS, kind='keys')}"
        for key in config
        if key not in ROOT_KEYS
    ]
    mode = config.get("mode", MODES[0])
    if mode not in MODES:
        problems.append(f"mode: {mode!r} is not known. {suggest(str(mode), MODES, kind='modes')}")
    return problems


def _slot_of(path: tuple[str, ...]) -> type | None:
    from curator.executors.base import BaseExecutor
    from curator.stages.base import ProcessingStage

    if path == ("executor",):
        return BaseExecutor
    if len(path) == 2 and path[0] == "stages":
        return ProcessingStage
    return None


def _collect(problems: list[str], build: Any, *arguments: Any) -> Any:  # noqa: ANN401
    try:
        return build(*arguments)
    except ConfigError as error:
        problems += error.problems
        return None


def _merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in override.items():
        weaker = merged.get(key)
        if isinstance(weaker, Mapping) and isinstance(value, Mapping):
            value = _merge(weaker, value)
        merged[key] = value
    return merged
