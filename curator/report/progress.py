"""Progress of the steps of a run: rate and time left on a terminal; elsewhere a line in the log now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Self

from loguru import logger
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars
from rich.text import Text


class StepProgress:
    """The bar of one step; counts either bytes as they pass, or units as they end.

    Args:
        name: the step.
        total: bytes, or units, in all.
        counts_bytes: which of the two.
        interval_s: seconds between lines in the log where there is no bar.
    """

    def __init__(self, name: str, total: int, *, counts_bytes: bool, interval_s: float) -> None:
        self._name = name
        self._total = max(total, 1)
        self._counts_bytes = counts_bytes
        self._interval_s = interval_s
        self._unit_bytes = self._done = 0
        self._started = self._said = time.monotonic()
        self._bars: Bars | None = None
        self._task: TaskID | None = None

    def show_in(self, bars: Bars) -> None:
        """Draw this step among the bars of a run."""
        self._bars, self._task = bars, bars.add_task(self._name, total=self._total, counts_bytes=self._counts_bytes)

    def finish(self) -> None:
        """The step has ended."""
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, completed=self._total)

    def add_bytes(self, count: int) -> None:
        """Some source bytes of the current unit have passed."""
        self._unit_bytes += count
        self._advance(count if self._counts_bytes else 0)

    def unit_done(self, size_bytes: int) -> None:
        """A unit has ended; what its workers did not report is added now."""
        rest = size_bytes - self._unit_bytes if self._counts_bytes else 1
        self._advance(rest)
        self._unit_bytes = 0

    def _advance(self, count: int) -> None:
        self._done += count
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, count)
            return
        now = time.monotonic()
        if now - self._said >= self._interval_s:
            self._said = now
            share = min(self._done / self._total, 1.0)
            left_s = (now - self._started) * (1 - share) / share if share else 0.0
            rate = f", {self._done / 1e6 / (now - self._started):,.0f} MB/s" if self._counts_bytes else ""
            logger.debug("{}: {:.0%} done{}, {:,.0f} s left", self._name, share, rate, left_s)


class _AmountColumn(DownloadColumn):
    """How much is done: bytes of a step that reads the input, units of one behind a barrier."""

    def render(self, task: Task) -> Text:
        if task.fields["counts_bytes"]:
            return super().render(task)
        return Text(f"{task.completed:,.0f}/{task.total or 0:,.0f} units", style="progress.download")


class _RateColumn(ProgressColumn):
    """How fast: bytes, or units, a second."""

    def __init__(self) -> None:
        super().__init__()
        self._of_bytes = TransferSpeedColumn()

    def render(self, task: Task) -> Text:
        if task.fields["counts_bytes"]:
            return self._of_bytes.render(task)
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.1f} units/s", style="progress.data.speed")


class Progress:
    """The bars of a run.

    Args:
        show: ``None`` shows them if standard error is a terminal.
        interval_s: seconds between lines in the log where they are not shown.
    """

    def __init__(self, show: bool | None, *, interval_s: float = 10.0) -> None:
        self._interval_s = interval_s
        shown = sys.stderr.isatty() if show is None else show
        self._bars = (
            Bars(
                TextColumn("{task.description}"),
                BarColumn(),
                _AmountColumn(),
                _RateColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=Console(stderr=True, force_terminal=True),
                transient=True,
            )
            if shown
            else None
        )

    @contextmanager
    def step(self, name: str, *, total_bytes: int, num_units: int) -> Iterator[StepProgress]:
        """Show one step.

        Args:
            name: what it is.
            total_bytes: source bytes that it reads; 0 counts units instead.
            num_units: its units.
        """
        step = StepProgress(name, total_bytes or num_units, counts_bytes=bool(total_bytes), interval_s=self._interval_s)
        if self._bars is not None:
            step.show_in(self._bars)
        yield step
        step.finish()

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()
