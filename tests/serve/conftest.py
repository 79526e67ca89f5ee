"""One Ray cluster for all tests here: a head without GPUs, and two nodes with two fake ones each."""

import logging
import os
import sys
import time
from pathlib import Path

import pytest

from curator.serve.settings import ReplicaSettings
from tests.raylets import HEALTH, loopback_only

OURS = "CURATOR_TESTS_PROCESS"
"""Inherited by everything that this process starts, clusters included."""
os.environ[OURS] = str(os.getpid())
STUB = str(Path(__file__).with_name("stub_server.py"))
NODE = {"num_cpus": 4, "object_store_memory": 80_000_000}


@pytest.fixture(scope="package")
def loopback():
    with loopback_only():
        yield


@pytest.fixture(scope="package")
def cluster(loopback):
    from ray.cluster_utils import Cluster

    head = {**NODE, "include_dashboard": False, "_system_config": HEALTH}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(2):
            cluster.add_node(**NODE, num_gpus=2)
        cluster.wait_for_nodes()
        yield cluster
    finally:
        logging.getLogger("ray").setLevel(logging.ERROR)
        cluster.shutdown()


@pytest.fixture(scope="module")
def joined(cluster):
    """A session on the cluster, left at the end of the module."""
    from curator.cluster import ray_session

    with ray_session(cluster.address) as session:
        yield session


@pytest.fixture
def stub():
    """Settings of a set that the stub server serves."""

    def stub(mode="well", *, name="stub", command=(), **more):
        words = [sys.executable, STUB, "--host", "{host}", "--port", "{port}", "--key-file", "{api_key_file}"]
        quick = {"start_timeout_s": 60, "health_interval_s": 0.2, "health_timeout_s": 2, "stop_timeout_s": 3}
        words += ["--mode", mode, *command]
        more = {"device": "cpu", "resources": {"cpus": 0.1}, **quick, **more}
        return ReplicaSettings(name=name, model="stub-model", engine="command", command=words, **more)

    return stub


@pytest.fixture
def wait_for():
    def wait_for(what, timeout_s=120):
        deadline = time.monotonic() + timeout_s
        while not (found := what()):
            assert time.monotonic() < deadline, what
            time.sleep(0.05)
        return found

    return wait_for


@pytest.fixture
def replica_processes():
    """The processes of replicas that these tests have started, by mark; other tests run at the same time."""
    from curator.serve.processes import marked_processes

    def replica_processes():
        found = {}
        for mark, ids in marked_processes().items():
            ours = [process for process in ids if is_ours(process)]
            found |= {mark: ours} if ours else {}
        return found

    return replica_processes


def is_ours(process):
    try:
        return f"{OURS}={os.environ[OURS]}".encode() in Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


@pytest.fixture(autouse=True)
def nothing_is_left(replica_processes):
    """Whatever a test did: no process of a replica is left that was not there before."""
    before = set(replica_processes())
    yield
    deadline = time.monotonic() + 20
    while left := set(replica_processes()) - before:
        assert time.monotonic() < deadline, left
        time.sleep(0.1)
