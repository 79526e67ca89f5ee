"""One Ray cluster for the tests of whole runs, joined by its address."""

import logging

import pytest


@pytest.fixture(scope="module")
def ray_address():
    from ray.cluster_utils import Cluster

    arguments = {"num_cpus": 2, "object_store_memory": 80_000_000, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=arguments)
    try:
        yield cluster.address
    finally:
        logging.getLogger("ray").setLevel(logging.ERROR)
        cluster.shutdown()
