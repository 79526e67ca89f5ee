"""Records that a stage cannot take, and stages that break their contract, on the executor without Ray."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator import ExactDeduplication, LocalExecutor, Pipeline, ProcessingStage, Read, StageError, Write, verify_output
from curator.errors import ExecutorError, TooManyBadRecordsError
from curator.executors.guard import MAX_STAGE_ERRORS, GuardedStageAdapter
from curator.tasks import DocumentBatch, FailedTask, InputFile, Split
from tests.executors.stages_for_tests import ManyBatches, Misbehave, OnMarked, SplitBatches
from tests.runs.test_verify import reseal

MARKED = "MARKED "


def records(num_documents, marked=()):
    return [
        {"id": f"d{row}", "text": f"{MARKED * (row in marked)}document {row % 200} of many"}
        for row in range(num_documents)
    ]


@pytest.fixture
def run(tmp_path, write_jsonl):
    def go(stages, *, marked=(), num_documents=300, name="out", split_bytes=None, **options):
        path = write_jsonl(tmp_path / f"in-{name}" / "a.jsonl", records(num_documents, marked))
        options = {"split_bytes": split_bytes, **options}
        pipeline = [Read(str(path), **options), *stages, Write(tmp_path / name, durability="fast")]
        return Pipeline(pipeline).run(LocalExecutor(), show_progress=False)

    return go


def ids(result):
    lines = [line for part in sorted(result.output_path.glob("part-*")) for line in part.read_text().splitlines()]
    return [json.loads(line)["id"] for line in lines]


def expected_ids(num_documents, marked):
    """First of each text, by the plainest means, less the marked ones."""
    first = {}
    for record in records(num_documents, marked):
        first.setdefault(record["text"], record["id"])
    return [name for name in first.values() if int(name[1:]) not in marked]


BEFORE, AFTER = [OnMarked(), ExactDeduplication()], [ExactDeduplication(), OnMarked()]


@pytest.mark.parametrize("stages", [BEFORE, AFTER], ids=["before the barrier", "behind the barrier"])
@pytest.mark.parametrize("marked", [{7}, {0, 1, 2, 150, 299}, set(range(20, 36))], ids=len)
def test_a_record_that_a_stage_cannot_take_costs_one_record(run, tmp_path, stages, marked):
    result = run(stages, marked=marked)
    assert ids(result) == expected_ids(300, marked)
    bad = result.quarantine().to_pylist()
    assert [(entry["row"], entry["stage"], entry["reason"], entry["records"]) for entry in bad] == [
        (row, "on_marked", "stage_error", 1) for row in sorted(marked)
    ]
    content = (tmp_path / "in-out" / "a.jsonl").read_bytes()
    for entry in bad:
        line = content[entry["offset"] : entry["offset"] + entry["size_bytes"]]
        assert entry["bytes"] == line
        assert json.loads(line)["id"] == f"d{entry['row']}"
    assert verify_output(result.output_path).problems == []


def test_the_accounts_count_a_record_against_the_stage_that_could_not_take_it(run):
    result = run(BEFORE, marked={7, 150})
    table = {stage["name"]: stage for stage in result.stages}
    assert [(stage["documents_in"], stage["kept"], stage["quarantined"]) for stage in result.stages] == [
        (300, 300, {}),
        (300, 298, {"stage_error": 2}),
        (298, 199, {}),
        (199, 199, {}),
    ]
    assert table["exact"]["removed"] == {"exact_duplicate": 99}


def test_a_keeper_that_is_lost_behind_the_barrier_is_no_problem_of_the_ledger(run):
    result = run([ExactDeduplication(), OnMarked()], marked={7, 207, 8})
    (removed,) = [row for row in result.ledger().to_pylist() if row["document_id"] == 207]
    assert removed["kept_document_id"] == 7
    assert [entry["row"] for entry in result.quarantine().to_pylist()] == [7, 8]
    assert verify_output(result.output_path).problems == []


def test_details_are_escaped_and_hold_nothing_of_the_run(run):
    (entry,) = run(BEFORE, marked={5}).quarantine().to_pylist()
    assert entry["detail"] == r"on_marked: ValueError: cannot take \x1b[31m it, at <object object at 0x...>"

    class Talkative(OnMarked):
        def _raise(self):
            raise KeyError("ä\n\0" * 10_000)

    (entry,) = run([Talkative()], marked={5}, name="long").quarantine().to_pylist()
    assert len(entry["detail"]) == 500
    assert entry["detail"].startswith("on_marked: KeyError: 'ä\\n\\x00ä")


def test_a_stage_that_raises_once_and_then_takes_the_batch_loses_nothing(run, tmp_path):
    (tmp_path / "marks").mkdir()
    result = run([OnMarked(folder=tmp_path / "marks", times=1)], marked={9})
    assert (result.counts["kept"], result.counts["quarantined"]) == (300, 0)
    assert len(list((tmp_path / "marks").iterdir())) == 1


def test_a_stage_that_fails_on_more_records_than_bad_luck_explains_ends_the_run(run, tmp_path):
    with pytest.raises(
        StageError, match=r"'on_marked' failed on task '0_0': ValueError.*more than 16 records of one split"
    ):
        run(BEFORE, marked=set(range(0, 300, 17)))
    assert not (tmp_path / "out").exists()


def test_the_budget_is_that_of_a_split_and_not_of_a_batch(run, tmp_path, monkeypatch):
    monkeypatch.setattr("curator.stages.io.line_reader.CHUNK_BYTES", 2_000)
    assert run(BEFORE, marked=set(range(0, 96, 6)), name="all").counts["quarantined"] == 16
    with pytest.raises(StageError, match="more than 16 records"):
        run(BEFORE, marked=set(range(0, 102, 6)))


def test_a_stage_that_fails_on_all_documents_of_a_batch_is_a_mistake(run):
    with pytest.raises(StageError, match=r"'on_marked' failed on task '0_0': ValueError"):
        run(BEFORE, marked={0, 1, 2, 3}, num_documents=4)
    assert run(BEFORE, marked={0, 1, 2}, num_documents=6, split_bytes=150, name="few").counts["quarantined"] == 3


def test_a_stage_that_fails_on_every_document_of_the_run_is_a_mistake_however_few_a_split_has(run):
    with pytest.raises(StageError, match=r"'on_marked' could take none of the 4 documents.*stage_error 4"):
        run(BEFORE, marked={0, 1, 2, 3}, num_documents=4, split_bytes=1)
    assert run(BEFORE, marked={0, 1, 2}, num_documents=4, split_bytes=1, name="some").counts["quarantined"] == 3


def test_records_of_stages_count_for_the_limit_of_bad_records(run):
    for name, stages in (("a", BEFORE), ("b", AFTER)):
        with pytest.raises(TooManyBadRecordsError, match=r"3 of 300 records .*stage_error 3"):
            run(stages, marked={1, 2, 3}, max_quarantined=0.005, name=name)


def test_several_batches_at_a_time_lose_no_more_than_the_record(run, monkeypatch):
    monkeypatch.setattr("curator.stages.io.line_reader.CHUNK_BYTES", 2_000)
    result = run([ManyBatches(), ExactDeduplication()], marked={7, 150, 151})
    assert ids(result) == expected_ids(300, {7, 150, 151})
    assert [entry["row"] for entry in result.quarantine().to_pylist()] == [7, 150, 151]
    assert verify_output(result.output_path).problems == []


def test_batches_that_are_gathered_do_not_share_the_readers_buffer(run, monkeypatch):
    monkeypatch.setattr("curator.stages.io.line_reader.CHUNK_BYTES", 2_000)
    result = run([ManyBatches()])
    assert ids(result) == [f"d{row}" for row in range(300)]


def test_a_failed_task_gives_the_record_up_with_its_reason(run):
    class GiveUp(OnMarked):
        def process(self, task):
            marked = any(self.mark in text for text in task.columns["text"].to_pylist())
            return FailedTask(reason="not mine") if marked else task

    (entry,) = run([GiveUp(), ExactDeduplication()], marked={5}).quarantine().to_pylist()
    assert (entry["row"], entry["detail"]) == (5, "on_marked: not mine")


def test_running_out_of_memory_is_never_blamed_on_a_record_in_the_same_process(run):
    with pytest.raises(ExecutorError, match=r"ran out of memory on task '0'.*executor=ray_actor_pool"):
        run([OnMarked("memory")], marked={5})


def test_a_full_disk_is_not_blamed_on_a_record(run):
    class Full(OnMarked):
        def _raise(self):
            raise OSError(28, "No space left on device")

    with pytest.raises(StageError, match="No space left"):
        run([Full()], marked={5})


def test_parquet_records_are_quarantined_by_row_with_their_text(tmp_path):
    texts = [f"{'MARKED ' * (row == 30)}text {row}" for row in range(100)]
    pq.write_table(pa.table({"text": texts, "n": list(range(100))}), tmp_path / "a.parquet", row_group_size=25)
    stages = [Read(str(tmp_path / "a.parquet")), ExactDeduplication(), OnMarked(), Write(tmp_path / "out")]
    result = Pipeline(stages).run(LocalExecutor(), show_progress=False)
    (entry,) = result.quarantine().to_pylist()
    assert (entry["row"], entry["offset"], entry["bytes"], entry["stage"]) == (30, -1, b"MARKED text 30", "on_marked")
    written = pq.read_table(tmp_path / "out" / "part-00000.parquet")
    assert written["n"].to_pylist() == [row for row in range(100) if row != 30]
    assert verify_output(result.output_path).problems == []


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("number", "returned a NumberTask for a batch of documents"),
        ("text", "returned a str for task"),
        ("none", "returned nothing for a batch of documents"),
        ("nothing", "returned no batch at all"),
        ("twice", "returned documents in another order than they came, or twice"),
        ("strange_rows", "returned or removed row 300, which it was not given"),
        ("own_array", "returned or removed row 300, which it was not given"),
        ("backwards", "returned documents in another order"),
        ("short_columns", "returned a batch of 300 documents with 299 columns"),
        ("other_split", "returned documents of part-00001 for documents of part-00000"),
        ("removed_twice", "returned or removed row 0 twice"),
    ],
)
def test_a_stage_that_breaks_its_contract_is_named(run, tmp_path, how, message):
    with pytest.raises(StageError, match=f"stage.* 'misbehave' {message}") as raised:
        run([Misbehave(how), ExactDeduplication()])
    assert raised.value.stage == "misbehave"
    assert not (tmp_path / "out").exists()


def test_a_stage_may_cut_batches_and_need_not_care_for_the_accounts(run):
    result = run([SplitBatches(), OnMarked(), ExactDeduplication()], marked={7, 298})
    assert ids(result) == expected_ids(300, {7, 298})
    assert result.counts["read"] == 300
    assert verify_output(result.output_path).problems == []


def test_verify_counts_what_each_stage_could_not_take(run):
    result = run(BEFORE, marked={7})
    (path,) = (result.output_path / "_curator" / "quarantine").iterdir()
    table = pq.read_table(path)
    position = table.column_names.index("stage")
    pq.write_table(table.set_column(position, "stage", pa.array(["exact"])), path)
    reseal(result.output_path)
    (problem,) = verify_output(result.output_path).problems
    assert problem.startswith("quarantine: holds {('exact', 'stage_error'): 1}, run.json says {('on_marked',")


def a_batch(first, num_documents):
    """Documents whose text is their row, as a Parquet reader gives them."""
    rows = np.arange(first, first + num_documents)
    texts = [str(row) for row in rows]
    split = Split(0, InputFile("a", 1, "0", "parquet"), 0, 1, 1)
    columns = pa.table({"id": pa.array(texts, pa.large_string()), "text": pa.array(texts, pa.large_string())})
    return DocumentBatch(task_id=f"0_{first}", split=split, rows=rows, columns=columns, num_read=num_documents)


class RaiseFor(ProcessingStage):
    """Cannot take some rows, nor any batch that has one of them; a few rows it removes."""

    name = "raise_for"

    def __init__(self, bad, batch_size):
        self.bad = bad
        self.batch_size = batch_size
        self.calls = 0

    def process_batch(self, tasks):
        self.calls += 1
        if self.bad & {int(row) for task in tasks for row in task.rows}:
            raise ValueError("no")
        return [task.remove(task.rows % 7 == 3, stage=self.name, reason="three") for task in tasks]

    def process(self, task):
        return self.process_batch([task])


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_exactly_the_records_that_a_stage_cannot_take_leave_and_the_rest_is_as_without_them(data):
    sizes = data.draw(st.lists(st.integers(0, 60), min_size=1, max_size=4))
    starts = np.cumsum([0, *sizes])
    num_documents = int(starts[-1])
    bad = data.draw(
        st.sets(st.integers(0, max(num_documents - 1, 0)), max_size=min(MAX_STAGE_ERRORS, num_documents // 2))
    )
    stage = RaiseFor(bad, len(sizes))
    adapter = GuardedStageAdapter(stage)
    given_batches = [a_batch(int(first), size) for first, size in zip(starts, sizes, strict=False)]
    made = list(adapter.stream(given_batches))
    kept = [row for row in range(num_documents) if row not in bad and row % 7 != 3]
    assert np.concatenate([batch.rows for batch in made]).tolist() == kept
    assert [text for batch in made for text in batch.columns["text"].to_pylist()] == [str(row) for row in kept]
    assert sorted(entry.row for batch in made for entry in batch.quarantined) == sorted(bad)
    removed = [int(row) for batch in made for entry in batch.removed for row in entry.rows]
    assert sorted(removed) == [row for row in range(num_documents) if row not in bad and row % 7 == 3]
    assert [batch.num_read for batch in made] == sizes
    assert stage.calls <= 3 + 2 * len(bad) * (int(np.ceil(np.log2(max(num_documents, 2)))) + 1)
    assert all(batch.quarantined == batch.removed == [] for batch in given_batches)
