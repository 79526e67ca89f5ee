"""The nearest right name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator.config.suggest import nearest, suggest


@pytest.mark.parametrize(
    ("typed", "names", "meant"),
    [
        ("exct", ["exact", "read", "write"], "exact"),
        ("ray_actor_pol", ["local", "ray_actor_pool"], "ray_actor_pool"),
        ("LOCAL", ["local", "ray_actor_pool"], "local"),
        ("lap", ["laptop_ray", "normalised"], "laptop_ray"),
        ("r", ["ray", "run"], None),
        ("zzz", ["local"], None),
        ("", ["local"], None),
        ("local", [], None),
    ],
)
def test_nearest_finds_what_was_meant_or_nothing(typed, names, meant):
    assert nearest(typed, names) == meant


@given(st.text(), st.lists(st.text()))
def test_nearest_is_always_an_allowed_name_and_does_not_depend_on_their_order(typed, names):
    found = nearest(typed, names)
    assert found is None or found in names
    assert found == nearest(typed, list(reversed(names)))


def test_suggest_lists_the_choices_sorted_and_once():
    assert suggest("x", ["b", "a", "b"], kind="options") == "The options are: a, b."


def test_suggest_says_when_there_is_nothing_to_choose():
    assert suggest("x", [], kind="options") == "There are no options here."
