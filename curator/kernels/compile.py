"""How kernels are compiled, and where the machine code is kept between runs.

Python functions flow in, numba dispatchers flow out. The cache is a folder of the user, named by a digest of all kernel
sources and of the processor: numba does not notice that a function *called* by a cached one has changed, and machines
of different kinds that share a home would otherwise take turns in one index. A folder that another user could write to
is refused, as cached code is executed. Without a folder every process compiles for itself; damage is compiled over.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from platform import python_version
from typing import ParamSpec, TypeVar

from llvmlite.binding import get_host_cpu_features, get_host_cpu_name
from numba import __version__ as numba_version
from numba import config, njit
from numba.core.caching import FunctionCache

_SETTINGS = vars(config)
_DAMAGE = (OSError, EOFError, ValueError, LookupError, AttributeError, ImportError, TypeError, pickle.PickleError)

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


@cache
def cache_folder() -> Path | None:
    """Find, or create with mode 0700, the folder for compiled kernels.

    ``NUMBA_CACHE_DIR`` comes first, then ``$XDG_CACHE_HOME/curator/numba`` if that is an absolute path, then
    ``~/.cache/curator/numba``.

    Returns:
        A writable folder for these sources on this kind of processor; ``None`` if there is none.

    Example:
        >>> folder = cache_folder()
        >>> folder is None or folder.is_dir()
        True
    """
    for root in _candidate_roots():
        folder = root / _folder_name()
        if _is_safe_and_writable(folder):
            return folder
    return None


def kernel(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """Compile a function on its first call: without the GIL, without bounds checks, kept on disk where possible.

    Args:
        function: only integers, floats, contiguous arrays and tuples of them go in; callers pass the same types every
            time.

    Returns:
        The numba dispatcher, which is called like the function.

    Example:
        >>> @kernel
        ... def double(value):
        ...     return value + value
        >>> double(21)
        42
    """
    dispatcher = njit(nogil=True, error_model="numpy", boundscheck=False)(function)
    folder = cache_folder()
    if folder is not None:
        with _numba_cache_dir(folder), suppress(RuntimeError):  # raised if there is no source file to tie a cache to
            dispatcher._cache = _TolerantCache(function)  # type: ignore[attr-defined, no-untyped-call]
    compiled: Callable[_Parameters, _Result] = dispatcher
    return compiled


class _TolerantCache(FunctionCache):
    """A cache whose damage, or a full disk under it, costs a compilation and not the run."""

    def load_overload(self, sig: object, target_context: object) -> object:
        try:
            return super().load_overload(sig, target_context)  # type: ignore[no-untyped-call]
        except _DAMAGE:
            with suppress(OSError):
                self.flush()  # type: ignore[no-untyped-call]
            return None

    def save_overload(self, sig: object, data: object) -> None:
        with suppress(*_DAMAGE):
            super().save_overload(sig, data)  # type: ignore[no-untyped-call]


def _candidate_roots() -> Iterator[Path]:
    if _SETTINGS["CACHE_DIR"]:
        yield Path(_SETTINGS["CACHE_DIR"]).absolute()
        return
    configured = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(configured):
        yield Path(configured, "curator", "numba")
    home = os.path.expanduser("~")
    if os.path.isabs(home):
        yield Path(home, ".cache", "curator", "numba")


@cache
def _folder_name() -> str:
    digest = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    processor = _SETTINGS["CPU_NAME"] or get_host_cpu_name()
    features = _SETTINGS["CPU_FEATURES"] or get_host_cpu_features().flatten()
    digest.update(f"{processor} {features} {python_version()} {numba_version}".encode())
    return digest.hexdigest()[:16]


def _is_safe_and_writable(folder: Path) -> bool:
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        own, parent = folder.stat(), folder.parent.stat()
        if own.st_uid != os.geteuid() or own.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return False
        if parent.st_uid not in (os.geteuid(), 0) or parent.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH:
            return False
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(65536))
    except OSError:
        return False
    return True


@contextmanager
def _numba_cache_dir(folder: Path) -> Iterator[None]:
    before = _SETTINGS["CACHE_DIR"]
    _SETTINGS["CACHE_DIR"] = str(folder)
    try:
        yield
    finally:
        _SETTINGS["CACHE_DIR"] = before
