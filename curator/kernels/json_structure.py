"""The grammar of one JSON record, without recursion: objects, arrays, numbers and literals.

The address of a buffer flows in, the places of the wanted values of the outermost object flow out. One byte per open
container is kept, so a record that is nested deeper than that many levels is refused, however deep it goes.
"""

# ruff: noqa: SIM109 - numba searches a tuple in a loop, which halves the speed on short records

from __future__ import annotations

import numpy as np

from curator.kernels.compile import kernel
from curator.kernels.json_strings import QUOTE, skip_string
from curator.kernels.utf8 import is_utf8
from curator.kernels.vector import load_byte, load_i64, load_u32, store_byte, store_i64

VALID, UNUSUAL = 0, 1
MISSING, STRING, NULL, NUMBER, BOOLEAN, CONTAINER = 0, 1, 2, 3, 4, 5
_VALUE, _VALUE_OR_CLOSE, _KEY, _KEY_OR_CLOSE, _COMMA_OR_CLOSE = 0, 1, 2, 3, 4
_ARRAY, _OBJECT = 0, 1
_NO_FIELD, _FIELD_BYTES = 0, 32
_KIND, _BEGIN, _END, _ESCAPED = 0, 8, 16, 24
_COMMA, _COLON, _MINUS, _PLUS, _DOT, _ZERO, _NINE = 0x2C, 0x3A, 0x2D, 0x2B, 0x2E, 0x30, 0x39
_OPEN_ARRAY, _CLOSE_ARRAY, _OPEN_OBJECT, _CLOSE_OBJECT = 0x5B, 0x5D, 0x7B, 0x7D
_SPACE, _TAB, _LINE_FEED, _CARRIAGE_RETURN = 0x20, 0x09, 0x0A, 0x0D
_TRUE, _ALSE, _NULL_WORD = (np.uint64(int.from_bytes(word, "little")) for word in (b"true", b"alse", b"null"))


@kernel
def scan_record(
    base: int,
    start: int,
    end: int,
    names: int,
    num_fields: int,
    fields: int,
    containers: int,
    max_depth: int,
) -> int:
    """Judge one record and find its wanted values.

    Args:
        base: address of a padded buffer.
        start: first byte of the record.
        end: one past its last byte.
        names: address of ``num_fields`` pairs of int64, the offset from ``names`` and the length of a wanted name.
        num_fields: number of wanted fields.
        fields: address of ``num_fields`` quadruples of int64, written: kind (all ``MISSING`` at the call), first byte,
            end, and whether there are escapes.
        containers: address of ``max_depth + 1`` bytes of working space.
        max_depth: how many containers may be open.

    Returns:
        ``VALID`` or ``UNUSUAL``.
    """
    position = _skip_white_space(base, start, end)
    if position >= end or load_byte(base, position) != _OPEN_OBJECT:
        return UNUSUAL
    position += 1
    depth = 1
    store_byte(containers, 1, _OBJECT)
    expected = _KEY_OR_CLOSE
    field = _NO_FIELD
    while depth:
        position = _skip_white_space(base, position, end)
        if position >= end:
            return UNUSUAL
        byte = load_byte(base, position)
        if expected == _COMMA_OR_CLOSE and byte == _COMMA:
            expected = _KEY if load_byte(containers, depth) == _OBJECT else _VALUE
            position += 1
        elif byte == _CLOSE_OBJECT or byte == _CLOSE_ARRAY:
            kind = _OBJECT if byte == _CLOSE_OBJECT else _ARRAY
            if load_byte(containers, depth) != kind or expected == _KEY or expected == _VALUE:
                return UNUSUAL
            depth -= 1
            position += 1
            expected = _COMMA_OR_CLOSE
            if depth == 1 and field:
                store_i64(field, _END, position)
        elif expected == _KEY or expected == _KEY_OR_CLOSE:
            if byte != QUOTE:
                return UNUSUAL
            key = position + 1
            position, has_escapes = skip_string(base, key, end)
            if position < 0 or (depth == 1 and has_escapes):
                return UNUSUAL
            if depth == 1:
                field = _find_name(base, key, position, names, num_fields, fields)
                if field and load_i64(field, _KIND):
                    return UNUSUAL
            position = _skip_white_space(base, position + 1, end)
            if position >= end or load_byte(base, position) != _COLON:
                return UNUSUAL
            position += 1
            expected = _VALUE
        elif expected == _COMMA_OR_CLOSE:
            return UNUSUAL
        else:
            begin, has_escapes = position, 0
            expected = _COMMA_OR_CLOSE
            if byte == QUOTE:
                kind = STRING
                begin += 1
                position, has_escapes = skip_string(base, begin, end)
            elif byte == _OPEN_OBJECT or byte == _OPEN_ARRAY:
                if depth == max_depth:
                    return UNUSUAL
                kind = CONTAINER
                is_object = byte == _OPEN_OBJECT
                store_byte(containers, depth + 1, _OBJECT if is_object else _ARRAY)
                expected = _KEY_OR_CLOSE if is_object else _VALUE_OR_CLOSE
                position += 1
            else:
                kind, position = _skip_scalar(base, position, end)
            if position < 0:
                return UNUSUAL
            if depth == 1 and field:
                store_i64(field, _KIND, kind)
                store_i64(field, _BEGIN, begin)
                store_i64(field, _END, position)
                store_i64(field, _ESCAPED, has_escapes)
            if kind == STRING:
                position += 1
            elif kind == CONTAINER:
                depth += 1
    if _skip_white_space(base, position, end) != end or not is_utf8(base, start, end):
        return UNUSUAL
    return VALID


@kernel
def _skip_white_space(base: int, position: int, end: int) -> int:
    while position < end:
        byte = load_byte(base, position)
        if byte > _SPACE or (byte != _SPACE and byte != _TAB and byte != _LINE_FEED and byte != _CARRIAGE_RETURN):
            break
        position += 1
    return position


@kernel
def _find_name(base: int, key: int, key_end: int, names: int, num_fields: int, fields: int) -> int:
    """Address of the quadruple of the name that equals a key; 0 if there is none."""
    for index in range(num_fields):
        if load_i64(names, 16 * index + 8) == key_end - key:
            name = names + load_i64(names, 16 * index)
            position = key
            while position < key_end and load_byte(base, position) == load_byte(name, position - key):
                position += 1
            if position == key_end:
                return fields + _FIELD_BYTES * index
    return _NO_FIELD


@kernel
def _skip_scalar(base: int, position: int, end: int) -> tuple[int, int]:
    """Kind and end of a literal or a number; the end is -1 if it is neither."""
    word = load_u32(base, position)
    if word == _TRUE:
        kind, last = BOOLEAN, position + 4
    elif word == _NULL_WORD:
        kind, last = NULL, position + 4
    elif load_u32(base, position + 1) == _ALSE and load_byte(base, position) == 0x66:
        kind, last = BOOLEAN, position + 5
    else:
        kind, last = NUMBER, _skip_number(base, position, end)
    return kind, last if last <= end else -1


@kernel
def _skip_number(base: int, position: int, end: int) -> int:
    """End of a number; -1 if it breaks the grammar. Text like ``01`` ends after the zero and fails at the next byte."""
    if load_byte(base, position) == _MINUS:
        position += 1
    if position < end and load_byte(base, position) == _ZERO:
        position += 1
    else:
        position = _skip_digits(base, position, end)
    if 0 <= position < end and load_byte(base, position) == _DOT:
        position = _skip_digits(base, position + 1, end)
    if 0 <= position < end and load_byte(base, position) | 0x20 == 0x65:
        position += 1
        if position < end and load_byte(base, position) in (_PLUS, _MINUS):
            position += 1
        position = _skip_digits(base, position, end)
    return position


@kernel
def _skip_digits(base: int, position: int, end: int) -> int:
    """End of one or more digits; -1 if there is none."""
    first = position
    while position < end and _ZERO <= load_byte(base, position) <= _NINE:
        position += 1
    return position if position > first else -1
