"""A real cluster on this machine, to be hurt: a head without cores and three nodes of one; and what is left of it."""

import os
import threading
import time
from pathlib import Path

_NODE = {"num_cpus": 1, "object_store_memory": 80_000_000, "include_dashboard": False}
_OF_THE_CLUSTER = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
_HEALTH = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}


class ChaosCluster:
    """Nodes can be removed and added; after each test there are three of them again."""

    num_nodes = 3

    def __init__(self):
        from ray.cluster_utils import Cluster

        self.cluster = Cluster(initialize_head=True, head_node_args={**_NODE, "num_cpus": 0, "_system_config": _HEALTH})
        self.mend()

    @property
    def address(self):
        return self.cluster.address

    def node(self, node_id):
        (node,) = [node for node in self.cluster.worker_nodes if node.node_id == node_id]
        return node

    def raylet_pid(self, node_id):
        return self.node(node_id).all_processes["raylet"][0].process.pid

    def remove(self, node_id, *, allow_graceful):
        self.cluster.remove_node(self.node(node_id), allow_graceful=allow_graceful)

    def add(self):
        self.cluster._shutdown_at_exit = threading.current_thread() is threading.main_thread()
        self.cluster.add_node(**_NODE)

    def mend(self):
        """Take dead nodes out and add new ones."""
        for node in list(self.cluster.worker_nodes):
            if not node.all_processes["raylet"] or node.all_processes["raylet"][0].process.poll() is not None:
                self.cluster.worker_nodes.discard(node)
                node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        while len(self.cluster.worker_nodes) < self.num_nodes:
            self.add()

    def close(self):
        self.cluster.shutdown()


def processes():
    """Every process: its id, parent and command line."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
            command = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        except OSError:
            continue
        if command:
            found[int(path.name)] = (parent, command)
    return found


def children(pid, known):
    """All processes below one."""
    below = [child for child, (parent, _) in known.items() if parent == pid]
    return [*below, *(deeper for child in below for deeper in children(child, known))]


def actors_below(pids):
    """Actors, and whatever they started, below some raylets; idle workers and agents are the cluster's own."""
    known = processes()
    found = {}
    for pid in pids:
        for child in children(pid, known):
            command = known[child][1]
            if command.startswith("ray::") and not command.startswith(_OF_THE_CLUSTER):
                found[child] = command
                found |= {deeper: known[deeper][1] for deeper in children(child, known)}
    return found


def listening_ports(pid):
    """Ports that a process listens on, by the kernel's own tables."""
    inodes = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = os.readlink(path)
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    ports = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in inodes:  # LISTEN
                ports.add(int(fields[1].rpartition(":")[2], 16))
    return ports


def wait_until(true, *, limit_s=60.0, what=""):
    """Poll until something is true; the limit is for a broken test, and ``what`` may be a function that says more."""
    until = time.monotonic() + limit_s
    while not (result := true()):
        assert time.monotonic() < until, f"waited for {limit_s:g} s: {what() if callable(what) else what}"
        time.sleep(0.02)
    return result
