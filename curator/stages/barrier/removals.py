"""What a shuffle decided: one file a partition, sorted by document id, so that each split finds its own rows."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curator.stages.barrier.arrow_files import read_arrow, write_arrow
from curator.stages.base import REMOVALS
from curator.tasks.split import ROW_BITS

_KEPT_OPEN = 256
"""Removal files that stay mapped while a worker goes from split to split: each split looks into all of them."""


def write_removals(path: Path, removals: pa.Table) -> bool:
    """Write the removals of one partition; False, and no file, if there are none."""
    if not removals.num_rows:
        return False
    write_arrow(path, removals.cast(REMOVALS).sort_by("document"))
    return True


def read_removals(files: Sequence[str], split_ordinal: int) -> pa.Table:
    """The removals of one split, sorted by document id.

    Args:
        files: the removal files of all partitions.
        split_ordinal: whose documents are wanted.
    """
    parts = [REMOVALS.empty_table()]
    for path in files:
        table = _opened(path)
        begin, end = np.searchsorted(table["document"].to_numpy(), _bounds(split_ordinal))
        parts.append(table.slice(int(begin), int(end - begin)))
    return pa.concat_tables(parts).sort_by("document")


def removed_documents(files: Sequence[str], split_ordinal: int) -> npt.NDArray[np.uint64]:
    """The documents of one split that some barriers removed, ascending; uint64, shape (num_docs,).

    Args:
        files: the removal files of all partitions of all of these barriers.
        split_ordinal: whose documents are wanted.
    """
    parts = [np.empty(0, np.uint64)]
    for path in files:
        documents = _opened(path)["document"].to_numpy()
        begin, end = np.searchsorted(documents, _bounds(split_ordinal))
        parts.append(documents[begin:end])
    return np.sort(np.concatenate(parts))


def close_removals() -> None:
    """Let go of the files, which take their space as long as they are mapped."""
    _opened.cache_clear()


@lru_cache(maxsize=_KEPT_OPEN)
def _opened(path: str) -> pa.Table:
    return read_arrow(path)


def _bounds(split_ordinal: int) -> npt.NDArray[np.uint64]:
    return np.array([split_ordinal << ROW_BITS, (split_ordinal + 1) << ROW_BITS], np.uint64)
