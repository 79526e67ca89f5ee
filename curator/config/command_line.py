"""The words behind ``python -m curator``: flags are Hydra's, the rest are settings; their order is free."""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from curator.config.suggest import nearest, suggest
from curator.errors import ConfigError


def parse_words(words: Sequence[str], subcommands: Sequence[str] = ()) -> Namespace:
    """Sort words into flags and settings.

    Args:
        words: what was typed.
        subcommands: words that mean something else when they come first; named when one is misspelt.

    Returns:
        Hydra's own namespace; ``overrides`` holds the settings in their order, ``trust`` the packages of ``--trust``.

    Raises:
        ConfigError: a flag is wrong or not supported, or the first word is neither a setting nor a flag.

    Example:
        >>> parse_words(["mode=plan", "-m", "stages=dedup,copy"]).overrides
        ['mode=plan', 'stages=dedup,copy']
    """
    if words and re.fullmatch(r"\w+", words[0]):
        names = suggest(words[0], subcommands, kind="subcommands")
        raise ConfigError(f"{words[0]}: is neither key=value nor a subcommand. {names}")
    parser = get_args_parser()
    parser.add_argument("--trust", action="append", default=[], metavar="PACKAGE", help="Allow classes of a package")
    flags = sorted(flag for flag in parser._option_string_actions if flag.startswith("--"))

    def refuse(message: str) -> NoReturn:
        typed = re.search(r"--?[\w-]+", message)
        close = nearest(typed[0], flags) if typed else None
        hint = f"Did you mean '{close}'? " if close else ""
        raise ConfigError(f"{message}. {hint}The flags are: {', '.join(flags)}.")

    parser.error = refuse  # type: ignore[method-assign]
    arguments = parser.parse_intermixed_args(list(words))
    if arguments.experimental_rerun is not None:
        raise ConfigError("--experimental-rerun: a pickle is a program, and is not loaded.")
    if arguments.resolve and not (arguments.cfg or arguments.help):
        raise ConfigError("--resolve: goes with --cfg or --help.")
    asked = [flag for flag in ("run", "multirun", "cfg", "info", "shell_completion") if getattr(arguments, flag)]
    if len(asked) > 1:
        raise ConfigError(f"--{asked[0]}: does not go with --{asked[1]}.")
    return arguments
