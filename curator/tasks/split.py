"""Input files, the splits that cover them, and the document ids that follow from both.

A split is planned once, before anything runs, and never depends on the cluster. Its ordinal and the row of a record
in it make the document id, so an id means the same record in every run over the same plan.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Format = Literal["jsonl", "parquet"]
Compression = Literal["none", "gz", "zst"]

ROW_BITS = 32
"""Bits of a document id that hold the row: 2**32 rows a split, 2**32 splits a run."""

EARLIER = 1 << 31
"""Ordinals of splits from here on belong to corpora that a run only compares with; its own are below."""


@dataclass(frozen=True, slots=True)
class InputFile:
    """One input file as it was when the run was planned.

    Args:
        path: local path or fsspec URL.
        size_bytes: size on storage, compressed.
        version: modification time in ns for local files, the store's etag or time for others.
        format: what its content is.
        compression: how its content is packed.
        num_rows: records according to a Parquet footer; ``None`` where nobody has counted yet.
    """

    path: str
    size_bytes: int
    version: str
    format: Format
    compression: Compression = "none"
    num_rows: int | None = None

    @property
    def suffix(self) -> str:
        """The format and compression as the ``write.format`` option spells them."""
        return self.format if self.compression == "none" else f"{self.format}.{self.compression}"


@dataclass(frozen=True, slots=True)
class Split:
    """A piece of one input file, 64 to 256 MB unless the file is smaller or cannot be divided.

    Args:
        ordinal: position in the plan, 0-based; the high half of the document ids.
        file: the file it belongs to.
        begin: first byte (JSONL) or first row group (Parquet).
        end: first byte or row group that is no longer part of it. A compressed file is one split.
        size_bytes: bytes of storage that reading it touches.
    """

    ordinal: int
    file: InputFile
    begin: int
    end: int
    size_bytes: int

    @property
    def name(self) -> str:
        """Name of what this split becomes on disk; derived from the plan, never from a record.

        Example:
            >>> Split(7, InputFile("a.jsonl", 10, "0", "jsonl"), 0, 10, 10).name
            'part-00007'
        """
        return f"part-{self.ordinal:05d}"

    @property
    def is_decoded_whole(self) -> bool:
        """Whether reading a few of its documents costs about as much as reading all of it."""
        return self.file.format == "parquet" or self.file.compression != "none"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Split:
        """The inverse of ``to_dict``."""
        return cls(**{**values, "file": InputFile(**values["file"])})


@dataclass(frozen=True, slots=True)
class Selection:
    """What is left of a split after a barrier, by reference: reading it again yields these rows only.

    Args:
        rows_path: Arrow file with the rows that were alive before the barrier and where they lie.
        removals_index: JSON file that lists, per shuffle barrier, its stage and its removal files; empty for none.
        rows: int64, ascending: the rows that are wanted, all of them alive; ``None`` for all that are left.
    """

    rows_path: str
    removals_index: str
    rows: npt.NDArray[np.int64] | None = None


def document_ids(split_ordinal: int, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.uint64]:
    """Ids of the documents at ``rows`` of a split: ``split_ordinal * 2**32 + row``.

    Args:
        split_ordinal: the split, below 2**32.
        rows: rows in the split, int64, shape (num_docs,), each below 2**32.

    Returns:
        uint64, shape (num_docs,).

    Example:
        >>> document_ids(1, np.array([0, 2]))
        array([4294967296, 4294967298], dtype=uint64)
    """
    return rows.astype(np.uint64) | np.uint64(split_ordinal << ROW_BITS)
