"""What an exception of Ray means for a run: one of a few kinds, and a reason in words that are the same in every run.

Ray's own text names processes, addresses and actors; none of that is data, so it is logged but never returned.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from ray import exceptions


class FaultKind(enum.Enum):
    """What is to be done about it."""

    WORKER_LOST = enum.auto()
    ARGUMENTS_LOST = enum.auto()
    NOT_STARTED = enum.auto()
    NOT_DONE = enum.auto()
    UNSENDABLE = enum.auto()


@dataclass(frozen=True, slots=True)
class Fault:
    """What happened to a call.

    Args:
        kind: what it means.
        reason: in a few words, for reports.
        lost: ids of the objects that were lost, as far as Ray says.
        node_died: whether Ray says that the node is to blame.
    """

    kind: FaultKind
    reason: str
    lost: frozenset[str] = frozenset()
    node_died: bool = False


_NOT_STARTED = (
    exceptions.RuntimeEnvSetupError,
    exceptions.ActorUnschedulableError,
    exceptions.TaskUnschedulableError,
)
_LOST = (exceptions.ObjectLostError, exceptions.ObjectFetchTimedOutError, exceptions.OwnerDiedError)
_OBJECT = re.compile(r"\b[0-9a-f]{56}\b")
_EXIT_CODE = re.compile(r"exit code[ =:]+(-?\d+)", re.IGNORECASE)


def read_fault(error: Exception) -> Fault:
    """Classify what ``ray.get`` raised.

    Example:
        >>> read_fault(exceptions.TaskCancelledError()).kind
        <FaultKind.NOT_DONE: 4>
    """
    text = str(error)
    if isinstance(error, _LOST):
        return Fault(FaultKind.ARGUMENTS_LOST, "an object was lost", frozenset(_OBJECT.findall(text)))
    if isinstance(error, exceptions.OutOfMemoryError) or "OutOfMemory" in text or "low on memory" in text:
        return Fault(FaultKind.WORKER_LOST, "out_of_memory")
    if isinstance(error, _NOT_STARTED) or getattr(error, "actor_init_failed", False):
        return Fault(FaultKind.NOT_STARTED, text.strip().splitlines()[-1] if text.strip() else type(error).__name__)
    if isinstance(error, exceptions.TaskCancelledError | exceptions.GetTimeoutError):
        return Fault(FaultKind.NOT_DONE, type(error).__name__)
    if isinstance(error, exceptions.RayTaskError):
        return Fault(FaultKind.UNSENDABLE, text.strip().splitlines()[-1])
    node_died = isinstance(error, exceptions.NodeDiedError) or "its node has died" in text
    code = _EXIT_CODE.search(text)
    reason = f"killed_worker(exit code {code[1]})" if code else "killed_worker"
    return Fault(FaultKind.WORKER_LOST, reason, node_died=node_died or bool(getattr(error, "preempted", False)))
