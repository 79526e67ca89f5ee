import json

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator import ConfigError
from curator.stages.text.answers import BrokenAnswerError, read_answer_schema
from curator.stages.text.llm import AskModel

SCHEMA = read_answer_schema(
    {
        "score": {"type": "integer", "min": 0, "max": 5},
        "share": {"type": "number", "max": 1, "optional": True},
        "label": {"type": "string", "choices": ["good", "bad"]},
        "sure": "boolean",
    }
)
GOOD = {"score": 4, "share": 0.5, "label": "good", "sure": True}


def test_an_answer_becomes_typed_values():
    assert SCHEMA.parse(json.dumps(GOOD | {"more": [1]})) == GOOD
    assert [field.type for field in SCHEMA.arrow_fields()] == [pa.int64(), pa.float64(), pa.large_string(), pa.bool_()]
    assert isinstance(SCHEMA.parse(json.dumps(GOOD | {"share": 1}))["share"], float)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "Here it is: {} as you asked.",
        "```json\n{}\n```",
        "<think>{{maybe}} {no: json}</think>{}",
        '{"score": 1} {}',
    ],
)
def test_text_around_the_first_object_is_passed_over(text):
    text = text.replace("{}", json.dumps(GOOD))
    if text.startswith('{"score": 1}'):
        with pytest.raises(BrokenAnswerError, match="'label' is missing"):
            SCHEMA.parse(text)
    else:
        assert SCHEMA.parse(text) == GOOD


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"score": 6}, "'score' is 6, above 5"),
        ({"score": -1}, "below 0"),
        ({"score": "4"}, "'4', not of type integer"),
        ({"score": 4.0}, "not of type integer"),
        ({"score": True}, "not of type integer"),
        ({"score": 10**30}, "not of type integer"),
        ({"score": None}, "missing or null"),
        ({"label": "ugly"}, "not one of good, bad"),
        ({"label": ["good"]}, "not of type string"),
        ({"sure": "yes"}, "not of type boolean"),
        ({"share": 2}, "above 1"),
    ],
)
def test_a_value_that_does_not_fit_is_broken_with_the_reason(change, reason):
    with pytest.raises(BrokenAnswerError, match=reason):
        SCHEMA.parse(json.dumps(GOOD | change))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no JSON object in ''"),
        ("4", "no JSON object"),
        ("[1, 2]", "no JSON object"),
        ('{"score": 4', "no JSON"),
        ('{"score": NaN}', "NaN is not JSON"),
        ("{" * 100_000, "no JSON"),
        ('{"a": ' * 100_000, "no JSON"),
        ('{"label": "\\ud800"}', "half a surrogate pair"),
    ],
)
def test_what_is_no_object_is_broken_quickly_and_in_words(text, reason):
    with pytest.raises(BrokenAnswerError, match=reason) as caught:
        SCHEMA.parse(text)
    assert len(str(caught.value)) < 300


@settings(max_examples=50, deadline=None)
@given(st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_whatever_a_model_says_is_an_answer_or_broken(text):
    try:
        values = SCHEMA.parse(text)
    except BrokenAnswerError:
        return
    assert set(values) == set(GOOD)


values = st.fixed_dictionaries(
    {
        "score": st.integers(0, 5),
        "share": st.none() | st.floats(-1e9, 1),
        "label": st.sampled_from(["good", "bad"]),
        "sure": st.booleans(),
    }
)


@settings(max_examples=50, deadline=None)
@given(values)
def test_what_fits_comes_out_as_it_went_in(record):
    assert SCHEMA.parse(json.dumps(record)) == record


def test_the_schema_is_said_in_json_schema():
    said = SCHEMA.json_schema()
    assert said["required"] == ["score", "share", "label", "sure"]
    assert said["properties"]["score"] == {"type": "integer", "minimum": 0, "maximum": 5}
    assert said["properties"]["share"] == {"type": ["number", "null"], "maximum": 1}
    assert said["properties"]["label"] == {"type": "string", "enum": ["good", "bad"]}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({}, "has no field"),
        ({"score": {"type": "int"}}, "answer: score.type: 'int' is not known. Choose from: boolean, integer"),
        ({"score": {"type": "integer", "least": 0}}, "score.least: there is no such key"),
        ({"score": {"type": "integer", "min": 3, "max": 2}}, "score.min: 3 is above max, 2"),
        ({"score": {"type": "boolean", "min": 3}}, "must be a number, and not for type boolean"),
        ({"score": {"type": "integer", "choices": ["a"]}}, "must be a list of values of type integer"),
        ({"score": {"type": "string", "choices": "ab"}}, "must be a list"),
        ({"text": "string"}, "cannot be the name of an answer"),
        ({"a b": "string"}, "cannot be the name"),
        ({"score": 3}, "neither a type nor a mapping"),
        ({"score": {"type": "string", "optional": "no"}}, "must be true or false"),
    ],
)
def test_a_schema_that_is_none_is_refused_by_field(answer, message):
    with pytest.raises(ConfigError) as caught:
        AskModel("{text}", answer)
    assert message in str(caught.value)
