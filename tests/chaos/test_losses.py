"""Workers and nodes are killed, frozen and lost while a run is under way: nobody can tell from its output."""

import os
import signal
import time

import pytest

from tests.chaos.cluster import processes, wait_until
from tests.chaos.stages import WriteAndDie, visits


def kill(pid):
    os.kill(pid, signal.SIGKILL)


def test_a_killed_worker_is_not_seen_in_the_output(run, undisturbed):
    def nemesis():
        (visit, *_) = wait_until(lambda: visits(run.meeting), what="nobody came")
        kill(visit.pid)

    run.go(nemesis)
    first, *others = visits(run.meeting)
    assert [visit.pid for visit in others if visit.split == first.split] != [first.pid]
    run.check(undisturbed)


def test_two_workers_killed_at_once_are_not_seen_in_the_output(run, undisturbed):
    def nemesis():
        both = wait_until(lambda: len(visits(run.meeting)) > 1 and visits(run.meeting)[:2], what="two workers")
        for pid in {visit.pid for visit in both}:
            kill(pid)

    run.go(nemesis)
    run.check(undisturbed)


@pytest.mark.parametrize("graceful", [True, False], ids=["graceful", "not graceful"])
def test_a_lost_node_is_replaced_and_not_seen_in_the_output(run, chaos, undisturbed, graceful):
    def nemesis():
        (visit, *_) = wait_until(lambda: visits(run.meeting), what="nobody came")
        chaos.remove(visit.node_id, allow_graceful=graceful)
        chaos.mend()

    run.go(nemesis)
    run.check(undisturbed)


def test_a_frozen_node_that_comes_back_after_its_work_was_done_again_changes_nothing(run, chaos, undisturbed):
    frozen = {}

    def nemesis():
        (visit, *_) = wait_until(lambda: visits(run.meeting), what="nobody came")
        frozen.update(raylet=chaos.raylet_pid(visit.node_id), zombie=visit.pid)

        def is_done_again():
            others = [one for one in visits(run.meeting) if one.pid != visit.pid]
            for one in others:
                (run.meeting / f"go-{one.pid}").touch()
            commit = run.folder / "out._curator" / "commits-0" / f"{visit.split:08d}.json"
            return visit.split in [one.split for one in others] and commit.exists()

        os.kill(frozen["raylet"], signal.SIGSTOP)
        try:
            wait_until(is_done_again, what="the unit was never done again")
            (run.meeting / f"go-{visit.pid}").touch()
        finally:
            os.kill(frozen["raylet"], signal.SIGCONT)

    run.go(nemesis)
    run.check(undisturbed)

    def undead():
        return {pid: known for pid, known in processes().items() if pid in frozen.values()}

    wait_until(lambda: not undead(), what=undead)
    run.check(undisturbed)


def test_a_worker_that_dies_when_its_file_is_complete_is_not_seen_in_the_output(run, tmp_path, undisturbed):
    (tmp_path / "marks").mkdir()
    run.go(write=WriteAndDie(run.output, tmp_path / "marks", durability="fast"))
    assert (tmp_path / "marks" / "died").exists()
    run.check(undisturbed, without=("manifest",))


def test_workers_killed_while_their_results_are_committed_are_not_seen_in_the_output(run, undisturbed):
    killed = []

    def nemesis():
        (visit, *_) = wait_until(lambda: visits(run.meeting), what="nobody came")
        (run.meeting / f"go-{visit.pid}").touch()
        commits = run.folder / "out._curator" / "commits-0"
        until = time.monotonic() + 120
        while not killed and time.monotonic() < until:
            if commits.exists():
                kill(visit.pid)
                killed.append(visit.pid)

    run.go(nemesis)
    assert killed
    run.check(undisturbed)
