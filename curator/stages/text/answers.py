"""Answers of a model: text in, typed columns out, and nothing between them but JSON that a schema accepts.

A model is asked for one JSON object. Whatever else it says, and whatever a document has told it to say, an answer is
either an object whose fields are of the right types, in range and among the choices, or it is broken, with the reason.
Text around the object is passed over; a number in quotes is no number.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Never

import pyarrow as pa

TYPES = ("boolean", "integer", "number", "string")
_ARROW_TYPES = {"boolean": pa.bool_(), "integer": pa.int64(), "number": pa.float64(), "string": pa.large_string()}
_KEYS = ("choices", "max", "min", "optional", "type")
_NAME = re.compile(r"[A-Za-z_]\w*")
_LARGEST = 1 << 53  # beyond it, JSON readers disagree about integers
_SHOWN = 120


class BrokenAnswerError(Exception):
    """A model said something that is no answer; the text of the exception says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerField:
    """One field of an answer, and the column that it becomes.

    Args:
        type: ``boolean``, ``integer``, ``number`` or ``string``.
        min: smallest number, or fewest characters of a string; ``None`` for no limit.
        max: largest number, or most characters of a string.
        choices: the values that are allowed; ``None`` for any.
        optional: whether it may be missing or ``null``.
    """

    type: str
    min: float | None = None
    max: float | None = None
    choices: tuple[Any, ...] | None = None
    optional: bool = False

    def json_schema(self) -> dict[str, Any]:
        """The field as JSON Schema says it, for servers that hold a model to it."""
        low, high = ("minLength", "maxLength") if self.type == "string" else ("minimum", "maximum")
        limits = {low: self.min, high: self.max, "enum": None if self.choices is None else list(self.choices)}
        kinds: str | list[str] = [self.type, "null"] if self.optional else self.type
        if self.optional and self.choices is not None:
            limits["enum"] = [*self.choices, None]
        return {"type": kinds, **{key: value for key, value in limits.items() if value is not None}}

    def check(self, name: str, value: Any) -> Any:  # noqa: ANN401
        """The value as it goes into the column.

        Raises:
            BrokenAnswerError: it does not fit.
        """
        if value is None:
            if self.optional:
                return None
            raise BrokenAnswerError(f"field {name!r} is missing or null")
        if not _is_of(self.type, value):
            raise BrokenAnswerError(f"field {name!r} is {_shown(value)}, not of type {self.type}")
        if self.choices is not None and value not in self.choices:
            raise BrokenAnswerError(
                f"field {name!r} is {_shown(value)}, not one of {', '.join(map(str, self.choices))}"
            )
        measured, unit = (len(value), " characters") if self.type == "string" else (value, "")
        if self.min is not None and measured < self.min:
            raise BrokenAnswerError(f"field {name!r} is {_shown(value)}, below {self.min:g}{unit}")
        if self.max is not None and measured > self.max:
            raise BrokenAnswerError(f"field {name!r} is {_shown(value)}, above {self.max:g}{unit}")
        return float(value) if self.type == "number" else value


@dataclass(frozen=True, slots=True)
class AnswerSchema:
    """What a whole answer is: an object with these fields; others are passed over."""

    fields: Mapping[str, AnswerField]

    def json_schema(self) -> dict[str, Any]:
        """The schema as JSON Schema.

        Example:
            >>> read_answer_schema({"score": {"type": "integer", "min": 1}}).json_schema()["properties"]
            {'score': {'type': 'integer', 'minimum': 1}}
        """
        return {
            "type": "object",
            "properties": {name: field.json_schema() for name, field in self.fields.items()},
            "required": list(self.fields),
            "additionalProperties": False,
        }

    def arrow_fields(self) -> list[pa.Field]:
        """The columns that answers become."""
        return [pa.field(name, _ARROW_TYPES[field.type]) for name, field in self.fields.items()]

    def check(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """The values of all fields.

        Raises:
            BrokenAnswerError: one of them does not fit.
        """
        return {name: field.check(name, record.get(name)) for name, field in self.fields.items()}

    def parse(self, text: str) -> dict[str, Any]:
        """Read an answer.

        Args:
            text: what the model said.

        Raises:
            BrokenAnswerError: there is no JSON object in it, or one that does not fit.

        Example:
            >>> read_answer_schema({"score": "integer"}).parse('My judgement: {"score": 4}.')
            {'score': 4}
        """
        return self.check(_first_object(text))


def read_answer_schema(said: Mapping[str, Any]) -> AnswerSchema:
    """Check what a config says about answers.

    Args:
        said: by field, its type, or a mapping of ``type``, ``min``, ``max``, ``choices`` and ``optional``.

    Raises:
        ValueError: something is wrong with it; every mistake is a line of the message, and names its field.

    Example:
        >>> read_answer_schema({"score": {"type": "int"}})
        Traceback (most recent call last):
        ...
        ValueError: score.type: 'int' is not known. Choose from: boolean, integer, number, string.
    """
    problems: list[str] = []
    fields: dict[str, AnswerField] = {}
    for name, value in said.items():
        described = {"type": value} if isinstance(value, str) else value
        found = _problems(str(name), described)
        problems += found
        if not found:
            choices = described.get("choices")
            fields[str(name)] = AnswerField(**{**described, "choices": None if choices is None else tuple(choices)})
    if not said:
        problems.append("has no field. Write one, for example {score: {type: integer, min: 1, max: 5}}.")
    if problems:
        raise ValueError("\n".join(problems))
    return AnswerSchema(fields)


def _problems(name: str, described: Any) -> list[str]:  # noqa: ANN401
    if not _NAME.fullmatch(name) or name in ("text", "id"):
        return [f"{name}: cannot be the name of an answer: letters, digits and '_', and neither 'text' nor 'id'."]
    if not isinstance(described, Mapping):
        return [f"{name}: {described!r} is neither a type nor a mapping such as {{type: integer, min: 1, max: 5}}."]
    problems = [f"{name}.{key}: there is no such key: {', '.join(_KEYS)}." for key in described if key not in _KEYS]
    kind = described.get("type")
    if kind not in TYPES:
        return [*problems, f"{name}.type: {kind!r} is not known. Choose from: {', '.join(TYPES)}."]
    limits = {key: described[key] for key in ("min", "max") if described.get(key) is not None}
    problems += [
        f"{name}.{key}: {limit!r} must be a number, and not for type {kind}."
        for key, limit in limits.items()
        if kind == "boolean" or isinstance(limit, bool) or not isinstance(limit, int | float)
    ]
    if not problems and len(limits) == 2 and limits["min"] > limits["max"]:
        problems.append(f"{name}.min: {limits['min']!r} is above max, {limits['max']!r}.")
    choices = described.get("choices")
    is_list = isinstance(choices, Sequence) and not isinstance(choices, str)
    if choices is not None and not (is_list and choices and all(_is_of(kind, choice) for choice in choices)):
        problems.append(f"{name}.choices: {choices!r} must be a list of values of type {kind}.")
    if not isinstance(described.get("optional", False), bool):
        problems.append(f"{name}.optional: {described['optional']!r} must be true or false.")
    return problems


def _is_of(kind: str, value: Any) -> bool:  # noqa: ANN401
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "string":
        return isinstance(value, str)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    if kind == "integer":
        return isinstance(value, int) and abs(value) <= _LARGEST
    return abs(value) <= _LARGEST if isinstance(value, int) else math.isfinite(value)


def _first_object(text: str) -> dict[str, Any]:
    """The first JSON object in a text that is one from brace to brace."""
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    reason = f"no JSON object in {_shown(text)}"
    position = text.find("{")
    for _ in range(16):  # a text of braces alone must not cost the square of its length
        if position < 0:
            break
        try:
            found, _end = decoder.raw_decode(text, position)
        except (ValueError, RecursionError) as error:
            reason = f"no JSON: {error.msg if isinstance(error, json.JSONDecodeError) else error}: {_shown(text)}"
        else:
            return _without_surrogates(found)
        position = text.find("{", position + 1)
    raise BrokenAnswerError(reason)


def _without_surrogates(found: dict[str, Any]) -> dict[str, Any]:
    for value in found.values():
        if isinstance(value, str):
            try:
                value.encode()
            except UnicodeEncodeError:
                raise BrokenAnswerError("an escape names half a surrogate pair") from None
    return found


def _refuse_constant(name: str) -> Never:
    raise ValueError(f"{name} is not JSON")


def _shown(value: Any) -> str:  # noqa: ANN401
    shown = ascii(value)
    return shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 3]}..."
