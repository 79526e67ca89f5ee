"""Folders of signatures: what they hold, where they may lie, and whose records are in them."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator import ConfigError, ExactDeduplication, LocalExecutor, Pipeline, Read, Write
from curator.kernels.sketch import sketch_sets
from curator.stages.dedup.fuzzy import FuzzyDeduplication
from curator.stages.dedup.signature_files import HEADER
from tests.near_duplicates import write_families
from tests.signature_runs import data_of, deduplicate, write_corpus


def test_parquet_is_kept_and_used_like_lines(tmp_path):
    texts = write_families(5, 40)
    table = pa.table({"text": [*texts, None], "id": range(len(texts) + 1), "score": range(len(texts) + 1)})
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in" / "a.parquet", row_group_size=30)
    source = str(tmp_path / "in")
    deduplicate(source, tmp_path / "first", split_bytes=4_000, keep_signatures=tmp_path / "kept", keep="max:score")
    for verify in ("exact", "signature", "none"):
        options = {"keep": "max:score", "verify": verify, "threshold": 0.8}
        deduplicate(source, tmp_path / f"plain-{verify}", split_bytes=4_000, **options)
        reused = {"split_bytes": 4_000, "signatures": tmp_path / "kept", **options}
        deduplicate(source, tmp_path / f"reused-{verify}", **reused)
        assert data_of(tmp_path / f"plain-{verify}") == data_of(tmp_path / f"reused-{verify}")


def test_fast_signatures_of_different_lengths_are_no_prefixes_of_each_other_and_classic_ones_are():
    rng = np.random.default_rng(3)
    hashes, offsets = rng.integers(0, 1 << 63, 600, np.uint64), [0, 100, 600]
    for scheme, equal in (("fast", False), ("classic", True)):
        short = sketch_sets(hashes, offsets, 100, scheme=scheme).signatures
        long = sketch_sets(hashes, offsets, 128, scheme=scheme).signatures
        assert bool((long[:, :100] == short).all()) is equal


def test_records_that_the_reader_removed_are_removed_again(tmp_path):
    source = write_corpus(tmp_path / "a.jsonl", ["one two three", None, "one two three", None])
    for name, options in {
        "first": {"keep_signatures": tmp_path / "kept"},
        "again": {"signatures": tmp_path / "kept"},
    }.items():
        stages = [Read(source, without_text="remove"), FuzzyDeduplication(**options)]
        result = Pipeline([*stages, Write(tmp_path / name)]).run(LocalExecutor())
        assert result.counts == {"read": 4, "kept": 1, "removed": 3, "quarantined": 0}
    assert data_of(tmp_path / "first") == data_of(tmp_path / "again")


def test_records_on_the_account_of_a_stage_need_that_stage(tmp_path):
    class Picky(ExactDeduplication):
        name = "picky"

        def process(self, task):
            if "bad" in task.columns["text"].to_pylist():
                raise ValueError("a bad text")
            return super().process(task)

    source, kept = write_corpus(tmp_path / "a.jsonl", ["one", "bad", "two"]), tmp_path / "kept"
    _, result = deduplicate(source, tmp_path / "first", before=[Picky()], keep_signatures=kept)
    assert result.counts == {"read": 3, "kept": 2, "removed": 0, "quarantined": 1}
    with pytest.raises(ConfigError, match="has records that the stage 'picky' took out or could not take"):
        deduplicate(source, tmp_path / "other", signatures=kept)
    again = deduplicate(source, tmp_path / "again", before=[Picky()], signatures=kept)[1]
    assert again.counts == result.counts


@pytest.mark.parametrize("place", ["out", "out/kept", "in", "in/kept", "."])
def test_signatures_have_a_folder_of_their_own(tmp_path, place):
    write_corpus(tmp_path / "in" / "a.jsonl", ["one", "two"])
    with pytest.raises(ConfigError, match=r"overlaps|already and not empty"):
        deduplicate(str(tmp_path / "in"), tmp_path / "out", keep_signatures=tmp_path / place)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    deduplicate(str(tmp_path / "in"), tmp_path / "out", keep_signatures=tmp_path / "deep" / "kept")
    assert (tmp_path / "deep" / "kept" / HEADER).exists()


def test_shards_keep_and_use_signatures_of_their_own(tmp_path):
    for name, texts in (("a", ["one", "two", "one"]), ("b", ["three", "three"])):
        write_corpus(tmp_path / "in" / f"{name}.jsonl", texts)
    for target, options in (
        ("out", {"keep_signatures": tmp_path / "kept"}),
        ("again", {"signatures": tmp_path / "kept"}),
    ):
        for index in (0, 1):
            shard = {"shard_index": index, "shard_count": 2}
            source, sink = Read(str(tmp_path / "in"), **shard), Write(tmp_path / target, **shard)
            result = Pipeline([source, FuzzyDeduplication(**options), sink]).run(LocalExecutor())
            assert result.counts["removed"] == 1
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["shard-0000-of-0002", "shard-0001-of-0002"]


def test_options_that_cannot_be_meant_are_refused():
    for options, words in (
        ({"num_hashes": 0}, "num_hashes=0"),
        ({"signatures": "a", "keep_signatures": "b"}, "Leave one of the two out"),
        ({"signatures": ""}, "signatures: is empty"),
        ({"against": ["a", ""]}, "must be a name, a list of names, or null"),
        ({"against": 5}, "against=5"),
        ({"keep_columns": [None]}, "keep_columns="),
    ):
        with pytest.raises(ConfigError, match=words):
            FuzzyDeduplication(**options)
