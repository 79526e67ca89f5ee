"""Child processes, what they cost, and how that is shown; shared by the benchmarks.

A tool is a command. It runs in a process of its own, pinned to given CPUs, and is charged for all the
CPU time of the kernel's account (`wait4`), from the start of the interpreter to its end. Rounds are
interleaved, so that a slow moment of the machine hits all tools, and medians are reported.

This module and its callers import no data library: Linux lets a child's peak memory begin at that of
the process that started it, so the parent has to stay small.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 900.0
SAMPLE_S = 0.25

# One thread per tool; what has no variable of its own is held to one core by the CPU mask.
# fmt: off
ONE_THREAD = dict.fromkeys((
    "ARROW_IO_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS",
), "1")
# fmt: on
QUIET_RAY = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",
}


class ChildFailedError(RuntimeError):
    """A measured command ended with another code than 0; carries the end of what it printed."""


@dataclass(frozen=True)
class Cost:
    """What one run of one command took."""

    wall_s: float
    cpu_s: float
    """User and system time of the process and of all descendants."""
    rss_bytes: int
    """Peak memory of the started process; for a process tree, of the driver alone."""
    output: str = ""
    run_s: float | None = None
    """Wall seconds of the work alone, from the tool's own record, where it keeps one."""
    worker_rss_bytes: int = 0
    """Peak memory of the largest of Ray's workers, of a process tree."""


@dataclass(frozen=True)
class Tool:
    """A named way to turn an input folder into an output path."""

    name: str
    command: Callable[[Path, Path], list[str]]
    tree: bool = False
    """Its work is done by processes that the kernel does not charge to the started one (Ray)."""
    cores: int = 1


@dataclass(frozen=True)
class Figures:
    """All rounds of one tool on one input, and on ten records of it."""

    tool: str
    input_bytes: int
    runs: list[Cost] = field(default_factory=list)
    starts: list[Cost] = field(default_factory=list)

    def median(self, name: str) -> float:
        """Median over the rounds of a field of `Cost`."""
        return statistics.median([float(getattr(run, name)) for run in self.runs])

    def start(self, name: str) -> float:
        """Median cost of a run on ten records: the start-up."""
        return statistics.median([float(getattr(run, name)) for run in self.starts])

    def net(self, name: str) -> float:
        """Median with the start-up taken out; at least a hundredth of a second."""
        return max(0.01, self.median(name) - self.start(name))

    @property
    def net_mb_per_cpu_s(self) -> float:
        """Megabytes (1e6) of plain JSON lines per CPU second, start-up taken out."""
        return self.input_bytes / 1e6 / self.net("cpu_s")

    @property
    def gross_mb_per_cpu_s(self) -> float:
        """Megabytes (1e6) of plain JSON lines per CPU second of the whole process."""
        return self.input_bytes / 1e6 / self.median("cpu_s")

    @property
    def run_s(self) -> float:
        """Median wall seconds of the work alone; without a record, the wall less the start-up."""
        recorded = [run.run_s for run in self.runs if run.run_s is not None]
        return statistics.median(recorded) if recorded else self.net("wall_s")

    @property
    def spread(self) -> tuple[float, float]:
        """Least and most CPU seconds of a round, as a share of the median."""
        cpu = [run.cpu_s / self.median("cpu_s") for run in self.runs]
        return min(cpu), max(cpu)


def run_child(
    command: Sequence[str],
    cwd: Path,
    *,
    cores: int = 1,
    tree: bool = False,
    pinned: bool = True,
    limit_s: float = LIMIT_S,
) -> Cost:
    """Run ``command`` to its end and return what it took.

    Args:
        command: Program and arguments.
        cwd: Folder to run in.
        cores: How many of the CPUs of this process it may use, the last ones first.
        tree: Sum the CPU time over all processes that descend from it, by sampling `/proc`.
        pinned: False lets it use all CPUs and threads; for preparing data.
        limit_s: When it is killed.

    Raises:
        ChildFailedError: The exit code is not 0, or ``limit_s`` seconds passed.
    """
    token = uuid.uuid4().hex
    env = {**os.environ, **QUIET_RAY, "PYTHONPATH": str(ROOT), "CURATOR_BENCHMARK": token}
    cpus = sorted(os.sched_getaffinity(0))
    if pinned:
        env |= ONE_THREAD
        cpus = cpus[-cores:]
    # A file, not a pipe: what outlives the child must not keep this process waiting.
    with tempfile.TemporaryFile() as printed:
        started = time.perf_counter()
        child = subprocess.Popen(
            ["taskset", "-c", ",".join(map(str, cpus)), *command],
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=printed,
            stderr=subprocess.STDOUT,
        )
        sampler = _TreeSampler(token, child.pid) if tree else None
        stopper = threading.Timer(limit_s, child.kill)
        stopper.start()
        _, status, usage = os.wait4(child.pid, 0)
        wall_s = time.perf_counter() - started
        child.returncode = os.waitstatus_to_exitcode(status)
        stopper.cancel()
        printed.seek(0)
        output = printed.read().decode(errors="replace")
    cpu_s, rss_bytes, worker_rss_bytes = usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, 0
    if sampler is not None:
        sampled_s, rss_bytes, worker_rss_bytes = sampler.finish()
        cpu_s = max(cpu_s, sampled_s)
    if child.returncode != 0:
        last = output.strip().replace(sys.executable, "python").splitlines()[-3:]
        raise ChildFailedError(f"ended with {child.returncode}, last words {last}")
    return Cost(wall_s, cpu_s, rss_bytes, output, worker_rss_bytes=worker_rss_bytes)


class _TreeSampler(threading.Thread):
    """Adds up the CPU time of all processes that carry the token in their environment.

    The environment is inherited by every process that Ray starts, whoever their parent is. What a
    process does after its last sample is missed: at most `SAMPLE_S` seconds each.
    """

    def __init__(self, token: str, driver: int) -> None:
        super().__init__(daemon=True)
        self._mark = f"CURATOR_BENCHMARK={token}".encode()
        self._driver, self._driver_rss_bytes, self._worker_rss_bytes = driver, 0, 0
        # Between fork and exec the driver still shows the environment of this process.
        self._ours = {driver: True}
        self._cpu_s: dict[int, float] = {}
        self._done = threading.Event()
        self.start()

    def run(self) -> None:
        while not self._done.wait(SAMPLE_S):
            self._sample()

    def finish(self, patience_s: float = 20.0) -> tuple[float, int, int]:
        """Wait until the last process is gone; return CPU seconds, the driver's peak bytes and a worker's."""
        deadline = time.monotonic() + patience_s
        self._done.set()
        self.join()
        while self._sample() and time.monotonic() < deadline:
            time.sleep(SAMPLE_S)
        return sum(self._cpu_s.values()), self._driver_rss_bytes, self._worker_rss_bytes

    def _sample(self) -> int:
        alive = 0
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            pid, folder = int(entry.name), Path(entry.path)
            try:
                if pid not in self._ours:
                    self._ours[pid] = self._mark in (folder / "environ").read_bytes()
                if not self._ours[pid]:
                    continue
                stat = (folder / "stat").read_text().rpartition(")")[2].split()
                if pid == self._driver:
                    self._driver_rss_bytes = max(self._driver_rss_bytes, _peak_bytes(folder))
                elif (folder / "cmdline").read_bytes().startswith(b"ray::"):
                    self._worker_rss_bytes = max(self._worker_rss_bytes, _peak_bytes(folder))
            except OSError:
                continue
            ticks = int(stat[11]) + int(stat[12])
            self._cpu_s[pid] = ticks / os.sysconf("SC_CLK_TCK")
            alive += stat[0] != "Z"
        return alive


def _peak_bytes(process: Path) -> int:
    for line in (process / "status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a Markdown table; the first column is left, the others are right."""
    cells = [list(header), *map(list, rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]

    def line(row: Sequence[str]) -> str:
        padded = [row[0].ljust(widths[0])]
        padded += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 1) + (":" if i else "-") for i, width in enumerate(widths))
    return "\n".join([line(cells[0]), rule + "|", *map(line, cells[1:])])


def describe_machine(packages: Sequence[str]) -> Mapping[str, str]:
    """Name the machine, the versions of ``packages``, the commit and the time."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    memory_gb = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    versions = [f"python {platform.python_version()}"]
    for name in packages:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} -")
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{model}, {len(os.sched_getaffinity(0))} cores, {memory_gb:.0f} GB, "
        f"Linux {platform.release().partition('-')[0]}",
        "versions": ", ".join(versions),
        "curator": _commit(),
    }


def _commit() -> str:
    git = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10"]
    done = subprocess.run(git, capture_output=True, text=True, check=False)
    return f"commit {done.stdout.strip()}" if done.returncode == 0 else "working tree, no commit"


def child_json(snippet: str, *arguments: Path | str) -> dict[str, int]:
    """Run a Python snippet that prints one JSON object, and return it."""
    command = [sys.executable, "-c", snippet, *map(str, arguments)]
    found: dict[str, int] = json.loads(run_child(command, ROOT, pinned=False).output)
    return found
