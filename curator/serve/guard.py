"""The guard of a model server: a small process in a session of its own that ends the server, and all it has started.

Run by its path, ``python -I -S guard.py STOP_TIMEOUT_S COMMAND``, the command as a JSON list of words, so that it
starts in no time; standard library only. Its standard input is a pipe that its owner holds and never writes to. The
guard ends the whole tree of the server when that pipe closes, which is what any death of the owner does, when it gets
SIGTERM, or when the server ends by itself. Processes whose parent is gone become its own children, so none gets away.
If the guard itself is killed, the kernel kills the server.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import signal
import sys
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_S = 0.2
_ORPHAN_S = 2.0
"""Seconds that a server has to end when nobody is left who would wait for it."""


def main(words: list[str]) -> int:
    """Guard one server until nothing of it is left.

    Args:
        words: seconds between SIGTERM and SIGKILL, and the server's command.

    Returns:
        The server's exit code; 128 and its signal if one ended it.
    """
    stop_timeout_s, command = float(words[0]), json.loads(words[1])
    libc = ctypes.CDLL(None)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    told = []
    signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    guard = os.getpid()
    server = os.fork()
    if server == 0:
        _become(command, libc, guard)
    code = None
    while code is None and not told and not _is_closed():
        code = _reap(server)
    if code is None:
        code = _stop(server, stop_timeout_s if told else min(stop_timeout_s, _ORPHAN_S))
    _end_children()
    return code


def _become(command: list[str], libc: ctypes.CDLL, guard: int) -> None:
    """Turn this fresh child into the server, in a process group of its own."""
    try:
        os.setpgid(0, 0)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != guard:  # it ended before the kernel knew
            os._exit(1)
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.execvp(command[0], command)  # noqa: S606 - no shell
    except BaseException as error:  # noqa: BLE001 - a fork must not go on as a second guard
        os.write(2, f"{command[0]}: {error}\n".encode())
    finally:
        os._exit(127)


def _is_closed() -> bool:
    """Whether the pipe of the owner has closed; waits a little."""
    with contextlib.suppress(InterruptedError):
        readable, _, _ = select.select([0], [], [], _LOOK_S)
        return bool(readable) and os.read(0, 1) == b""
    return False


def _reap(server: int) -> int | None:
    """Collect children that have ended; the exit code of the server if it is among them."""
    found = None
    while True:
        try:
            child, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if child == 0:
            return found
        if child == server:
            code = os.waitstatus_to_exitcode(status)
            found = 128 - code if code < 0 else code


def _stop(server: int, timeout_s: float) -> int:
    deadline = time.monotonic() + timeout_s
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server, signal.SIGTERM)
    while time.monotonic() < deadline:
        code = _reap(server)
        if code is not None:
            return code
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server, signal.SIGKILL)
    return 128 + signal.SIGKILL


def _end_children() -> None:
    """Kill all that the server has left; grandchildren come to us when their parents are gone."""
    while True:
        _reap(0)
        children = _children(os.getpid())
        if not children:
            return
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        time.sleep(0.01)


def _children(parent: int) -> list[int]:
    with open(f"/proc/{parent}/task/{parent}/children", encoding="ascii") as handle:
        return [int(child) for child in handle.read().split()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
