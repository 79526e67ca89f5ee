"""The laws of a table shuffle, and what it refuses."""

import math
import pickle
import subprocess
import sys
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator import ConfigError, LocalExecutor, Read, StageError, Task, Write
from curator.executors.shuffle import ShuffleWorker
from curator.pipeline import build_steps
from curator.stages.barrier.key_words import key_words
from curator.stages.shuffle import TableShuffle
from curator.tasks import TableTask

KEY_TYPES = {
    "u64": (pa.uint64(), st.integers(0, 2**64 - 1)),
    "i8": (pa.int8(), st.integers(-128, 127)),
    "text": (pa.string(), st.text(max_size=3)),
    "bytes": (pa.large_binary(), st.binary(max_size=3)),
    "float": (pa.float64(), st.floats()),
    "flag": (pa.bool_(), st.booleans()),
    "day": (pa.date32(), st.dates()),
}


def shuffled(tables, shuffle, tmp_path_factory, step=1, workers=1):
    """Insert in units of ``step`` tables on ``workers`` ranks; gives the partitions, in order."""
    tasks = [TableTask(task_id=str(number), table=table) for number, table in enumerate(tables)]
    scratch = tmp_path_factory.mktemp("scratch")
    ranks = [ShuffleWorker(shuffle, scratch, rank, workers) for rank in range(workers)]
    units = [tasks[first : first + step] for first in range(0, len(tasks), step)]
    inserted = [ranks[unit % workers].read_and_insert(chunk, unit=unit) for unit, chunk in enumerate(units)]
    assert len([path for path in scratch.rglob("*") if path.is_file()]) == len(units)
    extracts = ranks[0].insert_finished(inserted)
    made = [task for rank in ranks for task in rank.extract_and_write(extracts)]
    return sorted(made, key=lambda task: task.partition)


@st.composite
def tables_of_a_key(draw):
    kind, values = KEY_TYPES[draw(st.sampled_from(sorted(KEY_TYPES)))]
    pool = draw(st.lists(st.none() | values, min_size=1, max_size=6))
    keys = draw(st.lists(st.lists(st.sampled_from(pool), max_size=12), min_size=1, max_size=5))
    number = iter(range(10**6))
    return [
        pa.table({"key": pa.array(table, kind), "id": pa.array([next(number) for _ in table], pa.uint32())})
        for table in keys
    ]


def same(value):
    """A key as it is compared: one zero, one NaN."""
    if isinstance(value, float):
        return "nan" if math.isnan(value) else value + 0.0
    return value


def rows_of(part):
    return list(zip(map(same, part.table["key"].to_pylist()), part.table["id"].to_pylist(), strict=True))


@settings(deadline=None)
@given(
    tables_of_a_key(),
    st.none() | st.integers(1, 9),
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([8, 300, 1 << 20]),
    st.booleans(),
)
def test_all_rows_arrive_once_and_equal_keys_together_in_input_order(
    tmp_path_factory, tables, num_partitions, step, workers, budget, by_key
):
    shuffle = TableShuffle("key", num_partitions=num_partitions, memory_budget_bytes=budget, sort_by_key=by_key)
    parts = shuffled(tables, shuffle, tmp_path_factory, step, workers)
    rows = [row for part in parts for row in rows_of(part)]
    put_in = [row for table in tables for row in rows_of(TableTask(table=table))]
    assert Counter(rows) == Counter(put_in)
    keys = [{key for key, _ in rows_of(part)} for part in parts]
    assert sum(map(len, keys)) == len(set().union(*keys))
    for part in parts:
        assert part.num_items
        groups = {}
        for key, number in rows_of(part):
            groups.setdefault(key, []).append(number)
        assert all(numbers == sorted(numbers) for numbers in groups.values())
        if not by_key:
            assert part.table["id"].to_pylist() == sorted(part.table["id"].to_pylist())


@settings(deadline=None)
@given(tables_of_a_key(), st.none() | st.integers(1, 9), st.sampled_from([8, 300, 1 << 20]))
def test_units_workers_and_budget_change_nothing(tmp_path_factory, tables, num_partitions, budget):
    def run(step, workers, budget):
        shuffle = TableShuffle(
            "key", num_partitions=num_partitions, memory_budget_bytes=budget, partition_bytes=200, keep_empty=True
        )
        parts = shuffled(tables, shuffle, tmp_path_factory, step, workers)
        return [(part.task_id, part.partition, rows_of(part), part.table.schema) for part in parts]

    assert run(1, 1, 1 << 20) == run(2, 3, budget) == run(len(tables), 2, budget)


def test_the_partition_of_a_row_depends_on_its_key_alone(tmp_path_factory):
    table = pa.table({"key": np.arange(500, dtype=np.uint64), "id": np.arange(500)})
    shuffle = TableShuffle("key", num_partitions=8)
    alone = {key: part.partition for part in shuffled([table], shuffle, tmp_path_factory) for key, _ in rows_of(part)}
    others = [table.slice(first, 50).take(pa.array(np.arange(50)[::-1])) for first in range(0, 500, 50)]
    for part in shuffled(others, shuffle, tmp_path_factory, step=3):
        assert {alone[key] for key, _ in rows_of(part)} == {part.partition}


def test_words_of_keys_are_those_of_every_run_and_machine():
    def first(values, kind):
        return f"{key_words(pa.table({'key': pa.array(values, kind)}), ['key'])[0]:016x}"

    assert first([1], pa.uint64()) == first([1], pa.int8()) == "e5fdc025e13eeed5"
    assert first(["text"], pa.string()) == first([b"text"], pa.large_binary()) == "c5a64efff9224e39"
    assert first(["text"], pa.dictionary(pa.int32(), pa.string())) == "c5a64efff9224e39"
    assert first([0.0], pa.float64()) == first([-0.0], pa.float32()) == "9ca066f1a4ab2eea"


def test_several_columns_make_one_key(tmp_path_factory):
    rng = np.random.default_rng(2)
    table = pa.table({"a": rng.integers(0, 9, 900), "b": [str(n) for n in rng.integers(0, 9, 900)], "id": range(900)})
    parts = shuffled([table], TableShuffle(["a", "b"], num_partitions=20), tmp_path_factory)
    keys = [set(zip(part.table["a"].to_pylist(), part.table["b"].to_pylist(), strict=True)) for part in parts]
    assert sum(map(len, keys)) == len(set().union(*keys)) == 81
    swapped = pa.table({"a": [1, 2], "b": [2, 1]})
    assert len(set(key_words(swapped, ["a", "b"]).tolist())) == 2


def test_rows_without_a_key_are_dropped_if_that_is_wanted(tmp_path_factory):
    table = pa.table({"key": [1, None, 2, None], "id": [0, 1, 2, 3]})
    kept = shuffled([table], TableShuffle("key", null_keys="drop", num_partitions=3), tmp_path_factory)
    assert sorted(number for part in kept for _, number in rows_of(part)) == [0, 2]
    everything = shuffled([table], TableShuffle("key", num_partitions=3), tmp_path_factory)
    (nulls,) = [part for part in everything if None in {key for key, _ in rows_of(part)}]
    assert {1, 3} <= {number for _, number in rows_of(nulls)}


def test_partitions_fit_the_bytes_they_are_given_and_spilling_makes_no_more_files(tmp_path_factory):
    rng = np.random.default_rng(4)
    tables = [pa.table({"key": rng.integers(0, 2**64, 5000, np.uint64), "id": np.arange(5000)}) for _ in range(4)]
    shuffle = TableShuffle("key", memory_budget_bytes=64_000)
    scratch = tmp_path_factory.mktemp("scratch")
    worker = ShuffleWorker(shuffle, scratch)
    inserted = [worker.read_and_insert([TableTask(task_id=str(n), table=table)]) for n, table in enumerate(tables)]
    assert all(result.counts["batches"] >= 80_000 // 8_000 for result in inserted)
    assert len([path for path in scratch.rglob("*") if path.is_file()]) == 4
    parts = list(worker.extract_and_write(worker.insert_finished(inserted)))
    assert len(parts) >= 20
    assert max(part.table.nbytes for part in parts) <= 1.3 * 16_000
    assert max(len(pickle.dumps(result)) for result in inserted) < 1_000


def test_memory_follows_the_budget_and_not_the_size_of_the_task(tmp_path):
    program = """
import resource, sys
import numpy as np, pyarrow as pa
from curator.executors.shuffle import ShuffleWorker
from curator.stages.shuffle import TableShuffle
from curator.tasks import TableTask

def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

shuffle = TableShuffle("key", memory_budget_bytes=16 << 20)
shuffle.setup(None)
rows = 10_000_000
keys = np.arange(rows, dtype=np.uint64)
table = pa.table({"key": keys, "id": keys})
worker = ShuffleWorker(shuffle, sys.argv[1])
worker.read_and_insert([TableTask(task_id="0", table=table.slice(0, 100_000))], unit=1)
before = peak_bytes()
inserted = worker.read_and_insert([TableTask(task_id="0", table=table)], unit=0)
after_insert = peak_bytes()
assert inserted.counts["batches"] >= 100
parts = sum(task.num_items for task in worker.extract_and_write(worker.insert_finished([inserted])))
assert parts == rows
print(after_insert - before, peak_bytes() - before)
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, check=True, timeout=120, capture_output=True, text=True)
    inserted, extracted = map(int, done.stdout.split())
    assert inserted < 2 * (16 << 20)  # the table itself has 80 MB, and copying it once would show
    assert extracted < 2 * (16 << 20)


def test_of_two_attempts_of_a_unit_the_first_counts(tmp_path_factory):
    worker = ShuffleWorker(TableShuffle("key", num_partitions=2), tmp_path_factory.mktemp("scratch"))
    units = [[TableTask(task_id=str(n), table=pa.table({"key": [n, n + 1]}))] for n in range(3)]
    inserted = [worker.read_and_insert(units[n], unit=n) for n in (0, 1, 1, 2, 0)]
    parts = list(worker.extract_and_write(worker.insert_finished(inserted)))
    assert sorted(key for part in parts for key in part.table["key"].to_pylist()) == [0, 1, 1, 2, 2, 3]


def test_keys_meet_within_a_range_of_bands_and_ranges_come_in_turn(tmp_path_factory):
    rng = np.random.default_rng(8)
    table = pa.table({"key": rng.integers(0, 30, 600), "band": rng.integers(0, 5, 600, np.uint16), "id": range(600)})
    shuffle = TableShuffle("key", num_bands=5, bands_per_iteration=2, num_partitions=4)
    assert shuffle.get_band_iterations() == [(0, 2), (2, 4), (4, 5)]
    parts = shuffled([table.slice(0, 300), table.slice(300)], shuffle, tmp_path_factory)
    assert sum(part.num_items for part in parts) == 600
    for part in parts:
        assert {band // 2 for band in part.table["band"].to_pylist()} == {part.partition // 4}
    seen = Counter((part.partition // 4, key) for part in parts for key in set(part.table["key"].to_pylist()))
    assert set(seen.values()) == {1}
    worker = ShuffleWorker(shuffle, tmp_path_factory.mktemp("scratch"))
    some = worker.read_and_insert([TableTask(task_id="0", table=table)], band_range=(1, 3))
    assert some.counts["rows"] == sum(1 <= band < 3 for band in table["band"].to_pylist())


def test_partitions_do_not_depend_on_files_that_are_gone(tmp_path):
    shuffle = TableShuffle("key", num_partitions=1, scratch_path=str(tmp_path))
    (part,) = LocalExecutor().execute([shuffle], [TableTask(table=pa.table({"key": np.arange(10_000)}))])
    assert list(tmp_path.iterdir()) == []
    assert pa.compute.sum(part.table["key"]).as_py() == 49_995_000


def test_dictionaries_of_different_tables_come_out_as_values(tmp_path_factory):
    tables = [pa.table({"key": pa.array(values).dictionary_encode()}) for values in (["a", "b"], ["c", "a"])]
    (part,) = shuffled(tables, TableShuffle("key", num_partitions=1), tmp_path_factory, step=2)
    assert part.table.schema.field("key").type == pa.string()
    assert part.table["key"].to_pylist() == ["a", "b", "c", "a"]


@pytest.mark.parametrize(
    ("tasks", "message"),
    [
        ([Task()], "'shuffle' failed on task '': came a Task; a shuffle takes a TableTask"),
        ([TableTask(table=pa.table({"id": [1]}))], "there is no key column 'key'; the columns are: id"),
        ([TableTask(table=pa.table({"key": [[1]]}))], "column 'key' is of type list.* which cannot be a key"),
        (
            [TableTask(table=pa.table({"key": [1]})), TableTask(table=pa.table({"key": ["a"]}))],
            "tables have different columns: key: int64; and: key: string",
        ),
        ([TableTask(table=pa.table({"key": [1], "__place": [1]}))], "a column '__place', which is a name"),
    ],
)
def test_tables_that_cannot_be_shuffled_are_refused_in_words(tmp_path, tasks, message):
    with pytest.raises(StageError, match=message):
        LocalExecutor().execute([TableShuffle("key", scratch_path=str(tmp_path))], tasks)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bands", [None, [5], [-1], ["a"], [None]])
def test_bands_that_are_none_are_refused(bands):
    columns = {"key": [1]} if bands is None else {"key": [1], "band": pa.array(bands)}
    if bands == [None]:
        columns["band"] = pa.array([None], pa.int16())
    with pytest.raises(StageError, match="'band'"):
        LocalExecutor().execute([TableShuffle("key", num_bands=5)], [TableTask(table=pa.table(columns))])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"key_columns": []}, "key_columns=.*name one column or several"),
        ({"num_partitions": 0}, "shuffle.num_partitions=0: must be a whole number of at least 1"),
        ({"memory_budget_bytes": None}, "shuffle.memory_budget_bytes=None: must be"),
        ({"partition_bytes": True}, "shuffle.partition_bytes=True: must be"),
        ({"null_keys": "keep"}, "'keep' is not known. Choose from: match, drop"),
        ({"bands_per_iteration": 2}, "there are no bands; set num_bands"),
        ({"num_partitions": 70_000}, "70,000 partitions in 1 turns are too many; 65,536 are possible"),
        ({"num_bands": 100, "bands_per_iteration": 1}, "102,400 partitions in 100 turns are too many"),
    ],
)
def test_a_wrong_argument_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        TableShuffle(**{"key_columns": "key", **arguments})


def test_a_scratch_path_that_cannot_be_written_is_an_error_that_names_it(tmp_path):
    (tmp_path / "file").touch()
    shuffle = TableShuffle("key", scratch_path=str(tmp_path / "file" / "below"))
    with pytest.raises(OSError, match=r"file.below' cannot be written"):
        LocalExecutor().execute([shuffle], [TableTask(table=pa.table({"key": [1]}))])


def test_tables_cannot_be_shuffled_between_documents(tmp_path):
    with pytest.raises(ConfigError, match=r"stages.shuffle: shuffles tables, and has none between"):
        build_steps([Read("a"), TableShuffle("key"), Write(tmp_path / "out")])
