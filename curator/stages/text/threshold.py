"""A filter: documents whose number in one column reaches a threshold stay, the others go, each with its score."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa

from curator.errors import ConfigError
from curator.stages.base import ProcessingStage
from curator.stages.dedup.exact import numbers
from curator.tasks import DocumentBatch

WITHOUT_SCORE = ("keep", "remove")


class KeepAbove(ProcessingStage):
    """Keeps documents with a number of at least ``threshold``; the others are removed, their number in the ledger.

    Args:
        column: a field of the input, or a column that a stage in front makes. Text that is a number is read as one.
        threshold: the lowest number that is kept.
        without_score: what becomes of documents that have no number there: ``remove`` (reason ``no_score``) or
            ``keep``.

    Raises:
        ConfigError: an argument is not allowed.

    Example:
        >>> KeepAbove("score", 3).inputs()
        ('score',)
    """

    name = "keep_above"

    def __init__(self, column: str, threshold: float, *, without_score: str = "remove") -> None:
        self.column = column
        self.threshold = threshold
        self.without_score = without_score
        problems = []
        if not isinstance(column, str) or column in ("", "text", "id"):
            problems.append(f"keep_above.column={column!r}: must be the name of a column of numbers.")
        if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not math.isfinite(threshold):
            problems.append(f"keep_above.threshold={threshold!r}: must be a number.")
        if without_score not in WITHOUT_SCORE:
            problems.append(
                f"keep_above.without_score: {without_score!r} is not known. Choose from: {', '.join(WITHOUT_SCORE)}."
            )
        if problems:
            raise ConfigError(problems)

    def inputs(self) -> tuple[str, ...]:
        """The column."""
        return (self.column,)

    def required_columns(self) -> tuple[str, ...]:
        """The column: without it every document would go."""
        return (self.column,)

    def process(self, task: DocumentBatch) -> DocumentBatch:
        """Take out what is below the threshold, and what has no number."""
        scores = numbers(task.columns[self.column].combine_chunks())
        if self.without_score == "remove":
            absent = np.isnan(scores)
            task = task.remove(absent, stage=self.name, reason="no_score")
            scores = scores[~absent]
        below = scores < self.threshold
        return task.remove(below, stage=self.name, reason="below_threshold", scores=pa.array(scores))
