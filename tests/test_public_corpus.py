"""The main job on a real corpus of eight shards in four formats, against ground truth that others computed."""

import gzip
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from curator import verify_output
from curator.runs.result import read_accounts

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.corpora, pytest.mark.slow]

# What tells one run from another, and is no part of the result.
OF_THE_RUN = {"_curator/run.json", "_curator/report.txt", "_curator/SUCCESS.json"}

# The truth knows no documents without text apart: equal is equal.
EXACT = "stages=[read,exact,write]"
MATCH_EMPTY = "stages.exact.empty_text=match"


@pytest.fixture(scope="module")
def public(shared_corpora):
    """The corpus: its files, the ids and texts in input order, and the groups of equal texts."""
    corpus = shared_corpora / "public" / "corpus"
    files = sorted(corpus.iterdir())
    records = []
    for path in files:
        rows = pq.read_table(path).to_pylist() if path.suffix == ".parquet" else map(json.loads, lines_of(path))
        records += [(row["id"], row["text"]) for row in rows]
    groups = {}
    for kind in ("raw", "normalised"):
        with gzip.open(shared_corpora / "public" / "truth" / f"exact_groups_{kind}.jsonl.gz", "rt") as handle:
            groups[kind] = [json.loads(line) for line in handle]
    similar = {}
    for gram in ("word5", "char24"):
        pairs = pq.read_table(shared_corpora / "public" / "truth" / f"pairs_{gram}.parquet")
        columns = (pairs[name].to_pylist() for name in ("id1", "id2", "jaccard"))
        similar[gram] = {frozenset((one, other)): jaccard for one, other, jaccard in zip(*columns, strict=True)}
    return SimpleNamespace(corpus=corpus, files=files, records=records, groups=groups, similar=similar)


def lines_of(path):
    """Raw lines without their line feeds."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        data = gzip.decompress(data)
    elif path.suffix == ".zst":
        data = zstd.decompress(data)
    return data.removesuffix(b"\n").split(b"\n")


@pytest.fixture(scope="module")
def deduplicate(public, tmp_path_factory):
    """Runs the command on the corpus and gives the output back; the same words run once."""
    folder = tmp_path_factory.mktemp("public")
    done = {}

    def run(*words):
        if words not in done:
            output = folder / f"out-{len(done)}"
            command = [sys.executable, "-m", "curator", f"input_path={public.corpus}", f"output_path={output}", *words]
            result = subprocess.run(
                command,
                cwd=folder,
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                capture_output=True,
                text=True,
                timeout=250,
                check=False,
            )
            assert result.returncode == 0, result.stderr
            done[words] = output
        return done[words]

    return run


RUNS = {
    "local": (EXACT, MATCH_EMPTY),
    "ray_actor_pool": (EXACT, MATCH_EMPTY, "executor=ray_actor_pool", "executor.num_workers=2"),
    "default": (),
    "normalised": (EXACT, MATCH_EMPTY, "stages.exact.case=lower", "stages.exact.white_space=collapse"),
}
EVERY_RUN = [pytest.param(name, marks=[pytest.mark.ray] if "ray" in name else []) for name in RUNS]


def redundant(public, kind):
    """Of each group all but the first in input order, with the one that is kept."""
    place = {identifier: number for number, (identifier, _) in enumerate(public.records)}
    assert len(place) == len(public.records), "ids are unique in this corpus"
    lost = {}
    for group in public.groups[kind]:
        first, *others = sorted(group, key=place.__getitem__)
        lost |= dict.fromkeys(others, first)
    return lost


def removed(output, stage="exact"):
    ledger = read_accounts(output, "ledger").filter(pc.field("stage") == stage)
    ids, kept = ledger["id"].to_pylist(), ledger["kept_id"].to_pylist()
    assert len(set(ids)) == len(ids)
    return dict(zip(ids, kept, strict=True))


def contents(output):
    return {
        path.relative_to(output).as_posix(): path.read_bytes()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.relative_to(output).as_posix() not in OF_THE_RUN
    }


@pytest.mark.ray
def test_both_executors_give_the_same_bytes(deduplicate):
    local, on_ray = (contents(deduplicate(*RUNS[name])) for name in ("local", "ray_actor_pool"))
    assert list(local) == list(on_ray)
    assert [name for name in local if local[name] != on_ray[name]] == []
    assert sum(name.startswith("_curator/ledger/") for name in local) >= 8


def test_removed_are_exactly_the_raw_duplicates_and_each_lost_to_the_first_of_its_group(public, deduplicate):
    lost = redundant(public, "raw")
    assert len(lost) > 1000
    assert removed(deduplicate(*RUNS["local"])) == lost


def test_by_default_documents_without_text_are_no_group(public, deduplicate):
    without_text = {identifier for identifier, text in public.records if not text}
    lost = redundant(public, "raw")
    assert removed(deduplicate()) == {gone: kept for gone, kept in lost.items() if gone not in without_text}
    assert len(removed(deduplicate(), stage="fuzzy")) > 500


CHARACTERS = ("stages=[read,fuzzy,write]", "stages.fuzzy.shingle=char", "stages.fuzzy.shingle_size=24")


@pytest.mark.parametrize("gram", [("word5", ()), ("char24", CHARACTERS)], ids=lambda gram: gram[0])
def test_similar_pairs_are_resolved_and_every_score_is_the_true_similarity(public, deduplicate, gram):
    kind, words = gram
    output, truth = deduplicate(*words), public.similar[kind]
    gone = set(read_accounts(output, "ledger")["id"].to_pylist())
    pairs = [pair for pair, jaccard in truth.items() if jaccard >= 0.8]
    assert len(pairs) > 8000
    assert sum(not pair & gone for pair in pairs) <= 0.01 * len(pairs)
    ledger = read_accounts(output, "ledger").filter(pc.field("stage") == "fuzzy").to_pylist()
    assert len(ledger) > 500
    for row in ledger:
        assert row["kept_id"] not in gone
        assert row["score"] == truth[frozenset((row["id"], row["kept_id"]))] >= 0.8


def test_removed_are_exactly_the_normalised_duplicates(public, deduplicate):
    lost = redundant(public, "normalised")
    assert set(lost) != set(redundant(public, "raw"))
    assert removed(deduplicate(*RUNS["normalised"])) == lost


@pytest.mark.parametrize("name", ["local", "normalised"])
def test_kept_rows_are_the_bytes_of_their_input_lines_in_input_order(public, deduplicate, name):
    output = deduplicate(*RUNS[name])
    gone = removed(output)
    manifest = json.loads((output / "_curator" / "manifest.json").read_text())
    for path in public.files:
        parts = [output / split["part"]["name"] for split in manifest["splits"] if split["file"] == str(path)]
        assert parts
        assert all(part.name.partition(".")[2] == path.name.partition(".")[2] for part in parts)
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            keep = pa.array([identifier not in gone for identifier in table["id"].to_pylist()])
            assert pa.concat_tables(pq.read_table(part) for part in parts).equals(table.filter(keep))
            continue
        expected = [line for line in lines_of(path) if json.loads(line)["id"] not in gone]
        assert [line for part in parts for line in lines_of(part)] == expected


@pytest.mark.parametrize("name", EVERY_RUN)
def test_the_output_verifies_and_accounts_for_every_record(public, deduplicate, name):
    found = verify_output(deduplicate(*RUNS[name]))
    assert (found.problems, found.notes) == ([], [])
    assert found.counts["read"] == len(public.records)
    assert found.counts["quarantined"] == 0


@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_verify_fails_after_one_byte_of_any_file_is_changed(deduplicate, tmp_path, place):
    output = tmp_path / "out"
    shutil.copytree(deduplicate(*RUNS["local"]), output)
    files = [path for path in sorted(output.rglob("*")) if path.is_file()]
    assert {path.suffix for path in files} == {".jsonl", ".gz", ".zst", ".parquet", ".json", ".txt"}
    unnoticed = []
    for path in files:
        good = path.read_bytes()
        position = {"first": 0, "middle": len(good) // 2, "last": len(good) - 1}[place]
        bad = bytearray(good)
        bad[position] ^= 1
        path.write_bytes(bad)
        command = [sys.executable, "-m", "curator", "verify", "--no-input", str(output)]
        if path.name in ("part-00000.jsonl", "part-00000-2.parquet"):
            result = subprocess.run(
                command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, check=False
            )
            assert result.returncode == 1
        if not verify_output(output, inputs=False).problems:
            unnoticed.append(path.name)
        path.write_bytes(good)
    assert unnoticed == []
    assert verify_output(output, inputs=False).problems == []
