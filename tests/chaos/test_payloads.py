"""Stages with workers of their own: what lay in the store of a node that is lost is made again, from its beginning."""

from collections import Counter
from threading import Thread

import pytest

from curator import LocalExecutor, RayActorPoolExecutor
from tests.chaos.cluster import wait_until
from tests.chaos.stages import Digest, MakeArray, Twice, notes
from tests.executors.stages_for_tests import numbers

NUM_TASKS = 12
STAGES = {"first": MakeArray, "second": Twice, "third": Digest}


def chain(folder=None, held=None):
    return [kind(name, folder, held=name == held) for name, kind in STAGES.items()]


@pytest.mark.parametrize(("lost", "held"), [("first", "second"), ("second", "third")])
def test_payloads_that_are_lost_with_their_node_are_made_again(chaos, tmp_path, lost, held):
    gone = []

    def nemesis():
        try:
            wait_until(lambda: len(notes(tmp_path, lost)) == NUM_TASKS, what=lambda: notes(tmp_path, lost))
            ((node_id, _),) = Counter(node for _, node in notes(tmp_path, lost)).most_common(1)
            chaos.remove(node_id, allow_graceful=False)
            gone.append(node_id)
            chaos.mend()
        finally:
            (tmp_path / "go").touch()

    thread = Thread(target=nemesis, daemon=True)
    thread.start()
    executor = RayActorPoolExecutor({"address": chaos.address, "fuse": False})
    tasks = executor.execute(chain(tmp_path, held), numbers(*range(NUM_TASKS)))
    thread.join()
    assert gone
    reference = LocalExecutor().execute(chain(), numbers(*range(NUM_TASKS)))
    assert tasks == reference
    assert len({task.digest for task in tasks}) == NUM_TASKS
    again = Counter(value for value, _ in notes(tmp_path, lost))
    assert set(again) == set(range(NUM_TASKS))
    assert max(again.values()) > 1, "no payload was lost with the node"
    later = [node for _, node in notes(tmp_path, lost)[NUM_TASKS:]]
    assert gone[0] not in later
