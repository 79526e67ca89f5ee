"""docs/llm.md, and the command line of the preset: every command works, and no key is left anywhere."""

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from curator import ConfigError
from curator.config.build import build_run
from curator.config.compose import compose_config, read_composed_job
from curator.kernels.compile import cache_folder
from tests.stages.text.asking_runs import write_corpus
from tests.stages.text.stub_server import serving

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "llm.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
    if line
]


@pytest.fixture
def run(tmp_path, forked):
    """Runs the command in a folder that is the user's home too."""

    def run(*words, **variables):
        home = {"HOME": str(tmp_path), "NUMBA_CACHE_DIR": str(cache_folder()), "PYTHONPATH": str(ROOT)}
        return forked(words, cwd=tmp_path, env=os.environ | home | variables)

    return run


@pytest.fixture
def folder(tmp_path):
    write_corpus(tmp_path / "in", 24)
    (tmp_path / "corpus.jsonl").write_text((tmp_path / "in" / "a.jsonl").read_text())
    return tmp_path


def test_the_commands_of_the_page_work_and_the_second_run_asks_nothing(folder, run):
    with serving() as server:
        for line in COMMANDS:
            words = shlex.split(line.replace("$JUDGE_URL", server.url))
            assert words[:3] == ["python", "-m", "curator"]
            result = run(*words[3:])
            assert result.returncode == 0, result.stderr
        assert len(COMMANDS) == 3
        assert server.requests == 12
    assert len((folder / "good" / "part-00000.jsonl").read_text().splitlines()) == 6
    assert len((folder / "better" / "part-00000.jsonl").read_text().splitlines()) == 4
    assert list((folder / ".cache" / "curator" / "answers").glob("*.sqlite"))


def test_a_key_of_the_environment_reaches_the_server_and_no_file(folder, run):
    secret = "canary-of-the-judge-42"
    with serving() as server:
        words = [f"stages.llm_score.endpoint={server.url}", "stages.llm_score.model=judge", "stages=llm_quality"]
        words += ["stages.llm_score.api_key=${oc.env:JUDGE_API_KEY}", "input_path=corpus.jsonl", "output_path=out"]
        result = run(*words, JUDGE_API_KEY=secret)
        assert result.returncode == 0, result.stderr
        assert set(server.keys) == {f"Bearer {secret}"}
    assert secret not in result.stdout + result.stderr
    left = [path for path in folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]
    assert left == []
    run_json = json.loads((folder / "out" / "_curator" / "run.json").read_text())
    assert run_json["counts"]["read"] == 12


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "stages.llm_score: there is nobody to ask"),
        (["stages.llm_score.endpoint=nowhere", "stages.llm_score.model=m"], "stages.llm_score.endpoint: 'nowhere'"),
        (["stages.llm_score.replicas=judge"], "there is no set 'judge' in this run"),
        (["stages.llm_score.prompt='{text.upper}'"], "stages.llm_score.prompt: '{text.upper}' is no plain name"),
        (["stages.llm_score.max_concurency=3"], "Did you mean 'stages.llm_score.max_concurrency"),
        (["stages.llm_score.answer.score.type=int"], "stages.llm_score.answer: score.type: 'int' is not known"),
        (["stages.write.add_columns=[scor]"], "no stage makes 'scor'. Did you mean 'score'?"),
    ],
)
def test_a_mistake_is_said_in_words_of_the_config(words, message):
    def build():
        job = read_composed_job(compose_config(["stages=llm_quality", *words]))
        return build_run(job.plain, job.layers)

    with pytest.raises(ConfigError) as caught:
        build()
    assert message in str(caught.value)


def test_a_mistake_is_one_message_with_exit_code_2_and_without_any_effect(tmp_path, run):
    result = run("stages=llm_quality")
    assert result.returncode == 2, result.stdout + result.stderr
    assert "there is nobody to ask" in result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == []
