"""Calling a constructor with what a config says, and saying in the config's words what does not fit."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

from curator.config.parameters import check_value, hints_of
from curator.config.suggest import suggest
from curator.errors import ConfigError


def construct(kind: type, arguments: Mapping[str, Any], path: str, *, config: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401
    """Build one object, with every mistake in its arguments reported by key path.

    Args:
        kind: a class that has passed the gate.
        arguments: constructor arguments by name.
        path: where they stand in the config.
        config: passed on as the argument ``config``, for classes that keep their open-ended keys there; the keys of
            their ``config_defaults`` count as keys of the place.

    Returns:
        The object.

    Raises:
        ConfigError: an argument is unknown, missing, or refused by the constructor.

    Example:
        >>> from curator.stages.resources import Resources
        >>> construct(Resources, {"cpu": 2}, "stages.x.resources")
        Traceback (most recent call last):
        ...
        curator.errors.ConfigError: stages.x.resources.cpu: there is no such key. Did you mean ...
    """
    parameters = inspect.signature(kind).parameters
    open_keys = getattr(kind, "config_defaults", {}) if config is not None else {}
    problems, good = _check(kind, arguments, parameters, path, open_keys)
    lacking = [name for name in _required(parameters) if name not in good]
    if lacking:
        raise ConfigError(problems)
    more = {} if config is None else {"config": dict(config)}
    built = None
    try:
        # Also with mistakes: the rest may hold some that only the constructor knows.
        built = kind(**good, **more)
    except ConfigError as error:
        problems += [_place(problem, path, kind, parameters) for problem in error.problems]
    except (TypeError, ValueError) as error:
        problems.append(_place(str(error), path, kind, parameters))
    if problems:
        raise ConfigError(problems)
    return built


def _check(
    kind: type,
    arguments: Mapping[str, Any],
    parameters: Mapping[str, inspect.Parameter],
    path: str,
    open_keys: Iterable[str],
) -> tuple[list[str], dict[str, Any]]:
    """The problems, and the arguments that have none."""
    named = [
        name
        for name, each in parameters.items()
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY) and name != "config"
    ]
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    hints = hints_of(kind)
    problems, good = [], {}
    for key, value in arguments.items():
        if key not in named and not takes_any:
            names = suggest(str(key), {*named, *open_keys}, kind="keys", prefix=f"{path}.")
            found = [f"{path}.{key}: there is no such key. {names}"]
        else:
            found = check_value(value, hints.get(key, Any), f"{path}.{key}")
        problems += found
        if not found:
            good[key] = value
    problems += [
        f"{path}.{name}: a value is missing. Set it: '{path}.{name}=VALUE'."
        for name in _required(parameters)
        if name not in arguments
    ]
    return problems, good


def _required(parameters: Mapping[str, inspect.Parameter]) -> list[str]:
    plain = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [name for name, each in parameters.items() if each.kind in plain and each.default is each.empty]


def _place(problem: str, path: str, kind: type, parameters: Mapping[str, Any]) -> str:
    # A constructor knows its arguments, not where the config keeps them: 'exact.keep: ...' becomes
    # 'stages.exact.keep: ...', which is what has to be typed.
    last = path.rpartition(".")[2]
    named = re.match(r"(?:(\w+)\.)?(\w+)(?=[:=])", problem)
    if named and named[2] in parameters and named[1] in (None, getattr(kind, "name", None), last):
        return f"{path}.{problem[named.start(2) :]}"
    return problem if problem.startswith(f"{path}.") else f"{path}: {problem}"
