"""The environment of workers: what a user wrote in, a checked plain mapping out, and whether nodes can make it.

``None`` at the top, in an entry and in an environment variable is the same as nothing there. Refused, all at once: keys
that Ray does not know, variables that are no text, and whatever else Ray's own checks refuse.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError, RuntimeEnvSetupError
from ray.runtime_env import RuntimeEnv

from curator.errors import ConfigError, ExecutorError

_KNOWN = frozenset(RuntimeEnv.known_fields - RuntimeEnv.extensions_fields) | {"nsight", "rocprof_sys"}
_UPLOADED = ("working_dir", "py_modules")
_SETUP_S = 600  # Ray's own limit where config.setup_timeout_seconds says none
_START_S = 60  # for the worker that tries it


def check_runtime_env(
    env: Mapping[str, Any] | None, *, where: str = "executor.runtime_env", is_job: bool = True
) -> dict[str, Any]:
    """Check an environment, without a cluster.

    Args:
        env: the environment as ``ray.init`` takes it; ``None`` is none.
        where: its place in the configuration, for the message.
        is_job: whether it is for all workers; folders of this machine can be uploaded for all workers only.

    Returns:
        A new mapping without the entries that are ``None``; empty if nothing is asked for.

    Raises:
        ConfigError: something is wrong with it; every mistake is in the message, no value of a variable is.

    Example:
        >>> check_runtime_env({"pip": None, "env_vars": {"A": "1", "B": None}})
        {'env_vars': {'A': '1'}}
        >>> check_runtime_env({"env_vars": {"A": 1}})
        Traceback (most recent call last):
        curator.errors.ConfigError: executor.runtime_env.env_vars.A: is of type int, must be text. Put it in quotes.
    """
    if env is None:
        return {}
    if not isinstance(env, Mapping):
        raise ConfigError(f"{where}={env!r}: must be a mapping, such as {{env_vars: {{NAME: 'text'}}}}, or null.")
    given = {key: copy.deepcopy(value) for key, value in env.items() if value is not None}
    problems = [] if os.environ.get("RAY_RUNTIME_ENV_PLUGINS") else _unknown_keys(given, where)
    variables = given.pop("env_vars", {})
    problems += _wrong_variables(variables, f"{where}.env_vars")
    problems += [
        f"{where}.{key}={path!r}: a folder of this machine can be uploaded only for all workers, in "
        f"executor.runtime_env.{key}; here, it must be a URI."
        for key in _UPLOADED
        if key in given and not is_job
        for path in ([given[key]] if isinstance(given[key], str) else given[key])
        if "://" not in str(path)
    ]
    if problems:
        raise ConfigError(problems)
    if variables := {key: value for key, value in variables.items() if value is not None}:
        given["env_vars"] = variables
    try:
        RuntimeEnv(**copy.deepcopy(given))
    except Exception as error:
        raise ConfigError(f"{where}: {str(error) or type(error).__name__}") from error
    return given


def try_runtime_env(env: Mapping[str, Any], *, where: str = "executor.runtime_env") -> None:
    """Wait until a worker has started in the environment of the current session.

    Ray installs it when the first worker starts, and tries again and again for every worker if it cannot. An
    environment of variables alone cannot fail, and is not tried.

    Args:
        env: the environment that the session was started with; its ``config.setup_timeout_seconds`` is the limit.
        where: its place in the configuration, for the message.

    Raises:
        ExecutorError: it cannot be made, with the reason, or not within the limit.
    """
    if not set(env) - {"env_vars", "config"}:
        return
    limit_s = dict(env.get("config") or {}).get("setup_timeout_seconds", _SETUP_S)
    limit_s = _SETUP_S if limit_s < 0 else limit_s
    attempt: Any = ray.remote(num_cpus=0, max_retries=0)(_nothing)
    reference = attempt.remote()
    try:
        ray.get(reference, timeout=limit_s + _START_S)
    except GetTimeoutError as error:
        ray.cancel(reference, force=True)
        raise ExecutorError(
            f"{where}: no worker could be started in it within {limit_s + _START_S} s. Check that its programs and "
            "files are there on every node."
        ) from error
    except RuntimeEnvSetupError as error:
        raise ExecutorError(f"{where}: a node cannot make this environment: {setup_failure(error)}") from error
    except RayError as error:
        raise ExecutorError(f"{where}: no worker could be started in it: {error}") from error


def setup_failure(error: RuntimeEnvSetupError) -> str:
    """The reason in what Ray reports, which is a traceback and the output of an installer."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    installer = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    return installer[-1] if installer else lines[-1]


def _nothing() -> None:
    """What is run to see a worker start."""


def _unknown_keys(env: Mapping[str, Any], where: str) -> list[str]:
    problems = []
    for key in env:
        if key not in _KNOWN:
            close = get_close_matches(str(key), _KNOWN, n=1)
            meant = f" Did you mean {close[0]!r}?" if close else ""
            public = ", ".join(sorted(known for known in _KNOWN if not known.startswith("_")))
            problems.append(f"{where}.{key}: there is no such key.{meant} The keys are: {public}.")
    return problems


def _wrong_variables(variables: Any, where: str) -> list[str]:  # noqa: ANN401
    if not isinstance(variables, Mapping):
        return [f"{where}: is of type {type(variables).__name__}, must be a mapping of names to texts."]
    problems = [
        f"{where}.{name}: is no name of an environment variable."
        for name in variables
        if not isinstance(name, str) or not name or "=" in name or "\0" in name
    ]
    problems += [
        f"{where}.{name}: is of type {type(value).__name__}, must be text. Put it in quotes."
        for name, value in variables.items()
        if value is not None and not isinstance(value, str)
    ]
    return problems
