"""``hydra/launcher=slurm``: a sweep is an array of jobs, each point with a run directory named by its content."""

import json
import os

from tests.slurm.conftest import curator, data_files

QUICK = ("-m", "hydra/launcher=slurm", "hydra.launcher.timeout_min=5", "input_path=in", "hydra.sweep.dir=swept")
EXACT = "stages=[read,exact,write]"


def points_of(folder):
    found = json.loads((folder / "swept" / "comparison.json").read_text())["points"]
    return [(point, folder / "swept" / point["name"]) for point in found]


def arrays_of(folder):
    return sorted(path.name for path in (folder / "swept" / ".submitit").glob("*_*") if path.is_dir())


def test_a_sweep_is_one_array_and_its_points_have_the_bytes_of_one_process(slurm, folder, local_output):
    words = (*QUICK, EXACT, "executor=local,ray_actor_pool")
    first = curator(slurm, folder, *words)
    points = points_of(folder)
    assert len(points) == 2
    for point, directory in points:
        assert (point["exit_code"], point["counts"]["kept"]) == (0, 50)
        assert data_files(directory / "output") == local_output
        manifest = json.loads((directory / "output" / "_curator" / "manifest.json").read_text())
        assert len(manifest["input"]) == 2, "a point was taken for a shard of the input"
        assert "published" in (directory / "curator.jsonl").read_text()
        assert (directory / ".hydra" / "overrides.yaml").exists()
    jobs = arrays_of(folder)
    array = jobs[0].partition("_")[0]
    assert jobs == [f"{array}_{number}" for number in range(2)]
    assert first.stdout.count("exact_duplicate 750") == 2
    again = curator(slurm, folder, *words)
    said = [line for line in again.stderr.splitlines() if "point " in line]
    assert [line.rpartition(", ")[2] for line in said] == ["was done before"] * 2, (said, points)
    assert arrays_of(folder) == jobs, "a point that was done went into the queue again"
    assert again.stdout == first.stdout, "the comparison is another one"


def test_a_point_that_fails_or_dies_is_named_with_its_log_and_does_not_stop_the_others(slurm, folder):
    (folder / "deadly_stage.py").write_text(DEADLY)
    (folder / "options" / "stages" / "deadly.yaml").write_text(
        "# Kills.\ndeadly: {_target_: deadly_stage.Deadly, how: x}\n"
    )
    words = (*QUICK, "--trust", "deadly_stage", "-cd", "options", "stages=[read,deadly,write]")
    result = curator(slurm, folder, *words, "stages.deadly.how=frist,kill,raise,pass", check=False)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    assert "3 of 4 points failed:" in result.stderr
    by_how = {point["settings"]["stages.deadly.how"]: (point, directory) for point, directory in points_of(folder)}
    refused, directory = by_how["frist"]
    assert refused["exit_code"] == 2
    assert "there is no 'frist'" in (directory / "curator.jsonl").read_text()
    killed, _ = by_how["kill"]
    assert killed["exit_code"] == 1
    assert "ended without a word" in killed["reason"]
    assert killed["log"].endswith("_log.err")
    assert os.path.exists(killed["log"])
    raised, directory = by_how["raise"]
    assert "it broke" in raised["reason"]
    assert "Traceback" in (directory / "curator.jsonl").read_text()
    passed, directory = by_how["pass"]
    assert passed["exit_code"] == 0
    assert data_files(directory / "output")
    for point in (refused, killed, raised):
        assert f"{point['name']} failed with exit code {point['exit_code']}: {point['reason']}" in result.stderr
        assert point["log"] in result.stderr


DEADLY = """
import os
import signal
from curator.errors import ConfigError
from curator.stages.base import ProcessingStage

class Deadly(ProcessingStage):
    name = "deadly"

    def __init__(self, how):
        self.how = how
        if how == "frist":
            raise ConfigError("deadly.how: there is no 'frist'.")

    def process(self, task):
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.how == "raise":
            raise ValueError("it broke")
        return task
"""
