"""The keeper order: of two similar documents, which one stays. Total, so that every run decides the same.

A policy and the columns of a batch flow in, a number for each document flows out; the larger number comes first, no
number comes last, and ties go to the first document of the input.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from curator.stages.dedup.exact import numbers
from curator.stages.dedup.signature_files import CHARACTERS
from curator.stages.io.text_buffers import single
from curator.tasks import DocumentBatch

POLICIES = "first, longest, max:<column>, priority:<column>"
_BY_COLUMN = ("max", "priority")


def is_policy(keep: object) -> bool:
    """Whether a text names a keeper policy.

    Example:
        >>> is_policy("max:score"), is_policy("max:"), is_policy("best")
        (True, False, False)
    """
    return keep in ("first", "longest") or policy_column(keep) is not None


def policy_column(keep: object) -> str | None:
    """The column that a policy reads, ``None`` if it needs none.

    Example:
        >>> policy_column("priority:source_rank"), policy_column("longest")
        ('source_rank', None)
    """
    policy, _, column = keep.partition(":") if isinstance(keep, str) else ("", "", "")
    return column if policy in _BY_COLUMN and column else None


def keeper_values(keep: str, batch: DocumentBatch) -> npt.NDArray[np.float64]:
    """What each document counts for among those that it is similar to.

    Args:
        keep: ``first``: nothing, so that ties decide; ``longest``: characters of the text as it came; ``max:<column>``:
            the number in that column; ``priority:<column>``: that number negated, so that 1 goes before 2.
        batch: has the columns that the policy needs.

    Returns:
        float64, shape (num_docs,); minus infinity where there is no number.

    Example:
        >>> import pyarrow as pa
        >>> from curator.tasks import InputFile, Split
        >>> columns = pa.table({"rank": ["2", "1", None]})
        >>> split = Split(0, InputFile("a.jsonl", 9, "", "jsonl"), 0, 9, 9)
        >>> keeper_values("priority:rank", DocumentBatch(split=split, rows=np.arange(3), columns=columns))
        array([ -2.,  -1., -inf])
    """
    if keep == "first":
        return np.zeros(batch.num_items)
    if keep == "longest" and CHARACTERS in batch.columns.column_names:
        return np.asarray(single(batch.columns[CHARACTERS]), np.float64)
    if keep == "longest":
        return np.asarray(pc.fill_null(pc.utf8_length(single(batch.columns["text"])), 0), np.float64)
    values = numbers(single(batch.columns[policy_column(keep) or ""]))
    values = -values if keep.startswith("priority:") else values
    return np.where(np.isnan(values), -np.inf, values)


def keeper_order(values: npt.NDArray[np.float64], documents: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Positions of documents in keeper order.

    Args:
        values: float64, shape (num_docs,).
        documents: uint64, shape (num_docs,), all different.

    Example:
        >>> keeper_order(np.array([1.0, 3.0, 3.0]), np.array([7, 9, 8], np.uint64)).tolist()
        [2, 1, 0]
    """
    return np.asarray(np.lexsort((documents, -values)), np.int64)
