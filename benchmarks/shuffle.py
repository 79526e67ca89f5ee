"""A shuffle of (u64 key, u64 id) rows on two Ray workers, beside one numpy process that sorts the same rows.

    python benchmarks/shuffle.py
    python benchmarks/shuffle.py --rows 2_000_000 --rounds 1 --budget-mb 64

The rows come from a seed: workers make them, in tasks of 16 MB, and the driver never holds one. Ours is the wall time
of a whole pipeline (make, shuffle, count) less that of the same pipeline over a handful of rows, in one Ray session; it
includes making the rows and writing them to files. Numpy has its rows before its time begins: a stable ``argsort`` of
the keys and a ``take`` of both columns. Every row is counted; a wrong count ends the run with code 1. The memory of a
worker is its peak over the peak that it had after the handful of rows.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import describe_machine, run_child, table

TASK_ROWS = 1 << 20
MOST_OF_NUMPY = 3.0
FEW_ROWS = 1000


def make_rows(task: int, rows: int) -> tuple[Any, Any]:
    """Keys, a tenth of which come twice, and ids: uint64, shape (rows,)."""
    import numpy as np

    rng = np.random.default_rng(task)
    keys = rng.integers(0, 2**64, rows, np.uint64)
    keys[: rows // 10] = keys[rows - rows // 10 :]
    return keys, np.arange(rows, dtype=np.uint64) + np.uint64(task * TASK_ROWS)


def sizes(rows: int) -> list[int]:
    """Rows of each task."""
    return [min(TASK_ROWS, rows - first) for first in range(0, rows, TASK_ROWS)]


def numpy_child(rows: int) -> dict[str, float]:
    """Sort in this process; seconds of the sort alone."""
    import numpy as np

    parts = [make_rows(task, count) for task, count in enumerate(sizes(rows))]
    keys, ids = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    started = time.perf_counter()
    order = np.argsort(keys, kind="stable")
    keys, ids = keys[order], ids[order]
    seconds = time.perf_counter() - started
    assert (keys[1:] >= keys[:-1]).all()
    return {"seconds": seconds}


def ours_child(rows: int, rounds: int, budget_bytes: int, *, by_key: bool) -> dict[str, Any]:
    """Shuffle on two Ray workers of one session; seconds of each round with and without rows."""
    import numpy as np
    import pyarrow as pa
    import ray

    from curator import ProcessingStage, RayActorPoolExecutor
    from curator.stages.shuffle import TableShuffle
    from curator.tasks import TableTask

    class Make(ProcessingStage):
        name = "make"

        def process(self, task: Any) -> Any:
            keys, ids = make_rows(*task.table["task"].to_pylist(), *task.table["rows"].to_pylist())
            return TableTask(table=pa.table({"key": keys, "id": ids}))

    class Count(ProcessingStage):
        name = "count"

        def process(self, task: Any) -> Any:
            keys, ids = (task.table[name].to_numpy() for name in ("key", "id"))
            if by_key:
                assert (keys[1:] >= keys[:-1]).all()
            counted = {
                "rows": [len(ids)],
                "ids": [int(ids.sum())],
                "keys": [int(np.bitwise_xor.reduce(keys))],
                "worker": [os.getpid()],
                "peak": [resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024],
            }
            return TableTask(table=pa.table(counted, pa.schema({**dict.fromkeys(counted, pa.uint64())})))

    def run(count: int) -> tuple[float, Any]:
        given = [{"task": [task], "rows": [size]} for task, size in enumerate(sizes(count))]
        # Two tasks at least, so that both workers start.
        given = given if len(given) > 1 else [{"task": [task], "rows": [count // 2]} for task in range(2)]
        shuffle = TableShuffle("key", memory_budget_bytes=budget_bytes, sort_by_key=by_key, scratch_path=scratch)
        stages = [Make(), shuffle, Count()]
        started = time.perf_counter()
        made = executor.execute(stages, [TableTask(table=pa.table(columns)) for columns in given])
        return time.perf_counter() - started, pa.concat_tables([task.table for task in made]).to_pydict()

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    executor = RayActorPoolExecutor({"num_workers": 2}, show_progress=False)
    found: dict[str, Any] = {"seconds": [], "start": [], "peak": [], "before": []}
    with tempfile.TemporaryDirectory() as scratch:
        run(FEW_ROWS)
        for _ in range(rounds):
            start_s, few = run(FEW_ROWS)
            seconds, counted = run(rows)
            assert sum(counted["rows"]) == rows, f"{sum(counted['rows']):,} rows came out"
            ids = sum(int(make_rows(task, size)[1].sum()) for task, size in enumerate(sizes(rows)))
            assert sum(counted["ids"]) == ids, "the ids are others"
            found["start"].append(start_s)
            found["seconds"].append(seconds)
            found["before"].append(max(few["peak"]))
            found["peak"].append(max(counted["peak"]))
            found["workers"] = len(set(counted["worker"]))
            found["partitions"] = len(counted["rows"])
    ray.shutdown()
    return found


def child(kind: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measure one side in a process of its own."""
    options = [
        "--rows",
        str(arguments.rows),
        "--rounds",
        str(arguments.rounds),
        "--budget-mb",
        str(arguments.budget_mb),
    ]
    command = [sys.executable, str(Path(__file__).resolve()), "--child", kind, *options]
    done = run_child(command, Path(__file__).resolve().parent, cores=2, pinned=False)
    answer: dict[str, Any] = json.loads(done.output.strip().splitlines()[-1])
    return answer


def main() -> int:
    """Measure both sides in turn and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=20_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--budget-mb", type=int, default=256)
    parser.add_argument("--child", choices=("numpy", "ours", "sorted"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    budget_bytes = arguments.budget_mb << 20
    if arguments.child == "numpy":
        print(json.dumps(numpy_child(arguments.rows)))
        return 0
    if arguments.child:
        by_key = arguments.child == "sorted"
        print(json.dumps(ours_child(arguments.rows, arguments.rounds, budget_bytes, by_key=by_key)))
        return 0
    for key, value in describe_machine(("numpy", "pyarrow", "ray", "numba")).items():
        print(f"{key:9} {value}")
    sorting_s = statistics.median(child("numpy", arguments)["seconds"] for _ in range(arguments.rounds))
    lines = [["numpy, sort by key", f"{sorting_s:.2f}", "-", "1.00", "-", ""]]
    for kind, words in (("ours", "shuffle"), ("sorted", "shuffle, sorted by key")):
        found = child(kind, arguments)
        start_s = statistics.median(found["start"])
        seconds = statistics.median(found["seconds"]) - start_s
        held_mb = max(peak - before for peak, before in zip(found["peak"], found["before"], strict=True)) / 2**20
        met = seconds <= MOST_OF_NUMPY * sorting_s and held_mb <= arguments.budget_mb
        words = f"{words}, {found['workers']} workers, {found['partitions']} partitions"
        memory = f"{held_mb:.0f} of {arguments.budget_mb}"
        lines.append(
            [words, f"{seconds:.2f}", f"{start_s:.2f}", f"{seconds / sorting_s:.2f}", memory, "PASS" if met else "MISS"]
        )
    print(
        f"\n{arguments.rows:,} rows; median of {arguments.rounds}; goal: <= {MOST_OF_NUMPY:g} times numpy, in budget\n"
    )
    print(table(("what", "seconds", "start-up s", "of numpy", "worker's MiB", "goal"), lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
