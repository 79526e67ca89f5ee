import json

import pytest
import xxhash

from curator import ConfigError, ExactDeduplication, LocalExecutor, Pipeline, Read, Write

TEXTS = ["Crème  brûlée", "crème brûlée", "a", "A", "a", "", "", " ", "a\n"]


def run(tmp_path, records, **options):
    source = tmp_path / "in.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    stages = [Read(str(source)), ExactDeduplication(**options), Write(tmp_path / "out", durability="fast")]
    result = Pipeline(stages).run(LocalExecutor())
    lines = (tmp_path / "out" / "part-00000.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["id"] for line in lines], result


def with_texts(texts, **columns):
    return [
        {"id": str(row), "text": text, **{name: values[row] for name, values in columns.items()}}
        for row, text in enumerate(texts)
    ]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        ({}, "01235678"),
        ({"empty_text": "match"}, "0123578"),
        ({"empty_text": "remove"}, "012378"),
        ({"white_space": "collapse"}, "0123567"),
        ({"case": "lower"}, "0125678"),
        ({"case": "lower", "white_space": "collapse"}, "02567"),
        ({"case": "lower", "white_space": "collapse", "empty_text": "match"}, "025"),
        ({"case": "lower", "white_space": "collapse", "empty_text": "remove"}, "02"),
    ],
    ids=str,
)
def test_options_decide_which_texts_are_equal(tmp_path, options, kept):
    ids, result = run(tmp_path, with_texts(TEXTS), **options)
    assert "".join(ids) == kept
    assert result.counts["removed"] == len(TEXTS) - len(kept)


def test_unicode_forms_are_equal_only_when_asked_for(tmp_path):
    twins = ["Cr\u00e8me", "Cre\u0300me", "\ufb01sh", "fish"]
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    assert run(tmp_path / "a", with_texts(twins))[0] == ["0", "1", "2", "3"]
    assert run(tmp_path / "b", with_texts(twins), unicode="NFC")[0] == ["0", "2", "3"]
    assert run(tmp_path / "c", with_texts(twins), unicode="NFKC")[0] == ["0", "2"]


def test_case_folding_goes_further_than_lower_case(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    texts = ["STRASSE", "straße"]
    assert run(tmp_path / "a", with_texts(texts), case="lower")[0] == ["0", "1"]
    assert run(tmp_path / "b", with_texts(texts), case="fold")[0] == ["0"]


def test_the_largest_number_is_kept_and_ties_go_to_the_first(tmp_path):
    texts = ["x", "x", "x", "y", "y", "z", "z", "z"]
    scores = [1, "2.5e1", 3, None, -7, 4, 4.0, "many"]
    ids, _ = run(tmp_path, with_texts(texts, score=scores), keep="max:score")
    assert ids == ["1", "4", "5"]


def test_the_longest_original_is_kept_in_characters(tmp_path):
    ids, _ = run(tmp_path, with_texts(["a  b", "a   b", "é é", "é  é"]), keep="longest", white_space="collapse")
    assert ids == ["1", "3"]


def test_the_ledger_names_the_keeper_and_a_key_that_anyone_can_compute(tmp_path):
    _, result = run(tmp_path, with_texts(["same", "other", "same", "same"]))
    rows = result.ledger().to_pylist()
    assert [(row["row"], row["id"], row["kept_document_id"], row["kept_id"]) for row in rows] == [
        (2, "2", 0, "0"),
        (3, "3", 0, "0"),
    ]
    assert {row["key"] for row in rows} == {xxhash.xxh3_128(b"same").hexdigest()}
    assert {(row["stage"], row["reason"]) for row in rows} == {("exact", "exact_duplicate")}


def test_ids_of_any_type_are_carried_into_the_ledger(tmp_path):
    records = [{"text": "t", "id": value} for value in ("first", 7, 1.50, None, ["x", {"y": 1}], True)]
    _, result = run(tmp_path, [*records, {"text": "t"}])
    assert result.ledger()["id"].to_pylist() == ["7", "1.5", None, '["x", {"y": 1}]', "true", None]
    assert set(result.ledger()["kept_id"].to_pylist()) == {"first"}


def test_documents_without_any_text_are_never_compared(tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": 1}\n{"id": 2}\n{"id": 3, "text": null}\n{"id": 4, "text": 5}\n{"id": 5, "text": "a"}\n')
    for without_text, counts in {
        "keep": {"read": 5, "kept": 5, "removed": 0, "quarantined": 0},
        "remove": {"read": 5, "kept": 1, "removed": 4, "quarantined": 0},
        "quarantine": {"read": 5, "kept": 1, "removed": 0, "quarantined": 4},
    }.items():
        stages = [Read(str(source), without_text=without_text), ExactDeduplication(), Write(tmp_path / without_text)]
        result = Pipeline(stages).run(LocalExecutor())
        assert result.counts == counts, without_text
        assert set(result.ledger()["reason"].to_pylist()) <= {"without_text"}


def test_results_do_not_depend_on_partitions(tmp_path):
    texts = [f"text {row % 40}" for row in range(400)]
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    one = run(tmp_path / "one", with_texts(texts))
    many = run(tmp_path / "many", with_texts(texts), partition_bytes=1000)
    assert one[0] == many[0]
    assert one[1].ledger().equals(many[1].ledger())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": "frist"}, r"exact.keep: 'frist' is not known. Choose from: first, longest, max:<column>"),
        ({"keep": "max:"}, r"exact.keep: 'max:'"),
        ({"case": "upper", "unicode": "nfc"}, r"(?s)exact.case: 'upper'.*exact.unicode: 'nfc'"),
        ({"partition_bytes": 0}, r"exact.partition_bytes=0"),
    ],
)
def test_a_wrong_option_is_refused_with_the_right_ones(options, message):
    with pytest.raises(ConfigError, match=message):
        ExactDeduplication(**options)


def test_a_batch_that_has_lost_all_its_documents_passes(tmp_path):
    source = tmp_path / "in.jsonl"
    source.write_text('{"id": 1}\n{"id": 2, "text": null}\n')
    stages = [Read(str(source), without_text="remove"), ExactDeduplication(keep="max:n"), Write(tmp_path / "out")]
    assert Pipeline(stages).run(LocalExecutor()).counts["removed"] == 2


def test_the_latest_time_in_a_parquet_column_is_kept(tmp_path):
    import datetime

    import pyarrow as pa
    import pyarrow.parquet as pq

    days = [datetime.datetime(2026, 1, day) for day in (3, 9, 5)]
    pq.write_table(pa.table({"text": ["t"] * 3, "id": ["a", "b", "c"], "seen": days}), tmp_path / "in.parquet")
    stages = [Read(str(tmp_path / "in.parquet")), ExactDeduplication(keep="max:seen"), Write(tmp_path / "out")]
    Pipeline(stages).run(LocalExecutor())
    assert pq.read_table(tmp_path / "out" / "part-00000.parquet")["id"].to_pylist() == ["b"]


def test_a_column_that_nothing_has_is_doubted_in_the_plan(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "a", "score": 1}\n')

    def plan(keep, **fields):
        stages = [Read(str(tmp_path / "in.jsonl"), **fields), ExactDeduplication(keep=keep), Write(tmp_path / "out")]
        return Pipeline(stages).plan(LocalExecutor())

    assert plan("max:score").doubts == []
    assert "no field 'scor'" in str(plan("max:scor"))
    assert "no field 'txt'" in str(plan("first", text_field="txt"))
    assert "did you mean 'text'?" in str(plan("first", text_field="txt"))
