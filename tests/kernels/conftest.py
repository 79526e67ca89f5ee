"""Kernels are compiled before the first test, so that no time limit of a test includes the compiler."""

import pytest

from curator.kernels.warm import warm


@pytest.fixture(scope="session", autouse=True)
def _compiled_kernels():
    warm()
