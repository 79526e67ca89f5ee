"""What is left of a cluster that was hurt: its processes, their ports; and how to wait for it."""

import os
import time
from pathlib import Path

_OF_THE_CLUSTER = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")


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


def wait_until(true, *, limit_s=120.0, what=""):
    """Poll until something is true; the limit is for a broken test, and ``what`` may be a function that says more."""
    until = time.monotonic() + limit_s
    while not (result := true()):
        assert time.monotonic() < until, f"waited for {limit_s:g} s: {what() if callable(what) else what}"
        time.sleep(0.02)
    return result
