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
