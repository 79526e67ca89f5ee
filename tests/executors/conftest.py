"""One Ray cluster for all tests here, joined by its address: a head, and two nodes with labels and pretended GPUs."""

import pytest

from tests.raylets import ZONES, raylets


@pytest.fixture(scope="package")
def cluster():
    with raylets(1, *ZONES) as cluster:
        yield cluster


@pytest.fixture(scope="package")
def ray_address(cluster):
    return cluster.address


@pytest.fixture(autouse=True)
def new_nodes_for_a_second_try(request):
    """What a first try left on the nodes, or was in its way there, may be why it failed."""
    if getattr(request.node, "execution_count", 1) > 1 and "cluster" in request.fixturenames:
        request.getfixturevalue("cluster").renew()
