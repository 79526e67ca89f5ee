"""What runs of a sweep have in common is done once: the same bytes come out, and what does not fit is done again."""

import json
import os

import pytest

from curator import ExactDeduplication, FuzzyDeduplication, LocalExecutor, Pipeline, ProcessingStage, Read, Write
from curator.runs.shared_work import SharedWork, code_of, link_or_copy

NAME = "_curator"


class Witness(ProcessingStage):
    """Notes each batch that passes it."""

    name = "witness"

    def __init__(self, path):
        self.path = str(path)

    def settings(self):
        return {}

    def process(self, task):
        with open(self.path, "a") as file:
            file.write("x")
        return task


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    texts = [f"{'The' if row % 2 else 'the'} text number {row % 12} of a few words and more" for row in range(60)]
    lines = [json.dumps({"id": str(row), "text": text, "score": row}) for row, text in enumerate(texts)]
    path.write_text("\n".join([*lines, "broken"]) + "\n")
    return path


@pytest.fixture
def run(tmp_path, source):
    """Runs a pipeline; says how many batches its first pass read, and gives back the output."""

    def run(name, *shuffles, share=True, split_bytes=1500, **executor_attributes):
        witness = tmp_path / f"{name}.seen"
        witness.touch()
        stages = [Read(str(source), split_bytes=split_bytes), Witness(witness), *shuffles, Write(tmp_path / name)]
        executor = LocalExecutor()
        executor.shared_path = tmp_path / "shared" if share else None
        for key, value in executor_attributes.items():
            setattr(executor, key, value)
        Pipeline(stages).run(executor, show_progress=False)
        return len(witness.read_text()), tmp_path / name

    return run


def fuzzy(**settings):
    return FuzzyDeduplication(**{"bands": 15, "rows": 8, "threshold": 0.8} | settings)


def content_of(output):
    """All bytes that say nothing of times and places."""
    files = [path for path in output.rglob("*") if path.is_file() and path.name not in TIMED]
    return {path.relative_to(output).as_posix(): path.read_bytes() for path in sorted(files)}


TIMED = ("run.json", "report.txt", "SUCCESS.json")


def entries(tmp_path):
    return sorted(path.name for path in (tmp_path / "shared").iterdir())


def test_a_second_run_takes_the_first_pass_of_the_first_and_has_the_bytes_of_a_run_alone(run, tmp_path):
    read, first = run("first", ExactDeduplication(), fuzzy())
    assert read > 1
    taken, second = run("second", ExactDeduplication(), fuzzy(threshold=0.95, keep="longest", cluster="components"))
    assert taken == 0, "the input was read again for keys"
    _, alone = run(
        "alone", ExactDeduplication(), fuzzy(threshold=0.95, keep="longest", cluster="components"), share=False
    )
    assert content_of(second) == content_of(alone)
    assert content_of(second) != content_of(first)
    times = [json.loads((output / NAME / "run.json").read_text()) for output in (first, second, alone)]
    assert ["shared_seconds" in each for each in times] == [False, True, False]
    assert times[1]["shared_seconds"] > 0
    assert times[1]["input"] == times[2]["input"]
    assert len(entries(tmp_path)) == 1


def test_an_output_with_shared_work_can_be_verified(run):
    from curator.runs.verify import verify_output

    run("first", fuzzy())
    _, second = run("second", fuzzy(threshold=0.9))
    found = verify_output(second)
    assert found.problems == []
    assert found.counts["read"] == 61


@pytest.mark.parametrize(
    ("other", "shares"),
    [
        ([fuzzy(verify="signature")], True),
        ([fuzzy(max_comparisons=3)], True),
        ([fuzzy(bands=14)], False),
        ([fuzzy(case="keep")], False),
        ([fuzzy(shingle="char")], False),
        ([fuzzy(bands_per_iteration=5)], False),
        ([ExactDeduplication(), fuzzy()], False),
        ([ExactDeduplication()], False),
    ],
)
def test_only_what_decides_the_keys_decides_what_is_shared(run, other, shares):
    run("first", fuzzy())
    read, _ = run("second", *other)
    assert (read == 0) is shares


def test_keys_of_another_order_are_not_shared(run, tmp_path):
    run("first", ExactDeduplication(keep="first"))
    read, _ = run("second", ExactDeduplication(keep="longest"))
    assert read
    assert len(entries(tmp_path)) == 2


def test_another_input_other_splits_and_another_executor_share_nothing(run, source, tmp_path):
    run("first", fuzzy())
    assert run("cut", fuzzy(), split_bytes=900)[0]
    assert run("other", fuzzy(), config={"runtime_env": None, "scratch_path": "/elsewhere"})[0]
    with open(source, "a") as file:
        file.write('{"id": "60", "text": "one more", "score": 60}\n')
    assert run("more", fuzzy())[0]
    assert len(entries(tmp_path)) == 4


@pytest.mark.parametrize("damage", ["truncate", "change", "remove", "index"])
def test_what_was_damaged_is_done_again_and_left_anew(run, tmp_path, damage):
    _, first = run("first", fuzzy())
    (name,) = entries(tmp_path)
    target = tmp_path / "shared" / name / ("index.json" if damage == "index" else "0/keys-0.arrow")
    content = bytearray(target.read_bytes())
    target.unlink()  # its other name is gone already, but the run's own copy must never be written to
    if damage == "change":
        content[len(content) // 2] ^= 1
    if damage != "remove":
        target.write_bytes(content[:20] if damage in ("truncate", "index") else content)
    read, second = run("second", fuzzy())
    assert read
    assert content_of(second) == content_of(first)
    assert entries(tmp_path) == [name]
    assert run("third", fuzzy())[0] == 0


def test_the_first_writer_wins(run, tmp_path):
    run("first", fuzzy())
    (name,) = entries(tmp_path)
    before = (tmp_path / "shared" / name / "index.json").stat().st_ino
    run("second", fuzzy(threshold=0.9))
    assert (tmp_path / "shared" / name / "index.json").stat().st_ino == before


def test_a_folder_that_cannot_be_written_costs_the_run_nothing(run, tmp_path):
    (tmp_path / "shared").touch()
    read, output = run("first", fuzzy())
    assert read
    assert (output / NAME / "SUCCESS.json").exists()


def test_a_run_that_keeps_signatures_shares_nothing(run, tmp_path):
    run("first", fuzzy(keep_signatures=str(tmp_path / "signatures")))
    assert not (tmp_path / "shared").exists()


def test_files_are_copied_where_they_cannot_be_linked_which_a_stand_in_says(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "a").write_text("content")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "content"


def test_the_file_of_a_users_own_stage_is_part_of_the_content():
    found = code_of([Witness("x"), ExactDeduplication()])
    digests = list(found.values())
    assert len(digests[0]) == 64
    assert digests[1] == ""


def test_a_plan_that_begins_with_no_shuffle_shares_nothing(tmp_path, source):
    plan = Pipeline([Read(str(source)), Write(tmp_path / "out")]).plan(LocalExecutor())
    shared = SharedWork(tmp_path / "shared", plan, "local")
    shared.give(plan.steps[0], [])
    assert not (tmp_path / "shared").exists()
