"""The judge of unusual JSON lines: the standard library's parser, made strict.

A line that the scanner of ``kernels/json_records.py`` does not vouch for comes here as bytes; a verdict flows out: the
values of the wanted fields, or the reason why the record goes to the quarantine. All reasons that a quarantine knows,
the last six from stages behind the reader:

==================  =====================================================================================
truncated           the last line of a file has no line feed and is not valid JSON: its writer died
bad_unicode         not UTF-8, or an escape that names half a surrogate pair
json_parse          not JSON, or more than one value in the line
not_an_object       JSON, but no object
non_finite          ``NaN`` or ``Infinity``, which JSON does not have
too_deep            nested deeper than ``max_depth``
too_large           longer than ``max_record_bytes``
missing_text        the text field is not there
null_text           it is ``null``
text_not_string     it is a number, a list, an object or a boolean
corrupt_stream      the compressed file is damaged here; what came before it has been read
truncated_stream    the compressed file ends too early
trailing_garbage    bytes that belong to no compressed stream follow one
unreadable_rows     a row group of a Parquet file cannot be read
stage_error         a stage raises an exception whenever it gets this record
killed_worker       the worker dies whenever a stage gets this record
out_of_memory       the worker runs out of memory whenever a stage gets this record
timeout             a stage does not come back in time whenever it gets this record
no_answer           no replica of a model answers when asked about this record
broken_answer       a model answers, but never what the schema of the answer takes
==================  =====================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Never

UNREADABLE_ROWS = "unreadable_rows"

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the judge found.

    Args:
        reason: why the record is bad; empty for a good one.
        detail: the parser's own words.
        values: for each wanted field its text (a string as it is, any other value as JSON) or ``None``.
        kinds: for each wanted field ``string``, ``null``, ``missing`` or ``other``.
    """

    reason: str = ""
    detail: str = ""
    values: tuple[str | None, ...] = ()
    kinds: tuple[str, ...] = ()


class BadRecordError(Exception):
    """A line is no record; ``reason`` is the word for the quarantine."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason = reason
        super().__init__(detail)


def judge(line: bytes, fields: Sequence[str], *, max_depth: int, unterminated: bool = False) -> Verdict:
    r"""Decide about one line that the fast scanner did not accept.

    Of a key that appears twice the last value counts, as in every JSON library.

    Args:
        line: the line without its line feed.
        fields: names of the wanted fields.
        max_depth: deepest nesting that is accepted.
        unterminated: the line is the last of its file and has no line feed.

    Returns:
        The verdict; this function raises nothing.

    Example:
        >>> judge(rb'{"text": "a", "te\u0078t": "b"}', ["text"], max_depth=9).values
        ('b',)
        >>> judge(b'{"text": NaN}', ["text"], max_depth=9).reason
        'non_finite'
    """
    try:
        record = parse(line, max_depth)
    except BadRecordError as error:
        if unterminated and error.reason == "json_parse" and "Extra data" not in str(error):
            return Verdict("truncated", f"no line feed at the end; {error}")
        return Verdict(error.reason, str(error))
    values: list[str | None] = []
    kinds: list[str] = []
    for field in fields:
        value = record.get(field)
        if isinstance(value, str) and not isinstance(value, ExactNumber):
            kinds.append("string")
            values.append(value)
        elif value is None:
            kinds.append("null" if field in record else "missing")
            values.append(None)
        else:
            kinds.append("other")
            values.append(render(value))
    return Verdict(values=tuple(values), kinds=tuple(kinds))


def parse(line: bytes, max_depth: int) -> dict[str, Any]:
    """One record by the strict parser; numbers become ``ExactNumber``.

    Raises:
        BadRecordError: it is none, with the reason.
    """
    if line.startswith(_BYTE_ORDER_MARK):
        line = line[len(_BYTE_ORDER_MARK) :]
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadRecordError("bad_unicode", f"not UTF-8: byte {line[error.start]:#04x} at {error.start}") from None
    if _depth(line) > max_depth:
        raise BadRecordError("too_deep", f"nested deeper than {max_depth}")
    try:
        record = json.loads(text, parse_constant=_refuse_constant, parse_int=ExactNumber, parse_float=ExactNumber)
    except ValueError as error:
        raise BadRecordError("json_parse", str(error)) from None
    except RecursionError:
        raise BadRecordError("too_deep", "nested deeper than the parser can go") from None
    if not isinstance(record, dict):
        raise BadRecordError("not_an_object", f"a JSON {type(record).__name__}, not an object")
    if "\\u" in text:
        _refuse_lone_surrogates(record)
    return record


class ExactNumber(str):
    """A number as it was written: nothing here computes with it, and no precision is lost."""

    __slots__ = ()


def render(value: object) -> str:
    """A parsed value as JSON again, its numbers as they were written.

    Example:
        >>> render(parse(b'{"a": [1.50]}', max_depth=9))
        '{"a": [1.50]}'
    """
    if isinstance(value, ExactNumber):
        return str(value)
    parts = []  # plain loops: a generator or map would be a second call on the stack for each level
    if isinstance(value, dict):
        for key, item in value.items():
            parts.append(f"{json.dumps(key, ensure_ascii=False)}: {render(item)}")
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, list):
        for item in value:
            parts.append(render(item))  # noqa: PERF401
        return "[" + ", ".join(parts) + "]"
    return json.dumps(value, ensure_ascii=False)


def _refuse_constant(name: str) -> Never:
    raise BadRecordError("non_finite", f"{name} is not JSON")


def _refuse_lone_surrogates(value: object) -> None:
    stack = [value]
    while stack:
        value = stack.pop()
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise BadRecordError("bad_unicode", "an escape names half a surrogate pair") from None
        elif isinstance(value, dict):
            stack.extend(value)
            stack.extend(value.values())
        elif isinstance(value, list):
            stack.extend(value)


def _depth(line: bytes) -> int:
    """Deepest nesting of brackets outside strings, without recursion."""
    if line.count(b"[") + line.count(b"{") < 2:
        return 1
    depth = deepest = 0
    in_string = escaped = False
    for byte in line:
        if in_string:
            if escaped:
                escaped = False
            elif byte == 0x5C:
                escaped = True
            elif byte == 0x22:
                in_string = False
        elif byte == 0x22:
            in_string = True
        elif byte in (0x5B, 0x7B):
            depth += 1
            deepest = max(deepest, depth)
        elif byte in (0x5D, 0x7D):
            depth -= 1
    return deepest
