"""One cluster for all tests here, a corpus with its undisturbed output, and after every test a look at what is left."""

import faulthandler
import json
import logging
import os
import shutil
import sys
from contextlib import contextmanager
from threading import Thread

import pytest

from curator import ExactDeduplication, LocalExecutor, Pipeline, RayActorPoolExecutor, Read, Write, verify_output
from tests.chaos.cluster import actors_below, listening_ports, wait_until
from tests.chaos.stages import Meet
from tests.executors.suite import content_of
from tests.raylets import raylets

NUM_FILES, NUM_DOCUMENTS = 4, 60
SPLIT_BYTES = 1_800
LIMIT_S = 420
"""Hard limit of a test; all stacks are printed before it is reached."""


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/chaos/" in item.nodeid:
            item.add_marker(pytest.mark.ray)
            item.add_marker(pytest.mark.timeout(LIMIT_S, func_only=True))


@pytest.fixture(autouse=True)
def stacks_of_a_hanging_test():
    faulthandler.dump_traceback_later(LIMIT_S - 10, exit=False, file=sys.__stderr__)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="package")
def chaos():
    """A head without cores, and three nodes of one; after each test there are three of them again."""
    with raylets(0, {}, {}, {}) as cluster:
        yield cluster


@pytest.fixture(autouse=True)
def nothing_is_left(chaos):
    """No actor, process, placement group, resource or port outlives a run."""
    chaos.mend()
    before = listening_ports(os.getpid())
    yield
    chaos.mend()
    pids = [chaos.raylet_pid(node_id) for node_id in chaos.node_ids]
    wait_until(lambda: not actors_below(pids), what=lambda: f"left: {actors_below(pids)}")
    assert listening_ports(os.getpid()) <= before
    with joined(chaos.address):
        import ray
        from ray._private.state import actors
        from ray.util import placement_group_table

        alive = [actor for actor in actors().values() if actor["State"] != "DEAD"]
        assert alive == []
        assert [group for group in placement_group_table().values() if group["state"] != "REMOVED"] == []
        wait_until(lambda: ray.available_resources().get("CPU") == len(pids), what="cores are still taken")


@contextmanager
def joined(address):
    """The caller's own session in this process."""
    import ray

    ray.init(address=address, namespace="mine", log_to_driver=False, logging_level=logging.ERROR)
    try:
        yield
    finally:
        ray.shutdown()


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chaos") / "in"
    folder.mkdir()
    for number in range(NUM_FILES):
        with open(folder / f"{number}.jsonl", "w", encoding="utf-8") as handle:
            for row in range(NUM_DOCUMENTS):
                text = f"document {row * (number + 1) % 41} of many, with an ä"
                handle.write(json.dumps({"id": f"{number}-{row}", "text": text}, ensure_ascii=False) + "\n")
            handle.write('{"id": "broken"\n')
    return folder


@pytest.fixture(scope="session")
def undisturbed(corpus, tmp_path_factory):
    """Digests and counts of the run that nobody disturbs."""
    output = tmp_path_factory.mktemp("undisturbed") / "out"
    read, write = Read(str(corpus), split_bytes=SPLIT_BYTES), Write(output, durability="fast")
    result = Pipeline([read, Meet(), ExactDeduplication(), write]).run(LocalExecutor(), show_progress=False)
    assert result.counts["removed"] > 100
    return content_of(output), result.counts


class Run:
    """One run on the cluster, in a thread of its own while a nemesis is at work."""

    def __init__(self, chaos, corpus, folder):
        self.chaos, self.corpus, self.folder = chaos, corpus, folder
        self.output = folder / "out"
        self.meeting = folder / "meeting"
        self.meeting.mkdir()
        self.result = None
        self.nemesis_error = None

    def go(self, nemesis=None, *, stages=None, write=None, split_bytes=SPLIT_BYTES, **config):
        """Run the pipeline with the nemesis beside it; whatever either of them raises is raised."""
        middle = [Meet(self.meeting), ExactDeduplication()] if stages is None else stages
        write = write or Write(self.output, durability="fast")
        executor = RayActorPoolExecutor({"address": self.chaos.address, "num_workers": 2, **config})
        thread = Thread(target=self._nemesis, args=(nemesis,), daemon=True)
        if nemesis is None:
            (self.meeting / "go").touch()
        else:
            thread.start()
        try:
            pipeline = Pipeline([Read(str(self.corpus), split_bytes=split_bytes), *middle, write])
            self.result = pipeline.run(executor, show_progress=False)
        finally:
            if nemesis is not None:
                thread.join(LIMIT_S)
        if self.nemesis_error is not None:
            raise self.nemesis_error
        return self.result

    def _nemesis(self, nemesis):
        try:
            nemesis()
        except BaseException as error:  # noqa: BLE001
            self.nemesis_error = error
        finally:
            (self.meeting / "go").touch()

    def check(self, undisturbed, *, without=()):
        """The same bytes and counts as the run that nobody disturbed, and nothing beside the output.

        ``without`` are parts of names of files that say how the stages were called.
        """
        content, counts = undisturbed
        ours = content_of(self.output)
        assert list(ours) == list(content)
        assert [
            name for name in ours if ours[name] != content[name] and not any(part in name for part in without)
        ] == []
        assert self.result.counts == counts
        assert verify_output(self.output).problems == []
        assert not list(self.folder.glob("*._curator"))


@pytest.fixture
def run(chaos, corpus, tmp_path):
    yield Run(chaos, corpus, tmp_path)
    shutil.rmtree(tmp_path, ignore_errors=True)
