"""The search for records that end their worker, with a simulated worker: who is blamed, who never is, at what cost."""

import math
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator import ExactDeduplication, Read, Write
from curator.errors import ExecutorError, StageError
from curator.executors.isolation import (
    MAX_EXCLUDED,
    Breadcrumb,
    BreadcrumbWriter,
    ProbeOutcome,
    ProbeStatus,
    can_isolate,
    isolate,
    last_breadcrumb,
)
from curator.pipeline import build_steps
from curator.tasks import EmptyTask, Exclusion, InputFile, PartitionTask, ResultTask, Split, SplitTask

SEGMENT, BARRIER, _ = build_steps([Read("a"), ExactDeduplication(), Write("b")])
SPLIT = Split(3, InputFile("in/a.jsonl", 900, "0", "jsonl"), 0, 900, 900)


class Worker:
    """Dies of some rows always, of some only a few times, and keeps a log of what it was given."""

    def __init__(self, num_rows, killers=(), *, flaky=None, status=ProbeStatus.DIED):
        self.num_rows = num_rows
        self.killers = set(killers)
        self.flaky = dict(flaky or {})
        self.status = status
        self.log = []
        self.limits = []

    def __call__(self, tasks, limit_s):
        (task,) = tasks
        begin, end = task.probe
        self.log.append((begin, end))
        self.limits.append(limit_s)
        rows = set(range(begin, min(end, self.num_rows))) - {one.row for one in task.excluded}
        angry = [row for row in rows if self.flaky.get(row, 0) > 0]
        for row in angry:
            self.flaky[row] -= 1
        if angry or rows & self.killers:
            return ProbeOutcome(self.status, "SIGKILL")
        result = ResultTask(unit=0, directory="", counts={"row_end": self.num_rows}, seconds={"read": 15.0, "x": 5.0})
        return ProbeOutcome.passed([result])


def search(worker, task=None, **options):
    task = task or SplitTask(task_id="3", split=SPLIT)
    (found,) = isolate(SEGMENT, [task], "the worker died", worker, unit=3, **options)
    assert (found.task_id, found.split, found.probe) == (task.task_id, task.split, None)
    return found


def blamed(task):
    return [one.row for one in task.excluded]


def bound(num_rows, num_killers):
    return num_killers * (math.ceil(math.log2(max(num_rows, 2))) + 4) + 3


@st.composite
def splits_with_killers(draw):
    num_rows = draw(st.integers(1, 5_000))
    rows = st.integers(0, num_rows - 1)
    return num_rows, draw(st.sets(rows, max_size=MAX_EXCLUDED))


@given(splits_with_killers())
@settings(max_examples=300, deadline=None)
def test_exactly_the_killers_are_found_with_few_probes(case):
    num_rows, killers = case
    worker = Worker(num_rows, killers)
    assert blamed(search(worker)) == sorted(killers)
    assert len(worker.log) <= bound(num_rows, len(killers))


@given(splits_with_killers(), st.data())
@settings(max_examples=300, deadline=None)
def test_whoever_passes_the_second_time_is_never_blamed(case, data):
    num_rows, killers = case
    flaky = data.draw(st.sets(st.integers(0, num_rows - 1), max_size=5)) - killers
    worker = Worker(num_rows, killers, flaky=dict.fromkeys(flaky, 1))
    assert blamed(search(worker)) == sorted(killers)
    assert len(worker.log) <= bound(num_rows, len(killers) + len(flaky))


@given(splits_with_killers())
@settings(max_examples=100, deadline=None)
def test_a_record_is_blamed_only_after_it_died_alone_twice(case):
    num_rows, killers = case
    worker = Worker(num_rows, killers)
    search(worker)
    for row in killers:
        assert worker.log.count((row, row + 1)) == 2


@given(splits_with_killers(), st.data())
@settings(max_examples=200, deadline=None)
def test_a_breadcrumb_shortens_the_search_and_a_wrong_one_does_no_harm(tmp_path_factory, case, data):
    num_rows, killers = case
    begin = data.draw(st.integers(0, num_rows))
    crumb = (begin, data.draw(st.integers(begin, num_rows + 10)))
    if killers and data.draw(st.booleans()):
        crumb = (max(min(killers) - 3, 0), min(killers) + 2)
    elif set(range(*crumb)) & killers:
        crumb = (0, crumb[1])  # a worker that got so far passed everything before
    attempts = tmp_path_factory.mktemp("attempts")
    leave(attempts, *crumb)
    worker = Worker(num_rows, killers)
    assert blamed(search(worker, attempts=attempts)) == sorted(killers)
    assert len(worker.log) <= bound(num_rows, len(killers)) + 2 + math.ceil(math.log2(max(num_rows, 2)))


def leave(attempts, begin, end, stage="exact", name="0-00000003-aa"):
    (attempts / name).mkdir()
    writer = BreadcrumbWriter(attempts / name)
    writer.drop(stage, begin, end)
    writer.close()


def test_a_breadcrumb_is_where_the_search_begins(tmp_path):
    leave(tmp_path, 640, 704)
    worker = Worker(100_000, {650})
    found = search(worker, attempts=tmp_path)
    assert worker.log[:2] == [(0, 0), (640, 704)]
    assert len(worker.log) <= 2 + 6 + 2 + 2
    assert found.excluded == (Exclusion(650, "killed_worker", "exact: SIGKILL", "exact"),)


def test_the_youngest_breadcrumb_of_the_unit_counts(tmp_path):
    assert last_breadcrumb(tmp_path, 0, 3) is None
    assert last_breadcrumb(None, 0, 3) is None
    for number, (begin, name) in enumerate([(5, "0-00000003-bb"), (9, "0-00000003-aa"), (1, "0-00000004-cc")]):
        leave(
            tmp_path,
            begin,
            begin + 1,
            name=name,
            stage="a stage with a name of more than sixty-four bytes: " + "ä" * 40,
        )
        os.utime(tmp_path / name / "breadcrumb", ns=(number, number))
    (tmp_path / "0-00000003-dd").mkdir()
    (tmp_path / "0-00000003-dd" / "breadcrumb").write_bytes(b"")
    found = last_breadcrumb(tmp_path, 0, 3)
    assert (found.begin, found.end) == (9, 10)
    assert found.stage.startswith("a stage with a name")


def test_a_stage_with_a_long_name_is_blamed_by_its_whole_name(tmp_path):
    name = "ä" * 40
    leave(tmp_path, 0, 9, stage=name)
    stages = [Read("a"), ExactDeduplication().with_(name=name), Write("b")]
    task = SplitTask(task_id="3", split=SPLIT)
    (found,) = isolate(build_steps(stages)[0], [task], "", Worker(9, {5}), unit=3, attempts=tmp_path)
    assert found.excluded == (Exclusion(5, "killed_worker", f"{name}: SIGKILL", name),)


def test_a_breadcrumb_is_a_file_of_one_line_however_often_it_moves(tmp_path):
    writer = BreadcrumbWriter(tmp_path)
    for row in (10_000_000_000, 5):
        writer.drop("stage", row, row + 1)
    writer.close()
    assert (tmp_path / "breadcrumb").read_bytes() == b"5 6 stage".ljust(63) + b"\n"
    assert Breadcrumb("stage", 5, 6) == Breadcrumb(stage="stage", begin=5, end=6)


def test_tasks_that_pass_now_come_back_unchanged():
    task = SplitTask(task_id="3", split=SPLIT, excluded=(Exclusion(4, "timeout", "x: not back"),))
    worker = Worker(9, {4})
    assert search(worker, task) == task
    assert worker.log == [(0, 0), (0, 9)]


def test_rows_that_die_only_together_are_not_blamed():
    class Together(Worker):
        def __call__(self, tasks, limit_s):
            self.killers = {3} if tasks[0].probe[0] <= 3 and tasks[0].probe[1] > 6 else set()
            return super().__call__(tasks, limit_s)

    assert blamed(search(Together(10))) == []


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (ProbeStatus.DIED, "killed_worker"),
        (ProbeStatus.OUT_OF_MEMORY, "out_of_memory"),
        (ProbeStatus.TIMED_OUT, "timeout"),
    ],
)
def test_the_reason_is_what_became_of_the_worker_that_held_the_record_alone(status, reason):
    (exclusion,) = search(Worker(50, {17}, status=status)).excluded
    assert (exclusion.row, exclusion.reason, exclusion.detail, exclusion.stage) == (17, reason, "SIGKILL", "exact")


def test_too_many_killers_end_the_run_and_are_named():
    with pytest.raises(ExecutorError, match=r"part-00003 of 'in/a.jsonl' has more than 2 records .*rows 1, 3, 5"):
        search(Worker(100, {1, 3, 5, 7}), max_excluded=2)


def test_records_that_were_excluded_before_count_too():
    task = SplitTask(task_id="3", split=SPLIT, excluded=(Exclusion(9, "timeout", "x"),))
    assert blamed(search(Worker(100, {9, 2}), task, max_excluded=2)) == [2, 9]
    with pytest.raises(ExecutorError, match="more than 1 records"):
        search(Worker(100, {9, 2}), task, max_excluded=1)


def test_a_file_that_ends_its_worker_as_it_is_read_is_named():
    with pytest.raises(ExecutorError, match=r"'in/a.jsonl' ends every worker as it is read \(SIGSEGV\)"):
        search(lambda tasks, limit_s: ProbeOutcome(ProbeStatus.DIED, "SIGSEGV"))


def test_a_probe_that_fails_ends_the_search_with_its_own_error():
    failure = StageError("a mistake", stage="exact")

    def probe(tasks, limit_s):
        return ProbeOutcome(ProbeStatus.FAILED, error=failure)

    with pytest.raises(StageError, match="a mistake"):
        search(probe)


def test_a_partition_is_named_and_not_searched():
    task = PartitionTask(task_id="5", partition=5, num_partitions=16, index_path="keys.json")
    assert not can_isolate([task])
    with pytest.raises(ExecutorError, match=r"exact \(shuffle\): partition 5 of 16 was lost .*SIGKILL"):
        isolate(BARRIER, [task], "SIGKILL", Worker(1), unit=5)


def test_tasks_without_records_are_refused():
    assert not can_isolate([EmptyTask(), EmptyTask()])
    with pytest.raises(ExecutorError, match="tasks '7' were lost"):
        isolate(SEGMENT, [EmptyTask(task_id="7")], "SIGKILL", Worker(1), unit=0)


def test_an_empty_split_has_nobody_to_blame():
    assert blamed(search(Worker(0))) == []


def test_a_probe_gets_its_share_of_the_time_twice_the_time_to_read_and_a_few_seconds():
    worker = Worker(1_000, {999})
    search(worker, limit_s=1_000.0)
    limits = {end - begin: limit for (begin, end), limit in zip(worker.log, worker.limits, strict=True)}
    assert (limits[0], limits[1_000], limits[500], limits[1]) == (1_010.0, 1_050.0, 550.0, 51.0)
    assert [one.detail for one in search(Worker(9, {3}, status=ProbeStatus.TIMED_OUT), limit_s=2.5).excluded] == [
        "not back within 2.5 s"
    ]
    worker = Worker(10)
    search(worker, limit_s=None)
    assert worker.limits == [None, None]


def test_the_search_is_the_same_every_time():
    first, second = Worker(1_000, {5, 500, 999}), Worker(1_000, {5, 500, 999})
    assert search(first) == search(second)
    assert first.log == second.log
