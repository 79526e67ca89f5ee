"""From what was typed to one composed config: Hydra composes, and every mistake is said in the user's own text.

The names below ``hydra._internal`` are those that ``hydra.main`` itself calls; ``hydra.compose`` knows neither
``--config-dir`` nor sweeps. hydra-core is held below 1.4 for their sake.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
from curator.config.layers import Layer, split_layers
from curator.config.loader import Loader
from curator.config.overrides import (
    check_choices,
    check_keys,
    check_sweeps,
    first_point,
    is_choice,
    parse_overrides,
)
from curator.config.read import read_config, resolve_in
from curator.config.secrets import remember_typed
from curator.config.trust import option_folders, trusted_packages
from curator.errors import ConfigError
from curator.logs import redact

VERSION_BASE = "1.3"
CONFIG_NAME = "config"


@dataclass(frozen=True, slots=True)
class Composition:
    """A composed config, and the Hydra that composed it.

    Args:
        hydra: composes again, for the points of a sweep.
        config: the config, Hydra's own part included; of what is swept over, the first point.
        overrides: what was typed.
        config_name: the primary config.
        trusted: prefixes of trusted names.
    """

    hydra: Any
    config: DictConfig = field(repr=False)  # with secrets, if they were typed in the clear
    overrides: list[str] = field(repr=False)
    config_name: str
    trusted: tuple[str, ...]


@contextmanager
def compose(
    overrides: Sequence[str] = (),
    *,
    config_dir: str | None = None,
    config_path: str | None = None,
    config_name: str = CONFIG_NAME,
    multirun: bool = False,
    trust: Sequence[str] = (),
) -> Iterator[Composition]:
    """Compose a config, once. Nothing is written.

    Args:
        overrides: ``key=value`` and ``group=option``, as they are typed.
        config_dir: a folder with more options (``--config-dir``).
        config_path: a folder to use instead of the shipped one (``--config-path``).
        config_name: the primary config (``--config-name``).
        multirun: whether this is a sweep (``-m``).
        trust: packages whose classes a config may name (``--trust``).

    Yields:
        The composition; Hydra is up until the context ends.

    Raises:
        ConfigError: something typed is wrong; all of it is in the message.
    """
    problems: list[str] = []
    nothing: set[str] = set()
    parsed = parse_overrides(overrides, problems)
    remember_typed(parsed)
    trusted = trusted_packages(trust)
    with hydra_up(config_path, config_dir, trusted) as hydra:

        def as_hydra_has_it(line: str) -> str:
            # Hydra knows no group=null: taking the group away is the same.
            return f"~{line.removesuffix('=null')}" if line in nothing else line

        def compose_once(chosen: Sequence[Any]) -> DictConfig:
            lines = [line for each in chosen if (line := first_point(each, hydra.config_loader)) is not None]
            lines = [as_hydra_has_it(line) for line in lines]
            return _compose(hydra, config_name, lines + (["hydra.mode=MULTIRUN"] if multirun else []))

        repository = _repository(hydra, config_name, parsed)
        choices = [each for each in parsed if is_choice(each, repository)]
        values = [each for each in parsed if each not in choices]
        choices = check_choices(choices, repository, problems)
        nothing.update(str(each.input_line) for each in choices if each.value() is None and not each.is_delete())
        groups = repository.get_group_options("", ObjectType.GROUP)
        try:
            config = compose_once([each for each in parsed if each in choices or each in values])
        except ConfigError as error:
            # Only now is it worth composing the options alone, to find the keys that they do not have.
            found: list[str] = []
            options = compose_once([*choices, *(each for each in values if each.key_or_group == "hydra.searchpath")])
            values = check_keys(values, options, groups, found, repository)
            if not found:
                raise ConfigError([*problems, *error.problems]) from error
            problems += found
            config = compose_once([*choices, *values])
        check_sweeps([*choices, *values], is_sweep(config), problems)
        if problems:
            raise ConfigError(problems)
        yield Composition(hydra, config, [as_hydra_has_it(line) for line in overrides], config_name, trusted)


def compose_config(overrides: Sequence[str] = (), **options: Any) -> DictConfig:  # noqa: ANN401
    """Compose a config, Hydra's own part included; the arguments are those of ``compose``.

    Example:
        >>> compose_config(["stages=[write,read]"]).stages.keys()
        dict_keys(['write', 'read'])
    """
    with compose(overrides, **options) as composition:
        return composition.config


def is_sweep(config: DictConfig) -> bool:
    """Whether a composed config is a sweep: by ``-m``, or by ``hydra.mode`` in a config.

    Example:
        >>> is_sweep(compose_config(["stages=dedup,copy"], multirun=True))
        True
    """
    return bool(config.hydra.mode == RunMode.MULTIRUN)


@dataclass(frozen=True, slots=True)
class JobConfig:
    """The config of one job, resolved.

    Args:
        plain: the config in plain Python.
        layers: where its executor and runtime_env settings come from.
    """

    plain: dict[str, Any] = field(repr=False)
    layers: list[Layer]


def read_composed(config: DictConfig) -> dict[str, Any]:
    """Resolve a composed config as its job will, without making the job's directory.

    Args:
        config: what ``compose_config`` returned.

    Returns:
        The job's part of the config, in plain Python.

    Raises:
        ConfigError: some values are missing or cannot be resolved.

    Example:
        >>> read_composed(compose_config(["hydra.run.dir=/data"]))["output_path"]
        '/data/output'
    """
    return read_composed_job(config).plain


def read_composed_job(config: DictConfig, output_dir: Path | None = None) -> JobConfig:
    """As ``read_composed``, with the layers.

    Args:
        config: what ``compose_config`` returned.
        output_dir: the run directory; ``None`` is the one that the config names.
    """
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(config)
    try:
        # Looked up in the config itself, so that the time in its name is the one that the run will have.
        directory = str(config.hydra.run.dir if output_dir is None else output_dir)
        if redact(directory) != directory:
            key = "hydra.run.dir" if output_dir is None else "hydra.sweep.dir"
            raise ConfigError(f"{key}: {redact(directory)!r} holds a secret, and would be seen by everybody.")
        job = copy.deepcopy(config)
        with open_dict(job):
            del job["hydra"]
        return read_job(job, Path(directory).absolute())
    finally:
        HydraConfig.instance().cfg = before


def read_job(config: DictConfig, output_dir: Path) -> JobConfig:
    """Resolve the config of a job as if it ran in another directory.

    Args:
        config: the job's part of a config; Hydra's part has been set.
        output_dir: what ``${hydra:runtime.output_dir}`` becomes.

    Raises:
        ConfigError: some values are missing or cannot be resolved.
    """
    runtime: Any = HydraConfig.get().runtime
    with read_write(runtime), open_dict(runtime):
        runtime.output_dir = str(output_dir)
    plain = read_config(config)
    recorded: Any = OmegaConf.to_container(runtime.layers)
    return JobConfig(plain, split_layers(recorded, lambda tree: resolve_in(config, tree), plain))


@contextmanager
def hydra_up(
    config_path: str | None = None, config_dir: str | None = None, trusted: Sequence[str] = ()
) -> Iterator[Any]:
    """A Hydra with curator's loader; one at a time.

    Raises:
        ConfigError: ``config_dir`` is not there.
    """
    version.setbase(VERSION_BASE)
    # Hydra reads a relative --config-path from the folder of the main file.
    main = os.path.join(Path(__file__).parents[1], config_path) if config_path else conf_dir()
    search_path = create_config_search_path(str(main))
    schema = SearchPathQuery(provider="schema")
    if config_dir is not None:
        folder = os.path.abspath(config_dir)
        if not os.path.isdir(folder):
            raise ConfigError(f"--config-dir {config_dir}: there is no folder {folder!r}.")
        search_path.prepend("command-line", f"file://{folder}", schema)
    for name, options in option_folders():
        search_path.prepend(name, f"file://{options}", schema)
    hydra = Hydra(task_name="curator", config_loader=Loader(search_path, trusted))
    GlobalHydra.instance().initialize(hydra)
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
    except ConfigError:
        raise
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
