"""Barriers that share one pass over the input decide what they decide one after the other."""

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curator import ExactDeduplication, LocalExecutor, Pipeline, Read, Write, verify_output
from curator.stages.dedup.fuzzy import FuzzyDeduplication

words = st.lists(st.sampled_from(["a", "B", "b", "é", "c\n", "d.", "x"]), max_size=7)
texts = st.lists(words.map(" ".join), max_size=30)


def apart(stage):
    """The same stage, which wants to see only what earlier barriers left."""
    alone = stage.with_()
    alone.__class__ = type("Apart", (type(stage),), {"keys_are_independent": False})
    return alone


def run(folder, name, stages, split_bytes):
    source = Read(f"{folder}/in.jsonl", split_bytes=split_bytes)
    pipeline = Pipeline([source, *stages, Write(Path(folder, name), durability="fast")])
    result = pipeline.run(LocalExecutor({"one_pass_bytes": 0}))
    assert verify_output(Path(folder, name)).problems == []
    parts = {path.name: path.read_bytes() for path in sorted(Path(folder, name).glob("part-*"))}
    ledger = sorted(result.ledger().to_pylist(), key=lambda row: row["document_id"])
    accounts = [{**stage, "seconds": None} for stage in result.stages]
    return parts, ledger, accounts, [step.name for step in pipeline.steps()]


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(
    texts,
    st.integers(60, 900),
    st.sampled_from(["keep", "match", "remove"]),
    st.sampled_from([{}, {"case": "lower", "white_space": "collapse", "keep": "longest"}]),
    st.sampled_from([{}, {"bands_per_iteration": 25}, {"verify": "none"}, {"cluster": "components"}]),
    st.booleans(),
)
def test_exact_and_fuzzy_in_one_pass_decide_what_they_do_apart(found, split_bytes, empty, exact, fuzzy, swapped):
    first = ExactDeduplication(empty_text=empty, **exact)
    second = FuzzyDeduplication(bands=60, rows=1, shingle_size=2, threshold=0.6, **fuzzy)
    stages = [second, first] if swapped else [first, second]
    with tempfile.TemporaryDirectory() as folder:
        lines = [json.dumps({"id": row, "text": text}) + "\n" for row, text in enumerate(found)]
        Path(folder, "in.jsonl").write_text("".join(lines))
        *joined, steps = run(folder, "joined", stages, split_bytes)
        *separate, steps_apart = run(folder, "apart", [stages[0], apart(stages[1])], split_bytes)
    assert joined == separate
    assert steps_apart[0] == f"read · {stages[0].name}"
    assert (steps[0] == f"read · {stages[0].name} · {stages[1].name}") is not (swapped and empty == "remove")


def test_three_barriers_share_a_pass_and_none_removes_what_an_earlier_one_did(tmp_path):
    texts = ["a  b c d", "a b c d", "A b c d", "a b c d", "A B C D", "e", "a b c d e f g h", "a b c d e f g h i"]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps({"id": n, "text": t}) + "\n" for n, t in enumerate(texts)))
    stages = [
        ExactDeduplication(),
        ExactDeduplication(case="lower").with_(name="blind"),
        FuzzyDeduplication(bands=60, rows=1, shingle_size=2, threshold=0.8),
    ]
    _, ledger, accounts, steps = run(tmp_path, "out", stages, None)
    assert steps[:3] == ["read · exact · blind · fuzzy", "exact (shuffle)", "blind (shuffle)"]
    assert steps[-1] == "read · write"
    assert [(row["id"], row["stage"], row["kept_id"]) for row in ledger] == [
        ("1", "fuzzy", "0"),
        ("2", "blind", "1"),
        ("3", "exact", "1"),
        ("4", "blind", "1"),
        ("7", "fuzzy", "6"),
    ]
    assert [account["documents_in"] for account in accounts] == [8, 8, 7, 5, 3]


@pytest.mark.parametrize("kind", ["parquet", "gz"])
def test_every_input_format_is_read_once_for_both_keys(tmp_path, kind, monkeypatch):
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    records = [{"id": str(row), "text": f"{row % 40} words of a document"} for row in range(200)]
    (tmp_path / "in").mkdir()
    if kind == "gz":
        lines = "".join(json.dumps(record) + "\n" for record in records)
        (tmp_path / "in" / "a.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    else:
        pq.write_table(pa.Table.from_pylist(records), tmp_path / "in" / "a.parquet")
    reads = []
    process = Read.process
    monkeypatch.setattr(Read, "process", lambda self, task: reads.append(task.selection) or process(self, task))
    stages = [Read(str(tmp_path / "in")), ExactDeduplication(), FuzzyDeduplication(), Write(tmp_path / "out")]
    result = Pipeline(stages).run(LocalExecutor({"one_pass_bytes": 0}))
    assert reads[0] is None
    assert None not in reads[1:]
    assert result.counts["removed"] == 160
