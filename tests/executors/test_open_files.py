import os
import subprocess
import sys

import pytest

PROGRAM = """
import os, resource, sys
from curator.executors.open_files import reserve_open_files

if sys.argv[1] != "unlimited":
    resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
before = sorted(os.listdir("/proc/self/fd"))
room = reserve_open_files()
assert sorted(os.listdir("/proc/self/fd")) == before
with open("/proc/self/status") as status:
    table = int(next(line for line in status if line.startswith("FDSize")).split()[1])
print(room, table)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="only Linux says how large the table is")
@pytest.mark.parametrize(("limit", "wanted"), [("unlimited", 1024), ("300", 300)])
def test_the_table_of_open_files_has_room_and_nothing_is_left_open(limit, wanted):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, limit], capture_output=True, text=True, check=True, timeout=60
    )
    room, table = map(int, done.stdout.split())
    assert room == wanted <= table
