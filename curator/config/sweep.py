"""A sweep: the points that are missing are run by Hydra's launcher, and all of them are compared at the end.

A composition flows in; the comparison flows out, and numbers flow to the sweeper meanwhile. Refused are secrets in the
clear, names of run directories, and a search without an objective.

The names below ``hydra._internal`` are those that ``hydra.main`` itself calls; hydra-core is held below 1.4 for them.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra._internal.callbacks import Callbacks
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, RunMode
from omegaconf import OmegaConf

from curator.config.build import Run
from curator.config.compose import Composition
from curator.config.launch import Job, Task, readable_errors, temporary_directory
from curator.config.point_launcher import Points, Refuse, is_grid
from curator.config.points import SHARED, PointError
from curator.config.secrets import secrets_in
from curator.errors import ConfigError
from curator.report.comparison import Comparison

SUBDIR = "by-content"
COMPARISON = "comparison"


def run_sweep(composition: Composition, job: Job, *, refuse: Refuse, version: str) -> Comparison:
    """Run what is missing of a sweep.

    Args:
        composition: what to sweep over.
        job: as for ``run_once``. It must not raise anything that the other points should survive.
        refuse: logs, in a run directory, why a point cannot be run at all.
        version: that of curator; another one does all points again.

    Returns:
        All points, side by side; also in ``comparison.csv`` and ``comparison.json`` of the sweep's directory.

    Raises:
        ConfigError: Hydra refuses what it is given, or the config holds a secret in the clear.
        StorageError: the directory of the sweep cannot be made.
    """
    points = Points(composition, Path(composition.config.hydra.sweep.dir).absolute(), version, refuse=refuse)
    _sweep(composition, points, job)
    comparison = points.compare()
    if composition.config.get("shared_work") == "remove" and not comparison.failures():
        shutil.rmtree(points.directory / SHARED, ignore_errors=True)
    with readable_errors():
        for suffix, text in (("csv", comparison.to_csv()), ("json", comparison.to_json())):
            temporary = points.directory / f".{COMPARISON}.{suffix}"
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, points.directory / f"{COMPARISON}.{suffix}")
    return comparison


def show_sweep(composition: Composition, show: Callable[[Run], object], *, version: str) -> Comparison:
    """Show what each point of a sweep would do; nothing remains of it.

    Args:
        composition: what to sweep over.
        show: shows one point, or raises a ``CuratorError``.
        version: that of curator.

    Raises:
        ConfigError: as ``run_sweep``, or what a sweeper will try depends on what it finds.
    """
    if not is_grid(composition):
        raise ConfigError(
            f"mode={composition.config.mode}: what {_sweeper(composition)} tries depends on what it finds."
        )
    points = Points(composition, Path(composition.config.hydra.sweep.dir).absolute(), version, show=show)
    with temporary_directory() as temporary:
        _sweep(composition, points, lambda _config, _directory: 0, f"hydra.sweep.dir='{temporary}'")
    return points.compare()


def _sweep(composition: Composition, points: Points, job: Job, *more: str) -> None:
    _check(composition)
    hydra = composition.hydra
    overrides = [*composition.overrides, "hydra.mode=MULTIRUN", *more]
    with readable_errors():
        config = hydra.compose_config(
            config_name=composition.config_name,
            overrides=overrides,
            run_mode=RunMode.MULTIRUN,
            with_log_configuration=True,
        )
        callbacks = Callbacks(config)
        callbacks.on_multirun_start(config=config, config_name=composition.config_name)
        context = HydraContext(config_loader=hydra.config_loader, callbacks=callbacks)
        with _launching_through(points, hydra.config_loader, config):
            sweeper = Plugins.instance().instantiate_sweeper(
                config=config, hydra_context=context, task_function=Task(job)
            )
        # A sweeper may have had enough of failures: they are told at the end, with those of the other points.
        with suppress(PointError):
            lines: Any = OmegaConf.to_container(config.hydra.overrides.task)
            sweeper.sweep(arguments=lines)
        callbacks.on_multirun_end(config=config, config_name=composition.config_name)


@contextmanager
def _launching_through(points: Points, loader: Any, config: Any) -> Iterator[None]:  # noqa: ANN401
    """Give the sweeper that is set up meanwhile ``points`` for its launcher.

    Raises:
        ConfigError: the sweeper asks for no launcher, or later: its points would pass by unseen.
    """
    plugins: Any = Plugins.instance()
    instantiate = plugins.instantiate_launcher
    asked = []

    def instead(**arguments: Any) -> Points:  # noqa: ANN401
        asked.append(True)
        return points.between(instantiate(**arguments), loader, config)

    plugins.instantiate_launcher = instead
    try:
        yield
    finally:
        del plugins.instantiate_launcher
    if not asked:
        raise ConfigError(f"hydra.sweeper: {config.hydra.sweeper._target_} takes no launcher when it is set up.")


def _check(composition: Composition) -> None:
    config = composition.config
    found = [path for path, _ in secrets_in(OmegaConf.to_container(config))]
    problems = [
        f"{path}: a sweep writes down what it is given, and this is a secret. Give a reference instead: "
        f"'{path}=\"${{oc.env:NAME}}\"' or '{path}=file:/path'."
        for path in found
        if not path.startswith("hydra.")
    ]
    if found and not problems:
        problems.append("hydra.overrides: a sweep writes down what was typed, and a secret is among it.")
    if config.hydra.sweep._get_node("subdir")._value() != SUBDIR:
        problems.append(
            "hydra.sweep.subdir: points are named by their content, so that they are found again. Leave it out; "
            "hydra.sweep.dir says where they are."
        )
    if not is_grid(composition) and config.get("objective") is None:
        problems.append(
            f"objective: {_sweeper(composition)} searches for the best of a number. Say which: 'objective=kept_share'."
        )
    if problems:
        raise ConfigError(problems)


def _sweeper(composition: Composition) -> str:
    return str(composition.config.hydra.sweeper._target_).rpartition(".")[2]
