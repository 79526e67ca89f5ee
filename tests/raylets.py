"""Real Ray clusters of a few raylets on this machine, for tests to share, to hurt and to mend."""

import gc
import logging
import threading
import warnings
from contextlib import contextmanager

import psutil
import pytest

HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 4_000,
    "health_check_failure_threshold": 3,
}
"""A node that is gone is noticed within two seconds, one that stands still within fifteen: it may only be busy."""

KEPT_WORKERS = {"num_workers_soft_limit": 2}
"""Two processes that have run a task wait for the next one of their job: each takes a second or two to start."""

HEAD = {"include_dashboard": False, "include_log_monitor": False}
"""Nobody looks at the dashboard, nor at what workers print; their logs lie in the folder of the session."""

ZONES = (
    {"num_gpus": 2, "labels": {"ray.io/node-type": "worker", "zone": "east"}},
    {"num_gpus": 2, "labels": {"ray.io/node-type": "worker", "zone": "west"}},
)
"""Two nodes with labels and pretended GPUs."""


@contextmanager
def loopback_only():
    """Ray takes this machine's outer address otherwise, for the variable is read when Ray is imported."""
    from ray._private import ray_constants

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
        patch.setenv("RAY_prestart_worker_first_driver", "0")
        patch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", False)
        yield


class Raylets:
    """A head and worker nodes, each of one core; nodes can be removed, and put back.

    Args:
        head_cpus: cores that the head offers.
        nodes: what each worker node has besides its core.
    """

    def __init__(self, head_cpus, *nodes):
        from ray.cluster_utils import Cluster

        self._nodes = [{"num_cpus": 1, "object_store_memory": 80_000_000, **node} for node in nodes]
        head = {"num_cpus": head_cpus, "object_store_memory": 80_000_000, **HEAD}
        self.cluster = Cluster(initialize_head=True, head_node_args={**head, "_system_config": HEALTH | KEPT_WORKERS})
        self._up = [None] * len(nodes)
        self.mend()

    @property
    def address(self):
        return self.cluster.address

    @property
    def head_id(self):
        return self.cluster.head_node.node_id

    @property
    def node_ids(self):
        """The worker nodes, in the order in which they were asked for."""
        return [node.node_id for node in self._up]

    def node(self, node_id):
        (node,) = [node for node in self.cluster.worker_nodes if node.node_id == node_id]
        return node

    def raylet_pid(self, node_id):
        return self.node(node_id).all_processes["raylet"][0].process.pid

    def remove(self, node_id, *, allow_graceful):
        self.cluster.remove_node(self.node(node_id), allow_graceful=allow_graceful)

    def renew(self):
        """New nodes in the places of all but the head."""
        for node in list(self.cluster.worker_nodes):
            self.cluster.remove_node(node, allow_graceful=False)
        self.mend()
        self.cluster.wait_for_nodes()

    def mend(self):
        """Take dead nodes out, and put new ones in their places."""
        for node in list(self.cluster.worker_nodes):
            if not _is_alive(node):
                self.cluster.worker_nodes.discard(node)
                node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        # Ray sets a handler for the end of the process then, which only the main thread may.
        self.cluster._shutdown_at_exit = threading.current_thread() is threading.main_thread()
        for place, node in enumerate(self._up):
            if node not in self.cluster.worker_nodes:
                self._up[place] = self._start(place)

    def _start(self, place):
        """Start a node: once more if Ray gives one up after 30 s, as it does on a busy machine, and forgets it."""
        known = _raylets_of_this_process()
        try:
            return self.cluster.add_node(**self._nodes[place])
        except Exception:  # noqa: BLE001
            for process in _raylets_of_this_process() - known:
                process.kill()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # nobody waits for what was forgotten
            gc.collect()
        return self.cluster.add_node(**self._nodes[place])

    def close(self):
        logging.getLogger("ray").setLevel(logging.ERROR)
        self.cluster.shutdown()


def _raylets_of_this_process():
    children = psutil.Process().children()
    return {child for child in children if child.name() == "raylet"}


def _is_alive(node):
    raylets = node.all_processes.get("raylet", [])
    return bool(raylets) and raylets[0].process.poll() is None


@contextmanager
def raylets(head_cpus, *nodes):
    """A cluster for the time of a fixture."""
    cluster = Raylets(head_cpus, *nodes)
    try:
        yield cluster
    finally:
        cluster.close()
