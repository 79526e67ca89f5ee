"""docs/configuration.md: every command, table row and file on it does what the page says."""

import os
import re
import shlex
from pathlib import Path

import pytest
import yaml

from curator.config.merge import merge_executor_configs

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def rows(*head):
    line = re.escape(f"| {' | '.join(head)} |")
    (table,) = re.findall(rf"^{line}\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in line.strip("|\n").split(" | ")] for line in table.splitlines()]


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]
MERGES = [[yaml.safe_load(cell.strip("`")) for cell in row] for row in rows("weaker", "stronger", "merged")]
MISTAKES = [(typed.strip("`"), answer.replace("\\|", "|")) for typed, answer in rows("typed", "answer")]


@pytest.fixture
def run(tmp_path, forked):
    """Runs the command in an empty folder."""

    def run(*words, **more):
        environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_TOKEN": "a-token-of-the-hub"} | more
        return forked(words, cwd=tmp_path, env=environment)

    return run


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_of_the_page_works_and_leaves_nothing_behind(line, tmp_path, run):
    words = shlex.split(line)
    variables = {}
    while "=" in words[0]:
        name, _, value = words.pop(0).partition("=")
        variables[name] = value
    assert words[:3] == ["python", "-m", "curator"]
    result = run(*words[3:], **variables)
    assert result.returncode == 0, result.stderr
    assert result.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("weaker", "stronger", "merged"), MERGES)
def test_a_row_of_the_merge_is_true(weaker, stronger, merged):
    assert merge_executor_configs(weaker, stronger) == merged


def test_there_are_rows_for_every_kind_of_replacement():
    assert len(MERGES) >= 10


@pytest.mark.parametrize(("typed", "answer"), MISTAKES)
def test_a_mistake_is_answered_as_the_page_says(typed, answer, tmp_path, run):
    result = run(typed, "mode=plan")
    assert result.returncode == (0 if answer.startswith("nothing") else 2)
    assert answer.startswith("nothing") or answer in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_experiment_of_the_page_composes_and_its_secrets_stay_references(tmp_path, run):
    (block,) = blocks("yaml")
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "hub.yaml").write_text(block)
    (tmp_path / "token.txt").write_text("content-of-the-file")
    typed = ["-cd", "mine", "experiment=hub", "executor=ray_actor_pool"]
    result = run(*typed, "mode=plan")
    assert result.returncode == 0, result.stderr
    assert "HF_TOKEN, OTHER_TOKEN" in result.stdout
    shown = run(*typed, "--cfg", "job", "-p", "runtime_env").stdout
    assert yaml.safe_load(shown) == yaml.safe_load(block)["runtime_env"]


def test_the_entry_points_of_the_page_are_those_that_are_read():
    import tomllib

    from curator.config.trust import OPTIONS_GROUP, TRUSTED_GROUP

    (block,) = blocks("toml")
    assert set(tomllib.loads(block)["project"]["entry-points"]) == {OPTIONS_GROUP, TRUSTED_GROUP}
