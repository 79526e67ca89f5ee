"""What holds for the files of this repository, whoever writes them."""

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))

SOURCE_FOLDERS = ("curator", "conf", "tests", "benchmarks")
MOST_LINES = 400
NAMES_OF_NOTHING = ("utils", "util", "helpers", "helper", "common", "misc", "manager", "managers")
HOME_PATHS = re.compile(r"(?<![\w./])/(?:work|root|home)/\w")


def source_files():
    found = [path for name in SOURCE_FOLDERS for path in (ROOT / name).rglob("*") if path.suffix in (".py", ".yaml")]
    return sorted(path for path in found if "__pycache__" not in path.parts)


def git(*words, stdin=""):
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    # A checkout may belong to somebody else than who runs the tests.
    command = ["git", "-c", f"safe.directory={ROOT}", "-C", str(ROOT), *words]
    result = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=60, check=False)
    assert result.returncode in (0, 1), result.stderr
    return [name for name in result.stdout.split("\0") if name]


def test_an_expected_failure_that_passes_is_a_failure():
    assert PROJECT["tool"]["pytest"]["ini_options"]["xfail_strict"] is True


def test_warnings_are_errors():
    assert PROJECT["tool"]["pytest"]["ini_options"]["filterwarnings"][0] == "error"


def test_every_dependency_has_a_lower_bound():
    extras = PROJECT["project"]["optional-dependencies"]
    listed = PROJECT["project"]["dependencies"] + [each for extra in extras.values() for each in extra]
    others = [each for each in listed if not each.startswith("curator[")]
    assert len(others) > 10
    assert [each for each in others if ">=" not in each.partition(";")[0]] == []


def test_heavy_libraries_are_no_dependencies():
    names = {re.split(r"[\s<>=;\[]", each, maxsplit=1)[0] for each in PROJECT["project"]["dependencies"]}
    assert not names & {"torch", "pandas", "transformers", "datasets", "polars", "tensorflow"}


def test_the_version_is_the_same_everywhere():
    import curator

    assert PROJECT["project"]["version"] == curator.__version__
    assert f"## {curator.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("path", source_files(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_file_can_be_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES


def test_no_module_has_a_name_that_says_nothing():
    paths = [path.relative_to(ROOT) for path in source_files()]
    assert [str(path) for path in paths if {path.stem, *path.parts[:-1]} & set(NAMES_OF_NOTHING)] == []


def test_every_option_says_in_its_first_line_what_it_is():
    options = [path for path in (ROOT / "conf").rglob("*.yaml") if path.parent.name != "help"]
    first = {path: path.read_text(encoding="utf-8").splitlines()[:2] for path in options}
    assert [path.name for path, lines in first.items() if not any(re.match(r"# \w", line) for line in lines)] == []


def test_no_source_file_is_hidden_from_git():
    names = "\0".join(path.relative_to(ROOT).as_posix() for path in source_files())
    assert git("check-ignore", "--no-index", "-z", "--stdin", stdin=names) == []


def test_no_tracked_file_names_a_folder_of_one_machine():
    wrong = []
    for name in git("ls-files", "-z", "--cached", "--others", "--exclude-standard"):
        path = ROOT / name
        if not path.is_file() or path == Path(__file__):
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        wrong += [f"{name}: {match[0]}" for match in HOME_PATHS.finditer(text)]
    assert wrong == []


def test_scripts_can_be_executed_and_stop_at_the_first_failure():
    scripts = [path for path in (ROOT / "scripts").rglob("*") if path.is_file() and not path.suffix]
    for path in [ROOT / ".ci" / "run", *scripts]:
        assert os.access(path, os.X_OK), path
        assert "set -euo pipefail" in path.read_text(encoding="utf-8"), path
