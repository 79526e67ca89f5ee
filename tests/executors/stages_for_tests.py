"""Stages that the conformance suite runs; they live in a module so that Ray workers can import them."""

import os
import signal
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from curator import NodeInfo, ProcessingStage, Task, WorkerMetadata
from curator.tasks import FailedTask


@dataclass(slots=True, kw_only=True)
class NumberTask(Task):
    value: int = 0


class AddOne(ProcessingStage):
    name = "add_one"

    def process(self, task):
        return NumberTask(value=task.value + 1)


class Rename(ProcessingStage):
    """Gives tasks an id of its own, which is not its to give."""

    name = "rename"

    def process(self, task):
        task.task_id = "mine"
        return task


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


class OnMarked(ProcessingStage):
    """Does something to its worker when it sees the marked text, as long as there are fewer files than ``times``."""

    name = "on_marked"
    mark = "MARKED"

    def __init__(self, act="raise", *, folder=None, times=None):
        self.act = act
        self.folder = None if folder is None else str(folder)
        self.times = times

    def inputs(self):
        return ("text",)

    def process(self, task):
        if any(self.mark in (text or "") for text in task.columns["text"].to_pylist()) and self._is_its_turn():
            getattr(self, f"_{self.act}")()
        return task

    def _is_its_turn(self):
        if self.folder is None:
            return True
        done = len(list(Path(self.folder).iterdir()))
        if self.times is not None and done >= self.times:
            return False
        Path(self.folder, f"{done}-{os.getpid()}").touch()
        return True

    def _raise(self):
        raise ValueError(f"cannot take \x1b[31m it, at {object()!r}")

    def _exit(self):
        os._exit(3)

    def _kill(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def _hang(self):
        time.sleep(3_600)

    def _eat(self):
        eaten = []
        while True:
            eaten.append(bytearray(b"x" * (16 << 20)))
            time.sleep(0.01)

    def _memory(self):
        raise MemoryError("no more")


class RemoveAll(ProcessingStage):
    name = "remove_all"

    def process(self, task):
        return task.remove(np.ones(task.num_items, np.bool_), stage=self.name, reason="too_much")


class Misbehave(ProcessingStage):
    """Breaks the contract of a stage between reading and writing, in one of many ways."""

    name = "misbehave"

    def __init__(self, how):
        self.how = how

    def process(self, task):
        return getattr(self, f"_{self.how}")(task) if task.num_items else task

    def _number(self, task):
        return NumberTask(value=1)

    def _text(self, task):
        return "text"

    def _none(self, task):
        return None

    def _nothing(self, task):
        return []

    def _twice(self, task):
        return [task, task]

    def _strange_rows(self, task):
        return replace(task, rows=task.rows + 1)

    def _own_array(self, task):
        task.rows += 1
        return task

    def _backwards(self, task):
        return replace(task, rows=task.rows[::-1])

    def _short_columns(self, task):
        return replace(task, columns=task.columns.slice(1))

    def _other_split(self, task):
        return replace(task, split=replace(task.split, ordinal=task.split.ordinal + 1))

    def _removed_twice(self, task):
        drop = np.arange(task.num_items) == 0
        once = task.remove(drop, stage=self.name, reason="a")
        return replace(once, removed=[*once.removed, *task.remove(drop, stage=self.name, reason="b").removed])


class SplitBatches(ProcessingStage):
    """Each batch becomes two, and neither of them says what it accounts for."""

    name = "split_batches"

    def process(self, task):
        first = np.arange(task.num_items) < task.num_items // 2
        return iter([task.select(first), task.select(~first)])


class ManyBatches(OnMarked):
    """Takes several batches at a time."""

    name = "many_batches"
    batch_size = 3

    def process_batch(self, tasks):
        return [self.process(task) for task in tasks]
