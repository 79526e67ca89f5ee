"""Key tables on their way through a shuffle: equal keys meet, whatever the number of partitions and of keys."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from curator import ExactDeduplication, LocalExecutor, Pipeline, ProcessingStage, Read, Write, verify_output
from curator.stages.barrier.keys import (
    NUM_SLICES,
    KeysWriter,
    cut_slices,
    plan_partitions,
    read_partition,
    write_keys_index,
)
from curator.stages.barrier.removals import read_removals, write_removals
from curator.stages.base import REMOVALS


class CountKeyFiles(ProcessingStage):
    """Counts the files of keys in a run's scratch space while documents pass."""

    name = "count_key_files"

    def __init__(self, scratch, found):
        self.scratch = scratch
        self._found = found

    def process(self, batch):
        if len(batch.rows):
            self._found.append(len(list(self.scratch.glob("attempts/*/keys-*.arrow"))))
        return batch


def keys_of(high, first=0):
    documents = np.arange(first, first + len(high), dtype=np.uint64)
    return pa.table({"high": pa.array(high, pa.uint64()), "document": documents})


def write_keys(path, *tables):
    writer = KeysWriter(path, held_bytes=500)
    for table in tables:
        writer.add(table)
    return writer.close()


@pytest.mark.parametrize("partition_bytes", [1, 2_000, 10_000, 1 << 30])
def test_every_row_is_in_one_partition_and_equal_keys_in_the_same(partition_bytes, tmp_path):
    rng = np.random.default_rng(3)
    pool = rng.integers(0, 2**64, 50, np.uint64)
    files, first = [], 0
    for number in range(4):
        high = rng.choice(pool, 100)
        files.append(str(tmp_path / f"{number}.arrow"))
        assert write_keys(tmp_path / f"{number}.arrow", keys_of(high[:30], first), keys_of(high[30:], first + 30))
        first += 100
    (bounds,) = plan_partitions(files, partition_bytes)
    write_keys_index(tmp_path / "keys.json", files, bounds)
    parts = [read_partition(str(tmp_path / "keys.json"), number) for number in range(len(bounds) - 1)]
    assert sorted(document for part in parts for document in part["document"].to_pylist()) == list(range(400))
    for part in parts:
        for high in set(part["high"].to_pylist()):
            documents = part.filter(pc.equal(part["high"], pa.scalar(high, pa.uint64())))["document"].to_pylist()
            assert documents == sorted(documents)
    seen = [set(part["high"].to_pylist()) for part in parts]
    assert sum(map(len, seen)) == len(set().union(*seen)) == len(pool)


def test_a_split_without_keys_still_says_which_columns_there_are(tmp_path):
    files = [str(tmp_path / "a.arrow"), str(tmp_path / "b.arrow")]
    assert write_keys(tmp_path / "a.arrow", keys_of([]), keys_of([]))
    assert write_keys(tmp_path / "b.arrow", keys_of([]))
    (bounds,) = plan_partitions(files, 1 << 20)
    assert bounds == [0, NUM_SLICES]
    write_keys_index(tmp_path / "keys.json", files, bounds)
    table = read_partition(str(tmp_path / "keys.json"), 0)
    assert (table.num_rows, table.column_names) == (0, ["high", "document"])
    assert not write_keys(tmp_path / "none.arrow")


@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_slices_are_cut_in_order_and_none_is_left_out(count):
    rows = np.random.default_rng(1).integers(0, 9, 64)
    bounds = cut_slices(rows, count)
    assert (bounds[0], bounds[-1]) == (0, 64)
    assert bounds == sorted(set(bounds))


def test_each_split_finds_its_own_removals_sorted(tmp_path):
    def removals(*documents):
        columns = {name: pa.nulls(len(documents), REMOVALS.field(name).type) for name in REMOVALS.names}
        return pa.table({**columns, "document": pa.array(documents, pa.uint64())})

    one, two = 1 << 32, 2 << 32
    assert write_removals(tmp_path / "a", removals(two + 5, 3, one + 1))
    assert write_removals(tmp_path / "b", removals(one, 2**32 - 1, 1))
    assert not write_removals(tmp_path / "c", removals())
    files = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert read_removals(files, 0)["document"].to_pylist() == [1, 3, 2**32 - 1]
    assert read_removals(files, 1)["document"].to_pylist() == [one, one + 1]
    assert read_removals(files, 7).num_rows == 0


def test_no_file_of_a_run_stays_mapped_when_it_is_over(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.jsonl").write_bytes(b'{"id": "1", "text": "same"}\n' * 3)
    stages = [Read(str(tmp_path / "in")), ExactDeduplication(), Write(tmp_path / "out", durability="fast")]
    executor = LocalExecutor({"one_pass_bytes": 0})
    assert Pipeline(stages).run(executor, show_progress=False).counts["removed"] == 5
    assert str(tmp_path) not in Path("/proc/self/maps").read_text(encoding="utf-8")


def test_keys_that_nobody_needs_go_as_soon_as_the_next_step_has_begun(tmp_path):
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / f"{name}.jsonl").write_bytes(b'{"id": "1", "text": "%s"}\n' % name.encode())
    look = CountKeyFiles(tmp_path / "out._curator", [])
    stages = [Read(str(tmp_path / "in")), ExactDeduplication(), look, Write(tmp_path / "out", durability="fast")]
    assert Pipeline(stages).run(LocalExecutor({"one_pass_bytes": 0}), show_progress=False).counts["kept"] == 3
    assert look._found == [3, 0, 0]


@pytest.mark.parametrize("content", [b"", b"\n\n", b"not json\n", b'{"text": ""}\n', b'{"no": "text"}\n'])
@pytest.mark.parametrize("files", [1, 3])
def test_a_run_in_which_nothing_can_be_compared_finishes(content, files, tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(files):
        (tmp_path / "in" / f"{number}.jsonl").write_bytes(content)
    stages = [Read(str(tmp_path / "in")), ExactDeduplication(), Write(tmp_path / "out", durability="fast")]
    result = Pipeline(stages).run(LocalExecutor(), show_progress=False)
    assert result.counts["read"] == files * bool(content.strip())
    assert result.counts["removed"] == 0
    assert verify_output(tmp_path / "out").problems == []
