"""The conformance suite on three raylets with labels and pretended GPUs, the head left alone."""

import pytest

from curator import RayActorPoolExecutor, Resources
from tests.executors.stages_for_tests import AddOne, RecordCalls, numbers
from tests.executors.suite import ExecutorSuite

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def joined(ray_address):
    """One connection for all tests here, since each new one starts processes of its own on every node."""
    import ray

    ray.init(address=ray_address, namespace="suite", log_to_driver=False)
    yield ray_address
    ray.shutdown()


class TestRayActorPool(ExecutorSuite):
    @pytest.fixture
    def executor(self, joined):
        return RayActorPoolExecutor({"address": joined, "num_workers": 2}, ignore_head_node=True)

    @pytest.fixture
    def one_worker(self, joined):
        return RayActorPoolExecutor({"address": joined, "num_workers": 1}, ignore_head_node=True)

    def test_stages_on_gpus_and_in_zones_run_where_they_fit(self, executor, cluster, tmp_path):
        on_gpu = RecordCalls(tmp_path).with_(resources=Resources(cpus=0.5, gpus=0.5, labels={"zone": "west"}))
        made = executor.execute([AddOne().with_(resources=Resources(cpus=0.5)), on_gpu], numbers(*range(12)))
        assert [task.value for task in made] == list(range(1, 13))
        names = [path.name.split("-") for path in tmp_path.iterdir()]
        assert {node_id for hook, node_id, _ in names if hook == "setup_on_node"} == {cluster.node_ids[1]}
