"""The peers of exact and of fuzzy deduplication, as the short programs that one would write with them.

Each gets an input folder and an output folder, and reads the input files in the order of their names.
The schema is given where it can be, so that no peer pays for guessing it. All run with one thread.
Of fuzzy deduplication all have word 5-grams and 14 bands of 8 rows, and otherwise their own defaults.
"""

import sys
from importlib.util import find_spec
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

_DATASKETCH = """
import json, pathlib, sys, xxhash
from datasketch import MinHash, MinHashLSH
source, target = map(pathlib.Path, sys.argv[1:3])
target.mkdir()
index, number = MinHashLSH(num_perm=112, params=(14, 8)), 0
empty = MinHash(num_perm=112, hashfunc=xxhash.xxh32_intdigest)
with (target / "out.jsonl").open("wb") as output:
    for path in sorted(source.iterdir()):
        with path.open("rb") as lines:
            for line in lines:
                words = json.loads(line)["text"].lower().split()
                grams = {" ".join(words[i : i + 5]).encode() for i in range(max(len(words) - 4, 1))} if words else ()
                signature = empty.copy()
                signature.update_batch(list(grams))
                if grams and index.query(signature):
                    continue
                if grams:
                    index.insert(number, signature)
                number += 1
                output.write(line)
"""

# Words are split at white space: with those of spaCy, its default, it is six times slower.
_DATATROVE = """
import pathlib, sys
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup.minhash import (
    MinhashConfig, MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature)
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from datatrove.utils.word_tokenizers import WordTokenizer
source, target = map(pathlib.Path, sys.argv[1:3])
logs, signatures, buckets, removed = (str(target.with_name(name)) for name in ("logs", "sigs", "buckets", "removed"))

class Words(WordTokenizer):
    def word_tokenize(self, text):
        return text.split()
    sent_tokenize = span_tokenize = None

def run(stage, *pipeline, tasks=1):
    LocalPipelineExecutor(list(pipeline), tasks=tasks, workers=1, logging_dir=f"{logs}/{stage}").run()

config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
run(1, JsonlReader(str(source)), MinhashDedupSignature(signatures, config, Words()))
run(2, MinhashDedupBuckets(signatures, buckets, config=config), tasks=14)
run(3, MinhashDedupCluster(buckets, removed, config))
run(4, JsonlReader(str(source)), MinhashDedupFilter(removed),
    JsonlWriter(str(target), "${rank}.jsonl", compression=None, expand_metadata=True))
"""

_TEXT_DEDUP = """
import os, pathlib, sys
source, target = map(pathlib.Path, sys.argv[1:3])
cache = target.with_name("cache")
os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HOME": str(cache)}
from datasets import load_from_disk
from text_dedup.minhash import main
main(["--path", "json", "--data_files", f"{source}/*.jsonl", "--split", "train", "--column", "text",
      "--cache_dir", str(cache), "--output", str(cache / "kept"), "--num_proc", "1",
      "--ngram", "5", "--num_perm", "112", "--b", "14", "--r", "8"], standalone_mode=False)
target.mkdir()
load_from_disk(cache / "kept").to_json(target / "out.jsonl")
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

# Of fuzzy deduplication: the package that each needs, and its program.
FUZZY_PEERS = {
    "datasketch": ("datasketch", _DATASKETCH),
    "datatrove": ("datatrove", _DATATROVE),
    "text-dedup": ("text_dedup", _TEXT_DEDUP),
}


def peer(kind: str, name: str) -> Tool:
    """One peer on one format, single-threaded."""
    return _program(name, PEERS[kind][name])


def fuzzy_peers() -> list[Tool]:
    """The peers of fuzzy deduplication on JSON lines that are installed; says which are not."""
    tools = []
    for name, (package, program) in FUZZY_PEERS.items():
        if find_spec(package) is None:
            print(f"\n{name}: left out, the package {package!r} is not installed\n")
        else:
            tools.append(_program(name, program))
    return tools


def _program(name: str, program: str) -> Tool:
    def command(source: Path, target: Path) -> list[str]:
        return [sys.executable, "-c", program, str(source), str(target)]

    return Tool(name, command)
