"""The plan of a run: splits, bytes, segments and barriers, said before anything is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from curator.errors import ConfigError
from curator.pipeline.columns import source_columns
from curator.pipeline.one_pass import join_passes, separate_passes
from curator.pipeline.segments import OnePass, Segment, Step, build_steps
from curator.stages.base import ProcessingStage, ShuffleStage, SinkStage, SourceStage, SplitPlan
from curator.stages.identity import json_settings
from curator.stages.io.inputs import EMBEDDED
from curator.stages.io.splits import number_splits
from curator.tasks import InputFile, Split

EMBEDDED_FILES = 4
EMBEDDED_BYTES = 4_000_000
"""About what the embedded documents of a Python installation are together."""

DOCUMENT_BYTES = 1_500
"""Assumed size of a document where nobody has counted; compressed text is taken four times."""

FORMAT_VERSION = 1
"""Version of everything that a run leaves on disk."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will do.

    Args:
        steps: segments and barriers in running order.
        splits: the pieces of the input, in order.
        ignored: names in input directories that are not data.
        output_path: where the output will appear.
        executor: the executor in words.
        stages: name and settings of each stage.
        doubts: what looks like a mistake but need not be one.
        is_estimated: whether the input is not there yet, and its splits are what is expected.
        notes: what stages say about themselves.
        whole_input: of a shard, a digest of all files that the shards divide.
    """

    steps: list[Step]
    splits: list[Split]
    ignored: list[str]
    output_path: str
    executor: str
    stages: list[dict[str, Any]]
    doubts: list[str] = field(default_factory=list)
    is_estimated: bool = False
    notes: list[str] = field(default_factory=list)
    whole_input: str = ""

    @property
    def total_bytes(self) -> int:
        """Bytes of storage that one pass over the input reads."""
        return sum(split.size_bytes for split in self.splits)

    @property
    def read_bytes(self) -> int:
        """Bytes of storage that all passes over the input read."""
        reading = [step for step in self.steps if isinstance(step, OnePass) or _reads(step)]
        return sum(map(self.bytes_of, reading))

    @property
    def parts(self) -> list[Step]:
        """The steps, with the two passes of one that joins them as steps of their own."""
        return separate_passes(self.steps)

    def bytes_of(self, segment: Step) -> int:
        """Bytes of storage that a segment reads: of the input, unless it reads corpora or signatures instead."""
        if not isinstance(segment, Segment):
            return self.total_bytes if isinstance(segment, OnePass) else 0
        read_instead = getattr(segment.stages[0], "read_instead", None)
        if read_instead is not None and (count := read_instead(segment.earlier)) is not None:
            return int(count)
        return sum(split.size_bytes for split in segment.earlier or self.splits)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the input manifest and of every setting that decides the result."""
        content = {
            "version": FORMAT_VERSION,
            "stages": self.stages,
            "splits": [split.to_dict() for split in self.splits],
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    def __str__(self) -> str:
        files = {split.file.path for split in self.splits}
        kinds = sorted({split.file.suffix for split in self.splits})
        about = "about " if self.is_estimated else ""
        lines = [
            f"input     {len(files):,} files, {about}{size(self.total_bytes)}, {', '.join(kinds) or 'nothing'}; "
            f"{len(self.splits):,} splits of up to {size(max((s.size_bytes for s in self.splits), default=0))}",
        ]
        if self.is_estimated:
            lines.append("          embedded documents, which are written when the run starts")
        if self.ignored:
            shown = ", ".join(repr(name) for name in self.ignored[:3])
            lines.append(
                f"ignored   {len(self.ignored):,} names that are not data: {shown}{' ...' * (len(self.ignored) > 3)}"
            )
        if self.executor:
            lines.append(f"executor  {self.executor}")
        for number, step in enumerate(self.steps, start=1):
            joined = " in one pass" if isinstance(step, OnePass) else ""
            lines.append(f"step {number}    {step.name}{joined}; a worker takes {step.resources.cpus:g} CPU")
        lines.append(f"reads     {about}{size(self.read_bytes)} in all passes")
        lines.append(f"output    {self.output_path}")
        lines += [f"note      {note}" for note in self.notes]
        lines += [f"doubt     {doubt}" for doubt in self.doubts]
        return "\n".join(lines)


def plan_run(stages: Sequence[ProcessingStage], *, executor: str = "", one_pass_bytes: int = 0) -> Plan:
    """Plan a run over its input; reads metadata only.

    Args:
        stages: the stages of the pipeline.
        executor: the executor in words.
        one_pass_bytes: bytes of keys that a single worker, which gets the splits in order, may hold to read the input
            once; 0 if there is no such worker.

    Raises:
        ConfigError: a pipeline that does not begin with a source and end with a sink, an input that is not there, or
            settings that have no JSON value.
    """
    build_steps(stages)
    source, sink = stages[0], stages[-1]
    problems = []
    if not isinstance(source, SourceStage):
        problems.append("stages: nothing is read. Begin with a stage that reads, as in 'stages=[read,exact,write]'.")
    if not isinstance(sink, SinkStage):
        problems.append("stages: nothing is written. End with a stage that writes, as in 'stages=[read,exact,write]'.")
    if problems:
        raise ConfigError(problems)
    assert isinstance(source, SourceStage)
    is_estimated = getattr(source, "input_path", None) == [EMBEDDED]
    plan = _expected_splits() if is_estimated else source.plan_splits()
    resolved = _resolve(stages, plan.splits)
    steps = join_passes(build_steps(resolved), plan.splits, count_documents(plan.splits), one_pass_bytes)
    asked = source_columns(stages[1:])
    doubts = [] if is_estimated else source.doubts(plan.splits, asked)
    for position, stage in enumerate(stages[1:], start=1):
        made = {column for each in stages[1:position] for column in each.outputs()}
        needed = [column for column in stage.required_columns() if column not in made]
        lacking = [] if is_estimated else source.doubts(plan.splits, needed)
        problems += [f"stages.{stage.name}: {sentence}" for sentence in lacking]
    identities = []
    for stage in (source, *resolved[1:]):
        try:
            settings = json_settings(stage)
        except ConfigError as error:
            problems += error.problems
        else:
            identities.append({"name": stage.name, "class": type(stage).__qualname__, "settings": settings})
    if problems:
        raise ConfigError(problems)
    if getattr(source, "shard_count", None) and not all(isinstance(step, Segment) for step in steps):
        doubts.append(
            "duplicates are found within this shard only; a run over the outputs of all shards finds the rest"
        )
    return Plan(
        doubts=doubts,
        whole_input=plan.whole_input,
        is_estimated=is_estimated,
        steps=steps,
        splits=plan.splits,
        ignored=plan.ignored,
        output_path=str(getattr(sink, "output_path", "")),
        executor=executor,
        stages=identities,
        notes=[f"{stage.name}: {note}" for stage in resolved for note in stage.notes()],
    )


def _resolve(stages: Sequence[ProcessingStage], splits: Sequence[Split]) -> list[ProcessingStage]:
    """The stages, those behind a barrier knowing the files that their options name."""
    resolved = list(stages)
    for place, stage in enumerate(stages):
        if isinstance(stage, ShuffleStage):
            source = resolved[0]
            assert isinstance(source, SourceStage)
            found = stage.resolve(source, stages[:place], splits)
            resolved[0], resolved[place] = found.source, found.stage
    return resolved


def size(count: float) -> str:
    """Bytes for people, in units of 1000.

    Example:
        >>> size(999), size(3_800_000)
        ('999 bytes', '3.8 MB')
    """
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def count_documents(splits: Sequence[Split]) -> int:
    """About how many records some splits have: counted by Parquet footers, assumed elsewhere."""
    return sum(map(_count_documents, splits))


def _count_documents(split: Split) -> int:
    file = split.file
    if file.num_rows is not None:
        return file.num_rows * split.size_bytes // max(1, file.size_bytes)
    return split.size_bytes * (1 if file.compression == "none" else 4) // DOCUMENT_BYTES + 1


def _reads(step: Step) -> bool:
    return isinstance(step, Segment) and bool(step.stages) and isinstance(step.stages[0], SourceStage)


def _expected_splits() -> SplitPlan:
    # Taking the docstrings of a whole Python apart takes seconds, and writing them is no business of a plan.
    share = EMBEDDED_BYTES // EMBEDDED_FILES
    names = [f"{EMBEDDED}-{number:05d}.jsonl" for number in range(EMBEDDED_FILES)]
    return SplitPlan(number_splits([(InputFile(name, share, "", "jsonl"), 0, share, share) for name in names]), [])
