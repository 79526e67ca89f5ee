"""The front doors of packages: a name is imported when it is first used, so that the package itself opens at once."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping


def imported_on_use(package: str, homes: Mapping[str, str]) -> Callable[[str], object]:
    """The ``__getattr__`` of a package.

    Args:
        package: its name.
        homes: each name that it exports, and the module where that is defined.

    Returns:
        A function of a name; it raises ``AttributeError`` for one that is not exported.

    Example:
        >>> imported_on_use("curator", {"Task": "curator.tasks"})("Tusk")
        Traceback (most recent call last):
        AttributeError: module 'curator' has no attribute 'Tusk'
    """

    def find(name: str) -> object:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(importlib.import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)
        return value

    return find
