"""Who goes, of the documents of some components: by keeper order, or one for each connected component.

Members flow in, and a keeper for each document that goes flows out. Where what is compared does not fit into memory,
documents are decided chunk by chunk in keeper order: since the order is total, a chunk needs only the kept documents
before it, and the result is the same.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curator.stages.dedup.linking import link_components
from curator.stages.dedup.members import Members


class Decision(NamedTuple):
    """What was decided.

    Args:
        keepers: the document that each one lost to, -1 if none; int64, shape (num_docs,).
        similarities: similarity to the keeper; float64, shape (num_docs,).
        bounded: documents that were not compared with all that they share buckets with.
        comparisons: pairs that were compared.
        similar: pairs of them that are similar.
    """

    keepers: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float64]
    bounded: int
    comparisons: int
    similar: int


def decide(members: Members, cluster: str, max_comparisons: int) -> Decision:
    """Decide about all documents of some components.

    Args:
        members: the documents; components are whole.
        cluster: ``keeper`` or ``components``.
        max_comparisons: kept documents that one is compared with.
    """
    decided = cover_in_chunks(members, max_comparisons)
    if cluster == "keeper":
        return decided
    linked = link_components(members, decided.keepers, max_comparisons)
    removed = np.flatnonzero(linked.keepers >= 0)
    similarities = np.full(len(decided.keepers), np.nan)
    similarities[removed] = members.similarities(removed, linked.keepers[removed])
    comparisons, similar = decided.comparisons + linked.comparisons, decided.similar + linked.similar
    return Decision(linked.keepers, similarities, linked.bounded, comparisons, similar)


def cover_in_chunks(members: Members, max_comparisons: int) -> Decision:
    """Decide in keeper order; a document goes exactly when a kept one that shares a bucket is similar to it."""
    from curator.kernels.cover import KEPT

    contents, order, protected = members.contents, members.order, members.num_protected
    if not contents.is_mapped:
        whole = members.cover(
            members.keys, members.key_offsets, max_comparisons=max_comparisons, num_protected=protected
        )
        similar = int((whole.keepers != KEPT).sum())
        return Decision(whole.keepers, whole.similarities, int(whole.bounded.sum()), whole.comparisons, similar)
    count = len(order)
    keepers, similarities = np.full(count, KEPT, np.int64), np.full(count, np.nan)
    bounded = comparisons = 0
    buckets = np.unique(members.keys, return_inverse=True)[1].reshape(-1)
    owners = np.repeat(np.arange(count), np.diff(members.key_offsets))
    in_play = np.zeros(count, np.bool_)
    in_play[order[:protected]] = True
    for part in contents.chunks(contents.num_bytes(order[protected:])):
        begin, end = protected + part.start, protected + part.stop
        own = np.zeros(count, np.bool_)
        own[order[begin:end]] = True
        wanted = np.zeros(len(members.keys) + 1, np.bool_)
        wanted[buckets[own[owners]]] = True
        # Documents of later chunks have no keys here, so that nothing is compared with them; nor have removed ones.
        rows = np.flatnonzero(wanted[buckets] & (own | in_play)[owners])
        sizes = np.bincount(owners[rows], minlength=count)
        decided = members.cover(
            buckets[rows].astype(np.uint64),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
            max_comparisons=max_comparisons,
            num_protected=begin,
        )
        keepers[own], similarities[own] = decided.keepers[own], decided.similarities[own]
        in_play[own] = decided.keepers[own] == KEPT
        bounded += int(decided.bounded[own].sum())
        comparisons += decided.comparisons
    return Decision(keepers, similarities, bounded, comparisons, int((keepers != KEPT).sum()))
