"""From a composed config to plain Python, once; no DictConfig gets any further."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import DictConfig, ListConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from curator.errors import ConfigError


def read_config(config: DictConfig) -> dict[str, Any]:
    """Resolve a config into dicts, lists and scalars.

    Every value is resolved here, at the start, because an interpolation that fails would otherwise fail when it is
    first used, hours later.

    Args:
        config: what Hydra composed; it is not changed.

    Returns:
        Plain Python that shares nothing with the config.

    Raises:
        ConfigError: some values are missing (``???``) or cannot be resolved; all of them are named.

    Example:
        >>> read_config(DictConfig({"a": 1, "b": ["${a}"]}))
        {'a': 1, 'b': [1]}
    """
    problems: list[str] = []
    plain = _read_mapping(config, "", problems)
    if problems:
        raise ConfigError(problems)
    return plain


def _read_mapping(node: DictConfig, path: str, problems: list[str]) -> dict[str, Any]:
    return {str(key): _read(node, key, f"{path}.{key!s}" if path else str(key), problems) for key in node}


def _read(parent: DictConfig | ListConfig, key: Any, path: str, problems: list[str]) -> Any:  # noqa: ANN401
    try:
        value = parent[key]
    except MissingMandatoryValue:
        problems.append(f"{path}: a value is missing. Set it: '{path}=VALUE'.")
        return None
    except (OmegaConfBaseException, RecursionError, ValueError) as error:
        problems.append(f"{path}: {_reason(parent, key, error)}")
        return None
    if isinstance(value, DictConfig):
        return _read_mapping(value, path, problems)
    if isinstance(value, ListConfig):
        # Items are read one by one, because iterating stops at the first that is missing.
        return [_read(value, index, f"{path}.{index}", problems) for index in range(len(value))]
    return value


def _reason(parent: DictConfig | ListConfig, key: Any, error: Exception) -> str:  # noqa: ANN401
    text = str(parent._get_node(key))
    # OmegaConf puts the name of the exception before the reason, and the reason in quotes.
    cause = re.sub(r"^\w+ raised while resolving interpolation: ", "", str(error).splitlines()[0])
    cause = cause.strip('"').removesuffix(".")
    return f"{text!r} cannot be resolved: {cause}."
