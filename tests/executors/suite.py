"""The conformance suite: what every executor does, whatever its backend. A backend's tests inherit it."""

import hashlib
import json

import pytest

from curator import ConfigError, ExactDeduplication, LocalExecutor, Pipeline, Read, StageError, Write, verify_output
from tests.executors.stages_for_tests import (
    AddOne,
    DropOdd,
    FailOn,
    FailSetup,
    GiveUp,
    RecordCalls,
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


class ExecutorSuite:
    @pytest.fixture
    def executor(self):
        raise NotImplementedError

    def test_results_come_in_input_order_with_derived_ids(self, executor):
        tasks = executor.execute([AddOne(), AddOne().with_(name="again")], numbers(5, 3, 9))
        assert [(task.task_id, task.value) for task in tasks] == [("0_0_0", 7), ("1_0_0", 5), ("2_0_0", 11)]

    def test_one_task_that_becomes_many_numbers_its_children(self, executor):
        tasks = executor.execute([Repeat(), AddOne()], numbers(2, 0, 3))
        assert [task.task_id for task in tasks] == ["0_0_0", "0_1_0", "2_0_0", "2_1_0", "2_2_0"]
        assert [task.value for task in tasks] == [1, 2, 1, 2, 3]

    def test_a_batch_that_changes_its_number_of_tasks_still_derives_ids(self, executor):
        tasks = executor.execute([SumBatch()], numbers(1, 2, 3, 4))
        assert [(task.task_id, task.value) for task in tasks] == [("0~2_0", 6), ("3_0", 4)]

    def test_ids_are_the_same_in_every_run(self, executor):
        stages = [Repeat(), SumBatch(), AddOne()]
        first = [task.task_id for task in executor.execute(stages, numbers(7, 2, 5))]
        assert first == [task.task_id for task in executor.execute(stages, numbers(7, 2, 5))]

    def test_none_and_failed_tasks_never_reach_the_next_stage(self, executor):
        tasks = executor.execute([DropOdd(), AddOne()], numbers(1, 2, 3, 4))
        assert [(task.task_id, task.value) for task in tasks] == [("1_0_0", 3), ("3_0_0", 5)]
        kept = executor.execute([GiveUp(), AddOne()], numbers(0, 1, 2))
        assert [getattr(task, "value", task) for task in kept if hasattr(task, "value")] == [1, 3]

    def test_no_result_is_a_result(self, executor):
        assert executor.execute([DropOdd(), AddOne()], numbers(1, 3)) == []
        assert executor.execute([AddOne()], []) == []

    def test_no_stages_give_the_tasks_back(self, executor):
        assert [task.value for task in executor.execute([], numbers(1, 2))] == [1, 2]

    def test_a_failing_stage_is_named_with_its_task_and_reason(self, executor):
        with pytest.raises(
            StageError, match=r"stage 'fail_on' failed on task '1': ValueError: cannot take 2"
        ) as raised:
            executor.execute([FailOn(2)], numbers(1, 2, 3))
        assert (raised.value.stage, raised.value.task_id) == ("fail_on", "1")

    def test_a_stage_that_returns_no_task_is_named(self, executor):
        with pytest.raises(StageError, match="'return_text' returned a str"):
            executor.execute([ReturnText()], numbers(1))

    def test_a_failing_setup_ends_the_run_with_its_reason(self, executor):
        with pytest.raises(Exception, match="no such model"):
            executor.execute([FailSetup()], numbers(1))

    def test_every_worker_is_set_up_and_torn_down(self, executor, tmp_path):
        executor.execute([RecordCalls(tmp_path)], numbers(1, 2, 3, 4))
        made = [path.name for path in tmp_path.iterdir()]
        setups = [name for name in made if name.startswith("setup-")]
        teardowns = [name for name in made if name.startswith("teardown-")]
        assert len(setups) == len(teardowns) >= 1
        assert any(name.startswith("setup_on_node-") for name in made)

    def test_a_barrier_without_a_writer_is_refused(self, executor):
        with pytest.raises(ConfigError, match="nothing is written behind it"):
            executor.execute([Read("nowhere"), ExactDeduplication()])

    @pytest.mark.parametrize("split_bytes", [700, 9_000])
    def test_output_and_ledger_have_the_bytes_of_a_local_run(self, executor, tmp_path, split_bytes):
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

    def test_execute_runs_a_whole_pipeline_and_names_its_files(self, executor, tmp_path):
        corpus = write_corpus(tmp_path / "in", num_files=2)
        parts = executor.execute([Read(str(corpus)), ExactDeduplication(), Write(tmp_path / "out")])
        assert [part.files["part"] for part in parts] == ["part-00000.jsonl", "part-00001.jsonl"]
        assert all((tmp_path / "out" / part.files["part"]).exists() for part in parts)

    def test_a_failing_run_publishes_nothing_and_leaves_nothing(self, executor, tmp_path):
        corpus = write_corpus(tmp_path / "in")
        stages = [Read(str(corpus)), FailOn(0).with_(name="boom"), ExactDeduplication(), Write(tmp_path / "out")]
        with pytest.raises(StageError, match="'boom' failed"):
            Pipeline(stages).run(executor)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
