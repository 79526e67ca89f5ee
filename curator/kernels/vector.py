"""Portable vector instructions for the kernels, written as LLVM IR, so that one source serves x86 and ARM.

Addresses and offsets flow in, 64-bit masks and words flow out: bit ``i`` of a mask speaks of byte ``offset + i``. Masks
are ``int64``, because numba turns a mixture of ``int64`` and ``uint64`` into a float. A block is 64 bytes, loaded
unaligned, and may reach ``PADDING`` bytes beyond the last used one: ``padded_input`` makes sure of that. Nothing here
checks an address; a kernel that calls these functions keeps the arrays behind the addresses alive.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

PADDING = 64
"""Bytes that must be readable (inputs) or writable (outputs) beyond the last used one."""

_BLOCK = ir.VectorType(ir.IntType(8), 64)
WORD = ir.IntType(64)
_I128 = ir.IntType(128)

_TWO_WORDS = types.UniTuple(types.uint64, 2)  # type: ignore[no-untyped-call]

Instruction = Callable[..., Any]


def read_only(array: npt.ArrayLike, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    """View an array as contiguous, aligned and read-only, so that kernels are compiled for one signature only.

    Args:
        array: one- or two-dimensional.
        dtype: what the kernel takes; values are converted if they have another one.

    Example:
        >>> read_only([1, 2], np.int64).flags.writeable
        False
    """
    if not (
        isinstance(array, np.ndarray) and array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned
    ):
        array = np.require(array, dtype, ["C", "A"])
    view = array.view()
    view.setflags(write=False)
    return view


def padded_input(data: npt.NDArray[np.uint8], used: int) -> npt.NDArray[np.uint8]:
    """View bytes as kernels take them; they are copied only where fewer than ``PADDING`` bytes follow the used ones.

    Args:
        data: uint8, shape (num_bytes,).
        used: number of bytes that mean something.

    Raises:
        ValueError: ``used`` is larger than the array.

    Example:
        >>> len(padded_input(np.frombuffer(b"text", np.uint8), 4))
        68
    """
    if used > len(data):
        raise ValueError(f"positions reach byte {used}, but the buffer has only {len(data)} bytes")
    if len(data) - used < PADDING:
        copy = np.zeros(used + PADDING, np.uint8)
        copy[:used] = data[:used]
        data = copy
    return read_only(data, np.uint8)  # type: ignore[return-value]


def checked_texts(
    data: npt.NDArray[np.uint8], offsets: npt.ArrayLike
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """View texts in Arrow's ``large_string`` layout as kernels take them.

    Args:
        data: uint8; copied unless ``PADDING`` bytes follow the last text.
        offsets: int64, shape (n + 1,), not decreasing.

    Raises:
        ValueError: ``offsets`` is empty, decreases, or leaves the data.

    Example:
        >>> data, offsets = checked_texts(np.frombuffer(b"text", np.uint8), [0, 4])
        >>> len(data), offsets.dtype
        (68, dtype('int64'))
    """
    positions: npt.NDArray[np.int64] = read_only(offsets, np.int64)  # type: ignore[assignment]
    if not len(positions) or positions[0] < 0 or (positions[1:] < positions[:-1]).any():
        raise ValueError("offsets must be one more than the texts, begin at 0 or later, and never decrease")
    return padded_input(data, int(positions[-1])), positions


def _pointer(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value, pointee: ir.Type) -> ir.Value:
    return builder.inttoptr(builder.add(base, offset), pointee.as_pointer())


def emit_load(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value, loaded: ir.Type) -> ir.Value:
    """Emit an unaligned load."""
    return builder.load(_pointer(builder, base, offset, loaded), align=1)


def emit_store(builder: ir.IRBuilder, value: ir.Value, base: ir.Value, offset: ir.Value) -> None:
    """Emit an unaligned store."""
    builder.store(value, _pointer(builder, base, offset, value.type), align=1)


def _all(byte: int) -> ir.Constant:
    return ir.Constant(_BLOCK, [byte] * 64)


def _splat(builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
    narrow = builder.trunc(value, ir.IntType(8))
    first = builder.insert_element(ir.Constant(_BLOCK, ir.Undefined), narrow, ir.Constant(ir.IntType(32), 0))
    every = ir.Constant(ir.VectorType(ir.IntType(32), 64), [0] * 64)
    return builder.shuffle_vector(first, ir.Constant(_BLOCK, ir.Undefined), every)


def _mask(builder: ir.IRBuilder, condition: ir.Value) -> ir.Value:
    return builder.bitcast(condition, WORD)


def _is_white_space(builder: ir.IRBuilder, block: ir.Value) -> ir.Value:
    """What ``str.split`` takes for white space in ASCII: TAB to CR, 0x1c to 0x1f, and the space."""
    controls = builder.icmp_unsigned("<", builder.sub(block, _all(9)), _all(5))
    separators = builder.icmp_unsigned("<", builder.sub(block, _all(0x1C)), _all(5))  # 0x1c to 0x20
    return builder.or_(controls, separators)


def instruction(result: types.Type, *parameters: types.Type) -> Callable[[Instruction], Instruction]:
    """Turn a function that emits IR for some values into an instruction that kernels can call."""

    def decorate(emit: Instruction) -> Instruction:
        def define(typing_context, *arguments):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN002, ANN202, ARG001
            def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
                return emit(builder, *values)

            return result(*parameters), generate

        define.__name__ = emit.__name__
        define.__doc__ = emit.__doc__
        define.__signature__ = inspect.signature(emit)  # type: ignore[attr-defined]  # numba counts parameters by it
        instruction: Instruction = intrinsic(define)
        return instruction

    return decorate


def _address_of(typing_context, array):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, ARG001
    """Address of the first element of an array, as int64."""

    def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        view = context.make_array(signature.args[0])(context, builder, values[0])
        return builder.ptrtoint(view.data, WORD)

    return types.int64(array), generate


address_of: Instruction = intrinsic(_address_of)


@instruction(types.int64, types.int64, types.int64)
def prefetch(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    """Ask for the line of an address that will be written soon; 0."""
    place = _pointer(builder, base, offset, ir.IntType(8))
    kind = ir.FunctionType(ir.VoidType(), [place.type, *[ir.IntType(32)] * 3])
    asked = builder.module.declare_intrinsic("llvm.prefetch", (place.type,), kind)
    builder.call(asked, [place, *(ir.Constant(ir.IntType(32), number) for number in (1, 3, 1))])  # to write, keep, data
    return ir.Constant(WORD, 0)


@instruction(types.int64, types.int64, types.int64, types.int64)
def equal_mask(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value, byte: ir.Value) -> ir.Value:
    """Which bytes of a block equal ``byte``."""
    block = emit_load(builder, base, offset, _BLOCK)
    return _mask(builder, builder.icmp_unsigned("==", block, _splat(builder, byte)))


@instruction(types.int64, types.int64, types.int64, types.int64, types.int64)
def between_mask(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value, first: ir.Value, last: ir.Value) -> ir.Value:
    """Which bytes of a block are in ``first ... last``, both included."""
    block = emit_load(builder, base, offset, _BLOCK)
    distance = builder.sub(block, _splat(builder, first))
    return _mask(builder, builder.icmp_unsigned("<=", distance, _splat(builder, builder.sub(last, first))))


@instruction(types.int64, types.int64, types.int64)
def high_mask(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    """Which bytes of a block are not ASCII."""
    return _mask(builder, builder.icmp_signed("<", emit_load(builder, base, offset, _BLOCK), _all(0)))


@instruction(types.int64, types.int64, types.int64)
def begin_mask(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    """Where code points begin: bytes that continue none."""
    return _mask(builder, builder.icmp_signed(">=", emit_load(builder, base, offset, _BLOCK), _all(0xC0)))


@instruction(types.int64, types.int64, types.int64)
def lead_mask(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    """Where code points begin that are not ASCII: bytes of 0xc0 and more."""
    return _mask(builder, builder.icmp_unsigned(">=", emit_load(builder, base, offset, _BLOCK), _all(0xC0)))


_UNCHANGED_LEADS = ((0xD7, 0xE0), (0xE4, 0xE9), (0xEB, 0xED))
_UNCHANGED_PAIRS = (
    (0xC3, 0x9F, 0xBF),
    (0xCE, 0xAC, 0xBF),
    (0xCF, 0x80, 0x8E),
    (0xD0, 0xB0, 0xBF),
    (0xD1, 0x80, 0x9F),
    (0xE3, 0x81, 0xBF),
)


@instruction(types.int64, types.int64, types.int64)
def changing_lead_mask(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    """``lead_mask`` without most of the code points that have no lower case of their own and are no white space."""
    block = emit_load(builder, base, offset, _BLOCK)
    following = emit_load(builder, base, builder.add(offset, ir.Constant(WORD, 1)), _BLOCK)

    def between(values: ir.Value, first: int, last: int) -> ir.Value:
        return builder.icmp_unsigned("<=", builder.sub(values, _all(first)), _all(last - first))

    unchanged = between(block, 0, 0xBF)
    for first, last in _UNCHANGED_LEADS:
        unchanged = builder.or_(unchanged, between(block, first, last))
    for lead, first, last in _UNCHANGED_PAIRS:
        pair = builder.and_(builder.icmp_unsigned("==", block, _all(lead)), between(following, first, last))
        unchanged = builder.or_(unchanged, pair)
    return _mask(builder, builder.not_(unchanged))


@instruction(types.int64, types.int64, types.int64)
def string_stop_mask(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    """Where a JSON string ends, escapes or breaks: quotes, backslashes and control characters."""
    block = emit_load(builder, base, offset, _BLOCK)
    quote = builder.icmp_unsigned("==", block, _all(0x22))
    backslash = builder.icmp_unsigned("==", block, _all(0x5C))
    control = builder.icmp_unsigned("<", block, _all(0x20))
    return _mask(builder, builder.or_(builder.or_(quote, backslash), control))


@instruction(types.int64, types.int64, types.int64)
def string_end_mask(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    """Quotes and control characters: where a JSON string ends or breaks, unless they are escaped."""
    block = emit_load(builder, base, offset, _BLOCK)
    control = builder.icmp_unsigned("<", block, _all(0x20))
    return _mask(builder, builder.or_(builder.icmp_unsigned("==", block, _all(0x22)), control))


@instruction(types.int64, types.int64, types.int64)
def short_escape_mask(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    """Bytes that JSON allows after a backslash, except the ``u``."""
    block = emit_load(builder, base, offset, _BLOCK)
    found = builder.icmp_unsigned("==", block, _all(0x22))
    for byte in b"\\/bfnrt":
        found = builder.or_(found, builder.icmp_unsigned("==", block, _all(byte)))
    return _mask(builder, found)


@instruction(types.int64, types.int64, types.int64)
def misleading_mask(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    """Where UTF-8 would be overlong, a surrogate or too large, given that the byte after is a continuation."""
    block = emit_load(builder, base, offset, _BLOCK)
    following = emit_load(builder, base, builder.add(offset, ir.Constant(WORD, 1)), _BLOCK)
    found = None
    for lead, relation, limit in ((0xE0, "<", 0xA0), (0xED, ">=", 0xA0), (0xF0, "<", 0x90), (0xF4, ">=", 0x90)):
        is_lead = builder.icmp_unsigned("==", block, _all(lead))
        pair = builder.and_(is_lead, builder.icmp_unsigned(relation, following, _all(limit)))
        found = pair if found is None else builder.or_(found, pair)
    return _mask(builder, found)


@instruction(types.int64, types.int64, types.int64)
def white_space_mask(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    """Which bytes of a block are ASCII white space for ``str.split``."""
    return _mask(builder, _is_white_space(builder, emit_load(builder, base, offset, _BLOCK)))


@instruction(types.int64, types.int64, types.int64, types.int64, types.int64)
def copy_block(
    builder: ir.IRBuilder, base: ir.Value, offset: ir.Value, target: ir.Value, target_offset: ir.Value
) -> ir.Value:
    """Copy one block; the result means nothing."""
    emit_store(builder, emit_load(builder, base, offset, _BLOCK), target, target_offset)
    return offset


@instruction(types.int64, types.int64, types.int64, types.int64, types.int64, types.int64, types.int64)
def copy_folded_block(
    builder: ir.IRBuilder,
    base: ir.Value,
    offset: ir.Value,
    target: ir.Value,
    target_offset: ir.Value,
    lower: ir.Value,
    collapse: ir.Value,
) -> ir.Value:
    """Copy one block; with ``lower`` (0 or 1) A-Z become a-z, with ``collapse`` (0 or 1) white space becomes spaces."""
    block = emit_load(builder, base, offset, _BLOCK)
    is_upper = builder.icmp_unsigned("<", builder.sub(block, _all(0x41)), _all(26))
    distance = _splat(builder, builder.shl(lower, ir.Constant(WORD, 5)))
    lowered = builder.add(block, builder.select(is_upper, distance, _all(0)))
    wanted = builder.icmp_unsigned("!=", _splat(builder, collapse), _all(0))
    replaced = builder.and_(_is_white_space(builder, block), wanted)
    emit_store(builder, builder.select(replaced, _all(0x20), lowered), target, target_offset)
    return offset


@instruction(types.int64, types.int64, types.int64)
def load_byte(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    """One byte, as int64."""
    return builder.zext(emit_load(builder, base, offset, ir.IntType(8)), WORD)


@instruction(types.uint64, types.int64, types.int64)
def load_u32(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    """Four bytes, little endian, as uint64."""
    return builder.zext(emit_load(builder, base, offset, ir.IntType(32)), WORD)


@instruction(types.uint64, types.int64, types.int64)
def load_u64(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    """Eight bytes, little endian, as uint64."""
    return emit_load(builder, base, offset, WORD)


@instruction(types.int64, types.int64, types.int64)
def load_i64(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value) -> ir.Value:
    """Eight bytes, little endian, as int64."""
    return emit_load(builder, base, offset, WORD)


@instruction(types.int64, types.int64, types.int64, types.int64)
def store_i64(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value, word: ir.Value) -> ir.Value:
    """Write eight bytes, little endian; the result is ``word``."""
    emit_store(builder, word, base, offset)
    return word


@instruction(types.int64, types.int64, types.int64, types.uint64)
def store_u64(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value, word: ir.Value) -> ir.Value:
    """Write eight bytes, little endian; the result is 0."""
    emit_store(builder, word, base, offset)
    return ir.Constant(WORD, 0)


@instruction(types.int64, types.int64, types.int64, types.int64)
def store_byte(builder: ir.IRBuilder, base: ir.Value, offset: ir.Value, byte: ir.Value) -> ir.Value:
    """Write the lowest eight bits of ``byte``, which is also the result."""
    emit_store(builder, builder.trunc(byte, ir.IntType(8)), base, offset)
    return byte


@instruction(types.int64, types.int64)
def lowest_bit(builder: ir.IRBuilder, mask: ir.Value) -> ir.Value:
    """Position of the lowest set bit; 64 if there is none."""
    return builder.cttz(mask, ir.Constant(ir.IntType(1), 0))


@instruction(types.int64, types.int64)
def count_bits(builder: ir.IRBuilder, mask: ir.Value) -> ir.Value:
    """Number of set bits."""
    return builder.ctpop(mask)


@instruction(types.int64, types.int64, types.int64)
def shift_right(builder: ir.IRBuilder, mask: ir.Value, distance: ir.Value) -> ir.Value:
    """Shift by 0 to 63 bits, filling with zeros."""
    return builder.lshr(mask, distance)


@instruction(types.uint64, types.uint64)
def swap_bytes(builder: ir.IRBuilder, word: ir.Value) -> ir.Value:
    """The eight bytes of a word in the other order."""
    return builder.bswap(word)


@instruction(_TWO_WORDS, types.uint64, types.uint64)
def multiply_wide(builder: ir.IRBuilder, left: ir.Value, right: ir.Value) -> ir.Value:
    """All 128 bits of a product: the high word, the low word."""
    product = builder.mul(builder.zext(left, _I128), builder.zext(right, _I128))
    high = builder.trunc(builder.lshr(product, ir.Constant(_I128, 64)), WORD)
    return cgutils.pack_array(builder, [high, builder.trunc(product, WORD)])  # type: ignore[no-untyped-call]
