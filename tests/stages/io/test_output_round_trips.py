"""What was not removed leaves as it came: bytes of lines, values and types of columns."""

import datetime
import decimal
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator import ConfigError, ExactDeduplication, LocalExecutor, Pipeline, Read, Write, verify_output
from curator.stages.io.byte_stream import zstd

LINES = [
    b'{"id": "a", "text": "one"}',
    b'  {"text" : "tw\\u006f",\t"id":1.50, "n": 1e999, "big": ' + b"7" * 5000 + b"}  ",
    b'{"text": "\xc3\xa4 \xe2\x80\xa8 \xf0\x9f\x98\x80 \\ud83d\\ude00 \\/", "x": {"y": [1, {"z": null}]}}',
    b'{"id": "dup", "text": "one", "other": true}',
    b'{"id": null, "text": "", "text": "last wins"}',
    b'{"text": "", "id": []}',
    b'{"text": "", "id": {}}',
    b'{"text": "cr at the end"}\r',
    b'{"": 1, "a.b": 2, "a": {"b": 3}, "__index_level_0__": 4, "text": "names"}',
]
KEPT = [line for line in LINES if b'"dup"' not in line]
CONTENT = b"\xef\xbb\xbf" + b"\n".join([*LINES[:4], b"", b" \t", *LINES[4:]])  # a BOM, blank lines, no last line feed


def run(source, output, **options):
    stages = [Read(str(source), split_bytes=options.pop("split_bytes", None)), ExactDeduplication()]
    result = Pipeline([*stages, Write(output, durability="fast", **options)]).run(LocalExecutor(), show_progress=False)
    assert verify_output(output).problems == []
    return result


def unpack(path):
    content = path.read_bytes()
    return {".gz": gzip.decompress, ".zst": zstd.decompress}.get(path.suffix, bytes)(content)


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "jsonl.zst"])
@pytest.mark.parametrize("packed", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_kept_lines_are_the_bytes_of_the_input(packed, form, tmp_path):
    pack = {"gz": lambda data: gzip.compress(data), "zst": zstd.compress}.get(packed[6:], bytes)
    source = tmp_path / f"a.{packed}"
    source.write_bytes(pack(CONTENT))
    result = run(source, tmp_path / "out", format=form)
    assert result.counts == {"read": 9, "kept": 8, "removed": 1, "quarantined": 0}
    (part,) = (tmp_path / "out").glob("part-*")
    assert part.name == f"part-00000.{form}"
    assert unpack(part) == b"\xef\xbb\xbf" + b"".join(line + b"\n" for line in KEPT)


@pytest.mark.parametrize("split_bytes", [40, 333, 5_000])
def test_kept_lines_stay_the_same_however_the_file_is_split(split_bytes, tmp_path):
    source = tmp_path / "a.jsonl"
    source.write_bytes(CONTENT[3:])
    run(source, tmp_path / "out", split_bytes=split_bytes)
    parts = sorted((tmp_path / "out").glob("part-*"))
    assert b"".join(map(unpack, parts)) == b"".join(line + b"\n" for line in KEPT)


def test_the_input_format_is_kept_file_by_file(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(b'{"text": "a"}\n')
    (folder / "b.jsonl.gz").write_bytes(gzip.compress(b'{"text": "b"}\n'))
    (folder / "c.jsonl.zst").write_bytes(zstd.compress(b'{"text": "c"}\n'))
    pq.write_table(pa.table({"text": ["d"]}), folder / "d.parquet")
    run(folder, tmp_path / "out")
    parts = sorted(path.name for path in (tmp_path / "out").glob("part-*"))
    assert parts == ["part-00000.jsonl", "part-00001.jsonl.gz", "part-00002.jsonl.zst", "part-00003.parquet"]
    assert [unpack(tmp_path / "out" / name) for name in parts[:3]] == [b'{"text": "%c"}\n' % c for c in b"abc"]


def test_json_lines_become_parquet_with_their_other_fields_as_json(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(LINES))
    run(tmp_path / "a.jsonl", tmp_path / "out", format="parquet")
    table = pq.read_table(tmp_path / "out" / "part-00000.parquet")
    assert table.column_names == ["text", "id", "extra"]
    rows = table.to_pylist()
    assert [row["text"] for row in rows] == [
        "one",
        "two",
        "ä \u2028 😀 😀 /",
        "last wins",
        "",
        "",
        "cr at the end",
        "names",
    ]
    assert [row["id"] for row in rows] == ["a", "1.50", None, None, "[]", "{}", None, None]
    assert rows[1]["extra"] == '{"n": 1e999, "big": ' + "7" * 5000 + "}"
    assert json.loads(rows[2]["extra"]) == {"x": {"y": [1, {"z": None}]}}
    assert json.loads(rows[7]["extra"]) == {"": 1, "a.b": 2, "a": {"b": 3}, "__index_level_0__": 4}
    assert rows[0]["extra"] is None


def table_of_many_types():
    moment = datetime.datetime(2024, 2, 29, 12, 30, 1, 5, tzinfo=datetime.UTC)
    return pa.table(
        {
            "id": pa.array([1, 2, 3, 4], pa.int16()),
            "text": pa.array(["a", "b", "a", "d"]).dictionary_encode(),
            "moment": pa.array([moment, None, moment, moment], pa.timestamp("us", "UTC")),
            "nanos": pa.array([1_000_000_001, 2, None, 0], pa.timestamp("ns")),
            "day": pa.array([datetime.date(2024, 1, 1)] * 4),
            "price": pa.array([decimal.Decimal("1.50")] * 4, pa.decimal128(20, 3)),
            "raw": [b"\xff", b"", None, b"x"],
            "number": [float("nan"), float("inf"), 1.5, -0.0],
            "nested": [{"a": [1, None], "b": {"c": "x"}}, None, {"a": [], "b": None}, {"a": None, "b": {"c": None}}],
            "map": pa.array([[("k", 1)], [], None, [("k", 2)]], pa.map_(pa.string(), pa.int64())),
            "nothing": pa.nulls(4),
        },
    ).replace_schema_metadata({"made by": "a test"})


def test_untouched_parquet_keeps_values_types_and_metadata(tmp_path):
    table = table_of_many_types()
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=2)
    original = pq.read_table(tmp_path / "a.parquet")
    result = run(tmp_path / "a.parquet", tmp_path / "out")
    assert result.counts == {"read": 4, "kept": 3, "removed": 1, "quarantined": 0}
    written = pq.read_table(tmp_path / "out" / "part-00000.parquet")
    assert written.schema.equals(original.schema, check_metadata=True)
    expected = original.take([0, 1, 3])
    without_nan = [name for name in expected.column_names if name != "number"]
    assert written.select(without_nan).equals(expected.select(without_nan))
    assert str(written["number"].to_pylist()) == str(expected["number"].to_pylist())


@pytest.mark.parametrize("form", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_parquet_becomes_json_lines_that_any_parser_reads(form, tmp_path):
    pq.write_table(table_of_many_types(), tmp_path / "a.parquet")
    run(tmp_path / "a.parquet", tmp_path / "out", format=form)

    def refuse(word):
        raise AssertionError(word)

    (part,) = (tmp_path / "out").glob("part-*")
    rows = [json.loads(line, parse_constant=refuse) for line in unpack(part).decode().splitlines()]
    assert [(row["id"], row["text"]) for row in rows] == [(1, "a"), (2, "b"), (4, "d")]
    assert [row["number"] for row in rows] == [None, None, -0.0]
    assert rows[0]["nested"] == {"a": [1, None], "b": {"c": "x"}}
    assert rows[0]["nanos"].startswith("1970-01-01T00:00:01.000000001")
    assert rows[0]["moment"].startswith("2024-02-29T12:30:01.000005")
    assert (rows[0]["day"], rows[0]["price"], rows[0]["raw"]) == ("2024-01-01", "1.500", "/w==")


def test_parquet_strings_that_are_not_utf8_become_json_with_a_replacement(tmp_path):
    broken = pa.array([b"caf\xe9", b"x"]).cast(pa.string(), safe=False)
    lists = pa.ListArray.from_arrays([0, 1, 2], broken)
    pq.write_table(pa.table({"text": ["a", "b"], "note": broken, "notes": lists}), tmp_path / "a.parquet")
    run(tmp_path / "a.parquet", tmp_path / "out", format="jsonl")
    rows = [json.loads(line) for line in (tmp_path / "out" / "part-00000.jsonl").read_text("utf-8").splitlines()]
    assert [row["note"] for row in rows] == ["caf\ufffd", "x"]
    assert [row["notes"] for row in rows] == [["caf\ufffd"], ["x"]]


def test_an_empty_split_becomes_an_empty_file_of_its_format(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b"\n\n")
    for form, content in (("jsonl", b""), ("jsonl.gz", b""), ("jsonl.zst", b"")):
        run(tmp_path / "a.jsonl", tmp_path / form, format=form)
        assert unpack(tmp_path / form / f"part-00000.{form}") == content
    run(tmp_path / "a.jsonl", tmp_path / "parquet", format="parquet")
    assert pq.read_table(tmp_path / "parquet" / "part-00000.parquet").num_rows == 0


@pytest.mark.parametrize("depth", [0, -1, 513, True, 2.5])
def test_a_nesting_that_no_parser_follows_is_refused(depth):
    with pytest.raises(ConfigError, match="max_depth"):
        Read("a.jsonl", max_depth=depth)
