"""Signatures that a fuzzy stage keeps, takes from an earlier run, or compares with: what fits, and what is refused.

The stage, the stages in front of it and the splits of the run flow in; a source that knows the files, and a stage that
knows its number of hashes, flow out. Metadata is read and nothing else.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curator.errors import ConfigError, OutputExistsError
from curator.stages.base import FilesToKeep, KeptFileWriter, ProcessingStage, Resolved, ShuffleStage, SourceStage
from curator.stages.dedup.signature_files import (
    HEADER,
    KeptSplit,
    SignatureFiles,
    SignatureWriter,
    differences,
    open_signatures,
)
from curator.stages.dedup.signature_source import with_earlier
from curator.stages.identity import json_settings
from curator.stages.io.byte_stream import is_remote
from curator.stages.io.shards import shard_directory
from curator.tasks import Split

if TYPE_CHECKING:
    from curator.stages.dedup.fuzzy import FuzzyDeduplication

_UNDECIDED_READING = ("split_bytes", "shard_index", "shard_count")
_SHOWN = 3


def made_with(stage: FuzzyDeduplication) -> dict[str, Any]:
    """Everything that decides a signature of this stage."""
    from curator.kernels.versions import SCHEME_VERSION, SHINGLE_VERSION, UNICODE_VERSION

    names = ("scheme", "shingle", "shingle_size", "case", "white_space", "punctuation", "unicode")
    found: dict[str, Any] = {name: getattr(stage, name) for name in names}
    found["num_hashes"] = stage.signature_length
    if stage.shingle == "auto":
        found["spaceless_size"] = stage.spaceless_size
    found |= {
        "shingle_version": SHINGLE_VERSION,
        "scheme_version": SCHEME_VERSION,
        "unicode_version": UNICODE_VERSION,
    }
    if stage.case == "fold" or stage.unicode != "keep":
        found["python_unicode_version"] = unicodedata.unidata_version
    return found


def resolve_signatures(
    stage: FuzzyDeduplication, source: SourceStage, before: Sequence[ProcessingStage], splits: Sequence[Split]
) -> Resolved:
    """Open what the options of a stage name, and look whether it fits.

    Args:
        stage: the stage.
        source: the source of the run.
        before: the stages in front of it, the source first, as they were given.
        splits: the splits of the run.

    Raises:
        ConfigError: signatures were made otherwise, of another input, or are damaged; or a folder to keep them in is
            not empty. Every difference is in the message.
    """
    where = f"{stage.name}.signatures"
    stage = stage.with_(
        _before=described(before),
        keep_signatures=of_shard(stage.keep_signatures, source),
        signatures=of_shard(stage.signatures, source),
    )
    kept = None if stage.signatures is None else open_signatures(stage.signatures, where)
    if kept is not None and stage.num_hashes is None and kept.made_with.get("scheme") == stage.scheme:
        stage = stage.with_signatures_of(kept.num_hashes)
    problems = []
    if kept is not None:
        problems += differences(kept, made_with(stage), where)
        problems += other_stages(kept, described(before), where)
        problems += other_input(kept, splits, where)
        here = {stage.name, *(each.name for each in before)}
        problems += [
            f"{where}: {kept.path!r} has records that the stage {name!r} took out or could not take, and this run has "
            "no such stage in front. Add it, or keep the signatures again."
            for name in sorted({name for part in kept.splits for name in part.stages} - here)
        ]
    if stage.signature_length < stage.bands * stage.rows:
        problems.append(
            f"{stage.name}.bands={stage.bands}, {stage.name}.rows={stage.rows}: need {stage.bands * stage.rows} "
            f"hashes, and a signature has num_hashes={stage.signature_length}. Take fewer bands or rows"
            + (f", 'stages.{stage.name}.max_hashes={stage.signature_length}' chooses them." if kept else ".")
        )
    if stage.keep_signatures is not None and not is_in_first_pass(stage, before):
        problems.append(
            f"{stage.name}.keep_signatures: the signatures of all documents can only be kept in the first pass over "
            "the input; move the stage to the front, or behind other barriers whose keys are made in the same pass."
        )
    if stage.keep_signatures is not None and (
        problem := not_empty(stage.keep_signatures, f"{stage.name}.keep_signatures")
    ):
        raise OutputExistsError([*problems, problem])
    if problems:
        raise ConfigError(problems)
    made_here = {name for each in before[1:] for name in each.outputs()}
    if stage.against and stage.scope in made_here:
        raise ConfigError(
            f"{stage.name}.scope={stage.scope!r}: a stage in front makes this column, and earlier corpora do not "
            f"pass it. Leave out {stage.name}.against or {stage.name}.scope."
        )
    where = f"{stage.name}.against"
    found, earlier = with_earlier(
        source, kept, stage.against, splits, where=where, texts=stage.verify == "exact", made_with=made_with(stage)
    )
    for corpus in earlier:
        if corpus.kept is not None and stage.scope is not None and stage.scope not in corpus.kept.columns:
            raise ConfigError(
                f"{where}: {corpus.name!r} has no column {stage.scope!r}, which scope needs. Keep its signatures again "
                f"with 'stages.{stage.name}.keep_columns=[{stage.scope}]'."
            )
    stage = stage.with_(_kept=kept, _earlier=earlier)
    if kept is not None:
        wanted = [name for each in (*before[1:], stage) for name in each.inputs() if name not in made_here]
        stage = stage.with_(_not_kept=tuple(dict.fromkeys(name for name in wanted if not kept.has([name]))))
    return Resolved(found, stage)


def of_shard(path: str | None, source: SourceStage) -> str | None:
    """The folder of a shard's signatures, below the one of all shards, as with outputs."""
    index, count = (getattr(source, name, None) for name in ("shard_index", "shard_count"))
    return path if path is None or index is None or count is None else str(shard_directory(path, index, count))


def notes_on_signatures(stage: FuzzyDeduplication) -> list[str]:
    """What the plan of a run should say about signatures and earlier corpora, a line each."""
    notes = []
    if stage.kept is not None and stage.not_kept:
        notes.append(
            f"{', '.join(map(repr, stage.not_kept))} was not kept with the signatures, so that the input is read for "
            f"it and hashed again; 'stages.{stage.name}.keep_columns' keeps columns"
        )
    elif stage.kept is not None:
        rows = sum(part.rows for part in stage.kept.splits)
        notes.append(f"signatures of {rows:,} documents are read instead of their texts")
    for corpus in stage.earlier:
        how = "kept signatures" if corpus.kept is not None else "its texts"
        notes.append(f"compares with {corpus.name!r}: {len(corpus.splits):,} splits, by {how}")
    return notes


def described(before: Sequence[ProcessingStage]) -> list[dict[str, Any]]:
    """The stages in front of a stage that decide which documents come to it; most barriers only remove later."""
    return [
        {
            "name": stage.name,
            "settings": {k: v for k, v in json_settings(stage).items() if number or k not in _UNDECIDED_READING},
        }
        for number, stage in enumerate(before)
        if not (isinstance(stage, ShuffleStage) and stage.keys_are_independent)
    ]


def is_in_first_pass(stage: ShuffleStage, before: Sequence[ProcessingStage]) -> bool:
    """Whether the keys of a stage are made when the input is read for the first time."""
    first = next((number for number, each in enumerate(before) if isinstance(each, ShuffleStage)), len(before))
    shapes = [(each.resources, each.runtime_env or None, each.num_workers()) for each in (*before[first:], stage)]
    shuffles = [*before[first + 1 :], stage] if first < len(before) else []
    joined = all(isinstance(each, ShuffleStage) and each.keys_are_independent for each in shuffles)
    return joined and all(shape == shapes[0] for shape in shapes)


def other_stages(kept: SignatureFiles, before: Sequence[Mapping[str, Any]], where: str) -> list[str]:
    """How the stages in front differ from those that the kept documents had passed, a sentence for each setting."""
    theirs, ours = ([stage["name"] for stage in stages] for stages in (kept.before, before))
    if theirs != ours:
        return [
            f"{where}: {kept.path!r} has documents behind {', '.join(theirs)}, and this run has {', '.join(ours)} in "
            "front. Use the same stages, or keep the signatures again."
        ]
    problems = []
    for then, now in zip(kept.before, before, strict=True):
        for key in sorted({*then["settings"], *now["settings"]}):
            old, new = then["settings"].get(key), now["settings"].get(key)
            if old != new:
                problems.append(
                    f"{where}: {kept.path!r} was made with {now['name']}.{key}={old!r}, this run has {new!r}; type "
                    f"'stages.{now['name']}.{key}={'null' if old is None else old}', or keep the signatures again."
                )
    return problems


def other_input(kept: SignatureFiles, splits: Sequence[Split], where: str) -> list[str]:
    """How the input differs from the one that the signatures were made of, a sentence for each file."""
    then, now = ([absolute(split) for split in some] for some in ([part.split for part in kept.splits], splits))
    if then == now:
        return []
    old, new = ({split.file.path: split.file for split in some} for some in (then, now))
    problems = [
        f"{where}: {path!r} is not the file that signatures were kept of: {_change(old.get(path), new.get(path))}."
        for path in dict.fromkeys([*old, *new])
        if old.get(path) != new.get(path)
    ]
    if not problems:
        cut = len(then) != len(now)
        problems = [
            f"{where}: the input is the same, but "
            + (f"was cut into {len(then)} splits and is cut into {len(now)} now" if cut else "its splits differ")
            + ". Set 'stages.read.split_bytes' and the order of 'input_path' to what they were."
        ]
    more = len(problems) - _SHOWN
    return problems[:_SHOWN] + ([f"{where}: and {more:,} more files differ."] if more > 0 else [])


def _change(old: Any, new: Any) -> str:  # noqa: ANN401
    if new is None:
        return "this run does not read it"
    if old is None:
        return "they have nothing of it"
    if old.size_bytes != new.size_bytes:
        return f"it had {old.size_bytes:,} bytes then and has {new.size_bytes:,} now"
    return "it has been written since"


def absolute(split: Split) -> Split:
    """The same split, the path of its file absolute."""
    path = split.file.path
    return split if is_remote(path) else replace(split, file=replace(split.file, path=os.path.abspath(path)))


def not_empty(path: str, where: str) -> str:
    """Why a folder cannot be written; empty if it is absent or has nothing in it."""
    folder = Path(path)
    if folder.is_dir() and not any(folder.iterdir()):
        return ""
    if not os.path.lexists(folder):
        return ""
    use = f"use what is there with 'stages.fuzzy.signatures={path}', or " if (folder / HEADER).exists() else ""
    return f"{where}: {path!r} is there already and not empty; {use}choose another folder."


class KeepSignatures(FilesToKeep):
    """The folder of signatures that a stage leaves.

    Args:
        stage: the stage, resolved.
        path: the folder.
        columns: columns of documents to keep beside them.
        before: what ``described`` says of the stages in front.
    """

    def __init__(
        self, stage: FuzzyDeduplication, path: str, columns: Sequence[str], before: Sequence[dict[str, Any]]
    ) -> None:
        self.path = path
        self._made_with = made_with(stage)
        self._columns = tuple(columns)
        self._before = list(before)

    def open(self, split: Split, path: Path) -> KeptFileWriter:
        """Start the file of a split."""
        has_places = split.file.format == "jsonl"
        return SignatureWriter(path, self._columns, int(self._made_with["num_hashes"]), has_places=has_places)

    def finish(self, folder: Path, run: str, splits: Sequence[Mapping[str, Any]]) -> None:
        """Write the header."""
        kept = tuple(
            KeptSplit.from_dict({**entry, "split": asdict(absolute(Split.from_dict(entry["split"])))})
            for entry in splits
        )
        SignatureFiles(str(folder), self._made_with, self._columns, self._before, run, kept).write(folder)
