"""``scripts/slurm/shards.sbatch``: an array over shards of the input, its preemption, and what is missing of it."""

import os
import shutil

import pytest

from tests.slurm.conftest import ROOT, SLOWLY, curator, wait_for_file

SCRIPT = ROOT / "scripts" / "slurm" / "shards.sbatch"
OPTIONS = ("--mem-per-cpu=500M", "--time=10")


@pytest.fixture
def environment(slurm, folder):
    return {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}


def test_an_array_makes_all_shards_and_only_missing_ones_are_submitted_again(slurm, folder):
    words = [*OPTIONS, str(SCRIPT), "input_path=in", "output_path=out"]
    job = slurm.submit("--array=0-1", *words, folder=folder)
    slurm.wait_for(lambda: job not in slurm.call("squeue", "--noheader", "--format=%A"), "the array to end", 120)
    assert sorted(path.name for path in (folder / "out").iterdir()) == [f"shard-000{i}-of-0002" for i in range(2)]
    shutil.rmtree(folder / "out" / "shard-0001-of-0002")
    again = ["sbatch", "--array=0-1", f"--chdir={folder}", f"--output={folder}/%A_%a.out", *words]
    result = curator(slurm, folder, "shards", "out", "--submit", "--", *again)
    assert "--array=1 " in result.stdout
    slurm.wait_for((folder / "out" / "shard-0001-of-0002").exists, "the missing shard", 120)
    assert curator(slurm, folder, "shards", "out").stdout == "2 shards: 2 done, 0 missing\n"


def test_a_part_of_an_array_does_not_take_itself_for_the_whole(slurm, folder):
    job = slurm.submit("--array=1", *OPTIONS, SCRIPT, "input_path=in", "output_path=out", folder=folder)
    assert slurm.wait_for_end(job) == ("FAILED", 2)
    assert not (folder / "out").exists()


def test_a_run_that_is_preempted_stops_cleanly_and_runs_again_afterwards(slurm, folder, environment):
    whole = ("--nodes=1", "--cpus-per-task=4", "--nodelist=vn0")
    job = slurm.submit(*whole, *OPTIONS, "--array=0", SCRIPT, *SLOWLY, "output_path=out", folder=folder, **environment)
    wait_for_file(folder / "working", slurm, job)
    urgent = slurm.submit(*whole, "--partition=urgent", "--wrap=sleep 2", folder=folder)
    assert slurm.wait_for_end(urgent) == ("COMPLETED", 0)
    (folder / "hurry").touch()
    assert slurm.wait_for_end(job) == ("COMPLETED", 0)
    assert slurm.show(job)["Restarts"] == "1"
    assert "Stopped by SIGTERM" in "".join(path.read_text() for path in folder.glob("curator-shards-*.out"))
    assert [path.name for path in (folder / "out").iterdir()] == ["shard-0000-of-0001"]
