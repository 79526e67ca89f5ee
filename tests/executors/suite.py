"""The conformance suites: what every backend must do itself, and all that every executor does. Tests inherit them."""

import hashlib
import json

import pytest

from curator import ConfigError, ExactDeduplication, LocalExecutor, Pipeline, Read, StageError, Write, verify_output
from curator.stages.shuffle import TableShuffle
from tests.executors.shuffle_stages import CountKeys, MakeTables, SharedWords, cover
from tests.executors.stages_collective import AddTotal
from tests.executors.stages_for_tests import (
    AddOne,
    DropOdd,
    FailOn,
    FailSetup,
    GiveUp,
    Misbehave,
    OnMarked,
    RecordCalls,
    RemoveAll,
    Rename,
    Repeat,
    ReturnText,
    SumBatch,
    numbers,
)


def content_of(output):
    """Digest of every file that must not depend on who ran it."""
    timed = {"run.json", "report.txt", "SUCCESS.json"}
    files = sorted(path for path in output.rglob("*") if path.is_file() and path.name not in timed)
    return {str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def write_corpus(folder, num_files=4, num_documents=300):
    folder.mkdir()
    for number in range(num_files):
        with open(folder / f"part-{number}.jsonl", "w", encoding="utf-8") as handle:
            for row in range(num_documents):
                text = f"document {row * (number + 1) % 97} of many\nwith a second line and an ä"
                handle.write(json.dumps({"id": f"{number}-{row}", "text": text, "n": row}, ensure_ascii=False) + "\n")
            handle.write('{"id": "broken", "text": \n')
    return folder


def mark(path, *rows, word="MARKED"):
    """Mark some records of a JSON lines file for the stage ``OnMarked``."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    for row in rows:
        lines[row] = lines[row].replace("document", f"{word} document", 1)
    path.write_text("".join(lines), encoding="utf-8")


def write_words(folder, num_files=2, num_documents=200):
    """Documents of a few words each; gives their texts back, by id, in the order of the input."""
    folder.mkdir()
    texts = {}
    for number in range(num_files):
        with open(folder / f"part-{number}.jsonl", "w", encoding="utf-8") as handle:
            for row in range(num_documents):
                seed = number * num_documents + row
                words = [f"{'abcd'[band]}{seed * seed * (band + 3) // 7 % 23}" for band in range(seed % 5)]
                texts[f"{number}-{row}"] = " ".join(words)
                handle.write(json.dumps({"id": f"{number}-{row}", "text": " ".join(words)}) + "\n")
    return texts


class BackendSuite:
    """What a backend has a hand in: it hands tasks out, takes results and errors back, and runs barriers and ranks."""

    @pytest.fixture
    def executor(self):
        raise NotImplementedError

    @pytest.fixture
    def one_worker(self, executor):
        """For what any number of workers does alike; each takes a second or two to start on most backends."""
        return executor

    def test_results_come_in_input_order_with_derived_ids_whatever_a_stage_calls_them(self, executor):
        tasks = executor.execute([AddOne(), Rename(), AddOne().with_(name="again")], numbers(5, 3, 9))
        assert [(task.task_id, task.value) for task in tasks] == [("0_0_0_0", 7), ("1_0_0_0", 5), ("2_0_0_0", 11)]

    def test_none_and_failed_tasks_never_reach_the_next_stage(self, one_worker):
        tasks = one_worker.execute([DropOdd(), AddOne()], numbers(1, 2, 3, 4))
        assert [(task.task_id, task.value) for task in tasks] == [("1_0_0", 3), ("3_0_0", 5)]
        kept = one_worker.execute([GiveUp(), AddOne()], numbers(0, 1, 2))
        assert [getattr(task, "value", task) for task in kept if hasattr(task, "value")] == [1, 3]

    def test_no_result_is_a_result(self, one_worker):
        assert one_worker.execute([DropOdd(), AddOne()], numbers(1, 3)) == []
        assert one_worker.execute([AddOne()], []) == []

    def test_no_stages_give_the_tasks_back(self, one_worker):
        assert [task.value for task in one_worker.execute([], numbers(1, 2))] == [1, 2]

    def test_a_failing_stage_is_named_with_its_task_and_reason(self, one_worker):
        with pytest.raises(
            StageError, match=r"stage 'fail_on' failed on task '1': ValueError: cannot take 2"
        ) as raised:
            one_worker.execute([FailOn(2)], numbers(1, 2, 3))
        assert (raised.value.stage, raised.value.task_id) == ("fail_on", "1")

    def test_a_failing_setup_ends_the_run_with_its_reason(self, one_worker):
        with pytest.raises(Exception, match="no such model"):
            one_worker.execute([FailSetup()], numbers(1))

    def test_every_worker_is_set_up_and_torn_down(self, executor, tmp_path):
        executor.execute([RecordCalls(tmp_path)], numbers(1, 2, 3, 4))
        made = [path.name for path in tmp_path.iterdir()]
        setups = [name for name in made if name.startswith("setup-")]
        teardowns = [name for name in made if name.startswith("teardown-")]
        assert len(setups) == len(teardowns) >= 1
        assert any(name.startswith("setup_on_node-") for name in made)

    def test_output_and_ledger_have_the_bytes_of_a_local_run(self, executor, tmp_path, split_bytes=2_000):
        corpus = write_corpus(tmp_path / "in")

        def run(who, name):
            stages = [
                Read(str(corpus), split_bytes=split_bytes),
                ExactDeduplication(),
                Write(tmp_path / name, durability="fast"),
            ]
            return Pipeline(stages).run(who)

        ours, reference = run(executor, "ours"), run(LocalExecutor(), "reference")
        assert content_of(tmp_path / "ours") == content_of(tmp_path / "reference")
        assert ours.counts == reference.counts == {"read": 1204, "kept": 97, "removed": 1103, "quarantined": 4}
        assert verify_output(tmp_path / "ours").problems == []
        assert not list(tmp_path.glob("*._curator"))

    def test_a_failing_run_publishes_nothing_and_leaves_nothing(self, one_worker, tmp_path):
        corpus = write_corpus(tmp_path / "in")
        stages = [Read(str(corpus)), FailOn(0).with_(name="boom"), ExactDeduplication(), Write(tmp_path / "out")]
        with pytest.raises(StageError, match="'boom' failed"):
            Pipeline(stages).run(one_worker)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]

    def test_a_setting_that_is_not_known_is_refused(self, executor):
        with pytest.raises(ConfigError, match=r"executor.runtime_environment: is not known"):
            type(executor)({"runtime_environment": None})

    def test_two_table_shuffles_in_a_pipeline_stream_on(self, executor):
        stages = [
            MakeTables(),
            TableShuffle("key", memory_budget_bytes=20_000, partition_bytes=4_000),
            CountKeys(),
            TableShuffle("id_count", num_partitions=3, sort_by_key=True).with_(name="by_count"),
        ]
        parts = executor.execute(stages, numbers(*range(4)))
        reference = LocalExecutor().execute(stages, numbers(*range(4)))
        assert [part.task_id for part in parts] == [part.task_id for part in reference]
        assert [part.table.to_pydict() for part in parts] == [part.table.to_pydict() for part in reference]
        assert sum(sum(part.table["id_count"].to_pylist()) for part in parts) == 2000

    def test_three_rounds_and_two_turns_behind_a_barrier(self, executor, tmp_path, band_column=True):
        texts = write_words(tmp_path / "in")

        def run(who, name, stage):
            stages = [Read(str(tmp_path / "in"), split_bytes=2_000), stage, Write(tmp_path / name, durability="fast")]
            return Pipeline(stages).run(who)

        ours = run(executor, "ours", SharedWords(band_column=band_column))
        run(LocalExecutor(), "reference", SharedWords(bands_per_iteration=None, partition_bytes=1 << 20))
        assert content_of(tmp_path / "ours") == content_of(tmp_path / "reference")
        gone = {document: (kept, float(shared)) for document, kept, shared in cover(texts)}
        ledger = ours.ledger().to_pylist()
        assert {row["id"]: (row["kept_id"], row["score"]) for row in ledger} == gone
        assert ours.counts == {"read": 400, "kept": 400 - len(gone), "removed": len(gone), "quarantined": 0}
        assert 100 < len(gone) < 300
        assert verify_output(tmp_path / "ours").problems == []
        assert not list(tmp_path.glob("*._curator"))

    def test_a_collective_stage_sees_all_tasks_between_stages_that_stream(self, executor):
        if not isinstance(executor, LocalExecutor):
            pytest.importorskip("torch", reason="ranks on Ray need 'pip install curator[collective]'")
        stages = [AddOne(), AddTotal().with_(num_ranks=1), AddOne().with_(name="again")]
        tasks = executor.execute(stages, numbers(1, 2, 3))
        assert [(task.task_id, task.value) for task in tasks] == [("0_0_0_0", 903), ("1_0_0_0", 904), ("2_0_0_0", 905)]


class ExecutorSuite(BackendSuite):
    """With what follows from it, since the same code reads, writes, decides and numbers in the workers of them all.

    For the engine of its own and the reference; another backend that passes what is above need not repeat it.
    """

    def test_one_task_that_becomes_many_numbers_its_children(self, one_worker):
        tasks = one_worker.execute([Repeat(), AddOne()], numbers(2, 0, 3))
        assert [task.task_id for task in tasks] == ["0_0_0", "0_1_0", "2_0_0", "2_1_0", "2_2_0"]
        assert [task.value for task in tasks] == [1, 2, 1, 2, 3]

    def test_a_batch_that_changes_its_number_of_tasks_still_derives_ids(self, executor):
        tasks = executor.execute([SumBatch()], numbers(1, 2, 3, 4))
        assert [(task.task_id, task.value) for task in tasks] == [("0~2_0", 6), ("3_0", 4)]

    def test_ids_are_the_same_in_every_run(self, executor):
        stages = [Repeat(), SumBatch(), AddOne()]
        first = [task.task_id for task in executor.execute(stages, numbers(7, 2, 5))]
        assert first == [task.task_id for task in executor.execute(stages, numbers(7, 2, 5))]

    def test_a_stage_that_returns_no_task_is_named(self, one_worker):
        with pytest.raises(StageError, match="'return_text' returned a str"):
            one_worker.execute([ReturnText()], numbers(1))

    def test_a_barrier_without_a_writer_is_refused(self, one_worker):
        with pytest.raises(ConfigError, match="nothing is written behind it"):
            one_worker.execute([Read("nowhere"), ExactDeduplication()])

    def test_execute_runs_a_whole_pipeline_and_names_its_files(self, one_worker, tmp_path):
        corpus = write_corpus(tmp_path / "in", num_files=2)
        parts = one_worker.execute([Read(str(corpus)), ExactDeduplication(), Write(tmp_path / "out")])
        assert [part.files["part"] for part in parts] == ["part-00000.jsonl", "part-00001.jsonl"]
        assert all((tmp_path / "out" / part.files["part"]).exists() for part in parts)

    def test_records_that_stages_around_a_barrier_cannot_take_are_quarantined_as_locally(self, executor, tmp_path):
        corpus = write_corpus(tmp_path / "in")
        for number, rows in ((1, (5, 90)), (3, (0,))):
            mark(corpus / f"part-{number}.jsonl", *rows, word="EARLY")
        for number, rows in ((0, (7,)), (1, (6, 91)), (2, (1,))):
            mark(corpus / f"part-{number}.jsonl", *rows, word="LATE")
        marked = {"early": {"1-5", "1-90", "3-0"}, "late": {"0-7", "1-6", "1-91", "2-1"}}
        early, late = (OnMarked().with_(name=name, mark=name.upper()) for name in marked)

        def run(who, name):
            read, write = Read(str(corpus), split_bytes=9_000), Write(tmp_path / name)
            return Pipeline([read, early, ExactDeduplication(), late, write]).run(who)

        ours, reference = run(executor, "ours"), run(LocalExecutor(), "reference")
        assert content_of(tmp_path / "ours") == content_of(tmp_path / "reference")
        assert ours.counts == reference.counts
        bad = [row for row in ours.quarantine().to_pylist() if row["reason"] == "stage_error"]
        for stage, ids in marked.items():
            mine = [row for row in bad if row["stage"] == stage]
            assert {json.loads(row["bytes"])["id"] for row in mine} == ids
            assert {row["detail"].partition(" cannot")[0] for row in mine} == {f"{stage}: ValueError:"}
            (account,) = [one for one in ours.stages if one["name"] == stage]
            assert account["quarantined"] == {"stage_error": len(ids)}
        assert len(bad) == sum(map(len, marked.values()))
        assert verify_output(tmp_path / "ours").problems == []

    def test_a_stage_that_breaks_its_contract_ends_the_run_by_name(self, one_worker, tmp_path, how="strange_rows"):
        corpus = write_corpus(tmp_path / "in", num_files=1)
        stages = [Read(str(corpus)), Misbehave(how), ExactDeduplication(), Write(tmp_path / "out")]
        with pytest.raises(StageError, match="stage_contract: stage 'misbehave'") as raised:
            Pipeline(stages).run(one_worker)
        assert raised.value.stage == "misbehave"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]

    def test_a_stage_that_removes_everything_leaves_a_valid_output(self, one_worker, tmp_path):
        corpus = write_corpus(tmp_path / "in", num_files=2)
        stages = [Read(str(corpus)), RemoveAll(), ExactDeduplication(), Write(tmp_path / "out")]
        result = Pipeline(stages).run(one_worker)
        assert result.counts == {"read": 602, "kept": 0, "removed": 600, "quarantined": 2}
        assert sorted(path.read_bytes() for path in (tmp_path / "out").glob("part-*")) == [b"", b""]
        found = verify_output(tmp_path / "out")
        assert (found.problems, found.counts["kept"]) == ([], 0)

    @pytest.mark.parametrize("contents", [["", "\n \n", ""], ["", '{"text": "a"}\n']], ids=len)
    def test_files_without_records_are_read_and_written(self, one_worker, tmp_path, contents):
        (tmp_path / "in").mkdir()
        for number, content in enumerate(contents):
            (tmp_path / "in" / f"{number}.jsonl").write_text(content)
        stages = [Read(str(tmp_path / "in")), ExactDeduplication(), Write(tmp_path / "out")]
        result = Pipeline(stages).run(one_worker)
        assert result.counts["read"] == result.counts["kept"] == sum("text" in content for content in contents)
        assert verify_output(tmp_path / "out").problems == []

    def test_an_input_without_files_is_refused(self, executor, tmp_path):
        (tmp_path / "in").mkdir()
        with pytest.raises(ConfigError, match="input_path"):
            Pipeline([Read(str(tmp_path / "in")), ExactDeduplication(), Write(tmp_path / "out")]).run(executor)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]

    def test_two_stages_of_one_name_are_refused(self, executor):
        with pytest.raises(ConfigError, match="two stages are named 'add_one'"):
            executor.execute([AddOne(), AddOne()], numbers(1))

    def test_no_runtime_env_is_the_environment_that_there_is(self, executor):
        same = type(executor)({**executor.config, "runtime_env": None})
        stages = [AddOne().with_(runtime_env=None), AddOne().with_(name="again", runtime_env={})]
        assert [task.value for task in same.execute(stages, numbers(1, 2))] == [3, 4]

    def test_rows_of_equal_key_meet_behind_a_table_shuffle(self, executor):
        stages = [MakeTables(), TableShuffle("key", num_partitions=5)]
        parts = executor.execute(stages, numbers(*range(6)))
        assert [(part.task_id, part.partition) for part in parts] == [(f"0_0~5_0_{n}", n) for n in range(5)]
        reference = LocalExecutor().execute(stages, numbers(*range(6)))
        assert [part.table.to_pydict() for part in parts] == [part.table.to_pydict() for part in reference]
        assert sorted(row for part in parts for row in part.table["id"].to_pylist()) == list(range(3000))
        seen = [set(part.table["key"].to_pylist()) for part in parts]
        assert sum(map(len, seen)) == len(set().union(*seen)) == 70

    def test_a_table_shuffle_of_nothing_is_nothing_and_leaves_nothing(self, one_worker, tmp_path):
        shuffle = TableShuffle("key", scratch_path=str(tmp_path))
        assert one_worker.execute([MakeTables(), shuffle, CountKeys()], []) == []
        assert one_worker.execute([MakeTables(num_rows=0), shuffle, CountKeys()], numbers(1, 2)) == []
        with pytest.raises(StageError, match="no key column 'nokey'; the columns are: key, id, name"):
            one_worker.execute([MakeTables(), shuffle.with_(key_columns=["nokey"])], numbers(1, 2))
        assert list(tmp_path.iterdir()) == []

    def test_two_barriers_in_one_pass_have_the_bytes_of_a_local_run(self, executor, tmp_path):
        corpus = write_corpus(tmp_path / "in", num_files=2)
        (corpus / "part-2.jsonl").write_text((corpus / "part-0.jsonl").read_text().replace("document", "DOCUMENT"))

        def run(who, name):
            blind = ExactDeduplication(case="lower").with_(name="blind")
            stages = [Read(str(corpus)), ExactDeduplication(), blind, Write(tmp_path / name, durability="fast")]
            assert Pipeline(stages).steps()[0].name == "read · exact · blind"
            return Pipeline(stages).run(who)

        ours, reference = run(executor, "ours"), run(LocalExecutor(), "reference")
        assert content_of(tmp_path / "ours") == content_of(tmp_path / "reference")
        assert ours.counts == reference.counts
        removed = {stage["name"]: stage["removed"] for stage in ours.stages if stage["removed"]}
        assert removed == {"exact": {"exact_duplicate": 706}, "blind": {"exact_duplicate": 97}}
        assert verify_output(tmp_path / "ours").problems == []
