"""Loguru across Ray: a logger that a stage holds is sent as nothing and becomes the worker's own logger there.

Its sinks are files and locks of the driver, which cannot be pickled; a worker has sinks of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import loguru
from ray.util import register_serializer

if TYPE_CHECKING:
    from loguru import Logger


def register_loguru_serializer() -> None:
    """Let loguru's loggers, bound ones included, be pickled by Ray in this process; again changes nothing.

    To be called before anything is submitted: Ray pickles a function once.
    """
    register_serializer(type(loguru.logger), serializer=_to_nothing, deserializer=_own_logger)


def _to_nothing(_: Logger) -> None:
    """What is sent of a logger."""


def _own_logger(_: None) -> Logger:
    """The logger of the process that this runs in."""
    return loguru.logger
