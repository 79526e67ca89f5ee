"""Why documents were removed: each group with the one that is kept, and what differs in those that lost to it.

Ledger and manifest of an output flow in, texts are read again from the input, lines for a terminal flow out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curator.errors import CuratorError, VerifyError
from curator.report.excerpt import escape, excerpt, mark_difference
from curator.report.reasons import describe_reason
from curator.report.removed_groups import final_keepers, rows_with_id, spread_rows
from curator.runs.result import read_accounts, read_manifest
from curator.stages.io.read import Read
from curator.tasks import InputFile, Split, SplitTask

_LEGEND = "A removed text is shown by its difference: [-words-] only the kept one has, {+words+} only the removed one."
_GONE = "(the input is gone)"


def show_output(
    output_path: Path,
    *,
    removed: int | None,
    quarantined: int,
    only_id: str | None = None,
    reason: str | None = None,
) -> Iterator[str]:
    """Lines that show what a run threw away, and for which documents.

    Args:
        output_path: a published output.
        removed: how many removed documents, some of every reason, spread evenly over the ledger; ``None`` for all.
        quarantined: how many bad records, from the first on.
        only_id: show only the removed document with this id of the user's, or all that lost to the kept one with it.
        reason: show only documents that were removed for this reason.

    Raises:
        VerifyError: this is no output of curator, or nothing was removed for that reason.
    """
    try:
        manifest = read_manifest(output_path)
    except (OSError, ValueError):
        raise VerifyError(f"{str(output_path)!r} is no output of curator: it has no manifest.") from None
    ledger = read_accounts(output_path, "ledger")
    keepers = final_keepers(ledger)
    rows = np.arange(ledger.num_rows) if reason is None else np.flatnonzero(pc.equal(ledger["reason"], reason))
    if reason is not None and not len(rows):
        known = ", ".join(sorted(ledger["reason"].unique().to_pylist())) or "none"
        raise VerifyError(f"--reason {escape(reason)}: no document was removed for it. Reasons here: {known}.")
    count = len(rows)
    if only_id is None:
        rows = rows[spread_rows(ledger["reason"].take(pa.array(rows)), removed)]
    else:
        rows = np.intersect1d(rows, rows_with_id(ledger, keepers, only_id))
        if ledger.num_rows and not len(rows):
            yield f"no document with the id {escape(only_id)} was removed, and none lost to it"
    yield from _show_groups(manifest, ledger, keepers, rows)
    if quarantined:
        for entry in read_accounts(output_path, "quarantine").slice(0, quarantined).to_pylist():
            place = f"byte {entry['offset']:,}" if entry["offset"] >= 0 else f"row {entry['row']:,}"
            yield f"quarantined: {entry['reason']}: {escape(entry['detail'])}"
            yield f"  {escape(entry['file'])}, {place}"
            yield f"    {excerpt(entry['bytes'].decode('utf-8', errors='replace'))}"
    if not ledger.num_rows:
        yield "no document was removed"
    if len(rows) < count and only_id is None:
        yield f"{len(rows):,} of {count:,} removed documents shown; --removed N or all shows more"


def _show_groups(
    manifest: dict[str, Any], ledger: pa.Table, keepers: npt.NDArray[np.uint64], rows: npt.NDArray[np.int64]
) -> Iterator[str]:
    chosen = ledger.take(pa.array(rows)).to_pylist()
    groups: dict[tuple[int | None, str], list[dict[str, Any]]] = {}
    for row, entry in zip(rows.tolist(), chosen, strict=True):
        groups.setdefault(_group_of(entry, int(keepers[row])), []).append(entry)
    kept = {document for document, _ in groups if document is not None}
    wanted = {entry["document_id"] for entry in chosen} | kept
    texts = _texts(manifest, wanted | {entry["kept_document_id"] for entry in chosen if _lost_here(entry)})
    of_kept = pc.is_in(ledger["kept_document_id"], pa.array(sorted(kept), pa.uint64()))
    ids = {entry["kept_document_id"]: entry["kept_id"] for entry in ledger.filter(of_kept).to_pylist()}
    itself = ledger.filter(pc.is_in(ledger["document_id"], pa.array(sorted(kept), pa.uint64())))
    later = {entry["document_id"]: entry for entry in itself.to_pylist()}
    settings = {stage["name"]: stage["settings"] for stage in manifest["stages"]}
    names = _Names(manifest)
    if chosen:
        yield from [f"input {escape(names.folder)}"] if names.folder else []
        yield _LEGEND
    for (document, what), entries in groups.items():
        yield ""
        if document is not None:
            count = int((keepers == document).sum())
            shown = "" if len(entries) == count else f", {len(entries):,} of them shown"
            yield f"group of {count + 1:,}: {count:,} removed{shown}"
            yield f"  kept     {names.of(document, ids.get(document))}"
            if document in later:
                yield f"           but removed by a later stage, {describe_reason(later[document], settings)}"
            yield f"           {excerpt(texts[document]) if document in texts else _GONE}"
        else:
            yield what
        for entry in entries:
            lost_to = entry["kept_document_id"] if _lost_here(entry) else None
            other = "" if lost_to in (None, document) else f", to {names.of(lost_to, entry['kept_id'])}"
            yield f"  removed  {names.of(entry['document_id'], entry['id'])}"
            yield f"           {describe_reason(entry, settings)}{other}"
            yield f"           {_shown_text(texts, entry['document_id'], lost_to)}"
    if chosen:
        yield ""


def _group_of(entry: Mapping[str, Any], keeper: int) -> tuple[int | None, str]:
    """The kept document, or in words what stands for it where it is none of this run."""
    if _lost_here(entry):
        return keeper, ""
    if entry["kept_in"] is None:
        return None, "lost to no other document"
    row, split = entry["kept_document_id"] & 0xFFFFFFFF, entry["kept_document_id"] >> 32
    known = f"id {escape(entry['kept_id'])}, " if entry["kept_id"] is not None else ""
    place = f"{escape(entry['kept_in'])}, an earlier corpus, row {row:,} of its split {split}"
    return None, f"lost to an earlier corpus\n  kept     {known}{place}"


def _shown_text(texts: Mapping[int, str], document: int, lost_to: int | None) -> str:
    if document not in texts:
        return _GONE
    if lost_to is None or lost_to not in texts:
        return excerpt(texts[document])
    return mark_difference(texts[lost_to], texts[document])


def _lost_here(entry: Mapping[str, Any]) -> bool:
    """Whether a document lost to another one of the same run."""
    return entry["kept_document_id"] is not None and entry["kept_in"] is None


class _Names:
    """Documents by id, file, row and split; the folder that all files share is said once."""

    def __init__(self, manifest: dict[str, Any]) -> None:
        self._files = [split["file"] for split in manifest["splits"]]
        paths = list(dict.fromkeys(self._files))
        is_local = all(os.path.isabs(path) for path in paths)
        self.folder = os.path.commonpath([os.path.dirname(path) for path in paths]) if is_local and paths else ""

    def of(self, document: int, identifier: str | None) -> str:
        """One document in words."""
        split, row = document >> 32, document & 0xFFFFFFFF
        path = self._files[split]
        file = os.path.relpath(path, self.folder) if self.folder else path
        known = f"id {escape(identifier)}, " if identifier is not None else ""
        return f"{known}{escape(file)}, row {row:,} of split {split}"


def _texts(manifest: dict[str, Any], documents: set[int]) -> dict[int, str]:
    """Texts by document id; documents whose file is gone or changed are left out."""
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
                for place in np.flatnonzero(np.isin(batch.rows, rows)).tolist():
                    found[(ordinal << 32) | int(batch.rows[place])] = batch.columns["text"][place].as_py() or ""
        except (CuratorError, OSError):
            continue
    return found
