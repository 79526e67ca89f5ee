"""From DictConfig to plain Python: everything is resolved, and everything that is wrong is named."""

import json

import pytest
from omegaconf import OmegaConf

from curator.config.read import read_config
from curator.errors import ConfigError


def problems_of(**config):
    with pytest.raises(ConfigError) as caught:
        read_config(OmegaConf.create(config))
    return caught.value.problems


def test_the_result_is_plain_python_in_the_order_of_the_config():
    plain = read_config(OmegaConf.create({"b": {"y": 1, "x": [1, {"z": None}]}, "a": "${b.y}"}))
    assert json.dumps(plain) == '{"b": {"y": 1, "x": [1, {"z": null}]}, "a": 1}'
    assert type(plain["b"]) is dict
    assert type(plain["b"]["x"]) is list


def test_the_config_is_neither_changed_nor_aliased():
    config = OmegaConf.create({"a": {"b": [1]}, "c": "${a}"})
    plain = read_config(config)
    plain["a"]["b"].append(2)
    assert plain["c"] == {"b": [1]}
    assert config == {"a": {"b": [1]}, "c": "${a}"}


def test_all_missing_values_are_named_at_once():
    assert problems_of(a="???", b={"c": ["???", 1], "d": "???"}) == [
        "a: a value is missing. Set it: 'a=VALUE'.",
        "b.c.0: a value is missing. Set it: 'b.c.0=VALUE'.",
        "b.d: a value is missing. Set it: 'b.d=VALUE'.",
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("${nowhere}", "'${nowhere}' cannot be resolved: Interpolation key 'nowhere' not found."),
        ("${oc.env:CURATOR_TEST_NOT_SET}", "Environment variable 'CURATOR_TEST_NOT_SET' not found."),
        ("${nope:1}", "'${nope:1}' cannot be resolved: Unsupported interpolation type nope."),
        ("${a}", "'${a}' cannot be resolved"),
    ],
)
def test_an_interpolation_that_fails_is_a_sentence_with_its_place(text, reason):
    (problem,) = problems_of(a=text)
    assert problem.startswith("a: ")
    assert reason in problem
    assert "\n" not in problem


def test_a_mapping_that_interpolates_itself_ends_with_a_sentence():
    assert problems_of(a={"b": "${c}"}, c="${a}") == [
        "a.b: '${c}' cannot be resolved: Interpolation to parent node detected.",
        "c.b: '${c}' cannot be resolved: Interpolation to parent node detected.",
    ]
