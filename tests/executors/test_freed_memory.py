import ctypes
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from curator.executors.freed_memory import keep_freed_memory

if sys.argv[1] == "kept":
    assert keep_freed_memory()
[np.ones(1 << 19) for _ in range(12)]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    chunk = [np.ones(1 << 19) for _ in range(12)]
    del chunk
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="the allocator of this system has no such setting"
)
def test_memory_that_was_freed_is_not_asked_for_again():
    faults = {}
    for how in ("kept", "as it is"):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, timeout=60
        )
        faults[how] = int(done.stdout)
    assert faults["kept"] < 100 < 1000 < faults["as it is"], faults
