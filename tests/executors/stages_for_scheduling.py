"""Stages that show who ran what, where and in which order, and stages that end, hang or fill their workers."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from curator import ProcessingStage, Task
from curator.stages.collective import CollectiveStage
from curator.tasks import FailedTask
from tests.executors.stages_for_tests import NumberTask


class Stage(ProcessingStage):
    """Hands numbers on, and writes a line for each into a log that all workers share."""

    def __init__(self, name, log=None):
        self.name = name
        self.log = None if log is None else str(log)

    def process(self, task):
        self.note(task.value)
        return NumberTask(value=task.value)

    def note(self, value):
        if self.log is not None:
            with open(self.log, "a", encoding="ascii") as handle:
                handle.write(f"{self.name} {value} {os.getpid()}\n")


def lines_of(log):
    return [line.split() for line in Path(log).read_text(encoding="ascii").splitlines()]


class WaitsForOthers(Stage):
    """The task 3 does not end before the log has seen some lines of another stage."""

    def __init__(self, name, log, awaited, lines):
        super().__init__(name, log)
        self.awaited = awaited
        self.lines = lines

    def process(self, task):
        deadline = time.monotonic() + 60
        while task.value == 3 and time.monotonic() < deadline:
            if sum(line[0] == self.awaited for line in lines_of(self.log)) >= self.lines:
                break
            time.sleep(0.05)
        return super().process(task)


class Each(Stage):
    """Each number becomes as many tasks, a few of which are given up."""

    def process(self, task):
        for index in range(task.value):
            yield FailedTask(reason="seven") if index == 7 else NumberTask(value=task.value * 100 + index)


class Sum(Stage):
    """Batches of five become their sum, and a second task that is dropped or not."""

    batch_size = 5

    def process_batch(self, tasks):
        total = sum(task.value for task in tasks)
        return [NumberTask(value=total)] if total % 2 else [NumberTask(value=total), NumberTask(value=len(tasks))]


class Pid(Stage):
    def process(self, task):
        return NumberTask(value=os.getpid())


class Misfortune(Stage):
    """Something happens to the worker of one number."""

    def __init__(self, how, value=2):
        super().__init__(how)
        self.value = value

    def process(self, task):
        if task.value == self.value:
            getattr(self, self.name)()
        return NumberTask(value=task.value)

    def kill(self):
        os.kill(os.getpid(), signal.SIGKILL)

    def hang(self):
        time.sleep(3600)

    def eat(self):
        bytearray(4 << 30)


class FailOnce(Stage):
    """The first worker that gets the number 2 cannot take it."""

    def __init__(self, folder):
        super().__init__("fail_once")
        self.folder = str(folder)

    def process(self, task):
        if task.value == 2 and not any(Path(self.folder).iterdir()):
            Path(self.folder, str(os.getpid())).touch()
            raise ConnectionError("no answer")
        return NumberTask(value=task.value)


class ActorName(Stage):
    def process(self, task):
        import ray

        return NumberTask(value=ray.get_runtime_context().get_actor_name())


class SetupOnlyTheSecondTime(Stage):
    """The first setup fails or hangs."""

    def __init__(self, how, folder):
        super().__init__(f"{how}_setup")
        self.how = how
        self.folder = str(folder)

    def setup(self, worker_metadata):
        try:
            Path(self.folder, "first").touch(exist_ok=False)
        except FileExistsError:
            return
        if self.how == "hang":
            time.sleep(3600)
        raise RuntimeError("not yet")


class Environment(Stage):
    """Says which variables its worker has."""

    def process(self, task):
        return NumberTask(value=variables())


class EnvironmentOfRank(CollectiveStage):
    """Says which variables each rank has, behind what the tasks say already."""

    name = "environment_of_rank"

    def process_batch(self, tasks):
        return [NumberTask(value=[*task.value, *variables()]) for task in tasks]


def variables():
    return [os.environ.get(name) for name in ("CURATOR_TEST_A", "CURATOR_TEST_B")]


@dataclass(slots=True, kw_only=True)
class SealedTask(Task):
    """A task that must not be opened in the process that it names."""

    forbidden_pid: int
    value: int

    def __reduce__(self):
        return unseal, (self.task_id, self.forbidden_pid, self.value)


def unseal(task_id, forbidden_pid, value):
    if os.getpid() == forbidden_pid:
        raise AssertionError("the payload came to the driver")
    return SealedTask(task_id=task_id, forbidden_pid=forbidden_pid, value=value)


class Seal(Stage):
    def __init__(self, name, forbidden_pid):
        super().__init__(name)
        self.forbidden_pid = forbidden_pid

    def process(self, task):
        return SealedTask(forbidden_pid=self.forbidden_pid, value=task.value)
