import threading
import time

import pytest
from loguru import logger

from curator import ConfigError, Resources
from curator.cluster import execute_setup_on_node
from curator.errors import ExecutorError
from tests.cluster.stages_for_tests import DieSetUp, FailSetUp, HangSetUp, Logging, NoSetUp, SetUp, SlowSetUp

pytestmark = pytest.mark.ray


def set_up(folder, name="set_up"):
    """What each hook saw, by node; two on one node are a failure."""
    paths = [path for path in folder.iterdir() if path.name.startswith(f"{name}-")]
    nodes = [path.name.split("-")[1] for path in paths]
    assert len(set(nodes)) == len(nodes)
    return dict(zip(nodes, [path.read_text(encoding="utf-8").split(" ") for path in paths], strict=True))


@pytest.fixture
def on_gpus(tmp_path):
    return SetUp(tmp_path).with_(name="gpu", resources=Resources(cpus=1, gpus=1))


def test_every_hook_runs_once_on_every_node_that_can_host_its_stage(joined, gpu_node, head_node, on_gpus, tmp_path):
    everywhere = SetUp(tmp_path)
    execute_setup_on_node([everywhere, NoSetUp(), on_gpus, everywhere.with_(batch_size=2)])
    assert set(set_up(tmp_path)) == {node["NodeID"] for node in joined.nodes}
    assert set(set_up(tmp_path, "gpu")) == {gpu_node}
    assert all(seen[0] == "spawn" for seen in set_up(tmp_path).values())


def test_the_head_node_is_left_out_when_it_is_to_be_ignored(joined, head_node, tmp_path):
    execute_setup_on_node([SetUp(tmp_path)], ignore_head_node=True)
    assert set(set_up(tmp_path)) == {node["NodeID"] for node in joined.nodes} - {head_node}


def test_busy_workers_do_not_hold_a_hook_up_and_no_gpu_is_hidden_from_it(joined, on_gpus, tmp_path):
    import ray

    holding = ray.remote(Hold).options(num_cpus=1, num_gpus=2).remote()
    ray.get(holding.is_there.remote())
    execute_setup_on_node([SetUp(tmp_path).with_(resources=Resources(labels={"zone": "z1"})), on_gpus], timeout_s=60)
    ray.kill(holding)
    ((_, visible, _),) = set_up(tmp_path, "gpu").values()
    assert len(set_up(tmp_path)) == 1
    assert visible == ""  # untouched: every GPU of the node can be seen


def test_a_hook_runs_in_the_environment_of_its_stage(joined, tmp_path):
    variables = {"SEEN": "yes", "VLLM_WORKER_MULTIPROC_METHOD": "fork", "GONE": None}
    execute_setup_on_node([SetUp(tmp_path).with_(runtime_env={"env_vars": variables, "pip": None})])
    assert [(seen[0], seen[2]) for seen in set_up(tmp_path).values()] == [("fork", "yes")] * 3


def test_a_hook_that_fails_is_named_with_its_node_and_reason(joined, gpu_node):
    failing = FailSetUp().with_(resources=Resources(gpus=1))
    expected = f"fail_set_up: setup_on_node failed on node {gpu_node}: OSError: no space left for the model"
    with pytest.raises(ExecutorError, match=expected):
        execute_setup_on_node([HangSetUp(), failing])


def test_a_hook_that_kills_its_process_is_named(joined, gpu_node):
    with pytest.raises(ExecutorError, match=f"die_set_up: setup_on_node failed on node {gpu_node}: the process died"):
        execute_setup_on_node([DieSetUp().with_(resources=Resources(gpus=1))])


def test_a_hook_that_hangs_is_named_with_its_node(joined, gpu_node):
    hanging = HangSetUp().with_(resources=Resources(gpus=1))
    with pytest.raises(ExecutorError, match=rf"did not finish within 4 s: hang_set_up on node {gpu_node}\.$"):
        execute_setup_on_node([hanging, NoSetUp()], timeout_s=4)


def test_a_stage_that_fits_no_node_is_an_error_that_says_what_is_missing(joined, tmp_path):
    with pytest.raises(ExecutorError, match=r"set_up: no node can hold a worker.* 14 GPU missing"):
        execute_setup_on_node([SetUp(tmp_path).with_(resources=Resources(gpus=16))])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"env_vars": {"A": 1}}, r"set_up: runtime_env\.env_vars\.A: is of type int"),
        ({"working_dir": "."}, r"set_up: runtime_env\.working_dir='\.': .* only for all workers"),
    ],
)
def test_a_wrong_environment_of_a_stage_is_an_error_that_names_it(joined, tmp_path, env, message):
    with pytest.raises(ConfigError, match=message):
        execute_setup_on_node([SetUp(tmp_path).with_(runtime_env=env)])


def test_an_environment_that_no_node_can_make_is_an_error_with_the_reason(joined, tmp_path):
    with pytest.raises(
        ExecutorError, match=r"set_up: setup_on_node failed on node \w+: its runtime_env cannot be made"
    ):
        execute_setup_on_node([SetUp(tmp_path).with_(runtime_env={"conda": "no-such-environment"})])


def test_a_logger_with_a_file_can_be_held_by_a_stage_and_a_closure(joined, tmp_path):
    import ray

    sink = logger.add(tmp_path / "log")
    bound = logger.bind(part="one")
    loggers = {"plain": logger, "bound": bound}
    try:
        there = Resources(labels={"zone": "z1"})
        execute_setup_on_node([Logging(each).with_(name=name, resources=there) for name, each in loggers.items()])
        assert ray.get(ray.remote(lambda: bound.info("in a closure")).remote()) is None
    finally:
        logger.remove(sink)


def test_a_node_that_dies_meanwhile_is_passed_over(cluster, joined, tmp_path):
    node = cluster.cluster.add_node(num_cpus=1, object_store_memory=80_000_000, labels={"zone": "z3"})
    errors = []

    def run():
        try:
            execute_setup_on_node([SlowSetUp(tmp_path)], timeout_s=60)
        except ExecutorError as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    end = time.monotonic() + 30
    while len(list(tmp_path.iterdir())) < 4:
        assert time.monotonic() < end, errors
        time.sleep(0.05)
    cluster.cluster.remove_node(node, allow_graceful=False)
    (tmp_path / "go_on").touch()
    thread.join(60)
    assert not thread.is_alive()
    assert errors == []


class Hold:
    def is_there(self):
        return True
