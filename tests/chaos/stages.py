"""Stages for the chaos tests; in a module, so that Ray workers can import them."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from curator import ProcessingStage, Write

WAIT_S = 60.0
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
