"""From ``input_path`` to an ordered list of input files: what is there, and what its content says it is.

Paths, directories, globs and fsspec URLs flow in; ``InputFile``s flow out, in the order given and sorted within each.
Nothing is opened for more than its first and last bytes. Whatever would surprise later, a missing file, an archive of
another kind, a FIFO, a dangling link, UTF-16, a JSON array, is refused here, all of it in one message.
"""

from __future__ import annotations

import glob
import json
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import fsspec

from curator.errors import InputError
from curator.stages.io.byte_stream import ByteStream, CorruptStreamError, is_remote, open_binary, version_of
from curator.tasks import InputFile
from curator.tasks.split import Compression, Format

EMBEDDED = "embedded"
"""The word that stands for the input that every Python installation carries."""

_DATA_SUFFIXES = (".jsonl", ".ndjson", ".json", ".jl", ".gz", ".zst", ".zstd", ".parquet", ".pq", ".bz2", ".xz")
_SNIFFED_BYTES = 64 << 10
_LINES_SHOWN = 32
_UNSUPPORTED = {
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"PK\x03\x04": "a zip archive",
    b"7z\xbc\xaf": "a 7z archive",
    b"ARROW1": "an Arrow IPC file",
    b"\x04\x22\x4d\x18": "lz4",
    b"%PDF": "PDF",
}


@dataclass(slots=True)
class Listing:
    """What was found, and what was passed over in directories because its name is not one of data."""

    files: list[InputFile] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


def list_inputs(paths: Sequence[str]) -> Listing:
    """Find the input files.

    In directories, names that begin with ``.`` or ``_`` and suffixes that are not of data are passed over and listed as
    ignored; links to directories are not followed. A path that exists is taken as it is, also with ``*`` in its name.

    Args:
        paths: files, directories, globs and fsspec URLs, in the order that documents are to have.

    Raises:
        InputError: something is missing, or is no data that curator reads. All of it is listed.
    """
    listing = Listing()
    problems: list[str] = []
    seen: set[str] = set()
    for path in paths:
        if is_remote(path) and "@" in urlsplit(path).netloc:
            problems.append(
                f"input_path: a URL of {urlsplit(path).scheme}:// holds credentials, which would end up in logs and "
                "manifests. Give them to the file system by its own configuration or environment."
            )
            continue
        try:
            names = list(_expand(path, listing.ignored, problems))
        except (OSError, ImportError, ValueError) as error:
            problems.append(f"input_path: {path!r} cannot be listed: {error}.")
            continue
        for name in names:
            if (key := name if is_remote(name) else os.path.realpath(name)) in seen:
                continue
            seen.add(key)
            try:
                listing.files.append(sniff(name))
            except InputError as error:
                problems.extend(error.problems)
        if not names and not any(repr(path) in problem for problem in problems):
            problems.append(
                f"input_path: nothing to read at {path!r}. Allowed are files, directories and globs of "
                f".jsonl, .jsonl.gz, .jsonl.zst and .parquet; relative paths start at {os.getcwd()!r}."
            )
    if problems:
        raise InputError(problems)
    return listing


def sniff(path: str) -> InputFile:
    """What one file is, by its content.

    Raises:
        InputError: it cannot be read, or is of a kind that curator does not read.
    """
    try:
        path.encode()
        if not is_remote(path):
            mode = os.stat(path).st_mode
            if not stat.S_ISREG(mode):
                raise InputError(f"input_path: {path!r} is {_kind_of(mode)}, not a regular file.")
        size, version = version_of(path)
        with open_binary(path) as handle:
            head = handle.read(_SNIFFED_BYTES)
    except UnicodeEncodeError:
        raise InputError(f"input_path: {path!r} has a name that is not UTF-8; rename the file.") from None
    except InputError:
        raise
    except Exception as error:  # every store has exceptions of its own
        if isinstance(error, OSError) or is_remote(path):
            reason = "is a dangling link" if os.path.islink(path) and not os.path.exists(path) else str(error)
            raise InputError(f"input_path: {path!r} cannot be read: {reason}.") from None
        raise
    if head.startswith(b"PAR1"):
        return InputFile(path, size, version, "parquet")
    if PurePosixPath(path.lower()).suffix in (".parquet", ".pq"):
        raise InputError(
            f"input_path: {path!r} is named Parquet, but {'is empty' if not head else 'its content is not'}."
        )
    for magic, kind in _UNSUPPORTED.items():
        if head.startswith(magic):
            raise InputError(f"input_path: {path!r} is {kind}, which curator does not read. Use .gz or .zst instead.")
    compression: Compression = "none"
    if head.startswith(b"\x1f\x8b"):
        compression = "gz"
    elif head.startswith(b"\x28\xb5\x2f\xfd") or head[1:4] == b"\x2a\x4d\x18":
        compression = "zst"
    file = InputFile(path, size, version, "jsonl", compression)
    if compression != "none":
        head = _uncompressed_head(file)
    if problem := _not_json_lines(head, named_as_data=_is_data(PurePosixPath(path).name)):
        raise InputError(f"input_path: {path!r} {problem}")
    return file


def seems_to_have(file: InputFile, name: str) -> bool:
    """Whether a field or column of that name shows in a file's footer, or in the first of its bytes."""
    if file.format == "parquet":
        from curator.stages.io.parquet_reader import column_names

        return name in column_names(file)
    head = _uncompressed_head(file)
    return not head or any(json.dumps(name, ensure_ascii=ascii_only).encode() in head for ascii_only in (True, False))


def columns_shown(file: InputFile) -> list[str]:
    """Names that a file's footer shows, or its first records; for suggestions only."""
    if file.format == "parquet":
        from curator.stages.io.parquet_reader import column_names

        return column_names(file)
    names: dict[str, None] = {}
    for line in _uncompressed_head(file).splitlines()[:_LINES_SHOWN]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        names.update(dict.fromkeys(record if isinstance(record, dict) else ()))
    return list(names)


def _uncompressed_head(file: InputFile) -> bytes:
    view = bytearray(_SNIFFED_BYTES)
    try:
        with ByteStream(file) as stream:
            return bytes(view[: stream.readinto(memoryview(view))])
    except CorruptStreamError as error:
        if "memory" in str(error):
            raise InputError(
                f"input_path: {file.path!r} cannot be unpacked in bounded memory: {error} (more than 128 MiB); "
                "pack it again without 'zstd --long' or '--ultra'."
            ) from None
        return b""  # reading it will say where it breaks


def _not_json_lines(head: bytes, *, named_as_data: bool) -> str:
    """Why these first bytes cannot be JSON lines; empty when they may be.

    Lines that are no records are a matter of the quarantine, unless nothing but them, not even the name of the file,
    speaks for JSON lines.
    """
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "is UTF-16 (it begins with a byte order mark); convert it to UTF-8."
    if head.startswith((b"{\0", b"\0{", b"\0\0\0{")):
        return "is UTF-16 or UTF-32; convert it to UTF-8."
    if head[257:262] == b"ustar":
        return "is a tar archive; unpack it."
    if head.startswith((b"\x1f\x8b", b"\x28\xb5\x2f\xfd")):
        return "is compressed twice; unpack it once."
    if head.startswith(b"PAR1"):
        return "is Parquet inside a compressed file; unpack it."
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip(b" \t\r\n")
    if text.startswith(b"<"):
        return "is HTML or XML, not JSON lines; look whether a download saved an error page."
    if text.startswith(b"[") and text[1:].lstrip(b" \t\r\n")[:1] in (b"{", b""):
        return "is one JSON array, not JSON lines; 'jq -c .[]' makes lines of it."
    if b"\n" not in head and (b"}\r{" in head or b"}\r\r{" in head):
        return 'has lines that end in CR alone (old Mac); \'tr "\\r" "\\n"\' makes JSON lines of it.'
    if text and not named_as_data and not text.startswith(b"{"):
        return f"is not JSON lines by its name, nor by its content, which begins with {text[:20]!r}."
    return ""


def _expand(path: str, ignored: list[str], problems: list[str]) -> Iterator[str]:
    if is_remote(path):
        try:
            yield from _expand_remote(path, ignored)
        except Exception as error:  # noqa: BLE001 - every store has exceptions of its own
            problems.append(f"input_path: {path!r} cannot be listed: {type(error).__name__}: {error}.")
    elif os.path.isdir(path):
        yield from _walk(path, ignored, problems)
    elif os.path.lexists(path):
        yield path
    else:
        for name in sorted(glob.glob(path, recursive=True)):
            if os.path.isdir(name):
                yield from _walk(name, ignored, problems)
            else:
                yield name


def _walk(directory: str, ignored: list[str], problems: list[str]) -> Iterator[str]:
    """Data files below a directory, sorted by path; links to directories are listed as ignored."""
    found: list[str] = []
    for parent, directories, names in os.walk(directory, onerror=lambda e: problems.append(f"input_path: {e}.")):
        for name in list(directories):
            full = os.path.join(parent, name)
            if name.startswith((".", "_")) or os.path.islink(full):
                directories.remove(name)
                ignored.append(full)
        for name in names:
            (found if _is_data(name) else ignored).append(os.path.join(parent, name))
    yield from sorted(found)


def _expand_remote(path: str, ignored: list[str]) -> Iterator[str]:
    filesystem, name = fsspec.core.url_to_fs(path)
    if filesystem.isfile(name):
        names: Iterable[str] = [name]
    elif filesystem.isdir(name):
        found = sorted(filesystem.find(name))
        names = [n for n in found if _is_data(PurePosixPath(n).name)]
        ignored.extend(filesystem.unstrip_protocol(n) for n in found if n not in set(names))
    else:
        names = sorted(n for n in filesystem.glob(name) if filesystem.isfile(n))
    for found_name in names:
        yield filesystem.unstrip_protocol(found_name)


def _is_data(name: str) -> bool:
    return not name.startswith((".", "_")) and name.lower().endswith(_DATA_SUFFIXES)


def _kind_of(mode: int) -> str:
    for test, kind in ((stat.S_ISFIFO, "a FIFO"), (stat.S_ISSOCK, "a socket"), (stat.S_ISDIR, "a directory")):
        if test(mode):
            return kind
    return "a device"


def formats_of(files: Sequence[InputFile]) -> list[tuple[Format, Compression]]:
    """The kinds of file in an input, each once, in order.

    Example:
        >>> formats_of([InputFile("a", 1, "0", "jsonl"), InputFile("b", 1, "0", "jsonl")])
        [('jsonl', 'none')]
    """
    return list(dict.fromkeys((file.format, file.compression) for file in files))
