"""XXH3, 128 bits, of many texts at once.

Texts flow in as one array of bytes with offsets, as Arrow keeps them; two words per text flow out. The values are those
of ``xxhash.xxh3_128`` with seed 0, bit for bit, so they may be stored and compared across machines and versions.
Written from the specification of the algorithm (https://github.com/Cyan4973/xxHash, version 0.8); not cryptographic.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from curator.kernels.compile import kernel
from curator.kernels.lanes import accumulate_stripes, scramble_lanes
from curator.kernels.vector import (
    address_of,
    checked_texts,
    load_byte,
    load_u32,
    load_u64,
    multiply_wide,
    swap_bytes,
)

_SECRET = np.frombuffer(
    bytes.fromhex(
        "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671fcb79e64eccc0e578825ad07dccff7221"
        "b8084674f743248ee03590e6813a264c3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
        "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364eac5ac8334d3ebc3c581a0fffa1363eb"
        "170ddd51b7f0da49d316552629d4689e2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
    ),
    np.uint8,
)
_PRIME_32 = (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D)
_PRIME_64 = (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
_P1, _P2, _P3, _P4, _P5 = (np.uint64(prime) for prime in _PRIME_64)
_MIX_1, _MIX_2 = np.uint64(0x165667919E3779F9), np.uint64(0x9FB21C651E98DF25)
_SECOND_PRIME_32_LESS_1 = np.uint64(_PRIME_32[1] - 1)
_LOW_32 = np.uint64(0xFFFFFFFF)
_2, _3, _13, _19, _28, _29, _32, _33, _35, _37, _54, _1 = (
    np.uint64(distance) for distance in (2, 3, 13, 19, 28, 29, 32, 33, 35, 37, 54, 1)
)
_LANES = np.array([_PRIME_32[2], *_PRIME_64[:4], _PRIME_32[1], _PRIME_64[4], _PRIME_32[0]], np.uint64)
_Words = tuple[np.uint64, np.uint64]

_STRIPE, _STRIPES_PER_BLOCK, _BLOCK_BYTES = 64, 16, 1024
_LAST_STRIPE_SECRET, _SCRAMBLE_SECRET, _LOW_SECRET, _HIGH_SECRET = 121, 128, 11, 117
_MIDDLE_SECRET, _MIDDLE_LAST_SECRET = 3, 103


def hash_texts(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Hash every text of an array.

    Args:
        data: the texts one after the other; uint8, with ``PADDING`` bytes after the last one, or it is copied.
        offsets: where each text begins and, last, where all end; int64, shape (n + 1,), not decreasing.

    Returns:
        The high and the low words of the hashes; each uint64, shape (n,).

    Raises:
        ValueError: a text lies outside the data, or ``offsets`` is empty.

    Example:
        >>> high, low = hash_texts(np.frombuffer(b"text", np.uint8), [0, 4])
        >>> f"{high[0]:016x}{low[0]:016x}"
        'c5a64efff9224e392680525687aac7c5'
    """
    high, low = _hash_texts(*checked_texts(data, offsets))
    return high, low


@kernel
def _hash_texts(
    data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    count = len(offsets) - 1
    high, low = np.empty(count, np.uint64), np.empty(count, np.uint64)
    working_lanes = np.empty(8, np.uint64)
    base, secret, lanes = address_of(data), address_of(_SECRET), address_of(working_lanes)
    for index in range(count):
        begin = offsets[index]
        length = offsets[index + 1] - begin
        if length > 240:
            working_lanes[:] = _LANES
            high[index], low[index] = _hash_long(base + begin, length, secret, lanes)
        elif length > 16:
            high[index], low[index] = _hash_middle(base + begin, length, secret)
        else:
            high[index], low[index] = _hash_short(base + begin, length, secret)
    return high, low


@kernel
def _hash_long(text: int, length: int, secret: int, lanes: int) -> _Words:
    blocks = (length - 1) // _BLOCK_BYTES
    for block in range(blocks):
        accumulate_stripes(lanes, text, block * _BLOCK_BYTES, secret, _STRIPES_PER_BLOCK)
        scramble_lanes(lanes, secret + _SCRAMBLE_SECRET)
    done = blocks * _BLOCK_BYTES
    accumulate_stripes(lanes, text, done, secret, (length - 1 - done) // _STRIPE)
    accumulate_stripes(lanes, text, length - _STRIPE, secret + _LAST_STRIPE_SECRET, 1)
    words = np.uint64(length)
    low = _merge_lanes(lanes, secret + _LOW_SECRET, words * _P1)
    high = _merge_lanes(lanes, secret + _HIGH_SECRET, ~(words * _P2))
    return high, low


@kernel
def _merge_lanes(lanes: int, secret: int, total: np.uint64) -> np.uint64:
    for pair in range(0, 64, 16):
        left = load_u64(lanes, pair) ^ load_u64(secret, pair)
        right = load_u64(lanes, pair + 8) ^ load_u64(secret, pair + 8)
        total += _fold(left, right)
    return _avalanche(total)


@kernel
def _hash_middle(text: int, length: int, secret: int) -> _Words:
    """Texts of 17 to 240 bytes."""
    words = np.uint64(length)
    low, high = words * _P1, np.uint64(0)
    if length <= 128:
        for step in range((length - 1) // 32, -1, -1):
            first, last = text + 16 * step, text + length - 16 * (step + 1)
            low, high = _mix_32_bytes(low, high, first, last, secret + 32 * step)
    else:
        for step in range(4):
            first = text + 32 * step
            low, high = _mix_32_bytes(low, high, first, first + 16, secret + 32 * step)
        low, high = _avalanche(low), _avalanche(high)
        for step in range(4, length // 32):
            first = text + 32 * step
            low, high = _mix_32_bytes(low, high, first, first + 16, secret + _MIDDLE_SECRET + 32 * (step - 4))
        last = text + length - 16
        low, high = _mix_32_bytes(low, high, last, last - 16, secret + _MIDDLE_LAST_SECRET)
    mixed = low * _P1 + high * _P4 + words * _P2
    return np.uint64(0) - _avalanche(mixed), _avalanche(low + high)


@kernel
def _hash_short(text: int, length: int, secret: int) -> _Words:
    """Texts of 0 to 16 bytes."""
    words = np.uint64(length)
    if length > 8:
        first, last = load_u64(text, 0), load_u64(text, length - 8)
        flip_low = load_u64(secret, 32) ^ load_u64(secret, 40)
        flip_high = load_u64(secret, 48) ^ load_u64(secret, 56)
        high, low = multiply_wide(first ^ last ^ flip_low, _P1)
        low += (words - _1) << _54
        last ^= flip_high
        high += last + (last & _LOW_32) * _SECOND_PRIME_32_LESS_1
        low ^= swap_bytes(high)
        product_high, product_low = multiply_wide(low, _P2)
        return _avalanche(product_high + high * _P2), _avalanche(product_low)
    if length > 3:
        both = load_u32(text, 0) + (load_u32(text, length - 4) << _32)
        high, low = multiply_wide(both ^ load_u64(secret, 16) ^ load_u64(secret, 24), _P1 + (words << _2))
        high += low << _1
        low ^= high >> _3
        low = (low ^ (low >> _35)) * _MIX_2
        return _avalanche(high), low ^ (low >> _28)
    if length:
        first, middle, last = load_byte(text, 0), load_byte(text, length >> 1), load_byte(text, length - 1)
        packed = np.uint64((first << 16) | (middle << 24) | last | (length << 8))
        swapped = swap_bytes(packed) >> _32
        rotated = ((swapped << _13) | (swapped >> _19)) & _LOW_32
        low = packed ^ load_u32(secret, 0) ^ load_u32(secret, 4)
        high = rotated ^ load_u32(secret, 8) ^ load_u32(secret, 12)
        return _old_avalanche(high), _old_avalanche(low)
    low = load_u64(secret, 64) ^ load_u64(secret, 72)
    high = load_u64(secret, 80) ^ load_u64(secret, 88)
    return _old_avalanche(high), _old_avalanche(low)


@kernel
def _mix_32_bytes(low: np.uint64, high: np.uint64, first: int, second: int, secret: int) -> _Words:
    first_0, first_1 = load_u64(first, 0), load_u64(first, 8)
    second_0, second_1 = load_u64(second, 0), load_u64(second, 8)
    low += _fold(first_0 ^ load_u64(secret, 0), first_1 ^ load_u64(secret, 8))
    high += _fold(second_0 ^ load_u64(secret, 16), second_1 ^ load_u64(secret, 24))
    return low ^ (second_0 + second_1), high ^ (first_0 + first_1)


@kernel
def _fold(left: np.uint64, right: np.uint64) -> np.uint64:
    high, low = multiply_wide(left, right)
    folded: np.uint64 = high ^ low
    return folded


@kernel
def _avalanche(word: np.uint64) -> np.uint64:
    word = (word ^ (word >> _37)) * _MIX_1
    return word ^ (word >> _32)


@kernel
def _old_avalanche(word: np.uint64) -> np.uint64:
    """The finish of XXH64."""
    word = (word ^ (word >> _33)) * _P2
    word = (word ^ (word >> _29)) * _P3
    return word ^ (word >> _32)
