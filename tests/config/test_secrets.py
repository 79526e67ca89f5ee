"""Secrets: what is masked, what stays a reference, and that none of a run's files or words shows one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from curator.config.secrets import is_secret_key, mask, mask_overrides, secrets_in

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    "key", ["token", "HF_TOKEN", "api_key", "apikey", "aws_secret_access_key", "Password", "credentials"]
)
def test_a_key_that_speaks_of_secrets_is_one(key):
    assert is_secret_key(["stages", "judge", key])


@pytest.mark.parametrize("key", ["tokenizer", "max_tokens_per_document", "key", "keep", "secretary", "partition_bytes"])
def test_a_key_that_only_sounds_like_one_is_none(key):
    assert not is_secret_key(["stages", "judge", key])


def test_masking_hides_values_keeps_references_and_changes_nothing_else():
    config = {
        "stages": {"judge": {"api_key": "abc", "tokenizer": "gpt2", "max_depth": 3, "url": "https://me:pw@host/x"}},
        "runtime_env": {"env_vars": {"A_TOKEN": "${oc.env:A}", "B_TOKEN": "file:/run/b", "C_TOKEN": "plain", "D": "d"}},
        "list": [{"password": "x"}, None, True],
        "missing_token": "???",
    }
    assert mask(config) == {
        "stages": {"judge": {"api_key": "***", "tokenizer": "gpt2", "max_depth": 3, "url": "https://***@host/x"}},
        "runtime_env": {
            "env_vars": {"A_TOKEN": "${oc.env:A}", "B_TOKEN": "file:/run/b", "C_TOKEN": "***", "D": "d"},
        },
        "list": [{"password": "***"}, None, True],
        "missing_token": "???",
    }
    assert [path for path, _ in secrets_in(config)] == [
        "stages.judge.api_key",
        "stages.judge.url",
        "runtime_env.env_vars.C_TOKEN",
        "list.0.password",
    ]


def test_what_was_typed_is_masked_word_by_word():
    typed = ["+runtime_env.env_vars.A_TOKEN='x'", "++a.api_key=${oc.env:A}", "input_path=s3://u:p@b/c", "mode=plan"]
    assert mask_overrides(typed) == [
        "+runtime_env.env_vars.A_TOKEN=***",
        "++a.api_key=${oc.env:A}",
        "input_path=s3://***@b/c",
        "mode=plan",
    ]


# One canary for each way in; none is a word that could come from anywhere else.
ENVIRONMENT, TYPED, NESTED, FILED, READ, URL, STAGE = (f"canary{number}zq7{'x' * 8}" for number in range(7))
CANARIES = (ENVIRONMENT, TYPED, NESTED, FILED, READ, URL, STAGE)


@pytest.fixture
def command(tmp_path, forked):
    """Runs the command with a secret by every way in; gives back all that could show one."""
    folder = tmp_path / "work"
    (folder / "mine" / "experiment").mkdir(parents=True)
    (folder / "token").write_text(READ)
    (folder / "mine" / "experiment" / "secret.yaml").write_text(
        "# @package _global_\nruntime_env:\n  env_vars:\n    HF_TOKEN: ${oc.env:HF_TOKEN}\n"
        f"    FILED_TOKEN: {FILED}\n    READ_TOKEN: file:{folder / 'token'}\n    A_PROXY: http://me:{URL}@proxy:8080\n"
    )
    texts = ("one", "two", "one")
    (folder / "in.jsonl").write_text("".join(json.dumps({"id": text, "text": text}) + "\n" for text in texts))

    def run(*words, **more):
        environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"} | more
        environment |= {"PYTHONPATH": str(ROOT), "HF_TOKEN": ENVIRONMENT}
        typed = (
            "input_path=in.jsonl",
            "output_path=out",
            "hydra.run.dir=run",
            "experiment=secret",
            f"+runtime_env.env_vars.API_TOKEN={TYPED}",
            f"+executor.runtime_env={{env_vars:{{OTHER_API_KEY:{NESTED}}}}}",
        )
        return forked(("-cd", "mine", *typed, *words), cwd=folder, env=environment)

    run.folder = folder
    return run


def assert_hidden(text, where):
    shown = [canary for canary in CANARIES if canary in text]
    assert shown == [], f"{shown} in {where}"


def assert_nothing_shows(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            assert_hidden(path.read_bytes().decode("utf-8", "replace"), path)


def test_a_run_shows_no_secret_in_any_of_its_files_or_words(command):
    result = command()
    assert result.returncode == 0, result.stderr
    assert_hidden(result.stdout + result.stderr, "the output of the command")
    assert_nothing_shows(command.folder / "run")
    assert_nothing_shows(command.folder / "out")
    recorded = yaml.safe_load((command.folder / "run" / ".hydra" / "config.yaml").read_text())
    assert recorded["runtime_env"]["env_vars"] == {
        "HF_TOKEN": "${oc.env:HF_TOKEN}",
        "FILED_TOKEN": "***",
        "READ_TOKEN": f"file:{command.folder / 'token'}",
        "A_PROXY": "http://***@proxy:8080",
        "API_TOKEN": "***",
    }
    typed = yaml.safe_load((command.folder / "run" / ".hydra" / "overrides.yaml").read_text())
    assert "+runtime_env.env_vars.API_TOKEN=***" in typed


@pytest.mark.parametrize(
    "words",
    [
        ["mode=plan"],
        ["mode=plan", "plan_format=json"],
        ["mode=explain"],
        ["--cfg", "all"],
        ["--cfg", "job", "--resolve"],
        ["stages.exact.keep=frist"],
        ["+runtime_env.env_var.X=1"],
        ["runtime_env.env_vras.API_TOKEN=" + TYPED],
        ["-m", "stages=dedup,copy"],
    ],
)
def test_no_other_mode_and_no_mistake_shows_a_secret(command, words):
    result = command(*words)
    assert_hidden(result.stdout + result.stderr, words)
    assert result.stdout + result.stderr


def test_a_sweep_with_a_secret_in_the_clear_is_refused_before_it_writes(command):
    result = command("-m", "stages=dedup,copy", "hydra.sweep.dir=swept")
    assert result.returncode == 2
    assert (
        "runtime_env.env_vars.API_TOKEN: a sweep writes down what it is given, and this is a secret." in result.stderr
    )
    assert not (command.folder / "swept").exists()


@pytest.mark.ray
def test_a_run_on_ray_shows_no_secret_in_the_files_of_the_session(command, tmp_path):
    # The session's folder goes away with the session, so what is in it is kept through links while it is there.
    keep = tmp_path / "kept"
    keep.mkdir()
    watch = subprocess.Popen([sys.executable, "-c", WATCH, str(keep)])
    try:
        own = f"+stages.exact.runtime_env.env_vars.STAGE_TOKEN={STAGE}"
        result = command("executor=ray_actor_pool", "executor.num_workers=1", "stages=[read,exact,write]", own, **RAY)
    finally:
        watch.terminate()
        watch.wait()
    assert result.returncode == 0, result.stderr
    assert_hidden(result.stdout + result.stderr, "the output of the command")
    assert_nothing_shows(command.folder / "run")
    kept = [path for path in keep.rglob("*") if path.is_file()]
    assert any("raylet" in path.name for path in kept)
    assert_nothing_shows(keep)


RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/"}
WATCH = """
import glob, os, sys, time
keep, = sys.argv[1:]
before = set(glob.glob("/tmp/curator-*"))
while True:
    for place in set(glob.glob("/tmp/curator-*")) - before:
        for folder, _, files in os.walk(place):
            for name in files:
                path = os.path.join(folder, name)
                link = os.path.join(keep, path.replace(os.sep, "~")[-200:])
                try:
                    if os.path.isfile(path) and not os.path.exists(link):
                        os.link(path, link)
                except OSError:
                    pass
    time.sleep(0.05)
"""
