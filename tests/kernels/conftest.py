"""Kernels are compiled before the first test, so that no time limit of a test includes the compiler."""

import numpy as np
import pytest

from curator.kernels.shingle_sets import shingle_sets
from curator.kernels.warm import warm


@pytest.fixture(scope="session", autouse=True)
def _compiled_kernels():
    warm()
    shingle_sets(np.zeros(65, np.uint8), [0, 1])  # not needed by a run, only to look at shingles
