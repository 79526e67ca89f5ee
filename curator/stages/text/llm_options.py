"""The options of the stage that asks a model: what they may be, and what is wrong with them, all of it at once."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from curator.stages.text.answers import AnswerSchema, BrokenAnswerError, read_answer_schema
from curator.stages.text.prompt import PromptTemplate, parse_template

if TYPE_CHECKING:
    from curator.stages.text.llm import AskModel

STRUCTURED = ("json_schema", "json_object", "none")
DEFAULT = "default:"
MOST_AT_ONCE = 1000
"""Connections that the client library keeps at most."""

_OWN = ("max_tokens", "messages", "model", "n", "response_format", "seed", "stream", "temperature")


def check_options(stage: AskModel) -> list[str]:
    """What is wrong with the options, each a sentence that begins with the option's name."""
    problems: list[str] = []
    schema = None
    try:
        parse_template(stage.prompt)
    except ValueError as error:
        problems.append(f"prompt: {error}")
    try:
        schema = read_answer_schema(stage.answer)
    except ValueError as error:
        problems += [f"answer: {line}" for line in str(error).splitlines()]
    if schema is not None:
        try:
            read_on_broken(stage.on_broken, schema)
        except ValueError as error:
            problems.append(f"on_broken: {error}")
    if stage.structured not in STRUCTURED:
        problems.append(f"structured: {stage.structured!r} is not known. Choose from: {', '.join(STRUCTURED)}.")
    problems += _check_server(stage)
    problems += _check_numbers(stage)
    problems += [f"extra.{key}: is an option of its own." for key in stage.extra if key in _OWN and key != "n"]
    problems += [f"extra.{key}: must not be set: one answer is asked for." for key in stage.extra if key == "n"]
    if stage.cache_path == "":
        problems.append("cache_path: is empty. Name a folder, or null to keep no answers.")
    return problems


def read_prompt(prompt: str, answer: Mapping[str, Any]) -> tuple[PromptTemplate, AnswerSchema]:
    """Template and schema, of options that have been checked."""
    return parse_template(prompt), read_answer_schema(answer)


def read_on_broken(said: str, schema: AnswerSchema) -> dict[str, Any] | None:
    """The values that stand in for a broken answer; ``None`` if there are none.

    Raises:
        ValueError: it is neither a word that is known nor an object that the schema takes.

    Example:
        >>> read_on_broken('default:{"score": 0}', read_answer_schema({"score": "integer"}))
        {'score': 0}
    """
    if said in ("quarantine", "remove"):
        return None
    if not isinstance(said, str) or not said.startswith(DEFAULT):
        raise ValueError(f"{said!r} is not known. Choose from: quarantine, remove, default:JSON.")
    try:
        record = json.loads(said.removeprefix(DEFAULT))
        return schema.check(record if isinstance(record, Mapping) else {})
    except (BrokenAnswerError, ValueError) as error:
        raise ValueError(f"{said!r}: {error}. Write an object of all fields, as an answer would be.") from None


def _check_server(stage: AskModel) -> list[str]:
    problems = []
    if stage.endpoint is not None:
        if not re.match(r"https?://[^/\s]+", str(stage.endpoint)):
            problems.append(f"endpoint: {stage.endpoint!r} is no URL. Write http://HOST:PORT/v1.")
        elif re.match(r"https?://[^/\s]*@", stage.endpoint):
            problems.append("endpoint: has a user or a password in it. Set api_key instead.")
        if stage.replicas is not None:
            problems.append(f"endpoint: set it or replicas={stage.replicas!r}, not both.")
        if not stage.model:
            problems.append("model: is missing: which model of the endpoint?")
        return problems
    return [
        f"{key}: is for an endpoint, and there is none; replicas have their own."
        for key in ("model", "revision", "api_key")
        if getattr(stage, key) is not None
    ]


def _check_numbers(stage: AskModel) -> list[str]:
    counts = {
        "max_concurrency": (1, MOST_AT_ONCE),
        "attempts": (1, 100),
        "answer_attempts": (1, 100),
        "max_tokens": (1, 1 << 24),
        "max_characters": (1, 1 << 30),
        "seed": (0, 1 << 31),
    }
    problems = []
    for key, (low, high) in counts.items():
        value = getattr(stage, key)
        may_be_null = key in ("max_tokens", "max_characters", "seed")
        if value is None and may_be_null:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            or_null = ", or null" if may_be_null else ""
            problems.append(f"{key}={value!r}: must be a whole number from {low} to {high:,}{or_null}.")
    for key, above in (("deadline_s", 0.0), ("unavailable_s", 0.0)):
        value = getattr(stage, key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not above < value < math.inf:
            problems.append(f"{key}={value!r}: must be a number of seconds above 0.")
    value = stage.temperature
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 2:
        problems.append(f"temperature={value!r}: must be a number from 0 to 2.")
    return problems
