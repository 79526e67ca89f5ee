"""Vector instructions on eight words of 64 bits at once: hashes of neighbouring windows, and the lanes of XXH3.

Addresses, offsets and constants flow in, words flow out in memory. What ``vector`` says of addresses and of the bytes
beyond the last used one holds here too.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils

from curator.kernels.vector import WORD, emit_load, emit_store, instruction

LANES = ir.VectorType(WORD, 8)
MIX_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
MIX_SHIFTS = (30, 27, 31)
"""The finaliser of SplitMix64."""

FINISH_FACTOR = 0xC2B2AE3D27D4EB4F
POWER = 0x9E3779B97F4A7C15
"""Of the hash of windows of bytes, see ``shingles``."""

_HALF_BLOCK = ir.VectorType(ir.IntType(8), 16)
_NEIGHBOURING_WORDS = [lane + byte for lane in range(8) for byte in range(8)]


def _splat(builder: ir.IRBuilder, word: ir.Value) -> ir.Value:
    first = builder.insert_element(ir.Constant(LANES, ir.Undefined), word, ir.Constant(ir.IntType(32), 0))
    every = ir.Constant(ir.VectorType(ir.IntType(32), 8), [0] * 8)
    return builder.shuffle_vector(first, ir.Constant(LANES, ir.Undefined), every)


def _all(word: int) -> ir.Constant:
    return ir.Constant(LANES, [word] * 8)


def _words_from(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    """The eight words, little endian, that begin at eight neighbouring bytes."""
    half = emit_load(builder, base, offset, _HALF_BLOCK)
    every = ir.Constant(ir.VectorType(ir.IntType(32), 64), _NEIGHBOURING_WORDS)
    return builder.bitcast(builder.shuffle_vector(half, ir.Constant(_HALF_BLOCK, ir.Undefined), every), LANES)


def _xor_shifted(builder: ir.IRBuilder, words: ir.Value, distance: int) -> ir.Value:
    return builder.xor(words, builder.lshr(words, _all(distance)))


def _without_largest(builder: ir.IRBuilder, words: ir.Value) -> ir.Value:
    """2**64 - 1, which stands for nothing, becomes 2**64 - 2."""
    return builder.add(words, builder.sext(builder.icmp_unsigned("==", words, _all(2**64 - 1)), LANES))


@instruction(types.int64, types.int64, types.int64, types.int64, types.int64, types.uint64)
def multiply_add_lanes(
    builder: ir.IRBuilder, left: ir.Value, right: ir.Value, target: ir.Value, offset: ir.Value, factor: ir.Value
) -> ir.Value:
    """Write ``left * factor + right``, eight words at an offset from three addresses; the result means nothing."""
    product = builder.mul(emit_load(builder, left, offset, LANES), _splat(builder, factor))
    emit_store(builder, builder.add(product, emit_load(builder, right, offset, LANES)), target, offset)
    return offset


@instruction(types.int64, types.int64, types.int64, types.int64, types.uint64)
def mix_lanes(
    builder: ir.IRBuilder, source: ir.Value, target: ir.Value, offset: ir.Value, addend: ir.Value
) -> ir.Value:
    """Write the finalised sums of eight words and ``addend``, at an offset from two addresses; returns ``offset``."""
    words = builder.add(emit_load(builder, source, offset, LANES), _splat(builder, addend))
    for shift, factor in zip(MIX_SHIFTS, MIX_FACTORS, strict=False):
        words = builder.mul(_xor_shifted(builder, words, shift), _all(factor))
    emit_store(builder, _without_largest(builder, _xor_shifted(builder, words, MIX_SHIFTS[2])), target, offset)
    return offset


@instruction(types.int64, types.int64, types.int64, types.int64)
def sum_suffixes(builder: ir.IRBuilder, text: ir.Value, blocks: ir.Value, target: ir.Value) -> ir.Value:
    """Write ``suffix[i] = word at byte i + POWER * suffix[i + 8]`` for 8 bytes a block; returns ``blocks``."""
    running = cgutils.alloca_once_value(builder, _all(0))  # type: ignore[no-untyped-call]
    one, eight = ir.Constant(WORD, 1), ir.Constant(WORD, 8)
    with cgutils.for_range(builder, blocks) as loop:
        offset = builder.mul(builder.sub(builder.sub(blocks, one), loop.index), eight)
        shifted = builder.mul(builder.load(running), _all(POWER))
        builder.store(builder.add(shifted, _words_from(builder, text, offset)), running)
        emit_store(builder, builder.load(running), target, builder.mul(offset, eight))
    return blocks


_ADDRESSES_AND_SIZES = (types.int64,) * 5


@instruction(types.int64, *_ADDRESSES_AND_SIZES, types.uint64, types.uint64, types.uint64)
def hash_windows(
    builder: ir.IRBuilder,
    suffixes: ir.Value,
    text: ir.Value,
    target: ir.Value,
    further: ir.Value,
    last: ir.Value,
    mask: ir.Value,
    power: ir.Value,
    start: ir.Value,
) -> ir.Value:
    """Write the hashes of the windows that begin at eight neighbouring bytes, all as long as each other.

    Args:
        builder: of the instructions.
        suffixes: address of what ``sum_suffixes`` wrote for the first byte of the first window.
        text: address of that byte.
        target: address of eight words: the output.
        further: bytes from the beginning of a window to its last word, were they all whole: a multiple of 8.
        last: bytes from the beginning of a window to the eight that end it; 0 for a shorter window.
        mask: of these eight bytes, those in the window.
        power: of the last word.
        start: what is added.
    """
    zero = ir.Constant(WORD, 0)
    words = builder.and_(_words_from(builder, text, last), _splat(builder, mask))
    rest = builder.sub(words, emit_load(builder, suffixes, builder.mul(further, ir.Constant(WORD, 8)), LANES))
    total = builder.add(emit_load(builder, suffixes, zero, LANES), builder.mul(rest, _splat(builder, power)))
    total = builder.add(total, _splat(builder, start))
    mixed = builder.mul(_xor_shifted(builder, total, 32), _all(FINISH_FACTOR))
    emit_store(builder, _without_largest(builder, _xor_shifted(builder, mixed, 32)), target, zero)
    return text


@instruction(types.int64, types.int64, types.int64, types.int64, types.int64, types.int64)
def accumulate_stripes(
    builder: ir.IRBuilder, lanes: ir.Value, base: ir.Value, offset: ir.Value, secret: ir.Value, count: ir.Value
) -> ir.Value:
    """Mix ``count`` blocks into the eight XXH3 accumulators at ``lanes``; the secret moves on by 8 bytes each."""
    zero = ir.Constant(WORD, 0)
    low_half = ir.Constant(LANES, [0xFFFFFFFF] * 8)
    neighbours = ir.Constant(ir.VectorType(ir.IntType(32), 8), [1, 0, 3, 2, 5, 4, 7, 6])
    running = builder.alloca(LANES)
    builder.store(emit_load(builder, lanes, zero, LANES), running)
    with cgutils.for_range(builder, count) as loop:
        data = emit_load(builder, base, builder.add(offset, builder.mul(loop.index, ir.Constant(WORD, 64))), LANES)
        key = emit_load(builder, secret, builder.mul(loop.index, ir.Constant(WORD, 8)), LANES)
        keyed = builder.xor(data, key)
        upper = builder.lshr(keyed, ir.Constant(LANES, [32] * 8))
        product = builder.mul(builder.and_(keyed, low_half), upper)
        swapped = builder.shuffle_vector(data, ir.Constant(LANES, ir.Undefined), neighbours)
        builder.store(builder.add(builder.add(builder.load(running), swapped), product), running)
    emit_store(builder, builder.load(running), lanes, zero)
    return count


@instruction(types.int64, types.int64, types.int64)
def scramble_lanes(builder: ir.IRBuilder, lanes: ir.Value, secret: ir.Value) -> ir.Value:
    """Scramble the eight XXH3 accumulators at address ``lanes`` with 64 bytes of the secret."""
    zero = ir.Constant(WORD, 0)
    values = emit_load(builder, lanes, zero, LANES)
    values = builder.xor(values, builder.lshr(values, ir.Constant(LANES, [47] * 8)))
    values = builder.xor(values, emit_load(builder, secret, zero, LANES))
    emit_store(builder, builder.mul(values, ir.Constant(LANES, [0x9E3779B1] * 8)), lanes, zero)
    return secret
