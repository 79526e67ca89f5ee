import pytest

from curator import ConfigError, RayActorPoolExecutor
from curator.errors import ExecutorError
from tests.executors.stages_for_tests import AddOne, DieUntil, numbers
from tests.executors.suite import ExecutorSuite

pytestmark = pytest.mark.ray


class TestRayActorPool(ExecutorSuite):
    @pytest.fixture
    def executor(self, ray_address):
        return RayActorPoolExecutor({"address": ray_address, "num_workers": 2})


@pytest.fixture
def executor(ray_address):
    return RayActorPoolExecutor({"address": ray_address, "num_workers": 2})


def test_a_killed_worker_is_replaced_and_its_unit_done_again(executor, tmp_path):
    tasks = executor.execute([DieUntil(tmp_path, deaths=2), AddOne()], numbers(0, 1, 2, 3, 4, 5))
    assert [task.value for task in tasks] == [1, 2, 3, 4, 5, 6]
    assert len(list(tmp_path.iterdir())) == 2


def test_a_unit_that_kills_every_worker_ends_the_run(executor, tmp_path):
    with pytest.raises(ExecutorError, match="was lost 3 times"):
        executor.execute([DieUntil(tmp_path, deaths=99)], numbers(0, 1, 2))


def test_a_session_of_the_caller_is_used_and_left_as_it_was(ray_address):
    import ray

    ray.init(address=ray_address, namespace="mine", log_to_driver=False)
    try:
        assert len(RayActorPoolExecutor({"num_workers": 1}).execute([AddOne()], numbers(1, 2))) == 2
        assert ray.is_initialized()
        assert ray.get_runtime_context().namespace == "mine"
        with pytest.raises(ConfigError, match="Ray would drop this environment"):
            RayActorPoolExecutor({"runtime_env": {"env_vars": {"A": "1"}}}).execute([AddOne()], numbers(1))
    finally:
        ray.shutdown()


def test_an_address_without_a_cluster_is_an_error_that_names_it():
    with pytest.raises(ExecutorError, match=r"executor.address='127.0.0.1:1'"):
        RayActorPoolExecutor({"address": "127.0.0.1:1"}).execute([AddOne()], numbers(1))


def test_a_stage_that_fits_no_node_is_an_error_that_names_it(executor):
    from curator import Resources

    with pytest.raises(ExecutorError, match="add_one: no node can hold a worker"):
        executor.execute([AddOne().with_(resources=Resources(cpus=64))], numbers(1))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"num_worker": 2}, r"executor.num_worker: is not known.*num_workers"),
        ({"num_workers": 0}, r"executor.num_workers=0: must be a whole number"),
        ({"address": 5}, r"executor.address=5: must be host:port"),
    ],
)
def test_a_wrong_setting_is_refused(config, message):
    with pytest.raises(ConfigError, match=message):
        RayActorPoolExecutor(config)
