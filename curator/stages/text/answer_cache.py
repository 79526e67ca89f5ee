"""Answers that were given before, on disk: what a run has asked, no later run asks again.

Keys of requests flow in, texts of answers flow out. A key is a digest of the model, its revision, the parameters and
the prompt. Each answer is kept as soon as it is there, in one of a few SQLite files; of two answers to one request the
first one stays, whoever gives it, so that all runs see the same. Several workers may use a folder at once. A file that
is damaged, locked for too long or cannot be written costs answers, never the run: they are asked for again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loguru import logger

from curator.errors import StorageError

FORMAT_VERSION = 1
_NUM_FILES = 16  # so that many workers seldom wait for each other
_LOCK_WAIT_S = 10.0
_PRIVATE = 0o700


def answer_key(model: str, revision: str, request: Mapping[str, Any]) -> bytes:
    """What an answer is kept under.

    Args:
        model: name of the model.
        revision: what its weights are.
        request: prompt and parameters, JSON values.

    Returns:
        32 bytes.

    Example:
        >>> answer_key("judge", "a1", {"seed": 0}).hex()[:12]
        '7dac80200bbd'
    """
    content = [FORMAT_VERSION, model, revision, request]
    return hashlib.sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).digest()


class AnswerCache:
    """A folder of answers.

    Args:
        folder: made if it is not there, and closed to others: answers tell about documents.

    Raises:
        StorageError: it cannot be made.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     cache = AnswerCache(Path(folder))
        ...     key = answer_key("judge", "a1", {})
        ...     cache.get(key), cache.put(key, "yes"), cache.put(key, "no"), cache.get(key)
        (None, 'yes', 'yes', 'yes')
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, tuple[sqlite3.Connection, int]] = {}
        self._warned = False
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=_PRIVATE)
        except OSError as error:
            raise StorageError(f"cache_path: {str(folder)!r} cannot be made: {error.strerror or error}.") from error

    def get(self, key: bytes) -> str | None:
        """The answer to a request, ``None`` if there is none that can be read."""
        found = self._try(key, lambda file: file.execute("SELECT text, seal FROM answers WHERE key = ?", (key,)))
        for text, seal in found or ():
            if isinstance(text, str) and seal == _seal(key, text):
                return text
        return None

    def put(self, key: bytes, text: str) -> str:
        """Keep an answer, unless there is one already.

        Returns:
            The answer that is kept.
        """
        # Surrogates are no text that SQLite could keep.
        text = text.encode("utf-8", "replace").decode()
        if (earlier := self.get(key)) is not None:
            return earlier
        row = (key, text, _seal(key, text))
        # What is there by now is either whole, and stays, or damaged, and goes.
        added = self._try(key, lambda file: file.execute("INSERT OR IGNORE INTO answers VALUES (?, ?, ?)", row))
        if added is None or (kept := self.get(key)) == text:
            return text
        if kept is None:
            self._try(key, lambda file: file.execute("INSERT OR REPLACE INTO answers VALUES (?, ?, ?)", row))
        return kept or text

    def close(self) -> None:
        """Close all files."""
        for file, _ in self._files.values():
            file.close()
        self._files.clear()

    def _try(self, key: bytes, action: Any) -> list[tuple[Any, ...]] | None:  # noqa: ANN401
        """Do something with the file of a key; ``None`` if that cannot be done now."""
        name = f"answers-{key[0] % _NUM_FILES:x}.sqlite"
        try:
            rows: list[tuple[Any, ...]] = action(self._open(name)).fetchall()
            return rows
        except sqlite3.OperationalError as error:  # locked, full, read-only: the file may be fine
            self._forget(name)
            self._warn(name, error)
        except sqlite3.DatabaseError as error:
            self._set_aside(name)
            self._warn(name, error)
        return None

    def _open(self, name: str) -> sqlite3.Connection:
        known = self._files.get(name)
        path = self._folder / name
        if known is not None:
            if _inode(path) == known[1]:
                return known[0]
            self._forget(name)  # somebody has set it aside
        file = sqlite3.connect(path, timeout=_LOCK_WAIT_S, isolation_level=None, check_same_thread=False)
        # A process may be killed at any time and nothing is lost; after a power cut some answers are asked for again.
        file.execute("PRAGMA synchronous = OFF")
        file.execute("PRAGMA journal_mode = TRUNCATE")
        file.execute("CREATE TABLE IF NOT EXISTS answers (key BLOB PRIMARY KEY, text TEXT, seal BLOB) WITHOUT ROWID")
        self._files[name] = file, _inode(path)
        return file

    def _forget(self, name: str) -> None:
        known = self._files.pop(name, None)
        if known is not None:
            with contextlib.suppress(sqlite3.Error):
                known[0].close()

    def _set_aside(self, name: str) -> None:
        """Make room for a new file, unless another worker has done so already."""
        opened = self._files.get(name)
        self._forget(name)
        path = self._folder / name
        if opened is None or _inode(path) == opened[1]:
            with contextlib.suppress(OSError):
                os.replace(path, path.with_suffix(".damaged"))

    def _warn(self, name: str, error: sqlite3.Error) -> None:
        if not self._warned:
            self._warned = True
            logger.warning(
                "answers in {}: {}; what cannot be read there is asked for again", self._folder / name, error
            )


def _seal(key: bytes, text: str) -> bytes:
    return hashlib.blake2b(text.encode(), key=key, digest_size=8).digest()


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return -1
