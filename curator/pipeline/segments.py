"""Cutting a list of stages into segments, which stream, and barriers, which need all of their input first.

Stages in, steps out. A segment is fused: one worker pushes a task through all of its stages before it takes the next.
Behind a barrier, the source reads again what is left, and only the columns that the stages there need.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curator.errors import ConfigError
from curator.stages.base import ProcessingStage, ShuffleStage, SinkStage, SourceStage
from curator.stages.resources import Resources


@dataclass(frozen=True, slots=True)
class Segment:
    """Stages that one worker runs one after the other on each unit of work.

    Args:
        ordinal: position among the steps.
        stages: the stages, a source first if there is one.
        shuffle: the shuffle stage whose keys this segment collects at its end.
        sink: the sink that this segment ends in.
    """

    ordinal: int
    stages: tuple[ProcessingStage, ...]
    shuffle: ShuffleStage | None = None
    sink: SinkStage | None = None

    @property
    def all_stages(self) -> tuple[ProcessingStage, ...]:
        """Every stage that a worker of this segment holds."""
        ends: list[ProcessingStage] = [stage for stage in (self.shuffle, self.sink) if stage is not None]
        return (*self.stages, *ends)

    @property
    def name(self) -> str:
        """The stages' names, as they are run."""
        return " · ".join(stage.name for stage in self.all_stages)

    @property
    def resources(self) -> Resources:
        """What one worker needs."""
        needed = self.all_stages[0].resources
        for stage in self.all_stages[1:]:
            needed = needed.fused(stage.resources)
        return needed


@dataclass(frozen=True, slots=True)
class Barrier:
    """The partitions of a shuffle: what its ``decide`` makes of all keys."""

    ordinal: int
    shuffle: ShuffleStage

    @property
    def all_stages(self) -> tuple[ProcessingStage, ...]:
        """The one stage."""
        return (self.shuffle,)

    @property
    def name(self) -> str:
        """The stage's name, marked as the part behind the barrier."""
        return f"{self.shuffle.name} (shuffle)"

    @property
    def resources(self) -> Resources:
        """What one worker needs."""
        return self.shuffle.resources


Step = Segment | Barrier


def build_steps(stages: Sequence[ProcessingStage]) -> list[Step]:
    """Segments and barriers in running order.

    Args:
        stages: the stages of a pipeline; a source, if there is one, comes first, and a sink last.

    Raises:
        ConfigError: the order cannot be run; every reason is in the message.

    Example:
        >>> from curator.stages.io.read import Read
        >>> from curator.stages.io.write import Write
        >>> from curator.stages.dedup.exact import ExactDeduplication
        >>> [step.name for step in build_steps([Read("a"), ExactDeduplication(), Write("b")])]
        ['read · exact', 'exact (shuffle)', 'read · write']
    """
    _check_order(stages)
    source = stages[0] if stages and isinstance(stages[0], SourceStage) else None
    steps: list[Step] = []
    current: list[ProcessingStage] = []
    for stage in stages:
        if isinstance(stage, ShuffleStage):
            steps.append(_segment(len(steps), current, shuffle=stage))
            steps.append(Barrier(len(steps), stage))
            current = [source] if source is not None else []
        elif isinstance(stage, SinkStage):
            steps.append(_segment(len(steps), current, sink=stage))
            current = []
        else:
            current.append(stage)
    if (current and current != [source]) or (current and not steps):
        steps.append(_segment(len(steps), current))
    return steps


def _segment(
    ordinal: int,
    stages: Sequence[ProcessingStage],
    *,
    shuffle: ShuffleStage | None = None,
    sink: SinkStage | None = None,
) -> Segment:
    ends: list[ProcessingStage] = [stage for stage in (shuffle, sink) if stage is not None]
    if stages and isinstance(stages[0], SourceStage):
        columns = [column for stage in (*stages[1:], *ends) for column in stage.inputs()]
        source = stages[0].for_segment(columns, whole_rows=sink is not None and sink.whole_rows)
        stages = [source, *stages[1:]]
    return Segment(ordinal, tuple(stages), shuffle, sink)


def _check_order(stages: Sequence[ProcessingStage]) -> None:
    problems = []
    names = [stage.name for stage in stages]
    twice = sorted({name for name in names if names.count(name) > 1})
    problems += [f"stages: two stages are named {name!r}. Give one of them a key of its own." for name in twice]
    has_source = bool(stages) and isinstance(stages[0], SourceStage)
    for position, stage in enumerate(stages):
        if isinstance(stage, SourceStage) and position:
            problems.append(
                f"stages.{stage.name}: reads the input and must come first, as in 'stages=[read,exact,write]'."
            )
        if isinstance(stage, SinkStage) and position < len(stages) - 1:
            problems.append(
                f"stages.{stage.name}: writes the output and must come last, as in 'stages=[read,exact,write]'."
            )
        if isinstance(stage, ShuffleStage | SinkStage) and not has_source:
            problems.append(
                f"stages.{stage.name}: needs a stage that reads in front of it, as in 'stages=[read,{stage.name}]'."
            )
        changes = not isinstance(stage, SourceStage | ShuffleStage | SinkStage) and stage.outputs()
        if changes and any(isinstance(later, ShuffleStage | SinkStage) for later in stages[position:]):
            problems.append(
                f"stages.{stage.name}: changes {', '.join(stage.outputs())}, which the stages behind a barrier and the "
                "writer would not see: they read the source again."
            )
    if problems:
        raise ConfigError(problems)
