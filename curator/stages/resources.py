"""What one worker of a stage occupies, and on which nodes it may be: numbers and label selectors in, nothing done.

Refused: amounts that are negative, no numbers, or finer than Ray counts; label selectors that Ray does not know.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

SMALLEST_AMOUNT = 0.0001
"""The grain in which Ray counts; an amount is cut to it, and one below it is refused."""

Value = TypeVar("Value")

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.\-]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"(?:[A-Za-z0-9](?:[A-Za-z0-9.\-]{{0,251}}[A-Za-z0-9])?/)?{_NAME}")
_ONE_VALUE = re.compile(rf"(?P<negated>!?)(?P<value>{_NAME})")
_VALUES = re.compile(rf"(?P<negated>!?)in\((?P<values>{_NAME}(?:, ?{_NAME})*)\)")

_FIELD_OF = {"CPU": "cpus", "GPU": "gpus", "memory": "memory_gb"}


class FrozenMapping(Mapping[str, Value]):
    """A mapping that cannot be changed, in the order of its keys; equal to any mapping with the same items.

    Example:
        >>> FrozenMapping({"b": 2, "a": 1})
        {'a': 1, 'b': 2}
    """

    __slots__ = ("_items",)
    _items: tuple[tuple[str, Value], ...]

    def __init__(self, items: Mapping[str, Value] | None = None) -> None:
        object.__setattr__(self, "_items", tuple(sorted((items or {}).items(), key=lambda item: item[0])))

    def __getitem__(self, key: str) -> Value:
        for name, value in self._items:
            if name == key:
                return value
        raise KeyError(key)

    def __iter__(self) -> Iterator[str]:
        return (name for name, _ in self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __hash__(self) -> int:
        return hash(self._items)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a FrozenMapping cannot be changed: {name!r} was to be set.")

    def __reduce__(self) -> tuple[type, tuple[dict[str, Value]]]:
        return type(self), (dict(self._items),)

    def __repr__(self) -> str:
        return repr(dict(self._items))


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """What a node's label must be: one of some values, or none of them.

    Args:
        values: the values.
        negated: whether the label must be none of them; a node without the label is fine then.
    """

    values: frozenset[str]
    negated: bool = False

    def matches(self, label: str | None) -> bool:
        """Whether a node may be used whose label is ``label``, ``None`` if it has none."""
        return (label in self.values) is not self.negated


def parse_label_selector(text: str) -> LabelSelector:
    """Read a label selector as Ray writes it.

    Args:
        text: ``x``, ``!x``, ``in(x,y)`` or ``!in(x,y)``.

    Raises:
        ValueError: it is none of these.

    Example:
        >>> parse_label_selector("!in(a, b)").matches("c")
        True
    """
    if match := _ONE_VALUE.fullmatch(text):
        return LabelSelector(frozenset([match["value"]]), bool(match["negated"]))
    if match := _VALUES.fullmatch(text):
        return LabelSelector(frozenset(re.split(", ?", match["values"])), bool(match["negated"]))
    raise ValueError(
        f"{text!r} is no label selector: one of x, !x, in(x,y), !in(x,y), where x and y begin and end with a letter or "
        "digit and have at most 63 of letters, digits, '-', '_' and '.'."
    )


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Resources:
    """Resources of one worker; a scheduler reserves them, nobody enforces them.

    Args:
        cpus: CPU cores, a fraction is allowed, at least 0.
        gpus: GPUs, a fraction below 1 or a whole number.
        memory_gb: memory in GB; 0 asks for nothing.
        custom: amounts of resources that nodes were started with, by name.
        labels: what labels of a node must be: ``x``, ``!x``, ``in(x,y)`` or ``!in(x,y)``, by label.

    Raises:
        ValueError: an amount is negative, not finite, no number or below 0.0001; more than one GPU is asked for, and
            not a whole number of them; a name is reserved; a selector cannot be read.

    Example:
        >>> Resources(cpus=2).fused(Resources(gpus=1))
        Resources(cpus=2, gpus=1, memory_gb=0.0)
        >>> Resources(labels={"zone": "in(a,b)"})
        Resources(cpus=1.0, gpus=0.0, memory_gb=0.0, labels={'zone': 'in(a,b)'})
    """

    cpus: float = 1.0
    gpus: float = 0.0
    memory_gb: float = 0.0
    custom: Mapping[str, float] = FrozenMapping()
    labels: Mapping[str, str] = FrozenMapping()

    def __post_init__(self) -> None:
        for name in ("cpus", "gpus", "memory_gb"):
            _check_amount(f"resources.{name}", getattr(self, name))
        if self.gpus > 1 and self.gpus != int(self.gpus):
            raise ValueError(f"resources.gpus={self.gpus!r}: above 1, it must be a whole number of GPUs.")
        object.__setattr__(self, "custom", FrozenMapping(_checked_custom(self.custom)))
        object.__setattr__(self, "labels", FrozenMapping(_checked_labels(self.labels)))

    def can_fuse(self, other: Resources) -> bool:
        """Whether one worker can be where both may be: no label is asked to be two things."""
        return all(other.labels.get(key, selector) == selector for key, selector in self.labels.items())

    def fused(self, other: Resources) -> Resources:
        """What one worker needs that runs both stages, one after the other.

        Raises:
            ValueError: the two ask for different values of one label; see ``can_fuse``.
        """
        if not self.can_fuse(other):
            both = [key for key, selector in self.labels.items() if other.labels.get(key, selector) != selector]
            raise ValueError(f"resources.labels: {both} are asked to be two things: {self.labels} and {other.labels}.")
        names = sorted({*self.custom, *other.custom})
        return Resources(
            cpus=max(self.cpus, other.cpus),
            gpus=max(self.gpus, other.gpus),
            memory_gb=max(self.memory_gb, other.memory_gb),
            custom={name: max(self.custom.get(name, 0.0), other.custom.get(name, 0.0)) for name in names},
            labels={**self.labels, **other.labels},
        )

    def __repr__(self) -> str:
        amounts = f"cpus={self.cpus!r}, gpus={self.gpus!r}, memory_gb={self.memory_gb!r}"
        rest = "".join(f", {name}={getattr(self, name)!r}" for name in ("custom", "labels") if getattr(self, name))
        return f"Resources({amounts}{rest})"


def _check_amount(where: str, amount: Any) -> None:  # noqa: ANN401
    if isinstance(amount, bool) or not isinstance(amount, int | float):
        raise ValueError(f"{where}={amount!r}: must be a number.")
    if not math.isfinite(amount):
        raise ValueError(f"{where}={amount!r}: must be finite.")
    if amount < 0:
        raise ValueError(f"{where}={amount!r}: must be at least 0.")
    if 0 < amount < SMALLEST_AMOUNT:
        raise ValueError(f"{where}={amount!r}: the smallest amount is {SMALLEST_AMOUNT}; 0 asks for nothing.")


def _checked_custom(custom: Any) -> dict[str, float]:  # noqa: ANN401
    if not isinstance(custom, Mapping):
        raise ValueError(f"resources.custom={custom!r}: must be a mapping of names to amounts.")
    for name, amount in custom.items():
        if not isinstance(name, str) or not name:
            raise ValueError(f"resources.custom: {name!r} is no name of a resource.")
        if name in _FIELD_OF:
            raise ValueError(f"resources.custom.{name}: has a field of its own, resources.{_FIELD_OF[name]}.")
        if name == "object_store_memory":
            raise ValueError(f"resources.custom.{name}: cannot be asked for; it is shared by all workers of a node.")
        _check_amount(f"resources.custom.{name}", amount)
    return {name: amount for name, amount in custom.items() if amount}


def _checked_labels(labels: Any) -> dict[str, str]:  # noqa: ANN401
    if not isinstance(labels, Mapping):
        raise ValueError(f"resources.labels={labels!r}: must be a mapping of labels to selectors.")
    checked = {}
    for key, selector in labels.items():
        if not isinstance(key, str) or not _LABEL_KEY.fullmatch(key):
            raise ValueError(f"resources.labels: {key!r} is no label; one looks like 'zone' or 'ray.io/node-id'.")
        if not isinstance(selector, str):
            raise ValueError(f"resources.labels.{key}={selector!r}: must be text, such as 'x' or 'in(x,y)'.")
        try:
            parse_label_selector(selector)
        except ValueError as error:
            raise ValueError(f"resources.labels.{key}: {error}") from None
        checked[key] = selector.replace(" ", "")
    return checked
