import copy
import pickle

import pytest

from curator import Resources
from curator.stages.resources import parse_label_selector


def test_equal_resources_are_one_key_whatever_the_order_of_their_items():
    one = Resources(custom={"a": 1, "b": 2}, labels={"x": "1", "y": "!2"})
    other = Resources(custom={"b": 2, "a": 1}, labels={"y": "!2", "x": "1"})
    assert one == other
    assert {one: "found"}[other] == "found"
    assert one != Resources(custom={"a": 1})


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy, lambda value: pickle.loads(pickle.dumps(value))])
def test_a_copy_is_equal(copied):
    resources = Resources(cpus=0.5, gpus=2, custom={"slots": 1.5}, labels={"zone": "in(a,b)"})
    assert copied(resources) == resources
    assert hash(copied(resources)) == hash(resources)


def test_resources_cannot_be_changed_not_even_through_the_mapping_they_were_given():
    given = {"zone": "a"}
    resources = Resources(labels=given)
    given["zone"] = "b"
    assert resources.labels == {"zone": "a"}
    with pytest.raises(TypeError):
        resources.labels["zone"] = "b"
    with pytest.raises(AttributeError):
        resources.labels._items = ()
    with pytest.raises(AttributeError):
        resources.cpus = 2


def test_the_repr_shows_custom_resources_and_labels_only_where_there_are_some():
    assert repr(Resources(cpus=2)) == "Resources(cpus=2, gpus=0.0, memory_gb=0.0)"
    assert repr(Resources(custom={"slots": 1})) == "Resources(cpus=1.0, gpus=0.0, memory_gb=0.0, custom={'slots': 1})"


def test_fused_resources_are_the_larger_of_each_amount_and_the_labels_of_both():
    one = Resources(cpus=1, gpus=0.5, custom={"a": 1, "b": 3}, labels={"zone": "z1"})
    other = Resources(cpus=2, memory_gb=4, custom={"a": 2}, labels={"zone": "z1", "kind": "!head"})
    together = Resources(cpus=2, gpus=0.5, memory_gb=4, custom={"a": 2, "b": 3}, labels={"zone": "z1", "kind": "!head"})
    assert one.can_fuse(other)
    assert one.fused(other) == other.fused(one) == together


def test_resources_that_ask_for_two_values_of_one_label_cannot_be_fused():
    one, other = Resources(labels={"zone": "z1"}), Resources(labels={"zone": "z2"})
    assert not one.can_fuse(other)
    assert not other.can_fuse(one)
    with pytest.raises(ValueError, match=r"\['zone'\] are asked to be two things"):
        one.fused(other)


def test_a_blank_in_a_selector_makes_no_difference():
    assert Resources(labels={"zone": "in(a, b)"}) == Resources(labels={"zone": "in(a,b)"})


def test_an_amount_of_zero_asks_for_nothing():
    assert Resources(custom={"slots": 0}) == Resources()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cpus": -1}, r"resources\.cpus=-1: must be at least 0"),
        ({"cpus": float("nan")}, r"resources\.cpus=nan: must be finite"),
        ({"memory_gb": float("inf")}, r"resources\.memory_gb=inf: must be finite"),
        ({"gpus": True}, r"resources\.gpus=True: must be a number"),
        ({"cpus": "2"}, r"resources\.cpus='2': must be a number"),
        ({"gpus": 1.5}, r"resources\.gpus=1\.5: above 1, it must be a whole number"),
        ({"gpus": 0.00001}, r"resources\.gpus=1e-05: the smallest amount is 0\.0001"),
        ({"custom": {"slots": -1}}, r"resources\.custom\.slots=-1: must be at least 0"),
        ({"custom": {"GPU": 1}}, r"resources\.custom\.GPU: has a field of its own, resources\.gpus"),
        ({"custom": {"object_store_memory": 1}}, r"object_store_memory: cannot be asked for"),
        ({"custom": {"": 1}}, r"'' is no name"),
        ({"custom": ["slots"]}, r"resources\.custom=\['slots'\]: must be a mapping"),
        ({"labels": "zone"}, r"resources\.labels='zone': must be a mapping"),
        ({"labels": {"zone": 1}}, r"resources\.labels\.zone=1: must be text"),
        ({"labels": {"-zone": "a"}}, r"resources\.labels: '-zone' is no label"),
        ({"labels": {"zone": "in()"}}, r"resources\.labels\.zone: 'in\(\)' is no label selector"),
    ],
)
def test_resources_that_make_no_sense_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        Resources(**arguments)


@pytest.mark.parametrize(
    ("selector", "matching", "others"),
    [
        ("a", ["a"], ["b", None]),
        ("!a", ["b", None], ["a"]),
        ("in(a,b)", ["a", "b"], ["c", None]),
        ("!in(a, b)", ["c", None], ["a", "b"]),
        ("in", ["in"], ["a"]),
    ],
)
def test_a_selector_matches_the_labels_that_it_names(selector, matching, others):
    read = parse_label_selector(selector)
    assert all(read.matches(label) for label in matching)
    assert not any(read.matches(label) for label in others)


@pytest.mark.parametrize("selector", ["", "!", "(a)", "in(a", "in(a,)", "in(a;b)", "!!a", "-a", "a-", "a b", "x" * 64])
def test_a_text_that_is_no_selector_is_refused(selector):
    with pytest.raises(ValueError, match="is no label selector: one of x, !x"):
        parse_label_selector(selector)
