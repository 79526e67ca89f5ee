"""Stages whose ``setup_on_node`` leaves a file behind that says where it ran and what it saw."""

import os
import signal
import time
from pathlib import Path

from curator import ProcessingStage


class SetUp(ProcessingStage):
    name = "set_up"

    def __init__(self, folder):
        self.folder = str(folder)

    def setup_on_node(self, node_info, worker_metadata):
        seen = [os.environ.get(name, "") for name in ("VLLM_WORKER_MULTIPROC_METHOD", "CUDA_VISIBLE_DEVICES", "SEEN")]
        path = Path(self.folder, f"{self.name}-{node_info.node_id}-{time.monotonic_ns()}")
        path.write_text(" ".join(seen), encoding="utf-8")

    def process(self, task):
        return task


class NoSetUp(ProcessingStage):
    name = "no_set_up"

    def process(self, task):
        return task


class FailSetUp(NoSetUp):
    name = "fail_set_up"

    def setup_on_node(self, node_info, worker_metadata):
        raise OSError("no space left for the model")


class HangSetUp(NoSetUp):
    name = "hang_set_up"

    def setup_on_node(self, node_info, worker_metadata):
        time.sleep(600)


class DieSetUp(NoSetUp):
    name = "die_set_up"

    def setup_on_node(self, node_info, worker_metadata):
        os.kill(os.getpid(), signal.SIGKILL)


class SlowSetUp(SetUp):
    name = "slow_set_up"

    def setup_on_node(self, node_info, worker_metadata):
        super().setup_on_node(node_info, worker_metadata)
        while not Path(self.folder, "go_on").exists():
            time.sleep(0.05)


class Logging(NoSetUp):
    """Holds a logger; says what it is where it has arrived."""

    name = "logging"

    def __init__(self, logger):
        self.logger = logger

    def setup_on_node(self, node_info, worker_metadata):
        import loguru

        assert self.logger is loguru.logger
        self.logger.info("set up")
