"""Signature files: documents hashed once, kept for runs that decide again or compare with them later.

Batches of documents with their signatures flow in, one Arrow file a split flows out, and a header that says how the
signatures were made and of which input. Refused is whatever does not fit together: other shingles, another number of
hashes, another version of a table, another input, a file that is not what was published. Of ``fast`` signatures of
different lengths none is the beginning of the other, so a folder serves exactly its number of hashes, and any bands and
rows that do not need more; of ``classic`` ones the shorter is the beginning of the longer.

A folder holds ``signatures.json`` (``SignatureFiles``), and for each split:

=============================  ==================================================================================
``part-00000.arrow``           ``row``, ``begin`` and ``end`` (bytes of its line), ``id``, ``characters``,
                               ``signature`` (uint32, little-endian; null without shingles), and ``column.<name>``
``part-00000.ledger.parquet``  documents that were removed before; and likewise bad records, ``quarantine``
``part-00000.gone.arrow``      rows that the run removed after all: they are not in its output
=============================  ==================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from curator.errors import ConfigError, StageError
from curator.stages.base import KeptFileWriter
from curator.stages.io.output_file import DIGEST, digest_file
from curator.tasks import DocumentBatch, Split

HEADER = "signatures.json"
FORMAT = "curator signatures"
FORMAT_VERSION = 1

SIGNATURE = "curator.signature"
"""Column of a batch: the signature of each document, null if it has no shingles."""

CHARACTERS = "curator.characters"
"""Column of a batch: characters of each text as it came."""

_COLUMN = "column."
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a folder, relative to it."""

    name: str
    size_bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class KeptSplit:
    """What is kept of one split.

    Args:
        split: the split as it was planned, the path of its file absolute.
        rows: documents that have a row in ``files["part"]``.
        read: records that the split accounts for, with bad and removed ones.
        bytes: uncompressed bytes of them.
        extent: first byte and one past the last byte of the file that it covers; ``None`` for Parquet.
        stages: names of the stages that have removed records or put them into quarantine before.
        files: ``part``, and where there are such rows ``ledger``, ``quarantine`` and ``gone``.
    """

    split: Split
    rows: int
    read: int
    bytes: int
    extent: tuple[int, int] | None
    stages: tuple[str, ...]
    files: dict[str, FileEntry]

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KeptSplit:
        """The inverse of ``asdict``."""
        files = {kind: FileEntry(**entry) for kind, entry in values["files"].items()}
        extent = None if values["extent"] is None else (int(values["extent"][0]), int(values["extent"][1]))
        split, stages = Split.from_dict(values["split"]), tuple(values["stages"])
        return cls(**{**values, "split": split, "extent": extent, "stages": stages, "files": files})


@dataclass(frozen=True, slots=True)
class SignatureFiles:
    """The header of a folder.

    Args:
        path: the folder, absolute.
        made_with: everything that decides a signature, ``num_hashes`` among it.
        columns: columns of documents that are kept beside the signatures.
        before: name and settings of the stages that the documents had passed before, the source first.
        run: fingerprint of the run that made them.
        splits: in input order.
    """

    path: str
    made_with: dict[str, Any]
    columns: tuple[str, ...]
    before: list[dict[str, Any]]
    run: str
    splits: tuple[KeptSplit, ...]

    @property
    def num_hashes(self) -> int:
        """Positions of each signature."""
        return int(self.made_with["num_hashes"])

    @property
    def identity(self) -> str:
        """A digest of the header, which has those of all files."""
        return _seal(self._content())

    def has(self, columns: Sequence[str]) -> bool:
        """Whether these columns of a batch can be read from here."""
        return set(columns) <= {"id", SIGNATURE, CHARACTERS, *self.columns}

    def file(self, split: int, kind: str) -> Path | None:
        """Where a file of a split lies; ``None`` if it has none of that kind."""
        entry = self.splits[split].files.get(kind)
        return None if entry is None else Path(self.path, entry.name)

    def check(self, split: int) -> None:
        """Look at every byte of the files of a split.

        Raises:
            StageError: they are not what was published.
        """
        for entry in self.splits[split].files.values():
            try:
                found = digest_file(Path(self.path, entry.name))
            except OSError as error:
                raise StageError(f"{str(Path(self.path, entry.name))!r}: cannot be read: {error.strerror}.") from error
            if (found.size_bytes, found.digest) != (entry.size_bytes, entry.digest):
                raise StageError(
                    f"{str(Path(self.path, entry.name))!r}: its bytes are not those that were kept. Keep the "
                    "signatures again, or fetch a good copy."
                )

    def _content(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "path"}

    def write(self, folder: Path) -> None:
        """Write the header; the same signatures give the same bytes."""
        content = self._content()
        whole = {"format": FORMAT, "version": FORMAT_VERSION, "digest": DIGEST, "seal": _seal(content), **content}
        (folder / HEADER).write_text(json.dumps(whole, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def open_signatures(path: str | Path, where: str) -> SignatureFiles:
    """Read the header of a folder and look whether its files are there.

    Args:
        path: the folder.
        where: the option that names it, for messages.

    Raises:
        ConfigError: it holds no signatures, those of another version, or not all of them.
    """
    folder = Path(path).absolute()
    shown = f"{where}: {str(path)!r}"
    try:
        whole: dict[str, Any] = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        if whole["format"] != FORMAT:
            raise ValueError(f"format {whole['format']!r}")
        if (whole["version"], whole["digest"]) != (FORMAT_VERSION, DIGEST):
            raise ConfigError(
                f"{shown} is of version {whole['version']}, and this is version {FORMAT_VERSION}. Keep the signatures "
                "again."
            )
        names = ("made_with", "columns", "before", "run", "splits")
        content = {name: whole[name] for name in names}
        if whole["seal"] != _seal(content):
            raise ValueError("its content does not match its seal")
        splits = tuple(KeptSplit.from_dict(values) for values in content["splits"])
        kept = SignatureFiles(str(folder), **{**content, "columns": tuple(content["columns"]), "splits": splits})
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(
            f"{shown} holds no signatures: there is no {HEADER!r}. Name a folder that a run with "
            "'stages.fuzzy.keep_signatures=FOLDER' left."
        ) from None
    except ConfigError:
        raise
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(
            f"{shown} is damaged: {HEADER!r} cannot be understood ({type(error).__name__}: {error}). Keep the "
            "signatures again."
        ) from None
    problems = [
        f"{shown} is damaged: {problem}. Keep the signatures again, or fetch a good copy."
        for kept_split in kept.splits
        for entry in kept_split.files.values()
        if (problem := _missing(folder / entry.name, entry))
    ]
    if problems:
        raise ConfigError(problems[:_SHOWN])
    return kept


def differences(kept: SignatureFiles, wanted: Mapping[str, Any], where: str) -> list[str]:
    """How signatures were made otherwise than this run would make them, a sentence for each option.

    Args:
        kept: the signatures.
        wanted: what this run would write as ``made_with``.
        where: the option that names the folder, for messages.
    """
    problems = []
    # What only one of them needs differs because of an option that both have.
    for key in sorted(kept.made_with.keys() & wanted.keys()):
        theirs, ours = kept.made_with[key], wanted[key]
        serves_fewer = key == "num_hashes" and wanted["scheme"] == "classic" and theirs >= ours
        if theirs == ours or serves_fewer:
            continue
        if key.endswith("_version"):
            advice = "keep the signatures again with this version"
        else:
            advice = f"type 'stages.fuzzy.{key}={theirs}', or keep the signatures again"
        problems.append(f"{where}: {kept.path!r} was made with {key}={theirs!r}, this run has {ours!r}; {advice}.")
    return problems


class SignatureWriter(KeptFileWriter):
    """Writes the file of one split, a record batch for each batch of documents.

    Args:
        path: a name that nobody reads yet.
        columns: columns of documents to keep beside the signatures.
        num_hashes: positions of a signature.
        has_places: whether documents are lines of a file, whose bytes are kept as places.
    """

    def __init__(self, path: Path, columns: Sequence[str], num_hashes: int, *, has_places: bool) -> None:
        self._path = path
        self._columns = tuple(columns)
        self._num_hashes = num_hashes
        self._has_places = has_places
        self._sink: pa.OSFile | None = None
        self._writer: pa.RecordBatchFileWriter | None = None
        self._rows = 0

    def add(self, batch: DocumentBatch) -> None:
        """Take the documents of a batch, which has the columns ``SIGNATURE`` and ``CHARACTERS``; copies them."""
        if batch.num_items:
            self._write(self._table(batch))
            self._rows += batch.num_items

    def close(self) -> dict[str, Any]:
        """Finish the file, also an empty one, and say what it is: its name, size, digest and rows."""
        if self._writer is None:
            places = {"begin": pa.int64(), "end": pa.int64()} if self._has_places else {}
            types = {"row": pa.int64(), **places, "id": pa.large_string(), "characters": pa.int64()}
            types |= {"signature": pa.binary(4 * self._num_hashes)}
            types |= {f"{_COLUMN}{name}": pa.large_string() for name in self._columns}
            self._write(pa.schema(list(types.items())).empty_table())
        assert self._writer is not None
        assert self._sink is not None
        self._writer.close()
        self._sink.close()
        record = digest_file(self._path)
        return {"size_bytes": record.size_bytes, "digest": record.digest, "rows": self._rows}

    def abort(self) -> None:
        """Let go of the file after a failure."""
        if self._sink is not None:
            self._sink.close()

    def _table(self, batch: DocumentBatch) -> pa.Table:
        arrays: dict[str, Any] = {"row": pa.array(batch.rows.astype(np.int64))}
        if self._has_places:
            assert batch.lines is not None
            arrays["begin"] = pa.array(batch.lines.starts + batch.lines.offset)
            arrays["end"] = pa.array(batch.lines.ends + batch.lines.offset)
        arrays["id"] = batch.columns["id"].cast(pa.large_string())
        arrays["characters"] = batch.columns[CHARACTERS]
        arrays["signature"] = batch.columns[SIGNATURE]
        arrays |= {f"{_COLUMN}{name}": batch.columns[name] for name in self._columns}
        return pa.table(arrays)

    def _write(self, table: pa.Table) -> None:
        if self._writer is None:
            self._sink = pa.OSFile(str(self._path), "wb")
            self._writer = pa.ipc.new_file(self._sink, table.schema)
        for batch in table.combine_chunks().to_batches():
            self._writer.write_batch(batch)


def batch_columns(rows: pa.Table, columns: Sequence[str]) -> pa.Table:
    """The columns of a batch from rows of a split's file; null where they were not kept."""
    names = {"id": "id", SIGNATURE: "signature", CHARACTERS: "characters"}
    wanted = {name: names.get(name, f"{_COLUMN}{name}") for name in columns}
    missing = pa.nulls(rows.num_rows)
    return pa.table({name: rows[kept] if kept in rows.column_names else missing for name, kept in wanted.items()})


def signature_values(column: pa.Array, num_hashes: int) -> npt.NDArray[np.uint32]:
    r"""The values of signatures, uint32, shape (num_docs, num_hashes); anything where they are null.

    Args:
        column: fixed-size binary, shape (num_docs,).
        num_hashes: positions wanted: as many as there are, or of classic signatures the first of them.

    Example:
        >>> signature_values(pa.array([b"\1\0\0\0\2\0\0\0"], pa.binary(8)), 2).tolist()
        [[1, 2]]
    """
    if not len(column):
        return np.empty((0, num_hashes), np.uint32)
    width = column.type.byte_width // 4
    values = np.frombuffer(column.buffers()[1], "<u4", len(column) * width, column.offset * 4 * width)
    return np.ascontiguousarray(values.reshape(-1, width)[:, :num_hashes], np.uint32)


def signature_column(signatures: npt.NDArray[np.uint32], has_shingles: npt.NDArray[np.bool_]) -> pa.Array:
    """The inverse of ``signature_values``; null where a document has no shingles.

    Args:
        signatures: uint32, shape (num_docs, num_hashes).
        has_shingles: bool, shape (num_docs,).
    """
    width = signatures.shape[1]
    data = pa.py_buffer(np.ascontiguousarray(signatures, "<u4"))
    valid = None if has_shingles.all() else pa.py_buffer(np.packbits(has_shingles, bitorder="little"))
    return pa.Array.from_buffers(pa.binary(4 * width), len(has_shingles), [valid, data])


def _seal(content: Mapping[str, Any]) -> str:
    return xxhash.xxh3_128(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _missing(path: Path, entry: FileEntry) -> str:
    try:
        size = path.stat().st_size
    except OSError:
        return f"{entry.name!r} is missing"
    return "" if size == entry.size_bytes else f"{entry.name!r} has {size:,} bytes instead of {entry.size_bytes:,}"
