"""The generated corpus of the benchmarks, in three formats, made once for each size.

    WORK/600MB/jsonl/part-00000.jsonl ...      shards of about 50 MB
    WORK/600MB/zst/part-00000.jsonl.zst ...    the same lines, zstd level 1
    WORK/600MB/parquet/part-00000.parquet ...  the same rows, zstd level 1, row groups of 50,000
    WORK/600MB/tiny/{jsonl,zst,parquet}        ten records, to measure the start-up

The generator and its seed of real text are not part of this repository; `--corpora` names their
folder. A part of the generated documents are exact copies of others.
"""

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from measure import child_json, run_child

FORMATS = ("jsonl", "zst", "parquet")

CONVERT = """
import pathlib, sys, polars, zstandard
source, target = map(pathlib.Path, sys.argv[2:])
target.mkdir(parents=True)
for path in sorted(source.glob("*.jsonl")):
    if sys.argv[1] == "zst":
        with path.open("rb") as lines, (target / (path.name + ".zst")).open("wb") as packed:
            zstandard.ZstdCompressor(level=1).copy_stream(lines, packed, size=path.stat().st_size)
    else:
        frame = polars.read_ndjson(path, infer_schema_length=None)
        frame.write_parquet(target / (path.stem + ".parquet"), compression="zstd",
                            compression_level=1, row_group_size=50_000)
print("{}")
"""

# Counts rows and distinct texts below a folder or in a file; what starts with _ or . is no data.
COUNT = """
import json, pathlib, sys, polars
root = pathlib.Path(sys.argv[1])
found = sorted(root.rglob("*")) if root.is_dir() else [root]
hidden = lambda path: any(part[0] in "_." for part in path.relative_to(root).parts)
files = [path for path in found if path.is_file() and not hidden(path)]
if not files:
    print('{"rows": 0, "distinct": 0}')
    sys.exit()
if files[0].suffix == ".parquet":
    texts = polars.scan_parquet(files).select("text")
else:
    texts = polars.scan_ndjson(files, schema={"text": polars.String})
counted = texts.select(polars.len().alias("rows"), polars.col("text").n_unique().alias("distinct"))
print(json.dumps(counted.collect(engine="streaming").to_dicts()[0]))
"""


@dataclass(frozen=True)
class Corpus:
    """Where a corpus lies, and what is in it."""

    folder: Path
    jsonl_bytes: int
    rows: int
    distinct: int

    def data(self, kind: str) -> Path:
        """The folder of one format."""
        return self.folder / kind

    def tiny(self, kind: str) -> Path:
        """The folder of ten records in one format."""
        return self.folder / "tiny" / kind


def prepare(work: Path, corpora: Path, size: str, kinds: list[str]) -> Corpus:
    """Make what is missing of the corpus below ``work``, and count it.

    Raises:
        SystemExit: The generator is not below ``corpora``.
    """
    folder = work / size
    if not (folder / "jsonl").is_dir():
        _generate(folder, corpora, size)
    for kind in kinds:
        for source, target in (
            (folder / "jsonl", folder / kind),
            (folder / "tiny" / "jsonl", folder / "tiny" / kind),
        ):
            if not target.is_dir():
                partial = target.with_name(target.name + ".partial")
                shutil.rmtree(partial, ignore_errors=True)
                child_json(CONVERT, kind, source, partial)
                partial.rename(target)
    return _count(folder)


def first_shards(corpus: Corpus, least_bytes: int) -> Corpus:
    """The fewest first shards that hold ``least_bytes`` (2 % less will do), as hard links."""
    folder = corpus.folder.with_name(f"{corpus.folder.name}-first-{least_bytes // 10**6}MB")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "jsonl").mkdir(parents=True)
    shutil.copytree(corpus.folder / "tiny", folder / "tiny", copy_function=os.link)
    taken_bytes = 0
    for path in sorted(corpus.data("jsonl").iterdir()):
        if taken_bytes >= 0.98 * least_bytes:
            break
        os.link(path, folder / "jsonl" / path.name)
        taken_bytes += path.stat().st_size
    return _count(folder)


def _count(folder: Path) -> Corpus:
    jsonl_bytes = sum(path.stat().st_size for path in (folder / "jsonl").iterdir())
    counted = child_json(COUNT, folder / "jsonl")
    return Corpus(folder, jsonl_bytes, counted["rows"], counted["distinct"])


def _generate(folder: Path, corpora: Path, size: str) -> None:
    generator, seed = corpora / "bench" / "gen_bench.py", corpora / "bench" / "seed.jsonl.gz"
    if not generator.is_file():
        raise SystemExit(
            f"--corpora {corpora}: no bench/gen_bench.py there. Name the folder that holds the corpus generator."
        )
    partial = folder / "generated.partial"
    shutil.rmtree(partial, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(generator), "--seed-file", str(seed), "--size", size]
    command += ["--shard-mb", "50", "--workers", "2", "--no-pairs", "--out", str(partial)]
    run_child(command, folder, pinned=False, limit_s=3600.0)
    # The shards alone: the generator's truth and manifest are no documents.
    shutil.rmtree(partial / "truth")
    (partial / "manifest.json").unlink()
    tiny = folder / "tiny" / "jsonl"
    tiny.mkdir(parents=True, exist_ok=True)
    with (partial / "part-00000.jsonl").open("rb") as shard:
        (tiny / "part-00000.jsonl").write_bytes(b"".join(next(shard) for _ in range(10)))
    partial.rename(folder / "jsonl")
