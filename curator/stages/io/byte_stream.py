"""Uncompressed bytes of an input file, front to back, in memory that does not depend on what the file claims.

Local paths are opened directly, everything else through fsspec. gzip and zstd are taken apart member by member, with
their checksums; what follows a member and is not one is reported, as is a stream that ends too early.
"""

from __future__ import annotations

import os
import sys
import zlib
from typing import IO, Any, Protocol, cast

import fsspec
from isal import igzip_lib

from curator.errors import InputChangedError
from curator.tasks import InputFile

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_COMPRESSED_BLOCK_BYTES = 256 << 10
_MOST_BYTES = 1 << 20
"""Bytes that a decoder is asked for at a time; what it throws away with an error is at most that."""
_CAREFUL_BYTES = {"gz": 64 << 10, "zst": 1}
_LOOKAHEAD_BYTES = 256 << 10
_ELSEWHERE = -1
"""The position after a read in some place, which leaves the handle where it was: to read on, move first."""

_GZIP_MAGIC = b"\x1f\x8b"
_ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = b"\x2a\x4d\x18"


_DAMAGES: tuple[type[Exception], ...] = (
    cast("type[Exception]", igzip_lib.IsalError),
    zlib.error,
    zstd.ZstdError,
    MemoryError,
)


class CorruptStreamError(Exception):
    """A compressed stream cannot be read further; ``reason`` is the word for the quarantine."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


class _Decompressor(Protocol):
    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _CarefulGzip:
    """Decodes gzip up to its fault: what fails is tried again from a copy, with half the bytes, down to one."""

    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(31)
        self._rest = b""
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self._decoder.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        data = self._rest + data
        while True:
            before = self._decoder.copy()
            try:
                found = self._decoder.decompress(data, max_length)
            except zlib.error:
                self._decoder = before
                if max_length == 1:
                    raise
                max_length //= 2
                continue
            self._rest = self._decoder.unconsumed_tail
            self.needs_input = not self._rest and len(found) < max_length
            return found


def is_remote(path: str) -> bool:
    """Whether a path goes through fsspec.

    Example:
        >>> is_remote("s3://bucket/a.jsonl"), is_remote("/data/a.jsonl")
        (True, False)
    """
    return "://" in path


def open_binary(path: str) -> IO[bytes]:
    """Open for reading, unbuffered where the path is local."""
    if is_remote(path):
        return cast("IO[bytes]", fsspec.open(path, "rb").open())
    return cast("IO[bytes]", open(path, "rb", buffering=0))


def version_of(path: str) -> tuple[int, str]:
    """Size in bytes, and what changes when the file does: the modification time, or the store's etag.

    Raises:
        OSError: the file cannot be looked at.
    """
    if not is_remote(path):
        status = os.stat(path)
        return status.st_size, str(status.st_mtime_ns)
    filesystem, name = fsspec.core.url_to_fs(path)
    details: dict[str, Any] = filesystem.info(name)
    for key in ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "created"):
        if details.get(key) is not None:
            return int(details["size"]), str(details[key])
    return int(details["size"]), ""


def check_unchanged(file: InputFile) -> None:
    """Refuse to go on with a file that is no longer what the plan saw.

    Raises:
        InputChangedError: size or version differ, or the file is gone.
    """
    try:
        found = version_of(file.path)
    except OSError as error:
        raise InputChangedError(f"{file.path!r}: cannot be read any more: {error}.") from error
    if found != (file.size_bytes, file.version):
        raise InputChangedError(
            f"{file.path!r}: changed while the run was reading it ({file.size_bytes:,} bytes then, {found[0]:,} now). "
            "Nothing is published; run again when the input is complete."
        )


def _in_words(error: Exception) -> str:
    if "checksum" in str(error) or "data check" in str(error):
        return f"{error}: some of the records before this place may not be what was once written"
    return str(error) or type(error).__name__


class ByteStream:
    """Reads the uncompressed bytes of a file from a position on.

    ``damage`` is what ended a compressed file too early, as soon as it is known.

    Args:
        file: the file as planned.
        begin: first byte wanted; a compressed file is read and thrown away up to there.

    Raises:
        InputChangedError: the file is not what was planned.
    """

    def __init__(self, file: InputFile, begin: int = 0) -> None:
        check_unchanged(file)
        self._file = file
        self._handle = open_binary(file.path)
        in_places = file.compression == "none" and not is_remote(file.path)
        self._descriptor = self._handle.fileno() if in_places else None
        self._decompressor: _Decompressor | None = None
        self._pending = b""
        self._members = 0
        self._ended = False
        self.damage: CorruptStreamError | None = None
        self._held_back = b""
        self._member_place = 0
        self._member_bytes = 0
        self._careful = False
        self.position = 0
        """Of the byte that comes next, in the uncompressed file."""
        self.move_to(begin)

    def move_to(self, position: int) -> None:
        """Go on at a later position; what lies between is not read, unless it has to be decompressed.

        Raises:
            CorruptStreamError: a compressed stream is damaged on the way there.
        """
        if self._file.compression == "none":
            if position != self.position:
                self._handle.seek(position)
            self.position = position
        else:
            self._skip(position - self.position)

    def readinto(self, view: memoryview) -> int:
        """Fill ``view`` as far as the file goes; fewer bytes than asked for mean the end.

        Raises:
            CorruptStreamError: a compressed stream is damaged or cut; what came before the damage has been delivered.
        """
        filled = 0
        while filled < len(view):
            if self._file.compression == "none":
                count = self._handle.readinto(view[filled:])  # type: ignore[attr-defined]
                if not count:
                    break
                filled += count
                continue
            if self._ended or self.damage is not None:
                break
            try:
                data = self._decompress(min(len(view) - filled, _MOST_BYTES))
            except CorruptStreamError as error:
                self.damage = error
                break
            view[filled : filled + len(data)] = data
            filled += len(data)
        self.position += filled
        if not filled and self.damage is not None and not self._ended:
            self._ended = True
            raise self.damage
        return filled

    def readinto_at(self, view: memoryview, position: int) -> int:
        """Fill ``view`` from a later position on: ``move_to`` and ``readinto``, by one call of the system if possible.

        Raises:
            CorruptStreamError: a compressed stream is damaged or cut before anything was delivered.
        """
        if self._descriptor is None:
            self.move_to(position)
            return self.readinto(view)
        filled = 0
        while filled < len(view) and (count := os.preadv(self._descriptor, [view[filled:]], position + filled)):
            filled += count
        self.position = _ELSEWHERE
        return filled

    def close(self) -> None:
        """Close the file."""
        self._handle.close()

    def __enter__(self) -> ByteStream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _skip(self, count: int) -> None:
        scratch = memoryview(bytearray(min(count, 1 << 20)))
        while count:
            got = self.readinto(scratch[: min(count, len(scratch))])
            if not got:
                return
            count -= got

    def _decompress(self, limit: int) -> bytes:
        """At most ``limit`` bytes; sets ``_ended`` at the end of the file."""
        while True:
            if self._decompressor is None:
                self._start_member()
                if self._ended:
                    return b""
            decompressor = cast("_Decompressor", self._decompressor)
            if decompressor.eof:
                self._pending, self._decompressor = decompressor.unused_data, None
                continue
            block = b""
            if decompressor.needs_input:
                block = self._pending or self._read_block()
                self._pending = b""
                if not block:
                    raise CorruptStreamError("truncated_stream", f"the {self._file.compression} stream ends too early")
            try:
                careful = _CAREFUL_BYTES[self._file.compression] if self._careful else limit
                data = decompressor.decompress(block, min(limit, careful))
            except _DAMAGES as error:
                if self._careful:
                    raise CorruptStreamError("corrupt_stream", _in_words(error)) from None
                self._begin_again_carefully()
                continue
            if data:
                self._member_bytes += len(data)
                return data

    def _begin_again_carefully(self) -> None:
        """Decode a damaged member again up to where it was, and in the smallest steps from there.

        A decoder that fails throws away what it has decoded since it was called, good bytes among it. In steps of one
        byte all but the last one is delivered, and as much in every pass over the file.
        """
        self._handle.seek(self._member_place)
        self._pending = self._held_back = b""
        self._decompressor, self._members, self._careful = None, self._members - 1, False
        delivered, self._member_bytes = self._member_bytes, 0
        self._start_member()
        if self._file.compression == "gz":
            self._decompressor = _CarefulGzip()
        decompressor = cast("_Decompressor", self._decompressor)
        while self._member_bytes < delivered:
            block = b""
            if decompressor.needs_input:
                block, self._pending = self._pending or self._read_block(), b""
            missing = delivered - self._member_bytes
            limit = missing
            if self._file.compression == "zst":
                limit = missing - _LOOKAHEAD_BYTES if missing > _LOOKAHEAD_BYTES else 1
            try:
                self._member_bytes += len(decompressor.decompress(block, min(limit, _MOST_BYTES)))
            except _DAMAGES as error:
                raise CorruptStreamError("corrupt_stream", _in_words(error)) from None
        self._careful = True

    def _start_member(self) -> None:
        head = self._pending
        while True:
            if self._members:
                head = head.lstrip(b"\0")  # padding to a block of the medium, as tar and tapes leave it
            if len(head) >= 4 or not (more := self._read_block()):
                break
            head += more
        self._pending = head
        if not head:
            self._ended = True
            return
        self._member_place = self._handle.tell() - len(self._held_back) - len(head)
        self._member_bytes = 0
        if self._file.compression == "gz" and head.startswith(_GZIP_MAGIC):
            self._decompressor = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        elif self._file.compression == "zst" and (head.startswith(_ZSTD_MAGIC) or head[1:4] == _ZSTD_SKIPPABLE):
            self._decompressor = cast("_Decompressor", zstd.ZstdDecompressor())
        elif _GZIP_MAGIC.startswith(head) or _ZSTD_MAGIC.startswith(head):
            raise CorruptStreamError("truncated_stream", f"a {self._file.compression} stream ends in its first bytes")
        else:
            raise CorruptStreamError(
                "trailing_garbage", f"bytes that are no {self._file.compression} stream follow one"
            )
        self._members += 1

    def _read_block(self) -> bytes:
        """The next compressed bytes; the last 8 of a file, a gzip trailer, come alone.

        A wrong checksum then costs no data: everything before the trailer has been delivered when it is found.
        """
        data = self._held_back + self._handle.read(_COMPRESSED_BLOCK_BYTES)
        if len(data) <= len(self._held_back):
            self._held_back = b""
            return data
        self._held_back = data[-8:]
        return data[:-8] or self._read_block()
