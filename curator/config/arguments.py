"""Calling a constructor with what a config says, and saying in the config's words what does not fit."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import Any

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
    problems = _check_names(arguments, parameters, path, open_keys)
    if problems:
        raise ConfigError(problems)
    more = {} if config is None else {"config": dict(config)}
    try:
        return kind(**arguments, **more)
    except ConfigError as error:
        placed = [_place(problem, path, kind, parameters) for problem in error.problems]
        raise ConfigError(placed) from error
    except (TypeError, ValueError) as error:
        raise ConfigError(_place(str(error), path, kind, parameters)) from error


def _check_names(
    arguments: Mapping[str, Any],
    parameters: Mapping[str, inspect.Parameter],
    path: str,
    open_keys: Iterable[str],
) -> list[str]:
    named = {
        name: each
        for name, each in parameters.items()
        if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY) and name != "config"
    }
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    keys = {*named, *open_keys}
    unknown = [] if takes_any else [key for key in arguments if key not in named]
    missing = [name for name, each in named.items() if each.default is each.empty and name not in arguments]
    return [
        f"{path}.{key}: there is no such key. {suggest(str(key), keys, kind='keys', prefix=f'{path}.')}"
        for key in unknown
    ] + [f"{path}.{name}: a value is missing. Set it: '{path}.{name}=VALUE'." for name in missing]


def _place(problem: str, path: str, kind: type, parameters: Mapping[str, Any]) -> str:
    # A constructor knows its arguments, not where the config keeps them: 'exact.keep: ...' becomes
    # 'stages.exact.keep: ...', which is what has to be typed.
    named = re.match(r"(?:(\w+)\.)?(\w+)(?=[:=])", problem)
    if named and named[2] in parameters and named[1] in (None, getattr(kind, "name", None)):
        return f"{path}.{problem[named.start(2) :]}"
    return problem if problem.startswith(f"{path}.") else f"{path}: {problem}"
