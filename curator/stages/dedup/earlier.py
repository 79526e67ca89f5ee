"""Earlier corpora: what a run compares its documents with, and never writes.

Names of folders flow in; the splits of each corpus flow out, with ordinals above those of any input, so that its
documents have ids of their own on the way through the barrier. A corpus is a folder of signatures, an output of
curator, or any other input. Refused is one that is part of the run's own input, or that is no longer what it was.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from curator.errors import ConfigError, InputError
from curator.stages.base import SourceStage
from curator.stages.dedup.signature_files import HEADER, SignatureFiles, differences, open_signatures
from curator.stages.io.byte_stream import is_remote, version_of
from curator.tasks import InputFile, Split
from curator.tasks.split import EARLIER, ROW_BITS

BESIDE = ".signatures"
"""Signatures that belong to an output, and were kept under its name with this at the end, are used for it."""

_MANIFEST = Path("_curator", "manifest.json")
_ONE_SPLIT_BYTES = 1 << 62
_READING = ("text_field", "id_field", "max_record_bytes", "max_depth", "without_text")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class EarlierCorpus:
    """A corpus that documents of a run are compared with.

    Args:
        name: as it was typed.
        first: ordinal of its first split.
        splits: its splits.
        sources: what reads the text of each of them.
        kept: its signatures; ``None`` if they are made from its texts.
        identity: a digest of what it is, for fingerprints.
    """

    name: str
    first: int
    splits: tuple[Split, ...]
    sources: tuple[SourceStage, ...]
    kept: SignatureFiles | None
    identity: str

    def owns(self, ordinal: int) -> bool:
        """Whether a split is one of this corpus."""
        return self.first <= ordinal < self.first + len(self.splits)


def listed(names: str | Path | Sequence[str | Path] | None, where: str) -> list[str]:
    """The names that an option gives, whether none, one or several.

    Raises:
        ConfigError: they are something else.

    Example:
        >>> listed(None, "against"), listed("a", "against"), listed(["a", "b"], "against")
        ([], ['a'], ['a', 'b'])
    """
    given = [] if names is None else [names] if isinstance(names, str | Path) else names
    if not isinstance(given, Sequence) or not all(isinstance(name, str | Path) and str(name) for name in given):
        raise ConfigError(f"{where}={names!r}: must be a name, a list of names, or null.")
    return [str(name) for name in given]


def is_earlier(ordinal: int) -> bool:
    """Whether a split is one of an earlier corpus.

    Example:
        >>> is_earlier(7), is_earlier(EARLIER)
        (False, True)
    """
    return ordinal >= EARLIER


def are_earlier(documents: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """Which documents belong to earlier corpora; bool, shape (num_docs,)."""
    return documents >= np.uint64(EARLIER << ROW_BITS)


def name_documents(
    documents: npt.NDArray[np.uint64], corpora: Sequence[EarlierCorpus]
) -> tuple[npt.NDArray[np.uint64], list[str | None]]:
    """Documents as people know them: the id inside its corpus, and the name of that, ``None`` for the run's own.

    Args:
        documents: uint64, shape (num_docs,).
        corpora: the earlier corpora, in order.
    """
    names: list[str | None] = [None] * len(documents)
    named = documents.copy()
    for place in np.flatnonzero(are_earlier(documents)).tolist():
        ordinal = int(documents[place]) >> ROW_BITS
        corpus = next(corpus for corpus in corpora if corpus.owns(ordinal))
        named[place] -= np.uint64(corpus.first << ROW_BITS)
        names[place] = corpus.name
    return named, names


def open_earlier(
    against: Sequence[str],
    source: SourceStage,
    splits: Sequence[Split],
    made_with: Mapping[str, Any] | None,
    *,
    where: str,
    first: int = EARLIER,
    texts: bool,
) -> list[EarlierCorpus]:
    """Find earlier corpora; reads metadata only.

    Args:
        against: folders of signatures, outputs of curator, or other inputs.
        source: the source of the run; what is no signature is read as it reads.
        splits: the run's own input.
        made_with: how this run makes signatures; ``None`` if it has no use for any.
        where: the option that names the folders, for messages.
        first: ordinal of the first split.
        texts: whether texts are read, so that they have to be what they were.

    Raises:
        ConfigError: a corpus does not fit, is not there, has changed, or is part of the input; all of it is listed.
    """
    corpora: list[EarlierCorpus] = []
    problems: list[str] = []
    own = {_real(split.file.path) for split in splits}
    for name in against:
        try:
            corpus = _open(name, source, first, where, made_with)
        except ConfigError as error:
            problems += [
                p if p.startswith(where) else f"{where}: {p.removeprefix('input_path: ')}" for p in error.problems
            ]
            continue
        if any(_real(split.file.path) in own for split in corpus.splits):
            problems.append(
                f"{where}: {name!r} is part of this run's input: all of it would be removed. Name an earlier corpus."
            )
        if corpus.kept is not None and made_with is not None:
            problems += differences(corpus.kept, made_with, where)
        if texts and corpus.kept is not None:
            problems += _changed(name, corpus.splits, where)
        corpora.append(corpus)
        first += len(corpus.splits)
    if problems:
        raise ConfigError(problems)
    return corpora


def _open(name: str, source: SourceStage, first: int, where: str, made_with: Mapping[str, Any] | None) -> EarlierCorpus:
    folder = Path(name)
    if not hasattr(source, "input_path"):
        raise ConfigError(f"{where}: needs the stage 'read' as source, and got {type(source).__name__}.")
    if is_remote(name):
        return _open_input(name, source, first)
    if (folder / HEADER).exists():
        return _of_signatures(name, open_signatures(folder, where), source, first)
    if (folder / _MANIFEST).is_file():
        manifest = _read_manifest(folder, where)
        beside = Path(os.path.normpath(folder) + BESIDE)
        if made_with is not None and (beside / HEADER).exists():
            kept = open_signatures(beside, where)
            if kept.run == manifest["fingerprint"]:
                return _of_signatures(name, kept, source, first)
        return _open_output(name, manifest, source, first, where)
    return _open_input(name, source, first)


def _of_signatures(name: str, kept: SignatureFiles, source: SourceStage, first: int) -> EarlierCorpus:
    settings = kept.before[0]["settings"]
    reading = source.with_(**{key: settings[key] for key in _READING if key in settings})
    splits = [replace(part.split, ordinal=first + number) for number, part in enumerate(kept.splits)]
    sources = (reading,) * len(splits)
    return EarlierCorpus(name, first, tuple(splits), sources, kept, kept.identity)


def _open_output(name: str, manifest: Mapping[str, Any], source: SourceStage, first: int, where: str) -> EarlierCorpus:
    settings = manifest["stages"][0]["settings"]
    formats = {entry["path"]: entry["format"] for entry in manifest["input"]}
    splits, sources, problems = [], [], []
    for number, entry in enumerate(manifest["splits"]):
        part = Path(name, entry["part"]["name"])
        fields = {key: settings[key] for key in ("text_field", "id_field") if key in settings}
        if part.suffix == ".parquet" and formats.get(entry["file"]) == "jsonl":
            fields = {"text_field": "text", "id_field": "id"}  # what writing JSON lines as Parquet calls them
        reading = _reading(source, str(part), split_bytes=_ONE_SPLIT_BYTES, **fields)
        try:
            (found,) = reading.plan_splits().splits
        except InputError as error:
            problems += error.problems
            continue
        if found.file.size_bytes != entry["part"]["size_bytes"]:
            problems.append(f"{where}: {str(part)!r} is not what was published; 'curator verify {name}' says more.")
        splits.append(replace(found, ordinal=first + number))
        sources.append(reading)
    if problems:
        raise ConfigError(problems[:_SHOWN])
    return EarlierCorpus(name, first, tuple(splits), tuple(sources), None, str(manifest["fingerprint"]))


def _open_input(name: str, source: SourceStage, first: int) -> EarlierCorpus:
    reading = _reading(source, name)
    found = reading.plan_splits().splits
    splits = tuple(replace(split, ordinal=first + number) for number, split in enumerate(found))
    listed = json.dumps([split.to_dict() for split in found], sort_keys=True)
    identity = hashlib.sha256(listed.encode()).hexdigest()
    return EarlierCorpus(name, first, splits, (reading,) * len(splits), None, identity)


def _reading(source: SourceStage, path: str, **changes: Any) -> SourceStage:  # noqa: ANN401
    whole = {"shard_index": None, "shard_count": None, "without_text": "remove"}
    return source.with_(input_path=[path], **{**whole, **changes})


def _read_manifest(folder: Path, where: str) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        _ = manifest["fingerprint"], manifest["stages"][0]["settings"], manifest["input"], manifest["splits"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigError(
            f"{where}: {str(folder)!r} is no whole output: its manifest cannot be understood "
            f"({type(error).__name__}: {error})."
        ) from None
    return manifest


def _changed(name: str, splits: Sequence[Split], where: str) -> list[str]:
    """Files that are not what they were when their signatures were kept."""
    problems = []
    files: list[InputFile] = list(dict.fromkeys(split.file for split in splits))
    for file in files:
        try:
            same, what = version_of(file.path) == (file.size_bytes, file.version), "has changed since"
        except OSError:
            same, what = False, "is gone"
        if not same:
            problems.append(
                f"{where}: {file.path!r}, which the signatures of {name!r} were made of, {what}: its texts cannot be "
                "compared any more. Put it back, or type 'stages.fuzzy.verify=signature', which needs no texts."
            )
    return problems[:_SHOWN]


def _real(path: str) -> str:
    return path if is_remote(path) else os.path.realpath(path)
