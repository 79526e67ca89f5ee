"""The processes of a model server on this node: started under a guard, found by a mark, ended with all they began.

Every process of a replica carries a mark among its variables, the name of the replica's placement group. By it, what a
guard could not end, because it was killed itself, is found and killed: no process without the mark is touched, and none
whose guard is alive, unless it is asked for.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from curator.errors import ExecutorError
from curator.serve import guard

MARK = "CURATOR_REPLICA"
"""The variable with the mark."""

PREFIX = "curator-replicas."
"""What marks, and the names of placement groups, begin with; the owner follows, and the replica."""

_GUARD = b"/curator/serve/guard.py"
"""How the path of a guard ends, whichever installation it is of: two of them may run on one machine at once."""

_TAIL_BYTES = 16 << 10
_END_S = 5.0


@dataclass(slots=True)
class GuardedServer:
    """A server under its guard.

    Args:
        guard: the guard's process; the end of its standard input is held here.
        log: the file that the server writes to.
        mark: what its processes carry.
        stop_timeout_s: seconds between SIGTERM and SIGKILL.
    """

    guard: subprocess.Popen[bytes]
    log: Path
    mark: str
    stop_timeout_s: float
    ended: bool = field(default=False)

    def exit_code(self) -> int | None:
        """The server's exit code; ``None`` while it runs."""
        return self.guard.poll()

    def stop(self) -> None:
        """End the server and all that it began: SIGTERM to its group, then SIGKILL; again changes nothing."""
        if self.ended:
            return
        self.ended = True
        if self.guard.poll() is None:
            self.guard.terminate()
            try:
                self.guard.wait(self.stop_timeout_s + _END_S)
            except subprocess.TimeoutExpired:
                self.guard.kill()
                self.guard.wait()
        if self.guard.stdin is not None:
            self.guard.stdin.close()
        kill_marked(self.mark)

    def tail(self, limit: int = 2000) -> str:
        """The end of what the server wrote."""
        return read_tail(self.log, limit)


def start_server(
    words: Sequence[str],
    variables: Mapping[str, str],
    log: Path,
    *,
    mark: str,
    stop_timeout_s: float,
    folder: Path,
) -> GuardedServer:
    """Start a server under a guard.

    Args:
        words: its command; the program is looked for on the path of this node.
        variables: over those of this process.
        log: what it writes goes here, after what is there; only this user can read it.
        mark: name of the replica.
        stop_timeout_s: seconds between SIGTERM and SIGKILL.
        folder: where it runs.

    Raises:
        ExecutorError: there is no such program.
    """
    program, *arguments = words
    environment = {**os.environ, **variables, MARK: mark, "PYTHONUNBUFFERED": "1"}
    # Ray's variables would make the server, or a Ray in it, take part in this session.
    environment = {name: value for name, value in environment.items() if not name.startswith("RAY_")}
    path = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", os.defpath)])
    found = shutil.which(program, path=path)
    if found is None:
        raise ExecutorError(
            f"there is no program {program!r} on this node. Install it there, or say it in the runtime_env of the set."
        )
    environment["PATH"] = path
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
        process = subprocess.Popen(  # noqa: S603 - what the configuration says, and no shell
            [sys.executable, "-I", "-S", str(guard.__file__), str(stop_timeout_s), json.dumps([found, *arguments])],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            cwd=folder,
            start_new_session=True,
        )
    return GuardedServer(process, log, mark, stop_timeout_s)


def marked_processes() -> dict[str, dict[int, bool]]:
    """The processes of replicas on this node: by mark, their ids, and whether it is a guard."""
    found: dict[str, dict[int, bool]] = {}
    needle = f"{MARK}=".encode()
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            variables = Path(entry.path, "environ").read_bytes().split(b"\0")
            mark = next((each for each in variables if each.startswith(needle)), None)
            words = Path(entry.path, "cmdline").read_bytes().split(b"\0") if mark else []
        except OSError:
            continue  # it has ended, or is somebody else's
        if mark:
            name = mark.removeprefix(needle).decode(errors="replace")
            found.setdefault(name, {})[int(entry.name)] = any(word.endswith(_GUARD) for word in words)
    return found


def kill_marked(mark: str) -> list[int]:
    """Kill the processes of this node that carry a mark.

    Returns:
        Their ids.
    """
    killed: list[int] = []
    # What is killed may have started something since it was seen.
    for _ in range(5):
        left = marked_processes().get(mark, {})
        for process in left:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
            killed.append(process)
        if not left:
            break
        time.sleep(0.02)
    return sorted(set(killed))


def kill_orphans(prefix: str = PREFIX) -> list[int]:
    """Kill what servers have left on this node that have no guard any more, whoever started them.

    Args:
        prefix: what their marks begin with.

    Returns:
        Their ids.
    """
    found = marked_processes()
    orphaned = [mark for mark in found if mark.startswith(prefix) and not any(found[mark].values())]
    # A guard that is just starting is seen as itself a moment later.
    time.sleep(0.05 if orphaned else 0)
    again = marked_processes()
    return [killed for mark in orphaned if not any(again.get(mark, {0: True}).values()) for killed in kill_marked(mark)]


def read_tail(path: Path, limit: int) -> str:
    """The last characters of a file; empty if there is none."""
    try:
        with path.open("rb") as handle:
            handle.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return handle.read().decode(errors="replace")[-limit:].strip()
    except OSError:
        return ""
