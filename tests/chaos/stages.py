"""Stages for the chaos tests; in a module, so that Ray workers can import them."""

import hashlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curator import ProcessingStage, Task, Write
from tests.executors.stages_for_tests import OnMarked

WAIT_S = 120.0
"""Longest wait for the nemesis; it is never reached unless a test is broken."""


@dataclass(frozen=True)
class Visit:
    """A worker that waits with a unit: its split, process and node."""

    split: int
    pid: int
    node_id: str


class Meet(ProcessingStage):
    """Waits with its first documents, and says where, until the nemesis has done its work and says go.

    A file ``here-<split>-<pid>-<node>`` appears; the worker goes on when there is a file ``go`` or ``go-<pid>``.
    """

    name = "meet"

    def __init__(self, folder=None):
        self.folder = None if folder is None else str(folder)

    def settings(self):
        return {}

    def process(self, task):
        if self.folder is None or not task.num_items:
            return task
        import ray

        folder, pid = Path(self.folder), os.getpid()
        node_id = ray.get_runtime_context().get_node_id()
        (folder / f"here-{task.split.ordinal}-{pid}-{node_id}").touch()
        until = time.monotonic() + WAIT_S
        while not (folder / "go").exists() and not (folder / f"go-{pid}").exists():
            if time.monotonic() > until:
                raise RuntimeError("the nemesis never came")
            time.sleep(0.01)
        return task


def visits(folder):
    """The workers that have been at a meeting so far, in order of arrival."""
    found = sorted(folder.glob("here-*"), key=lambda path: path.stat().st_mtime_ns)
    parts = [path.name.split("-") for path in found]
    return [Visit(int(split), int(pid), node_id) for _, split, pid, node_id in parts]


@dataclass(slots=True, kw_only=True)
class ArrayTask(Task):
    """Too large to travel with the answer of a worker: it lies in the object store of the node that made it."""

    value: int
    array: Any


@dataclass(slots=True, kw_only=True)
class DigestTask(Task):
    value: int
    digest: str


class Noted(ProcessingStage):
    """Notes in a folder which task it has done where; begins none before there is a file ``go``, if it is ``held``."""

    def __init__(self, name, folder=None, *, held=False):
        self.name = name
        self.folder = None if folder is None else str(folder)
        self.held = held

    def process(self, task):
        until = time.monotonic() + WAIT_S
        while self.held and not Path(self.folder, "go").exists():
            if time.monotonic() > until:
                raise RuntimeError("the nemesis never came")
            time.sleep(0.01)
        made = self.make(task)
        if self.folder is not None:
            import ray

            node_id = ray.get_runtime_context().get_node_id()
            Path(self.folder, f"{self.name}-{task.value}-{node_id}-{time.monotonic_ns()}").touch()
        return made


class MakeArray(Noted):
    def make(self, task):
        return ArrayTask(value=task.value, array=np.arange(200_000) * (task.value + 1))


class Twice(Noted):
    def make(self, task):
        return ArrayTask(value=task.value, array=task.array * 2)


class Digest(Noted):
    def make(self, task):
        return DigestTask(value=task.value, digest=hashlib.sha256(task.array.tobytes()).hexdigest())


def notes(folder, stage):
    """What a stage has done: values and nodes, oldest first."""
    found = sorted((path.name.split("-") for path in folder.glob(f"{stage}-*")), key=lambda parts: int(parts[3]))
    return [(int(value), node_id) for _, value, node_id, _ in found]


class Fate(OnMarked):
    """Does to its worker what a mark says, ``MARKED kill``, if it is among ``ways``; a harmless one only raises."""

    name = "fate"

    def __init__(self, ways, *, is_harmless=False):
        super().__init__()
        self.ways = ways
        self.is_harmless = is_harmless

    def process(self, task):
        for text in task.columns["text"].to_pylist():
            mark, _, way = (text or "").partition(" ")
            if mark == self.mark and way in self.ways:
                getattr(self, "_raise" if self.is_harmless else f"_{way}")()
        return task


class WriteAndDie(Write):
    """A writer whose worker dies once, when its file is complete and nobody has been told."""

    name = "write"

    def __init__(self, output_path, folder, **options):
        super().__init__(output_path, **options)
        self.folder = str(folder)

    def open(self, task, unit, directory):
        writer = super().open(task, unit, directory)
        if task.split.ordinal == 1:
            close = writer.close

            def close_and_die():
                result = close()
                if not any(Path(self.folder).iterdir()):
                    Path(self.folder, "died").touch()
                    os.kill(os.getpid(), signal.SIGKILL)
                return result

            writer.close = close_and_die
        return writer
