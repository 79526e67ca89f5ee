"""One SLURM for all tests here; they skip, with the reason, where there can be none."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from tests.slurm.virtual_slurm import VirtualSlurm, why_not

ROOT = Path(__file__).parents[2]


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.slurm)
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def slurm():
    if reason := why_not():
        pytest.skip(reason)
    # The path of a socket has 107 bytes at most, and Ray's lie deep.
    slurm = VirtualSlurm(tempfile.mkdtemp(prefix="cs-", dir="/tmp"))
    # What other tests set for their Ray is not what a user's shell has.
    for name in [name for name in slurm.environment if name.startswith(("RAY_", "HYDRA_"))]:
        del slurm.environment[name]
    slurm.environment |= {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",
        "RAY_worker_niceness": "0",
        "PATH": f"{Path(sys.executable).parent}:{slurm.environment['PATH']}",
        "PYTHONPATH": f"{ROOT}",
        "CURATOR_TMPDIR": f"{slurm.folder}/t",
    }
    try:
        slurm.start()
        (slurm.folder / "t").mkdir()
        yield slurm
    finally:
        slurm.stop()


def write_input(folder):
    (folder / "in").mkdir()
    for name in "ab":
        lines = [json.dumps({"id": f"{name}{row}", "text": f"{row % 50} " + "x" * 200}) + "\n" for row in range(400)]
        (folder / "in" / f"{name}.jsonl").write_text("".join(lines))


@pytest.fixture
def folder(slurm):
    """A folder that all nodes see, with an input; what jobs printed is shown if a test fails."""
    folder = Path(tempfile.mkdtemp(prefix="run-", dir=slurm.folder))
    write_input(folder)
    (folder / "slow_stage.py").write_text(SLOW_STAGE)
    options = folder / "options" / "stages"
    options.mkdir(parents=True)
    (options / "slow.yaml").write_text(f"# Slow.\nslow: {{_target_: slow_stage.Slow, folder: {folder}, seconds: 2}}\n")
    yield folder
    for path in sorted(folder.glob("*.out")):
        print(f"--- {path.name}\n{path.read_text(errors='replace')}")
    slurm.call("scancel", "--quiet", "--user=root", check=False)
    slurm.wait_for(lambda: not slurm.call("squeue", "--noheader"), "the queue to be empty")
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def local_output(slurm, tmp_path_factory):
    """What one process makes of the input, which is what everything else is compared with."""
    folder = tmp_path_factory.mktemp("local")
    write_input(folder)
    curator(slurm, folder, "input_path=in", "output_path=out", EXACT)
    return data_files(folder / "out")


EXACT = "stages=[read,exact,write]"

SLOW_STAGE = """
import os
import time
from curator.stages.base import ProcessingStage

class Slow(ProcessingStage):
    name = "slow"

    def __init__(self, folder, seconds):
        self.folder = folder
        self.seconds = seconds

    def process(self, task):
        if not os.path.exists(os.path.join(self.folder, "hurry")):
            open(os.path.join(self.folder, "working"), "w").close()
            time.sleep(self.seconds)
        return task
"""

SLOWLY = (
    *("--trust", "slow_stage", "--config-dir", "options", "stages=[read,slow,exact,write]"),
    *("input_path=in", "stages.read.split_bytes=2000"),
)
"""Words of a run whose 92 units take two seconds each, until there is a file ``hurry``."""


def curator(slurm, folder, *words, check=True):
    """The command as a user of the cluster types it."""
    result = subprocess.run(
        [sys.executable, "-m", "curator", *words],
        cwd=folder,
        env=slurm.environment | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert not check or result.returncode == 0, result.stderr
    return result


def data_files(output):
    return {path.name: path.read_bytes() for path in sorted(output.glob("part-*"))}


def wait_for_file(path, slurm, job, limit_s=240):
    ends_s = time.monotonic() + limit_s
    while not path.exists():
        assert time.monotonic() < ends_s, f"{path} has not come"
        assert slurm.show(job)["JobState"] in ("PENDING", "RUNNING", "CONFIGURING", "COMPLETING"), slurm.show(job)
        time.sleep(0.5)
