"""The rule that decides who is kept, of documents that may be similar.

Sets of shingles, or texts, flow in with the keys that documents share; the keeper of each removed document flows out.
Documents are decided component by component of what keys connect, in keeper order: decisions of one do not depend on
another, and the few sets that are compared with each other stay in the cache.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curator.kernels.compared_sets import (
    Given,
    Sets,
    are_equal_texts,
    drop_last_set,
    forget_sets,
    given_texts,
    given_words,
    largest_size,
    make_set,
    new_sets,
    set_of,
)
from curator.kernels.compile import kernel
from curator.kernels.jaccard import checked_threshold
from curator.kernels.numbering import number_as_met
from curator.kernels.overlap import Room, new_room, similarity
from curator.kernels.shingle_sets import random_seed
from curator.kernels.shingles import Shingling
from curator.kernels.sketch import checked_offsets
from curator.kernels.union_find import root_of
from curator.kernels.vector import checked_texts, read_only

KEPT = -1
"""The keeper of a document that stays."""

_RANK_BITS = 40
_NOBODY = -1


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
    return _decide(
        order,
        given_words(hashes, checked_offsets(offsets, len(hashes))),
        keys,
        key_offsets,
        threshold,
        max_comparisons,
        num_protected,
    )


def cover_texts(
    order: npt.NDArray[np.int64],
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    keys: npt.NDArray[np.uint64],
    key_offsets: npt.NDArray[np.int64],
    threshold: float,
    *,
    shingling: Shingling | None = None,
    max_comparisons: int = 256,
    num_protected: int = 0,
) -> Cover:
    """What ``cover`` decides of the sets of shingles of texts, which are made when they are compared.

    Args:
        order: all documents in keeper order; int64, shape (num_docs,).
        data: the texts one after the other, UTF-8; uint8, with ``PADDING`` bytes after the last one, or it is copied.
        offsets: where each text begins and, last, where all end; int64, shape (num_docs + 1,).
        keys: as ``cover`` takes them, like all that follows.
        key_offsets: likewise.
        threshold: likewise.
        shingling: ``None`` stands for five lower-case words.
        max_comparisons: likewise.
        num_protected: likewise.

    Raises:
        ValueError: as ``cover`` does.

    Example:
        >>> texts = np.frombuffer(b"one two three One  Two Three four five six", np.uint8)
        >>> decided = cover_texts([0, 1, 2], texts, [0, 14, 29, 42], [5, 5, 5], [0, 1, 2, 3], threshold=0.8)
        >>> decided.keepers.tolist(), decided.similarities[1]
        ([-1, 0, -1], np.float64(1.0))
    """
    texts, positions = checked_texts(data, offsets)
    given = given_texts(texts, positions, shingling or Shingling())
    return _decide(order, given, keys, key_offsets, threshold, max_comparisons, num_protected)


def _decide(
    order: npt.NDArray[np.int64],
    given: Given,
    keys: npt.NDArray[np.uint64],
    key_offsets: npt.NDArray[np.int64],
    threshold: float,
    max_comparisons: int,
    num_protected: int,
) -> Cover:
    count, key_positions = len(given[2]) - 1, checked_offsets(key_offsets, len(keys))
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
    distinct, buckets = number_as_met(keys)
    return Cover(
        *_cover(
            sequence,  # type: ignore[arg-type]
            given,
            read_only(buckets, np.int64),  # type: ignore[arg-type]
            key_positions,
            len(distinct),
            checked_threshold(threshold),
            int(max_comparisons),
            int(num_protected),
            random_seed(),
        )
    )


@kernel
def _cover(
    order: npt.NDArray[np.int64],
    given: Given,
    buckets: npt.NDArray[np.int64],
    key_offsets: npt.NDArray[np.int64],
    num_buckets: int,
    threshold: float,
    max_comparisons: int,
    num_protected: int,
    seed: np.uint64,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.bool_], int]:
    count, offsets = len(order), given[2]
    keepers, similarities = np.full(count, KEPT, np.int64), np.full(count, np.nan)
    bounded, protected = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
    protected[order[:num_protected]] = True
    sequence, bounds = _by_component(order, buckets, key_offsets, num_buckets)
    members, begins, sizes = _empty_buckets(buckets, num_buckets)
    shared, candidates = np.zeros(count, np.int64), np.empty(count, np.int64)
    sets, room = new_sets(given, seed), new_room(largest_size(given), seed)
    comparisons = 0
    for component in range(len(bounds) - 1):
        own = sequence[bounds[component] : bounds[component + 1]]
        for rank in range(bounds[component], bounds[component + 1]):
            document = sequence[rank]
            mine = buckets[key_offsets[document] : key_offsets[document + 1]]
            if offsets[document] == offsets[document + 1]:
                continue
            if not protected[document]:
                found, is_complete = _find_candidates(
                    mine, members, begins, sizes, shared, candidates, 16 * max_comparisons
                )
                bounded[document] = not is_complete or found > max_comparisons
                room.bits[0] = 0
                for index in range(min(found, max_comparisons)):
                    other = sequence[candidates[index]]
                    comparisons += 1
                    found_there = _compare(sets, other, document, threshold, room)
                    if found_there >= 0:
                        keepers[document], similarities[document], bounded[document] = other, found_there, False
                        drop_last_set(sets, document)
                        break
            if keepers[document] == KEPT:
                for bucket in mine:
                    members[begins[bucket] + sizes[bucket]] = rank
                    sizes[bucket] += 1
        forget_sets(sets, own)
    return keepers, similarities, bounded, comparisons


@kernel
def _compare(sets: Sets, other: int, document: int, threshold: float, room: Room) -> float:
    """Similarity of a kept document and one that is decided; -1 if it is below the threshold, or a set is empty."""
    make_set(sets, other, document)
    if are_equal_texts(sets, document, other):
        return 1.0 if set_of(sets, other)[1] else -1.0
    make_set(sets, document, other)
    (left, left_size), (right, right_size) = set_of(sets, other), set_of(sets, document)
    return similarity(left, left_size, right, right_size, threshold, room) if left_size and right_size else -1.0


@kernel
def _by_component(
    order: npt.NDArray[np.int64], buckets: npt.NDArray[np.int64], key_offsets: npt.NDArray[np.int64], num_buckets: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The documents, those that buckets connect one after the other, in their order; and where components begin."""
    count, number = len(order), int(np.int64(0))
    parents, first = np.arange(count), np.full(num_buckets, _NOBODY, np.int64)
    for document in range(count):
        for bucket in buckets[key_offsets[document] : key_offsets[document + 1]]:
            if first[bucket] == _NOBODY:
                first[bucket] = document
            else:
                left, right = root_of(parents, first[bucket]), root_of(parents, document)
                parents[max(left, right)] = min(left, right)
    numbers, bounds = np.full(count, _NOBODY, np.int64), np.zeros(count + 1, np.int64)
    for document in order:
        root = root_of(parents, document)
        if numbers[root] == _NOBODY:
            numbers[root] = number
            number += 1
        numbers[document] = numbers[root]
        bounds[numbers[root] + 1] += 1
    for component in range(number):
        bounds[component + 1] += bounds[component]
    following, sequence = bounds[:number].copy(), np.empty(count, np.int64)
    for document in order:
        sequence[following[numbers[document]]] = document
        following[numbers[document]] += 1
    return sequence, bounds[: number + 1]


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
