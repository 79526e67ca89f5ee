"""Which orders of stages can be run: every reason against one is found before anything is built."""

from __future__ import annotations

from collections.abc import Sequence

from curator.errors import ConfigError
from curator.pipeline.columns import check_columns
from curator.stages.barrier.keys import MOST_ITERATIONS
from curator.stages.base import ProcessingStage, ShuffleStage, SinkStage, SourceStage
from curator.stages.collective import CollectiveStage
from curator.stages.shuffle import TableShuffle


def check_order(stages: Sequence[ProcessingStage]) -> None:
    """Refuse stages that cannot be run one after the other.

    Args:
        stages: all stages of a pipeline, in order.

    Raises:
        ConfigError: they cannot; every reason is in the message.

    Example:
        >>> from curator.stages.io.write import Write
        >>> check_order([Write("clean")])
        Traceback (most recent call last):
        ...
        curator.errors.ConfigError: stages.write: needs a stage that reads in front of it, as in 'stages=[read,write]'.
    """
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
        if isinstance(stage, TableShuffle) and has_source:
            problems.append(
                f"stages.{stage.name}: shuffles tables, and has none between a stage that reads and one that writes "
                "documents. Use it in a pipeline of stages that make tables."
            )
        if isinstance(stage, CollectiveStage) and has_source:
            problems.append(
                f"stages.{stage.name}: is a group of ranks that divides whole tasks; documents between a stage that "
                "reads and one that writes come split by split. Use it in a pipeline of stages without a source."
            )
        if isinstance(stage, ShuffleStage):
            problems += _check_rounds(stage)
    problems += check_columns(stages)
    if problems:
        raise ConfigError(problems)


def _check_rounds(stage: ShuffleStage) -> list[str]:
    where = f"stages.{stage.name}"
    problems = [
        f"{where}.{key}={value!r}: must be a whole number of at least 1."
        for key, value in (("num_bands", stage.num_bands), ("bands_per_iteration", stage.bands_per_iteration))
        if (isinstance(value, bool) or not isinstance(value, int) or value < 1)
        and not (key == "bands_per_iteration" and value is None)
    ]
    if problems:
        return problems
    iterations, num_rounds = len(stage.get_band_iterations()), len(stage.rounds())
    if iterations > MOST_ITERATIONS:
        problems.append(
            f"{where}.bands_per_iteration={stage.bands_per_iteration!r}: takes {iterations} turns for "
            f"{stage.num_bands} bands; at most {MOST_ITERATIONS} are possible. Take more bands at a time."
        )
    if iterations > 1 and num_rounds < 2:
        problems.append(
            f"{where}.bands_per_iteration={stage.bands_per_iteration!r}: one round cannot decide in {iterations} "
            "turns, as two of them may remove the same document. Leave it out, or give the stage a second round."
        )
    return problems
