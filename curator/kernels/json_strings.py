"""Strings of JSON: the grammar of one string, and the bytes that it stands for.

Addresses flow in. ``skip_string`` refuses control characters, unknown escapes, and escapes that name half a surrogate
pair; ``copy_unescaped`` trusts that verdict, but stays inside its bounds whatever it is given.
"""

from __future__ import annotations

import numpy as np

from curator.kernels.compile import kernel
from curator.kernels.vector import (
    copy_block,
    equal_mask,
    load_byte,
    lowest_bit,
    shift_right,
    short_escape_mask,
    store_byte,
    string_end_mask,
    string_stop_mask,
)

QUOTE, BACKSLASH = 0x22, 0x5C
_U, _SHORT_ESCAPE_BYTES, _UNICODE_ESCAPE_BYTES = 0x75, 2, 6
_REPLACEMENT = 0xFFFD
_ODD_BITS = -0x5555555555555556
_SURROGATE_MASK, _SURROGATE, _LOW_SURROGATE = 0xF800, 0xD800, 0xDC00

_MEANING_OF_ESCAPE = np.zeros(256, np.uint8)
for _name, _meaning in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    _MEANING_OF_ESCAPE[_name] = _meaning

_VALUE_OF_DIGIT = np.full(256, -1, np.int64)
for _value, _digits in enumerate((*"0123456789", "aA", "bB", "cC", "dD", "eE", "fF")):
    _VALUE_OF_DIGIT[list(_digits.encode())] = _value


@kernel
def skip_string(base: int, position: int, end: int) -> tuple[int, int]:
    """Find the end of a string.

    Args:
        base: address of a padded buffer.
        position: first byte after the opening quote.
        end: one past the last byte of the record.

    Returns:
        Position of the closing quote, or -1 if the string is not valid; and 1 if it has escapes, else 0.
    """
    while position < end:
        stops = string_stop_mask(base, position)
        if stops:
            stop = position + lowest_bit(stops)
            if stop >= end:
                break
            byte = load_byte(base, stop)
            if byte == QUOTE:
                return stop, 0
            return _skip_escaped(base, stop, end) if byte == BACKSLASH else -1, 1
        position += 64
    return -1, 0


@kernel
def _skip_escaped(base: int, position: int, end: int) -> int:
    """Find the end of a string from its first backslash on; -1 if it is not valid."""
    first_is_escaped, checked = 0, -1
    while position < end:
        backslashes = equal_mask(base, position, BACKSLASH)
        stops = string_end_mask(base, position)
        if backslashes | first_is_escaped:
            # A run of backslashes escapes the byte after it if the run is odd; the subtraction carries through the run.
            escaping = backslashes & ~first_is_escaped
            series = (((escaping << 1) | _ODD_BITS) - escaping) ^ _ODD_BITS
            escaped = series ^ (backslashes | first_is_escaped)
            first_is_escaped = shift_right(series & backslashes, 63)
            stops &= ~escaped
            questions = escaped & ~short_escape_mask(base, position) & ((stops & -stops) - 1)
            while questions:
                name = position + lowest_bit(questions)
                questions &= questions - 1
                if name != checked:
                    length = _unicode_escape_bytes(base, name - 1)
                    if length == 0:
                        return -1
                    checked = name + length - _UNICODE_ESCAPE_BYTES
        if stops:
            stop = position + lowest_bit(stops)
            return stop if stop < end and load_byte(base, stop) == QUOTE else -1
        position += 64
    return -1


@kernel
def copy_unescaped(base: int, position: int, end: int, target: int, written: int) -> int:
    """Write what the inside of a string stands for, as UTF-8.

    Args:
        base: address of a padded buffer.
        position: first byte of the string.
        end: its closing quote.
        target: address of the output, with ``PADDING`` spare bytes after the ``end - position`` ones.
        written: where in the output to begin.

    Returns:
        Position in the output after the last byte written.
    """
    copied = position
    while position < end:
        stops = equal_mask(base, position, BACKSLASH)
        while stops:
            stop = position + lowest_bit(stops)
            if stop >= end:
                break
            copy_block(base, copied, target, written)
            written += stop - copied
            meaning = np.int64(_MEANING_OF_ESCAPE[load_byte(base, stop + 1)])
            if meaning:
                store_byte(target, written, meaning)
                written += 1
                copied = stop + _SHORT_ESCAPE_BYTES
            else:
                copied, written = _copy_code_point(base, stop, end, target, written)
            stops = _without_bits_before(stops, copied - position)
        position += 64
        copied_to = min(position, end)
        if copied < copied_to:
            copy_block(base, copied, target, written)
            written += copied_to - copied
            copied = copied_to
        elif copied > position:
            position = copied
    return written


@kernel
def _copy_code_point(base: int, position: int, end: int, target: int, written: int) -> tuple[int, int]:
    r"""Write what ``\uXXXX``, or a pair of them, stands for.

    Returns:
        The positions after it in the input and in the output.
    """
    if position + _UNICODE_ESCAPE_BYTES > end:
        return end, written
    point = _code_unit(base, position)
    position += _UNICODE_ESCAPE_BYTES
    if point & _SURROGATE_MASK == _SURROGATE:
        low = _low_surrogate(base, position) if position + _UNICODE_ESCAPE_BYTES <= end else 0
        if point < _LOW_SURROGATE and low:
            point = 0x10000 + ((point - _SURROGATE) << 10) + (low - _LOW_SURROGATE)
            position += _UNICODE_ESCAPE_BYTES
        else:
            point = _REPLACEMENT
    elif point < 0:
        point = _REPLACEMENT
    return position, store_utf8(target, written, point)


@kernel
def _without_bits_before(mask: int, position: int) -> int:
    return mask & (-1 << position) if position < 64 else 0


@kernel
def _unicode_escape_bytes(base: int, position: int) -> int:
    r"""Length of the escape at a backslash: 6, 12 for a surrogate pair, 0 for anything but ``\uXXXX``."""
    if load_byte(base, position + 1) != _U:
        return 0
    unit = _code_unit(base, position)
    if unit < 0:
        return 0
    if unit & _SURROGATE_MASK != _SURROGATE:
        return _UNICODE_ESCAPE_BYTES
    if unit < _LOW_SURROGATE and _low_surrogate(base, position + _UNICODE_ESCAPE_BYTES):
        return 2 * _UNICODE_ESCAPE_BYTES
    return 0


@kernel
def _code_unit(base: int, position: int) -> int:
    r"""The number in ``\uXXXX``; negative if a digit is not hexadecimal."""
    first = _VALUE_OF_DIGIT[load_byte(base, position + 2)]
    second = _VALUE_OF_DIGIT[load_byte(base, position + 3)]
    third = _VALUE_OF_DIGIT[load_byte(base, position + 4)]
    fourth = _VALUE_OF_DIGIT[load_byte(base, position + 5)]
    return (first << 12) | (second << 8) | (third << 4) | fourth  # type: ignore[return-value]


@kernel
def _low_surrogate(base: int, position: int) -> int:
    """The low surrogate that is escaped here; 0 if something else is."""
    if load_byte(base, position) != BACKSLASH or load_byte(base, position + 1) != _U:
        return 0
    unit = _code_unit(base, position)
    return unit if _LOW_SURROGATE <= unit < _LOW_SURROGATE + 0x400 else 0


@kernel
def store_utf8(target: int, written: int, point: int) -> int:
    """Write a code point as UTF-8 at ``target + written``, and return the position after it."""
    if point < 0x80:
        store_byte(target, written, point)
        return written + 1
    if point < 0x800:
        store_byte(target, written, 0xC0 | (point >> 6))
        store_byte(target, written + 1, 0x80 | (point & 0x3F))
        return written + 2
    if point < 0x10000:
        store_byte(target, written, 0xE0 | (point >> 12))
        store_byte(target, written + 1, 0x80 | ((point >> 6) & 0x3F))
        store_byte(target, written + 2, 0x80 | (point & 0x3F))
        return written + 3
    store_byte(target, written, 0xF0 | (point >> 18))
    store_byte(target, written + 1, 0x80 | ((point >> 12) & 0x3F))
    store_byte(target, written + 2, 0x80 | ((point >> 6) & 0x3F))
    store_byte(target, written + 3, 0x80 | (point & 0x3F))
    return written + 4
