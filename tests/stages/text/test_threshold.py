import json

import numpy as np
import pyarrow as pa
import pytest

from curator import ConfigError, LocalExecutor, Pipeline, Read, Write, verify_output
from curator.stages.text.threshold import KeepAbove


def run(tmp_path, lines, **options):
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"text": "t", **line}) + "\n" for line in lines))
    stages = [Read(str(tmp_path / "in.jsonl")), KeepAbove("score", 3, **options), Write(tmp_path / "out")]
    return Pipeline(stages).run(LocalExecutor(), show_progress=False)


def kept(result):
    return [json.loads(line)["score"] for line in (result.output_path / "part-00000.jsonl").read_text().splitlines()]


def test_what_reaches_the_threshold_stays_and_the_rest_is_in_the_ledger_with_its_score(tmp_path):
    scores = [3, 2.99, 3.5, "4", "1e1", -7, None, "many", [5]]
    result = run(tmp_path, [{"id": str(i), "score": score} for i, score in enumerate(scores)])
    assert kept(result) == [3, 3.5, "4", "1e1"]
    rows = result.ledger().select(["id", "stage", "reason", "score"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        ("1", "keep_above", "below_threshold", 2.99),
        ("5", "keep_above", "below_threshold", -7.0),
        ("6", "keep_above", "no_score", None),
        ("7", "keep_above", "no_score", None),
        ("8", "keep_above", "no_score", None),
    ]
    assert verify_output(result.output_path).problems == []


def test_documents_without_a_score_stay_when_that_is_asked_for(tmp_path):
    result = run(tmp_path, [{"score": 1}, {"score": None}, {"score": 5}], without_score="keep")
    assert kept(result) == [None, 5]


def test_a_batch_without_documents_passes():
    from curator.tasks import DocumentBatch, InputFile, Split

    split = Split(0, InputFile("a.jsonl", 0, "", "jsonl"), 0, 0, 0)
    columns = pa.table({"id": pa.array([], pa.string()), "score": pa.chunked_array([], pa.int64())})
    batch = DocumentBatch(split=split, rows=np.empty(0, np.int64), columns=columns)
    assert KeepAbove("score", 3).process(batch).num_items == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"column": "text", "threshold": 1}, "keep_above.column='text'"),
        ({"column": "score", "threshold": "high"}, "keep_above.threshold='high'"),
        ({"column": "score", "threshold": float("nan")}, "keep_above.threshold"),
        ({"column": "score", "threshold": 1, "without_score": "drop"}, "Choose from: keep, remove"),
    ],
)
def test_an_argument_that_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(ConfigError, match=message):
        KeepAbove(**arguments)
