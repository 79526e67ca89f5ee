"""The default input: real text that every Python installation carries; nothing is downloaded.

Two sources are read: docstrings of the standard library, and licences, readme files and
descriptions of the installed distributions. Both repeat themselves (inherited docstrings, one
licence in many distributions), so deduplication has something to find. Files go in, documents come
out. Source code is parsed, never imported or executed.

The documents depend on the installation alone: the same installation gives the same bytes.
"""

import ast
import csv
import json
import os
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from loguru import logger

SHARDS = 4

# Tests, bundled packages, and packages of tables or demonstrations: slow to parse, little to read.
# fmt: off
SKIPPED_FOLDERS = frozenset([
    "__pycache__", "dist-packages", "distutils", "encodings", "ensurepip", "idle_test", "idlelib",
    "lib2to3", "pydoc_data", "site-packages", "test", "tests", "turtledemo",
])
# fmt: on
_LICENCE = re.compile(r"(licen[cs]e|copying|copyright|notice|authors|readme)", re.IGNORECASE)
_CODE = re.compile(r"\.(py|pyi|pyc|pyx|so|c|cc|h|hpp|js|json|html)$", re.IGNORECASE)


def embedded_documents() -> Iterator[dict[str, str]]:
    """Yield the documents of this Python installation, always in the same order.

    Files that cannot be read, decoded or parsed are left out and counted in the log. Empty texts
    are left out.

    Yields:
        ``id`` (unique, such as ``stdlib/os.py::walk`` or ``dist/rich/METADATA``), ``text`` (not
        empty, valid Unicode) and ``source`` (``stdlib`` or ``distribution``).

    Example:
        >>> first = next(embedded_documents())
        >>> first["id"], first["source"], first["text"][:30]
        ('stdlib/__future__.py', 'stdlib', 'Record of phased-in incompatib')
    """
    skipped: list[str] = []
    seen: dict[str, int] = {}
    for source, documents in (
        ("stdlib", _stdlib_documents(_stdlib_root(), skipped)),
        ("distribution", _distribution_documents(skipped)),
    ):
        for name, text in documents:
            # Docstrings may spell lone surrogates, which no UTF-8 file can hold.
            text = text.encode("utf-8", "replace").decode("utf-8").strip()
            if not text:
                continue
            seen[name] = count = seen.get(name, 0) + 1
            unique = name if count == 1 else f"{name}#{count}"
            yield {"id": unique, "text": text, "source": source}
    if skipped:
        logger.debug("embedded input: {} unreadable files left out: {}", len(skipped), skipped)


def write_embedded(directory: Path) -> list[Path]:
    """Write the embedded documents as JSON lines, in shards of about the same size.

    Several shards are written so that the input has more than one split. Each appears whole or not
    at all.

    Args:
        directory: Where the shards go; made if it is not there.

    Returns:
        The shards in reading order, ``embedded-00000.jsonl`` and on: four, or fewer when there are
        hardly any documents.

    Raises:
        OSError: ``directory`` cannot be written.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     [path.name for path in write_embedded(Path(folder))][:2]
        ['embedded-00000.jsonl', 'embedded-00001.jsonl']
    """
    directory.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(document, ensure_ascii=False).encode() + b"\n" for document in embedded_documents()]
    written: list[tuple[Path, Path]] = []
    for number, shard in enumerate(_cut(lines, SHARDS)):
        path = directory / f"embedded-{number:05d}.jsonl"
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.write_bytes(b"".join(shard))
        written.append((temporary, path))
    for temporary, path in written:
        temporary.replace(path)
    return [path for _, path in written]


def describe_embedded() -> str:
    """Say in one line what the embedded input is, without reading it.

    Example:
        >>> describe_embedded().split(" standard library ")[1].split(" of ")[0]
        'and licence texts'
    """
    version, count = platform.python_version(), len(_distributions())
    return f"docstrings of the Python {version} standard library and licence texts of {count} installed distributions"


def _cut(lines: Sequence[bytes], shards: int) -> Iterator[Sequence[bytes]]:
    """Cut ``lines`` into at most ``shards`` runs of about the same number of bytes, none empty."""
    total_bytes, done_bytes, start, cut = sum(map(len, lines)), 0, 0, 1
    for end, line in enumerate(lines, start=1):
        done_bytes += len(line)
        if done_bytes * shards >= total_bytes * cut:
            yield lines[start:end]
            start, cut = end, done_bytes * shards // total_bytes + 1


def _stdlib_root() -> Path:
    return Path(sysconfig.get_path("stdlib"))


def _stdlib_documents(root: Path, skipped: list[str]) -> Iterator[tuple[str, str]]:
    for relative in sorted(_python_files(root)):
        try:
            tree = _parse((root / relative).read_bytes())
        except (OSError, SyntaxError, ValueError, RecursionError):
            skipped.append(relative)
            continue
        yield f"stdlib/{relative}", ast.get_docstring(tree) or ""
        yield from _docstrings(tree, f"stdlib/{relative}::")


def _python_files(root: Path) -> Iterator[str]:
    """Paths below ``root`` with forward slashes, in the order of the file system."""
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS]
        for name in files:
            if name.endswith(".py"):
                yield Path(folder, name).relative_to(root).as_posix()


def _parse(source: bytes) -> ast.Module:
    with warnings.catch_warnings():
        # Old code in the library (invalid escapes and the like) is not the user's business.
        warnings.simplefilter("ignore")
        return ast.parse(source)


def _docstrings(block: ast.AST, prefix: str) -> Iterator[tuple[str, str]]:
    """Qualified names and docstrings below ``block``, in source order."""
    for field in ("body", "handlers", "orelse", "finalbody"):
        children = getattr(block, field, ())
        for child in children if isinstance(children, list) else ():
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                yield prefix + child.name, ast.get_docstring(child) or ""
                yield from _docstrings(child, f"{prefix}{child.name}.")
            else:
                yield from _docstrings(child, prefix)


def _distributions() -> list[tuple[str, metadata.Distribution]]:
    """Normalised names and distributions, sorted; of two with one name, the one imports find."""
    found: dict[str, metadata.Distribution] = {}
    for distribution in metadata.distributions():
        try:
            names = distribution.metadata.get_all("Name") or []
        except ValueError:
            continue
        for name in names[:1]:
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), distribution)
    return sorted(found.items(), key=lambda item: item[0])


def _distribution_documents(skipped: list[str]) -> Iterator[tuple[str, str]]:
    for name, distribution in _distributions():
        description = distribution.metadata.get_payload()  # type: ignore[attr-defined]
        if isinstance(description, str):
            yield f"dist/{name}/METADATA", description
        for relative in _recorded_texts(distribution):
            try:
                text = Path(str(distribution.locate_file(relative))).read_text(encoding="utf-8")
            except (OSError, ValueError):
                skipped.append(relative)
                continue
            yield f"dist/{name}/{relative}", text


def _recorded_texts(distribution: metadata.Distribution) -> list[str]:
    """The licences and readme files that RECORD names, sorted.

    ``Distribution.files`` would build an object for each of many thousand rows.
    """
    try:
        lines = (distribution.read_text("RECORD") or "").splitlines()
        paths = {row[0] for row in csv.reader(filter(_LICENCE.search, lines)) if row}
    except (ValueError, csv.Error):
        return []
    return sorted(path for path in paths if _LICENCE.match(path.rpartition("/")[2]) and not _CODE.search(path))
