"""From a composed config to plain Python, once; no DictConfig gets any further."""

from __future__ import annotations

import re
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from curator.config.secrets import is_secret_key
from curator.errors import ConfigError
from curator.logs import redact


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


def resolve_in(config: DictConfig, tree: Any) -> Any:  # noqa: ANN401
    """Resolve a piece of a config as if it stood in it.

    Args:
        config: the whole config.
        tree: plain Python, not resolved.

    Returns:
        Plain Python; what cannot be resolved stays as it is, because the config itself is resolved, and judged, first.

    Example:
        >>> resolve_in(DictConfig({"a": 1}), {"b": ["${a}", "${nowhere}"]})
        {'b': [1, '${nowhere}']}
    """
    if isinstance(tree, dict):
        return {key: resolve_in(config, value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [resolve_in(config, value) for value in tree]
    if not isinstance(tree, str) or "${" not in tree:
        return tree
    try:
        node = DictConfig({"x": tree}, parent=config)
        value = node["x"]
    except (OmegaConfBaseException, RecursionError, ValueError):
        return tree
    return OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value


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
    if isinstance(value, str) and redact(value) != value and not is_secret_key(path.split(".")):
        text = getattr(parent._get_node(key), "_value", lambda: value)()
        if text != value:
            problems.append(
                f"{path}: {text!r} stands for a secret, which would end up in files and logs. Secrets go to "
                "runtime_env.env_vars, or under a key that is named like one."
            )
            return None
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
