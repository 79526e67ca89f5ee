"""Is a value what a parameter takes? Types from annotations, choices from ``Literal``, ranges from ``Annotated``.

Plain values of a config flow in, sentences flow out. YAML reads ``no``, ``off``, ``yes`` and ``on`` as booleans and
``010`` as a number; where text is meant, the sentence says to put it in quotes.
"""

from __future__ import annotations

import types
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from curator.config.suggest import suggest

_LIMITS = (
    ("ge", "at least", "__lt__"),
    ("gt", "above", "__le__"),
    ("le", "at most", "__gt__"),
    ("lt", "below", "__ge__"),
)


def hints_of(kind: type) -> dict[str, Any]:
    """Annotations of a constructor's parameters; those that cannot be evaluated are left out.

    Example:
        >>> from curator.stages.resources import Resources
        >>> hints_of(Resources)["cpus"]
        <class 'float'>
    """
    try:
        return get_type_hints(kind.__init__, include_extras=True)  # type: ignore[misc]
    except (NameError, TypeError, AttributeError):
        return {}


def check_value(value: object, hint: Any, path: str) -> list[str]:  # noqa: ANN401
    """Check one value.

    Args:
        value: plain Python.
        hint: the annotation; what is not understood lets everything pass.
        path: where the value stands.

    Returns:
        The problems; none if the value fits.

    Example:
        >>> check_value(False, list[str] | str, "stages.langid.keep")
        ['stages.langid.keep: False must be a list of text, or text. YAML reads no and off as false: put it in quotes.']
        >>> check_value(["en", True], list[str], "stages.langid.keep")
        ['stages.langid.keep.1: True must be text. YAML reads yes and on as true: put it in quotes.']
    """
    if _fits(value, hint):
        return list(_outside(value, hint, path))
    if isinstance(value, list | tuple) and (item := _item_hint(hint)) is not None:
        return [problem for index, each in enumerate(value) for problem in check_value(each, item, f"{path}.{index}")]
    choices = _choices(hint)
    if choices and not isinstance(value, bool):
        return [f"{path}: {value!r} is not known. {suggest(str(value), map(str, choices), kind='choices')}"]
    return [f"{path}: {value!r} must be {_words(hint)}.{_how_to_write(value, hint)}"]


def _fits(value: object, hint: Any) -> bool:  # noqa: ANN401
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _fits(value, arguments[0])
    if origin in (Union, types.UnionType):
        return any(_fits(value, each) for each in arguments)
    if origin is Literal:
        return any(type(value) is type(each) and value == each for each in arguments)
    if hint is None or hint is type(None):
        return value is None
    if hint is bool:
        return isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is str:
        return isinstance(value, str)
    if hint is Path:
        return isinstance(value, str | Path)
    base = origin or hint
    if isinstance(base, type) and issubclass(base, Mapping):
        item = arguments[1] if len(arguments) > 1 else Any
        return isinstance(value, Mapping) and all(_fits(each, item) for each in value.values())
    if isinstance(base, type) and issubclass(base, Collection):
        item = _item_hint(hint)
        is_list = isinstance(value, list | tuple | set | frozenset)
        return is_list and all(_fits(each, Any if item is None else item) for each in value)  # type: ignore[attr-defined]
    return True


def _item_hint(hint: Any) -> Any:  # noqa: ANN401
    """What the items of a list must be; ``None`` if the hint is for no list."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _item_hint(arguments[0])
    if origin in (Union, types.UnionType):
        return next((item for each in arguments if (item := _item_hint(each)) is not None), None)
    base = origin or hint
    if isinstance(base, type) and issubclass(base, Collection) and not issubclass(base, str | bytes | Mapping):
        return arguments[0] if arguments else Any
    return None


def _choices(hint: Any) -> tuple[Any, ...]:  # noqa: ANN401
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return arguments
    if origin in (Union, types.UnionType, Annotated):
        inner = arguments[:1] if origin is Annotated else arguments
        return tuple(choice for each in inner for choice in _choices(each))
    return ()


def _outside(value: object, hint: Any, path: str) -> Iterator[str]:  # noqa: ANN401
    """Limits are objects with ``ge``, ``gt``, ``le`` or ``lt``, as several libraries write them."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        for each in arguments:
            if _fits(value, each):
                yield from _outside(value, each, path)
    if origin is not Annotated or value is None:
        return
    for constraint in arguments[1:]:
        for name, words, beyond in _LIMITS:
            limit = getattr(constraint, name, None)
            if limit is not None and getattr(float(value), beyond)(float(limit)):  # type: ignore[arg-type]
                yield f"{path}: {value!r} must be {words} {limit}."


def _words(hint: Any) -> str:  # noqa: ANN401
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _words(arguments[0])
    if origin in (Union, types.UnionType):
        return ", or ".join(dict.fromkeys(_words(each) for each in arguments))
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    known = {bool: "true or false", int: "a whole number", float: "a number", str: "text", Path: "a path"}
    if hint in known:
        return known[hint]
    if hint is None or hint is type(None):
        return "null"
    if (item := _item_hint(hint)) is not None:
        return "a list" if item is Any else f"a list of {_words(item).removeprefix('a ')}"
    return "a mapping" if isinstance(origin or hint, type) and issubclass(origin or hint, Mapping) else "something else"


def _how_to_write(value: object, hint: Any) -> str:  # noqa: ANN401
    takes_text = "text" in _words(hint) or bool(_choices(hint))
    if isinstance(value, bool) and takes_text:
        return f" YAML reads {'yes and on as true' if value else 'no and off as false'}: put it in quotes."
    if isinstance(value, int | float) and takes_text:
        return " It was read as a number: put it in quotes."
    if isinstance(value, str) and not takes_text and value.lower() in ("none", "nil"):
        return " Nothing is written as null."
    return ""
