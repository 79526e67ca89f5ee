"""Memory that a process has freed stays with it for the next chunk: pages from the system cost a fault each.

A chunk of text becomes signatures, keys and tables of a few megabytes, which are gone before the next chunk makes the
same again. Where the allocator hands them back to the system in between, every page is asked for, cleared and charged
once a chunk. Only processes that are our own are told, never the one of somebody who calls the Python API.
"""

from __future__ import annotations

import ctypes

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_KEPT_BYTES = 128 << 20
_MAPPED_BYTES = 32 << 20
"""Larger pieces are handed back at once; the largest that glibc takes for this threshold."""


def keep_freed_memory() -> bool:
    """Let the allocator keep up to 128 MiB of freed memory; says whether it has such a setting, as that of glibc does.

    Example:
        >>> keep_freed_memory() in (True, False)
        True
    """
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is None:
        return False
    settings = ((_MMAP_THRESHOLD, _MAPPED_BYTES), (_TRIM_THRESHOLD, _KEPT_BYTES))
    return all(tune(name, size) == 1 for name, size in settings)
