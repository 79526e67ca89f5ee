"""Exact Jaccard similarity of sets of shingles: pair by pair, and as the rule that decides who is kept.

Sets flow in as arrays of 64-bit hashes without repetition, in any sequence, though fastest in that of ``shingle_sets``;
similarities, and the keeper of each removed document, flow out. The similarity of two sets is the size of their
intersection over that of their union, in float64 and compared with ``>=``, as Python would; two empty sets are similar
to nothing: 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.numbering import number_as_met
from curator.kernels.overlap import new_room, similarity
from curator.kernels.shingle_sets import random_seed
from curator.kernels.sketch import checked_offsets
from curator.kernels.vector import read_only

KEPT = -1
"""The keeper of a document that stays."""

_RANK_BITS = 40


class Cover(NamedTuple):
    """What was decided.

    Args:
        keepers: which document each one lost to, ``KEPT`` if none; int64, shape (num_docs,).
        similarities: Jaccard similarity to the keeper, NaN if kept; float64, shape (num_docs,).
        bounded: documents that were kept although not all of their candidates were compared; bool, shape (num_docs,).
        comparisons: pairs of sets that were compared.
    """

    keepers: npt.NDArray[np.int64]
    similarities: npt.NDArray[np.float64]
    bounded: npt.NDArray[np.bool_]
    comparisons: int


def at_least(left: npt.NDArray[np.uint64], right: npt.NDArray[np.uint64], threshold: float) -> float:
    """Similarity of two sets, or -1 if it is below the threshold, which is mostly known long before their end.

    Args:
        left: uint64, none twice.
        right: like ``left``.
        threshold: 0 to 1.

    Raises:
        ValueError: ``threshold`` is not in 0 to 1.

    Example:
        >>> at_least([1, 2, 3], [2, 3, 4], 0.5), at_least([1, 2, 3], [2, 3, 4], 0.51)
        (0.5, -1.0)
    """
    first, second = read_only(left, np.uint64), read_only(right, np.uint64)
    return float(_at_least(first, second, _checked_threshold(threshold), random_seed()))  # type: ignore[arg-type]


def pair_similarities(
    hashes: npt.NDArray[np.uint64],
    offsets: npt.NDArray[np.int64],
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    threshold: float = 0.0,
) -> npt.NDArray[np.float64]:
    """Similarities of many pairs.

    Args:
        hashes: the sets one after the other; uint64, shape (num_shingles,).
        offsets: where each set begins and, last, where all end; int64, shape (num_sets + 1,).
        left: one set of each pair; int64, shape (num_pairs,).
        right: the other one; int64, shape (num_pairs,).
        threshold: 0 to 1.

    Returns:
        float64, shape (num_pairs,); -1 where the similarity is below ``threshold``.

    Raises:
        ValueError: a set does not exist, ``threshold`` is not in 0 to 1, or the arrays do not belong together.

    Example:
        >>> pair_similarities([1, 2, 2, 3], [0, 2, 4], [0, 0], [1, 0]).tolist()
        [0.3333333333333333, 1.0]
    """
    positions = checked_offsets(offsets, len(hashes))
    chosen: list[npt.NDArray[np.int64]] = [read_only(side, np.int64) for side in (left, right)]  # type: ignore[misc]
    if len(chosen[0]) != len(chosen[1]):
        raise ValueError(f"{len(chosen[0])} sets on the left and {len(chosen[1])} on the right: must be as many")
    for side in chosen:
        if len(side) and not 0 <= side.min() <= side.max() < len(positions) - 1:
            raise ValueError(f"sets reach from {side.min()} to {side.max()}, but there are {len(positions) - 1}")
    limit = _checked_threshold(threshold)
    return _pair_similarities(read_only(hashes, np.uint64), positions, chosen[0], chosen[1], limit, random_seed())  # type: ignore[arg-type]


def cover(
    order: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint64],
    offsets: npt.NDArray[np.int64],
    keys: npt.NDArray[np.uint64],
    key_offsets: npt.NDArray[np.int64],
    threshold: float,
    *,
    max_comparisons: int = 256,
    num_protected: int = 0,
) -> Cover:
    """Decide in keeper order: a document goes exactly when one that was kept before, and shares a key, is similar.

    Of several such keepers it is the one that shares most keys, and among those the first in keeper order. What is
    decided depends on the order and on nothing else, so all documents that share keys, directly or by others, have to
    come in one call; components may come together or apart. A document is compared with at most ``max_comparisons``
    kept ones, and these are sought among at most ``16 * max_comparisons`` entries of its buckets, smallest first; one
    that is kept although there were more is ``bounded``. Documents without shingles are kept and match nothing.

    Args:
        order: all documents in keeper order; int64, shape (num_docs,).
        hashes: the sets one after the other; uint64, shape (num_shingles,).
        offsets: where the set of each document begins and, last, where all end; int64, shape (num_docs + 1,).
        keys: the band keys of the documents, one after the other; uint64, shape (num_keys,). Those that only one
            document has may be left out.
        key_offsets: where the keys of each document begin and, last, where all end; int64, shape (num_docs + 1,).
        threshold: 0 to 1; at 0, sharing a key is enough.
        max_comparisons: at least 1.
        num_protected: how many documents, at the beginning of ``order``, are kept whatever they are similar to.

    Raises:
        ValueError: ``order`` is no permutation, a number is out of its range, or the arrays do not belong together.

    Example:
        >>> sets, starts = [1, 2, 3, 4, 1, 2, 3, 9, 7, 8], [0, 4, 8, 10]
        >>> decided = cover([1, 0, 2], sets, starts, [5, 5, 5], [0, 1, 2, 3], threshold=0.6)
        >>> decided.keepers.tolist(), decided.similarities[0]
        ([1, -1, -1], np.float64(0.6))
    """
    positions, key_positions = checked_offsets(offsets, len(hashes)), checked_offsets(key_offsets, len(keys))
    count = len(positions) - 1
    sequence = read_only(order, np.int64)
    if len(key_positions) - 1 != count or sequence.shape != (count,):
        raise ValueError(
            f"{count} sets, {len(key_positions) - 1} lists of keys, {len(sequence)} in order: must be as many"
        )
    if count and not (np.bincount(np.clip(sequence, 0, count), minlength=count)[:count] == 1).all():
        raise ValueError(f"order: must have each of the {count} documents once")
    if max_comparisons < 1 or not 0 <= num_protected <= count:
        raise ValueError(
            f"max_comparisons={max_comparisons} must be at least 1, num_protected={num_protected} 0 to {count}"
        )
    limit = _checked_threshold(threshold)
    distinct, buckets = number_as_met(keys)
    return Cover(
        *_cover(
            sequence,  # type: ignore[arg-type]
            read_only(hashes, np.uint64),  # type: ignore[arg-type]
            positions,
            read_only(buckets, np.int64),  # type: ignore[arg-type]
            key_positions,
            len(distinct),
            limit,
            int(max_comparisons),
            int(num_protected),
            random_seed(),
        )
    )


def _checked_threshold(threshold: float) -> float:
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold}: must be 0 to 1")
    return float(threshold)


@kernel
def _at_least(left: npt.NDArray[np.uint64], right: npt.NDArray[np.uint64], threshold: float, seed: np.uint64) -> float:
    sizes = np.array([0, len(left), len(left) + len(right)])
    return similarity(left, right, threshold, new_room(sizes, seed))


@kernel
def _pair_similarities(
    hashes: npt.NDArray[np.uint64],
    offsets: npt.NDArray[np.int64],
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    threshold: float,
    seed: np.uint64,
) -> npt.NDArray[np.float64]:
    similarities = np.empty(len(left), np.float64)
    room = new_room(offsets, seed)
    for pair in range(len(left)):
        mine, yours = left[pair], right[pair]
        room.bits[0] = 0
        similarities[pair] = similarity(
            hashes[offsets[mine] : offsets[mine + 1]], hashes[offsets[yours] : offsets[yours + 1]], threshold, room
        )
    return similarities


@kernel
def _cover(
    order: npt.NDArray[np.int64],
    hashes: npt.NDArray[np.uint64],
    offsets: npt.NDArray[np.int64],
    buckets: npt.NDArray[np.int64],
    key_offsets: npt.NDArray[np.int64],
    num_buckets: int,
    threshold: float,
    max_comparisons: int,
    num_protected: int,
    seed: np.uint64,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.bool_], int]:
    count = len(order)
    keepers, similarities = np.full(count, KEPT, np.int64), np.full(count, np.nan)
    bounded = np.zeros(count, np.bool_)
    members, begins, sizes = _empty_buckets(buckets, num_buckets)
    shared, candidates = np.zeros(count, np.int64), np.empty(count, np.int64)
    room, comparisons = new_room(offsets, seed), 0
    for rank in range(count):
        document = order[rank]
        begin, end = offsets[document], offsets[document + 1]
        mine = buckets[key_offsets[document] : key_offsets[document + 1]]
        if begin == end:
            continue
        if rank >= num_protected:
            found, is_complete = _find_candidates(
                mine, members, begins, sizes, shared, candidates, 16 * max_comparisons
            )
            bounded[document] = not is_complete or found > max_comparisons
            room.bits[0] = 0
            for index in range(min(found, max_comparisons)):
                other = order[candidates[index]]
                comparisons += 1
                found_there = similarity(
                    hashes[offsets[other] : offsets[other + 1]], hashes[begin:end], threshold, room
                )
                if found_there >= 0:
                    keepers[document], similarities[document], bounded[document] = other, found_there, False
                    break
        if keepers[document] == KEPT:
            for bucket in mine:
                members[begins[bucket] + sizes[bucket]] = rank
                sizes[bucket] += 1
    return keepers, similarities, bounded, comparisons


@kernel
def _empty_buckets(
    buckets: npt.NDArray[np.int64], num_buckets: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Room for the kept documents of each bucket: the members of all, where those of each begin, how many there are."""
    begins = np.zeros(num_buckets + 1, np.int64)
    for bucket in buckets:
        begins[bucket + 1] += 1
    for bucket in range(num_buckets):
        begins[bucket + 1] += begins[bucket]
    return np.empty(len(buckets), np.int64), begins, np.zeros(num_buckets, np.int64)


@kernel
def _find_candidates(
    mine: npt.NDArray[np.int64],
    members: npt.NDArray[np.int64],
    begins: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int64],
    shared: npt.NDArray[np.int64],
    candidates: npt.NDArray[np.int64],
    most_entries: int,
) -> tuple[int, bool]:
    """Write the ranks of the kept documents in some buckets to ``candidates``, those that share most of them first.

    Returns:
        How many candidates there are; and whether all entries of the buckets were looked at.
    """
    found, looked_at, is_complete = 0, 0, True
    by_size = np.empty(len(mine), np.int64)
    for index in range(len(mine)):
        by_size[index] = sizes[mine[index]] * len(mine) + index
    by_size.sort()
    for sized in by_size:
        bucket = mine[sized % len(mine)]
        wanted = min(sizes[bucket], most_entries - looked_at)
        is_complete &= wanted == sizes[bucket]
        looked_at += wanted
        for entry in range(begins[bucket], begins[bucket] + wanted):
            rank = members[entry]
            if shared[rank] == 0:
                candidates[found] = rank
                found += 1
            shared[rank] += 1
    # One word for each, so that one sort puts the most shared first, and among equals the first in keeper order.
    for index in range(found):
        rank = candidates[index]
        candidates[index] = rank - (shared[rank] << _RANK_BITS)
        shared[rank] = 0
    candidates[:found].sort()
    for index in range(found):
        candidates[index] &= (1 << _RANK_BITS) - 1
    return found, is_complete
