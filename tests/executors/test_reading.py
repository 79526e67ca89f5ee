"""Exclusions, probes and breadcrumbs in whole runs; workers die here by an exception that nothing may catch."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator import ExactDeduplication, LocalExecutor, Pipeline, Read, Write, verify_output
from curator.executors.isolation import ProbeOutcome, ProbeStatus, can_isolate, isolate, last_breadcrumb
from curator.executors.worker import StepWorker
from curator.pipeline import Segment
from curator.tasks import Exclusion, SplitTask
from tests.executors.stages_for_tests import OnMarked
from tests.executors.suite import content_of


class DiedError(BaseException):
    """What no handler for exceptions sees, as a death is seen by nobody in the process."""


class Deadly(OnMarked):
    def _raise(self):
        raise DiedError


class FragileExecutor(LocalExecutor):
    """Does with a dead worker what the Ray pool does, in this process."""

    def __init__(self):
        super().__init__({"one_pass_bytes": 0})
        self.isolated = []
        self.probes = 0

    def run_step(self, step, units, attempts, on_bytes):
        for number, unit in enumerate(units):
            tasks = list(unit)
            while True:
                try:
                    yield number, StepWorker(step, str(attempts)).run(number, tasks, on_bytes)
                    break
                except DiedError:
                    self.isolated.append(number)
                    assert can_isolate(tasks)
                    assert len(self.isolated) < 9
                    tasks = isolate(step, tasks, "died", self._probe(step, number, attempts), unit=number)

    def _probe(self, step, number, attempts):
        def probe(tasks, limit_s):
            self.probes += 1
            before = sorted(attempts.iterdir())
            try:
                return ProbeOutcome.passed(StepWorker(step, str(attempts)).run(number, tasks))
            except DiedError:
                return ProbeOutcome(ProbeStatus.DIED, "SIGKILL")
            finally:
                assert sorted(attempts.iterdir()) == before

        return probe


MARKED = {5, 6, 190}


def write_input(folder, form):
    folder.mkdir()
    texts = [f"{'MARKED ' * (row in MARKED)}text {row % 150} of many" for row in range(300)]
    if form == "parquet":
        table = pa.table({"id": [f"d{row}" for row in range(300)], "text": texts})
        pq.write_table(table, folder / "a.parquet", row_group_size=40)
        return folder
    lines = [json.dumps({"id": f"d{row}", "text": text}) for row, text in enumerate(texts)]
    lines.insert(100, "not JSON")
    (folder / "a.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("position", [1, 2], ids=["before the barrier", "behind the barrier"])
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_records_that_end_their_worker_are_found_and_quarantined(tmp_path, form, position):
    folder = write_input(tmp_path / "in", form)

    def run(executor, name, stage):
        stages = [Read(str(folder), split_bytes=4_000), ExactDeduplication(), Write(tmp_path / name)]
        stages.insert(position, stage)
        return Pipeline(stages).run(executor, show_progress=False)

    fragile = FragileExecutor()
    result, reference = run(fragile, "out", Deadly()), run(LocalExecutor(), "reference", OnMarked())
    assert fragile.isolated
    assert result.counts == reference.counts
    ours, theirs = content_of(tmp_path / "out"), content_of(tmp_path / "reference")
    for name in ours:
        if "quarantine" not in name and "manifest" not in name:
            assert ours[name] == theirs[name], name
    same = ["split", "row", "file", "offset", "stage", "records", "size_bytes", "bytes"]
    assert result.quarantine().select(same) == reference.quarantine().select(same)
    bad = [row for row in result.quarantine().to_pylist() if row["reason"] != "json_parse"]
    assert {(row["reason"], row["detail"], row["stage"]) for row in bad} == {("killed_worker", "SIGKILL", "on_marked")}
    assert verify_output(tmp_path / "out").problems == []


@pytest.fixture
def first_step(tmp_path):
    folder = write_input(tmp_path / "in", "jsonl")
    plan = Pipeline([Read(str(folder)), OnMarked("memory"), ExactDeduplication(), Write(tmp_path / "out")]).plan()
    (tmp_path / "attempts").mkdir()
    (split,) = plan.splits
    assert isinstance(plan.steps[0], Segment)
    return plan.steps[0], SplitTask(task_id="0", split=split), tmp_path / "attempts"


def test_a_probe_of_no_rows_counts_them_and_gives_none_to_any_stage(first_step):
    step, task, attempts = first_step
    task.probe = (0, 0)
    (result,) = StepWorker(step, str(attempts)).run(0, [task])
    assert (result.counts, result.files, result.directory) == ({"row_end": 301}, {}, "")
    assert list(attempts.iterdir()) == []


def test_a_probe_gives_the_stages_its_rows_only_and_leaves_nothing(first_step):
    step, task, attempts = first_step
    worker = StepWorker(step, str(attempts))
    for begin, end in ((7, 100), (0, 5)):
        task.probe = (begin, end)
        assert ProbeOutcome.passed(worker.run(0, [task])).status is ProbeStatus.PASSED
        assert list(attempts.iterdir()) == []
    for unit, (begin, end) in enumerate([(0, 6), (6, 7), (191, 192)]):
        task.probe = (begin, end)
        with pytest.raises(MemoryError):
            worker.run(unit, [task])
        crumb = last_breadcrumb(attempts, 0, unit)
        assert (crumb.stage, crumb.begin, crumb.end) == ("on_marked", begin, end)
    assert {path.name for path in attempts.glob("*/*")} == {"breadcrumb"}


def test_excluded_rows_are_quarantined_with_their_place_and_reach_no_stage(first_step):
    step, task, attempts = first_step
    task.excluded = (
        Exclusion(5, "timeout", "slow", "exact"),
        Exclusion(6, "out_of_memory", "much", "on_marked"),
        Exclusion(191, "killed_worker", "SIGKILL", "on_marked"),
    )
    (result,) = StepWorker(step, str(attempts)).run(0, [task])
    assert result.counts["quarantined"] == {
        "exact": {"timeout": 1},
        "on_marked": {"killed_worker": 1, "out_of_memory": 1},
        "read": {"json_parse": 1},
    }
    assert (result.counts["read"], result.counts["alive"]) == (301, 297)
    rows = pq.read_table(f"{result.directory}/{result.files['quarantine']}").to_pylist()
    assert [(row["row"], row["reason"], row["detail"]) for row in rows if row["stage"] != "read"] == [
        (5, "timeout", "slow"),
        (6, "out_of_memory", "much"),
        (191, "killed_worker", "SIGKILL"),
    ]
    assert [row["row"] for row in rows] == [5, 6, 100, 191]
    assert json.loads(rows[-1]["bytes"])["id"] == "d190"


def test_a_breadcrumb_says_which_stage_had_which_rows(first_step, monkeypatch):
    step, task, attempts = first_step
    crumbs = []

    def look(self):
        crumbs.append(last_breadcrumb(attempts, 0, 4))
        raise MemoryError

    monkeypatch.setattr(OnMarked, "_memory", look)
    with pytest.raises(MemoryError):
        StepWorker(step, str(attempts)).run(4, [task])
    (crumb,) = crumbs
    assert (crumb.stage, crumb.begin, crumb.end) == ("on_marked", 0, 301)
