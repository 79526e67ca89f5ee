"""How many rows of a Parquet row group may be decoded at once, whatever the row group says of its own size.

A value that a column's dictionary holds once may stand in every row: 60 kB on storage can be gigabytes of text. So the
dictionaries are looked at first: no row takes more of a column than the longest value of its dictionary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

_ROWS_WORTH_NO_LOOK = 256
MOST_BYTES = 64 << 20
"""Bytes that the rows decoded at once may take if each held the longest value of all dictionaries."""


def rows_at_once(source: Any, metadata: pq.FileMetaData, group: int, columns: Sequence[str] | None, rows: int) -> int:  # noqa: ANN401
    """Rows of a row group that are sure to fit in memory.

    Args:
        source: what ``pyarrow.parquet.ParquetFile`` opens.
        metadata: the footer of the file.
        group: number of the row group.
        columns: names of the outermost columns that will be read; ``None`` for all. Those inside of lists and structs
            are not looked at.
        rows: rows wanted.

    Returns:
        At least 1 and at most ``rows``.
    """
    names = []
    for index in range(metadata.num_columns):
        place = metadata.row_group(group).column(index)
        coded = place.physical_type == "BYTE_ARRAY" and any("DICTIONARY" in name for name in place.encodings)
        name = place.path_in_schema
        if not coded or not (columns is None or name in columns):
            continue
        # a dictionary is no larger than its chunk: most need no look, and only a few rows less at a time
        bound = MOST_BYTES // max(1, place.total_uncompressed_size)
        if bound >= _ROWS_WORTH_NO_LOOK:
            rows = min(rows, bound)
        elif metadata.schema.column(index).max_repetition_level == 0:
            names.append(name)
    if not names:
        return rows
    longest = sum(_longest_values(source, metadata, group, names))
    return max(1, min(rows, MOST_BYTES // longest)) if longest else rows


def _longest_values(source: Any, metadata: pq.FileMetaData, group: int, names: list[str]) -> list[int]:  # noqa: ANN401
    opened = pq.ParquetFile(source, metadata=metadata, read_dictionary=names, arrow_extensions_enabled=False)
    found = []
    for batch in opened.iter_batches(1, [group], columns=names, use_threads=False):
        coded = [column.dictionary for column in batch.columns if pa.types.is_dictionary(column.type)]
        found += [pc.max(pc.binary_length(values)).as_py() or 0 for values in coded]
        break
    return found
