"""Records that end, fill or stop their worker: each costs itself, is named, and nothing else changes."""

import json

import pytest

from curator import ExactDeduplication, LocalExecutor, Pipeline, Read, Write
from tests.chaos.stages import Fate
from tests.executors.stages_for_tests import OnMarked
from tests.executors.suite import content_of

WAYS = {
    "exit": ("killed_worker", "exit code 3"),
    "kill": ("killed_worker", "SIGKILL"),
    "eat": ("out_of_memory", "MemoryError"),
    "hang": ("timeout", "not back within 5 s"),
}
LIMITS = {"worker_memory_limit_gb": 0.3, "unit_timeout_s": 5.0}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Six files of two documents; one document in each of the first four is marked with what its worker suffers."""
    folder = tmp_path_factory.mktemp("marked") / "in"
    folder.mkdir()
    for number, way in enumerate([*WAYS, None, None]):
        texts = [f"document {row * (number + 1) % 4} of many" for row in range(2)]
        if way is not None:
            texts[1] = f"MARKED {way}"
        lines = [json.dumps({"id": f"{way or number}-{row}", "text": text}) for row, text in enumerate(texts)]
        (folder / f"{number}.jsonl").write_text("\n".join([*lines, '{"id": "broken"', ""]))
    return folder


def stages_of(fate, position):
    stages = [ExactDeduplication()]
    stages.insert(position - 1, fate)
    return stages


@pytest.mark.parametrize(
    ("ways", "position", "config"),
    [
        pytest.param(("exit", "eat", "hang"), 1, LIMITS, id="three ways at once"),
        pytest.param(("kill",), 2, {}, id="behind the barrier"),
    ],
)
def test_a_record_that_its_worker_does_not_survive_costs_one_record(run, corpus, tmp_path, ways, position, config):
    raising = stages_of(Fate(ways, is_harmless=True), position)
    write = Write(tmp_path / "reference", durability="fast")
    reference = Pipeline([Read(str(corpus)), *raising, write]).run(LocalExecutor(), show_progress=False)
    assert (reference.counts["read"], reference.counts["quarantined"]) == (18, 6 + len(ways))

    run.go(stages=stages_of(Fate(ways), position), max_attempts=2, split_bytes=None, num_workers=3, **config)
    run.check((content_of(tmp_path / "reference"), reference.counts), without=("manifest", "quarantine"))
    bad = [row for row in run.result.quarantine().to_pylist() if row["reason"] != "json_parse"]
    assert {json.loads(row["bytes"])["id"]: (row["stage"], row["reason"], row["detail"]) for row in bad} == {
        f"{way}-1": ("fate", reason, f"fate: {detail}") for way, (reason, detail) in WAYS.items() if way in ways
    }
    (account,) = [stage for stage in run.result.stages if stage["name"] == "fate"]
    reasons = [WAYS[way][0] for way in ways]
    assert account["quarantined"] == {reason: reasons.count(reason) for reason in reasons}


def test_a_record_that_kills_its_worker_now_and_then_is_not_blamed(run):
    (run.folder / "deaths").mkdir()
    run.go(stages=[OnMarked("kill", folder=run.folder / "deaths", times=1), ExactDeduplication()], split_bytes=None)
    assert len(list((run.folder / "deaths").iterdir())) == 1
    assert {row["reason"] for row in run.result.quarantine().to_pylist()} == {"json_parse"}
    assert run.result.counts["read"] == 18
