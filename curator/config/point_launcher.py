"""The launcher between any sweeper and any launcher: it knows the points of a sweep, and hands on what is missing.

What a sweeper wants of each point flows in; a number for each flows back, or the exception that says why there is none.
Points are composed here once, as their jobs will compose them, to learn their names and whether they are done.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.utils import JobReturn, JobStatus
from omegaconf import OmegaConf, open_dict

from curator.config.build import Run, build_run
from curator.config.compose import Composition, read_composed_job
from curator.config.jobs_of_submitit import every_job_is_heard
from curator.config.points import (
    OUTCOME,
    PLACEHOLDER,
    Point,
    PointError,
    content_digest,
    find_directory,
    is_published,
    point_name,
    read_outcome,
    settings_of,
)
from curator.errors import ConfigError, CuratorError
from curator.logs import redact
from curator.report.comparison import Comparison, SweepPoint, compare, measure

GRID = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"

VISIBLE_S = 60.0
"""A network file system may take so long to show on one machine what another one has written."""

Refuse = Callable[[CuratorError, Path], None]


class Points:
    """The points of a sweep, as a launcher that hands on what is missing.

    Args:
        composition: what is swept over.
        directory: where the sweep keeps its files.
        version: that of curator.
        show: shows a point instead of running it.
        refuse: logs why a point cannot be run.
    """

    def __init__(
        self,
        composition: Composition,
        directory: Path,
        version: str,
        *,
        show: Callable[[Run], object] | None = None,
        refuse: Refuse | None = None,
    ) -> None:
        self.directory = directory
        self.points: list[Point] = []
        self._composition = composition
        self._version = version
        self._show = show
        self._refuse = refuse
        self._objective: str | None = composition.config.get("objective")
        self._is_grid = is_grid(composition)
        self._by_directory: dict[Path, Point] = {}
        self._writers: dict[Path, Point] = {}
        self._launched = 0
        self._launcher: Any = None
        self._loader: Any = None
        self._config: Any = None
        self._swept: tuple[set[str], set[str]] = set(), set()

    def between(self, launcher: Any, loader: Any, config: Any) -> Points:  # noqa: ANN401
        """Take the place between a sweeper and its launcher.

        Args:
            launcher: runs what is missing.
            loader: composes points.
            config: the config of the sweep.
        """
        self._launcher, self._loader, self._config = launcher, loader, config
        # Not resolved: what is typed may hold ${...}, which is for the points.
        lines: Any = OmegaConf.to_container(config.hydra.overrides.task)
        typed = OverridesParser.create().parse_overrides(lines)
        fixed = {each.get_key_element() for each in typed if not each.is_sweep_override()}
        self._swept = fixed, {str(key) for key in config.hydra.sweeper.get("params") or ()}
        return self

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> list[JobReturn]:
        """Run the points that are missing.

        Args:
            job_overrides: what the sweeper wants of each point.
            initial_job_idx: how many there were before these.

        Returns:
            For each point a number, or the exception that says why there is none.

        Raises:
            ConfigError: two points would write the same output.
        """
        asked = [self._look_up(list(each), number) for number, each in enumerate(job_overrides, initial_job_idx)]
        if self._show is None:
            missing = [point for point in dict.fromkeys(asked) if point.exit_code is None and not point.is_done]
            self._check_outputs(missing)
            self._run(missing)
        return [self._returned(point) for point in asked]

    def compare(self) -> Comparison:
        """All points so far, side by side."""
        rows = [
            SweepPoint(
                name=point.directory.name,
                directory=point.directory,
                settings=point.settings,
                output_path=point.output_path if point.is_done else None,
                exit_code=point.exit_code or 0,
                reason=point.reason,
                log=point.log,
            )
            for point in self.points
        ]
        return compare(rows, self._objective)

    def _look_up(self, overrides: list[str], number: int) -> Point:
        """Compose a point, as its job will, and see whether it is done."""
        config = self._loader.load_sweep_config(self._config, overrides)
        with open_dict(config):
            config.hydra.job.id = config.hydra.job.num = number
        settings = settings_of(overrides)
        placeholder = self.directory / PLACEHOLDER
        problem: CuratorError | None = None
        fingerprint = None
        try:
            job = read_composed_job(config, placeholder)
            run = build_run(job.plain, job.layers, self._composition.trusted)
            digest, fingerprint = content_digest(job.plain, run, placeholder, self._version)
        except Exception as error:  # noqa: BLE001 - whatever a constructor raises, the other points go on
            problem = _as_curator_error(error)
            digest, _ = content_digest(settings, None, placeholder, self._version)
        fixed, params = self._swept
        keys = [line.partition("=")[0] for line in overrides]
        swept = [key.lstrip("+~") for key in keys if key not in fixed - params]
        directory = find_directory(self.directory, point_name(settings, swept, digest), digest)
        point = self._by_directory.get(directory)
        if point is not None:
            _say(number, directory, "is the same as one before it")
            return point
        point = self._by_directory[directory] = Point(overrides, settings, directory, fingerprint=fingerprint)
        self.points.append(point)
        if problem is None:
            try:
                self._prepare(point, config, number)
            except Exception as error:  # noqa: BLE001 - as above
                problem = _as_curator_error(error)
        if problem is not None:
            self._fail(point, problem)
        return point

    def _prepare(self, point: Point, config: Any, number: int) -> None:  # noqa: ANN401
        job = read_composed_job(config, point.directory)
        run = build_run(job.plain, job.layers, self._composition.trusted)
        if self._show is not None:
            self._show(run)
            return
        sink = run.pipeline.stages[-1]
        point.output_path = Path(os.path.abspath(getattr(sink, "output_path", "")))
        replace = getattr(sink, "output_mode", "new") == "replace"
        point.is_done = not replace and is_published(point.output_path, point.fingerprint)
        point.log = _log_of(point)
        _say(number, point.directory, "was done before" if point.is_done else "is to be run")

    def _check_outputs(self, missing: Sequence[Point]) -> None:
        for point in missing:
            assert point.output_path is not None
            other = self._writers.setdefault(point.output_path, point)
            if other is not point:
                raise ConfigError(
                    f"output_path: {str(point.output_path)!r} is where both {other.directory.name} and "
                    f"{point.directory.name} would write. Leave output_path out: each writes to its own run directory."
                )

    def _run(self, missing: Sequence[Point]) -> None:
        if not missing:
            return
        for point in missing:
            (point.directory / OUTCOME).unlink(missing_ok=True)
        lines = [[*point.overrides, f"hydra.sweep.subdir='{point.directory.name}'"] for point in missing]
        returned: Sequence[JobReturn | None] = [None] * len(missing)
        trouble: Exception | None = None
        try:
            with every_job_is_heard(self._launcher):
                returned = self._launcher.launch(lines, initial_job_idx=self._launched)
        except Exception as error:  # noqa: BLE001 - whatever the launcher met, points that ended have left word
            trouble = error
        self._launched += len(missing)
        for point, each in zip(missing, returned, strict=True):
            read_outcome(point)
            point.log = _log_of(point)
            if point.exit_code is None and each is not None and each.status == JobStatus.COMPLETED:
                point.exit_code = int(each.return_value)
            if point.exit_code is None:
                died = each._return_value if each is not None else trouble
                point.exit_code = 1
                point.reason = f"it ended without a word. {redact(str(died or '')).strip()}".strip()
                point.log = getattr(died, "log", None) or point.log
            elif point.exit_code == 0:
                assert point.output_path is not None
                point.is_done = _appears(point.output_path)
                if not point.is_done:
                    point.exit_code, point.reason = 1, f"there is no output in {point.output_path}."

    def _fail(self, point: Point, problem: CuratorError) -> None:
        point.exit_code, point.reason = problem.exit_code, redact(str(problem))
        if self._refuse is not None:
            self._refuse(problem, point.directory)
            point.log = _log_of(point)

    def _returned(self, point: Point) -> JobReturn:
        """What the sweeper gets: a number, or an exception that says why there is none."""
        done = JobReturn(overrides=point.overrides, working_dir=os.getcwd(), task_name="curator")
        if point.exit_code and not self._is_grid:
            # A sweeper that searches must not take this for a value. A grid has nothing to learn, and would stop.
            done.status = JobStatus.FAILED
            done.return_value = PointError(f"{point.directory.name}: {point.reason}")
            return done
        done.status = JobStatus.COMPLETED
        if point.is_done and point.output_path is not None and self._objective is not None:
            done.return_value = measure(point.output_path).objective(self._objective)
        return done


def is_grid(composition: Composition) -> bool:
    """Whether the sweeper tries all combinations, whatever comes of them."""
    return str(composition.config.hydra.sweeper._target_) == GRID


def _as_curator_error(error: Exception) -> CuratorError:
    if isinstance(error, CuratorError):
        return error
    unforeseen = CuratorError(f"{type(error).__name__}: {error}")
    unforeseen.__cause__ = error
    return unforeseen


def _appears(output_path: Path) -> bool:
    """Whether there is an output, once this machine sees what another one has written."""
    until_s = time.monotonic() + VISIBLE_S
    # Whoever replaces the input meanwhile gets the fingerprint of what was read, and runs the point again.
    while not is_published(output_path, None):
        if time.monotonic() > until_s:
            return False
        # Reading the folder makes a network file system look again.
        with suppress(OSError):
            os.listdir(output_path.parent)
        time.sleep(1)
    return True


def _log_of(point: Point) -> Path | None:
    log = point.directory / "curator.jsonl"
    return log if log.exists() else None


def _say(number: int, directory: Path, what: str) -> None:
    from loguru import logger

    logger.info("point {}, {}, {}", number + 1, directory.name, what)
