"""Parquet: what text is, what goes to the quarantine, and what cannot be read."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator import (
    ConfigError,
    ExactDeduplication,
    InputError,
    LocalExecutor,
    Pipeline,
    Read,
    StageError,
    Write,
    verify_output,
)
from curator.tasks import SplitTask

IDS = [f"d{n}" for n in range(40)]
TEXTS = [f"document {n % 30} of many" for n in range(40)]


def run(path, output, **options):
    result = Pipeline([Read(str(path), **options), ExactDeduplication(), Write(output, durability="fast")]).run(
        LocalExecutor(), show_progress=False
    )
    found = verify_output(output)
    assert (found.problems, found.notes) == ([], [])
    return result


def file_of(tmp_path, columns, **options):
    path = tmp_path / "a.parquet"
    pq.write_table(columns if isinstance(columns, pa.Table) else pa.table(columns), path, **options)
    return path


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(), pa.large_string(), pa.string_view(), pa.binary(), pa.large_binary(),
        pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int8(), pa.large_string()),
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("row_group_size", [1, 7, 100])
def test_every_type_of_text_gives_the_same_result(kind, row_group_size, tmp_path):
    text = pa.array(TEXTS).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(TEXTS)
    path = file_of(tmp_path, {"id": IDS, "text": text.cast(kind)}, row_group_size=row_group_size)
    result = run(path, tmp_path / "out", split_bytes=300)
    assert result.counts == {"read": 40, "kept": 30, "removed": 10, "quarantined": 0}
    kept = [
        row for part in sorted((tmp_path / "out").glob("*.parquet")) for row in pq.read_table(part)["id"].to_pylist()
    ]
    assert kept == IDS[:30]


@pytest.mark.parametrize(
    ("columns", "fragment"),
    [
        ({"doc": ["a"], "content": ["b"]}, "has no column 'text'. Its columns: doc (string), content (string). Name"),
        ({"text": [1]}, "column 'text' is int64, not text"),
        ({"text": [["a"]]}, "not text. Its columns: text (list<element: string>)"),
        ({"text": pa.array([1, 1]).dictionary_encode()}, "column 'text' is int64, not text"),
        ({"text": pa.nulls(2)}, "column 'text' is null, not text"),
        ({}, "has no column 'text'. Its columns: none"),
        (pa.Table.from_arrays([pa.array(["a"])] * 2, ["text", "text"]), "has 2 columns named 'text'"),
        (pa.Table.from_arrays([pa.array(["a"])] * 3, ["m", "text", "m"]), "has 2 columns named 'm'"),
    ],
)
def test_columns_that_hold_no_single_text_are_refused_with_what_is_there(columns, fragment, tmp_path):
    with pytest.raises(InputError) as raised:
        run(file_of(tmp_path, columns), tmp_path / "out")
    assert fragment in str(raised.value)
    assert isinstance(raised.value, ConfigError)
    assert not (tmp_path / "out").exists()


def test_null_and_undecodable_texts_go_to_the_quarantine_with_their_rows(tmp_path):
    values = [b"one", None, b"caf\xe9", b"two", b"one"]
    for kind in (pa.binary(), pa.string()):
        text = pa.array(values).cast(kind, safe=False) if kind == pa.string() else pa.array(values)
        path = file_of(tmp_path, pa.table({"text": text}), row_group_size=2)
        result = run(path, tmp_path / f"out-{kind}")
        assert result.counts == {"read": 5, "kept": 2, "removed": 1, "quarantined": 2}
        bad = result.quarantine().select(["row", "reason", "bytes"]).to_pylist()
        assert bad == [
            {"row": 1, "reason": "null_text", "bytes": b""},
            {"row": 2, "reason": "bad_unicode", "bytes": b"caf\xe9"},
        ]


def test_an_id_may_be_of_any_type_and_missing(tmp_path):
    broken = pa.array([b"\xe9", b"x"]).cast(pa.string(), safe=False)
    for number, ids in enumerate(
        ([1, 2], [1.5, None], [[1], [2]], [{"a": 1}, None], [b"\xff", b"y"], broken, pa.nulls(2))
    ):
        path = file_of(tmp_path, {"id": ids, "text": ["same", "same"]})
        result = run(path, tmp_path / f"out{number}")
        assert result.counts["removed"] == 1
        assert len(result.ledger().to_pylist()) == 1
    assert run(file_of(tmp_path, {"text": ["same", "same"]}), tmp_path / "none").counts["removed"] == 1


def damaged(tmp_path, column, group):
    """A file whose pages of one column in one row group are overwritten."""
    table = pa.table({"id": IDS, "text": TEXTS, "meta": [f"meta {n}" for n in range(40)]})
    path = file_of(tmp_path, table, row_group_size=10, use_dictionary=False, compression="zstd")
    place = pq.ParquetFile(path).metadata.row_group(group).column(column)
    content = bytearray(path.read_bytes())
    begin = place.data_page_offset
    content[begin : begin + place.total_compressed_size] = b"\xff" * place.total_compressed_size
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("group", [0, 2, 3])
@pytest.mark.parametrize("column", [0, 1])
def test_rows_that_cannot_be_read_are_counted_in_the_quarantine_and_the_others_kept(column, group, tmp_path):
    result = run(damaged(tmp_path, column, group), tmp_path / "out")
    (entry,) = result.quarantine().to_pylist()
    assert (entry["reason"], entry["row"], entry["records"]) == ("unreadable_rows", 10 * group, 10)
    assert result.counts["read"] == 40
    assert result.counts["kept"] == (30 if group in (0, 3) else 20)


def test_rows_whose_text_alone_can_be_read_stop_the_run_with_their_place(tmp_path):
    with pytest.raises(StageError, match=r"10 documents from row 10 .* other columns that cannot"):
        run(damaged(tmp_path, 2, 1), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_damage_in_rows_that_are_removed_anyway_costs_nothing(tmp_path):
    result = run(damaged(tmp_path, 2, 3), tmp_path / "out")
    assert result.counts == {"read": 40, "kept": 30, "removed": 10, "quarantined": 0}


def test_a_flipped_bit_is_found_where_the_pages_have_checksums(tmp_path):
    path = file_of(tmp_path, {"text": TEXTS}, write_page_checksum=True, compression="none", use_dictionary=False)
    content = bytearray(path.read_bytes())
    place = content.index(b"document 7")
    content[place] ^= 1
    path.write_bytes(content)
    result = run(path, tmp_path / "out")
    assert [entry["reason"] for entry in result.quarantine().to_pylist()] == ["unreadable_rows"]


@pytest.mark.parametrize("coded", [False, True])
def test_a_long_text_that_a_dictionary_repeats_is_decoded_in_bounded_steps(coded, tmp_path):
    texts = pa.DictionaryArray.from_arrays(pa.array([0, 1] * 2_000, pa.int32()), pa.array(["x" * 100_000, "y"]))
    path = file_of(tmp_path, {"text": texts if coded else texts.cast(pa.string())})
    assert path.stat().st_size < 100_000
    source = Read(str(path)).for_segment(("text",), whole_rows=True)
    (split,) = source.plan_splits().splits
    sizes = [batch.columns["text"].nbytes for batch in source.process(SplitTask(split=split))]
    assert max(sizes) < 80 << 20
    assert sum(sizes) > 200_000_000
    result = run(path, tmp_path / "out")
    assert result.counts == {"read": 4_000, "kept": 2, "removed": 3_998, "quarantined": 0}


def test_short_values_of_a_dictionary_are_decoded_in_large_steps(tmp_path):
    path = file_of(
        tmp_path, {"id": [str(n) for n in range(20_000)], "text": [f"{n % 300:0100d}" for n in range(20_000)]}
    )
    source = Read(str(path)).for_segment(("text",), whole_rows=True)
    (split,) = source.plan_splits().splits
    rows = [batch.num_items for batch in source.process(SplitTask(split=split))]
    assert rows[1] >= 16_384
    assert len(rows) == 3
    assert sum(rows) == 20_000
