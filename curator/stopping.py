"""Stopping on a signal: SLURM's warning before a time limit, a preemption, ``kill``, Ctrl-C.

The first signal is noted and raised as ``KeyboardInterrupt``, so that every ``finally`` of the run clears up; a second
one ends the process at once. What swallows the exception (a callback of a library, a destructor) loses nothing: the
note stays, and ``check_stop`` raises it again at the next place that asks. After ``hold_stops`` a signal comes too late
to stop anything, and is only noted.

A handler belongs to the process, hence the state of this module. Off the main thread nothing is installed.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

STOPPED = 75
"""Exit code of a run that a signal stopped: nothing is published, and it can be started again."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)

_ECHO_S = 2.0
"""A batch script and SLURM may both hand on what is one request: the same signal within this time is an echo."""


@dataclass(slots=True)
class _State:
    listening: bool = False
    number: int | None = None
    noted_s: float = 0.0
    held: bool = False


_STATE = _State()


@contextmanager
def stop_signals() -> Iterator[None]:
    """Listen for signals that stop a run; inside of another such context this one does nothing.

    At the end the handlers that were there are put back. A signal that stopped the run is then handed on to the one
    that it would have met, if that is somebody's function: submitit's asks SLURM to run the job again.

    Raises:
        KeyboardInterrupt: at the first signal, from wherever the main thread is.
        SystemExit: with the exit code of a stopped run, at the end, if the signal was handed on.

    Example:
        >>> with stop_signals():
        ...     check_stop()
    """
    if _STATE.listening or threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {}
    for each in STOP_SIGNALS:
        found = signal.getsignal(each)
        # What is ignored on purpose, as Ctrl-C is by a job in the background, goes on being ignored.
        if found is not None and found is not signal.SIG_IGN:
            before[each] = found
    _STATE.listening, _STATE.number, _STATE.held = True, None, False
    try:
        for number in before:
            signal.signal(number, _note)
        yield
    except KeyboardInterrupt:
        _put_back(before)
        handler = before.get(_STATE.number or signal.SIGINT)
        if _STATE.number is None or not callable(handler) or handler is signal.default_int_handler:
            raise
        handler(_STATE.number, None)
        raise SystemExit(stop_code()) from None
    finally:
        _put_back(before)
        _STATE.listening = False


def check_stop() -> None:
    """Raise what was noted; a place where a run can well be left calls it, such as between two units of work.

    Raises:
        KeyboardInterrupt: a signal came.
    """
    _STATE.held = False
    if _STATE.listening and _STATE.number is not None:
        raise KeyboardInterrupt


def hold_stops() -> None:
    """From here on a signal is only noted, until ``check_stop``: what is being done must be done whole."""
    _STATE.held = True


def stop_code() -> int:
    """The exit code of a run that ``KeyboardInterrupt`` ended.

    Example:
        >>> stop_code()
        130
    """
    return INTERRUPTED if _STATE.number in (None, signal.SIGINT) else STOPPED


def stop_message() -> str:
    """What to tell the user then.

    Example:
        >>> stop_message()
        'Stopped.'
    """
    if stop_code() == INTERRUPTED:
        return "Stopped."
    name = signal.Signals(_STATE.number or 0).name
    return f"Stopped by {name}: nothing is published, and nothing is left. The same command starts it again."


def _note(number: int, _frame: FrameType | None) -> None:
    now_s = time.monotonic()
    if _STATE.number is not None:
        if number != _STATE.number or number == signal.SIGINT or now_s - _STATE.noted_s > _ECHO_S:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        return
    _STATE.number, _STATE.noted_s = number, now_s
    # While Ray starts, its crash reporter may have been first, and has set an alarm that aborts the process.
    signal.alarm(0)
    # A second Ctrl-C needs no Python that is still listening.
    if signal.getsignal(signal.SIGINT) is _note:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not _STATE.held:
        raise KeyboardInterrupt


def _put_back(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        if signal.getsignal(number) in (_note, signal.SIG_DFL):
            signal.signal(number, handler)
