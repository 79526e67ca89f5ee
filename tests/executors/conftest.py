"""One Ray cluster of two raylets for all tests here, joined by its address, never found by chance."""

import logging

import pytest


@pytest.fixture(scope="session")
def ray_address():
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "object_store_memory": 80_000_000,
            "include_dashboard": False,
            "_system_config": {
                "health_check_initial_delay_ms": 0,
                "health_check_period_ms": 500,
                "health_check_timeout_ms": 500,
                "health_check_failure_threshold": 3,
            },
        },
    )
    try:
        cluster.add_node(num_cpus=1, object_store_memory=80_000_000)
        yield cluster.address
    finally:
        logging.getLogger("ray").setLevel(logging.ERROR)
        cluster.shutdown()
