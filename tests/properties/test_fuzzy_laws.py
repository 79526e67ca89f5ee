"""Whatever the input and however it is cut: what fuzzy deduplication removes has a similar document that stays."""

import json
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curator import LocalExecutor, Pipeline, Read, Write, verify_output
from curator.stages.dedup.fuzzy import FuzzyDeduplication
from tests.near_duplicates import greedy, shingles, similarity

words = st.lists(st.sampled_from(["a", "B", "b", "é", "É", "c\n", "d.", "日本", "x"]), max_size=9)
texts = st.lists(words.map(" ".join), max_size=25)


def run(folder, name, found, split_bytes, **options):
    source = Path(folder, "in.jsonl")
    source.write_text("".join(json.dumps({"id": row, "text": text}) + "\n" for row, text in enumerate(found)))
    stages = [
        Read(str(source), split_bytes=split_bytes),
        FuzzyDeduplication(bands=120, rows=1, shingle_size=2, **options),
        Write(Path(folder, name), durability="fast"),
    ]
    result = Pipeline(stages).run(LocalExecutor())
    assert verify_output(Path(folder, name)).problems == []
    return {int(row["id"]): (int(row["kept_id"]), row["score"]) for row in result.ledger().to_pylist()}


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(texts, st.sampled_from([0.5, 0.8, 1.0]), st.integers(100, 900), st.integers(20, 130), st.integers(2, 30))
def test_the_kept_texts_are_the_exact_cover_for_any_cut(found, threshold, split_bytes, per_iteration, per_task):
    with tempfile.TemporaryDirectory() as folder:
        gone = run(
            folder,
            "out",
            found,
            split_bytes,
            threshold=threshold,
            bands_per_iteration=per_iteration,
            documents_per_task=per_task,
        )
        # One row a band: two texts that share half of their shingles share one of 120 buckets but once in 2**120.
        assert [row for row in range(len(found)) if row not in gone] == greedy(found, threshold, size=2)
        sets = [shingles(text, size=2) for text in found]
        assert all(score == similarity(sets[row], sets[keeper]) for row, (keeper, score) in gone.items())


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(texts, st.sampled_from(["exact", "signature", "none"]), st.sampled_from(["keeper", "components"]))
def test_what_is_left_is_left_again(found, verify, cluster):
    with tempfile.TemporaryDirectory() as folder:
        gone = run(folder, "once", found, None, verify=verify, cluster=cluster)
        left = [text for row, text in enumerate(found) if row not in gone]
        assert run(folder, "twice", left, None, verify=verify, cluster=cluster) == {}
