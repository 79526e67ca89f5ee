"""Columns that stages made, written as fields: what was there stays as it was, byte for byte."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator import ConfigError, ExactDeduplication, LocalExecutor, Pipeline, ProcessingStage, Read, Write
from curator.stages.io.added_columns import add_to_lines
from curator.tasks import RawLines


class Length(ProcessingStage):
    """Adds the length of the text, and a word about it."""

    name = "length"

    def inputs(self):
        return ("text",)

    def outputs(self):
        return ("length", "word")

    def process(self, task):
        texts = task.columns["text"].to_pylist()
        words = pa.array(["long" if len(t) > 3 else None for t in texts], pa.large_string())
        task.columns = task.columns.append_column("length", pa.array([len(t) for t in texts], pa.int64()))
        task.columns = task.columns.append_column("word", words)
        return task


def run(tmp_path, source, **options):
    stages = [Read(str(source)), Length(), Write(tmp_path / "out", add_columns=["length", "word"], **options)]
    return Pipeline(stages).run(LocalExecutor(), show_progress=False).output_path


LINES = [
    b'{"text": "abc"}',
    b'  {"id":1,"text":"abcde" , "n": 1.50}  ',
    b'{"length": "old", "text": "ab", "word": {"a": [1, 2]}}',
    b'{"length":7,"text":"\\u00e4}"}\r',
    b'{"te\\u0078t": "wxyz", "length": 1}',
]
PATCHED = [
    b'{"text": "abc", "length": 3, "word": null}',
    b'  {"id":1,"text":"abcde" , "n": 1.50, "length": 5, "word": "long"}  ',
    b'{"length": 2, "text": "ab", "word": null}',
    b'{"length":2,"text":"\\u00e4}", "word": null}\r',
    b'{"text": "wxyz", "length": 4, "word": "long"}',
]


@pytest.mark.parametrize("newline_at_the_end", [True, False])
def test_fields_are_put_into_lines_and_all_other_bytes_stay(tmp_path, newline_at_the_end):
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(LINES) + b"\n" * newline_at_the_end)
    out = run(tmp_path, tmp_path / "in.jsonl")
    assert (out / "part-00000.jsonl").read_bytes() == b"\n".join(PATCHED) + b"\n"


def test_lines_become_parquet_with_typed_columns_and_no_field_twice(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(LINES))
    table = pq.read_table(run(tmp_path, tmp_path / "in.jsonl", format="parquet") / "part-00000.parquet")
    assert table.column_names == ["text", "id", "extra", "length", "word"]
    assert table["length"].to_pylist() == [3, 5, 2, 2, 4]
    assert table.schema.field("length").type == pa.int64()
    assert table["extra"].to_pylist() == [None, '{"n": 1.50}', None, None, None]


def test_an_empty_input_has_the_columns_too(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(b"\n")
    table = pq.read_table(run(tmp_path, tmp_path / "in.jsonl", format="parquet") / "part-00000.parquet")
    assert table.schema.names == ["text", "id", "extra", "length", "word"]
    assert table.schema.field("length").type == pa.int64()


@pytest.mark.parametrize("format", ["input", "jsonl"])
def test_columns_are_appended_to_tables_and_replaced_where_they_stood(tmp_path, format):
    rows = [{"word": 1, "text": "abcd", "id": "x"}, {"word": 2, "text": "a", "id": "y"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in.parquet")
    (path,) = run(tmp_path, tmp_path / "in.parquet", format=format).glob("part*")
    expected = [
        {"word": "long", "text": "abcd", "id": "x", "length": 4},
        {"word": None, "text": "a", "id": "y", "length": 1},
    ]
    if format == "jsonl":
        assert [json.loads(line) for line in path.read_text().splitlines()] == expected
    else:
        assert pq.read_table(path).to_pylist() == expected


names = st.sampled_from(["a", "b", "score", "sco", "ä", 'q"'])
records = st.dictionaries(
    names, st.none() | st.integers() | st.text() | st.lists(st.booleans()) | st.just({"score": 1})
)
scores = st.none() | st.booleans() | st.text(st.characters(exclude_categories=["Cs"])) | st.floats(allow_nan=False)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(records, st.booleans()), min_size=1, max_size=6), scores)
def test_reading_a_line_again_gives_the_record_with_the_field(given_records, score):
    if isinstance(score, float) and abs(score) == float("inf"):
        score = 0.5
    kind = pa.large_string() if isinstance(score, str) else None
    lines = [json.dumps(record, ensure_ascii=ascii_only).encode() for record, ascii_only in given_records]
    ends = np.cumsum([len(line) + 1 for line in lines]) - 1
    starts = np.array([0, *(ends[:-1] + 1)])
    buffer = np.frombuffer(b"\n".join(lines) + b"\n", np.uint8).copy()
    columns = pa.table({"score": pa.array([score] * len(lines), kind)})
    made = add_to_lines(RawLines(buffer, starts, ends, 0), columns, ["score"])
    for (record, _), line in zip(given_records, made, strict=True):
        assert json.loads(line) == {**record, "score": score}
        assert line.endswith(b"\n")


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([Length(), Write("out", add_columns=["lenght"])], r"no stage makes 'lenght'. Did you mean 'length'\?"),
        ([Write("out", add_columns=["score"])], "None of them makes a column"),
        (
            [Length(), ExactDeduplication(), Write("out", add_columns=["length"])],
            r"stages.write: needs the column 'length', which stages.length makes in front of the barrier",
        ),
    ],
    ids=["misspelt", "nobody", "barrier"],
)
def test_a_column_that_the_writer_would_not_have_is_refused(stages, message):
    with pytest.raises(ConfigError, match=message):
        Pipeline([Read("in"), *stages])


def test_a_column_that_is_made_in_front_of_a_barrier_can_be_used_there():
    Pipeline([Read("in"), Length(), ExactDeduplication(keep="max:length"), Write("out")])
    Pipeline([Read("in"), ExactDeduplication(), Length(), Write("out", add_columns=["length"])])


@pytest.mark.parametrize("columns", [["text"], ["a", "a"], "score", [3]])
def test_names_that_cannot_be_added_are_refused(columns):
    with pytest.raises(ConfigError, match=r"write.add_columns"):
        Write("out", add_columns=columns)
