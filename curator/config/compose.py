"""From what was typed to one composed config: Hydra composes, and every mistake is said in the user's own text.

The names below ``hydra._internal`` are those that ``hydra.main`` itself calls; ``hydra.compose`` knows neither
``--config-dir`` nor sweeps. hydra-core is held below 1.4 for their sake.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from curator.config.conf_dir import conf_dir
from curator.config.overrides import (
    check_choices,
    check_keys,
    check_sweeps,
    first_point,
    is_choice,
    parse_overrides,
)
from curator.config.read import read_config
from curator.config.targets import check_hydra_targets
from curator.errors import ConfigError

VERSION_BASE = "1.3"
CONFIG_NAME = "config"


def compose_config(
    overrides: Sequence[str] = (),
    *,
    config_dir: str | None = None,
    config_path: str | None = None,
    config_name: str = CONFIG_NAME,
    multirun: bool = False,
) -> DictConfig:
    """Compose a config, Hydra's own part included. Nothing is written.

    Args:
        overrides: ``key=value`` and ``group=option``, as they are typed.
        config_dir: a folder with more options (``--config-dir``).
        config_path: a folder to use instead of the shipped one (``--config-path``).
        config_name: the primary config (``--config-name``).
        multirun: whether this is a sweep (``-m``); of what is swept over, the first is taken.

    Returns:
        The config; ``config.hydra.mode`` says whether it is a sweep.

    Raises:
        ConfigError: something typed is wrong; all of it is in the message.

    Example:
        >>> compose_config(["stages=[write,read]"]).stages.keys()
        dict_keys(['write', 'read'])
    """
    problems: list[str] = []
    parsed = parse_overrides(overrides, problems)
    with _hydra(config_path, config_dir) as hydra:

        def compose(chosen: Sequence[Any]) -> DictConfig:
            lines = [line for each in chosen if (line := first_point(each, hydra.config_loader)) is not None]
            lines += ["hydra.mode=MULTIRUN"] if multirun else []
            return _compose(hydra, config_name, lines)

        repository = _repository(hydra, config_name, parsed)
        choices = [each for each in parsed if is_choice(each, repository)]
        values = [each for each in parsed if each not in choices]
        choices = check_choices(choices, repository, problems)
        groups = repository.get_group_options("", ObjectType.GROUP)
        try:
            config = compose([*choices, *values])
        except ConfigError as error:
            # Only now is it worth composing the options alone, to find the keys that they do not have.
            found: list[str] = []
            options = compose([*choices, *(each for each in values if each.key_or_group == "hydra.searchpath")])
            values = check_keys(values, options, groups, found)
            if not found:
                raise ConfigError([*problems, *error.problems]) from error
            problems += found
            config = compose([*choices, *values])
        check_sweeps([*choices, *values], is_sweep(config), problems)
        problems += check_hydra_targets(OmegaConf.to_container(config.hydra))
    if problems:
        raise ConfigError(problems)
    return config


def is_sweep(config: DictConfig) -> bool:
    """Whether a composed config is a sweep: by ``-m``, or by ``hydra.mode`` in a config.

    Example:
        >>> is_sweep(compose_config(["stages=dedup,copy"], multirun=True))
        True
    """
    return bool(config.hydra.mode == RunMode.MULTIRUN)


def read_composed(config: DictConfig) -> dict[str, Any]:
    """Resolve a composed config as its job will, without making the job's directory.

    Args:
        config: what ``compose_config`` returned; it loses Hydra's part.

    Returns:
        The job's part of the config, in plain Python.

    Raises:
        ConfigError: some values are missing or cannot be resolved.

    Example:
        >>> read_composed(compose_config(["hydra.run.dir=/data"]))["output_path"]
        '/data/output'
    """
    output_dir = Path(config.hydra.run.dir).absolute()
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        with open_dict(config):
            del config["hydra"]
        return read_job(config, output_dir)
    finally:
        HydraConfig.instance().cfg = before


def read_job(config: DictConfig, output_dir: Path) -> dict[str, Any]:
    """Resolve the config of a job as if it ran in another directory.

    Args:
        config: the job's part of a config; Hydra's part has been set.
        output_dir: what ``${hydra:runtime.output_dir}`` becomes.

    Returns:
        The config in plain Python.

    Raises:
        ConfigError: some values are missing or cannot be resolved.
    """
    runtime: Any = HydraConfig.get().runtime
    with read_write(runtime), open_dict(runtime):
        runtime.output_dir = str(output_dir)
    return read_config(config)


@contextmanager
def _hydra(config_path: str | None, config_dir: str | None) -> Iterator[Any]:
    version.setbase(VERSION_BASE)
    # Hydra reads a relative --config-path from the folder of the main file.
    main = os.path.join(Path(__file__).parents[1], config_path) if config_path else conf_dir()
    search_path = create_config_search_path(str(main))
    if config_dir is not None:
        folder = os.path.abspath(config_dir)
        if not os.path.isdir(folder):
            raise ConfigError(f"--config-dir {config_dir}: there is no folder {folder!r}.")
        schema = SearchPathQuery(provider="schema")
        search_path.prepend("command-line", f"file://{folder}", schema)
    hydra = Hydra.create_main_hydra2(task_name="curator", config_search_path=search_path)
    try:
        yield hydra
    finally:
        GlobalHydra.instance().clear()


def _compose(hydra: Any, config_name: str, lines: list[str]) -> DictConfig:  # noqa: ANN401
    with _as_config_error():
        config: DictConfig = hydra.compose_config(config_name=config_name, overrides=lines, run_mode=RunMode.RUN)
        return config


def _repository(hydra: Any, config_name: str, parsed: Sequence[Any]) -> Any:  # noqa: ANN401
    with _as_config_error():
        loader = hydra.config_loader
        loader.ensure_main_config_source_available()
        lines = [each.input_line for each in parsed]
        return loader._parse_overrides_and_create_caching_repo(config_name, lines)[1]


@contextmanager
def _as_config_error() -> Iterator[None]:
    # Composing handles nothing but the user's files and words, so that whatever it raises is about them.
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".*is not available", category=UserWarning)
            yield
    except Exception as error:
        raise ConfigError(in_short(error)) from error


def in_short(error: BaseException) -> str:
    r"""What Hydra or OmegaConf says, without the lines that explain Hydra.

    Example:
        >>> in_short(ValueError("In 'config': no such option\n\nConfig search path:\n..."))
        "In 'config': no such option"
    """
    lines: list[str] = []
    for line in str(error).splitlines():
        if line.startswith(("Config search path:", "Search path:")):
            break
        if line.strip() and not line.startswith(("See https://", "To append to your")):
            lines.append(line.strip())
    # Hydra's own message is often only the place, and OmegaConf's, its cause, the reason.
    cause = str(error.__cause__ or "").splitlines()
    return "\n  ".join([*lines, *cause[:1]]) or type(error).__name__
