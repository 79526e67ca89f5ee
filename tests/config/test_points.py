"""Points of a sweep are named by their content: what changes the name, what does not, and when a point is done."""

import json
import os

import pytest

from curator.config.build import build_run
from curator.config.compose import compose_config, read_composed_job
from curator.config.points import (
    Point,
    content_digest,
    find_directory,
    is_published,
    point_name,
    read_outcome,
    settings_of,
    write_outcome,
)

EXACT = "stages=[read,exact,write]"


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_text('{"id": "1", "text": "one"}\n')
    return path


def digest_of(source, *typed, version="1", place="/sweep/POINT"):
    from pathlib import Path

    job = read_composed_job(compose_config([EXACT, f"input_path={source}", *typed]), Path(place))
    run = build_run(job.plain, job.layers)
    return content_digest(job.plain, run, Path(place), version)[0]


def test_a_digest_is_the_same_wherever_the_sweep_lies(source):
    assert digest_of(source) == digest_of(source, place="/elsewhere/POINT")


@pytest.mark.parametrize(
    "typed",
    [
        ["mode=plan"],
        ["plan_format=json"],
        ["objective=kept"],
        ["on_env_override=ignore"],
        ["output_mode=replace"],
        ["stages.exact.keep=first"],
    ],
)
def test_what_decides_nothing_does_not_change_the_digest(source, typed):
    assert digest_of(source, *typed) == digest_of(source)


@pytest.mark.parametrize(
    "typed",
    [
        ["stages.exact.keep=longest"],
        ["executor=ray_actor_pool"],
        ["executor.ignore_head_node=true"],
        ["stages.exact.partition_bytes=1000000"],
        ["runtime_env=quiet"],
        ["stages.read.split_bytes=10"],
        ["output_path=elsewhere"],
        ["+stages.exact.batch_size=2"],
    ],
)
def test_what_decides_the_result_or_how_it_is_run_changes_the_digest(source, typed):
    assert digest_of(source, *typed) != digest_of(source)


def test_a_changed_input_and_another_version_change_the_digest(source):
    before = digest_of(source)
    assert digest_of(source, version="2") != before
    source.write_text('{"id": "1", "text": "two"}\n')
    os.utime(source, ns=(1, 1))
    assert digest_of(source) != before


def test_a_secret_is_not_in_the_digest(source, monkeypatch):
    digests = set()
    for value in ("secret-of-monday", "secret-of-tuesday"):
        monkeypatch.setenv("A_TOKEN", value)
        digests.add(digest_of(source, "executor=ray_actor_pool", "+runtime_env.env_vars.A_TOKEN=${oc.env:A_TOKEN}"))
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("overrides", "swept", "name"),
    [
        (["stages.exact.keep=max:score"], ["stages.exact.keep"], "keep-max-score_0123456789ab"),
        (["stages=[read,exact,write]", "mode=run"], ["stages"], "stages-read-exact-write_0123456789ab"),
        (["+a.b=../../x"], ["a.b"], "b-..-..-x_0123456789ab"),
        (["x.api_key=abcdefgh"], ["x.api_key"], "api-key_0123456789ab"),
        (["mode=run"], [], "0123456789ab"),
        (["~stages.exact"], ["stages.exact"], "exact-taken-away_0123456789ab"),
        ([f"a={'x' * 500}"], ["a"], f"a-{'x' * 78}_0123456789ab"),
    ],
)
def test_a_name_is_one_that_can_be_typed_in_a_path(overrides, swept, name):
    assert point_name(settings_of(overrides), swept, "0123456789ab") == name


def test_a_point_is_found_again_under_another_name(tmp_path):
    (tmp_path / "keep-first_0123456789ab").mkdir()
    (tmp_path / "x_0123456789ab.txt").touch()
    assert (
        find_directory(tmp_path, "keep-first_case-keep_0123456789ab", "0123456789ab").name == "keep-first_0123456789ab"
    )
    assert find_directory(tmp_path, "new_aaaaaaaaaaaa", "aaaaaaaaaaaa").name == "new_aaaaaaaaaaaa"
    assert find_directory(tmp_path / "nowhere", "n", "aaaaaaaaaaaa") == tmp_path / "nowhere" / "n"


@pytest.fixture
def output(source, tmp_path):
    from curator import ExactDeduplication, LocalExecutor, Pipeline, Read, Write

    stages = [Read(str(source)), ExactDeduplication(), Write(tmp_path / "out")]
    Pipeline(stages).run(LocalExecutor(), show_progress=False)
    return tmp_path / "out"


def test_an_output_is_done_when_it_is_whole_and_of_the_same_fingerprint(output):
    fingerprint = json.loads((output / "_curator" / "manifest.json").read_text())["fingerprint"]
    assert is_published(output, fingerprint)
    assert is_published(output, None)
    assert not is_published(output, "another")
    assert not is_published(output.parent / "nothing", None)


@pytest.mark.parametrize("damage", ["part-00000.jsonl", "_curator/SUCCESS.json", "_curator/manifest.json"])
def test_an_output_without_one_of_its_files_is_not_done(output, damage):
    (output / damage).unlink()
    assert not is_published(output, None)


def test_an_output_with_a_short_file_is_not_done(output):
    with open(output / "part-00000.jsonl", "r+b") as file:
        file.truncate(3)
    assert not is_published(output, None)


def test_what_a_point_leaves_is_read_without_its_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "canary-of-a-token")
    write_outcome(tmp_path, 74, "no room for canary-of-a-token")
    point = Point([], {}, tmp_path)
    read_outcome(point)
    assert (point.exit_code, point.reason) == (74, "no room for ***")


@pytest.mark.parametrize("content", [None, "", "{}", "[]", '{"exit_code": "x", "reason": ""}'])
def test_a_point_that_left_nothing_readable_has_no_exit_code(tmp_path, content):
    if content is not None:
        (tmp_path / "point.json").write_text(content)
    point = Point([], {}, tmp_path)
    read_outcome(point)
    assert point.exit_code is None
