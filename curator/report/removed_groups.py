"""Which removed documents belong together, and which of them to show: rows of a ledger flow in, numbers flow out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc


def final_keepers(ledger: pa.Table) -> npt.NDArray[np.uint64]:
    """The document that each removed one lost to in the end: that of a later stage, if it removed the first keeper.

    Args:
        ledger: the columns of ``LEDGER``, sorted by document.

    Returns:
        uint64, shape (num_removed,); a document that lost to none, or to one of an earlier corpus, stands for itself.

    Example:
        >>> rows = {"document_id": [2, 3, 5], "kept_document_id": [1, 2, None], "kept_in": [None, None, None]}
        >>> types = [("document_id", pa.uint64()), ("kept_document_id", pa.uint64()), ("kept_in", pa.string())]
        >>> final_keepers(pa.table(rows, pa.schema(types))).tolist()
        [1, 1, 5]
    """
    document: npt.NDArray[np.uint64] = ledger["document_id"].to_numpy()
    if not len(document):
        return document
    lost_here = pc.and_(ledger["kept_document_id"].is_valid(), ledger["kept_in"].is_null()).to_numpy()
    first = np.where(lost_here, pc.fill_null(ledger["kept_document_id"], 0).to_numpy(), document)
    keeper: npt.NDArray[np.uint64] = first
    # Each round goes one removal further; a document is removed once, so that this ends.
    for _ in range(len(document)):
        place = np.minimum(np.searchsorted(document, keeper), len(document) - 1)
        further = np.where(document[place] == keeper, first[place], keeper)
        if np.array_equal(further, keeper):
            break
        keeper = further
    return keeper


def rows_with_id(ledger: pa.Table, keepers: npt.NDArray[np.uint64], identifier: str) -> npt.NDArray[np.int64]:
    """Rows of the document with an id of the user's, and of those that lost to it, at once or in the end.

    Args:
        ledger: the columns of ``LEDGER``.
        keepers: what ``final_keepers`` gives for it.
        identifier: compared with ``id`` and ``kept_id``.
    """
    own, lost = (pc.fill_null(pc.equal(ledger[name], identifier), False).to_numpy() for name in ("id", "kept_id"))
    documents = ledger["kept_document_id"].filter(pa.array(lost & ledger["kept_in"].is_null().to_numpy()))
    return np.flatnonzero(own | lost | np.isin(keepers, documents.to_numpy()))


def spread_rows(reasons: pa.ChunkedArray, most: int | None) -> npt.NDArray[np.int64]:
    """At most so many rows: of every reason as many as of the others, if there are, and spread evenly.

    Args:
        reasons: string, shape (num_removed,): why each document was removed.
        most: at least 0; ``None`` for all rows.

    Example:
        >>> spread_rows(pa.chunked_array([["a", "b", "a", "a", "a", "b", "a"]]), 3).tolist()
        [0, 1, 6]
    """
    rows = np.arange(len(reasons))
    if most is None or most >= len(rows):
        return rows
    numbers = reasons.combine_chunks().dictionary_encode().indices.to_numpy()
    by_reason = sorted((rows[numbers == number] for number in np.unique(numbers)), key=len)
    chosen, left = [np.empty(0, np.int64)], most
    for number, part in enumerate(by_reason):
        count = min(left // (len(by_reason) - number), len(part))
        chosen.append(part[np.unique(np.linspace(0, len(part) - 1, count, dtype=np.int64))] if count else part[:0])
        left -= count
    return np.sort(np.concatenate(chosen))
