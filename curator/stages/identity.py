"""The settings of a stage as JSON values, which tell runs apart: a fingerprint covers them, a manifest shows them.

Paths count as text, functions and classes by where they are defined, sets in sequence, dataclasses by their fields.
What says nothing about itself is refused before any work is done, not when a manifest is written at the end of it.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
from collections.abc import Mapping, Set
from types import ModuleType
from typing import Any

import numpy as np

from curator.errors import ConfigError
from curator.stages.base import ProcessingStage


def json_settings(stage: ProcessingStage) -> dict[str, Any]:
    """The settings of a stage, of nothing but dicts, lists, text, numbers, booleans and ``None``.

    Raises:
        ConfigError: some have no such value; all of them are named.

    Example:
        >>> from pathlib import Path
        >>> class Match(ProcessingStage):
        ...     name = "match"
        ...     def __init__(self, words):
        ...         self.words, self.pick = words, max
        ...     def process(self, task):
        ...         return task
        >>> json_settings(Match(Path("words.txt")))
        {'pick': 'builtins.max', 'words': 'words.txt'}
    """
    made: dict[str, Any] = {}
    problems: list[str] = []
    for key, value in stage.settings().items():
        try:
            made[key] = _plain(value)
        except TypeError as error:
            problems.append(
                f"stages.{stage.name}.{key}: a value of type '{error}' does not say what it is, so runs with different "
                "ones could not be told apart. Give text, numbers, lists or dicts, keep it under a name that begins "
                "with '_', or return what decides the result from settings()."
            )
    if problems:
        raise ConfigError(problems)
    return made


def _plain(value: Any) -> Any:  # noqa: ANN401
    if value is None or isinstance(value, str | bool | int | float):
        return value.value if isinstance(value, enum.Enum) else value
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, Mapping):
        return {_key(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Set):
        return sorted(map(_plain, value), key=json.dumps)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return _place(value)


def _key(key: Any) -> str:  # noqa: ANN401
    plain = _plain(key)
    if isinstance(plain, list | dict):
        raise TypeError(type(key).__qualname__)
    return plain if isinstance(plain, str) else json.dumps(plain)


def _place(value: Any) -> str:  # noqa: ANN401
    """Where a function or a class is defined; of a lambda, which has no name, the line as well."""
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    belongs_to = getattr(value, "__self__", None)
    is_free = belongs_to is None or isinstance(belongs_to, type | ModuleType)
    if not (callable(value) and is_free and isinstance(module, str) and isinstance(name, str)):
        raise TypeError(type(value).__qualname__)
    code = getattr(value, "__code__", None)
    line = f":{code.co_firstlineno}" if name.endswith("<lambda>") and code is not None else ""
    return f"{module}.{name}{line}"
