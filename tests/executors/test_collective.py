"""Collective stages: shares, a group of one, reductions, and groups on a real Ray cluster joined by gloo."""

import importlib.util
import json
import logging
import operator
import os
import signal
import subprocess
import sys
import threading
import time
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from curator import ConfigError, Resources, StageError
from curator.errors import ExecutorError
from curator.executors.collective import CollectiveAdapter, run_collective_locally, split_evenly
from curator.executors.collective.reductions import decode, encode
from curator.stages.collective import SingleRank
from tests.executors.stages_collective import GiveUpOdd, MakeOneEach, SumOrFall, Talk
from tests.executors.stages_for_tests import NumberTask


def numbered(*values):
    return [NumberTask(value=value, task_id=str(number)) for number, value in enumerate(values)]


@given(st.lists(st.integers()), st.integers(1, 20))
def test_shares_are_contiguous_and_even(items, num_ranks):
    shares = split_evenly(items, num_ranks)
    assert [item for share in shares for item in share] == items
    assert len(shares) == num_ranks
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_less_than_one_rank_is_refused():
    with pytest.raises(ValueError, match="num_ranks=0: must be at least 1"):
        split_evenly([1], 0)


DTYPES = st.sampled_from(["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"])


@st.composite
def arrays_of_ranks(draw):
    dtype = np.dtype(draw(DTYPES))
    return [draw(arrays.arrays(dtype, (3,))) for _ in range(draw(st.integers(1, 4)))]


def reduced_as_a_backend_would(ranks, op):
    elementwise = {"sum": operator.add, "min": np.minimum, "max": np.maximum}[op]
    encoded = [encode(array.copy(), op) for array in ranks]
    assert all(array.dtype.str in ("|i1", "<i4", "<i8", "<f2", "<f4", "<f8") for array in encoded)
    return decode(reduce(elementwise, encoded), ranks[0].dtype, op)


@given(arrays_of_ranks(), st.sampled_from(["min", "max"]))
def test_min_and_max_of_every_number_are_those_of_numpy(ranks, op):
    made = reduced_as_a_backend_would(ranks, op)
    assert made.dtype == ranks[0].dtype
    np.testing.assert_array_equal(made, reduce(np.minimum if op == "min" else np.maximum, ranks))


@given(arrays_of_ranks().filter(lambda ranks: ranks[0].dtype.kind in "iu"))
def test_sums_of_integers_wrap_as_those_of_numpy(ranks):
    made = reduced_as_a_backend_would(ranks, "sum")
    assert made.dtype == ranks[0].dtype
    np.testing.assert_array_equal(made, reduce(operator.add, ranks))


def test_one_process_is_a_group_of_one(tmp_path):
    stage = Talk(tmp_path)
    made = run_collective_locally(stage, numbered(5, 3, 2**64 - 4))
    assert [task.task_id for task in made] == ["0_0", "1_0", "2_0"]
    assert made[0].seen["sum"] == 4
    assert made[0].seen["values"] == [5, 3, 2**64 - 4]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["setup-0.json", "teardown-0.json"]
    with pytest.raises(StageError, match="has no communicator here"):
        _ = stage.group


def test_a_group_of_one_that_fails_is_torn_down_and_left(tmp_path):
    stage = Talk(tmp_path)
    with pytest.raises(StageError, match="stage 'talk' failed on task '0'"):
        run_collective_locally(stage, numbered(-1))
    assert (tmp_path / "teardown-0.json").exists()
    with pytest.raises(StageError, match="has no communicator here"):
        _ = stage.group


def test_no_tasks_start_nothing(tmp_path):
    assert run_collective_locally(Talk(tmp_path), []) == []
    assert list(tmp_path.iterdir()) == []


def test_tasks_that_are_given_up_come_behind_the_others():
    made = run_collective_locally(GiveUpOdd(), numbered(1, 2, 3, 4))
    assert [(type(task).__name__, task.task_id) for task in made] == [
        ("NumberTask", "1_0"),
        ("NumberTask", "3_0"),
        ("FailedTask", "0_0"),
        ("FailedTask", "2_0"),
    ]


def test_a_rank_without_tasks_makes_none():
    stage = MakeOneEach()
    stage.join(SingleRank())
    with pytest.raises(StageError, match="was given no tasks on this rank and returned 1"):
        CollectiveAdapter(stage).process_batch([])


def test_one_process_needs_neither_ray_nor_torch():
    program = (
        "import sys; from tests.executors.stages_collective import GiveUpOdd\n"
        "from tests.executors.stages_for_tests import NumberTask\n"
        "from curator.executors.collective import run_collective_locally\n"
        "assert len(run_collective_locally(GiveUpOdd(), [NumberTask(value=2, task_id='0')])) == 1\n"
        "assert not {'ray', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"communicator": "mpi"}, {}, r"stages.sum_or_fall.communicator='mpi': is not known; choose one of gloo, nccl"),
        ({"communicator": "nccl"}, {}, r"a rank has 0 of them.*stages.sum_or_fall.resources.gpus=1"),
        ({"communicator": "nccl", "resources": Resources(gpus=0.5)}, {}, "a rank has 0.5 of them"),
        ({"communicator": "nccl", "resources": Resources(gpus=1)}, {"num_gpus": 0}, "a rank has 0 of them"),
    ],
)
def test_a_communicator_that_cannot_be_is_refused_before_anything_starts(tmp_path, changes, options, message):
    from curator.executors.collective.group import CollectiveGroup

    with pytest.raises(ConfigError, match=message):
        CollectiveGroup(SumOrFall(tmp_path).with_(**changes), num_ranks=2, actor_options=options)


def test_missing_torch_is_said_before_anything_starts_with_a_mock_of_the_import_system(tmp_path, monkeypatch):
    from curator.executors.collective.group import CollectiveGroup

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ExecutorError, match=r"pip install 'curator\[collective\]'"):
        CollectiveGroup(SumOrFall(tmp_path), num_ranks=2).run(numbered(1))


@pytest.fixture(scope="module")
def joined(cluster):
    """The cluster of all executor tests, joined for the tests here."""
    pytest.importorskip("torch", reason="joining ranks needs torch: pip install 'curator[collective]'")
    import ray

    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    yield cluster
    ray.shutdown()


@pytest.fixture
def run(joined):
    def run(stage, *values, num_ranks=2, **options):
        from curator.executors.collective.group import CollectiveGroup

        return CollectiveGroup(stage, num_ranks=num_ranks, **options).run(numbered(*values))

    return run


def attempts(folder, rank=0):
    return len(list(folder.glob(f"{rank}-*")))


def assert_all_ended(pids):
    """The processes are gone, and with them every port that they listened on."""
    deadline = time.monotonic() + 30
    while left := [pid for pid in pids if os.path.exists(f"/proc/{pid}")]:
        assert time.monotonic() < deadline, f"still there: {left}"
        time.sleep(0.1)


def pids_of(folder):
    return [int(path.name.split("-")[1]) for path in folder.iterdir()]


@pytest.mark.ray
def test_three_ranks_see_what_one_sees_and_what_the_others_have(run, tmp_path):
    values = (5, 7, 2**64 - 4, 9, 1)
    made = run(Talk(tmp_path), *values, num_ranks=3)
    (alone := tmp_path / "alone").mkdir()
    expected = run_collective_locally(Talk(alone), numbered(*values))
    assert [(type(task), task.task_id) for task in made] == [(type(task), task.task_id) for task in expected]
    assert [task.task_id for task in made] == ["0_0", "2_0", "3_0", "4_0", "1_0"]
    assert [(task.rank, task.value) for task in made[:-1]] == [(0, 5), (1, 2**64 - 4), (1, 9), (2, 1)]
    apart = made[0].seen.pop("apart")
    expected[0].seen.pop("apart")
    assert made[0].seen == {**expected[0].seen, "int16": [5, -5]}
    assert made[0].seen["sum"] == sum(values) % 2**64
    assert made[0].seen["min"] == 1
    assert made[0].seen["max"] == 2**64 - 4
    assert apart["float16"] == [1.5]
    assert np.isnan(apart["nan"]).all()
    assert apart["gathered_shapes"] == [(2,), (2,), (1,)]
    assert apart["broadcast"] == [7.5]

    setups = [json.loads((tmp_path / f"setup-{rank}.json").read_text()) for rank in range(3)]
    teardowns = [json.loads((tmp_path / f"teardown-{rank}.json").read_text()) for rank in range(3)]
    assert [(note["ranks"], note["size"]) for note in setups] == [(3, 3)] * 3
    assert [note["allocation"]["rank"] for note in setups] == [0, 1, 2]
    assert len({note["allocation"]["session"] for note in setups}) == 1
    assert [note["joined"] for note in teardowns] == [True] * 3
    assert max(note["when"] for note in setups) < min(note["when"] for note in teardowns)
    assert_all_ended([note["pid"] for note in setups])


@pytest.mark.ray
def test_a_killed_rank_without_tasks_restarts_the_whole_group(run, tmp_path):
    made = run(SumOrFall(tmp_path, rank=1, what="kill"), 4)
    assert [(task.task_id, task.value) for task in made] == [("0_0", 4004)]
    assert [attempts(tmp_path, rank) for rank in (0, 1)] == [2, 2]
    assert_all_ended(pids_of(tmp_path))


@pytest.mark.ray
def test_a_group_that_is_lost_too_often_ends_the_run(run, tmp_path):
    with pytest.raises(ExecutorError, match=r"its group of 2 ranks was lost once \(max_restarts=0\).*rank 1 of 2"):
        run(SumOrFall(tmp_path, rank=1, what="kill"), 1, 2, max_restarts=0)
    assert attempts(tmp_path) == 1
    assert_all_ended(pids_of(tmp_path))


@pytest.mark.ray
def test_an_exception_is_tried_once_more_and_names_rank_stage_and_reason(run, tmp_path):
    with pytest.raises(
        StageError, match=r"rank 1 of 2: stage 'sum_or_fall' failed on task '1': ValueError: no such"
    ) as caught:
        run(SumOrFall(tmp_path, rank=1, what="raise", attempts=9), 1, 2)
    assert (caught.value.stage, caught.value.task_id) == ("sum_or_fall", "1")
    assert attempts(tmp_path) == 2
    assert_all_ended(pids_of(tmp_path))


@pytest.mark.ray
def test_a_rank_that_stops_calling_is_an_error_and_no_hang(run, tmp_path, monkeypatch):
    from curator.executors.collective import group

    monkeypatch.setattr(group, "STAGE_ATTEMPTS", 1)
    with pytest.raises(StageError, match=r"rank 0: all_reduce sum of int64 \(\); rank 1: end of its work"):
        run(SumOrFall(tmp_path, rank=1, what="leave"), 1, 2)


@pytest.mark.ray
def test_a_rank_that_never_returns_ends_the_run(run, tmp_path):
    with pytest.raises(ExecutorError, match=r"ranks 0, 1 of 2 did not finish process_batch within 2 s"):
        run(SumOrFall(tmp_path, rank=1, what="hang"), 1, 2, call_timeout_s=2)
    assert_all_ended(pids_of(tmp_path))


@pytest.mark.ray
def test_ctrl_c_ends_all_ranks(run, tmp_path):
    def press():
        while len(list(tmp_path.iterdir())) < 2:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=press, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        run(SumOrFall(tmp_path, rank=1, what="hang"), 1, 2)
    assert_all_ended(pids_of(tmp_path))


@pytest.mark.ray
def test_ranks_that_do_not_fit_are_an_error_that_says_what_each_needs(run, tmp_path):
    with pytest.raises(ExecutorError, match=r"ranks .* of 9 did not start within 3 s.*each needs {'num_cpus': 1.0"):
        run(SumOrFall(tmp_path), 1, num_ranks=9, setup_timeout_s=3)


@pytest.mark.ray
def test_a_stage_that_cannot_be_sent_to_a_worker_is_refused_by_name(run, tmp_path):
    with pytest.raises(ConfigError, match=r"stages.sum_or_fall: cannot be sent to a worker: TypeError: cannot pickle"):
        run(SumOrFall(tmp_path, what=threading.Lock()), 1)


@pytest.mark.ray
def test_a_lost_node_costs_none_of_the_restarts(joined, run, tmp_path):
    def remove():
        while len(list(tmp_path.iterdir())) < 3:
            time.sleep(0.1)
        joined.remove(joined.node_ids[1], allow_graceful=False)

    threading.Thread(target=remove, daemon=True).start()
    try:
        made = run(
            SumOrFall(tmp_path, rank=0, what="hang"),
            *(1, 2, 3),
            num_ranks=3,
            actor_options={"num_cpus": 0.5, "scheduling_strategy": "SPREAD"},
            max_restarts=0,
        )
    finally:
        joined.mend()
    assert [task.value for task in made] == [1006, 2006, 3006]
    assert [attempts(tmp_path, rank) for rank in range(3)] == [2, 2, 2]
