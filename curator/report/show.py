"""Removed documents beside the ones that they lost to, read again from the input."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator.errors import CuratorError, VerifyError
from curator.runs.publish import ACCOUNTS_FOLDER
from curator.runs.result import read_accounts, read_manifest
from curator.stages.io.read import Read
from curator.tasks import DocumentBatch, InputFile, Split, SplitTask

_EXCERPT_CHARACTERS = 300


def show_output(output_path: Path, *, removed: int, quarantined: int, only_id: str | None = None) -> Iterator[str]:
    """Lines that show what a run threw away.

    Args:
        output_path: a published output.
        removed: how many removed documents, spread evenly over the ledger.
        quarantined: how many bad records, from the first on.
        only_id: show only the removed document with this id of the user's.

    Raises:
        VerifyError: this is no output of curator.
    """
    try:
        manifest = read_manifest(output_path)
    except (OSError, ValueError):
        raise VerifyError(f"{str(output_path)!r} is no output of curator: it has no manifest.") from None
    ledger = read_accounts(output_path, "ledger")
    if only_id is not None:
        ledger = ledger.filter(pc.equal(ledger["id"], only_id))
        if not ledger.num_rows:
            yield f"no removed document has the id {escape(only_id)}"
    count = min(removed, ledger.num_rows)
    rows = np.unique(np.linspace(0, ledger.num_rows - 1, count, dtype=np.int64)) if count else np.empty(0, np.int64)
    chosen = ledger.take(pa.array(rows)).to_pylist()
    wanted = {entry["document_id"] for entry in chosen}
    wanted |= {entry["kept_document_id"] for entry in chosen if _lost_here(entry)}
    texts = _texts(manifest, wanted)
    for entry in chosen:
        detail = f" key {entry['key']}" if entry["key"] else ""
        detail += f" score {entry['score']:.4f}" if entry["score"] is not None else ""
        yield f"removed by {entry['stage']}: {entry['reason']}{detail}"
        yield f"  removed {_name(manifest, entry['document_id'], entry['id'])}"
        yield f"    {texts.get(entry['document_id'], '(the input is gone)')}"
        if entry["kept_in"] is not None:
            row, split = entry["kept_document_id"] & 0xFFFFFFFF, entry["kept_document_id"] >> 32
            known = f"id {escape(entry['kept_id'])}, " if entry["kept_id"] is not None else ""
            yield f"  kept    {known}{escape(entry['kept_in'])}, an earlier corpus, row {row:,} of its split {split}"
        if _lost_here(entry):
            yield f"  kept    {_name(manifest, entry['kept_document_id'], entry['kept_id'])}"
            yield f"    {texts.get(entry['kept_document_id'], '(the input is gone)')}"
    if quarantined:
        for entry in read_accounts(output_path, "quarantine").slice(0, quarantined).to_pylist():
            place = f"byte {entry['offset']:,}" if entry["offset"] >= 0 else f"row {entry['row']:,}"
            yield f"quarantined: {entry['reason']}: {escape(entry['detail'])}"
            yield f"  {escape(entry['file'])}, {place}"
            yield f"    {_shortened(entry['bytes'].decode('utf-8', errors='replace'))}"
    if ledger.num_rows > len(chosen) and only_id is None:
        yield f"{len(chosen):,} of {ledger.num_rows:,} removed documents shown; --removed N shows more"


def status_output(output_path: Path) -> str:
    """The report of a finished run, or what is known of one under way.

    Raises:
        VerifyError: there is neither.
    """
    report = output_path / ACCOUNTS_FOLDER / "report.txt"
    lock = output_path.with_name(output_path.name + "._curator") / "lock"
    lines = []
    if lock.exists():
        owner = lock.read_text().strip()
        with open(lock) as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                lines.append("a run was started here and died; the next run clears what it left")
            except OSError:
                lines.append(f"a run is under way: process {owner}, {_committed(lock.parent)}")
    if report.exists():
        lines.append(report.read_text(encoding="utf-8").rstrip())
    if not lines:
        raise VerifyError(f"{str(output_path)!r}: no run has finished here, and none is under way.")
    return "\n".join(lines)


def _committed(scratch: Path) -> str:
    counts = {path.name: len(os.listdir(path)) for path in sorted(scratch.glob("commits-*"))}
    return (
        ", ".join(f"step {name.removeprefix('commits-')}: {n:,} units done" for name, n in counts.items())
        or "nothing done yet"
    )


def _texts(manifest: dict[str, Any], documents: set[int]) -> dict[int, str]:
    """Beginnings of texts by document id; documents whose file is gone or changed are left out."""
    files = {entry["path"]: InputFile(**entry) for entry in manifest["input"]}
    settings = next(stage["settings"] for stage in manifest["stages"] if "text_field" in stage["settings"])
    by_split: dict[int, list[int]] = {}
    for document in documents:
        by_split.setdefault(document >> 32, []).append(document & 0xFFFFFFFF)
    found: dict[int, str] = {}
    for ordinal, rows in sorted(by_split.items()):
        entry = manifest["splits"][ordinal]
        split = Split(ordinal, files[entry["file"]], entry["begin"], entry["end"], 0)
        read = Read(split.file.path, **settings).for_segment(("text",), whole_rows=False)
        try:
            for batch in read.process(SplitTask(split=split)):
                _excerpts(batch, rows, found)
        except (CuratorError, OSError):
            continue
    return found


def _excerpts(batch: DocumentBatch, rows: list[int], found: dict[int, str]) -> None:
    for place in np.flatnonzero(np.isin(batch.rows, rows)).tolist():
        text = batch.columns["text"][place].as_py() or ""
        found[(batch.split.ordinal << 32) | int(batch.rows[place])] = _shortened(text)


def _shortened(text: str) -> str:
    rest = f" ... ({len(text):,} characters)" if len(text) > _EXCERPT_CHARACTERS else ""
    return escape(text[:_EXCERPT_CHARACTERS]) + rest


def _lost_here(entry: dict[str, Any]) -> bool:
    """Whether a document lost to another one of the same run."""
    return entry["kept_document_id"] is not None and entry["kept_in"] is None


def _name(manifest: dict[str, Any], document: int, identifier: str | None) -> str:
    entry = manifest["splits"][document >> 32]
    known = f"id {escape(identifier)}, " if identifier is not None else ""
    return f"{known}{escape(entry['file'])}, row {document & 0xFFFFFFFF:,} of split {document >> 32}"


def escape(text: str) -> str:
    r"""Text of a record as one line that cannot move a cursor or colour a terminal.

    Example:
        >>> escape("a\x1b[31mb\nc")
        'a\\x1b[31mb\\nc'
    """
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] if c in "\n\t\r" else f"\\x{ord(c):02x}" for c in text)
