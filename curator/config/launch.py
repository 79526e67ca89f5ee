"""Handing over to Hydra: it makes the run directory, and runs the job in it; its own flags are answered here as well.

What was composed to check it is what runs: nothing is composed twice but the points of a sweep.
"""

from __future__ import annotations

import sys
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import configure_log, run_job
from hydra.errors import HydraException
from hydra.types import HydraContext, RunMode
from omegaconf import Container, DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from curator.config.compose import CONFIG_NAME, Composition, hydra_up, in_short
from curator.config.secrets import masked_yaml, write_record
from curator.errors import ConfigError, StorageError

Job = Callable[[DictConfig, Path], int]


def run_once(composition: Composition, job: Job) -> int:
    """Make the run directory and run the job in it.

    Args:
        composition: what to run; its config gets the run directory.
        job: gets the job's config and its run directory, and returns an exit code.

    Returns:
        The exit code.

    Raises:
        ConfigError: Hydra refuses what it is given.
        StorageError: the run directory cannot be made.
    """
    hydra, config = composition.hydra, composition.config
    with readable_errors():
        with read_write(config.hydra):
            config.hydra.mode = RunMode.RUN
        configure_log(config.hydra.hydra_logging, config.hydra.verbose)
        callbacks = Callbacks(config)
        callbacks.on_run_start(config=config, config_name=composition.config_name)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=callbacks)
        done = run_job(
            hydra_context=context,
            task_function=Task(job),
            config=config,
            job_dir_key="hydra.run.dir",
            job_subdir_key=None,
        )
        callbacks.on_run_end(config=config, config_name=composition.config_name, job_return=done)
        return int(done.return_value)


@contextmanager
def temporary_directory() -> Iterator[Path]:
    """A place for the directories of a sweep that only plans; removed at the end."""
    with tempfile.TemporaryDirectory(prefix="curator-plan-") as directory:
        yield Path(directory)


def print_config(composition: Composition, arguments: Namespace) -> int:
    """Answer ``--cfg``: the config, or a part of it, with secrets masked.

    Raises:
        ConfigError: there is no such part.
    """
    hydra, config = composition.hydra, composition.config
    HydraConfig.instance().set_config(config)
    OmegaConf.set_readonly(config.hydra, None)
    shown = hydra.get_sanitized_cfg(config, arguments.cfg)
    package = None if arguments.package == "_global_" else arguments.package
    with readable_errors():
        part = shown if package is None else OmegaConf.select(shown, package)
        if part is None:
            raise ConfigError(f"--package {package}: there is no such part of the config.")
        if not isinstance(part, Container):
            print(part)
            return 0
        if package is not None:
            print(f"# @package {package}")
        if arguments.resolve:
            OmegaConf.resolve(part)
        sys.stdout.write(masked_yaml(part))
    return 0


def answer(arguments: Namespace) -> int:
    """Answer the flags of Hydra that run nothing: help, information, completion.

    Raises:
        ConfigError: Hydra refuses what it is given.
    """
    name = arguments.config_name or CONFIG_NAME
    parser: Any = get_args_parser()
    with hydra_up(arguments.config_path, arguments.config_dir) as hydra, readable_errors():
        if arguments.help:
            hydra.app_help(config_name=name, args_parser=parser, args=arguments)
        elif arguments.hydra_help:
            hydra.hydra_help(config_name=name, args_parser=parser, args=arguments)
        elif arguments.shell_completion:
            hydra.shell_completion(config_name=name, overrides=arguments.overrides)
        else:
            hydra.show_info(arguments.info, config_name=name, overrides=arguments.overrides)
    return 0


class Task:
    """The job as Hydra calls it; a class, so that a launcher can carry it to another node."""

    def __init__(self, job: Job) -> None:
        self._job = job

    def __call__(self, config: DictConfig) -> int:
        """Write down what the run is given, and run it."""
        hydra: Any = HydraConfig.instance().cfg
        runtime = hydra.hydra.runtime
        directory = Path(runtime.output_dir)
        if runtime.record is not None:
            write_record(directory / runtime.record, config=config, hydra=_only_hydra(hydra))
        return self._job(config, directory)


def _only_hydra(config: DictConfig) -> dict[str, Any]:
    plain: Any = OmegaConf.to_container(config.hydra, resolve=False, enum_to_str=True)
    del plain["help"], plain["hydra_help"]
    return {**plain, "output_subdir": plain["runtime"].pop("record")}


@contextmanager
def readable_errors() -> Iterator[None]:
    """What Hydra raises becomes an error of curator.

    Raises:
        ConfigError: Hydra refuses what it is given.
        StorageError: a directory or file of the run cannot be made.
    """
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(in_short(error)) from error
    except (StorageError, BrokenPipeError):
        raise
    except OSError as error:
        raise StorageError(f"hydra.run.dir: the run directory cannot be made: {error}.") from error
