"""The conformance suite on three raylets with labels and pretended GPUs, the head left alone."""

import logging

import pytest

from curator import RayActorPoolExecutor, Resources
from tests.executors.stages_for_tests import AddOne, RecordCalls, numbers
from tests.executors.suite import ExecutorSuite

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    store = {"object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False, **store})
    try:
        for zone in ("east", "west"):
            labels = {"ray.io/node-type": "worker", "zone": zone}
            cluster.add_node(num_cpus=1, num_gpus=2, labels=labels, **store)
        yield cluster
    finally:
        logging.getLogger("ray").setLevel(logging.ERROR)
        cluster.shutdown()


@pytest.fixture(scope="module")
def executor_config(cluster):
    return {"address": cluster.address, "num_workers": 2}


class TestAwayFromTheHead(ExecutorSuite):
    @pytest.fixture
    def executor(self, executor_config):
        return RayActorPoolExecutor(executor_config, ignore_head_node=True)

    def test_stages_on_gpus_and_in_zones_run_where_they_fit(self, executor, cluster, tmp_path):
        on_gpu = RecordCalls(tmp_path).with_(resources=Resources(cpus=0.5, gpus=0.5, labels={"zone": "west"}))
        made = executor.execute([AddOne().with_(resources=Resources(cpus=0.5)), on_gpu], numbers(*range(12)))
        assert [task.value for task in made] == list(range(1, 13))
        (west,) = (node for node in cluster.worker_nodes if node.node_id in _nodes_of(tmp_path))
        assert _nodes_of(tmp_path) == {west.node_id}
        assert cluster.head_node.node_id not in _nodes_of(tmp_path)


def _nodes_of(folder):
    return {path.name.split("-")[1] for path in folder.iterdir() if path.name.startswith("setup_on_node-")}
