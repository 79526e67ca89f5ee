"""One merge for every layer of settings: executor options, a job's runtime_env, a stage's, a replica's.

Mappings flow in, weakest first; a new mapping flows out. Mappings merge key by key, everything else replaces: scalars,
lists, ``None``. What goes in is neither changed nor aliased. Values of environment variables are never shown.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

MASK = "***"


class SecretText(str):
    """Text that its ``repr`` does not show: the value of an environment variable.

    Example:
        >>> {"TOKEN": SecretText("abc")}, SecretText("abc") == "abc"
        ({'TOKEN': '***'}, True)
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(MASK)


def merge_executor_configs(
    base_config: Mapping[str, Any] | None, override_config: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Merge two executor configs.

    Mappings merge recursively; scalars, lists and ``None`` replace what was there. Keys keep the order of the base, new
    ones follow. It is associative as long as no path is a mapping in one config and something else in another, so the
    order of layers matters.

    Args:
        base_config: the weaker one; ``None`` is nothing.
        override_config: the stronger one; ``None`` is nothing.

    Returns:
        A new dict that shares no mapping or list with either.

    Example:
        >>> base = {"runtime_env": {"env_vars": {"A": "1", "B": "2"}}}
        >>> override = {"runtime_env": {"env_vars": {"B": "3", "C": "4"}}}
        >>> merge_executor_configs(base, override)
        {'runtime_env': {'env_vars': {'A': '1', 'B': '3', 'C': '4'}}}
    """
    merged = {key: _copy(value) for key, value in (base_config or {}).items()}
    for key, value in (override_config or {}).items():
        weaker = merged.get(key)
        both = isinstance(weaker, Mapping) and isinstance(value, Mapping)
        merged[key] = merge_executor_configs(weaker, value) if both else _copy(value)
    return merged


def overridden_env_vars(
    existing_config: Mapping[str, Any] | None, merged_config: Mapping[str, Any] | None
) -> list[str]:
    """Names of the environment variables that a merge gave another value, sorted; removed ones count.

    Args:
        existing_config: the weaker config, before the merge.
        merged_config: what the merge made of it.

    Example:
        >>> weaker = {"runtime_env": {"env_vars": {"A": "1", "B": "2"}}}
        >>> overridden_env_vars(weaker, {"runtime_env": {"env_vars": {"A": "1", "B": "3", "C": "4"}}})
        ['B']
    """
    before, after = _env_vars(existing_config), _env_vars(merged_config)
    return sorted(name for name, value in before.items() if value is not None and after.get(name) != value)


def warn_on_env_var_override(
    existing_config: Mapping[str, Any] | None,
    merged_config: Mapping[str, Any] | None,
    *,
    existing_layer: str = "the supplied executor",
    stronger_layer: str = "a stronger layer",
) -> None:
    """Log one warning that names the environment variables that a merge changed, and never a value.

    Args:
        existing_config: the weaker config, before the merge.
        merged_config: what the merge made of it.
        existing_layer: who set the variables.
        stronger_layer: who changed them.
    """
    names = overridden_env_vars(existing_config, merged_config)
    if names:
        from loguru import logger

        logger.warning("{}", describe_override(names, existing_layer, stronger_layer))


def describe_override(names: list[str], existing_layer: str, stronger_layer: str) -> str:
    """The sentence of the warning.

    Example:
        >>> describe_override(["A"], "executor/ray_actor_pool.yaml", "the command line")
        'runtime_env.env_vars: A, set by executor/ray_actor_pool.yaml, is changed by the command line.'
    """
    are = "is" if len(names) == 1 else "are"
    return f"runtime_env.env_vars: {', '.join(names)}, set by {existing_layer}, {are} changed by {stronger_layer}."


def _env_vars(config: Mapping[str, Any] | None) -> Mapping[str, Any]:
    runtime_env = (config or {}).get("runtime_env")
    variables = runtime_env.get("env_vars") if isinstance(runtime_env, Mapping) else None
    return variables if isinstance(variables, Mapping) else {}


def _copy(value: Any) -> Any:  # noqa: ANN401
    # A mapping of any kind becomes a dict, so that what leaves is plain.
    return {key: _copy(item) for key, item in value.items()} if isinstance(value, Mapping) else copy.deepcopy(value)
