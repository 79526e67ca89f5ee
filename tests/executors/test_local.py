import subprocess
import sys

import pytest

from curator import LocalExecutor
from tests.executors.suite import ExecutorSuite


class TestLocal(ExecutorSuite):
    @pytest.fixture
    def executor(self):
        return LocalExecutor()

    # What follows is decided in no executor, so that the others need not repeat it.

    def test_splits_of_many_records_have_the_bytes_that_they_have_elsewhere(self, executor, tmp_path):
        self.test_output_and_ledger_have_the_bytes_of_a_local_run(executor, tmp_path, split_bytes=9_000)

    def test_rounds_whose_keys_come_in_a_table_for_each_band_decide_alike(self, executor, tmp_path):
        self.test_three_rounds_and_two_turns_behind_a_barrier(executor, tmp_path, band_column=False)

    def test_one_file_without_records_is_read_and_written(self, executor, tmp_path):
        self.test_files_without_records_are_read_and_written(executor, tmp_path, [""])

    def test_a_stage_that_gives_a_task_of_another_kind_ends_the_run_by_name(self, executor, tmp_path):
        self.test_a_stage_that_breaks_its_contract_ends_the_run_by_name(executor, tmp_path, how="number")


def test_the_local_executor_never_imports_ray(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    program = (
        "import sys; from curator import *; "
        f"Pipeline([Read({str(tmp_path / 'a.jsonl')!r}), ExactDeduplication(), Write({str(tmp_path / 'out')!r})])"
        ".run(LocalExecutor()); assert 'ray' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
