"""The gate: which classes a config may name. Nothing is built from a config except through here.

A ``_target_`` makes a config a program, so each one has to pass, in this order: its text lies in a trusted package
(only then is anything imported, because importing runs code); the object found there is a class whose own module and
name lie in a trusted package too (an alias of ``os.system`` inside curator stays outside); and it is a subclass of what
the slot holds. Places that hold no object refuse every ``_target_``.
"""

from __future__ import annotations

import inspect
import pkgutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from curator.config.suggest import suggest
from curator.errors import ConfigError

TRUSTED_PACKAGES = ("curator.",)
"""Prefixes of trusted names. More are added in Python, never by a config."""

HYDRA_PACKAGES = ("hydra.", "hydra_plugins.")

TARGET = "_target_"
_OTHER_HYDRA_KEYS = ("_args_", "_convert_", "_partial_", "_recursive_")

SlotOf = Callable[[tuple[str, ...]], type | None]


def check_hydra_targets(section: Any) -> list[str]:  # noqa: ANN401
    """Check Hydra's own part of a config: its launcher, sweeper and callbacks are classes that Hydra builds.

    Args:
        section: the part in plain Python.

    Returns:
        The problems.

    Example:
        >>> check_hydra_targets({"callbacks": {"x": {"_target_": "os.system"}}})[0].partition(" lies")[0]
        "hydra.callbacks.x._target_: 'os.system'"
    """
    return check_targets({"hydra": section}, lambda _path: object, (*TRUSTED_PACKAGES, *HYDRA_PACKAGES))


def check_targets(config: Mapping[str, Any], slot_of: SlotOf, trusted: Sequence[str] = TRUSTED_PACKAGES) -> list[str]:
    """Check every ``_target_`` of a plain config, at any depth, also inside lists.

    Args:
        config: plain Python, as ``read_config`` makes it.
        slot_of: maps the path of a mapping to the class that the place holds; ``None`` where it holds no object.
        trusted: prefixes of trusted names.

    Returns:
        The problems, each a sentence; empty when every target may be built.

    Example:
        >>> check_targets({"mode": {"_target_": "os.system"}}, lambda path: None)
        ["mode._target_: 'os.system' lies outside the trusted packages ('curator.',)."]
    """
    problems: list[str] = []
    for path, section in _mappings(config, ()):
        where = ".".join(path)
        problems += [
            f"{where}.{key}: is not allowed. Name a class in {TARGET} and its arguments by name."
            for key in _OTHER_HYDRA_KEYS
            if key in section
        ]
        if TARGET not in section:
            continue
        try:
            resolve_target(section[TARGET], f"{where}.{TARGET}".lstrip("."), slot_of(path), trusted)
        except ConfigError as error:
            problems += error.problems
    return problems


def without_target_keys(section: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a section: everything but ``_target_`` and the keys that only Hydra knows.

    Args:
        section: a mapping that names a class.

    Returns:
        A new dict.

    Example:
        >>> without_target_keys({"_target_": "curator.x.Y", "keep": "first"})
        {'keep': 'first'}
    """
    return {key: value for key, value in section.items() if key not in (TARGET, *_OTHER_HYDRA_KEYS)}


def resolve_target(target: object, path: str, base: type | None, trusted: Sequence[str] = TRUSTED_PACKAGES) -> type:
    """Turn the text of a ``_target_`` into a class, if it may be one.

    Args:
        target: the text, ``package.module.Class``.
        path: where it stands in the config, for messages.
        base: the class whose subclasses the place holds; ``None`` if it holds no object.
        trusted: prefixes of trusted names, each ending with a dot.

    Returns:
        The class; it is not called.

    Raises:
        ConfigError: the target is refused.

    Example:
        >>> resolve_target("curator.errors.StageError", "x._target_", Exception).__name__
        'StageError'
    """
    if not isinstance(target, str) or not _is_dotted_name(target):
        raise ConfigError(f"{path}: {target!r} is no name of a class. Write it as 'package.module.Class'.")
    outside = f"lies outside the trusted packages {tuple(trusted)}."
    if not target.startswith(tuple(trusted)):
        raise ConfigError(f"{path}: {target!r} {outside}")
    if base is None:
        raise ConfigError(f"{path}: {target!r}: nothing is built at this place of the config.")
    found = _look_up(target, path, base)
    if hasattr(found, "__module__") and hasattr(found, "__qualname__"):
        own_name = f"{found.__module__}.{found.__qualname__}"
        if not own_name.startswith(tuple(trusted)) or not _is_found_at(found, own_name):
            raise ConfigError(f"{path}: {target!r} is an alias of {own_name!r}, which {outside}")
    if not isinstance(found, type) or not issubclass(found, base) or inspect.isabstract(found):
        raise ConfigError(
            f"{path}: {target!r} is not a {base.__name__} that can be built. "
            f"Name a subclass of {base.__module__}.{base.__qualname__}."
        )
    return found


def _mappings(value: object, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Mapping[str, Any]]]:
    if isinstance(value, Mapping):
        yield path, value
        for key, item in value.items():
            yield from _mappings(item, (*path, str(key)))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _mappings(item, (*path, str(index)))


def _is_dotted_name(target: str) -> bool:
    # Python normalises identifiers when it imports, so that other letters could spell a trusted name.
    parts = target.split(".")
    return target.isascii() and len(parts) > 1 and all(part.isidentifier() for part in parts)


def _look_up(target: str, path: str, base: type) -> object:
    # One attribute of one module: walking on through attributes is how 'logging.os.system' got past a name check.
    module_name, _, name = target.rpartition(".")
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise ConfigError(f"{path}: {target!r} needs the module {error.name!r}, which is not installed.") from error
        raise ConfigError(f"{path}: there is no module {error.name!r}. {_suggest_module(error.name)}") from error
    except ImportError as error:
        raise ConfigError(f"{path}: {target!r} cannot be imported: {error}.") from error
    if not hasattr(module, name):
        names = [
            known
            for known, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, base) and not inspect.isabstract(value)
        ]
        raise ConfigError(f"{path}: there is no {name!r} in {module_name}. {suggest(name, names, kind='classes')}")
    return getattr(module, name)


def _suggest_module(missing: str) -> str:
    package_name, _, name = missing.rpartition(".")
    package = sys.modules.get(package_name)
    names = [module.name for module in pkgutil.iter_modules(getattr(package, "__path__", None) or [])]
    return suggest(name, names, kind="modules", prefix=f"{package_name}.")


def _is_found_at(found: object, own_name: str) -> bool:
    # A name that an object claims for itself counts only if the object is found under it.
    module_name, _, name = own_name.rpartition(".")
    return getattr(sys.modules.get(module_name), name, None) is found
