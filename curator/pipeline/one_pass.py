"""Joining two passes over the input into one, where no document has to wait for a later one.

Steps in, steps out. When the splits come one after the other in one worker, and of equal documents the first one
stays, whether a document goes depends on those before it alone. Then what is left of a chunk can be written while it is
in memory, and the input is read once. The worker holds the keys of each kept document, so they have to be few enough.
"""

from __future__ import annotations

from collections.abc import Sequence

from curator.pipeline.columns import source_columns
from curator.pipeline.segments import Barrier, OnePass, Segment, Step
from curator.stages.base import SourceStage
from curator.tasks import Split


def join_passes(steps: Sequence[Step], splits: Sequence[Split], num_documents: int, most_bytes: int) -> list[Step]:
    """The steps, or the one that does the same in one pass.

    Args:
        steps: what ``build_steps`` made.
        splits: the splits of the run.
        num_documents: about how many documents are in them.
        most_bytes: bytes of keys that the worker may hold; 0 joins nothing.

    Example:
        >>> from curator import ExactDeduplication, Read, Write
        >>> from curator.pipeline import build_steps
        >>> steps = build_steps([Read("a"), ExactDeduplication(), Write("b")])
        >>> [step.name for step in join_passes(steps, [], 1_000, 1 << 20)]
        ['read · exact · write']
        >>> [step.name for step in join_passes(steps, [], 1_000_000, 1 << 20)]
        ['read · exact', 'exact (shuffle)', 'read · write']
    """
    first, last = steps[0], steps[-1]
    barriers = tuple(step for step in steps[1:-1] if isinstance(step, Barrier))
    if not (isinstance(first, Segment) and isinstance(last, Segment) and len(barriers) == len(steps) - 2 > 0):
        return list(steps)
    takes = [shuffle.in_order(splits) for shuffle in first.shuffles]
    held = sum(each.document_bytes for each in takes if each is not None)
    if last.sink is None or None in takes or held * max(1, num_documents) > most_bytes:
        return list(steps)
    source = last.stages[0]
    assert isinstance(source, SourceStage)
    columns = [*source_columns(first.all_stages[1:]), *source_columns(last.all_stages[1:])]
    reader = source.for_segment(list(dict.fromkeys(columns)), whole_rows=last.sink.whole_rows)
    return [OnePass(first.ordinal, reader, first, barriers, last, len(splits), most_bytes)]


def separate_passes(steps: Sequence[Step]) -> list[Step]:
    """The steps as they were before they were joined.

    Example:
        >>> from curator import ExactDeduplication, Read, Write
        >>> from curator.pipeline import build_steps
        >>> steps = build_steps([Read("a"), ExactDeduplication(), Write("b")])
        >>> separate_passes(join_passes(steps, [], 1_000, 1 << 20)) == steps
        True
    """
    separate: list[Step] = []
    for step in steps:
        separate += [step.first, *step.barriers, step.second] if isinstance(step, OnePass) else [step]
    return separate
