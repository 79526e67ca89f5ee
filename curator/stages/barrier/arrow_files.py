"""Arrow files of one record batch: written whole, read by memory map, so that a slice touches only its own pages."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa


def write_arrow(path: Path, table: pa.Table) -> None:
    """Write a table as one record batch.

    Args:
        path: a name that nobody reads yet.
        table: any table; its schema metadata is kept.
    """
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        for batch in table.combine_chunks().to_batches():
            writer.write_batch(batch)


def read_arrow(path: str | Path) -> pa.Table:
    """The table of a file, mapped into memory and not copied."""
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()


def look_for_pandas() -> None:
    """Have Arrow look for pandas now, which it does once, and which takes a fifth of a second where there is one."""
    pa.array([0])
