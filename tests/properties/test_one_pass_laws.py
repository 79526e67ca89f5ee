"""Reading once leaves, byte by byte, what reading twice leaves."""

import gzip
import json
import tempfile
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import Mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from loguru import logger

from curator import ExactDeduplication, LocalExecutor, Pipeline, ProcessingStage, Read, Write, verify_output
from curator.errors import StageError, StorageError
from curator.stages.dedup.fuzzy import FuzzyDeduplication
from curator.stages.io.byte_stream import zstd
from tests.executors.stages_for_tests import ManyBatches, OnMarked

WORDS = st.lists(st.sampled_from(["a", "B", "b", "é", "c\n", "d.", "x", "MARKED"]), max_size=7)
TEXTS = st.lists(WORDS.map(" ".join) | st.sampled_from([None, 7]), max_size=30)
COMPARED = {"bands": 60, "rows": 1, "shingle_size": 2, "threshold": 0.6}
SOME_STAGES = [
    lambda **options: [FuzzyDeduplication(**COMPARED)],
    lambda **options: [FuzzyDeduplication(**COMPARED, max_comparisons=1, unicode="NFC", shingle="char")],
    lambda **options: [ExactDeduplication(**options), FuzzyDeduplication(**COMPARED, scope="lang")],
    lambda **options: [ExactDeduplication(**options)],
    lambda **options: [FuzzyDeduplication(verify="none", bands=9, rows=1, shingle_size=2, scope="lang")],
    lambda **options: [ExactDeduplication(**options), FuzzyDeduplication(verify="none", bands=9, rows=2)],
    lambda **options: [FuzzyDeduplication(verify="none", bands=4, rows=2), ExactDeduplication(**options)],
]


class Short(ProcessingStage):
    """Takes out texts of fewer characters."""

    name = "short"
    least = 2

    def inputs(self):
        return ("text",)

    def process(self, task):
        lengths = pa.compute.utf8_length(task.columns["text"]).fill_null(0).to_numpy()
        return task.remove(lengths < self.least, stage=self.name, reason="short")


@contextmanager
def caught_warnings():
    found = []
    sink = logger.add(lambda message: found.append(str(message.record["message"])), level="WARNING")
    try:
        yield found
    finally:
        logger.remove(sink)


def write_input(folder, texts, kind):
    rows = [{"id": f"id {row}" * (row % 3), "text": text, "lang": row % 2} for row, text in enumerate(texts)]
    if kind == "parquet":
        names = ("id", "text", "lang")
        table = pa.table({name: pa.array([str(row[name]) for row in rows], pa.string()) for name in names})
        pq.write_table(table, folder / "in.parquet", row_group_size=5)
        return
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode() + b"not json\n" * (len(texts) % 2)
    packed = {"jsonl": bytes, "jsonl.gz": gzip.compress, "jsonl.zst": zstd.compress}[kind](lines)
    (folder / f"in.{kind}").write_bytes(packed)


def run(folder, name, stages, one_pass_bytes, **reading):
    pipeline = Pipeline([Read(f"{folder}/in.*", **reading), *stages, Write(Path(folder, name), durability="fast")])
    executor = LocalExecutor({"one_pass_bytes": one_pass_bytes})
    result = pipeline.run(executor, show_progress=False)
    assert verify_output(Path(folder, name)).problems == []
    timed = ("run.json", "report.txt", "SUCCESS.json")
    files = {
        str(path.relative_to(Path(folder, name))): path.read_bytes()
        for path in sorted(Path(folder, name).rglob("*.*"))
        if path.name not in timed
    }
    # Of Parquet, whole rows are read where they are written at once.
    accounts = [{**stage, "seconds": None, "details": None, "bytes": None} for stage in result.stages]
    counted = ("compared pairs", "similar pairs", "documents not compared with all")
    details = [{word: stage.get("details", {}).get(word, 0) for word in counted} for stage in result.stages]
    return files, accounts, result.counts, details


@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.too_slow])
@given(
    TEXTS,
    st.sampled_from(["jsonl", "jsonl.gz", "jsonl.zst", "parquet"]),
    st.integers(60, 900),
    st.sampled_from(SOME_STAGES),
    st.sampled_from(["keep", "match", "remove"]),
    st.sampled_from(["keep", "quarantine", "remove"]),
    st.booleans(),
    st.booleans(),
)
def test_one_pass_leaves_the_bytes_of_two(found, kind, split_bytes, chosen, empty, without, before, behind):
    stages = chosen(empty_text=empty, case="lower")
    stages = [*([Short(), OnMarked().with_(name="first")] if before else []), *stages]
    stages += [Short().with_(name="longer", least=4), ManyBatches()] if behind else []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_input(folder, found, kind)
        reading = {"split_bytes": split_bytes, "without_text": without}
        outcomes = []
        for most_bytes in (0, 1 << 30):
            try:
                outcomes.append(run(folder, f"out-{most_bytes}", stages, most_bytes, **reading))
            except StageError as error:  # most of the documents are marked, so that the stage looks wrong
                outcomes.append(type(error))
        assert outcomes[0] == outcomes[1]


def test_too_many_keys_begin_again_and_say_so(tmp_path):
    texts = [f"text {row % 700}" for row in range(1_000)]
    write_input(tmp_path, texts, "jsonl")
    with caught_warnings() as warnings:
        again = run(tmp_path, "again", [ExactDeduplication()], 20_000)
    assert again == run(tmp_path, "twice", [ExactDeduplication()], 0)
    assert [warning for warning in warnings if "executor.one_pass_bytes=20,000" in warning]
    assert again[2] == {"read": 1_000, "kept": 700, "removed": 300, "quarantined": 0}


def test_documents_that_share_buckets_with_too_many_are_compared_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("curator.stages.dedup.cover_in_order._MOST_SHARERS", 1)
    texts = [f"every page has these words and {row} others {row * 7} of {row * 13} its own" for row in range(200)]
    for part in range(3):
        write_input(tmp_path, texts[part::3], "jsonl.zst")
        (tmp_path / "in.jsonl.zst").rename(tmp_path / f"in.{part}.jsonl.zst")
    stages = [FuzzyDeduplication(bands=60, rows=1, threshold=0.9)]
    assert len(Pipeline([Read(f"{tmp_path}/in.*"), *stages, Write("no")]).plan(LocalExecutor()).steps) == 1
    with caught_warnings() as warnings:
        again = run(tmp_path, "again", stages, 1 << 30)
    assert again == run(tmp_path, "twice", stages, 0)
    assert [warning for warning in warnings if "share buckets with more than" in warning and "again" in warning]


def test_a_disk_without_room_for_the_texts_is_read_twice(tmp_path, monkeypatch):
    full = Mock(side_effect=StorageError("no room for texts"))
    monkeypatch.setattr("curator.stages.barrier.text_spool.TextSpool.add", full)
    write_input(tmp_path, [f"a b c d e f {row % 7}" for row in range(50)], "jsonl.zst")
    with caught_warnings() as warnings:
        again = run(tmp_path, "again", [FuzzyDeduplication()], 1 << 30)
    assert again == run(tmp_path, "twice", [FuzzyDeduplication()], 0)
    assert [warning for warning in warnings if "no room for texts" in warning and "twice" in warning]


def test_a_run_that_reads_once_leaves_nothing_when_it_fails(tmp_path):
    write_input(tmp_path, [f"MARKED {row}" for row in range(9)], "jsonl")
    with pytest.raises(StageError):
        run(tmp_path, "out", [ExactDeduplication(), OnMarked()], 1 << 30)
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]
