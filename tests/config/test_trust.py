"""A package of a third party: options and stages that an entry point, a flag or the environment lets in."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from curator.config.trust import trusted_packages
from curator.errors import ConfigError

ROOT = Path(__file__).parents[2]

STAGE = '''
import pathlib
from curator.stages.base import ProcessingStage
pathlib.Path("imported").touch()

class Shout(ProcessingStage):
    """Does nothing, loudly."""

    def __init__(self, *, volume: int = 1) -> None:
        self.volume = volume

    def process(self, task):
        return task
'''
OPTION = "# Shout.\nshout:\n  _target_: curator_shouts.stages.Shout\n  volume: 3\n"
ENTRY_POINTS = "[curator.conf]\nshouts = curator_shouts.conf\n\n[curator.trusted]\nshouts = curator_shouts\n"


@pytest.fixture
def site(tmp_path):
    """A folder as an installer leaves it, with the package in it."""
    site = tmp_path / "site"
    for name, text in (
        ("curator_shouts/__init__.py", ""),
        ("curator_shouts/stages.py", STAGE),
        ("curator_shouts/conf/stages/shout.yaml", OPTION),
        ("curator_shouts/conf/stages/read.yaml", "read: {_target_: os.system}\n"),
        ("curator_shouts-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: curator-shouts\nVersion: 1.0\n"),
        ("curator_shouts-1.0.dist-info/entry_points.txt", ENTRY_POINTS),
    ):
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return site


@pytest.fixture
def curator(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()

    def run(site, *words, **more):
        kept = {key: value for key, value in os.environ.items() if key != "CURATOR_TRUST"}
        environment = kept | {"PYTHONPATH": f"{ROOT}{os.pathsep}{site}"} | more
        return subprocess.run(
            [sys.executable, "-m", "curator", *words],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    run.folder = folder
    return run


WORDS = ("stages=[read,shout,write]", "stages.shout.volume=5", "mode=plan")


def test_an_installed_package_adds_options_and_stages(site, curator):
    result = curator(site, *WORDS)
    assert result.returncode == 0, result.stderr
    assert "read · shout · write" in result.stdout
    assert "copy, dedup" in curator(site, "--help").stdout
    assert "shout" in curator(site, "--help").stdout


def test_its_mistakes_are_told_like_those_of_our_own_stages(site, curator):
    result = curator(site, *WORDS, "stages.shout.volume=loud")
    assert result.returncode == 2
    assert "stages.shout.volume: 'loud' must be a whole number." in result.stderr


def test_its_options_do_not_hide_ours(site, curator):
    result = curator(site, "mode=plan", "stages=copy")
    assert result.returncode == 0, result.stderr


def test_without_an_entry_point_its_stages_are_foreign_and_not_even_imported(site, curator):
    (site / "curator_shouts-1.0.dist-info" / "entry_points.txt").unlink()
    options = str(site / "curator_shouts" / "conf")
    (Path(options) / "stages" / "read.yaml").unlink()
    result = curator(site, "-cd", options, *WORDS)
    assert result.returncode == 2
    assert "'curator_shouts.stages.Shout' lies outside the trusted packages ('curator.',)" in result.stderr
    assert not (curator.folder / "imported").exists()
    assert curator(site, "-cd", options, *WORDS, "--trust", "curator_shouts").returncode == 0
    assert curator(site, "-cd", options, *WORDS, CURATOR_TRUST="other,curator_shouts").returncode == 0


@pytest.mark.parametrize("key", ["trust", "trusted", "hydra.trust"])
def test_no_config_can_make_anything_trusted(site, curator, key):
    (site / "curator_shouts-1.0.dist-info" / "entry_points.txt").unlink()
    options = site / "curator_shouts" / "conf"
    (options / "stages" / "read.yaml").unlink()
    (options / "experiment").mkdir()
    outer, _, inner = key.rpartition(".")
    text = f"{outer}: {{{inner}: [curator_shouts]}}" if outer else f"{inner}: [curator_shouts]"
    (options / "experiment" / "trusting.yaml").write_text(f"# @package _global_\n{text}\n")
    result = curator(site, "-cd", str(options), "experiment=trusting", *WORDS)
    assert result.returncode == 2
    assert not (curator.folder / "imported").exists()


def test_a_trusted_package_is_no_prefix_of_another_name(monkeypatch):
    monkeypatch.setenv("CURATOR_TRUST", "mine:theirs.stages")
    assert trusted_packages(["ours, yours"])[:5] == ("curator.", "ours.", "yours.", "mine.", "theirs.stages.")


@pytest.mark.parametrize("word", ["*", "a-b", "a..b", "os/path", "1a"])
def test_a_word_that_is_no_package_is_refused(word):
    with pytest.raises(ConfigError) as caught:
        trusted_packages([word])
    assert caught.value.problems == [f"--trust: {word!r} is no name of a package. Write it as 'my_package'."]
