"""One Ray cluster for all tests here: a head and two workers of 4 pretended GPUs each; every test gives it back."""

import logging
import time

import pytest

from tests.raylets import HEALTH, loopback_only

NODE = {"num_cpus": 4, "num_gpus": 4, "object_store_memory": 80_000_000}
SYSTEM = {**HEALTH, "prestart_worker_first_driver": False}


@pytest.fixture(scope="package")
def loopback():
    with loopback_only():
        yield


@pytest.fixture(scope="package")
def cluster(loopback):
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={**NODE, "include_dashboard": False, "_system_config": SYSTEM}
    )
    try:
        for zone in ("east", "west"):
            cluster.add_node(**NODE, labels={"ray.io/node-type": "worker", "zone": zone})
        cluster.wait_for_nodes()
        yield cluster
    finally:
        logging.getLogger("ray").setLevel(logging.ERROR)
        cluster.shutdown()


@pytest.fixture(scope="module")
def joined(cluster):
    from curator.cluster import ray_session

    with ray_session(cluster.address) as session:
        yield session


@pytest.fixture(autouse=True)
def unset(monkeypatch):
    monkeypatch.delenv("CURATOR_IGNORE_RAY_HEAD_NODE", raising=False)


@pytest.fixture
def nothing_left(joined):
    """The test must end with no group in the table and every GPU of every alive node free."""
    yield
    deadline = time.monotonic() + 20
    while (left := what_is_left()) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not left


def wait_until(condition, limit_s=60):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def what_is_left():
    from ray.util.placement_group import placement_group_table

    from curator.cluster import alive_nodes, available_offers, offers_from_nodes

    groups = [entry["name"] for entry in placement_group_table().values() if entry["state"] != "REMOVED"]
    whole = {offer.node_id: (offer.gpus, offer.cpus) for offer in offers_from_nodes(alive_nodes())}
    free = {offer.node_id: (offer.gpus, offer.cpus) for offer in available_offers()}
    return groups + [(node_id, free.get(node_id)) for node_id in whole if free.get(node_id) != whole[node_id]]


@pytest.fixture
def head(cluster):
    return cluster.head_node.node_id


@pytest.fixture
def node_in(cluster):
    """The id of the worker in a zone."""
    zones = {node.node_id: node for node in cluster.worker_nodes}

    def find(zone):
        from curator.cluster import alive_nodes

        (found,) = [
            each["NodeID"] for each in alive_nodes() if each["Labels"].get("zone") == zone and each["NodeID"] in zones
        ]
        return found

    return find
