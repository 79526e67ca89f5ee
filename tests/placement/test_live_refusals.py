"""What the planner refuses for want of GPUs, on a live cluster with none and then one: at once, nothing reserved."""

import logging

import pytest

from curator.errors import ExecutorError
from curator.placement import ReplicaRequest, acquire_replicas, plan_replica_bundle_shape
from tests.placement.conftest import wait_until, what_is_left

pytestmark = pytest.mark.ray

NODE = {"num_cpus": 1, "object_store_memory": 80_000_000}
FOR_EVER_S = 3600


@pytest.fixture
def small_cluster(loopback):
    from ray.cluster_utils import Cluster

    from curator.cluster import ray_session

    cluster = Cluster(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    try:
        with ray_session(cluster.address):
            yield cluster
    finally:
        logging.getLogger("ray").setLevel(logging.ERROR)
        cluster.shutdown()


def test_no_gpu_and_none_but_that_of_a_head_that_is_left_out(small_cluster, monkeypatch):
    with pytest.raises(ExecutorError, match="No GPU nodes found in the Ray cluster"):
        plan_replica_bundle_shape(1)
    judge = [ReplicaRequest(name="judge")]
    with pytest.raises(ExecutorError, match=r"^replicas\.judge: No GPU nodes found: none of 1 nodes offers a GPU"):
        acquire_replicas(judge, prefix="test-", timeout_s=FOR_EVER_S)
    node = small_cluster.add_node(**NODE, num_gpus=1)
    wait_until(lambda: fits(1))
    assert plan_replica_bundle_shape(1).nnodes == 1
    with pytest.raises(ExecutorError, match=r"Cannot place TP=2: .* across 1 eligible node\(s\) with 1 GPUs\. .*: 1\."):
        plan_replica_bundle_shape(2)
    monkeypatch.setenv("CURATOR_IGNORE_RAY_HEAD_NODE", "1")
    with pytest.raises(ExecutorError, match="is set but no non-head GPU nodes are available"):
        plan_replica_bundle_shape(1, head_node_id=node.node_id)
    assert what_is_left() == []


def fits(tp_size):
    try:
        return plan_replica_bundle_shape(tp_size)
    except ExecutorError:
        return None
