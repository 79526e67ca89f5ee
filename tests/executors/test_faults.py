"""What an exception of Ray means for a run, whatever its text says of processes and addresses."""

import pytest
from ray import exceptions

from curator.executors.ray_actor_pool.faults import Fault, FaultKind, read_fault

OBJECT = "00ffffffffffffffffffffffffffffffffffffff0100000001000000"


class ActorDied(exceptions.ActorDiedError):
    """As Ray raises it, with a text of our own."""

    def __init__(self, text, *, preempted=False):
        super().__init__()
        self.text = text
        self._preempted = preempted

    @property
    def preempted(self):
        return self._preempted

    def __str__(self):
        return self.text


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ActorDied("worker 4711 died: SIGKILL"), Fault(FaultKind.WORKER_LOST, "killed_worker")),
        (ActorDied("ended, exit code 3."), Fault(FaultKind.WORKER_LOST, "killed_worker(exit code 3)")),
        (ActorDied("its node has died"), Fault(FaultKind.WORKER_LOST, "killed_worker", node_died=True)),
        (ActorDied("away", preempted=True), Fault(FaultKind.WORKER_LOST, "killed_worker", node_died=True)),
        (exceptions.NodeDiedError("10.0.0.1"), Fault(FaultKind.WORKER_LOST, "killed_worker", node_died=True)),
        (exceptions.WorkerCrashedError(), Fault(FaultKind.WORKER_LOST, "killed_worker")),
        (exceptions.OutOfMemoryError("5 GB of 6 GB"), Fault(FaultKind.WORKER_LOST, "out_of_memory")),
        (ActorDied("the node was low on memory"), Fault(FaultKind.WORKER_LOST, "out_of_memory")),
        (exceptions.GetTimeoutError("60 s"), Fault(FaultKind.NOT_DONE, "GetTimeoutError")),
        (exceptions.TaskCancelledError(), Fault(FaultKind.NOT_DONE, "TaskCancelledError")),
        (exceptions.RuntimeEnvSetupError("a\nno conda"), Fault(FaultKind.NOT_STARTED, "no conda")),
        (exceptions.TaskUnschedulableError("no such node"), None),
        (
            exceptions.ObjectLostError(OBJECT, "127.0.0.1", "f()"),
            Fault(FaultKind.ARGUMENTS_LOST, "an object was lost", frozenset({OBJECT})),
        ),
        (
            exceptions.OwnerDiedError(OBJECT, "127.0.0.1", "f()"),
            Fault(FaultKind.ARGUMENTS_LOST, "an object was lost", frozenset({OBJECT})),
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_exception_of_ray_is_one_of_a_few_kinds(error, fault):
    found = read_fault(error)
    if fault is None:
        assert found.kind is FaultKind.NOT_STARTED
        assert "no such node" in found.reason
    else:
        assert found == fault
