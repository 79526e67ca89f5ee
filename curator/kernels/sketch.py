"""Signatures: a fixed number of hashes per document, of which two documents share as many as they are similar.

Texts (or sets of shingles) flow in; signatures, and from them the keys of LSH bands, flow out. For both schemes the
expected share of equal positions is the Jaccard similarity of the shingle sets, whatever their sizes:

* ``fast``: Fast Similarity Sketching (Dahlgaard, Knudsen, Thorup, 2017). In turn ``t = 0, 1, ...`` each shingle ``x``
  draws ``d = x`` at first and ``d = y ^ y >> 32`` of ``y = x * (mix(t * GOLDEN) | 1)`` later; falls into bin
  ``(d >> 32) * num_hashes >> 32``, from turn ``num_hashes`` on into bin ``t - num_hashes``; and a bin keeps the
  smallest ``(t, d % 2**32)``, of which the second is the signature. It ends with the first turn after which no bin is
  empty. One multiplication for a shingle and turn; the error is that of as many independent permutations for large
  sets, and smaller for small ones.
* ``classic``: position ``i`` is the smallest ``(x * a[i] + b[i]) % 2**32`` of the low halves of the shingles, where
  ``mix((i + 1) * GOLDEN)`` has ``a[i]``, made odd, in its low half and ``b[i]`` in its high half.

A document without shingles has a count of 0 and the signature ``2**32 - 1, ...``: it is similar to nothing, and who
calls must leave it out of every bucket. Signatures of different schemes, lengths or shingles do not compare.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from curator.kernels.characters import BLOCK, OVERRUN
from curator.kernels.compile import kernel
from curator.kernels.lanes import choose_bins, draw_empty_bins, flag_empty_bins
from curator.kernels.shingle_sets import distinct_shingles, new_room, new_slots, random_seed
from curator.kernels.shingles import (
    STATE_FIELDS,
    Shingling,
    begin_shingles,
    fold_document,
    mix,
    new_units,
    next_shingles,
    scratch_texts,
)
from curator.kernels.unicode_tables import properties
from curator.kernels.vector import (
    address_of,
    checked_texts,
    count_bits,
    load_u32,
    load_u64,
    read_only,
    store_byte,
    store_u64,
)

SCHEMES = ("fast", "classic")
MOST_HASHES = 1 << 16

_HISTORY, _MOST_FLAGS = 1 << 15, 8  # shingles; words of flags that are looked through for eight at a time

_FAST, _CLASSIC = range(2)
_GOLDEN, _ROW = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD1B54A32D192ED03)
_1, _6, _32, _63, _LOW_HALF = np.uint64(1), np.uint64(6), np.uint64(32), np.uint64(63), np.uint64(0xFFFFFFFF)
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
_LARGEST = np.uint32(0xFFFFFFFF)


class Sketches(NamedTuple):
    """What is kept of each document.

    Args:
        signatures: uint32, shape (num_docs, num_hashes).
        counts: shingles of each document, repeated ones too; int64, shape (num_docs,). 0: similar to nothing.
    """

    signatures: npt.NDArray[np.uint32]
    counts: npt.NDArray[np.int64]


def sketch_texts(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    num_hashes: int,
    *,
    shingling: Shingling | None = None,
    scheme: str = "fast",
) -> Sketches:
    r"""Make the signatures of texts, without keeping their shingles.

    Args:
        data: the texts one after the other, UTF-8; uint8, with ``PADDING`` bytes after the last one, or it is copied.
        offsets: where each text begins and, last, where all end; int64, shape (num_docs + 1,).
        num_hashes: positions in a signature, 1 to ``MOST_HASHES``.
        shingling: ``None`` stands for five lower-case words.
        scheme: one of ``SCHEMES``.

    Raises:
        ValueError: ``offsets`` is empty, decreases, or leaves the data; ``num_hashes`` or ``scheme`` is not allowed.

    Example:
        >>> text = np.frombuffer(b"One two  ONE\tTWO", np.uint8)
        >>> signatures, counts = sketch_texts(text, [0, 8, 16, 16], num_hashes=4)
        >>> bool((signatures[0] == signatures[1]).all()), counts.tolist()
        (True, [1, 1, 0])
    """
    code = _checked(num_hashes, scheme)
    texts, positions = checked_texts(data, offsets)
    codes = (shingling or Shingling()).codes()
    return Sketches(*_sketch_texts(texts, positions, properties(), *codes, code, int(num_hashes), random_seed()))


def sketch_sets(
    hashes: npt.NDArray[np.uint64], offsets: npt.NDArray[np.int64], num_hashes: int, *, scheme: str = "fast"
) -> Sketches:
    """Make the signatures of sets of shingles; for the sets of ``shingle_sets`` they are those of ``sketch_texts``.

    Args:
        hashes: uint64, shape (num_shingles,), in any order, well mixed; repeated ones make no difference.
        offsets: where each document begins and, last, where all end; int64, shape (num_docs + 1,).
        num_hashes: positions in a signature, 1 to ``MOST_HASHES``.
        scheme: one of ``SCHEMES``.

    Raises:
        ValueError: ``offsets`` is empty, decreases, or leaves the hashes; ``num_hashes`` or ``scheme`` is not allowed.

    Example:
        >>> sketch_sets(np.array([1 << 63], np.uint64), [0, 1], num_hashes=1).signatures.tolist()
        [[0]]
    """
    code = _checked(num_hashes, scheme)
    values, positions = read_only(hashes, np.uint64), checked_offsets(offsets, len(hashes))
    return Sketches(*_sketch_sets(values, positions, code, int(num_hashes)))  # type: ignore[arg-type]


def band_keys(
    signatures: npt.NDArray[np.uint32], bands: int, rows: int, scopes: npt.NDArray[np.uint64] | None = None
) -> npt.NDArray[np.uint64]:
    """Hash each band of each signature; documents that share a key share a bucket.

    The key of band ``j`` is ``mix(mix(scope + (j + 1) * GOLDEN) + sum(value[i] * (mix((i + 1) * ROW) | 1)))`` over its
    rows ``i``. Keys of different bands never need to be told apart by anything else. Among ``n`` documents about
    ``bands * n**2 / 2**65`` pairs share a key by accident.

    Args:
        signatures: uint32, shape (num_docs, num_hashes), ``bands * rows`` of which are used.
        bands: at least 1.
        rows: values in a band, at least 1.
        scopes: documents with different scopes share no bucket; uint64, shape (num_docs,), or ``None``.

    Returns:
        uint64, shape (bands, num_docs); in memory those of one document follow each other.

    Raises:
        ValueError: ``bands * rows`` is more than a signature has, or a number is below 1; a scope is missing.

    Example:
        >>> keys = band_keys(np.array([[1, 2, 3, 4], [1, 2, 9, 9]], np.uint32), bands=2, rows=2)
        >>> (keys[:, 0] == keys[:, 1]).tolist()
        [True, False]
    """
    if min(bands, rows) < 1 or bands * rows > signatures.shape[1]:
        raise ValueError(f"bands={bands} times rows={rows}: a signature has {signatures.shape[1]} values")
    if scopes is None:
        scopes = np.zeros(len(signatures), np.uint64)
    if len(scopes) != len(signatures):
        raise ValueError(f"{len(scopes)} scopes for {len(signatures)} signatures")
    used = read_only(signatures, np.uint32)
    return _band_keys(used, int(bands), int(rows), read_only(scopes, np.uint64)).T  # type: ignore[arg-type]


def checked_offsets(offsets: npt.ArrayLike, length: int) -> npt.NDArray[np.int64]:
    """View where sets begin as kernels take it.

    Args:
        offsets: int64, shape (num_sets + 1,).
        length: members of all sets together.

    Raises:
        ValueError: ``offsets`` is empty, decreases, or reaches beyond ``length``.

    Example:
        >>> checked_offsets([0, 2], 2).tolist()
        [0, 2]
    """
    positions: npt.NDArray[np.int64] = read_only(offsets, np.int64)  # type: ignore[assignment]
    if not len(positions) or positions[0] < 0 or positions[-1] > length or (positions[1:] < positions[:-1]).any():
        raise ValueError(f"offsets must be one more than the sets, never decrease, and stay in 0 to {length}")
    return positions


def _checked(num_hashes: int, scheme: str) -> int:
    if scheme not in SCHEMES:
        raise ValueError(f"scheme={scheme!r}: choose from {', '.join(SCHEMES)}")
    if not 1 <= num_hashes <= MOST_HASHES:
        raise ValueError(f"num_hashes={num_hashes}: must be 1 to {MOST_HASHES}")
    return SCHEMES.index(scheme)


@kernel
def _sketch_texts(
    data: npt.NDArray[np.uint8],
    offsets: npt.NDArray[np.int64],
    table: npt.NDArray[np.int32],
    unit: int,
    size: int,
    spaceless_size: int,
    options: int,
    scheme: int,
    num_hashes: int,
    seed: np.uint64,
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    num_docs = len(offsets) - 1
    signatures, counts = np.empty((num_docs, num_hashes), np.uint32), np.empty(num_docs, np.int64)
    scratch, state, units = scratch_texts(offsets), np.empty(STATE_FIELDS, np.int64), new_units()
    room, slots = new_room(), new_slots()
    bins, flags = _new_bins(num_hashes)
    history = np.empty(max(_HISTORY, 32 * num_hashes) + BLOCK + OVERRUN, np.uint64)
    factors, shifts, halves = _factors(num_hashes), _shifts(num_hashes), np.empty(BLOCK, np.uint32)
    base, chosen = address_of(data), np.empty((4, BLOCK + OVERRUN), np.uint32)
    for doc in range(num_docs):
        text, length, kind, width = fold_document(
            base, offsets[doc], offsets[doc + 1], scratch, table, unit, size, spaceless_size, options
        )
        begin_shingles(state)
        bins[:] = _EMPTY
        signatures[doc, :] = _LARGEST
        total, kept = int(np.int64(0)), int(np.int64(0))  # a literal 0 would be a type of its own and compile twice
        while True:
            block = history[kept:]
            count = next_shingles(text, length, kind, width, state, units, block)
            if count == 0:
                break
            if scheme == _FAST:
                _fill_bins(block, count, bins, chosen)
            else:
                _permute(block, count, halves, factors, shifts, signatures[doc])
            total += count
            kept = kept + count if kept + count + BLOCK <= len(history) else int(np.int64(0))
        counts[doc] = total
        if scheme == _FAST and total:
            if total > kept and _find_empty(bins, flags):
                # A text that is too long for the history, and still leaves bins empty, repeats itself.
                room, slots, distinct = distinct_shingles(text, length, kind, width, state, units, room, slots, seed)
                _fill_empty_bins(room, distinct, bins, flags, chosen)
            _fill_empty_bins(history, total, bins, flags, chosen)
            _write_signature(bins, signatures[doc])
    return signatures, counts


@kernel
def _sketch_sets(
    hashes: npt.NDArray[np.uint64], offsets: npt.NDArray[np.int64], scheme: int, num_hashes: int
) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
    num_docs = len(offsets) - 1
    signatures, counts = np.empty((num_docs, num_hashes), np.uint32), np.empty(num_docs, np.int64)
    bins, flags = _new_bins(num_hashes)
    chosen = np.empty((4, BLOCK + OVERRUN), np.uint32)
    factors, shifts, halves = _factors(num_hashes), _shifts(num_hashes), np.empty(BLOCK, np.uint32)
    for doc in range(num_docs):
        members = np.empty(offsets[doc + 1] - offsets[doc] + OVERRUN, np.uint64)[:-OVERRUN]
        members[:] = hashes[offsets[doc] : offsets[doc + 1]]
        counts[doc] = len(members)
        signatures[doc, :] = _LARGEST
        if scheme == _FAST and len(members):
            bins[:] = _EMPTY
            _fill_bins(members, len(members), bins, chosen)
            _fill_empty_bins(members, len(members), bins, flags, chosen)
            _write_signature(bins, signatures[doc])
        elif scheme == _CLASSIC:
            for begin in range(0, len(members), BLOCK):
                part = members[begin : begin + BLOCK]
                _permute(part, len(part), halves, factors, shifts, signatures[doc])
    return signatures, counts


@kernel
def _fill_bins(
    shingles: npt.NDArray[np.uint64], count: int, bins: npt.NDArray[np.uint64], chosen: npt.NDArray[np.uint32]
) -> None:
    """The first turn."""
    source, places, num_bins = address_of(shingles), address_of(chosen[0]), np.uint64(len(bins))
    for begin in range(0, count, BLOCK):
        size = min(count - begin, BLOCK)
        for index in range(0, size, 8):
            choose_bins(source + 8 * begin, places, index, num_bins)
        for index in range(size):
            place = load_u32(places, 4 * index)
            bins[place] = min(bins[place], load_u32(source, 8 * (begin + index)))


@kernel
def _find_empty(bins: npt.NDArray[np.uint64], flags: npt.NDArray[np.uint64]) -> bool:
    """Whether any bin is empty; and a bit for each, which says so."""
    first, target, found = address_of(bins), address_of(flags), int(np.int64(0))
    for offset in range(0, 8 * len(bins), 64):
        empty = flag_empty_bins(first, offset)
        store_byte(target, offset >> 6, empty)
        found |= empty
    return found != 0


@kernel
def _new_bins(num_hashes: int) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Bins, and a bit for each. What follows the last bin, up to a multiple of eight, is never an empty one."""
    return np.zeros((num_hashes + 7) & ~7, np.uint64)[:num_hashes], np.zeros((num_hashes + 63) >> 6, np.uint64)


@kernel
def _fill_empty_bins(
    shingles: npt.NDArray[np.uint64],
    count: int,
    bins: npt.NDArray[np.uint64],
    flags: npt.NDArray[np.uint64],
    chosen: npt.NDArray[np.uint32],
) -> None:
    """The turns after the first one, as many as it takes; no set needs more than twice as many as there are bins.

    A bin that was filled in an earlier turn has a smaller value than any of this one, so what falls into it is left
    out: without a branch, and before any bin is written to.
    """
    source, pairs, bits = address_of(shingles), address_of(chosen), address_of(flags)
    num_bins, turn = np.uint64(len(bins)), np.uint64(1)
    while _find_empty(bins, flags):
        factor, tag = mix(turn * _GOLDEN) | _1, turn << _32
        for begin in range(0, count, BLOCK):
            end, found = min(begin + BLOCK, count), int(np.int64(0))
            if turn < num_bins and len(flags) <= _MOST_FLAGS:
                for index in range(begin, end, 8):
                    wanted = 255 if end - index >= 8 else (1 << (end - index)) - 1
                    drawn = draw_empty_bins(source, pairs + found, index, num_bins, factor, bits, len(flags), wanted)
                    found += 8 * count_bits(drawn)
            else:
                for index in range(begin, end):
                    word = shingles[index] * factor
                    place = ((word >> _32) * num_bins) >> _32 if turn < num_bins else turn - num_bins
                    store_u64(pairs, found, (word ^ (word >> _32)) << _32 | place)
                    found += 8 * int((flags[place >> _6] >> (place & _63)) & _1)
            for offset in range(0, found, 8):
                pair = load_u64(pairs, offset)
                place = pair & _LOW_HALF
                bins[place] = min(bins[place], tag | (pair >> _32))
        turn += _1


@kernel
def _write_signature(bins: npt.NDArray[np.uint64], signature: npt.NDArray[np.uint32]) -> None:
    for index in range(len(bins)):
        signature[index] = np.uint32(bins[index] & _LOW_HALF)


@kernel
def _permute(
    shingles: npt.NDArray[np.uint64],
    count: int,
    halves: npt.NDArray[np.uint32],
    factors: npt.NDArray[np.uint32],
    shifts: npt.NDArray[np.uint32],
    signature: npt.NDArray[np.uint32],
) -> None:
    """Permutations outside and shingles inside, so that the inner loop is one of vectors that stay in the cache."""
    for index in range(count):
        halves[index] = np.uint32(shingles[index] & _LOW_HALF)
    for which in range(len(signature)):
        factor, shift, smallest = factors[which], shifts[which], signature[which]
        for index in range(count):
            smallest = min(smallest, np.uint32(np.uint32(halves[index] * factor) + shift))
        signature[which] = smallest


@kernel
def _factors(num_hashes: int) -> npt.NDArray[np.uint32]:
    factors = np.empty(num_hashes, np.uint32)
    for index in range(num_hashes):
        factors[index] = np.uint32((mix(np.uint64(index + 1) * _GOLDEN) & _LOW_HALF) | _1)
    return factors


@kernel
def _shifts(num_hashes: int) -> npt.NDArray[np.uint32]:
    shifts = np.empty(num_hashes, np.uint32)
    for index in range(num_hashes):
        shifts[index] = np.uint32(mix(np.uint64(index + 1) * _GOLDEN) >> _32)
    return shifts


@kernel
def _band_keys(
    signatures: npt.NDArray[np.uint32], bands: int, rows: int, scopes: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    keys = np.empty((len(signatures), bands), np.uint64)
    factors = np.empty(rows, np.uint64)
    for row in range(rows):
        factors[row] = mix(np.uint64(row + 1) * _ROW) | _1
    for doc in range(len(signatures)):
        for band in range(bands):
            total = mix(scopes[doc] + np.uint64(band + 1) * _GOLDEN)
            for row in range(rows):
                total += np.uint64(signatures[doc, band * rows + row]) * factors[row]
            keys[doc, band] = mix(total)
    return keys
