"""What is decoded how often, and what is held at a time: splits are decoded once, and giants lie in a file."""

import gzip
import json
import random
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator import LocalExecutor, Pipeline, Read, Write, verify_output
from curator.kernels.shingles import Shingling
from curator.stages.dedup.deciding import cover_in_chunks
from curator.stages.dedup.fuzzy import FuzzyDeduplication
from curator.stages.dedup.linking import link_components
from curator.stages.dedup.members import ContentStore, Members
from tests.near_duplicates import write_families


def write_input(folder, kind, texts, num_files=3):
    folder.mkdir()
    records = [{"id": str(row), "text": text, "n": row % 7} for row, text in enumerate(texts)]
    for number in range(num_files):
        part = records[number::num_files]
        lines = "".join(json.dumps(record) + "\n" for record in part).encode()
        if kind == "parquet":
            pq.write_table(pa.Table.from_pylist(part), folder / f"{number}.parquet", row_group_size=40)
        elif kind == "gz":
            (folder / f"{number}.jsonl.gz").write_bytes(gzip.compress(lines))
        elif kind == "zst":
            (folder / f"{number}.jsonl.zst").write_bytes(pa.Codec("zstd").compress(lines, asbytes=True))
        else:
            (folder / f"{number}.jsonl").write_bytes(lines)
    return folder


def decide(source, output, **options):
    stages = [Read(str(source)), FuzzyDeduplication(threshold=0.7, **options), Write(output, durability="fast")]
    result = Pipeline(stages).run(LocalExecutor({"one_pass_bytes": 0}))
    assert verify_output(output).problems == []
    ledger = result.ledger().to_pylist()
    return {row["id"]: (row["kept_id"], row["score"]) for row in ledger}, result


OPTIONS = [{}, {"verify": "none"}, {"verify": "signature", "keep": "max:n"}]


@pytest.fixture
def read_again(monkeypatch):
    """What was read of the source a second time: the split of each read, and the documents."""
    tasks = []
    process = Read.process
    monkeypatch.setattr(Read, "process", lambda self, task: tasks.append(task) or process(self, task))

    def read_again():
        again = [task for task in tasks if task.selection is not None and task.selection.rows is not None]
        documents = [(task.split.ordinal, row) for task in again for row in task.selection.rows.tolist()]
        return [task.split.ordinal for task in again], documents

    return read_again


@pytest.mark.parametrize("kind", ["gz", "zst", "parquet", "jsonl"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_split_is_read_once_however_many_tasks_need_a_few_documents_of_it(tmp_path, read_again, kind, options):
    source = write_input(tmp_path / "in", kind, write_families(5, 60))
    cut, result = decide(source, tmp_path / "cut", documents_per_task=10, **options)
    splits, documents = read_again()
    if options.get("verify") == "none":
        assert splits == []  # the ids lie beside the rows
    else:
        assert sorted(splits) == [0, 1, 2]
        assert len(documents) == result.stages[1]["details"]["candidates"]
    assert ("gathered bytes" in result.stages[1]["details"]) is (splits != [])
    whole, _ = decide(source, tmp_path / "whole", **options)
    assert cut == whole
    assert len(whole) > 40


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_each_task_reads_its_own_lines_of_a_plain_file_where_there_are_enough_of_them(tmp_path, read_again, options):
    # 548 candidates for four tasks, an even number: about 68 of them in each of the two splits.
    source = write_input(tmp_path / "in", "jsonl", write_families(5, 200), num_files=2)
    cut, result = decide(source, tmp_path / "cut", documents_per_task=200, **options)
    splits, documents = read_again()
    if options.get("verify") == "none":
        assert splits == []
    else:
        assert sorted(splits) == [0, 0, 0, 0, 1, 1, 1, 1]
        assert len(documents) == len(set(documents)) == result.stages[1]["details"]["candidates"]
    assert "gathered bytes" not in result.stages[1]["details"]
    whole, _ = decide(source, tmp_path / "whole", **options)
    assert cut == whole
    assert len(whole) > 300


@pytest.mark.parametrize("kind", [np.uint64, np.uint8])
@pytest.mark.parametrize("seed", range(60))
def test_what_lies_in_a_file_decides_as_in_memory(tmp_path, kind, seed):
    chance = random.Random(seed)
    count, held_bytes, max_comparisons = chance.randint(1, 40), chance.randint(1, 400), chance.randint(1, 30)
    sets = [sorted(chance.sample(range(14), chance.randint(0, 8))) for _ in range(count)]
    keys = [sorted(chance.sample(range(7), chance.randint(1, 3))) for _ in range(count)]
    order, protected = chance.sample(range(count), count), chance.choice([0, 0, chance.randint(0, count)])

    def build(held_bytes, kind):
        store = ContentStore(tmp_path / "contents", held_bytes, kind)
        for own in sets:
            content = own if kind == np.uint64 else list(" ".join(map(str, own)).encode())
            store.add(np.array(content, kind), np.array([0, len(content)]))
        return Members(
            documents=np.arange(count, dtype=np.uint64),
            ids=pa.nulls(count, pa.large_string()),
            order=np.array(order),
            contents=store.close(),
            keys=np.array([key for own in keys for key in own], np.uint64),
            key_offsets=np.cumsum([0, *map(len, keys)]),
            threshold=0.5,
            num_protected=protected,
            shingling=None if kind == np.uint64 else Shingling(size=1),
        )

    held, spilled = build(1 << 20, np.uint64), build(held_bytes, kind)
    whole, chunked = (cover_in_chunks(members, max_comparisons) for members in (held, spilled))
    for left, right in zip(whole, chunked, strict=True):
        np.testing.assert_array_equal(left, right)
    linked = [link_components(each, whole.keepers, 40) for each in (held, spilled)]
    for left, right in zip(*linked, strict=True):
        np.testing.assert_array_equal(left, right)


MEASURE = """
import json, sys
from curator import LocalExecutor, Pipeline, Read, Write
from curator.stages.dedup.fuzzy import FuzzyDeduplication
fuzzy = FuzzyDeduplication(bands=40, rows=1, threshold=0.9, max_comparisons=8, compare_bytes=int(sys.argv[3]))
stages = [Read(sys.argv[1]), fuzzy, Write(sys.argv[2], durability="fast")]
result = Pipeline(stages).run(LocalExecutor({"one_pass_bytes": 0}))
peak = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(json.dumps({"peak": int(peak) << 10, "kept": result.counts["kept"], **result.stages[1]["details"]}))
"""


def test_a_giant_group_lies_in_a_file_and_takes_comparisons_in_proportion_to_its_documents(tmp_path):
    # One boilerplate with long bodies that share nothing: all are connected by buckets, and no two are similar.
    head, count = " ".join(f"h{place}" for place in range(250)), 3_000
    with open(tmp_path / "in.jsonl", "w") as handle:
        for row in range(count):
            body = " ".join(map(str, range(row * 2_000, row * 2_000 + 2_000)))
            handle.write(json.dumps({"id": row, "text": f"{head} {body}"}) + "\n")

    def measure(compare_bytes):
        command = [sys.executable, "-c", MEASURE, str(tmp_path / "in.jsonl"), str(tmp_path / f"out-{compare_bytes}")]
        done = subprocess.run([*command, str(compare_bytes)], capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    held, spilled = measure(1 << 30), measure(4 << 20)
    in_file = spilled.pop("spilled bytes")
    assert in_file > 8 * 2_000 * 0.9 * count
    assert held.pop("peak") - spilled.pop("peak") > in_file / 4  # pages of the file count while they are mapped
    assert held == spilled
    assert held["kept"] == count
    assert held["largest group"] > 0.9 * count
    assert held["compared pairs"] <= 8 * count
    assert held["documents not compared with all"] > 0.9 * count
