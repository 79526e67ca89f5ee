"""Sharded runs as they are typed: what each writes, what is missing, and what is submitted again."""

import json
import os
import shutil
import stat
from pathlib import Path

import pytest

from curator import ConfigError, VerifyError
from curator.runs.shards import find_shards, resubmission

ROOT = Path(__file__).parents[2]
SBATCH = ["sbatch", "--array=0-2", "run.sbatch", "output_path=out"]


@pytest.fixture
def curator(tmp_path, forked):
    def curator(*words, **more):
        return forked(words, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)} | more)

    return curator


@pytest.fixture(scope="module")
def made(tmp_path_factory, write_jsonl, forked):
    """Three shards of four files with equal texts in them."""
    folder = tmp_path_factory.mktemp("sharded")
    for number in range(4):
        write_jsonl(folder / "in" / f"{number}.jsonl", [{"id": f"{number}-{row}", "text": str(row)} for row in "abb"])
    words = ["-m", "shard.index=0,1,2", "shard.count=3", "input_path=in", "output_path=out"]
    result = forked(words, cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture
def sharded(made, tmp_path):
    """The shards, to be changed."""
    for name in ("in", "out"):
        shutil.copytree(made / name, tmp_path / name)
    return tmp_path / "out"


def test_every_document_is_in_one_shard_and_duplicates_are_found_within_each(sharded, curator):
    kept = [
        json.loads(line)["id"]
        for path in sorted(sharded.rglob("part-*.jsonl"))
        for line in path.read_text().splitlines()
    ]
    assert sorted(path.name for path in sharded.iterdir()) == [f"shard-000{index}-of-0003" for index in range(3)]
    assert len(kept) == 6
    assert len(set(kept)) == 6
    assert find_shards(sharded).missing == []
    assert find_shards(sharded).problems == ()
    for shard in sharded.iterdir():
        assert curator("verify", str(shard)).returncode == 0
        assert "by exact: exact_duplicate" in curator("show", str(shard), "--removed", "1").stdout


def test_the_plan_of_a_shard_doubts_deduplication(sharded, curator):
    words = ["mode=plan", "shard.index=0", "shard.count=2", "input_path=in"]
    assert "duplicates are found within this shard only" in curator(*words).stdout
    assert "this shard" not in curator(*words, "stages=copy").stdout


def test_missing_shards_are_listed_and_submitted_again(sharded, curator, tmp_path):
    shutil.rmtree(sharded / "shard-0001-of-0003")
    result = curator("shards", "out")
    assert (result.returncode, result.stdout.splitlines()[:2]) == (1, ["3 shards: 2 done, 1 missing", "missing: 1"])
    fake = tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    fake.write_text('#!/bin/sh\necho "$@" > submitted\n')
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    result = curator("shards", "out", "--submit", "--", *SBATCH, PATH=f"{fake.parent}:{os.environ['PATH']}")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[2] == "sbatch --array=1 run.sbatch output_path=out shard.count=3"
    assert (tmp_path / "submitted").read_text() == "--array=1 run.sbatch output_path=out shard.count=3\n"


def test_all_shards_are_missing_where_none_was_run(tmp_path, curator):
    result = curator("shards", "out", "--", *SBATCH)
    assert result.returncode == 1
    assert result.stdout.splitlines()[-1] == "sbatch --array=0-2 run.sbatch output_path=out shard.count=3"
    with pytest.raises(VerifyError, match="nothing says how many"):
        find_shards(tmp_path / "out")


def test_shards_of_two_divisions_are_refused(sharded, curator):
    assert curator("shard.index=0", "shard.count=2", "input_path=in", "output_path=out").returncode == 0
    with pytest.raises(VerifyError, match="2 and 3 shards"):
        find_shards(sharded)


def test_shards_with_other_settings_do_not_go_together(sharded, curator):
    words = ["shard.index=1", "shard.count=3", "input_path=in", "output_path=out", "output_mode=replace"]
    assert curator(*words, "stages.exact.keep=longest").returncode == 0
    assert find_shards(sharded).problems == ("shard 1 was run with other settings than shard 0.",)


def test_an_input_that_changed_between_shards_is_seen(sharded, curator, tmp_path, write_jsonl):
    write_jsonl(tmp_path / "in" / "00.jsonl", [{"text": "x" * 1000}])
    words = ["shard.index=1", "shard.count=3", "input_path=in", "output_path=out", "output_mode=replace"]
    assert curator(*words).returncode == 0
    assert "shard 1 divided another input than shard 0" in " ".join(find_shards(sharded).problems)


def test_what_is_not_submitted_by_sbatch_is_refused(sharded):
    with pytest.raises(ConfigError, match="must begin with sbatch"):
        resubmission(find_shards(sharded), ["rm", "-rf", "out"])


@pytest.mark.parametrize("words", [["shard.index=1"], ["shard.count=2"], ["shard.index=2", "shard.count=2"]])
def test_half_a_shard_is_one_message(curator, words):
    result = curator(*words)
    assert result.returncode == 2
    assert "shard." in result.stderr
    assert "Traceback" not in result.stderr
