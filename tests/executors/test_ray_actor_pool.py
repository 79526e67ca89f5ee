import os
import re
import subprocess
import sys

import pytest
from loguru import logger

from curator import ConfigError, LocalExecutor, RayActorPoolExecutor, RayDataExecutor, Resources, StageError
from curator.errors import ExecutorError
from curator.tasks import FailedTask
from tests.executors.stages_for_scheduling import (
    ActorName,
    Each,
    Environment,
    EnvironmentOfRank,
    FailOnce,
    Misfortune,
    Pid,
    Seal,
    SetupOnlyTheSecondTime,
    Stage,
    Sum,
    WaitsForOthers,
    lines_of,
)
from tests.executors.stages_for_tests import AddOne, DieUntil, FailOn, numbers
from tests.executors.suite import ExecutorSuite

pytestmark = pytest.mark.ray


@pytest.fixture
def make_executor(ray_address):
    def make(**config):
        return RayActorPoolExecutor({"address": ray_address, **config})

    return make


@pytest.fixture
def session(ray_address):
    """A session of the user, in a namespace of its own."""
    import ray

    ray.init(address=ray_address, namespace="mine", log_to_driver=False)
    yield ray
    ray.shutdown()


@pytest.fixture
def warnings_logged():
    messages = []
    sink = logger.add(lambda message: messages.append(message.record["message"]), level="WARNING")
    yield messages
    logger.remove(sink)


def values(tasks):
    return [(task.task_id, getattr(task, "value", None) or getattr(task, "reason", None)) for task in tasks]


def test_on_all_nodes_output_and_ledger_have_the_bytes_of_a_local_run(make_executor, tmp_path):
    ExecutorSuite().test_output_and_ledger_have_the_bytes_of_a_local_run(make_executor(), tmp_path, 9_000)


@pytest.mark.parametrize("fuse", [True, False])
def test_fused_or_not_ids_and_values_are_those_of_a_local_run(make_executor, fuse):
    stages = [Stage("first"), Each("each"), Stage("second"), Sum("sum"), Stage("last")]
    many = [value % 11 for value in range(40)]
    ours = make_executor(fuse=fuse).execute(stages, numbers(*many))
    assert values(ours) == values(LocalExecutor().execute(stages, numbers(*many)))
    assert sum(isinstance(task, FailedTask) for task in ours) > 3


def test_a_straggler_does_not_delay_the_others_in_later_stages(make_executor, tmp_path):
    log = tmp_path / "log"
    stages = [WaitsForOthers("first", log, "third", 15), Stage("second", log), Stage("third", log)]
    tasks = make_executor(fuse=False).execute(stages, numbers(*range(16)))
    assert [task.value for task in tasks] == list(range(16))
    order = [tuple(line[:2]) for line in lines_of(log)]
    others = [order.index(("third", str(value))) for value in range(16) if value != 3]
    assert max(others) < order.index(("first", "3"))


def test_payloads_go_from_worker_to_worker_and_never_to_the_driver(make_executor):
    stages = [Seal("seal", os.getpid()), Seal("again", os.getpid()), Stage("open")]
    tasks = make_executor(fuse=False).execute(stages, numbers(*range(20)))
    assert [task.value for task in tasks] == list(range(20))


def test_three_segments_share_one_core_without_a_deadlock_and_say_how_far_they_are(ray_address, tmp_path):
    log = tmp_path / "log"
    west = Resources(labels={"zone": "west"})
    stages = [Stage(name, log).with_(resources=west) for name in ("first", "second", "third")]
    executor = RayActorPoolExecutor({"address": ray_address, "fuse": False}, progress_interval=0.05)
    lines = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    try:
        tasks = executor.execute(stages, numbers(*range(300)))
    finally:
        logger.remove(sink)
    told = {line.partition(":")[0] for line in lines if re.search(r": \d+ units done, \d+ queued, \d workers", line)}
    assert told == {"first", "second", "third"}
    assert [task.value for task in tasks] == list(range(300))
    assert len({line[2] for line in lines_of(log)}) == 1


def test_more_workers_than_fit_are_capped_with_a_warning(make_executor, warnings_logged):
    assert len(make_executor(num_workers=5).execute([AddOne()], numbers(*range(4)))) == 4
    assert "add_one: executor.num_workers=5, but only 3 workers fit the cluster" in warnings_logged


def test_a_worker_is_replaced_after_its_calls(make_executor):
    tasks = make_executor(max_calls_per_worker=3, num_workers=1).execute([Pid("pid")], numbers(*range(9)))
    pids = [task.value for task in tasks]
    assert sorted(pids.count(pid) for pid in set(pids)) == [3, 3, 3]


def test_a_worker_is_replaced_when_it_has_grown_too_large(make_executor):
    tasks = make_executor(max_worker_rss_gb=0.001, num_workers=1).execute([Pid("pid")], numbers(*range(4)))
    assert len({task.value for task in tasks}) >= 2


def test_what_a_stage_cannot_take_once_is_tried_once_more(make_executor, tmp_path):
    tasks = make_executor(num_workers=2).execute([FailOnce(tmp_path)], numbers(*range(6)))
    assert [(task.task_id, task.value) for task in tasks] == [(f"{value}_0", value) for value in range(6)]
    assert len(list(tmp_path.iterdir())) == 1


def test_a_killed_worker_is_replaced_and_its_unit_done_again(make_executor, tmp_path):
    tasks = make_executor(num_workers=2).execute([DieUntil(tmp_path, deaths=2), AddOne()], numbers(*range(6)))
    assert [task.value for task in tasks] == [1, 2, 3, 4, 5, 6]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(
    ("how", "config", "reason"),
    [
        ("kill", {}, "killed_worker"),
        ("hang", {"unit_timeout_s": 2}, "timeout after 2 s"),
        ("eat", {"worker_memory_limit_gb": 1}, "out_of_memory"),
    ],
)
def test_a_task_that_no_worker_survives_is_given_up_and_the_others_are_done(make_executor, how, config, reason):
    stages = [Stage("first"), Misfortune(how), Stage("last")]
    tasks = make_executor(fuse=False, **config).execute(stages, numbers(*range(30)))
    done = [task.value for task in tasks if not isinstance(task, FailedTask)]
    assert done == [value for value in range(30) if value != 2]
    assert [(task.task_id, task.reason) for task in tasks if isinstance(task, FailedTask)] == [("2_0", reason)]


def test_a_stage_that_ends_every_worker_ends_the_run(make_executor):
    stages = [Misfortune("kill").with_(name="kill", value=None)]
    with pytest.raises(ExecutorError, match="5 units in a row ended every worker"):
        make_executor(max_attempts=1).execute(stages, numbers(*[None] * 9))


@pytest.mark.parametrize("how", ["fail", "hang"])
def test_a_setup_that_fails_or_hangs_once_is_tried_on_another_worker(make_executor, tmp_path, how):
    executor = make_executor(num_workers=1, setup_timeout_s=5)
    tasks = executor.execute([SetupOnlyTheSecondTime(how, tmp_path)], numbers(1, 2, 3))
    assert [task.value for task in tasks] == [1, 2, 3]


def test_waiting_for_resources_that_somebody_else_has_ends_with_the_reason(session):
    @session.remote(num_cpus=1)
    class Somebody:
        def here(self):
            return True

    others = [Somebody.remote() for _ in range(3)]
    assert all(session.get([other.here.remote() for other in others], timeout=60))
    with pytest.raises(ExecutorError, match=r"no worker could be started within executor.resource_timeout_s=3.*free"):
        RayActorPoolExecutor({"resource_timeout_s": 3}).execute([AddOne()], numbers(1))


def test_a_session_of_the_user_lives_on_with_its_actor_and_nothing_of_ours_is_left(session, tmp_path):
    @session.remote(num_cpus=0)
    class Counter:
        def count(self):
            return 7

    counter = Counter.options(name="counter", lifetime="detached").remote()
    try:
        runs = [RayActorPoolExecutor({"num_workers": 1}).execute([ActorName("who")], numbers(1)) for _ in range(2)]
        assert [re.fullmatch(r"curator-[0-9a-f]{8}-who-1", task.value) is not None for (task,) in runs] == [True, True]
        assert runs[0][0].value != runs[1][0].value
        with pytest.raises(StageError, match="cannot take"):
            RayActorPoolExecutor().execute([FailOn(2)], numbers(1, 2))
        assert session.get(session.get_actor("counter").count.remote(), timeout=30) == 7
        assert session.get_runtime_context().namespace == "mine"
        names = [actor["name"] for actor in session.util.list_named_actors(all_namespaces=True)]
        assert names == ["counter"]
        with pytest.raises(ConfigError, match="Ray would drop this environment"):
            RayActorPoolExecutor({"runtime_env": {"env_vars": {"A": "1"}}}).execute([AddOne()], numbers(1))
    finally:
        session.kill(counter)


def test_two_runs_share_a_cluster(make_executor, ray_address):
    program = (
        "from curator import RayActorPoolExecutor\n"
        "from tests.executors.stages_for_tests import AddOne, numbers\n"
        f"executor = RayActorPoolExecutor({{'address': {ray_address!r}}})\n"
        "print([task.value for task in executor.execute([AddOne()], numbers(*range(200)))] == list(range(1, 201)))"
    )
    other = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    try:
        for _ in range(2):
            tasks = make_executor(fuse=False).execute([AddOne(), AddOne().with_(name="b")], numbers(*range(50)))
            assert [task.value for task in tasks] == list(range(2, 52))
        assert other.communicate(timeout=120)[0].strip() == "True"
    finally:
        other.kill()


@pytest.mark.parametrize("kind", [RayActorPoolExecutor, RayDataExecutor])
def test_the_environment_of_a_stage_is_merged_over_that_of_the_job_for_workers_and_ranks(ray_address, kind):
    pytest.importorskip("torch", reason="ranks on Ray need 'pip install curator[collective]'")
    job = {"env_vars": {"CURATOR_TEST_A": "job", "CURATOR_TEST_B": "job"}}
    stage = Environment("stage").with_(runtime_env={"env_vars": {"CURATOR_TEST_B": "stage"}})
    rank = EnvironmentOfRank().with_(num_ranks=1, runtime_env={"env_vars": {"CURATOR_TEST_B": "rank"}})
    (task,) = kind({"address": ray_address, "runtime_env": job}).execute([stage, rank], numbers(1))
    assert task.value == ["job", "stage", "job", "rank"]


def test_an_environment_that_no_node_can_make_ends_the_run_with_the_reason(make_executor):
    stage = AddOne().with_(runtime_env={"conda": "no-such-environment"})
    with pytest.raises(ExecutorError, match=r"(?s)add_one: a worker could not be started: .*conda"):
        make_executor().execute([stage], numbers(1))


def test_an_address_without_a_cluster_is_an_error_that_names_it():
    with pytest.raises(ExecutorError, match=r"executor.address='127.0.0.1:1'"):
        RayActorPoolExecutor({"address": "127.0.0.1:1"}).execute([AddOne()], numbers(1))


def test_a_stage_that_fits_no_node_is_an_error_that_names_it(make_executor):
    with pytest.raises(ExecutorError, match="add_one: no node can hold a worker"):
        make_executor().execute([AddOne().with_(resources=Resources(cpus=64))], numbers(1))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_worker": 2}, r"executor.num_worker: is not known.*num_workers"),
        ({"num_workers": 0}, r"executor.num_workers=0: must be a whole number"),
        ({"address": 5}, r"executor.address=5: must be host:port"),
        ({"min_workers": 3, "max_workers": 2}, r"executor.min_workers=3: must not be above executor.max_workers=2"),
        (
            {"unit_timeout_s": "1", "fuse": 1},
            r"(?s)executor.unit_timeout_s='1'.*executor.fuse=1: must be true or false",
        ),
    ],
)
def test_a_wrong_setting_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        RayActorPoolExecutor(config)
