"""docs/sweeps.md: every command on it composes, and is a sweep; those of a grid are planned as they are typed."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from curator.__main__ import main
from curator.report.comparison import OBJECTIVES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sweeps.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
COMMANDS = [line for block in BLOCKS for line in block.replace("\\\n", "").splitlines()]
GRIDS = [line for line in COMMANDS if "hydra/sweeper" not in line]


@pytest.mark.parametrize("line", GRIDS)
def test_a_grid_of_the_page_can_be_planned_and_leaves_nothing_behind(line, tmp_path, monkeypatch, capsys):
    words = shlex.split(line)
    assert words[:4] == ["python", "-m", "curator", "-m"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["curator", "-m", *words[4:], *(["mode=plan"] * ("mode=plan" not in words))])
    assert main() == 0, capsys.readouterr().err
    plans = re.findall(
        rf"^output +{re.escape(str(tmp_path))}/multirun/(\S+)/output$", capsys.readouterr().out, re.MULTILINE
    )
    assert len(set(plans)) == len(plans) >= 2
    assert list(tmp_path.iterdir()) == []


def test_the_sweep_in_a_file_of_the_page_is_a_grid_of_four(tmp_path, monkeypatch, capsys):
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "keepers.yaml").write_text(block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["curator", "--config-dir", "mine", "experiment=keepers", "mode=plan"])
    assert main() == 0, capsys.readouterr().err
    assert len(set(re.findall(r"multirun/(keep-\w+_case-\w+)/output$", capsys.readouterr().out, re.MULTILINE))) == 4


def test_the_search_of_the_page_composes():
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper", reason="needs pip install 'curator[search]'")
    (line,) = [line for line in COMMANDS if "hydra/sweeper" in line]
    # In a process of its own, since optuna's dependencies warn, and warnings are errors here.
    code = "import sys; from curator.config.compose import compose_config as compose\n"
    code += "print(compose(sys.argv[1:], multirun=True).hydra.sweeper._target_)"
    command = [sys.executable, "-c", code, *shlex.split(line)[4:]]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert result.stdout.endswith(".OptunaSweeper\n"), result.stderr


def test_the_page_names_every_objective():
    for name in OBJECTIVES:
        assert f"`{name}`" in PAGE
