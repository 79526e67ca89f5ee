"""What fits a parameter and what does not, and the sentence about it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest

from curator.config.parameters import check_value, hints_of


@dataclass(frozen=True)
class Range:
    ge: float | None = None
    lt: float | None = None


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1, int),
        (1, float),
        (1.5, float),
        (True, bool),
        ("no", str),
        ("a", Path),
        (None, int | None),
        (None, None),
        ("first", Literal["first", "last"]),
        (["a", "b"], list[str]),
        (["a", "b"], Sequence[str]),
        (["a"], str | Sequence[str]),
        ("a", str | Sequence[str]),
        ([1, 2], tuple[int, ...]),
        ({"a": 1}, dict[str, int]),
        ({"a": 1}, Mapping[str, Any]),
        ({"a": [1]}, Any),
        (0.5, Annotated[float, Range(ge=0, lt=1)]),
        (None, Annotated[float, Range(ge=0)] | None),
        (object(), "not understood"),
    ],
)
def test_a_value_that_fits_is_not_talked_about(value, hint):
    assert check_value(value, hint, "x") == []


@pytest.mark.parametrize(
    ("value", "hint", "problem"),
    [
        ("1", int, "x: '1' must be a whole number."),
        (1.0, int, "x: 1.0 must be a whole number."),
        (True, int, "x: True must be a whole number."),
        (True, float, "x: True must be a number."),
        ("no", bool, "x: 'no' must be true or false."),
        (False, str, "x: False must be text. YAML reads no and off as false: put it in quotes."),
        (True, str | None, "x: True must be text, or null. YAML reads yes and on as true: put it in quotes."),
        (8, str, "x: 8 must be text. It was read as a number: put it in quotes."),
        ("None", int | None, "x: 'None' must be a whole number, or null. Nothing is written as null."),
        ("a", list[str], "x: 'a' must be a list of text."),
        (["en", False], list[str], "x.1: False must be text. YAML reads no and off as false: put it in quotes."),
        ([["a"]], list[list[int]], "x.0.0: 'a' must be a whole number."),
        (
            "frist",
            Literal["first", "last"],
            "x: 'frist' is not known. Did you mean 'first'? The choices are: first, last.",
        ),
        (
            False,
            Literal["no", "en"],
            "x: False must be one of no, en. YAML reads no and off as false: put it in quotes.",
        ),
        (True, Literal[1, 2], "x: True must be one of 1, 2. YAML reads yes and on as true: put it in quotes."),
        (-0.5, Annotated[float, Range(ge=0)], "x: -0.5 must be at least 0."),
        (1, Annotated[float, Range(lt=1)] | None, "x: 1 must be below 1."),
        ([1], dict[str, int], "x: [1] must be a mapping."),
    ],
)
def test_a_value_that_does_not_fit_gets_one_sentence(value, hint, problem):
    assert check_value(value, hint, "x") == [problem]


def test_every_bad_item_of_a_list_is_named():
    assert [problem.partition(":")[0] for problem in check_value([1, "a", True], list[int], "x")] == ["x.1", "x.2"]


def test_annotations_that_cannot_be_evaluated_are_no_obstacle():
    class Foreign:
        def __init__(self, a: "NowhereToBeFound", b: int = 1): ...  # noqa: F821

    assert hints_of(Foreign) == {}
