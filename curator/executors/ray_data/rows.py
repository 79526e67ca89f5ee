"""Rows of a dataset: one task each, and its place in the order of the input.

A block is a pandas frame with one column of objects. Ray sends such a block with pickle protocol 5, whose large buffers
(Arrow columns, arrays) go into the object store in one copy and are read from there without another; a block of Arrow
would have each task pickled into bytes first. Nothing of this is ever written to a file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from curator.tasks import Task

COLUMN = "task"
_ROW_BYTES = 256


@dataclasses.dataclass(slots=True)
class Row:
    """A task on its way through a dataset.

    Args:
        place: where it stands: the position of the first task, and its number among the children at every segment
            since; compared from the left, this is the order in which one process would have made the tasks.
        task: the task.
    """

    place: tuple[int, ...]
    task: Task

    def __sizeof__(self) -> int:
        # Ray Data asks this of every object in a block, to know how full the object store is.
        return _ROW_BYTES + payload_bytes(self.task)


def payload_bytes(value: object) -> int:
    """Bytes of the arrays, tables and texts in a task, the same for equal tasks in every process.

    Example:
        >>> payload_bytes({"a": np.zeros(4), "b": [b"xyz"]})
        35
    """
    if isinstance(value, bytes | bytearray | str):
        return len(value)
    if (num_bytes := getattr(value, "nbytes", None)) is not None:
        return int(num_bytes)
    if dataclasses.is_dataclass(value):
        return sum(payload_bytes(getattr(value, field.name)) for field in dataclasses.fields(value))
    if isinstance(value, Mapping):
        return sum(payload_bytes(item) for item in value.values())
    if isinstance(value, list | tuple | set):
        return sum(payload_bytes(item) for item in value)
    return 0


def to_frame(rows: Sequence[Row]) -> Any:  # noqa: ANN401
    """A block of rows; also of none."""
    import pandas as pd

    column = np.empty(len(rows), dtype=object)
    column[:] = rows
    return pd.DataFrame({COLUMN: column})


def from_frame(frame: Any) -> list[Row]:  # noqa: ANN401
    """The rows of a block; Ray Data has blocks without any column too, when they are empty."""
    return list(frame[COLUMN]) if COLUMN in frame else []


def in_order(rows: Iterable[Row]) -> list[Task]:
    """The tasks, in the order of their places."""
    return [row.task for row in sorted(rows, key=lambda row: row.place)]
