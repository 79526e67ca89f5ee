"""One Ray cluster of a head and two workers, one with fake GPUs and labels, for all tests here."""

import pytest

from tests.raylets import raylets


@pytest.fixture(scope="package")
def loopback():
    """Ray takes this machine's outer address otherwise, for the variable is read when Ray is imported."""
    from ray._private import ray_constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
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
