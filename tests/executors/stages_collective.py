"""Collective stages for the tests; they live in a module so that Ray workers can import them."""

import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curator.stages.collective import CollectiveStage
from curator.tasks import FailedTask, Task
from tests.executors.stages_for_tests import NumberTask


@dataclass(slots=True, kw_only=True)
class FindingTask(Task):
    """What a rank saw."""

    value: int = 0
    rank: int = 0
    seen: dict


class AddTotal(CollectiveStage):
    """Adds a hundred times the total over all ranks to each number."""

    name = "add_total"

    def process_batch(self, tasks):
        total = int(self.group.all_reduce(np.array(sum(task.value for task in tasks), np.int64)))
        return [NumberTask(value=100 * total + task.value) for task in tasks]


class Talk(CollectiveStage):
    """Makes every kind of call, and notes what its hooks found."""

    name = "talk"

    def __init__(self, folder):
        self.folder = str(folder)

    def _note(self, hook, **facts):
        note = {"pid": os.getpid(), "when": time.monotonic(), "rank": self.group.rank, **facts}
        Path(self.folder, f"{hook}-{self.group.rank}.json").write_text(json.dumps(note))

    def setup(self, worker_metadata):
        ranks = int(self.group.all_reduce(np.array(1)))
        allocation = worker_metadata.allocation or {}
        self._note("setup", ranks=ranks, size=self.group.size, allocation=allocation)

    def process_batch(self, tasks):
        group = self.group
        values = np.array([task.value for task in tasks], dtype=np.uint64)
        big = values.sum(dtype=np.uint64)
        lowest = values.min(initial=2**64 - 1)
        group.barrier()
        rank_one = group.broadcast(np.array([group.rank * 7.5]), root=min(1, group.size - 1))
        seen = {
            "sum": int(group.all_reduce(big)),
            "min": int(group.all_reduce(lowest, "min")),
            "max": int(group.all_reduce(values.max(initial=0), "max")),
            "any": bool(group.all_reduce(np.array(bool((values == 9).any())), "max")),
            "int16": group.all_reduce(np.array([len(tasks), -len(tasks)], dtype=np.int16)).tolist(),
            "float_max": float(group.all_reduce(np.float32(values.max(initial=0)).reshape(()), "max")),
            "empty": group.all_reduce(np.empty((0, 4), np.float32)).shape,
            "values": [int(value) for part in group.all_gather(values) for value in part],
            "names": [str(name) for part in group.all_gather(values.astype("U20")) for name in part],
            "nothing": [int(value) for part in group.all_gather(values[:0]) for value in part],
        }
        apart = {
            "float16": group.all_reduce(np.array([0.5], dtype=np.float16)).tolist(),
            "nan": [
                float(group.all_reduce(np.array([np.nan if group.rank == 1 else 1.0]), op)[0]) for op in ("min", "max")
            ],
            "gathered_shapes": [part.shape for part in group.all_gather(values)],
            "broadcast": rank_one.tolist(),
        }
        return [
            FindingTask(value=task.value, rank=group.rank, seen={**seen, "apart": apart})
            if task.value != 7
            else FailedTask(reason="seven")
            for task in tasks
        ]

    def teardown(self):
        self.group.barrier()
        torch = sys.modules.get("torch")
        self._note("teardown", joined=torch is not None and torch.distributed.is_initialized())


class SumOrFall(CollectiveStage):
    """Adds its values up; before that, something happens to one rank, in the first attempts of the group only.

    Args:
        folder: gets a file per attempt.
        rank: the rank that it happens to.
        what: ``kill``, ``freeze``, ``raise``, ``hang``, ``leave`` (make no more calls) or ``none``.
        attempts: how many attempts it spoils.
    """

    name = "sum_or_fall"

    def __init__(self, folder, rank=0, what="none", attempts=1):
        self.folder = str(folder)
        self.rank = rank
        self.what = what
        self.attempts = attempts

    def setup(self, worker_metadata):
        Path(self.folder, f"{self.group.rank}-{os.getpid()}-{worker_metadata.allocation['session']}").touch()

    def process_batch(self, tasks):
        total = int(self.group.all_reduce(np.array(sum(task.value for task in tasks))))
        attempt = len(list(Path(self.folder).glob(f"{self.group.rank}-*")))
        if self.group.rank == self.rank and attempt <= self.attempts:
            if self.what == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.what == "freeze":
                os.kill(os.getpid(), signal.SIGSTOP)
            if self.what == "raise":
                raise ValueError("no such number")
            if self.what == "hang":
                time.sleep(600)
            if self.what == "leave":
                return list(tasks)
        again = int(self.group.all_reduce(np.array(total)))
        return [NumberTask(value=task.value * 1000 + again // self.group.size) for task in tasks]


class GiveUpOdd(CollectiveStage):
    name = "give_up_odd"

    def process_batch(self, tasks):
        self.group.barrier()
        return [FailedTask(reason="odd") if task.value % 2 else task for task in tasks]


class MakeOneEach(CollectiveStage):
    """Makes a task on every rank, whether it has tasks or not."""

    name = "make_one_each"

    def process_batch(self, tasks):
        self.group.barrier()
        return [NumberTask(value=len(tasks))]
