"""Logs: a line for people on stderr, a JSON line for machines in the run directory, no secrets in either.

loguru is the only logger; what libraries say through the standard library is passed on to it. Record text is
foreign: its control characters are escaped, so that a document can neither move the cursor nor fake a line.

loguru is imported where it is used: what only masks and escapes, such as ``--help``, starts sooner without it.
"""

from __future__ import annotations

import inspect
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from loguru import Message

MASK = "***"
_SECRET_NAMES = re.compile("TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|CREDENTIAL", re.IGNORECASE)
# Shorter values are words such as "false" or "1": masking them would blot out ordinary text.
_SHORTEST_SECRET = 8
_REMEMBERED: set[str] = set()
_USER_INFO = re.compile(r"(?<=://)[^/\s\"'?#]*@")
# C0 (except tab and newline), DEL, C1, line separators, marks that reorder text, and lone surrogates.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31m"}


def redact(text: str) -> str:
    """Replace secrets in a text by ``***``.

    A secret is the value of an environment variable whose name speaks of tokens, secrets, passwords, keys or
    credentials, or a value that ``remember_secrets`` was told (8 characters or more, as it is or escaped as in a
    ``repr``), and the user part of a URL.

    Args:
        text: any text.

    Returns:
        The same text without the secrets.

    Example:
        >>> redact("reading s3://user:key@bucket/a.jsonl")
        'reading s3://***@bucket/a.jsonl'
    """
    return _masked(text, _secrets(os.environ))


def _masked(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return _USER_INFO.sub(f"{MASK}@", text)


@lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Whether a name speaks of tokens, secrets, passwords, keys or credentials.

    Example:
        >>> is_secret_name("HF_TOKEN"), is_secret_name("OMP_NUM_THREADS")
        (True, False)
    """
    return _SECRET_NAMES.search(name) is not None


def remember_secrets(values: Iterable[str]) -> None:
    """Have ``redact`` mask these values, too, from now on in this process; short ones are words, and are left.

    Example:
        >>> remember_secrets(["open sesame"])
        >>> redact("he said: open sesame!")
        'he said: ***!'
    """
    _REMEMBERED.update(value for value in values if len(value) >= _SHORTEST_SECRET)


def escape(text: str) -> str:
    r"""Write the control characters of a text as escapes; tabs and newlines stay.

    Args:
        text: any text, lone surrogates included.

    Returns:
        Text that a terminal shows as it is.

    Example:
        >>> print(escape("red: \x1b[31m"))
        red: \x1b[31m
    """
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)


def configure_logs(run_directory: Path | None, level: str = "INFO") -> None:
    """Make stderr and the run directory the only places where logs go.

    Each call replaces what an earlier one set up: the points of a sweep log one after the other in one process.

    Args:
        run_directory: gets ``curator.jsonl``, which its owner alone can read; ``None`` for stderr alone.
        level: the least severe level that is logged.

    Example:
        >>> configure_logs(None, level="WARNING")
    """
    from loguru import logger

    logger.remove()
    # Looked up at each line, because stderr can be replaced while the program runs (pytest, progress bars).
    logger.add(lambda message: _write_line(message), level=level, format="{message}")
    if run_directory is not None:
        run_directory.mkdir(parents=True, exist_ok=True)
        log_file = _JsonLines(run_directory / "curator.jsonl")
        # diagnose would print the values of variables, and those can be secrets or documents.
        logger.add(log_file, level="DEBUG", serialize=True, backtrace=False, diagnose=False)
    logging.basicConfig(handlers=[InterceptHandler()], level=level, force=True)


class InterceptHandler(logging.Handler):
    """Passes the records of the standard library on to loguru, with the place that logged them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record through loguru."""
        from loguru import logger

        try:
            level: str | int = logger.level(record.levelname).name
        except ValueError:
            level = record.levelno
        frame, depth = inspect.currentframe(), 0
        while frame and (depth == 0 or frame.f_code.co_filename == logging.__file__):
            frame, depth = frame.f_back, depth + 1
        log = logger.opt(depth=depth, exception=record.exc_info)
        # The text is an argument: braces in it are not for loguru to fill.
        log.log(level, "{}", record.getMessage())


class _JsonLines:
    """A loguru sink: one JSON object a line, redacted string by string so that it stays JSON."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._file = os.fdopen(descriptor, "w", encoding="ascii")

    def write(self, message: str) -> None:
        line = _redact_values(json.loads(message), _secrets(os.environ))
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()

    def stop(self) -> None:
        self._file.close()


def _write_line(message: Message) -> None:
    record = message.record
    level = record["level"].name
    # The traceback is in the JSON lines; lines after the first are indented, so that none can pass for a line of ours.
    text = escape(redact(record["message"])).replace("\n", "\n    ")
    start = f"{record['time']:HH:mm:ss} {level:<7}"
    if sys.stderr.isatty() and level in _COLOURS:
        start = f"{_COLOURS[level]}{start}\x1b[0m"
    sys.stderr.write(f"{start} {text}\n")
    sys.stderr.flush()


def _redact_values(value: Any, secrets: Sequence[str]) -> Any:  # noqa: ANN401
    if isinstance(value, str):
        return _masked(value, secrets)
    if isinstance(value, list):
        return [_redact_values(item, secrets) for item in value]
    if isinstance(value, dict):
        return {_masked(key, secrets): _redact_values(item, secrets) for key, item in value.items()}
    return value


def _secrets(environment: Mapping[str, str]) -> list[str]:
    plain = [value for name, value in environment.items() if len(value) >= _SHORTEST_SECRET and is_secret_name(name)]
    plain += _REMEMBERED
    escaped = [form for value in plain for form in (repr(value)[1:-1], json.dumps(value)[1:-1])]
    # The longest first: a secret that contains another one must not leave its rest behind.
    return sorted({*plain, *escaped}, key=lambda secret: (-len(secret), secret))
