"""Stages that the conformance suite runs; they live in a module so that Ray workers can import them."""

import os
import signal
from dataclasses import dataclass
from pathlib import Path

from curator import NodeInfo, ProcessingStage, Task, WorkerMetadata
from curator.tasks import FailedTask


@dataclass(slots=True, kw_only=True)
class NumberTask(Task):
    value: int = 0


class AddOne(ProcessingStage):
    name = "add_one"

    def process(self, task):
        return NumberTask(value=task.value + 1)


class Repeat(ProcessingStage):
    """Each task becomes as many as its value says, lazily."""

    name = "repeat"

    def process(self, task):
        return (NumberTask(value=index) for index in range(task.value))


class DropOdd(ProcessingStage):
    name = "drop_odd"

    def process(self, task):
        return None if task.value % 2 else task


class SumBatch(ProcessingStage):
    """A batch that changes its number of tasks."""

    name = "sum"
    batch_size = 3

    def process(self, task):
        raise NotImplementedError

    def process_batch(self, tasks):
        return [NumberTask(value=sum(task.value for task in tasks))]


class GiveUp(ProcessingStage):
    name = "give_up"

    def process(self, task):
        return FailedTask(reason="never") if task.value == 1 else task


class FailOn(ProcessingStage):
    name = "fail_on"

    def __init__(self, value):
        self.value = value

    def process(self, task):
        if task.value == self.value:
            raise ValueError(f"cannot take {task.value}")
        return task


class ReturnText(ProcessingStage):
    name = "return_text"

    def process(self, task):
        return "no task"


class RecordCalls(ProcessingStage):
    """Leaves a file for each hook that is called."""

    name = "record_calls"

    def __init__(self, folder):
        self.folder = str(folder)

    def _record(self, hook, who):
        Path(self.folder, f"{hook}-{who}-{os.getpid()}").touch()

    def setup_on_node(self, node_info: NodeInfo, worker_metadata: WorkerMetadata):
        self._record("setup_on_node", node_info.node_id or "here")

    def setup(self, worker_metadata: WorkerMetadata):
        self._record("setup", worker_metadata.worker_id)

    def process(self, task):
        return task

    def teardown(self):
        self._record("teardown", "x")


class FailSetup(AddOne):
    name = "fail_setup"

    def setup(self, worker_metadata):
        raise RuntimeError("no such model")


class DieUntil(ProcessingStage):
    """Kills its own process, as the system would, until it has done so ``deaths`` times."""

    name = "die_until"

    def __init__(self, folder, deaths):
        self.folder = str(folder)
        self.deaths = deaths

    def process(self, task):
        if task.value == 1:
            died = len(list(Path(self.folder).iterdir()))
            if died < self.deaths:
                Path(self.folder, str(died)).touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return task


def numbers(*values):
    return [NumberTask(value=value) for value in values]
