"""Exact deduplication: speed and memory of curator beside its peers, on one core each, in one run.

    python benchmarks/exact.py --corpora ../shared/corpora
    python benchmarks/exact.py --only jsonl,zst --rounds 5 --json exact.json

Files go from a RAM disk to a RAM disk. Speed is megabytes of plain JSON lines per CPU second, for
all formats; `net` has the start-up (the same tool on ten records) taken out, `gross` has not. A
copy reads and writes records and decides nothing; the raw copy does not even look at them. What
every deduplication wrote is counted and compared with the number of distinct texts. A wrong count
ends the run with code 1; a missed goal is printed and does not.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from corpus import COUNT, FORMATS, Corpus, first_shards, prepare
from measure import ChildFailedError, Cost, Figures, Tool, child_json, describe_machine, run_child, table
from peers import PEERS, peer

PACKAGES = ("polars", "pyarrow", "duckdb", "ray", "numba")
PARTS = (*FORMATS, "ray", "memory")

# Our speed per CPU second over that of polars' identity copy of the same format.
COPY = "polars copy"
LEAST_OF_COPY = {"jsonl": 1.5, "zst": 0.8, "parquet": 0.8}
# Wall throughput of two actors on two cores over one local process; and the corpus it needs.
LEAST_OF_LOCAL, LEAST_RAY_BYTES = 1.6, 500e6
# Peak memory of the driver on the larger corpus over that on the smaller one.
MOST_MEMORY, MEMORY_BYTES = 1.1, (100 * 10**6, 500 * 10**6)


@dataclass
class Report:
    """What was measured: printed as it comes, kept for `--json`."""

    figures: dict[str, dict[str, Figures]] = field(default_factory=dict)
    goals: list[tuple[str, str, str, str]] = field(default_factory=list)
    wrong: dict[str, str] = field(default_factory=dict)

    def judge(self, claim: str, bound: str, net: float | None, gross: float | None) -> None:
        """Note a ratio beside its goal; ``bound`` is such as ``>= 1.5``."""
        limit, more = float(bound.split()[1]), bound.startswith(">=")

        def verdict(ratio: float | None) -> str:
            if ratio is None:
                return "not measured"
            met = ratio >= limit if more else ratio <= limit
            return f"{ratio:.2f} {'PASS' if met else 'MISS'}"

        self.goals.append((claim, bound, verdict(net), verdict(gross)))


def curator(name: str, *overrides: str, tree: bool = False, cores: int = 1) -> Tool:
    """Our own command with ``overrides``, as a user types it."""

    def command(source: Path, target: Path) -> list[str]:
        # fmt: off
        return [
            sys.executable, "-m", "curator", *overrides, "stages=[read,exact,write]",
            f"input_path={source}", f"output_path={target}", "output_mode=replace",
            f"hydra.run.dir={target.with_name('hydra')}",
        ]
        # fmt: on

    return Tool(name, command, tree=tree, cores=cores)


LOCAL = curator("curator local", "executor=local")
RAY = curator("curator ray x2", "executor=ray_actor_pool", "executor.num_workers=2", tree=True, cores=2)


def measure(tools: Sequence[Tool], corpus: Corpus, kind: str, rounds: int, report: Report) -> dict[str, Figures]:
    """Run all tools in turn, ``rounds`` times; tools that do not work here are left out."""
    target = corpus.folder.parent / f"output-{os.getpid()}" / "result"

    def once(tool: Tool, source: Path) -> Cost:
        shutil.rmtree(target.parent, ignore_errors=True)
        target.parent.mkdir(parents=True)
        command = tool.command(source, target)
        cost = run_child(command, target.parent, cores=tool.cores, tree=tool.tree)
        return replace(cost, output="", run_s=_run_seconds(target))

    working: list[Tool] = []
    for tool in tools:
        try:
            once(tool, corpus.tiny(kind))  # outside the rounds: fills caches of compiled code
            working.append(tool)
        except ChildFailedError as error:
            print(f"\n{kind}: {tool.name} does not run here and is left out: {error}", flush=True)
    found = {tool.name: Figures(tool.name, corpus.jsonl_bytes) for tool in working}
    for number in range(rounds):
        for tool in working if number % 2 == 0 else reversed(working):
            found[tool.name].starts.append(once(tool, corpus.tiny(kind)))
            found[tool.name].runs.append(once(tool, corpus.data(kind)))
            if number == 0 and "copy" not in tool.name and (mistake := _mistake(target, corpus)):
                report.wrong[f"{kind}: {tool.name}"] = mistake
    shutil.rmtree(target.parent, ignore_errors=True)
    # The speed of a wrong answer is no figure.
    return {name: figures for name, figures in found.items() if f"{kind}: {name}" not in report.wrong}


def _run_seconds(target: Path) -> float | None:
    """Seconds of the run proper as curator wrote them, without interpreter and cluster start-up."""
    try:
        return float(json.loads((target / "_curator" / "run.json").read_bytes())["seconds"])
    except (FileNotFoundError, KeyError):
        return None


def _mistake(target: Path, corpus: Corpus) -> str | None:
    """What is wrong with a deduplicated output, if anything is."""
    kept = child_json(COUNT, target)
    if kept == {"rows": corpus.distinct, "distinct": corpus.distinct}:
        return None
    return f"kept {kept}, but {corpus.distinct:,} texts are distinct"


def compare_speed(corpus: Corpus, kind: str, rounds: int, report: Report) -> None:
    """Our single process beside every peer on one format."""
    tools = [LOCAL, *(peer(kind, name) for name in PEERS[kind])]
    found = report.figures[kind] = measure(tools, corpus, kind, rounds, report)
    print(f"\n### {kind}, one core\n")
    header = ["tool", "net MB/s", "gross MB/s", "x copy", "CPU s (spread)", "start s", "wall s", "RSS MB"]
    copy = found[COPY]
    rows = [
        [
            tool.tool,
            f"{tool.net_mb_per_cpu_s:.0f}",
            f"{tool.gross_mb_per_cpu_s:.0f}",
            f"{tool.net_mb_per_cpu_s / copy.net_mb_per_cpu_s:.2f}",
            f"{tool.median('cpu_s'):.2f} ({tool.spread[0]:.2f}-{tool.spread[1]:.2f})",
            f"{tool.start('cpu_s'):.2f}",
            f"{tool.median('wall_s'):.2f}",
            f"{tool.median('rss_bytes') / 1e6:.0f}",
        ]
        for tool in found.values()
    ]
    print(table(header, rows), flush=True)
    ours = found.get(LOCAL.name)
    report.judge(
        f"{kind}: speed over {COPY}, per CPU second",
        f">= {LEAST_OF_COPY[kind]}",
        ours.net_mb_per_cpu_s / copy.net_mb_per_cpu_s if ours else None,
        ours.gross_mb_per_cpu_s / copy.gross_mb_per_cpu_s if ours else None,
    )


def compare_ray(corpus: Corpus, rounds: int, report: Report) -> None:
    """Two actors on two cores beside one local process on one of them."""
    if len(os.sched_getaffinity(0)) < RAY.cores:
        print("\nray: left out, this process may use one core only\n")
        return
    found = report.figures["ray"] = measure([LOCAL, RAY], corpus, "jsonl", rounds, report)
    print(f"\n### Ray, two actors on two cores, {corpus.jsonl_bytes / 1e6:.0f} MB of jsonl\n")
    header = ["tool", "run s", "wall s", "start wall s", "CPU s", "start CPU s", "driver RSS MB"]
    rows = [
        [
            tool.tool,
            f"{tool.run_s:.2f}",
            f"{tool.median('wall_s'):.2f}",
            f"{tool.start('wall_s'):.2f}",
            f"{tool.median('cpu_s'):.2f}",
            f"{tool.start('cpu_s'):.2f}",
            f"{tool.median('rss_bytes') / 1e6:.0f}",
        ]
        for tool in found.values()
    ]
    print(table(header, rows), flush=True)
    local, pool = found.get(LOCAL.name), found.get(RAY.name)
    enough = corpus.jsonl_bytes >= LEAST_RAY_BYTES
    both = (local, pool) if local and pool and enough else None
    report.judge(
        "ray_actor_pool x2: wall throughput over local, at least 500 MB",
        f">= {LEAST_OF_LOCAL}",
        both[0].run_s / both[1].run_s if both else None,
        both[0].median("wall_s") / both[1].median("wall_s") if both else None,
    )


def compare_memory(corpus: Corpus, rounds: int, report: Report) -> None:
    """Peak memory on a smaller and a larger part of the corpus."""
    if corpus.jsonl_bytes < 0.98 * max(MEMORY_BYTES):
        print(f"\nmemory: left out, it needs {max(MEMORY_BYTES) / 1e6:.0f} MB\n")
        return
    tools = [LOCAL, peer("jsonl", "polars unique")]
    tools += [RAY] if len(os.sched_getaffinity(0)) >= RAY.cores else []
    parts = [first_shards(corpus, least) for least in MEMORY_BYTES]
    small, large = (measure(tools, part, "jsonl", rounds, report) for part in parts)
    report.figures |= {"memory small": small, "memory large": large}
    sizes = [f"{part.jsonl_bytes / 1e6:.0f} MB" for part in parts]
    print("\n### Peak memory of the driver (MB)\n")
    peaks = {
        name: (small[name].median("rss_bytes"), large[name].median("rss_bytes")) for name in small if name in large
    }
    rows = [[name, f"{low / 1e6:.0f}", f"{high / 1e6:.0f}", f"{high / low:.2f}"] for name, (low, high) in peaks.items()]
    print(table(["tool", *sizes, "ratio"], rows), flush=True)
    for tool in (LOCAL, RAY):
        low, high = peaks.get(tool.name, (0.0, 0.0))
        ratio = high / low if low else None
        report.judge(f"{tool.name}: driver memory, 500 over 100 MB", f"<= {MOST_MEMORY}", ratio, ratio)


def main() -> int:
    """Measure what is asked for, print it as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="600MB", help="plain JSON lines to generate")
    parser.add_argument("--corpora", type=Path, default=Path("../shared/corpora"))
    parser.add_argument("--work", type=Path, default=Path("/dev/shm/curator-bench"))
    parser.add_argument("--json", type=Path, help="write every single run to this file too")
    args = parser.parse_args()
    parts = args.only.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"--only: unknown {unknown}. Choose from: {', '.join(PARTS)}")

    machine = describe_machine(PACKAGES)
    command = f"python benchmarks/exact.py --size {args.size} --only {args.only}"
    print(f"## Exact deduplication, {machine['date']}\n")
    print(f"- machine: {machine['machine']}\n- versions: {machine['versions']}")
    print(f"- curator: {machine['curator']}\n- command: `{command} --rounds {args.rounds}`")
    kinds = [kind for kind in FORMATS if kind in {*parts, "jsonl"}]
    corpus = prepare(args.work.resolve(), args.corpora.resolve(), args.size, kinds)
    megabytes = corpus.jsonl_bytes / 1e6
    print(f"- corpus: {megabytes:.0f} MB, {corpus.rows:,} documents, {corpus.distinct:,} distinct")

    report = Report()
    for kind in (kind for kind in FORMATS if kind in parts):
        compare_speed(corpus, kind, args.rounds, report)
    if "ray" in parts:
        compare_ray(corpus, args.rounds, report)
    if "memory" in parts:
        compare_memory(corpus, args.rounds, report)

    print("\n### Goals\n")
    print(table(["ratio", "goal", "net", "gross"], report.goals))
    for what, mistake in report.wrong.items():
        print(f"\nWRONG OUTPUT, left out above: {what} {mistake}")
    if args.json:
        content = {"machine": machine, "corpus_bytes": corpus.jsonl_bytes, **asdict(report)}
        args.json.write_text(json.dumps(content, indent=1) + "\n")
    return 1 if report.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
