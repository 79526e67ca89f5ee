"""Who is trusted: the packages whose classes a config may name, and whose folders add options.

A package becomes trusted by being typed (``--trust``), by the environment (``CURATOR_TRUST``), or by having been
installed with an entry point. A config file cannot make anything trusted, because it could come from anybody.
"""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path

from curator.config.targets import TRUSTED_PACKAGES
from curator.errors import ConfigError

TRUST_VARIABLE = "CURATOR_TRUST"
TRUSTED_GROUP = "curator.trusted"
OPTIONS_GROUP = "curator.conf"


def trusted_packages(typed: Sequence[str] = ()) -> tuple[str, ...]:
    """Prefixes of the names that a config may name.

    Args:
        typed: packages from the command line; a word may hold several, with commas between them.

    Returns:
        Prefixes that end with a dot, curator's own first.

    Raises:
        ConfigError: a word is no name of a package.

    Example:
        >>> trusted_packages(["my_stages"])[:2]
        ('curator.', 'my_stages.')
    """
    problems: list[str] = []
    names = []
    for place, text in (*(("--trust", word) for word in typed), (TRUST_VARIABLE, os.environ.get(TRUST_VARIABLE, ""))):
        for name in re.split(r"[,:\s]+", text):
            if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", name):
                names.append(name)
            elif name:
                problems.append(f"{place}: {name!r} is no name of a package. Write it as 'my_package'.")
    if problems:
        raise ConfigError(problems)
    names += [value for _, value in _entry_points()[TRUSTED_GROUP]]
    return tuple(dict.fromkeys([*TRUSTED_PACKAGES, *(f"{name}." for name in names)]))


def option_folders() -> Iterator[tuple[str, Path]]:
    """Folders of options that installed packages bring along, by the name of their entry point.

    The value of an entry point is a path of packages, ``my_package.conf``; nothing of it is imported.
    """
    for name, value in _entry_points()[OPTIONS_GROUP]:
        package, *folders = value.split(".")
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            folder = Path(place, *folders)
            if folder.is_dir():
                yield name, folder
                break


def _entry_points() -> dict[str, list[tuple[str, str]]]:
    return _read_entry_points(tuple(sys.path))


@cache
def _read_entry_points(_path: tuple[str, ...]) -> dict[str, list[tuple[str, str]]]:
    groups = (TRUSTED_GROUP, OPTIONS_GROUP)
    return {group: sorted({(each.name, each.value) for each in metadata.entry_points(group=group)}) for group in groups}
