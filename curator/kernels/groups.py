"""Which of the rows with equal keys is kept.

Keys of 128 bits with an order flow in, row numbers flow out. The rule depends on nothing but the rows themselves: not
on their sequence, and not on the seed of the table, which is random so that nobody can prepare keys that collide in it.
"""

from __future__ import annotations

import secrets

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.vector import multiply_wide, read_only

_FREE = -1
_ODD = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)


def first_of_equal(
    high: npt.NDArray[np.uint64],
    low: npt.NDArray[np.uint64],
    order: npt.NDArray[np.float64],
    document: npt.NDArray[np.uint64],
) -> npt.NDArray[np.int64]:
    """Find, for each row, the row that is kept of all rows with its key.

    That is the one with the largest ``order``, where NaN counts as minus infinity; among equals the one with the
    smallest ``document``; among those, should they be equal too, the first.

    Args:
        high: the high words of the keys; uint64, shape (n,).
        low: their low words; uint64, shape (n,).
        order: which row to prefer; float64, shape (n,).
        document: which document each row is; uint64, shape (n,), all different.

    Returns:
        Row numbers; int64, shape (n,). A row is kept if it is its own keeper.

    Raises:
        ValueError: the arrays differ in length.

    Example:
        >>> first_of_equal([0, 0, 0], [7, 8, 7], [0.1, 0.2, 0.3], [0, 1, 2]).tolist()
        [2, 1, 2]
    """
    columns = [read_only(words, np.uint64) for words in (high, low, document)]
    orders = read_only(order, np.float64)
    if len({len(column) for column in (*columns, orders)}) > 1:
        raise ValueError(f"lengths {[len(column) for column in (*columns[:2], orders, columns[2])]}: must be equal")
    seeds = [np.uint64(secrets.randbits(64)) for _ in range(2)]
    return _first_of_equal(columns[0], columns[1], orders, columns[2], seeds[0], seeds[1])  # type: ignore[arg-type]


@kernel
def _first_of_equal(
    high: npt.NDArray[np.uint64],
    low: npt.NDArray[np.uint64],
    order: npt.NDArray[np.float64],
    document: npt.NDArray[np.uint64],
    high_seed: np.uint64,
    low_seed: np.uint64,
) -> npt.NDArray[np.int64]:
    count = len(high)
    size = 2
    while size < 2 * count:
        size *= 2
    last_slot = np.uint64(size - 1)
    table = np.full(size, _FREE, np.int64)
    slots = np.empty(count, np.int64)
    for row in range(count):
        upper, lower = multiply_wide(high[row] ^ high_seed, (low[row] ^ low_seed) * _ODD)
        mixed = (upper ^ lower) * _ODD
        slot = np.int64((mixed ^ (mixed >> _HALF)) & last_slot)
        best = table[slot]
        while best != _FREE and (high[best] != high[row] or low[best] != low[row]):
            slot = (slot + 1) & (size - 1)
            best = table[slot]
        slots[row] = slot
        if best == _FREE or _is_preferred(order[row], document[row], order[best], document[best]):
            table[slot] = row
    for row in range(count):
        slots[row] = table[slots[row]]
    return slots


@kernel
def _is_preferred(order: float, document: np.uint64, best_order: float, best_document: np.uint64) -> bool:
    rank = -np.inf if np.isnan(order) else order
    best_rank = -np.inf if np.isnan(best_order) else best_order
    if rank != best_rank:
        return rank > best_rank
    return bool(document < best_document)
