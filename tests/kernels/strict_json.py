"""The oracle: what a strict and a careful reader of JSON lines would say, slowly."""

import json

STRING, NULL, NUMBER, BOOLEAN, CONTAINER = 1, 2, 3, 4, 5


class Pairs(list):
    """An object as its pairs, so that no key is lost."""


class Number(str):
    """A number as it was written."""


def refuse(constant):
    raise ValueError(constant)


def parse(line):
    """The pairs of the outermost object; raises ValueError for what is not strictly one JSON object in UTF-8."""
    text = line.decode("utf-8").strip(" \t\r\n")
    value = json.loads(text, object_pairs_hook=Pairs, parse_constant=refuse, parse_int=Number, parse_float=Number)
    if not isinstance(value, Pairs):
        raise ValueError("not an object")
    return value


def depth(value):
    """Nesting depth; a scalar has none."""
    if isinstance(value, Pairs):
        return 1 + max((depth(inner) for _, inner in value), default=0)
    if isinstance(value, list):
        return 1 + max(map(depth, value), default=0)
    return 0


def strings(value):
    """Every string and key inside a value."""
    if isinstance(value, Pairs):
        for key, inner in value:
            yield key
            yield from strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str) and not isinstance(value, Number):
        yield value


def is_beyond_doubt(line, names, max_depth=256):
    """Whether the scanner must say VALID; ``names`` are the wanted keys as ``str``."""
    try:
        pairs = parse(line)
    except (ValueError, RecursionError):
        return False
    keys = [key for key, _ in pairs]
    if depth(pairs) > max_depth or any(keys.count(name) > 1 for name in names):
        return False
    if any(0xD800 <= ord(character) <= 0xDFFF for string in strings(pairs) for character in string):
        return False
    return not has_escaped_outer_key(line)


def has_escaped_outer_key(line):
    """Whether an outermost key of a valid record is written with a backslash."""
    level, inside, begin, string = 0, False, 0, b""
    position = 0
    while position < len(line):
        byte = line[position]
        if inside:
            if byte == 0x5C:
                position += 1
            elif byte == 0x22:
                inside, string = False, line[begin:position]
        elif byte == 0x22:
            inside, begin = True, position + 1
        elif byte in b"[{":
            level += 1
        elif byte in b"]}":
            level -= 1
        elif byte == 0x3A and level == 1 and b"\\" in string:
            return True
        position += 1
    return False


def kind(value):
    """The kind of a value, by the numbers of the scanner."""
    if value is None:
        return NULL
    if isinstance(value, bool):
        return BOOLEAN
    if isinstance(value, Number):
        return NUMBER
    return STRING if isinstance(value, str) else CONTAINER
