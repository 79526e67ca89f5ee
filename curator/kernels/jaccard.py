"""Exact Jaccard similarity of sets of shingles, pair by pair.

Sets flow in as arrays of 64-bit hashes without repetition, in any sequence, though fastest in that of ``shingle_sets``,
or as texts; similarities flow out. The similarity of two sets is the size of their intersection over that of their
union, in float64 and compared with ``>=``, as Python would; two empty sets are similar to nothing: 0.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curator.kernels.compared_sets import (
    Given,
    given_texts,
    given_words,
    largest_size,
    make_set,
    new_sets,
    set_of,
)
from curator.kernels.compile import kernel
from curator.kernels.overlap import new_room, similarity
from curator.kernels.shingle_sets import random_seed
from curator.kernels.shingles import Shingling
from curator.kernels.sketch import checked_offsets
from curator.kernels.vector import address_of, checked_texts, read_only


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
    return float(_at_least(first, second, checked_threshold(threshold), random_seed()))  # type: ignore[arg-type]


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
    given = given_words(hashes, checked_offsets(offsets, len(hashes)))
    return _similarities(given, left, right, threshold)


def text_similarities(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    threshold: float = 0.0,
    *,
    shingling: Shingling | None = None,
) -> npt.NDArray[np.float64]:
    """Similarities of the sets of shingles of many pairs of texts, which are made when they are compared.

    Args:
        data: the texts one after the other, UTF-8; uint8, with ``PADDING`` bytes after the last one, or it is copied.
        offsets: where each text begins and, last, where all end; int64, shape (num_docs + 1,).
        left: one text of each pair; int64, shape (num_pairs,).
        right: the other one; int64, shape (num_pairs,).
        threshold: 0 to 1.
        shingling: ``None`` stands for five lower-case words.

    Returns:
        float64, shape (num_pairs,); -1 where the similarity is below ``threshold``.

    Raises:
        ValueError: as ``pair_similarities`` does.

    Example:
        >>> texts = np.frombuffer(b"a b c d e fA B C D E ga", np.uint8)
        >>> text_similarities(texts, [0, 11, 22, 23], [0, 0], [1, 2]).tolist()
        [0.3333333333333333, 0.0]
    """
    return _similarities(given_texts(*checked_texts(data, offsets), shingling or Shingling()), left, right, threshold)


def _similarities(
    given: Given, left: npt.NDArray[np.int64], right: npt.NDArray[np.int64], threshold: float
) -> npt.NDArray[np.float64]:
    count = len(given[2]) - 1
    chosen: list[npt.NDArray[np.int64]] = [read_only(side, np.int64) for side in (left, right)]  # type: ignore[misc]
    if len(chosen[0]) != len(chosen[1]):
        raise ValueError(f"{len(chosen[0])} sets on the left and {len(chosen[1])} on the right: must be as many")
    for side in chosen:
        if len(side) and not 0 <= side.min() <= side.max() < count:
            raise ValueError(f"sets reach from {side.min()} to {side.max()}, but there are {count}")
    return _pair_similarities(given, chosen[0], chosen[1], checked_threshold(threshold), random_seed())


def checked_threshold(threshold: float) -> float:
    """A threshold as kernels take it.

    Args:
        threshold: 0 to 1.

    Raises:
        ValueError: it is not.

    Example:
        >>> checked_threshold(1)
        1.0
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold={threshold}: must be 0 to 1")
    return float(threshold)


@kernel
def _at_least(left: npt.NDArray[np.uint64], right: npt.NDArray[np.uint64], threshold: float, seed: np.uint64) -> float:
    room = new_room(max(len(left), len(right), 1), seed)
    return similarity(address_of(left), len(left), address_of(right), len(right), threshold, room)


@kernel
def _pair_similarities(
    given: Given,
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    threshold: float,
    seed: np.uint64,
) -> npt.NDArray[np.float64]:
    similarities = np.empty(len(left), np.float64)
    sets, room = new_sets(given, seed), new_room(largest_size(given), seed)
    for pair in range(len(left)):
        make_set(sets, left[pair], right[pair])
        make_set(sets, right[pair], left[pair])
        (mine, my_size), (yours, your_size) = set_of(sets, left[pair]), set_of(sets, right[pair])
        room.bits[0] = 0
        similarities[pair] = similarity(mine, my_size, yours, your_size, threshold, room)
    return similarities
