"""The wheel carries the options and finds them where nothing of the checkout is in sight."""

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("hatchling") is None or importlib.util.find_spec("pip") is None,
        reason="building a wheel without a network needs hatchling and pip here",
    ),
]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-q"]
    result = subprocess.run(
        [*command, "-w", str(folder), str(ROOT)], capture_output=True, text=True, timeout=250, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = folder.glob("curator-*.whl")
    return path


@pytest.fixture
def unpacked(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    return tmp_path / "site"


def run(unpacked, *words):
    # -I keeps the checkout and PYTHONPATH away; the wheel's dependencies come from this environment.
    code = f"import sys; sys.path.insert(0, {str(unpacked)!r}); sys.argv[0] = 'curator'\n"
    command = [sys.executable, "-I", "-c", code + words[0], *words[1:]]
    return subprocess.run(command, cwd=unpacked.parent, capture_output=True, text=True, timeout=120, check=False)


def test_the_wheel_holds_every_shipped_option(wheel):
    shipped = {f"curator/{path.relative_to(ROOT)}" for path in (ROOT / "conf").rglob("*.yaml")}
    assert "curator/conf/config.yaml" in shipped
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert shipped <= names
    assert not any(name.startswith(("conf/", "tests/", "runs/")) for name in names)


def test_an_installed_wheel_finds_its_own_options(unpacked):
    result = run(unpacked, "from curator.config.conf_dir import conf_dir; print(conf_dir())")
    assert result.stdout.strip() == str(unpacked / "curator" / "conf"), result.stderr


def test_an_installed_wheel_composes_the_default_config(unpacked):
    result = run(unpacked, "from curator.__main__ import main; sys.exit(main())", "--cfg", "job", "-p", "stages.exact")
    assert result.returncode == 0, result.stderr
    assert "keep: first" in result.stdout


def test_the_wheel_installs_the_command(wheel):
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "curator = curator.__main__:main" in archive.read(name).decode()
