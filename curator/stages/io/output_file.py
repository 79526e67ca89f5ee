"""One output file: bytes in, compressed if asked for, with a running digest; durable when it is closed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xxhash
from isal import isal_zlib

from curator.errors import StorageError

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

GZIP_LEVELS = range(0, 4)
ZSTD_LEVELS = range(-7, 20)
DIGEST = "xxh3_128"
"""Name of the digest in manifests: it finds damage, not malice, at the speed of memory."""

_GZIP_HEADER_AND_TRAILER = 31
_PIECES_AT_ONCE = 1024  # IOV_MAX of Linux


@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a manifest says of a file."""

    name: str
    size_bytes: int
    digest: str


class OutputFile:
    """Writes bytes front to back.

    Args:
        path: a new file in a private directory.
        compression: ``none``, ``gz`` or ``zst``.
        level: compression level; ``None`` is 1, the fastest that still compresses well.
        durable: whether the bytes are forced to the medium before ``close`` returns.

    Raises:
        StorageError: the file cannot be created or written.
    """

    def __init__(
        self, path: Path, *, compression: str = "none", level: int | None = None, durable: bool = True
    ) -> None:
        self._path = path
        self._durable = durable
        self._digest = xxhash.xxh3_128()
        self._size_bytes = 0
        self._compressor: Any = None
        level = 1 if level is None else level
        if compression == "gz":
            self._compressor = isal_zlib.compressobj(level=level, wbits=_GZIP_HEADER_AND_TRAILER)
        elif compression == "zst":
            options: dict[int, int] = {
                zstd.CompressionParameter.compression_level: level,
                zstd.CompressionParameter.checksum_flag: 1,
            }
            self._compressor = zstd.ZstdCompressor(options=options)
        try:
            self._handle = open(path, "xb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise storage_error(path, error) from error

    def write(self, data: memoryview) -> None:
        """Append uncompressed bytes; the memory may be used again when this returns."""
        self._put(memoryview(self._compressor.compress(data)) if self._compressor is not None else data)

    def write_all(self, pieces: Sequence[memoryview]) -> None:
        """Append uncompressed pieces in order, with few calls of the operating system."""
        if self._compressor is not None:
            for piece in pieces:
                self.write(piece)
            return
        for start in range(0, len(pieces), _PIECES_AT_ONCE):
            some = pieces[start : start + _PIECES_AT_ONCE]
            for piece in some:
                self._digest.update(piece)
            expected = sum(map(len, some))
            self._size_bytes += expected
            try:
                written = os.writev(self._handle.fileno(), some)
                while written < expected:
                    rest = b"".join(some)[written:]
                    written += self._handle.write(rest)
            except OSError as error:
                raise storage_error(self._path, error) from error

    def _put(self, data: memoryview) -> None:
        if not data:
            return
        self._digest.update(data)
        self._size_bytes += len(data)
        try:
            while data:
                data = data[self._handle.write(data) :]
        except OSError as error:
            raise storage_error(self._path, error) from error

    def close(self) -> FileRecord:
        """Finish the file and say what it is."""
        if self._compressor is not None:
            self._put(memoryview(self._compressor.flush()))
        try:
            if self._durable:
                os.fsync(self._handle.fileno())
            self._handle.close()
        except OSError as error:
            raise storage_error(self._path, error) from error
        return FileRecord(self._path.name, self._size_bytes, self._digest.hexdigest())

    def abort(self) -> None:
        """Close without finishing."""
        self._handle.close()


def storage_error(path: Path | str, error: OSError) -> StorageError:
    """The failure of a write in words, with the room that is left."""
    if not is_full(error):
        return StorageError(f"{str(path)!r} cannot be written: {error.strerror or error}.")
    free = ""
    with contextlib.suppress(OSError):
        free = f"; {shutil.disk_usage(Path(path).parent).free:,} bytes are free there"
    return StorageError(f"{str(path)!r} cannot be written: {os.strerror(error.errno or 0)}{free}.")


def is_full(error: BaseException) -> bool:
    """Whether there was no room, on the disk or by quota, whoever noticed it.

    Example:
        >>> is_full(OSError(errno.ENOSPC, "Error writing bytes to file")), is_full(OSError("4 written"))
        (True, False)
    """
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


def digest_file(path: Path) -> FileRecord:
    """Digest of a file that is there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "a"); _ = path.write_bytes(b"abc")
        ...     digest_file(path).digest
        '06b05ab6733a618578af5f94892f3950'
    """
    digest, size, buffer = xxhash.xxh3_128(), 0, memoryview(bytearray(1 << 20))
    with open(path, "rb", buffering=0) as handle:
        while count := handle.readinto(buffer):
            digest.update(buffer[:count])
            size += count
    return FileRecord(path.name, size, digest.hexdigest())


def sync_directory(path: Path) -> None:
    """Force the names in a directory to the medium."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
