"""What a task costs on its way through three stages that do nothing, and what 2 GB of payload cost the driver.

    python benchmarks/engine.py
    python benchmarks/engine.py --tasks 500 --rounds 1 --payload-gb 0.5

Each engine runs in a process of its own, on a private Ray session that claims to have 8 cores, with one worker for each
segment. A round is three runs of ten tasks and three of all tasks; the difference of their medians, by task and stage,
is what is shown, so that starting and ending workers is left out. Bare actors, one for each stage, with references
handed from one to the next and one ``ray.get`` at the end, are the yardstick. Peers are measured where they are
installed. For the payload, workers make Arrow tables of 32 MB, which pass a second and a third stage, each with workers
of its own; the growth of the driver's resident memory from before the run to its peak is shown.
"""

import argparse
import importlib.util
import json
import logging
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from measure import QUIET_RAY, describe_machine, run_child, table

CORES = 8
FEW = 10
STAGES = 3
TABLE_BYTES = 32 << 20
MOST_MS = {"curator, unfused": 0.7, "curator, fused": 0.1}
MOST_GROWTH_BYTES = 100e6


def start_ray(store_bytes: int | None = None) -> Any:
    """A private session of this process."""
    os.environ.update({**QUIET_RAY, "RAY_AUTH_MODE": "disabled", "RAY_prestart_worker_first_driver": "0"})
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    import ray

    quiet = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
    ray.init(address="local", num_cpus=CORES, object_store_memory=store_bytes, **quiet)
    return ray


def curator_stages() -> tuple[list[Any], Callable[[int], list[Any]]]:
    """Three stages that hand their task on, and a maker of tasks."""
    from curator import ProcessingStage
    from curator.tasks import EmptyTask

    class Nothing(ProcessingStage):
        def process(self, task: Any) -> Any:
            return task

    return [Nothing().with_(name=f"nothing_{n}") for n in range(STAGES)], lambda count: [
        EmptyTask() for _ in range(count)
    ]


def run_curator(fuse: bool) -> Callable[[int], None]:
    """Ours."""
    from curator import RayActorPoolExecutor

    stages, make = curator_stages()
    executor = RayActorPoolExecutor({"fuse": fuse, "max_workers": 1})

    def run(count: int) -> None:
        assert len(executor.execute(stages, make(count))) == count

    return run


def run_bare() -> Callable[[int], None]:
    """Actors and references, nothing else."""
    import ray

    @ray.remote
    class Stage:
        def process(self, task: Any) -> Any:
            return task

    _, make = curator_stages()

    def run(count: int) -> None:
        actors = [Stage.remote() for _ in range(STAGES)]
        references = make(count)
        for actor in actors:
            references = [actor.process.remote(each) for each in references]
        assert len(ray.get(references)) == count

    return run


def run_ray_data() -> Callable[[int], None]:
    """Ray Data with one actor for each stage and one row in each block."""
    import ray.data

    class Stage:
        def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
            return row

    def run(count: int) -> None:
        data = ray.data.from_items([{"value": value} for value in range(count)], override_num_blocks=count)
        for _ in range(STAGES):
            data = data.map(Stage, compute=ray.data.ActorPoolStrategy(size=1))
        assert len(data.take_all()) == count

    return run


def run_reference() -> Callable[[int], None]:
    """The actor pool of NeMo Curator."""
    from nemo_curator.backends.ray_actor_pool import RayActorPoolExecutor
    from nemo_curator.stages.base import ProcessingStage
    from nemo_curator.tasks import EmptyTask

    class Nothing(ProcessingStage):
        def __init__(self, name: str) -> None:
            self.name = name

        def inputs(self) -> tuple[list[str], list[str]]:
            return [], []

        def outputs(self) -> tuple[list[str], list[str]]:
            return [], []

        def process(self, task: Any) -> Any:
            return task

    def run(count: int) -> None:
        tasks = [EmptyTask() if callable(EmptyTask) else EmptyTask for _ in range(count)]
        RayActorPoolExecutor().execute([Nothing(f"nothing_{n}") for n in range(STAGES)], tasks)

    return run


ENGINES: dict[str, tuple[Callable[[], Callable[[int], None]], str]] = {
    "curator, unfused": (lambda: run_curator(False), "curator"),
    "curator, fused": (lambda: run_curator(True), "curator"),
    "bare actors": (run_bare, "ray"),
    "Ray Data": (run_ray_data, "pandas"),
    "NeMo Curator": (run_reference, "nemo_curator"),
}


def measure_engine(name: str, tasks: int) -> None:
    """In a child: one round, each run of it three times; the median seconds of ten tasks and of all of them."""
    ray = start_ray()
    run = ENGINES[name][0]()
    seconds: dict[int, list[float]] = {FEW: [], tasks: []}
    for count in [FEW, tasks] * 3:
        if not ray.is_initialized():  # the reference ends the session that it is given
            start_ray()
        started = time.perf_counter()
        run(count)
        seconds[count].append(time.perf_counter() - started)
    print(json.dumps([statistics.median(each) for each in seconds.values()]))


def rss_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def measure_payload(total_bytes: int) -> None:
    """In a child: how far the driver grows, and the seconds of the run."""
    start_ray(store_bytes=1 << 30)
    import numpy as np
    import pyarrow as pa

    from curator import ProcessingStage, RayActorPoolExecutor
    from curator.tasks import EmptyTask
    from curator.tasks.table import TableTask

    class Make(ProcessingStage):
        name = "make"

        def process(self, task: Any) -> Any:
            return TableTask(table=pa.table({"value": np.arange(TABLE_BYTES // 8)}))

    class Pass(ProcessingStage):
        name = "pass"

        def process(self, task: Any) -> Any:
            return TableTask(table=task.table)

    class Count(ProcessingStage):
        name = "count"

        def process(self, task: Any) -> Any:
            return TableTask(table=pa.table({"rows": [task.table.num_rows]}))

    executor = RayActorPoolExecutor({"fuse": False})
    stages = [Make(), Pass(), Count()]
    executor.execute(stages, [EmptyTask()])
    peaks, done = [before := rss_bytes()], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peaks.append(rss_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    count, started = total_bytes // TABLE_BYTES, time.perf_counter()
    made = executor.execute(stages, [EmptyTask() for _ in range(count)])
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    rows = sum(task.table["rows"][0].as_py() for task in made)
    if rows != count * TABLE_BYTES // 8:
        raise SystemExit(f"{rows} rows came out, not {count * TABLE_BYTES // 8}")
    print(json.dumps([max(peaks) - before, seconds]))


def child(*arguments: str) -> list[float]:
    """What a child of this script printed last."""
    cost = run_child([sys.executable, __file__, *arguments], Path.cwd(), pinned=False, tree=True)
    answer: list[float] = json.loads(cost.output.strip().splitlines()[-1])
    return answer


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--payload-gb", type=float, default=2.0)
    parser.add_argument("--engine", help=argparse.SUPPRESS)
    parser.add_argument("--payload", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.engine:
        measure_engine(chosen.engine, chosen.tasks)
        return
    if chosen.payload:
        measure_payload(int(chosen.payload_gb * 1e9))
        return
    engines = {name: need for name, (_, need) in ENGINES.items() if importlib.util.find_spec(need) is not None}
    rounds: dict[str, list[list[float]]] = {name: [] for name in engines}
    for _ in range(chosen.rounds):
        for name in engines:
            rounds[name].append(child("--engine", name, "--tasks", str(chosen.tasks)))
    rows = []
    for name, (_, need) in ENGINES.items():
        if name not in rounds:
            rows.append([name, f"skipped: {need} is not installed", "", ""])
            continue
        per_task = [1e3 * (long - short) / (chosen.tasks - FEW) / STAGES for short, long in rounds[name]]
        start = statistics.median(short for short, _ in rounds[name])
        limit = f"{MOST_MS[name]:g}" if name in MOST_MS else ""
        rows.append([name, f"{statistics.median(per_task):.3f}", f"{start:.1f}", limit])
    print(table(["engine", "ms per task and stage", "ten tasks, s", "at most"], rows))
    growth, seconds = child("--payload", "--payload-gb", str(chosen.payload_gb))
    header = ["payload", "driver grows by, MB", "s", "at most"]
    print(table(header, [[f"{chosen.payload_gb:g} GB", f"{growth / 1e6:.0f}", f"{seconds:.1f}", "100"]]))
    print(json.dumps(describe_machine(["ray", "pyarrow"]), indent=1, default=str))


if __name__ == "__main__":
    main()
