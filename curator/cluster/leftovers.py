"""A folder that goes with this process, however it ends: a shell beside it removes what it could not remove itself.

Processes that were started for the folder, which have it as the value of an option, go with it: of a Ray session whose
driver was killed, two agents would stay for a minute.

A second Ctrl-C, ``kill -9`` and the kernel's want of memory leave no ``finally`` that could. The shell waits for a line
from this process; if the end of its input comes first, the process is gone. It is in a session of its own, so that what
ends a whole process group leaves it; what ends every process of a job, as SLURM does, ends it too.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

_SHELL = "/bin/sh"

# Processes of the folder notice a little later that they are alone, and may write until then; those that do not notice
# within three seconds are ended.
_REMOVE = """
read -r _ && exit 0
for turn in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
  sleep 1
  rm -rf -- "$1"
  sleep 1
  left=
  for process in /proc/[0-9]*; do
    if { tr '\\0' '\\n' < "$process/cmdline"; } 2> /dev/null | grep -q -F -e "=$1"; then
      left=1
      [ "$turn" = 1 ] || kill -KILL "${process#/proc/}" 2> /dev/null
    fi
  done
  [ -e "$1" ] || [ "$left" ] || exit 0
done
"""


@contextlib.contextmanager
def removed_with_this_process(folder: Path) -> Iterator[None]:
    """Remove a folder at the end, or soon after this process was ended.

    Args:
        folder: the folder; it need not exist any more then.
    """
    shell = subprocess.Popen(  # noqa: S603
        [_SHELL, "-c", _REMOVE, "sh", str(folder)],
        cwd="/",
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shell.communicate(b"done\n")
