"""One Ray cluster of a head and two workers, one with fake GPUs and labels, for all tests here."""

import pytest

from tests.raylets import loopback_only, raylets


@pytest.fixture(scope="package")
def loopback():
    with loopback_only():
        yield


@pytest.fixture(scope="package")
def cluster(loopback):
    gpu_node = {"num_gpus": 2, "resources": {"slots": 1}, "labels": {"ray.io/node-type": "worker", "zone": "z1"}}
    with raylets(1, gpu_node, {"labels": {"zone": "z2"}}) as cluster:
        cluster.cluster.wait_for_nodes()
        yield cluster


@pytest.fixture(scope="module")
def joined(cluster):
    """A session on the cluster, left at the end of the module."""
    from curator.cluster import ray_session

    with ray_session(cluster.address) as session:
        yield session


@pytest.fixture
def gpu_node(joined):
    (node,) = [node for node in joined.nodes if "GPU" in node["Resources"]]
    return node["NodeID"]


@pytest.fixture
def head_node(joined):
    (node,) = [node for node in joined.nodes if "node:__internal_head__" in node["Resources"]]
    return node["NodeID"]
