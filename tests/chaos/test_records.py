"""Records that end, fill or stop their worker: each costs itself, is named, and nothing else changes."""

import json

import pytest

from curator import ExactDeduplication, LocalExecutor, Pipeline, Read, Write
from tests.executors.stages_for_tests import OnMarked
from tests.executors.suite import content_of, mark

BOTH, ONE = "MARKED", "MARKED document 6"
MARKED = {BOTH: {"0-9", "1-3"}, ONE: {"1-3"}}
WAYS = {
    "exits": ("exit", BOTH, "killed_worker", "exit code 3", {}),
    "is killed": ("kill", ONE, "killed_worker", "SIGKILL", {}),
    "eats memory": ("eat", ONE, "out_of_memory", "MemoryError", {"worker_memory_limit_gb": 0.3}),
    "never returns": ("hang", ONE, "timeout", "not back within 4 s", {"unit_timeout_s": 4.0}),
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two files of a dozen documents, one of which is marked in each."""
    folder = tmp_path_factory.mktemp("marked") / "in"
    folder.mkdir()
    for number in range(2):
        texts = [f"document {row * (number + 1) % 9} of many" for row in range(12)]
        lines = [json.dumps({"id": f"{number}-{row}", "text": text}) for row, text in enumerate(texts)]
        (folder / f"{number}.jsonl").write_text("\n".join([*lines, '{"id": "broken"', ""]))
    mark(folder / "0.jsonl", 9)
    mark(folder / "1.jsonl", 3)
    return folder


@pytest.fixture(scope="module")
def less_the_marked(corpus, tmp_path_factory):
    """By the text of a mark and the position of the stage: the local run, in which it raises for such records."""
    found = {}
    for text, position in ((BOTH, 1), (ONE, 1), (ONE, 2)):
        output = tmp_path_factory.mktemp("reference") / "out"
        stages = [Read(str(corpus)), ExactDeduplication(), Write(output, durability="fast")]
        stages.insert(position, OnMarked("raise").with_(mark=text))
        result = Pipeline(stages).run(LocalExecutor(), show_progress=False)
        assert (result.counts["read"], result.counts["quarantined"]) == (26, 2 + len(MARKED[text]))
        found[text, position] = content_of(output), result.counts
    return found


@pytest.mark.parametrize(
    ("way", "position"),
    [*((way, 1) for way in WAYS), ("is killed", 2)],
    ids=[*(f"a record that {way}" for way in WAYS), "behind the barrier"],
)
def test_a_record_that_its_worker_does_not_survive_costs_one_record(run, less_the_marked, way, position):
    act, text, reason, detail, config = WAYS[way]
    stages = [ExactDeduplication()]
    stages.insert(position - 1, OnMarked(act).with_(mark=text))
    run.go(stages=stages, max_attempts=2, split_bytes=None, **config)
    run.check(less_the_marked[text, position], without=("manifest", "quarantine"))
    bad = [row for row in run.result.quarantine().to_pylist() if row["reason"] != "json_parse"]
    assert {json.loads(row["bytes"])["id"] for row in bad} == MARKED[text]
    assert {(row["stage"], row["reason"], row["detail"]) for row in bad} == {
        ("on_marked", reason, f"on_marked: {detail}")
    }
    (account,) = [stage for stage in run.result.stages if stage["name"] == "on_marked"]
    assert account["quarantined"] == {reason: len(MARKED[text])}


def test_a_record_that_kills_its_worker_now_and_then_is_not_blamed(run):
    (run.folder / "deaths").mkdir()
    run.go(stages=[OnMarked("kill", folder=run.folder / "deaths", times=1), ExactDeduplication()], split_bytes=None)
    assert len(list((run.folder / "deaths").iterdir())) == 1
    assert {row["reason"] for row in run.result.quarantine().to_pylist()} == {"json_parse"}
    assert run.result.counts["read"] == 26
