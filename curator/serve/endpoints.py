"""Where the replicas of a set are now, and their key, as files of a run: what a stage that asks them is given.

The hand-over is the one of ``curator.stages.text.endpoints``: the run gives a stage whose ``replicas`` names a set
``stage.with_(source=ReplicaEndpoints(...))`` before anything starts. That object holds names of files and no
secret. Its
``endpoints()`` reads the file of the set, so it may be called whenever a replica cannot be reached: a replica that came
back has another address and the same name. The file is replaced as a whole, in a folder that all nodes see.

Refused: files that are not there, and replicas that were given up or have ended, with the reason.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.errors import ExecutorError
from curator.stages.runtime_env import SecretText
from curator.stages.text.endpoints import Endpoint

UP, STARTING, FAILED, ENDED = "up", "starting", "failed", "ended"
"""States of a set of replicas; only while it is ``up`` or ``starting`` may addresses come back."""


@dataclass(frozen=True, slots=True)
class ReplicaEndpoints:
    """The replicas of a set, as a stage in a worker finds them.

    Args:
        name: of the set.
        model: what requests name.
        directory: where the files of the set are.
        revision: of the model, empty if nobody said one.
    """

    name: str
    model: str
    directory: str
    revision: str = ""

    def endpoints(self) -> Sequence[Endpoint]:
        """The replicas that can be asked now, in order; none while all of them are down.

        Raises:
            ExecutorError: they were given up or have ended, or the files are not there.
        """
        said = read_addresses(Path(self.directory) / f"{self.name}.json")
        if said["state"] in (FAILED, ENDED):
            raise ExecutorError(f"replicas.{self.name}: {said['reason'] or 'they have ended'}")
        key = SecretText(_read(Path(self.directory) / f"{self.name}.key").strip())
        return [
            Endpoint(f"{self.name}-{index}", url, self.model, self.revision, key)
            for index, url in enumerate(said["urls"])
            if url
        ]


def write_key(directory: Path, name: str) -> str:
    """A fresh random key of 256 bits in a file that only this user can read; one that is there stays.

    Args:
        directory: of the run's replicas; made if it is not there, closed to others.
        name: of the set.

    Returns:
        The key.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = directory / f"{name}.key"
    if not path.exists():
        _write_privately(path, secrets.token_urlsafe(32))
    return _read(path)


def write_addresses(path: Path, urls: Sequence[str], *, state: str, reason: str = "") -> None:
    """Say where the replicas of a set are: whole or not at all.

    Args:
        path: the file.
        urls: one for each replica, empty while it is away.
        state: ``UP``, ``STARTING``, ``FAILED`` or ``ENDED``.
        reason: why, if they were given up.
    """
    _write_privately(path, json.dumps({"urls": list(urls), "state": state, "reason": reason}))


def read_addresses(path: Path) -> dict[str, Any]:
    """What ``write_addresses`` wrote.

    Raises:
        ExecutorError: it is not there, or is no such file.
    """
    try:
        said = json.loads(_read(path))
        return {"urls": list(said["urls"]), "state": str(said["state"]), "reason": str(said["reason"])}
    except (ValueError, KeyError, TypeError) as error:
        raise ExecutorError(f"{str(path)!r} does not say the addresses of replicas: {error!r}.") from error


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ExecutorError(
            f"the addresses of replicas cannot be read: {error}. The run's directory must be one that all nodes see."
        ) from error


def _write_privately(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as handle:
        handle.write(text)
    temporary.replace(path)
