import pyarrow as pa
import pytest

from curator import ConfigError, Pipeline, Read, Write
from curator.stages.text.llm import AskModel
from curator.stages.text.prompt import parse_template


def test_columns_of_any_type_are_filled_in_and_missing_values_are_empty():
    table = pa.table({"text": ["a{b}", None], "stars": [3, None], "url-of": ["x", "y"]})
    template = parse_template("{stars}: {text}{text} {{kept}} {url-of}")
    assert template.columns == ("stars", "text", "url-of")
    assert template.fill(table) == ["3: a{b}a{b} {kept} x", ":  {kept} y"]


def test_values_are_cut_and_the_template_is_not():
    assert parse_template("long words {text}").fill(pa.table({"text": ["abcdef"]}), 3) == ["long words abc"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{text.__class__}", "'{text.__class__}' is no plain name of a column. Write {text}"),
        ("{text[0]}", "no plain name"),
        ("{text!r}", "no plain name"),
        ("{text:>9}", "no plain name"),
        ("{}", "no plain name"),
        ("{0.x}", "no plain name"),
        ("{text", "expected '}'"),
        ("text}", "Single '}'"),
        ("no column", "names no column"),
        ("", "names no column"),
    ],
)
def test_a_template_that_is_none_is_refused_with_what_to_write(template, message):
    with pytest.raises(ConfigError) as caught:
        AskModel(template, {"score": "integer"})
    assert str(caught.value).startswith("llm.prompt: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_a_column_that_no_file_has_is_refused_before_anything_runs_and_the_nearest_is_named(tmp_path, format):
    import pyarrow.parquet as pq

    rows = [{"text": "a", "title": "b"}]
    if format == "jsonl":
        (tmp_path / "a.jsonl").write_text('{"text": "a", "title": "b"}\n')
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    ask = AskModel("{titel} {text}", {"score": "integer"}, endpoint="http://127.0.0.1:1/v1", model="m")
    with pytest.raises(ConfigError, match=r"stages.llm: no field 'titel' .* did you mean 'title'\?"):
        Pipeline([Read(str(tmp_path)), ask, Write(tmp_path / "out")]).plan()
