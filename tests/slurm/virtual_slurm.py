"""A real SLURM on one machine: munged, slurmctld and three slurmd with stand-ins for GPUs. It needs root.

Everything lies in one folder with a short path, listens on loopback with ports of its own, and is ended by the ids in
its own pid files: other SLURMs of the machine are left alone. By hand::

    python -m tests.slurm.virtual_slurm start FOLDER   # prints the SLURM_CONF to export
    python -m tests.slurm.virtual_slurm stop FOLDER
"""

import contextlib
import os
import platform
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import psutil

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
GPUS = 2

CONFIG = """
ClusterName=virtual
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CryptoType=crypto/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool/%n
SlurmctldPidFile={folder}/run/slurmctld.pid
SlurmdPidFile={folder}/run/slurmd-%n.pid
SlurmctldLogFile={folder}/log/slurmctld.log
SlurmdLogFile={folder}/log/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,bf_interval=1,batch_sched_delay=0,requeue_setup_env_fail
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SwitchType=switch/none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
MinJobAge=600
KillWait=20
InactiveLimit=0
SlurmctldTimeout=60
SlurmdTimeout=60
BatchStartTimeout=60
MessageTimeout=60
JobRequeue=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc={folder}/log/jobcomp.txt
DefMemPerCPU=500
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=REQUEUE
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=100 PreemptMode=OFF
"""

NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs=4 Boards=1 SocketsPerBoard=1 "
    "CoresPerSocket=4 ThreadsPerCore=1 RealMemory=6000 Gres=gpu:{gpus} State=UNKNOWN"
)

CGROUPS = "CgroupPlugin=cgroup/v1\nCgroupAutomount=no\nCgroupMountpoint=/sys/fs/cgroup\n"


def why_not():
    """Why there can be no SLURM here; empty if there can."""
    missing = [name for name in PROGRAMS if shutil.which(name, path=search_path()) is None]
    if missing:
        return f"SLURM is not installed: there is no {', '.join(missing)}"
    return "" if os.geteuid() == 0 else "only root can start a SLURM and make device nodes"


def search_path():
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


class VirtualSlurm:
    """One SLURM.

    Args:
        folder: where all its files lie; a socket's path has at most 107 bytes, so it must be short.
        names: names of the nodes.
    """

    def __init__(self, folder, names=("vn0", "vn1", "vn2")):
        self.folder = Path(folder)
        self.names = names
        self.conf = self.folder / "etc" / "slurm.conf"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith(("SLURM_", "SBATCH_"))},
            "SLURM_CONF": str(self.conf),
            "PATH": search_path(),
        }

    def start(self):
        for name in ("etc", "state", "log", "run", "munge", "dev", *(f"spool/{name}" for name in self.names)):
            (self.folder / name).mkdir(parents=True)
        self.folder.chmod(0o755)
        self._write_config()
        key = self.folder / "munge" / "key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        munge = self.folder / "munge"
        self.call(
            *("munged", "--force", f"--key-file={key}", f"--socket={munge}/socket"),
            *(f"--pid-file={self.folder}/run/munged.pid", f"--log-file={munge}/log", f"--seed-file={munge}/seed"),
        )
        self.call("slurmctld", "-c", "-f", str(self.conf))
        for name in self.names:
            self.start_node(name)
        self.wait_for(lambda: self.states() == dict.fromkeys(self.names, "idle"), "all nodes to be idle")

    def start_node(self, name):
        self.call("slurmd", "-N", name, "-f", str(self.conf))

    def stop(self):
        """End every process of this SLURM, its jobs first, and remove the folder."""
        self.call("scancel", "--quiet", "--user=root", check=False)
        with contextlib.suppress(AssertionError):
            self.wait_for(lambda: not self.call("squeue", "--noheader", check=False), "the jobs to end", limit_s=30)
        daemons = [process for path in (self.folder / "run").glob("*.pid") if (process := process_of(path))]
        for daemon in daemons:
            daemon.terminate()
        _, alive = psutil.wait_procs(daemons, timeout=20)
        for process in [*alive, *self.processes()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    def crash(self, name):
        """What a power cut does to a node: all of its processes are gone at once, and SLURM is told that it is down."""
        daemon = process_of(self.folder / "run" / f"slurmd-{name}.pid")
        its = self.processes(SLURMD_NODENAME=name)
        parents = [parent for process in its if (parent := process.parent()) and parent.name() == "slurmstepd"]
        all_of_them = {daemon, *parents, *its}
        # First all of them stand still: one that outlived another would report it.
        for call in (psutil.Process.suspend, psutil.Process.kill):
            for process in all_of_them:
                with contextlib.suppress(psutil.NoSuchProcess):
                    call(process)
        self.call("scontrol", "update", f"nodename={name}", "state=down", "reason=crashed")

    def revive(self, name):
        self.start_node(name)
        self.call("scontrol", "update", f"nodename={name}", "state=resume", check=False)
        self.wait_for(lambda: self.states()[name] == "idle", f"{name} to be idle")

    def call(self, *command, check=True, **more):
        """Run a program to its end and give its output back."""
        result = subprocess.run(
            command, env=self.environment | more, capture_output=True, text=True, timeout=120, check=False
        )
        assert not check or result.returncode == 0, f"{' '.join(command)}: {result.stdout}{result.stderr}"
        return result.stdout

    def submit(self, *words, folder, **more):
        """``sbatch`` in a folder; the job's id."""
        command = ["sbatch", "--parsable", f"--chdir={folder}", f"--output={folder}/%x-%j.out", *map(str, words)]
        return self.call(*command, **more).strip()

    def show(self, job):
        """What SLURM knows of a job."""
        words = self.call("scontrol", "show", "job", "-o", job).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def wait_for_end(self, job, limit_s=240):
        """Wait until a job has ended for good; its state and the exit code of its script."""
        done = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "OUT_OF_MEMORY")
        self.wait_for(lambda: self.show(job)["JobState"] in done, f"job {job} to end", limit_s)
        found = self.show(job)
        return found["JobState"], int(found["ExitCode"].partition(":")[0])

    def wait_for_state(self, job, state, limit_s=120):
        self.wait_for(lambda: self.show(job)["JobState"] == state, f"job {job} to be {state}", limit_s)

    def wait_for(self, condition, what, limit_s=120):
        ends_s = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < ends_s, f"waited {limit_s} s for {what}\n{self.call('squeue', check=False)}"
            time.sleep(0.5)  # to ask SLURM takes a twentieth of a second of a core

    def states(self):
        """The state of each node, in lower case, without marks such as ``*``."""
        lines = self.call("sinfo", "--noheader", "--Node", "--partition=main", "--format=%N %T", check=False).split()
        return {name: state.rstrip("*+$~#@!%^-") for name, state in zip(lines[::2], lines[1::2], strict=True)}

    def processes(self, **environment):
        """Processes that this SLURM started, with these variables in their environment."""
        wanted = {"SLURM_CONF": str(self.conf)} | environment
        found = []
        for process in psutil.process_iter():
            try:
                its = process.environ()
            except (psutil.Error, OSError):
                continue
            if process.pid != os.getpid() and all(its.get(key) == value for key, value in wanted.items()):
                found.append(process)
        return found

    def _write_config(self):
        ports = free_ports(1 + len(self.names))
        host = platform.node()
        nodes = [
            NODE.format(name=name, host=host, port=port, gpus=GPUS)
            for name, port in zip(self.names, ports[1:], strict=True)
        ]
        self.conf.write_text(CONFIG.format(host=host, ports=ports, folder=self.folder, nodes="\n".join(nodes)))
        lines = ["AutoDetect=off"]
        for name in self.names:
            lines.append(f"NodeName={name} Name=gpu File={self.folder}/dev/{name}-gpu[0-{GPUS - 1}]")
            for gpu in range(GPUS):
                # slurmd takes nothing but a character device for a GPU: these are the null device.
                os.mknod(self.folder / "dev" / f"{name}-gpu{gpu}", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        (self.folder / "etc" / "gres.conf").write_text("\n".join(lines) + "\n")
        (self.folder / "etc" / "cgroup.conf").write_text(CGROUPS)


def process_of(pid_file):
    with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
        process = psutil.Process(int(pid_file.read_text()))
        if process.name() in ("munged", "slurmctld", "slurmd"):
            return process
    return None


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("start", "stop"):
        sys.exit(__doc__)
    if reason := why_not():
        sys.exit(reason)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    slurm = VirtualSlurm(os.path.abspath(sys.argv[2]))
    getattr(slurm, sys.argv[1])()
    if sys.argv[1] == "start":
        print(f"export SLURM_CONF={slurm.conf}")
