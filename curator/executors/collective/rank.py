"""One rank of a group in its process: joins, sets the stage up, works on its share, tears down, leaves.

Calls come from the driver in that order, and every call answers: an error is a part of the answer, so that it reaches
the driver as it is. Ray is not known here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from curator.errors import CommunicationError, ConfigError, CuratorError, ExecutorError, StageError
from curator.executors.collective.shares import CollectiveAdapter
from curator.executors.collective.torch_communicator import Meeting, TorchCommunicator
from curator.stages.base import WorkerMetadata
from curator.stages.collective import CollectiveStage
from curator.tasks import Task

NEEDS_TORCH = (
    "collective stages need torch on every node, and it cannot be imported: {}. Install it with "
    "pip install 'curator[collective]'."
)

_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rank lives.

    Args:
        node_id: Ray's name of its node.
        address: IP address of the node within the cluster.
        worker_id: Ray's name of its actor.
        gpu_ids: GPUs that it was given.
    """

    node_id: str
    address: str
    worker_id: str = ""
    gpu_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer(Generic[_Value]):
    """What became of a call.

    Args:
        value: its result.
        error: why there is none.
        lost: the rank lost the others, so that the reason is to be found there.
    """

    value: _Value | None = None
    error: CuratorError | None = None
    lost: bool = False


class Rank:
    """The worker of one rank.

    Args:
        stage: the stage, without a communicator.
        rank: this rank.
        num_ranks: ranks of the group.
    """

    def __init__(self, stage: CollectiveStage, rank: int, num_ranks: int) -> None:
        self._stage = stage
        self._adapter = CollectiveAdapter(stage)
        self._rank = rank
        self._num_ranks = num_ranks
        self._meeting: Meeting | None = None
        self._group: TorchCommunicator | None = None

    def listen(self, address: str, timeout_s: float) -> Answer[str]:
        """Open the place where the ranks meet; for rank 0. Answers its ``host:port``."""

        def act() -> str:
            self._meeting = Meeting(address, timeout_s)
            return self._meeting.root

        return self._answer("meet the others", act)

    def connect(
        self, root: str, session: str, address: str, timeout_s: float, gpu_ids: Sequence[str] = ()
    ) -> Answer[None]:
        """Join the others; the stage has its communicator then."""

        def act() -> None:
            self._group = TorchCommunicator(
                self._rank,
                self._num_ranks,
                backend=self._stage.communicator,
                meeting=self._meeting or root,
                session=session,
                address=address,
                timeout_s=timeout_s,
                device=device_of(gpu_ids, os.environ.get("CUDA_VISIBLE_DEVICES")),
            )
            self._stage.join(self._group)

        return self._answer("join the others", act)

    def setup(self, worker_metadata: WorkerMetadata) -> Answer[None]:
        """Set the stage up."""
        return self._answer("setup", lambda: self._adapter.setup(worker_metadata))

    def process(self, tasks: Sequence[Task]) -> Answer[list[Task]]:
        """Work on the share of this rank; answers what came of it, tasks that were given up at the end."""

        def act() -> list[Task]:
            made = self._adapter.process_batch(tasks)
            self._stage.group.end()
            return [*made, *self._adapter.failed]

        return self._answer("process_batch", act)

    def teardown(self) -> Answer[None]:
        """Tear the stage down, wait for the others to have done so, and leave the group."""

        def act() -> None:
            self._adapter.teardown()
            if self._group is not None:
                self._group.end()
                self._group.close()
            self._stage.join(None)

        return self._answer("teardown", act)

    def _answer(self, doing: str, act: Callable[[], _Value]) -> Answer[_Value]:
        try:
            return Answer(act())
        except Exception as error:  # noqa: BLE001
            lost = isinstance(error, CommunicationError) or (self._group is not None and self._group.lost)
            return Answer(error=self._explained(doing, error), lost=lost)

    def _explained(self, doing: str, error: Exception) -> CuratorError:
        if isinstance(error, ModuleNotFoundError) and error.name == "torch":
            return ExecutorError(NEEDS_TORCH.format(error))
        where = f"rank {self._rank} of {self._num_ranks}"
        if isinstance(error, StageError):
            where = where if error.stage else f"{where}, stage {self._stage.name!r}"
            return StageError(f"{where}: {error}", stage=self._stage.name, task_id=error.task_id)
        if isinstance(error, CuratorError):
            return error
        return StageError(
            f"{where}: stage {self._stage.name!r} failed in {doing}: {type(error).__name__}: {error}",
            stage=self._stage.name,
        )


def device_of(gpu_ids: Sequence[str], visible: str | None) -> int:
    """The position of a rank's GPU among the devices that its process sees.

    Args:
        gpu_ids: GPUs that Ray gave to the rank; none for a rank on CPUs.
        visible: ``CUDA_VISIBLE_DEVICES`` of the process, ``None`` if it is not set.

    Raises:
        ConfigError: the process does not see its GPU.

    Example:
        >>> device_of(["3"], "3"), device_of(["3"], "1,3"), device_of(["3"], None), device_of([], None)
        (0, 1, 3, 0)
    """
    if not gpu_ids:
        return 0
    if visible is None:
        return int(gpu_ids[0])
    devices = [device.strip() for device in visible.split(",")]
    if gpu_ids[0] not in devices:
        raise ConfigError(f"CUDA_VISIBLE_DEVICES={visible!r}: the GPU of this rank, {gpu_ids[0]!r}, is not among them.")
    return devices.index(gpu_ids[0])
