"""Connected components of similar pairs, for those who want chains of near-duplicates merged, as most tools do.

What the verified cover decided flows in, and one keeper for each component flows out: the first of its documents in
keeper order, however similar the others are to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from curator.stages.dedup.members import Members


class Linked(NamedTuple):
    """What was decided.

    Args:
        keepers: the document that each one lost to, -1 if none; int64, shape (num_docs,).
        bounded: documents in a bucket of which not all pairs could be compared.
        comparisons: pairs that were compared.
        similar: pairs of them that are similar.
    """

    keepers: npt.NDArray[np.int64]
    bounded: int
    comparisons: int
    similar: int


def link_components(members: Members, keepers: npt.NDArray[np.int64], max_comparisons: int) -> Linked:
    """Join components until no similar pair lies between two of them.

    In each bucket, in keeper order, the documents at distance 1, 2, ... are compared as long as they are not connected
    yet, up to a distance of ``max_comparisons``: all pairs of a bucket that is not larger, and of near-equal documents
    hardly any, since they are connected from the beginning.

    Args:
        members: the documents.
        keepers: by the cover: a similar document, or -1 if there is none; int64, shape (num_docs,).
        max_comparisons: at least 1.
    """
    count = len(members.documents)
    ranks = np.empty(count, np.int64)
    ranks[members.order] = np.arange(count)
    similar = keepers >= 0
    # Documents are named by their rank, so that the name of a component is the first of it in keeper order.
    names = _connect(np.arange(count), ranks[similar], ranks[keepers[similar]])
    bucket, row = _shared_buckets(members, ranks)
    comparisons = num_similar = 0
    for distance in range(1, max_comparisons + 1):
        bucket, row = _unconnected(bucket, row, names, distance)
        if not len(bucket):
            break
        pairs = np.flatnonzero(bucket[distance:] == bucket[:-distance])
        first, other = row[pairs], row[pairs + distance]
        apart = names[first] != names[other]
        first, other = np.unique(np.stack([first[apart], other[apart]]), axis=1)
        left, right = members.order[first], members.order[other]
        found = members.similarities(left, right, members.threshold) >= 0
        comparisons += len(first)
        num_similar += int(found.sum())
        names = _connect(names, names[first[found]], names[other[found]])
    else:
        bucket, row = _unconnected(bucket, row, names, max_comparisons + 1)
    decided = np.full(count, -1, np.int64)
    removed = np.flatnonzero((names != np.arange(count)) & (np.arange(count) >= members.num_protected))
    decided[members.order[removed]] = members.order[names[removed]]
    return Linked(decided, len(np.unique(row)) if len(bucket) else 0, comparisons, num_similar)


def _connect(
    names: npt.NDArray[np.int64], first: npt.NDArray[np.int64], other: npt.NDArray[np.int64]
) -> npt.NDArray[np.int64]:
    """Names of components after some more pairs."""
    from curator.kernels.union_find import components

    if not len(first):
        return names
    all_ranks = np.arange(len(names))
    linked = components(
        np.concatenate([all_ranks, first]).astype(np.uint64), np.concatenate([names, other]).astype(np.uint64)
    )
    return linked.roots.astype(np.int64)


def _shared_buckets(
    members: Members, ranks: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The number of the bucket, and the rank of the document, of each row; buckets in keeper order."""
    rank = np.repeat(ranks, np.diff(members.key_offsets))
    sequence = np.lexsort((rank, members.keys))
    keys = members.keys[sequence]
    fresh = np.zeros(len(keys), np.int64)
    fresh[1:] = keys[1:] != keys[:-1]
    return np.cumsum(fresh), rank[sequence]


def _unconnected(
    bucket: npt.NDArray[np.int64], row: npt.NDArray[np.int64], names: npt.NDArray[np.int64], distance: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The rows of buckets that are larger than ``distance`` and have documents of several components."""
    if not len(bucket):
        return bucket, row
    begins = np.flatnonzero(np.concatenate([[True], bucket[1:] != bucket[:-1]]))
    sizes = np.diff(np.append(begins, len(bucket)))
    named = names[row]
    several = np.minimum.reduceat(named, begins) != np.maximum.reduceat(named, begins)
    keep = np.repeat(several & (sizes > distance), sizes)
    return bucket[keep], row[keep]
