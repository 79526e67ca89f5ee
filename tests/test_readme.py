"""The README and the pages of docs: what they print runs, and what they link to is there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    """The contents of the fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)


def command_lines():
    """What is typed in the README, line by line; the two commands to start come first."""
    return [line for block in blocks(README, "sh") for line in block.splitlines()]


PYTHON_BLOCKS = [(page, number, code) for page in PAGES for number, code in enumerate(blocks(page, "python"))]
LINKS = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))]


def run(command, folder):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=200, check=False
    )


@pytest.mark.parametrize(
    ("page", "number", "code"), PYTHON_BLOCKS, ids=[f"{page.name}-{number}" for page, number, _ in PYTHON_BLOCKS]
)
def test_the_python_of_a_page_runs(page, number, code, tmp_path):
    result = run([sys.executable, "-c", code], tmp_path)
    assert result.returncode == 0, result.stderr


def test_the_python_of_the_readme_has_ten_lines_at_most():
    assert [len([line for line in code.splitlines() if line]) <= 10 for code in blocks(README, "python")] == [True]


@pytest.mark.parametrize(("page", "link"), LINKS, ids=[f"{page.name}-{link}" for page, link in LINKS])
def test_a_link_leads_to_something(page, link):
    assert not link.startswith("http"), "pages stand on their own: copy what is needed"
    assert (page.parent / link.partition("#")[0]).exists()


def test_two_commands_start_and_ci_runs_the_same():
    first, second = command_lines()[:2]
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    words = ("pip install", "python -m curator executor=ray_actor_pool stages=dedup", "scripts/test")
    assert [word in first for word in words] == [True, True, False]
    assert [word in second for word in words] == [True, False, True]
    for part in ("-e .", "python -m curator executor=ray_actor_pool stages=dedup"):
        assert part in first
        assert f"{part}\n" in ci or f"{part} " in ci
    for part in ("-e '.[dev]'", "scripts/test"):
        assert part in second
        assert f"{part}\n" in ci
    assert len([line for line in command_lines() if "pip install" in line]) == 2


def test_the_words_are_a_table_of_eight_rows():
    text = README.read_text(encoding="utf-8")
    (table,) = re.findall(r"^\| word \| meaning \|\n\|---\|---\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert len(table.splitlines()) == 8


def test_no_page_names_a_registry_or_a_machine():
    for page in PAGES:
        assert not re.search(r"https?://|localhost|\bpypi\b|--index-url", page.read_text(encoding="utf-8")), page


def test_every_shipped_stage_and_executor_is_in_the_readme():
    text = README.read_text(encoding="utf-8")
    names = [path.stem for path in (ROOT / "conf" / "stages").glob("*.yaml")]
    names += [f"executor={path.stem}" for path in (ROOT / "conf" / "executor").glob("*.yaml")]
    assert [name for name in names if f"| `{name}` |" not in text] == []


def test_every_exit_code_is_in_the_readme():
    import curator.errors

    codes = {kind.exit_code for kind in vars(curator.errors).values() if hasattr(kind, "exit_code")}
    text = README.read_text(encoding="utf-8")
    assert len(codes) >= 4
    for code in {0, 130, *codes}:
        assert f"\n| {code} | " in text


def test_every_reason_to_remove_or_refuse_a_document_is_on_the_page_about_outputs():
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "curator" / "stages").rglob("*.py")]
    reasons = {
        word
        for source in sources
        for word in re.findall(r"(?:reason=|REASON = |array\(\[)\"([a-z]+_[a-z_]+)\"", source)
    }
    assert {"near_duplicate", "exact_duplicate", "below_threshold", "without_text"} <= reasons
    page = (ROOT / "docs" / "output.md").read_text(encoding="utf-8")
    assert sorted(word for word in reasons if f"`{word}`" not in page) == []


@pytest.fixture
def folder(tmp_path):
    """Where the commands of the README find what they speak of."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    lines = [f'{{"id": "{row}", "text": "text {row % 4}", "body": "{row % 3}"}}\n' for row in range(12)]
    (corpus / "a.jsonl").write_text("".join(lines))
    code = "import sys; from pyarrow import json, parquet; parquet.write_table(json.read_json('a.jsonl'), 'b.parquet')"
    subprocess.run([sys.executable, "-c", code], cwd=corpus, check=True, timeout=60)
    options = tmp_path / "mine" / "stages"
    options.mkdir(parents=True)
    (option,) = blocks(README, "yaml")
    (options / "folded.yaml").write_text(option)
    return tmp_path


@pytest.mark.slow
@pytest.mark.ray
def test_every_command_of_the_readme_runs_in_the_order_of_the_page(folder, forked):
    lines = command_lines()[2:]
    assert len(lines) > 12
    for line in lines:
        command = shlex.split(line)
        assert command[:3] == ["python", "-m", "curator"]
        if "executor=ray" in line:
            result = run(command, folder)
        else:
            result = forked(command[3:], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)})
        assert result.returncode == 0, f"{line}\n{result.stderr}"
    assert not (folder / "never").exists()
    assert (folder / "clean" / "part-00000.jsonl").exists()
    assert (folder / "clean-zst" / "part-00001.jsonl.zst").exists()
    assert (folder / "folded" / "_curator" / "SUCCESS.json").exists()
