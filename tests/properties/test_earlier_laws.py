"""Laws of earlier corpora and of kept signatures, on small corpora of few words that are much alike."""

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from curator import LocalExecutor, Pipeline, Read, Write, verify_output
from curator.stages.dedup.fuzzy import FuzzyDeduplication
from tests.near_duplicates import shingles, similarity
from tests.signature_runs import kept_ids, write_corpus

WORDS = [f"w{number}" for number in range(12)]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), min_size=0, max_size=14).map(" ".join), min_size=1, max_size=9)


def decide(source, target, **options):
    fuzzy = FuzzyDeduplication(shingle_size=2, bands=40, rows=1, threshold=0.5, **options)
    result = Pipeline([Read(str(source)), fuzzy, Write(target, durability="fast")]).run(
        LocalExecutor(), show_progress=False
    )
    assert verify_output(target).problems == []
    return kept_ids(target), result.ledger().to_pylist()


@settings(max_examples=12, deadline=None)
@given(parts=st.lists(TEXTS, min_size=2, max_size=3), by_signatures=st.booleans())
def test_parts_one_after_the_other_leave_what_the_whole_leaves(parts, by_signatures):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = {}
        for number, part in enumerate(parts):
            write_corpus(folder / "in" / f"{number}.jsonl", part, prefix=f"{number}-")
            texts |= {f"{number}-{row}": shingles(text, size=2) for row, text in enumerate(part)}
        whole, _ = decide(folder / "in", folder / "whole")
        together, earlier, rows = [], [], []
        for number in range(len(parts)):
            options = {"against": list(earlier), "keep_signatures": folder / f"kept{number}"}
            kept, removed = decide(folder / "in" / f"{number}.jsonl", folder / f"out{number}", **options)
            earlier.append(str(folder / (f"kept{number}" if by_signatures else f"out{number}")))
            together, rows = [*together, *kept], [*rows, *removed]
        assert together == whole
        for row in rows:
            assert row["kept_id"] in together
            assert row["score"] == similarity(texts[row["id"]], texts[row["kept_id"]])
            assert row["score"] >= 0.5
            assert row["kept_in"] == (None if row["kept_id"][0] == row["id"][0] else earlier[int(row["kept_id"][0])])
        for row in whole:
            others = [other for other in whole if other < row]
            assert all(similarity(texts[row], texts[other]) < 0.5 for other in others)


@settings(max_examples=12, deadline=None)
@given(texts=TEXTS, threshold=st.sampled_from([0.3, 0.6, 1.0]), verify=st.sampled_from(["exact", "signature", "none"]))
def test_signatures_decide_what_texts_decide(texts, threshold, verify):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write_corpus(folder / "a.jsonl", texts)
        options = {"shingle_size": 2, "bands": 20, "rows": 2}
        runs = {
            "first": {"num_hashes": 48, "keep_signatures": folder / "kept"},
            "plain": {"num_hashes": 48, "threshold": threshold, "verify": verify},
            "again": {"signatures": folder / "kept", "threshold": threshold, "verify": verify},
        }
        ledgers = {}
        for target, more in runs.items():
            stages = [Read(source), FuzzyDeduplication(**options, **more), Write(folder / target, durability="fast")]
            ledgers[target] = Pipeline(stages).run(LocalExecutor(), show_progress=False).ledger().to_pylist()
        assert ledgers["again"] == ledgers["plain"]
        manifests = [json.loads((folder / n / "_curator" / "manifest.json").read_text()) for n in ("plain", "again")]
        assert manifests[0] == manifests[1]
