"""``scripts/slurm/ray.sbatch``: one run on a Ray cluster over nodes, and what becomes of it when something ends it."""

import os
import signal

import pytest

from tests.slurm.conftest import EXACT, ROOT, SLOWLY, data_files, wait_for_file

SCRIPT = ROOT / "scripts" / "slurm" / "ray.sbatch"
OPTIONS = ("--nodes=2", "--cpus-per-task=1", "--mem-per-cpu=1000M", "--time=10", "--gpus-per-node=1")


@pytest.fixture
def submit(slurm, folder):
    def call(*words, options=OPTIONS):
        addresses = "127.0.1.1 127.0.1.2"
        return slurm.submit(
            *(*options, SCRIPT, *words),
            folder=folder,
            CURATOR_NODE_ADDRESSES=addresses,
            PYTHONPATH=f"{ROOT}{os.pathsep}{folder}",
        )

    return call


def printed(folder):
    return "".join(path.read_text() for path in folder.glob("curator-*.out"))


def assert_nothing_is_left(slurm, job):
    slurm.wait_for(lambda: not slurm.processes(SLURM_JOB_ID=job), "the processes of the job to end")
    # Of this job: what another one left is not to fail every test behind it.
    assert list((slurm.folder / "t").glob(f"curator-{job}*")) == []


def test_a_run_over_two_nodes_has_the_bytes_of_one_process_and_leaves_nothing(slurm, folder, submit, local_output):
    job = submit("input_path=in", "output_path=out", EXACT)
    assert slurm.wait_for_end(job) == ("COMPLETED", 0)
    assert data_files(folder / "out") == local_output
    assert_nothing_is_left(slurm, job)


def test_the_exit_code_of_the_run_is_that_of_the_job(slurm, folder, submit):
    job = submit("input_path=nowhere", "output_path=out")
    assert slurm.wait_for_end(job) == ("FAILED", 2)
    assert "nowhere" in printed(folder)
    assert_nothing_is_left(slurm, job)


def test_with_no_kill_a_worker_node_that_crashes_costs_its_work_and_not_the_run(slurm, folder, submit, local_output):
    job = submit(*SLOWLY, "output_path=out", options=(*OPTIONS, "--no-kill"))
    wait_for_file(folder / "working", slurm, job)
    victim = [name for name in slurm.names if slurm.processes(SLURM_JOB_ID=job, SLURMD_NODENAME=name)][1]
    try:
        slurm.crash(victim)
        (folder / "hurry").touch()
        assert slurm.wait_for_end(job) == ("COMPLETED", 0)
        kept = b"".join(data_files(folder / "out").values())
        assert kept == b"".join(local_output.values())
    finally:
        slurm.revive(victim)
    # The folder of a node that has crashed is still there; its disk is what it was.
    left = [path.name for path in (slurm.folder / "t").iterdir()]
    assert left == [f"curator-{job}-1"]
    (slurm.folder / "t" / left[0]).rename(folder / "left")


def test_a_node_that_crashes_puts_the_run_back_into_the_queue(slurm, folder, submit, local_output):
    job = submit(*SLOWLY, "output_path=out")
    wait_for_file(folder / "working", slurm, job)
    victim = slurm.show(job)["BatchHost"]
    try:
        slurm.crash(victim)
        (folder / "hurry").touch()
        assert slurm.wait_for_end(job) == ("COMPLETED", 0)
    finally:
        slurm.revive(victim)
    assert slurm.show(job)["Restarts"] == "1"
    assert b"".join(data_files(folder / "out").values()) == b"".join(local_output.values())
    assert_nothing_is_left(slurm, job)


def test_a_warning_before_the_time_limit_puts_the_run_back_into_the_queue(slurm, folder, submit, local_output):
    job = submit(*SLOWLY, "output_path=out", options=(*OPTIONS, "--time=30", "--signal=B:USR1@60"))
    wait_for_file(folder / "working", slurm, job)
    # However long it took to start: the limit is one to two minutes away from now, and the warning a minute before it.
    hours, minutes, _ = map(int, slurm.show(job)["RunTime"].split(":"))
    slurm.call("scontrol", "update", f"jobid={job}", f"timelimit={60 * hours + minutes + 2}")
    slurm.wait_for(lambda: "back into the queue" in printed(folder), "the warning to work")
    assert not (folder / "out").exists()
    assert not (folder / "out._curator").exists()
    slurm.call("scontrol", "update", f"jobid={job}", "timelimit=30")
    (folder / "hurry").touch()
    assert slurm.wait_for_end(job) == ("COMPLETED", 0)
    assert slurm.show(job)["Restarts"] == "1"
    assert b"".join(data_files(folder / "out").values()) == b"".join(local_output.values())
    assert_nothing_is_left(slurm, job)


def test_a_run_that_is_cancelled_is_cleared_up_and_not_started_again(slurm, folder, submit):
    job = submit(*SLOWLY, "output_path=out")
    wait_for_file(folder / "working", slurm, job)
    slurm.call("scancel", job)
    state, _ = slurm.wait_for_end(job)
    assert state == "CANCELLED"
    assert_nothing_is_left(slurm, job)
    assert not (folder / "out").exists()
    assert not (folder / "out._curator").exists()


def test_a_run_is_started_again_only_so_often(slurm, folder, submit, monkeypatch):
    monkeypatch.setitem(slurm.environment, "CURATOR_REQUEUES", "0")
    job = submit(*SLOWLY, "output_path=out")
    wait_for_file(folder / "working", slurm, job)
    slurm.call("scancel", "--batch", f"--signal={signal.SIGUSR1.value}", job)
    assert slurm.wait_for_end(job) == ("FAILED", 75)
    assert "that is enough" in printed(folder)
    assert_nothing_is_left(slurm, job)
