"""The peers of exact deduplication, as the short programs that one would write with them.

Each gets an input folder and an output folder, and reads the input files in the order of their names.
The schema is given, so that no peer pays for guessing it. All run with one thread.
"""

import sys
from pathlib import Path

from measure import Tool

_POLARS = """
import json, pathlib, sys, polars
source, target = map(pathlib.Path, sys.argv[1:3])
files = sorted(source.iterdir())
target.mkdir()
schema = dict.fromkeys(("id", "text", "url", "lang", "licence"), polars.String)
"""
_JSONL = _POLARS + "frame = polars.scan_ndjson(files, schema=schema)\n"
_PARQUET = _POLARS + "frame = polars.scan_parquet(files)\n"
_UNIQUE = "frame = frame.unique(subset='text', keep='first', maintain_order=True)\n"
_TO_JSONL = "frame.sink_ndjson(target / 'out.jsonl')\n"
_TO_ZST = "frame.sink_ndjson(target / 'out.jsonl.zst', compression='zstd', compression_level=1)\n"
_TO_PARQUET = "frame.sink_parquet(target / 'out.parquet', compression='zstd', compression_level=1)\n"

_RAW_COPY = """
import pathlib, sys
source, target = map(pathlib.Path, sys.argv[1:3])
target.mkdir()
with (target / "out.jsonl").open("wb", buffering=0) as copy:
    for path in sorted(source.iterdir()):
        with path.open("rb", buffering=0) as lines:
            while block := lines.read(4 << 20):
                copy.write(block)
"""

_RAW_ZST = """
import pathlib, sys, zstandard
source, target = map(pathlib.Path, sys.argv[1:3])
target.mkdir()
with (target / "out.jsonl.zst").open("wb") as copy:
    for path in sorted(source.iterdir()):
        with path.open("rb") as packed, zstandard.ZstdDecompressor().stream_reader(packed) as lines:
            with zstandard.ZstdCompressor(level=1).stream_writer(copy, closefd=False) as writer:
                while block := lines.read(4 << 20):
                    writer.write(block)
"""

_DUCKDB = """
import pathlib, sys, duckdb
source, target = map(pathlib.Path, sys.argv[1:3])
target.mkdir()
duckdb.sql("SET threads = 1")
duckdb.sql(f'''
    COPY (SELECT DISTINCT ON (text) * FROM read_ndjson('{source}/*.jsonl', columns = {{
        id: 'VARCHAR', text: 'VARCHAR', url: 'VARCHAR', lang: 'VARCHAR', licence: 'VARCHAR'}}))
    TO '{target}/out.jsonl' (FORMAT json)''')
"""

_PYARROW = """
import pathlib, sys, pyarrow, pyarrow.parquet
source, target = map(pathlib.Path, sys.argv[1:3])
target.mkdir()
pyarrow.set_cpu_count(1)
pyarrow.set_io_thread_count(1)
writer = None
for path in sorted(source.iterdir()):
    for batch in pyarrow.parquet.ParquetFile(path).iter_batches(batch_size=16384, use_threads=False):
        writer = writer or pyarrow.parquet.ParquetWriter(
            target / "out.parquet", batch.schema, compression="zstd", compression_level=1)
        writer.write_batch(batch, row_group_size=50_000)
writer.close()
"""

PEERS = {
    "jsonl": {
        "raw copy": _RAW_COPY,
        "polars copy": _JSONL + _TO_JSONL,
        "polars unique": _JSONL + _UNIQUE + _TO_JSONL,
        "duckdb distinct": _DUCKDB,
    },
    "zst": {
        "raw copy": _RAW_ZST,
        "polars copy": _JSONL + _TO_ZST,
        "polars unique": _JSONL + _UNIQUE + _TO_ZST,
    },
    "parquet": {
        "pyarrow copy": _PYARROW,
        "polars copy": _PARQUET + _TO_PARQUET,
        "polars unique": _PARQUET + _UNIQUE + _TO_PARQUET,
    },
}


def peer(kind: str, name: str) -> Tool:
    """One peer on one format, single-threaded."""

    def command(source: Path, target: Path) -> list[str]:
        return [sys.executable, "-c", PEERS[kind][name], str(source), str(target)]

    return Tool(name, command)
