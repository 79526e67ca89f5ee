"""Vector instructions on eight words of 64 bits at once: hashes of neighbouring windows, and the lanes of XXH3.

Addresses, offsets and constants flow in, words flow out in memory. What ``vector`` says of addresses and of the bytes
beyond the last used one holds here too.
"""

from __future__ import annotations

from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import config, types
from numba.core import cgutils

from curator.kernels.vector import WORD, emit_load, emit_store, instruction

LANES = ir.VectorType(WORD, 8)
MIX_FACTORS = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
MIX_SHIFTS = (30, 27, 31)
"""The finaliser of SplitMix64."""

FINISH_FACTOR = 0xC2B2AE3D27D4EB4F
POWER = 0x9E3779B97F4A7C15
LENGTH_FACTOR = 0x165667B19E3779F9
"""Of the hash of windows of bytes, see ``shingles``."""

WORD_FACTOR, THIRD_FACTOR = 0xD6E8FEB86659FD93, 0x9FB21C651E98DF25
"""Of the hash of a word, which has the three above too."""

_HALF_LANES = ir.VectorType(ir.IntType(32), 8)
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


def _finalised(builder: ir.IRBuilder, words: ir.Value) -> ir.Value:
    for shift, factor in zip(MIX_SHIFTS, MIX_FACTORS, strict=False):
        words = builder.mul(_xor_shifted(builder, words, shift), _all(factor))
    return _without_largest(builder, _xor_shifted(builder, words, MIX_SHIFTS[2]))


def _finished(builder: ir.IRBuilder, sums: ir.Value) -> ir.Value:
    mixed = builder.mul(_xor_shifted(builder, sums, 32), _all(FINISH_FACTOR))
    return _without_largest(builder, _xor_shifted(builder, mixed, 32))


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
    emit_store(builder, _finalised(builder, words), target, offset)
    return offset


@instruction(types.int64, types.int64, types.int64, types.int64, types.int64, types.int64, types.int64)
def hash_words(
    builder: ir.IRBuilder,
    edges: ir.Value,
    firsts: ir.Value,
    seconds: ir.Value,
    lasts: ir.Value,
    target: ir.Value,
    offset: ir.Value,
) -> ir.Value:
    """Write the hashes of eight words of text, but for what a word has beyond its 24th byte.

    Args:
        builder: of the instructions.
        edges: address of where each begins and ends, in turn.
        firsts: address of the eight bytes that each begins with, whatever follows it.
        seconds: address of the eight bytes behind those.
        lasts: address of the eight bytes that each ends with, whatever is before it.
        target: address of the output.
        offset: from all addresses, but twice from ``edges``.

    Returns:
        Which words have more than 24 bytes, as bits.
    """
    place = builder.shl(offset, ir.Constant(WORD, 1))
    near = emit_load(builder, edges, place, LANES)
    far = emit_load(builder, edges, builder.add(place, ir.Constant(WORD, 64)), LANES)
    ends, begins = (
        builder.shuffle_vector(near, far, ir.Constant(ir.VectorType(ir.IntType(32), 8), list(range(first, 16, 2))))
        for first in (1, 0)
    )
    length = builder.sub(ends, begins)
    missing = builder.sub(_all(64), builder.shl(length, _all(3)))
    missing = builder.select(builder.icmp_signed(">", missing, _all(0)), missing, _all(0))
    last = builder.lshr(emit_load(builder, lasts, offset, LANES), builder.and_(missing, _all(63)))
    last = builder.mul(_xor_shifted(builder, last, 32), _all(POWER))
    total = builder.add(builder.mul(length, _all(LENGTH_FACTOR)), last)
    for words, shorter, factor in ((firsts, 8, FINISH_FACTOR), (seconds, 16, THIRD_FACTOR)):
        is_longer = builder.sext(builder.icmp_signed(">", length, _all(shorter)), LANES)
        inside = builder.and_(emit_load(builder, words, offset, LANES), is_longer)
        total = builder.add(total, builder.mul(_xor_shifted(builder, inside, 32), _all(factor)))
    emit_store(builder, builder.mul(_xor_shifted(builder, total, 32), _all(WORD_FACTOR)), target, offset)
    return _bits(builder, builder.icmp_signed(">", length, _all(24)))


@instruction(types.int64, types.int64, types.int64, types.int64, types.int64, types.uint64, types.uint64)
def mix_polynomials(
    builder: ir.IRBuilder,
    source: ir.Value,
    target: ir.Value,
    offset: ir.Value,
    degree: ir.Value,
    factor: ir.Value,
    addend: ir.Value,
) -> ir.Value:
    """Write the finalised polynomials of the words from eight neighbouring ones on, the first the highest.

    Args:
        builder: of the instructions.
        source: address of the words.
        target: address of the output.
        offset: from both.
        degree: how many words follow the first one of a polynomial.
        factor: what it is a polynomial of.
        addend: what is added before it is finalised.
    """
    one, eight = ir.Constant(WORD, 1), ir.Constant(WORD, 8)
    running = cgutils.alloca_once_value(builder, emit_load(builder, source, offset, LANES))  # type: ignore[no-untyped-call]
    builder.store(emit_load(builder, source, offset, LANES), running)
    by = _splat(builder, factor)
    with cgutils.for_range(builder, degree) as loop:
        place = builder.add(offset, builder.mul(builder.add(loop.index, one), eight))
        total = builder.add(builder.mul(builder.load(running), by), emit_load(builder, source, place, LANES))
        builder.store(total, running)
    words = builder.add(builder.load(running), _splat(builder, addend))
    emit_store(builder, _finalised(builder, words), target, offset)
    return offset


@instruction(types.int64, types.int64, types.int64, types.int64, types.uint64)
def choose_bins(
    builder: ir.IRBuilder, source: ir.Value, target: ir.Value, index: ir.Value, num_bins: ir.Value
) -> ir.Value:
    """Write the bins of the eight words from an index on, ``(word >> 32) * num_bins >> 32``, as 32 bits each."""
    _store_bins(builder, _words_at(builder, source, index), num_bins, target, index)
    return index


@instruction(types.int64, types.int64, types.int64)
def flag_empty_bins(builder: ir.IRBuilder, bins: ir.Value, offset: ir.Value) -> ir.Value:
    """Which of eight bins are 2**64 - 1, as bits."""
    return _bits(builder, builder.icmp_unsigned("==", emit_load(builder, bins, offset, LANES), _all(2**64 - 1)))


@instruction(types.int64, *(types.int64,) * 3, types.uint64, types.uint64, *(types.int64,) * 3)
def draw_empty_bins(
    builder: ir.IRBuilder,
    source: ir.Value,
    target: ir.Value,
    index: ir.Value,
    num_bins: ir.Value,
    factor: ir.Value,
    flags: ir.Value,
    num_flags: ir.Value,
    wanted: ir.Value,
) -> ir.Value:
    """Write, of eight words times a factor, those that fall into an empty bin, one after the other.

    Args:
        builder: of the instructions.
        source: address of the words.
        target: address of the output: a bin in the low half of each word, and the 32 bits that are drawn for it.
        index: of the first word.
        num_bins: how many bins there are.
        factor: what each word is multiplied by.
        flags: address of a bit for each bin, 1 if it is empty, in words.
        num_flags: how many words of flags.
        wanted: which of the eight words count, as bits.

    Returns:
        Which words were written, as bits.
    """
    words = builder.mul(_words_at(builder, source, index), _splat(builder, factor))
    chosen = _bins_of(builder, words, num_bins)
    place, bit = builder.lshr(chosen, _all(6)), builder.and_(chosen, _all(63))
    running = cgutils.alloca_once_value(builder, _all(0))  # type: ignore[no-untyped-call]
    builder.store(_splat(builder, emit_load(builder, flags, ir.Constant(WORD, 0), WORD)), running)
    one = ir.Constant(WORD, 1)
    with cgutils.for_range(builder, builder.sub(num_flags, one)) as loop:
        number = builder.add(loop.index, one)
        own = _splat(builder, emit_load(builder, flags, builder.shl(number, ir.Constant(WORD, 3)), WORD))
        is_here = builder.icmp_unsigned("==", place, _splat(builder, number))
        builder.store(builder.select(is_here, own, builder.load(running)), running)
    is_empty = builder.trunc(builder.lshr(builder.load(running), bit), ir.VectorType(ir.IntType(1), 8))
    is_empty = builder.and_(is_empty, builder.bitcast(builder.trunc(wanted, ir.IntType(8)), is_empty.type))
    pairs = builder.or_(builder.shl(_xor_shifted(builder, words, 32), _all(32)), chosen)
    _store_some(builder, pairs, is_empty, target)
    return _bits(builder, is_empty)


def _store_some(builder: ir.IRBuilder, words: ir.Value, wanted: ir.Value, target: ir.Value) -> None:
    """Store those of eight words that are wanted, one after the other; what follows them means nothing."""
    if "+avx512f" in (config.CPU_FEATURES or get_host_cpu_features().flatten()).split(","):  # type: ignore[attr-defined]
        kind = ir.FunctionType(LANES, [LANES, wanted.type, LANES])
        compress = cgutils.get_or_insert_function(builder.module, kind, "llvm.experimental.vector.compress.v8i64")  # type: ignore[no-untyped-call]
        some = builder.call(compress, [words, wanted, ir.Constant(LANES, ir.Undefined)])
        emit_store(builder, some, target, ir.Constant(WORD, 0))
        return
    # Without such an instruction: each is stored, and overwritten by the next one if it was not wanted.
    offset, bits = ir.Constant(WORD, 0), _bits(builder, wanted)
    for lane in range(8):
        emit_store(builder, builder.extract_element(words, ir.Constant(ir.IntType(32), lane)), target, offset)
        step = builder.and_(
            builder.lshr(builder.shl(bits, ir.Constant(WORD, 3)), ir.Constant(WORD, lane)), ir.Constant(WORD, 8)
        )
        offset = builder.add(offset, step)


def _words_at(builder: ir.IRBuilder, source: ir.Value, index: ir.Value) -> ir.Value:
    return emit_load(builder, source, builder.shl(index, ir.Constant(WORD, 3)), LANES)


def _store_bins(builder: ir.IRBuilder, words: ir.Value, num_bins: ir.Value, target: ir.Value, index: ir.Value) -> None:
    narrow = builder.trunc(_bins_of(builder, words, num_bins), _HALF_LANES)
    emit_store(builder, narrow, target, builder.shl(index, ir.Constant(WORD, 2)))


def _bins_of(builder: ir.IRBuilder, words: ir.Value, num_bins: ir.Value) -> ir.Value:
    return builder.lshr(builder.mul(builder.lshr(words, _all(32)), _splat(builder, num_bins)), _all(32))


@instruction(types.int64, types.int64, types.int64, types.int64)
def finish_windows(builder: ir.IRBuilder, sums: ir.Value, target: ir.Value, offset: ir.Value) -> ir.Value:
    """Write the hashes of the windows of eight sums; returns ``offset``."""
    emit_store(builder, _finished(builder, emit_load(builder, sums, offset, LANES)), target, offset)
    return offset


@instruction(types.int64, types.int64, types.int64, types.int64)
def sum_suffixes(builder: ir.IRBuilder, text: ir.Value, blocks: ir.Value, target: ir.Value) -> ir.Value:
    """Write ``suffix[i] = spread word at byte i + POWER * suffix[i + 8]`` for 8 bytes a block; returns ``blocks``."""
    running = cgutils.alloca_once_value(builder, _all(0))  # type: ignore[no-untyped-call]
    one, eight = ir.Constant(WORD, 1), ir.Constant(WORD, 8)
    with cgutils.for_range(builder, blocks) as loop:
        offset = builder.mul(builder.sub(builder.sub(blocks, one), loop.index), eight)
        shifted = builder.mul(builder.load(running), _all(POWER))
        words = _xor_shifted(builder, _words_from(builder, text, offset), 32)
        builder.store(builder.add(shifted, words), running)
        emit_store(builder, builder.load(running), target, builder.mul(offset, eight))
    return blocks


@instruction(types.int64, types.int64, types.int64, types.int64)
def equal_words(builder: ir.IRBuilder, left: ir.Value, right: ir.Value, offset: ir.Value) -> ir.Value:
    """Which of eight words are equal, at an offset from two addresses, as bits."""
    equal = builder.icmp_unsigned(
        "==", emit_load(builder, left, offset, LANES), emit_load(builder, right, offset, LANES)
    )
    return _bits(builder, equal)


@instruction(types.int64, types.int64, types.int64, types.uint64)
def which_equal(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value, word: ir.Value) -> ir.Value:
    """Which of eight words equal ``word``, as bits."""
    return _bits(builder, builder.icmp_unsigned("==", emit_load(builder, base, offset, LANES), _splat(builder, word)))


def _bits(builder: ir.IRBuilder, condition: ir.Value) -> ir.Value:
    return builder.zext(builder.bitcast(condition, ir.IntType(8)), WORD)


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
    words = _xor_shifted(builder, builder.and_(_words_from(builder, text, last), _splat(builder, mask)), 32)
    rest = builder.sub(words, emit_load(builder, suffixes, builder.mul(further, ir.Constant(WORD, 8)), LANES))
    total = builder.add(emit_load(builder, suffixes, zero, LANES), builder.mul(rest, _splat(builder, power)))
    total = builder.add(total, _splat(builder, start))
    emit_store(builder, _finished(builder, total), target, zero)
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
