"""The layers of executor and runtime_env settings: what each one says, and which of them won.

Layers, weakest first: the executor option, the runtime_env group, the command line, a stage's own runtime_env. A
composed config flows in (with ``hydra.runtime.layers``, as the loader leaves it); the environment of the job flows out,
with the source of every key and the environment variables that a stronger layer changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curator.config.loader import COMMAND_LINE
from curator.config.merge import merge_executor_configs, overridden_env_vars

Tree = dict[str, Any]
Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """What one file, or the command line, says.

    Args:
        source: the file below ``conf``, or ``command line``.
        section: ``executor`` or ``runtime_env``.
        content: what it says about that section; interpolations are resolved.
        removed: key paths that the command line takes away (``~executor.runtime_env.pip``).
    """

    source: str
    section: str
    content: Any = field(repr=False)  # may hold a secret, as the trees below
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Override:
    """An environment variable that a stronger layer changes."""

    name: str
    weaker: str
    stronger: str


@dataclass(frozen=True, slots=True)
class Settings:
    """An executor section with the environment of the job, and where all of it comes from.

    Args:
        executor: the section; its ``runtime_env`` is the merged one.
        sources: path of each key in the section to its layer.
        overrides: environment variables that a layer changed.
    """

    executor: Tree = field(repr=False)
    sources: dict[Path, str]
    overrides: list[Override] = field(default_factory=list)


def merge_layers(layers: Sequence[Layer]) -> Settings:
    """Merge layers into one executor section.

    Args:
        layers: in any order; of each section, the weaker come first.

    Returns:
        The section, with a ``runtime_env`` if any layer had one.

    Example:
        >>> merged = merge_layers([
        ...     Layer("executor/x.yaml", "executor", {"runtime_env": {"env_vars": {"A": "1"}}}),
        ...     Layer("runtime_env/y.yaml", "runtime_env", {"env_vars": {"A": "2"}}),
        ... ])
        >>> merged.sources, merged.overrides
        ({('runtime_env', 'env_vars', 'A'): 'runtime_env/y.yaml'}, [Override(name='A', ...
    """
    settings = Settings({}, {})
    ranked = sorted(layers, key=lambda layer: (layer.source == COMMAND_LINE, layer.section == "runtime_env"))
    for layer in ranked:
        content = layer.content if layer.section == "executor" else {"runtime_env": layer.content}
        for path in layer.removed:
            _remove(settings, path.split("."))
        if isinstance(content, Mapping):
            settings = _over(settings, layer.source, content)
    return settings


def merge_stage_env(job: Settings, content: Any, source: str) -> Settings:  # noqa: ANN401
    """The environment of one stage's workers: its own, over the job's.

    Args:
        job: what ``merge_layers`` made.
        content: the stage's ``runtime_env``.
        source: how to call the layer.
    """
    environment = {key: value for key, value in job.executor.items() if key == "runtime_env"}
    sources = {path: layer for path, layer in job.sources.items() if path[0] == "runtime_env"}
    return _over(Settings(environment, sources), source, {"runtime_env": content})


def leaves(tree: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:  # noqa: ANN401
    """Path and value of everything in a tree that is no mapping, and of empty mappings.

    Example:
        >>> list(leaves({"a": {"b": [1], "c": {}}}))
        [(('a', 'b'), [1]), (('a', 'c'), {})]
    """
    if isinstance(tree, Mapping) and (tree or not path):
        for key, value in tree.items():
            yield from leaves(value, (*path, str(key)))
    else:
        yield path, tree


def split_layers(recorded: Sequence[Mapping[str, Any]], resolve: Callable[[Any], Any], final: Tree) -> list[Layer]:
    """Layers from what the loader recorded.

    Args:
        recorded: a mapping per source, weakest first.
        resolve: resolves the interpolations of a tree.
        final: the composed config in plain Python, which has the values that were typed.
    """
    layers = []
    for each in recorded:
        source = str(each["source"])
        for section in ("executor", "runtime_env"):
            removed = tuple(
                path.partition(".")[2] if section == "executor" else path
                for path in each.get("removed", ())
                if path.startswith(f"{section}.")
            )
            if source == COMMAND_LINE:
                content = _values_of(each.get(section), final.get(section))
            else:
                content = resolve(each[section]) if section in each else None
            if section in each or removed:
                layers.append(Layer(source, section, content if section in each else {}, removed))
    return layers


def _over(settings: Settings, source: str, content: Mapping[str, Any]) -> Settings:
    merged = merge_executor_configs(settings.executor, content)
    overrides = [
        Override(name, _source_of(settings.sources, ("runtime_env", "env_vars", name)), source)
        for name in overridden_env_vars(settings.executor, merged)
    ]
    # An empty mapping says nothing about what is in the weaker one already.
    said = {path for path, value in leaves(content) if value != {}}
    sources = {}
    for path, value in leaves(merged):
        mine = any(path[: len(each)] == each for each in said) or (value == {} and path not in settings.sources)
        sources[path] = source if mine else settings.sources.get(path) or _source_of(settings.sources, path)
    return Settings(merged, sources, settings.overrides + overrides)


def _source_of(sources: Mapping[Path, str], path: Path) -> str:
    for end in range(len(path), 0, -1):
        if path[:end] in sources:
            return sources[path[:end]]
    return next((layer for each, layer in sources.items() if each[: len(path)] == path), "")


def _remove(settings: Settings, keys: Sequence[str]) -> None:
    node: Any = settings.executor
    for key in keys[:-1]:
        node = node.get(key) if isinstance(node, Mapping) else None
    if isinstance(node, dict):
        node.pop(keys[-1], None)


def _values_of(typed: object, final: object) -> Any:  # noqa: ANN401
    """The typed keys, with the values that they have in the composed config."""
    if isinstance(typed, Mapping) and isinstance(final, Mapping):
        return {key: _values_of(item, final[key]) for key, item in typed.items() if key in final}
    return final
