"""The scratch space of a run: private attempts, and the commit records that decide which of them count.

It lies beside the output, on the same file system, so that publishing is a rename. One run at a time may use it: the
lock goes with the process that holds it, so a killed run never has to be cleaned up by hand.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curator.errors import OutputExistsError, StorageError
from curator.stages.io.output_file import storage_error, sync_directory
from curator.tasks import ResultTask

PRIVATE = 0o700


class Scratch:
    """Scratch space for one output.

    Args:
        output_path: the directory that the run will publish; nothing is touched before ``open``.
        durable: whether commit records are forced to the medium.
    """

    def __init__(self, output_path: Path, *, durable: bool = True) -> None:
        self.output_path = output_path
        self.path = output_path.with_name(output_path.name + "._curator")
        self.attempts = self.path / "attempts"
        self._durable = durable
        self._lock: int | None = None

    def open(self) -> None:
        """Take the lock and clear what a dead run left.

        Raises:
            OutputExistsError: another run is writing this output.
            StorageError: the place cannot be written.
        """
        try:
            self.output_path.parent.mkdir(parents=True, exist_ok=True)
            self.path.mkdir(mode=PRIVATE, exist_ok=True)
            lock = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise storage_error(self.path, error) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            owner = os.read(lock, 64).decode(errors="replace").strip()
            os.close(lock)
            raise OutputExistsError(
                f"output_path: {str(self.output_path)!r} is being written by another run, process {owner or '?'}. "
                "Wait for it, or choose another output_path."
            ) from None
        self._lock = lock
        os.ftruncate(lock, 0)
        os.write(lock, str(os.getpid()).encode())
        self.clear()

    def clear(self) -> None:
        """Remove all attempts and commits.

        Raises:
            StorageError: they cannot be removed.
        """
        try:
            for entry in self.path.iterdir():
                if entry.name != "lock":
                    shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
            self.attempts.mkdir(mode=PRIVATE)
        except OSError as error:
            raise storage_error(self.path, error) from error

    def close(self) -> None:
        """Remove the scratch space and let go of the lock."""
        if self._lock is None:
            return
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)
        self._lock = None

    def step_file(self, step: int, name: str) -> Path:
        """Where a file that belongs to a whole step lies."""
        return self.path / f"step-{step}-{name}"

    def commit(self, step: int, task_id: str, result: ResultTask) -> ResultTask:
        """Make an attempt the one that counts; the first commit of a unit wins.

        Args:
            step: ordinal of the segment or barrier.
            task_id: id of the unit.
            result: what the attempt left.

        Returns:
            The result that counts, which is another one if an earlier attempt had been committed.
        """
        directory = self.path / f"commits-{step}"
        record: dict[str, Any] = {
            "task_id": task_id,
            "unit": result.unit,
            "directory": result.directory,
            "files": result.files,
            "counts": result.counts,
            "seconds": result.seconds,
        }
        target = directory / f"{result.unit:08d}.json"
        temporary = self.path / f"commit-{secrets.token_hex(8)}"
        try:
            directory.mkdir(mode=PRIVATE, exist_ok=True)
            with open(temporary, "x", encoding="utf-8") as handle:
                handle.write(json.dumps(record))  # dump() would do it piece by piece, in Python
                if self._durable:
                    handle.flush()
                    os.fsync(handle.fileno())
            try:
                os.link(temporary, target)
            except FileExistsError:
                earlier = json.loads(target.read_text(encoding="utf-8"))
                del earlier["task_id"]
                shutil.rmtree(result.directory, ignore_errors=True)
                return ResultTask(task_id=task_id, **earlier)
            finally:
                temporary.unlink()
            if self._durable:
                sync_directory(directory)
        except OSError as error:
            raise storage_error(target, error) from error
        return result

    def discard(self, results: Sequence[ResultTask]) -> None:
        """Give the space of attempts back that no later step and no output needs."""
        for result in results:
            shutil.rmtree(result.directory, ignore_errors=True)


def new_attempt(attempts: Path, step: int, unit: int) -> Path:
    """A private directory for one attempt; its name is random, and appears in nothing that is published."""
    path = attempts / f"{step}-{unit:08d}-{secrets.token_hex(8)}"
    try:
        path.mkdir(mode=PRIVATE)
    except OSError as error:
        raise storage_error(path, error) from error
    return path


def check_output(output_path: Path, *, replace: bool, inputs: Sequence[str]) -> None:
    """Refuse an output that is there, or that lies where the input is; before anything is read.

    Args:
        output_path: absolute path of the output.
        replace: whether an output that is there may be replaced.
        inputs: local input files and directories.

    Raises:
        OutputExistsError: it is there already, is a file or lies below one, or overlaps the input.
        StorageError: it cannot be looked at.
    """
    there = next(path for path in (output_path, *output_path.parents) if path.exists())
    if not there.is_dir():
        what = "is a file" if there == output_path else f"lies below {str(there)!r}, which is a file"
        raise OutputExistsError(f"output_path: {str(output_path)!r} {what}; name a directory.")
    real = os.path.realpath(output_path)
    for path in inputs:
        found = os.path.realpath(path)
        inside = os.path.isdir(found) and os.path.commonpath([real, found]) == found
        if inside or os.path.commonpath([real, found]) == real:
            raise OutputExistsError(
                f"output_path: {str(output_path)!r} overlaps the input {path!r}; inputs are never written to. "
                "Choose a directory outside of it."
            )
    try:
        used = output_path.exists() and any(output_path.iterdir())
    except OSError as error:
        raise StorageError(f"output_path: {str(output_path)!r} cannot be read: {error.strerror}.") from error
    if used and not replace:
        raise OutputExistsError(
            f"output_path: {str(output_path)!r} is there already and not empty. "
            "Choose another one, or type 'output_mode=replace' to swap it for the new output when that is complete."
        )
    if used and not (output_path / "_curator").is_dir():
        raise OutputExistsError(
            f"output_path: {str(output_path)!r} was not written by curator; it is not replaced. Choose another one."
        )
