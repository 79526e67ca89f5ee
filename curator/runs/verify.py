"""Verification: everything that an output claims, counted again from its files and from the input.

The manifest says what should be there; nothing that is compared with it was read from it. A difference is a sentence.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curator.errors import VerifyError
from curator.runs.ledger import LEDGER, QUARANTINE
from curator.runs.publish import ACCOUNTS_FOLDER, seal
from curator.stages.io.byte_stream import ByteStream, CorruptStreamError, version_of
from curator.stages.io.output_file import DIGEST, digest_file
from curator.tasks import InputFile, document_ids
from curator.tasks.split import ROW_BITS

_BLOCK_BYTES = 1 << 20
_BLANK = b" \t\r"
_LINE_FEED = 10
_LOST = ["document_id", "stage", "kept_document_id", "kept_in"]
_ROW_BITS, _ROW_MASK = np.uint64(ROW_BITS), np.uint64((1 << ROW_BITS) - 1)
_SEALED = ("manifest.json", "report.txt", "run.json")


@dataclass(slots=True)
class Verification:
    """What was found.

    Args:
        counts: records read, kept, removed, quarantined, as counted from the files.
        problems: every difference, a sentence each; empty for a good output.
        notes: what could not be checked, and why.
    """

    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify_output(output_path: str | Path, *, inputs: bool = True) -> Verification:
    """Recount an output.

    Args:
        output_path: the published directory.
        inputs: whether records of the input are counted again too, where the files are still what they were.

    Returns:
        The counts and every difference.

    Raises:
        VerifyError: this is no output of curator at all.
    """
    output = Path(output_path)
    folder = output / ACCOUNTS_FOLDER
    found = Verification()
    try:
        _check_seal(folder, found)
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        run = json.loads((folder / "run.json").read_text(encoding="utf-8"))
        _check_names(output, manifest, found)
        _check_splits(output, manifest, run, found)
    except FileNotFoundError as error:
        if not folder.is_dir():
            message = f"{str(output)!r} is no output of curator: it has no folder {ACCOUNTS_FOLDER!r}."
            raise VerifyError(message) from None
        found.problems.append(f"{error.filename}: is missing.")
        return found
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        found.problems.append(f"{ACCOUNTS_FOLDER}: cannot be understood: {type(error).__name__}: {error}.")
        return found
    if inputs:
        try:
            _check_inputs(manifest, found)
        except (LookupError, TypeError, AttributeError) as error:
            found.problems.append(
                f"{ACCOUNTS_FOLDER}/manifest.json: does not name the input: {type(error).__name__}: {error}."
            )
    return found


def _check_seal(folder: Path, found: Verification) -> None:
    """Every byte of ``SUCCESS.json``, and by its digests every byte of the files that nothing else covers."""
    text = (folder / "SUCCESS.json").read_text(encoding="utf-8")
    success = json.loads(text)
    digests = dict(success["files"])
    as_written = json.dumps(success, ensure_ascii=False, indent=1) + "\n"
    if success != {"digest": DIGEST, "files": digests, "seal": seal(digests)} or text != as_written:
        found.problems.append(f"{ACCOUNTS_FOLDER}/SUCCESS.json: does not match its seal.")
    for name in _SEALED:
        if digest_file(folder / name).digest != digests.get(name):
            found.problems.append(f"{ACCOUNTS_FOLDER}/{name}: is not what was published.")


def _check_names(output: Path, manifest: dict[str, Any], found: Verification) -> None:
    expected = {f"{ACCOUNTS_FOLDER}/{name}" for name in (*_SEALED, "SUCCESS.json")}
    for split in manifest["splits"]:
        expected |= {entry["name"] for entry in (split["part"], *split["ledger"], *split["quarantine"])}
    present = {p.relative_to(output).as_posix() for p in output.rglob("*") if p.is_symlink() or not p.is_dir()}
    found.problems += [f"{name}: is missing." for name in sorted(expected - present)]
    found.problems += [f"{name}: is not in the manifest." for name in sorted(present - expected)]


def _check_splits(output: Path, manifest: dict[str, Any], run: dict[str, Any], found: Verification) -> None:
    totals: Counter[str] = Counter()
    removed_by: Counter[tuple[str, str]] = Counter()
    quarantined_by: Counter[tuple[str, str]] = Counter()
    ledgers = [LEDGER.empty_table().select(_LOST)]
    refused_ids: dict[str, list[npt.NDArray[np.uint64]]] = {}
    for split in manifest["splits"]:
        name = split["part"]["name"]
        kept = _count_part(output, split["part"], found)
        ledger = _read(output, split["ledger"], LEDGER, found)
        quarantine = _read(output, split["quarantine"], QUARANTINE, found)
        removed, refused = ledger.num_rows, int(np.sum(quarantine["records"].to_numpy()))
        for key, value in (("kept", kept), ("removed", removed), ("quarantined", refused)):
            totals[key] += value
            if value != split[key]:
                found.problems.append(f"{name}: {value:,} records {key} are there, the manifest says {split[key]:,}.")
        totals["read"] += split["read"]
        if split["read"] != kept + removed + refused:
            found.problems.append(
                f"{name}: {split['read']:,} records were read, but {kept:,} kept + {removed:,} removed + {refused:,} "
                "quarantined are there."
            )
        ids = ledger["document_id"].to_numpy()
        if len(ids) and (int(ids.min()) >> 32 != split["ordinal"] or int(ids.max()) >> 32 != split["ordinal"]):
            found.problems.append(f"{name}: its ledger has documents of another split.")
        ledgers.append(ledger.select(_LOST))
        for stage, ids in _rows_of(quarantine):
            refused_ids.setdefault(stage, []).append(ids)
        removed_by.update(zip(ledger["stage"].to_pylist(), ledger["reason"].to_pylist(), strict=True))
        for stage, reason, records in zip(
            *(quarantine[name].to_pylist() for name in ("stage", "reason", "records")), strict=True
        ):
            quarantined_by[stage, reason] += records
    refused_by = {stage: np.concatenate(parts) for stage, parts in refused_ids.items()}
    lost = pa.concat_tables(ledgers)
    _check_documents(lost, {split["ordinal"]: split["read"] for split in manifest["splits"]}, found)
    _check_keepers(lost, refused_by, [s["name"] for s in run["stages"]], found)
    _check_stages(run, removed_by, quarantined_by, found)
    found.counts = {key: totals[key] for key in ("read", "kept", "removed", "quarantined")}
    for source, claimed in (("manifest.json", manifest["totals"]), ("run.json", run["counts"])):
        if claimed != found.counts:
            found.problems.append(f"{ACCOUNTS_FOLDER}/{source}: says {claimed}, the files say {found.counts}.")


def _rows_of(quarantine: pa.Table) -> Iterator[tuple[str, npt.NDArray[np.uint64]]]:
    """Stages, and ids of documents that they could not take."""
    for stage, split, row, records in zip(
        *(quarantine[name].to_pylist() for name in ("stage", "split", "row", "records")), strict=True
    ):
        if row >= 0:
            yield stage, document_ids(split, np.arange(row, row + records))


def _check_documents(ledger: pa.Table, read_of: Mapping[int, int], found: Verification) -> None:
    """Whoever went, and whoever of this run one lost to, is a record that was read."""
    splits = np.array([*sorted(read_of), 1 << 32], np.uint64)
    reads = np.array([*(read_of[ordinal] for ordinal in sorted(read_of)), 0], np.uint64)
    for column, documents in (
        ("document_id", ledger["document_id"]),
        ("kept_document_id", ledger["kept_document_id"].filter(ledger["kept_in"].is_null()).drop_null()),
    ):
        ids = documents.to_numpy()
        places = np.searchsorted(splits, ids >> _ROW_BITS)
        strange = (splits[places] != ids >> _ROW_BITS) | ((ids & _ROW_MASK) >= reads[places])
        if strange.any():
            found.problems.append(f"ledger: {int(strange.sum()):,} times, {column} is no record that was read.")


def _check_keepers(
    ledger: pa.Table, refused_by: Mapping[str, npt.NDArray[np.uint64]], stages: list[str], found: Verification
) -> None:
    """No document goes twice, and none for one that had gone itself; a later stage may still take a keeper out."""
    removed = ledger["document_id"].to_numpy()
    refused = np.concatenate([np.empty(0, np.uint64), *refused_by.values()])
    if len(np.unique(removed)) != len(removed):
        found.problems.append("ledger: a document was removed twice.")
    if len(np.unique(refused)) != len(refused):
        found.problems.append("quarantine: a document is in it twice.")
    if np.isin(removed, refused).any():
        found.problems.append("ledger: a document was removed that is in quarantine.")
    gone = np.empty(0, np.uint64)
    for stage in stages:
        here = ledger.filter(pc.equal(ledger["stage"], stage))
        refused_here = refused_by.get(stage, np.empty(0, np.uint64))
        gone = np.concatenate([gone, here["document_id"].to_numpy(), refused_here])
        own = here["kept_document_id"].filter(here["kept_in"].is_null()).drop_null()
        if (lost := int(np.isin(own.to_numpy(), gone).sum())) > 0:
            found.problems.append(f"ledger: {lost:,} documents lost to one that is not kept itself.")


def _check_stages(
    run: dict[str, Any],
    removed_by: Counter[tuple[str, str]],
    quarantined_by: Counter[tuple[str, str]],
    found: Verification,
) -> None:
    claimed_removed = {(s["name"], reason): n for s in run["stages"] for reason, n in s["removed"].items() if n}
    claimed_refused = {(s["name"], reason): n for s in run["stages"] for reason, n in s["quarantined"].items() if n}
    if claimed_removed != dict(removed_by):
        found.problems.append(f"ledger: holds {dict(removed_by)}, run.json says {claimed_removed}.")
    if claimed_refused != dict(+quarantined_by):
        found.problems.append(f"quarantine: holds {dict(+quarantined_by)}, run.json says {claimed_refused}.")


def _count_part(output: Path, part: dict[str, Any], found: Verification) -> int:
    """Digest and rows of one data file, from its bytes."""
    path = output / part["name"]
    record = digest_file(path)
    if (record.size_bytes, record.digest) != (part["size_bytes"], part["digest"]):
        found.problems.append(f"{part['name']}: its bytes are not those that were published.")
        return 0
    try:
        rows = pq.ParquetFile(path).metadata.num_rows if path.suffix == ".parquet" else _count_lines(path)
    except (pa.ArrowException, OSError, CorruptStreamError) as error:
        found.problems.append(f"{part['name']}: cannot be read: {error}.")
        return 0
    if rows != part["rows"]:
        found.problems.append(f"{part['name']}: has {rows:,} rows, the manifest says {part['rows']:,}.")
    return int(rows)


def _count_lines(path: Path) -> int:
    suffix = path.suffix.removeprefix(".")
    compression: Any = suffix if suffix in ("gz", "zst") else "none"
    return count_records(InputFile(str(path), *version_of(str(path)), "jsonl", compression))


def count_records(file: InputFile) -> int:
    """Lines of a JSON lines file that are not blank, by the plainest means and in constant memory.

    Raises:
        CorruptStreamError: a compressed stream is damaged.
    """
    count, pending = 0, False
    buffer = memoryview(bytearray(_BLOCK_BYTES))
    with ByteStream(file) as stream:
        while size := stream.readinto(buffer):
            dense = bytes(buffer[:size]).translate(None, _BLANK)
            if not dense:
                continue
            feeds = np.frombuffer(dense, np.uint8) == _LINE_FEED
            count += int(np.count_nonzero(feeds[1:] & ~feeds[:-1])) + int(feeds[0] and pending)
            pending = not feeds[-1]
    return count + pending


def _read(output: Path, entries: list[dict[str, Any]], schema: pa.Schema, found: Verification) -> pa.Table:
    tables = [schema.empty_table()]
    for entry in entries:
        path = output / entry["name"]
        record = digest_file(path)
        if (record.size_bytes, record.digest) != (entry["size_bytes"], entry["digest"]):
            found.problems.append(f"{entry['name']}: its bytes are not those that were published.")
            continue
        try:
            tables.append(pq.read_table(path, schema=schema))
        except (pa.ArrowException, OSError) as error:
            found.problems.append(f"{entry['name']}: cannot be read: {error}.")
    return pa.concat_tables(tables)


def _check_inputs(manifest: dict[str, Any], found: Verification) -> None:
    read: Counter[str] = Counter()
    for split in manifest["splits"]:
        read[split["file"]] += split["read"]
    for entry in manifest["input"]:
        file = InputFile(**entry)
        try:
            if version_of(file.path) != (file.size_bytes, file.version):
                found.notes.append(f"{file.path!r} has changed since the run and was not counted again.")
                continue
            count = pq.ParquetFile(file.path).metadata.num_rows if file.format == "parquet" else count_records(file)
        except CorruptStreamError:
            found.notes.append(f"{file.path!r} is damaged, as the quarantine says, and was not counted again.")
            continue
        except Exception as error:  # noqa: BLE001 - every store has exceptions of its own
            kind = type(error).__name__
            found.notes.append(f"{file.path!r} cannot be read any more ({kind}) and was not counted again.")
            continue
        if count != read[file.path]:
            found.problems.append(f"{file.path!r}: holds {count:,} records, the run read {read[file.path]:,}.")
