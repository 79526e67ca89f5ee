"""Tables as tasks, and the small tasks of a shuffle, which name the files where tables lie."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from curator.tasks.task import Task


@dataclass(slots=True, kw_only=True)
class TableTask(Task):
    """A table: keys, edges, features, whatever has rows and columns.

    Args:
        table: the rows.
        partition: behind a shuffle, which of its partitions they are; ``None`` elsewhere.

    Example:
        >>> TableTask(table=pa.table({"key": [1, 2, 3]})).num_items
        3
    """

    table: pa.Table
    partition: int | None = None

    @property
    def num_items(self) -> int:
        """Rows."""
        return int(self.table.num_rows)


@dataclass(slots=True, kw_only=True)
class RoundTask(Task):
    """One task of a round behind a barrier.

    Args:
        files: paths that it reads, left by the round before or by the plan of this one.
        values: whatever else tells it from other tasks: small, JSON values only.
        documents_path: the index through which documents are read again; set by the driver.
    """

    files: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    documents_path: str = ""


@dataclass(slots=True, kw_only=True)
class ExtractTask(Task):
    """Some consecutive partitions of a table shuffle.

    Args:
        index_path: JSON file that lists the inserted files in input order, and the bounds of the partitions.
        begin: the first partition.
        end: one past the last one.
    """

    index_path: str
    begin: int
    end: int
