"""The laws of the one merge, on generated trees, and the warning that names variables and layers."""

import copy

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from loguru import logger
from omegaconf import OmegaConf

from curator.config.merge import (
    SecretText,
    describe_override,
    merge_executor_configs,
    overridden_env_vars,
    warn_on_env_var_override,
)

KEYS = st.sampled_from(["a", "b", "c", "env_vars"])
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text("xyz", max_size=3))
LISTS = st.lists(SCALARS, max_size=3)
TREES = st.dictionaries(
    KEYS,
    st.recursive(SCALARS | LISTS, lambda inner: st.dictionaries(KEYS, inner, max_size=3), max_leaves=8),
    max_size=4,
)


def branches(tree, path=()):
    """Paths that are mappings, and paths that are something else."""
    for key, value in tree.items():
        yield (*path, key), isinstance(value, dict)
        if isinstance(value, dict):
            yield from branches(value, (*path, key))


def compatible(*trees):
    """Whether each path is a mapping in all of the trees that have it, or in none."""
    kinds = {}
    return all(kinds.setdefault(path, kind) == kind for tree in trees for path, kind in branches(tree))


def containers(value):
    yield id(value)
    for item in value.values() if isinstance(value, dict) else value:
        if isinstance(item, dict | list):
            yield from containers(item)


@settings(deadline=None)
@given(TREES)
def test_merging_with_nothing_changes_nothing(tree):
    for nothing in ({}, None):
        assert merge_executor_configs(tree, nothing) == tree
        assert merge_executor_configs(nothing, tree) == tree


def test_nothing_merged_with_nothing_is_empty():
    assert merge_executor_configs(None, None) == {}


@settings(deadline=None)
@given(TREES)
def test_merging_a_config_with_itself_changes_nothing(tree):
    assert merge_executor_configs(tree, tree) == tree


@settings(deadline=None)
@given(TREES, TREES)
def test_what_goes_in_is_neither_changed_nor_aliased(base, override):
    before = copy.deepcopy((base, override))
    merged = merge_executor_configs(base, override)
    assert (base, override) == before
    assert not set(containers(merged)) & {*containers(base), *containers(override)}


@settings(deadline=None)
@given(TREES, TREES, TREES)
def test_grouping_makes_no_difference_where_mappings_meet_mappings(first, second, third):
    assume(compatible(first, second, third))
    left = merge_executor_configs(merge_executor_configs(first, second), third)
    right = merge_executor_configs(first, merge_executor_configs(second, third))
    assert left == right


def test_grouping_makes_a_difference_where_a_scalar_meets_a_mapping():
    first, second, third = {"x": {"p": 1}}, {"x": 5}, {"x": {"q": 2}}
    left = merge_executor_configs(merge_executor_configs(first, second), third)
    right = merge_executor_configs(first, merge_executor_configs(second, third))
    assert left == {"x": {"q": 2}}
    assert right == {"x": {"p": 1, "q": 2}}


def clash(base, override):
    """Whether a mapping meets a list, which OmegaConf refuses to merge."""
    for key in base.keys() & override.keys():
        pair = (base[key], override[key])
        if {type(value) for value in pair} == {dict, list}:
            return True
        if all(isinstance(value, dict) for value in pair) and clash(*pair):
            return True
    return False


@settings(deadline=None)
@given(TREES, TREES)
def test_the_merge_is_that_of_omegaconf_wherever_omegaconf_merges(base, override):
    assume(not clash(base, override))
    expected = OmegaConf.to_container(OmegaConf.merge(OmegaConf.create(base), OmegaConf.create(override)))
    merged = merge_executor_configs(base, override)
    assert merged == expected
    assert list(merged) == list(expected)


def test_merge_replaces_lists_instead_of_extending_them():
    assert merge_executor_configs({"pip": ["a"], "x": {"y": 1}}, {"pip": ["b"], "x": [2]}) == {"pip": ["b"], "x": [2]}


def test_null_replaces_and_what_it_replaced_can_come_back():
    assert merge_executor_configs({"runtime_env": {"pip": ["a"]}}, {"runtime_env": None}) == {"runtime_env": None}
    assert merge_executor_configs({"runtime_env": None}, {"runtime_env": {"pip": []}}) == {"runtime_env": {"pip": []}}


@pytest.mark.parametrize(
    ("existing", "merged", "names"),
    [
        ({"A": "1", "B": "2", "C": "3"}, {"A": "x", "B": "2", "C": "y", "D": "4"}, ["A", "C"]),
        ({"A": "1"}, {}, ["A"]),
        ({"A": "1"}, None, ["A"]),
        ({"A": None}, {"A": "1"}, []),
        ({"A": "1"}, {"A": SecretText("1")}, []),
        (None, {"A": "1"}, []),
    ],
)
def test_a_variable_counts_as_overridden_when_its_value_is_another_one(existing, merged, names):
    def config(variables):
        return {"runtime_env": {"env_vars": variables}}

    assert overridden_env_vars(config(existing), config(merged)) == names


@pytest.mark.parametrize("config", [None, {}, {"runtime_env": None}, {"runtime_env": {"env_vars": None}}, {"x": 1}])
def test_configs_without_variables_override_nothing(config):
    assert overridden_env_vars(config, {"runtime_env": {"env_vars": {"A": "1"}}}) == []
    warn_on_env_var_override(config, config)


def test_the_warning_names_variables_and_layers_and_no_value():
    lines = []
    sink = logger.add(lambda message: lines.append(str(message)), format="{level} {message}")
    weaker = {"runtime_env": {"env_vars": {"B": "secret-b", "A": "secret-a"}}}
    merged = merge_executor_configs(weaker, {"runtime_env": {"env_vars": {"A": "new-a", "B": "new-b"}}})
    warn_on_env_var_override(weaker, merged, existing_layer="executor/x.yaml", stronger_layer="command line")
    logger.remove(sink)
    assert lines == ["WARNING runtime_env.env_vars: A, B, set by executor/x.yaml, are changed by command line.\n"]
    assert "%s" not in describe_override(["A"], "x", "y")


def test_the_text_of_a_variable_is_in_no_repr_and_travels_as_text():
    import json
    import pickle

    text = SecretText("open sesame")
    assert "sesame" not in f"{[text]!r} { ({'A': text}) }"
    assert json.loads(json.dumps(text)) == pickle.loads(pickle.dumps(text)) == copy.deepcopy(text) == "open sesame"
