"""Handing over to Hydra: it makes run directories, runs the job once or once per point, and answers its own flags."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from curator.config.compose import CONFIG_NAME, VERSION_BASE, in_short
from curator.config.conf_dir import conf_dir
from curator.errors import ConfigError, StorageError

RAISE_ERRORS = "HYDRA_FULL_ERROR"
"""Without this variable Hydra prints an error by itself and exits with 1; with it, the error gets through."""


def launch(words: Sequence[str], job: Callable[[DictConfig, Path], int]) -> int:
    """Run ``hydra.main`` on some words.

    Args:
        words: flags, then settings.
        job: gets the job's config and its run directory, and returns an exit code. It must not raise anything that
            the other points of a sweep should survive.

    Returns:
        The first exit code that is not 0, or 0.

    Raises:
        ConfigError: Hydra refuses what it is given.
        StorageError: the run directory cannot be made.
    """
    exit_codes: list[int] = []

    def task(config: DictConfig) -> None:
        exit_codes.append(job(config, Path(HydraConfig.get().runtime.output_dir)))

    main = hydra.main(version_base=VERSION_BASE, config_path=str(conf_dir()), config_name=CONFIG_NAME)
    try:
        with _errors_let_through(), _arguments(words):
            main(task)()
    except SystemExit as end:
        exit_codes.append(end.code if isinstance(end.code, int) else 0)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(in_short(error)) from error
    except OSError as error:
        raise StorageError(f"hydra.run.dir: the run directory cannot be made: {error}.") from error
    return next((code for code in exit_codes if code), 0)


@contextmanager
def sweep_without_traces(words: Sequence[str]) -> Iterator[tuple[list[str], Path]]:
    """Let a sweep that only plans keep its directories in a temporary place, which is removed at the end.

    Args:
        words: what ``launch`` is to get.

    Yields:
        The words to give it instead, and the temporary place.
    """
    with tempfile.TemporaryDirectory(prefix="curator-plan-") as directory:
        yield [*words, f"hydra.sweep.dir='{directory}'"], Path(directory)


@contextmanager
def _errors_let_through() -> Iterator[None]:
    before = os.environ.get(RAISE_ERRORS)
    os.environ[RAISE_ERRORS] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[RAISE_ERRORS]
        else:
            os.environ[RAISE_ERRORS] = before


@contextmanager
def _arguments(words: Sequence[str]) -> Iterator[None]:
    # hydra.main reads sys.argv, and nothing else.
    before = sys.argv
    sys.argv = [before[0], *words]
    try:
        yield
    finally:
        sys.argv = before
