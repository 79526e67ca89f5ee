"""Which columns a source has to read, and which ones stages make: stages in, names and complaints out.

A column that a stage makes lives in the batches of its segment. Behind a barrier the source is read again, so the
column is gone there; and a writer writes only those that it is told to add. What contradicts that is refused before
anything runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from curator.stages.base import ProcessingStage, ShuffleStage, SinkStage, SourceStage


def source_columns(stages: Sequence[ProcessingStage]) -> list[str]:
    """Columns that the stages behind a source need of it: those that no stage in front of them makes.

    Args:
        stages: the stages of one segment, without the source.

    Example:
        >>> from curator.stages.text.threshold import KeepAbove
        >>> source_columns([KeepAbove("score", 3)])
        ['score']
    """
    columns: list[str] = []
    made: set[str] = set()
    for stage in stages:
        columns += [column for column in stage.inputs() if column not in made]
        made.update(stage.outputs())
    return columns


def check_columns(stages: Sequence[ProcessingStage]) -> list[str]:
    """Columns that are made, or changed, where those who need them do not see it.

    Args:
        stages: all stages of a pipeline, in order.

    Returns:
        The problems.
    """
    problems = []
    for position, stage in enumerate(stages):
        if isinstance(stage, SourceStage | ShuffleStage | SinkStage):
            continue
        later = stages[position + 1 :]
        changed = [column for column in stage.outputs() if column in (*stage.inputs(), "text", "id")]
        if changed and any(isinstance(each, ShuffleStage | SinkStage) for each in later):
            problems.append(
                f"stages.{stage.name}: changes {', '.join(changed)}, which the stages behind a barrier and the "
                "writer would not see: they read the source again."
            )
        for column in stage.outputs():
            if column not in changed:
                problems += _check_behind_barriers(stage, column, later)
    return problems + _check_added(stages)


def _check_behind_barriers(maker: ProcessingStage, column: str, later: Sequence[ProcessingStage]) -> list[str]:
    problems = []
    barrier = ""
    for stage in later:
        rereads = isinstance(stage, ShuffleStage) and any(column in work.columns for work in stage.rounds()[1:])
        if (barrier and column in stage.inputs()) or rereads:
            problems.append(
                f"stages.{stage.name}: needs the column {column!r}, which stages.{maker.name} makes in front of the "
                f"barrier of stages.{barrier or stage.name}; behind it the source is read again, and the column is "
                f"gone. Put {maker.name} behind that barrier, as in 'stages=[...,{barrier or '...'},{maker.name},...]'."
            )
        if isinstance(stage, ShuffleStage):
            barrier = barrier or stage.name
    return problems


def _check_added(stages: Sequence[ProcessingStage]) -> list[str]:
    """Columns that a writer is to add, and that nobody makes."""
    made = [column for stage in stages if not isinstance(stage, SourceStage) for column in stage.outputs()]
    problems = []
    for stage in stages:
        for column in getattr(stage, "add_columns", ()):
            if column not in made:
                close = get_close_matches(column, made, n=1)
                meant = f" Did you mean {close[0]!r}?" if close else ""
                known = f"They make: {', '.join(made)}." if made else "None of them makes a column."
                problems.append(f"stages.{stage.name}.add_columns: no stage makes {column!r}.{meant} {known}")
    return problems
