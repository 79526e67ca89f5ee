"""Others on the same cluster: a session of the caller with a detached actor, and a second run at the same time."""

import subprocess
import sys

from curator import RayActorPoolExecutor
from tests.chaos.cluster import wait_until
from tests.chaos.conftest import joined
from tests.chaos.stages import visits
from tests.executors.stages_for_tests import AddOne, numbers
from tests.executors.suite import content_of

OTHER = """
import sys
from pathlib import Path
from curator import *
from tests.chaos.stages import Meet
address, corpus, output, meeting = sys.argv[1:]
stages = [Read(corpus, split_bytes=1_800), Meet(meeting), ExactDeduplication(), Write(output, durability="fast")]
executor = RayActorPoolExecutor({"address": address, "num_workers": 1})
Pipeline(stages).run(executor, show_progress=False)
"""


def test_a_session_of_the_caller_and_its_detached_actor_live_on(run, chaos, undisturbed):
    import ray

    with joined(chaos.address):

        @ray.remote(num_cpus=0)
        class Diary:
            def __init__(self):
                self.lines = ["before"]

            def write(self, line):
                self.lines.append(line)
                return self.lines

        diary = Diary.options(name="diary", lifetime="detached").remote()
        assert ray.get(diary.write.remote("during"), timeout=30) == ["before", "during"]
        run.go()
        run.check(undisturbed)
        assert [task.value for task in RayActorPoolExecutor().execute([AddOne()], numbers(1, 2))] == [2, 3]
        assert ray.is_initialized()
        assert ray.get_runtime_context().namespace == "mine"
        again = ray.get_actor("diary")
        assert ray.get(again.write.remote("after"), timeout=30) == ["before", "during", "after"]
        ray.kill(again)


def test_two_runs_share_a_cluster_at_once(run, chaos, corpus, undisturbed):
    output = run.folder / "other"
    command = [sys.executable, "-c", OTHER, chaos.address, str(corpus), str(output), str(run.meeting)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as other:

        def nemesis():
            wait_until(lambda: len({visit.pid for visit in visits(run.meeting)}) > 2, what="both at work")

        try:
            run.go(nemesis, num_workers=2)
            _, errors = other.communicate(timeout=120)
        finally:
            other.kill()
    assert other.returncode == 0, errors
    run.check(undisturbed)
    assert content_of(output) == undisturbed[0]
