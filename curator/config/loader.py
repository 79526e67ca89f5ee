"""Hydra's loader of options, with a memory and a gate.

Option files and overrides flow in; a composed config flows out that carries, in ``hydra.runtime``, which file or typed
word set which executor and runtime_env key (``layers``), and where the run's own ``.hydra`` files go (``record``). Each
composition passes here, those of the points of a sweep too, so that no file gets past the size limit, the limit of
aliases and the gate for Hydra's own part.

The names below ``hydra._internal`` are those that ``hydra.main`` itself calls; hydra-core is held below 1.4 for them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict

from curator.config.hydra_gate import check_hydra_part
from curator.config.targets import TARGET, TRUSTED_PACKAGES
from curator.errors import ConfigError

LARGEST_FILE_BYTES = 1 << 20
MOST_NODES = 20_000
COMMAND_LINE = "command line"
LAYERED = ("executor", "runtime_env")


class Loader(ConfigLoaderImpl):
    """Composes configs that say where their settings come from.

    Args:
        config_search_path: folders of options, strongest first.
        trusted: prefixes of trusted names.
    """

    def __init__(self, config_search_path: Any, trusted: Sequence[str] = TRUSTED_PACKAGES) -> None:  # noqa: ANN401
        self.config_search_path = config_search_path
        self.repository = _Repository(config_search_path)
        self.trusted = tuple(trusted)
        self._files: list[dict[str, Any]] = []
        self._sets: dict[str, str] = {}

    def load_configuration(self, *args: Any, **kwargs: Any) -> DictConfig:  # noqa: ANN401
        """Compose, remember the layers, and check Hydra's own part.

        Raises:
            ConfigError: Hydra's own part names something that it may not name, or two sets of replicas have one name.
        """
        self._files, self._sets = [], {}
        config: DictConfig = super().load_configuration(*args, **kwargs)
        problems = check_hydra_part(config, self.trusted)
        if problems:
            raise ConfigError(problems)
        typed: Any = OmegaConf.to_container(config.hydra.overrides.task)
        with open_dict(config.hydra.runtime):
            config.hydra.runtime.layers = [*self._files, *_typed_layer(typed)]
            # Hydra would write secrets into these files; curator writes them instead.
            config.hydra.runtime.record = config.hydra.output_subdir
        config.hydra.output_subdir = None
        return config

    def _load_single_config(self, default: Any, repo: Any) -> Any:  # noqa: ANN401
        result = super()._load_single_config(default, repo)
        if isinstance(result.config, DictConfig):
            self._check_sets(f"{default.config_path}.yaml", result.config.get("replicas"))
            tree = {key: _unresolved(result.config, key) for key in LAYERED if key in result.config}
            if isinstance(tree.get("executor"), dict):
                tree["executor"].pop(TARGET, None)
            if tree:
                self._files.append({"source": f"{default.config_path}.yaml", **tree})
        return result

    def _check_sets(self, file: str, section: Any) -> None:  # noqa: ANN401
        """Refuse two files that say the model of one set of replicas: Hydra would make one set of the two."""
        for name, said in (section or {}).items() if isinstance(section, DictConfig) else ():
            if not isinstance(said, DictConfig) or "model" not in said:
                continue
            key = str(name)
            other = self._sets.setdefault(key, file)
            if other != file:
                raise ConfigError(
                    f"replicas.{key}: {other} and {file} are two sets of one name. Choose one of them, give one "
                    "another key, or leave model out of the one that changes the other."
                )


class _Repository(ConfigRepository):
    """Reads no file that is large, or would become so."""

    def load_config(self, config_path: str) -> Any:  # noqa: ANN401
        for source in self.sources:
            path = os.path.join(source.path, source._normalize_file_name(config_path))
            if source.scheme() == "file" and os.path.isfile(path):
                check_file(path)
                break
        return super().load_config(config_path)


def check_file(path: str) -> None:
    """Refuse a YAML file that is too large, as it is or with its aliases written out.

    Args:
        path: the file.

    Raises:
        ConfigError: it is.

    Example:
        >>> check_file(__file__)
    """
    size_bytes = os.path.getsize(path)
    if size_bytes > LARGEST_FILE_BYTES:
        raise ConfigError(
            f"{path}: is {size_bytes:,} bytes long, and a config may have {LARGEST_FILE_BYTES:,}. Data is read by "
            "stages, from input_path."
        )
    with open(path, "rb") as file:
        content = file.read()
    if b"*" not in content or b"&" not in content:
        return
    try:
        root = yaml.compose(content, Loader=yaml.SafeLoader)
        nodes = _count_nodes(root, {}) if root is not None else 0
    except RecursionError:
        raise ConfigError(f"{path}: is nested too deeply, or holds an alias of itself.") from None
    except yaml.YAMLError:
        return  # Hydra says what is wrong with it, and where
    if nodes > MOST_NODES:
        raise ConfigError(f"{path}: its aliases stand for {nodes:,} values, and a config may have {MOST_NODES:,}.")


def _count_nodes(node: yaml.Node, known: dict[int, int]) -> int:
    # An alias is the same node again: counting with a memory is quick where writing out would not end.
    if id(node) in known:
        if not known[id(node)]:
            raise RecursionError
        return known[id(node)]
    known[id(node)] = 0
    children: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
    known[id(node)] = 1 + sum(_count_nodes(child, known) for child in children)
    return known[id(node)]


def _unresolved(config: DictConfig, key: str) -> Any:  # noqa: ANN401
    node = config._get_node(key)
    return OmegaConf.to_container(node) if isinstance(node, DictConfig) else getattr(node, "_value", lambda: None)()


def _typed_layer(typed: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The keys that were typed, as trees; their values are those of the composed config."""
    layer: dict[str, Any] = {}
    removed: list[str] = []
    lines = [line for line in typed if line.lstrip("+~").startswith(LAYERED)]
    for override in OverridesParser.create().parse_overrides(lines):
        parts = override.key_or_group.split(".")
        if parts[0] not in LAYERED:
            continue
        if override.is_delete():
            removed.append(override.key_or_group)
        elif len(parts) > 1 or isinstance(override.value(), dict):
            node = layer
            for part in parts[:-1]:
                inner = node.get(part)
                node[part] = node = inner if isinstance(inner, dict) else {}
            node[parts[-1]] = _with_keys_of(node.get(parts[-1]), override.value())
    if layer or removed:
        yield {"source": COMMAND_LINE, "removed": removed, **layer}


def _with_keys_of(before: object, value: object) -> Any:  # noqa: ANN401
    if not isinstance(value, dict):
        return None
    weaker = before if isinstance(before, dict) else {}
    return weaker | {str(key): _with_keys_of(weaker.get(key), item) for key, item in value.items()}
