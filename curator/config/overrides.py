"""What is typed behind ``python -m curator``, checked word by word before Hydra composes it.

Hydra stops at the first mistake and names neither the option nor the key that was meant; here every mistake is found,
and what is wrong is left out of the rest of the check. Hydra has the last word on what is right.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, Override, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, ListConfig
from omegaconf.errors import OmegaConfBaseException

from curator.config.suggest import nearest, suggest

REQUIRED_GROUPS = ("executor", "stages")
"""Groups of which something must be chosen; ``group=null`` chooses nothing of any other one."""


class Repository(Protocol):
    """What is needed of Hydra's config repository."""

    def group_exists(self, config_path: str) -> bool:
        """Whether there is such a folder."""

    def get_group_options(self, group_name: str) -> list[str]:
        """The options in it."""

    def load_config(self, config_path: str) -> Any:  # noqa: ANN401
        """A file, with its keys in ``config``; ``None`` if there is none."""


def parse_overrides(lines: Sequence[str], problems: list[str]) -> list[Override]:
    """Parse what was typed.

    Args:
        lines: ``key=value`` and the like.
        problems: gets a sentence for every line that cannot be read.

    Returns:
        The lines that can be read.

    Example:
        >>> problems = []
        >>> [each.key_or_group for each in parse_overrides(["stages=[read", "mode=plan"], problems)]
        ['mode']
        >>> print(problems[0].partition(".")[0])
        stages=[read: cannot be read as key=value
    """
    parser = OverridesParser.create()
    parsed = []
    for line in lines:
        try:
            (override,) = parser.parse_overrides([line])
            if not override.key_or_group:
                raise HydraException("a key is missing")
            parsed.append(override)
        except HydraException:
            problems.append(f"{line}: cannot be read as key=value. {_how_to_quote(line)}")
    return parsed


def is_choice(override: Override, repository: Repository) -> bool:
    """Whether this chooses options of a group, and not values of its keys."""
    return not isinstance(override.value(), dict) and repository.group_exists(override.key_or_group)


def check_choices(choices: Sequence[Override], repository: Repository, problems: list[str]) -> list[Override]:
    """Check that every option that is chosen exists.

    Args:
        choices: overrides of groups.
        repository: Hydra's config repository.
        problems: gets a sentence for every option that does not exist.

    Returns:
        The overrides that are right.

    Example:
        >>> problems = []
        >>> class Repository:
        ...     def get_group_options(self, group):
        ...         return ["exact", "read"]
        >>> check_choices(parse_overrides(["stages=[read,exct]"], []), Repository(), problems)
        []
        >>> print(problems[0])
        stages=[read,exct]: there is no option 'exct' in the group stages. Did you mean 'exact'? ...
    """
    good = []
    for choice in choices:
        group = choice.key_or_group
        options = repository.get_group_options(group)
        found: list[str] = []
        for name in _names(choice):
            if name is None and group in REQUIRED_GROUPS and not choice.is_delete():
                found.append(f"{choice.input_line}: choose an option. {suggest('', options, kind='options')}")
            # A name with a slash is a path into another folder, and null means no option.
            elif name is not None and "/" not in name and name not in options:
                found.append(
                    f"{choice.input_line}: there is no option {name!r} in the group {group}. "
                    f"{suggest(name, options, kind='options')}"
                )
        listed = choice.value()
        if group == "replicas" and isinstance(listed, list):
            found += [
                f"{choice.input_line}: {name} is chosen twice. For more copies of its model, type "
                f"'replicas.{name}.replicas={listed.count(name)}'."
                for name in dict.fromkeys(listed)
                if listed.count(name) > 1
            ]
        problems += found
        if not found:
            good.append(choice)
    return good


def check_keys(
    values: Sequence[Override],
    config: DictConfig,
    groups: Sequence[str],
    problems: list[str],
    repository: Repository | None = None,
) -> list[Override]:
    """Check that every key that is set exists.

    Args:
        values: overrides of keys; those that add a key (``+key=value``) are not looked at.
        config: the composed options.
        groups: names of all groups: what is no key may be a misspelt group.
        problems: gets a sentence for every key that does not exist.
        repository: Hydra's config repository, to name other options that have such a key.

    Returns:
        The overrides that are right.

    Example:
        >>> problems = []
        >>> typed = parse_overrides(["stges=dedup"], [])
        >>> check_keys(typed, DictConfig({"mode": "run"}), ["stages"], problems)
        []
        >>> print(problems[0].partition(" The")[0])
        stges=dedup: there is no key 'stges'. Did you mean 'stages=dedup'?
    """
    good = []
    for value in values:
        found: list[str] = []
        if not (value.is_add() or value.is_force_add()):
            paths = [value.key_or_group, *_nested(value.key_or_group, value.value())]
            found = [text for path in paths if (text := _missing(value, path, config, groups, repository))]
        # The first is enough: below a key that does not exist, nothing does.
        problems += found[:1]
        if not found:
            good.append(value)
    return good


def first_point(override: Override, loader: ConfigLoader) -> str | None:
    """What an override says in the first point of a sweep.

    Args:
        override: any override.
        loader: Hydra's, which knows the options that a pattern stands for.

    Returns:
        The line as it would be typed without a sweep; ``None`` for an interval, which has no first value.
    """
    if not override.is_sweep_override():
        return str(override.input_line)
    if not override.is_discrete_sweep():
        return None
    override.config_loader = loader
    value = next(iter(override.sweep_string_iterator()), None)
    return None if value is None else f"{override.get_key_element()}={value}"


def check_sweeps(overrides: Sequence[Override], sweep: bool, problems: list[str]) -> None:
    """Check that nothing is swept over outside a sweep, and in one only what makes sense.

    Args:
        overrides: everything that was typed.
        sweep: whether this is a sweep.
        problems: gets a sentence for every list of values that is wrong.

    Example:
        >>> problems = []
        >>> check_sweeps(parse_overrides(["executor=local,ray_actor_pool"], []), False, problems)
        >>> print(problems[0])
        executor=local,ray_actor_pool: one run takes one value. Add -m to run once for each, ...
    """
    for override in overrides:
        if not override.is_sweep_override():
            continue
        if sweep and override.key_or_group == "mode":
            problems.append(f"{override.input_line}: a sweep has one mode for all its points.")
        elif not sweep:
            key, _, text = str(override.input_line).partition("=")
            problems.append(
                f"{override.input_line}: one run takes one value. Add -m to run once for each, "
                f"or write a list '{key}=[{text}]', or one text with a comma '{key}=\"{text}\"'."
            )


def _how_to_quote(line: str) -> str:
    key, equals, value = line.partition("=")
    if not equals or not key:
        return f"Write '{key or 'KEY'}=VALUE'."
    for opening, closing in ("[]", "{}", "()"):
        if value.count(opening) != value.count(closing):
            return f"A bracket is missing: {opening!r} and {closing!r} do not match."
    if value.count('"') % 2 or value.count("'") % 2:
        return "A quote is missing: close it, or put the whole word in the other kind of quotes."
    return f"A value with special characters is quoted twice: '{key}=\"{value}\"'."


def _names(choice: Override) -> Iterator[str | None]:
    value: Any = choice.value()
    # A pattern takes what there is.
    if isinstance(value, Glob) or choice.is_range_sweep() or choice.is_interval_sweep():
        return
    for item in value.list if isinstance(value, ChoiceSweep) else [value]:
        for name in item if isinstance(item, list) else [item]:
            text = name.text if isinstance(name, QuotedString) else name
            # Hydra reads an option called 1 as a number.
            yield None if text is None else str(text)


def _options_with(key: str, group: str, repository: Repository) -> str:
    """The options of a group whose file has a key, as one types them."""
    found = ((name, repository.load_config(f"{group}/{name}")) for name in repository.get_group_options(group))
    return ", ".join(f"'{group}={name}'" for name, option in found if option is not None and key in option.config)


def _nested(path: str, value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{path}.{key}"
            yield from _nested(f"{path}.{key}", item)


def _missing(
    override: Override, path: str, config: DictConfig, groups: Sequence[str], repository: Repository | None
) -> str | None:
    node: Any = config
    parts = path.split(".")
    for depth, part in enumerate(parts):
        if isinstance(node, ListConfig):
            return None
        if not isinstance(node, DictConfig):
            return f"{override.input_line}: {'.'.join(parts[:depth])} is a value and has no keys."
        if part not in node:
            line = str(override.input_line)
            here = ".".join(parts[:depth])
            keys = [str(key) for key in node if not str(key).startswith("_")] + (list(groups) if depth == 0 else [])
            where = f" in {here}" if here else ""
            problem = f"{line}: there is no key {part!r}{where}."
            close = nearest(part, keys)
            if close is None and repository is not None and depth == 1 and here in groups:
                having = _options_with(part, here, repository)
                if having:
                    return f"{problem} It is a key of {having}. {suggest('', keys, kind='keys')}"
            if close is None:
                return f"{problem} {suggest(part, keys, kind='keys')} A new key is added by '+{line}'."
            meant = ".".join([*parts[:depth], close, *parts[depth + 1 :]])
            rest = line.partition("=")[2] if path == override.key_or_group else ""
            meant = f"{meant}={rest}" if rest else meant
            listed = suggest("", keys, kind="keys")
            return f"{problem} Did you mean '{meant}'? {listed}"
        try:
            node = node[part]
        except OmegaConfBaseException:
            return None
    return None
