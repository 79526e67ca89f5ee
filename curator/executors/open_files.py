"""Room for open files: a process with threads waits for the kernel each time that its table of them doubles.

Linux lets the readers of the old table finish first, 8 to 20 ms, in the midst of whatever opened one file too many: a
worker that maps the keys of forty splits behind a barrier, say. The table never shrinks, so it is made once, large.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource

_OPEN_FILES = 1024


def reserve_open_files(count: int = _OPEN_FILES) -> int:
    """Make room for ``count`` open files, or for as many as this process may have; nothing stays open.

    Returns:
        For how many there is room now, at least.

    Example:
        >>> reserve_open_files(64)
        64
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    most = count if limit == resource.RLIM_INFINITY else min(count, limit)
    with open(os.devnull, "rb") as handle, contextlib.suppress(OSError):
        os.close(fcntl.fcntl(handle, fcntl.F_DUPFD_CLOEXEC, most - 1))
    return most
