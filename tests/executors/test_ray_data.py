import logging
import os
import re
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from curator import (
    ConfigError,
    ExactDeduplication,
    LocalExecutor,
    Pipeline,
    ProcessingStage,
    RayDataExecutor,
    Read,
    Resources,
    Task,
    Write,
)
from curator.errors import ExecutorError
from tests.executors.stages_for_tests import (
    AddOne,
    DieUntil,
    DropOdd,
    NumberTask,
    OnMarked,
    RecordCalls,
    Repeat,
    SumBatch,
    numbers,
)
from tests.executors.suite import BackendSuite, content_of, mark, write_corpus


class KeepsState(AddOne):
    name = "keeps_state"

    def setup(self, worker_metadata):
        self.ready = True


class LateFirst(AddOne):
    """The earlier a task stands in the input, the longer it takes; says where it ran."""

    name = "late_first"

    def process(self, task):
        time.sleep(max(0.0, 0.4 - 0.05 * task.value))
        return NumberTask(value=os.getpid())


class DieOnce(KeepsState):
    """Ends its process, as the system would, the first time that it sees a 3."""

    name = "die_once"

    def __init__(self, folder):
        self.folder = str(folder)

    def process(self, task):
        assert self.ready
        marker = Path(self.folder, "died")
        if task.value == 3 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return NumberTask(value=task.value + 1)


class Hang(AddOne):
    name = "hang"

    def __init__(self, folder):
        self.folder = str(folder)

    def process(self, task):
        Path(self.folder, str(os.getpid())).touch()
        time.sleep(3600)


@dataclass(slots=True, kw_only=True)
class ArrayTask(Task):
    array: Any = None


class MakeArray(ProcessingStage):
    name = "make_array"

    def process(self, task):
        return ArrayTask(array=np.full(500_000, task.value))


class SumArray(ProcessingStage):
    name = "sum_array"

    def process(self, task):
        return NumberTask(value=int(task.array.sum()) // 500_000)


class ReadVariable(AddOne):
    name = "read_variable"
    runtime_env = {"env_vars": {"CURATOR_TEST_VALUE": "41"}}  # noqa: RUF012

    def process(self, task):
        return NumberTask(value=int(os.environ["CURATOR_TEST_VALUE"]) + 1)


@dataclass(slots=True, kw_only=True)
class NodeTask(NumberTask):
    nodes: tuple[str, ...] = ()


class ReportNode(ProcessingStage):
    """Adds the node that it runs on to what the tasks have seen."""

    name = "report_node"

    def process(self, task):
        import ray

        return NodeTask(nodes=(*getattr(task, "nodes", ()), ray.get_runtime_context().get_node_id()))


class FailTeardown(KeepsState):
    name = "fail_teardown"

    def teardown(self):
        raise OSError("cannot let go")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_worker": 2}, r"executor.num_worker: is not known.*num_workers"),
        ({"num_workers": 0}, r"executor.num_workers=0: must be a whole number"),
        ({"max_attempts": True}, r"executor.max_attempts=True: must be a whole number of at least 1"),
        ({"stall_timeout_s": 0}, r"executor.stall_timeout_s=0: must be a number of seconds above 0"),
        ({"fuse": 1}, r"executor.fuse=1: must be true or false"),
        ({"address": 5}, r"executor.address=5: must be host:port"),
    ],
)
def test_a_wrong_setting_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        RayDataExecutor(config)


def test_a_missing_pandas_is_an_error_that_names_the_extra(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install curator\[ray-data\]"):
        RayDataExecutor().execute([AddOne()], numbers(1))


@pytest.fixture(scope="module")
def joined(ray_address):
    """One connection for all tests here: Ray Data starts slowly in every new one."""
    import ray

    ray.init(address=ray_address, namespace="ray_data_tests", log_to_driver=False)
    yield ray_address
    ray.shutdown()


STALL_S = 120
"""A test that waits for workers that never come says so before its own time is up."""


@pytest.fixture
def executor(joined):
    return RayDataExecutor({"address": joined, "num_workers": 2, "stall_timeout_s": STALL_S})


@pytest.mark.ray
class TestAwayFromTheHead(BackendSuite):
    """What a backend has a hand in, on three raylets with labels and pretended GPUs, the head left alone."""

    @pytest.fixture
    def executor(self, joined):
        return RayDataExecutor({"address": joined, "num_workers": 2, "stall_timeout_s": STALL_S}, ignore_head_node=True)

    @pytest.fixture
    def one_worker(self, joined):
        return RayDataExecutor({"address": joined, "num_workers": 1, "stall_timeout_s": STALL_S}, ignore_head_node=True)

    def test_stages_on_gpus_and_in_zones_run_where_they_fit(self, executor, cluster, tmp_path):
        on_gpu = ReportNode().with_(resources=Resources(cpus=0.5, gpus=0.5, labels={"zone": "west"}))
        apart = ReportNode().with_(name="apart", resources=Resources(cpus=0.5))
        cut_anew = apart.with_(name="cut_anew", batch_size=2)
        tasks = executor.execute([apart, cut_anew, on_gpu], numbers(*range(12)))
        assert {len(task.nodes) for task in tasks} == {3}
        assert {task.nodes[2] for task in tasks} == {cluster.node_ids[1]}
        assert cluster.head_id not in {node for task in tasks for node in task.nodes}


@pytest.mark.ray
def test_results_of_parallel_workers_come_in_input_order(executor):
    tasks = executor.execute([LateFirst()], numbers(*range(8)))
    assert [task.task_id for task in tasks] == [f"{number}_0" for number in range(8)]
    assert len({task.value for task in tasks}) > 1


@pytest.mark.ray
def test_batches_are_cut_over_the_whole_stream_as_one_process_would(executor):
    stages = [DropOdd(), Repeat(), SumBatch().with_(batch_size=4), AddOne(), SumBatch().with_(name="last")]
    given = [5, 2, 8, 3, 4, 6, 1, 0, 10, 2, 2]
    ours = executor.execute(stages, numbers(*given))
    reference = LocalExecutor().execute(stages, numbers(*given))
    assert [(task.task_id, task.value) for task in ours] == [(task.task_id, task.value) for task in reference]


@pytest.mark.ray
@pytest.mark.parametrize("in_actors", [False, True])
def test_a_killed_worker_is_replaced_and_its_block_done_again(executor, tmp_path, in_actors):
    stage = DieOnce(tmp_path) if in_actors else DieUntil(tmp_path, deaths=2)
    tasks = executor.execute([stage], numbers(0, 1, 2, 3, 4, 5))
    assert [task.value - in_actors for task in tasks] == [0, 1, 2, 3, 4, 5]
    assert list(tmp_path.iterdir())


@pytest.mark.ray
def test_a_task_that_kills_every_worker_ends_the_run_and_is_named(executor, tmp_path):
    with pytest.raises(
        ExecutorError, match=r"die_until: the block of 1 tasks that begins with task '1' was lost 3 times"
    ):
        executor.execute([DieUntil(tmp_path, deaths=99)], numbers(0, 1, 2))
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.ray
def test_a_worker_killed_in_a_run_changes_no_byte_of_its_output(executor, tmp_path):
    corpus, marks = write_corpus(tmp_path / "in", num_files=2), tmp_path / "marks"
    marks.mkdir()
    mark(corpus / "part-1.jsonl", 200)

    def run(who, name):
        deadly = OnMarked("kill", folder=marks, times=1)
        stages = [Read(str(corpus), split_bytes=9_000), deadly, ExactDeduplication(), Write(tmp_path / name)]
        return Pipeline(stages).run(who).counts

    assert run(executor, "ours") == run(LocalExecutor(), "reference")
    assert len(list(marks.iterdir())) == 1
    assert content_of(tmp_path / "ours") == content_of(tmp_path / "reference")


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("in_actors", [False, True])
def test_a_stage_that_never_returns_ends_the_run_and_its_process(joined, tmp_path, in_actors):
    executor = RayDataExecutor({"address": joined, "num_workers": 2, "stall_timeout_s": 10})
    stage = Hang(tmp_path).with_(ray_stage_spec=lambda: {"is_actor_stage": in_actors})
    with pytest.raises(ExecutorError, match="hang: Ray Data ended with ExecutionTimeoutError") as raised:
        executor.execute([stage], numbers(1))
    assert re.search(
        r"stall_timeout_s=10. A worker needs hang: 1 CPU. The nodes have .{8}: 1 CPU, .*; free now is .*CPU",
        str(raised.value),
    )
    processes = [Path("/proc", path.name) for path in tmp_path.iterdir()]
    deadline = time.monotonic() + 60
    while any(process.exists() for process in processes) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(process.exists() for process in processes)


@pytest.mark.ray
def test_segments_stream_more_than_the_object_store_holds(joined):
    # 60 arrays of 4 MB through nodes with stores of 80 MB.
    executor = RayDataExecutor({"address": joined, "fuse": False, "blocks_per_worker": 8})
    apart = SumArray().with_(resources=Resources(cpus=0.5))
    tasks = executor.execute([MakeArray(), apart], numbers(*range(60)))
    assert [task.value for task in tasks] == list(range(60))


@pytest.mark.ray
def test_more_actor_segments_than_cores_run_to_the_end(executor):
    stages = [KeepsState().with_(name=f"keeps_{number}", batch_size=2) for number in range(3)]
    assert [task.value for task in executor.execute(stages, numbers(*range(5)))] == [3, 4, 5, 6, 7]


@pytest.mark.ray
def test_the_environment_of_a_stage_reaches_its_workers(executor):
    assert [task.value for task in executor.execute([ReadVariable()], numbers(0))] == [42]


@pytest.mark.ray
def test_a_teardown_that_fails_is_reported(executor):
    with pytest.raises(ExecutorError, match="fail_teardown: teardown failed: OSError: cannot let go"):
        executor.execute([FailTeardown()], numbers(0))


@pytest.mark.ray
def test_a_session_and_the_settings_of_the_caller_are_left_as_they_were_and_no_actor_of_ours(executor, tmp_path):
    import ray
    from ray._private.state import actors
    from ray.data import DataContext

    before = DataContext.get_current()
    was = (before.max_errored_blocks, before.batch_to_block_arrow_format, before.execution_options.preserve_order)
    consoles = [one.level for one in logging.getLogger("ray.data").handlers]
    executor.execute([Repeat(), SumBatch(), RecordCalls(tmp_path)], numbers(1, 2))
    assert DataContext.get_current() is before
    assert was == (
        before.max_errored_blocks,
        before.batch_to_block_arrow_format,
        before.execution_options.preserve_order,
    )
    assert consoles == [one.level for one in logging.getLogger("ray.data").handlers]
    assert ray.get_runtime_context().namespace == "ray_data_tests"

    def states():
        ours = [actor for actor in actors().values() if actor["ActorClassName"].startswith(("Register", "MapWorker"))]
        return {actor["State"] for actor in ours}

    deadline = time.monotonic() + 60
    while states() != {"DEAD"}:
        assert time.monotonic() < deadline, states()
        time.sleep(0.1)
