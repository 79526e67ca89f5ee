"""Fuzzy deduplication: speed and memory of curator beside copies and peers, on one core each, in one run.

    python benchmarks/fuzzy.py --corpora ../shared/corpora
    python benchmarks/fuzzy.py --only jsonl --size 100MB --rounds 5
    python benchmarks/fuzzy.py --only peers --peer-size 25MB
    python benchmarks/fuzzy.py --only linear,ray --sizes 100MB,600MB,2GB --rounds 1

Speed is megabytes of plain JSON lines per CPU second, for all formats; `net` has the start-up (the same tool on ten
records) taken out, `gross` has not. A copy reads and writes records and decides nothing. Ours and the copies run on
`--size`, the slow peers on `--peer-size`, where ours and the copy run again, in turn with them; their goals compare
our speed on `--size`. A peer that is not installed is left out, with the reason. What is kept is shown beside the
speed; how good it is says `quality.py`. A missed goal is printed and does not end the run.
"""

import argparse
import json
import math
import os
import shutil
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from corpus import COUNT, FORMATS, Corpus, first_shards, prepare
from measure import ChildFailedError, Cost, Figures, Tool, child_json, describe_machine, run_child, table
from peers import fuzzy_peers, peer

PACKAGES = ("polars", "pyarrow", "numba", "ray", "datasketch", "datatrove", "text-dedup")
PARTS = (*FORMATS, "peers", "ray", "linear")
COPY = "polars copy"
WORD = ("stages.fuzzy.bands=14", "stages.fuzzy.rows=8")
CHAR = (
    "stages.fuzzy.bands=20",
    "stages.fuzzy.rows=13",
    "stages.fuzzy.shingle=char",
    "stages.fuzzy.shingle_size=24",
)
NONE = ("stages.fuzzy.verify=none",)

# Our speed per CPU second over that of polars' identity copy of the same format, by the name of our tool.
LEAST_OF_COPY = {
    "jsonl": {"word-5 none": 0.7, "word-5 exact": 0.5, "char-24 none": 0.45, "char-24 exact": 0.35},
    "zst": {"word-5 none": 0.6, "word-5 exact": 0.6},
    "parquet": {"word-5 none": 0.6, "word-5 exact": 0.6},
}
OPTIONS = {
    "word-5 none": (*WORD, *NONE),
    "word-5 exact": WORD,
    "char-24 none": (*CHAR, *NONE),
    "char-24 exact": CHAR,
}
LEAST_OF_PEER = {"datatrove": 80, "datasketch": 35, "text-dedup": 100}
# Wall throughput of two actors on two cores over one local process; and the corpus for it.
LEAST_OF_LOCAL, RAY_BYTES = 1.6, 10**9
# From the smallest to the largest corpus: exponent of CPU seconds over bytes, memory of a worker, growth of the driver.
MOST_EXPONENT, MOST_WORKER_MB, MOST_DRIVER = 1.05, 1000, 1.1


@dataclass
class Report:
    """What was measured: printed as it comes, kept for `--json`."""

    figures: dict[str, dict[str, Figures]] = field(default_factory=dict)
    goals: list[tuple[str, str, str]] = field(default_factory=list)

    def judge(self, claim: str, bound: str, value: float | None) -> None:
        """Note a figure beside its goal; ``bound`` is such as ``>= 1.5``."""
        limit, more = float(bound.split()[1]), bound.startswith(">=")
        met = value is not None and (value >= limit if more else value <= limit)
        shown = "not measured" if value is None else f"{value:.2f} {'PASS' if met else 'MISS'}"
        self.goals.append((claim, bound, shown))


def curator(name: str, *overrides: str, tree: bool = False, cores: int = 1) -> Tool:
    """Our own command with ``overrides``, as a user types it."""

    def command(source: Path, target: Path) -> list[str]:
        # fmt: off
        return [
            sys.executable, "-m", "curator", "stages=[read,fuzzy,write]", *overrides,
            f"input_path={source}", f"output_path={target}", "output_mode=replace",
            f"hydra.run.dir={target.with_name('hydra')}",
        ]
        # fmt: on

    return Tool(name, command, tree=tree, cores=cores)


def ours(name: str) -> Tool:
    """One process of ours with some of ``OPTIONS``."""
    return curator(f"curator {name}", "executor=local", *OPTIONS[name])


LOCAL = ours("word-5 exact")
RAY = curator("curator ray x2", "executor=ray_actor_pool", "executor.num_workers=2", *WORD, tree=True, cores=2)


def measure(
    tools: Sequence[Tool], corpus: Corpus, kind: str, rounds: int
) -> tuple[dict[str, Figures], dict[str, int | None]]:
    """Run all tools in turn, ``rounds`` times; their figures, and how many documents each of them left."""
    target = corpus.folder.parent / f"output-{os.getpid()}" / "result"

    def once(tool: Tool, source: Path) -> Cost:
        shutil.rmtree(target.parent, ignore_errors=True)
        target.parent.mkdir(parents=True)
        cost = run_child(tool.command(source, target), target.parent, cores=tool.cores, tree=tool.tree)
        return replace(cost, output="", run_s=_run_seconds(target))

    working: list[Tool] = []
    for tool in tools:
        try:
            once(tool, corpus.tiny(kind))  # outside the rounds: fills caches of compiled code
            working.append(tool)
        except ChildFailedError as error:
            print(f"\n{kind}: {tool.name} does not run here and is left out: {error}", flush=True)
    found = {tool.name: Figures(tool.name, corpus.jsonl_bytes) for tool in working}
    kept: dict[str, int | None] = {}
    for number in range(rounds):
        for tool in working if number % 2 == 0 else reversed(working):
            found[tool.name].starts.append(once(tool, corpus.tiny(kind)))
            found[tool.name].runs.append(once(tool, corpus.data(kind)))
            if number == 0:
                kept[tool.name] = child_json(COUNT, target)["rows"]
    shutil.rmtree(target.parent, ignore_errors=True)
    return found, kept


def _run_seconds(target: Path) -> float | None:
    """Seconds of the run proper as curator wrote them, without interpreter and cluster start-up."""
    try:
        return float(json.loads((target / "_curator" / "run.json").read_bytes())["seconds"])
    except (FileNotFoundError, KeyError):
        return None


def show(title: str, found: dict[str, Figures], kept: dict[str, int | None], base: str) -> None:
    """Print one table; ``base`` is the tool that speeds are divided by."""
    print(f"\n### {title}\n")
    header = ["tool", "net MB/s", "gross MB/s", f"x {base}", "CPU s (spread)", "start s", "run s", "RSS MB", "kept"]
    by = found[base].net_mb_per_cpu_s if base in found else float("nan")
    rows = [
        [
            name,
            f"{tool.net_mb_per_cpu_s:.1f}",
            f"{tool.gross_mb_per_cpu_s:.1f}",
            f"{tool.net_mb_per_cpu_s / by:.3f}",
            f"{tool.median('cpu_s'):.2f} ({tool.spread[0]:.2f}-{tool.spread[1]:.2f})",
            f"{tool.start('cpu_s'):.2f}",
            "-" if tool.runs[0].run_s is None else f"{tool.median('run_s'):.2f}",
            f"{tool.median('rss_bytes') / 1e6:.0f}",
            f"{kept.get(name):,}",
        ]
        for name, tool in found.items()
    ]
    print(table(header, rows), flush=True)


def speed_ratio(ours: Figures | None, other: Figures | None) -> float | None:
    """Our net speed over another's, where both were measured."""
    return ours.net_mb_per_cpu_s / other.net_mb_per_cpu_s if ours and other else None


def compare_speed(corpus: Corpus, kind: str, rounds: int, report: Report) -> None:
    """Our settings beside the identity copy on one format."""
    wanted = LEAST_OF_COPY[kind]
    found, kept = measure([peer(kind, COPY), *map(ours, wanted)], corpus, kind, rounds)
    report.figures[kind] = found
    show(f"{kind}, one core", found, kept, COPY)
    for name, least in wanted.items():
        ratio = speed_ratio(found.get(f"curator {name}"), found.get(COPY))
        report.judge(f"{kind}: curator {name} over {COPY}, per CPU second", f">= {least}", ratio)


def compare_peers(small: Corpus, large: Corpus, rounds: int, report: Report) -> None:
    """All on the small corpus in turn; our own speed for the goals is that on the large one."""
    us = ours("word-5 none")
    if us.name not in report.figures.get("jsonl", {}):
        report.figures["jsonl"], kept = measure([us], large, "jsonl", rounds)
        show(f"jsonl, one core, {large.jsonl_bytes / 1e6:.0f} MB", report.figures["jsonl"], kept, us.name)
    found, kept = measure([us, peer("jsonl", COPY), *fuzzy_peers()], small, "jsonl", rounds)
    report.figures["peers"] = found
    show(f"peers, one core, {small.jsonl_bytes / 1e6:.0f} MB of jsonl", found, kept, us.name)
    for name, least in LEAST_OF_PEER.items():
        ratio = speed_ratio(report.figures["jsonl"].get(us.name), found.get(name))
        report.judge(f"jsonl: {us.name} over {name}, per CPU second", f">= {least}", ratio)


def compare_ray(corpus: Corpus, rounds: int, report: Report) -> None:
    """Two actors on two cores beside one local process on one of them."""
    found, kept = measure([LOCAL, RAY], corpus, "jsonl", rounds)
    report.figures["ray"] = found
    show(f"Ray, two actors on two cores, {corpus.jsonl_bytes / 1e6:.0f} MB of jsonl", found, kept, LOCAL.name)
    local, pool = found.get(LOCAL.name), found.get(RAY.name)
    ratio = local.run_s / pool.run_s if local and pool else None
    report.judge(f"{RAY.name}: wall throughput over local, 1 GB", f">= {LEAST_OF_LOCAL}", ratio)


def compare_linear(corpora: Sequence[Corpus], rounds: int, report: Report) -> None:
    """Time and memory on corpora of growing size."""
    found: list[dict[str, Figures]] = []
    rows = []
    for corpus in corpora:
        figures, kept = measure([LOCAL, RAY], corpus, "jsonl", rounds)
        found.append(figures)
        report.figures[f"linear {corpus.folder.name}"] = figures
        for name, tool in figures.items():
            # fmt: off
            rows.append([
                name, f"{corpus.jsonl_bytes / 1e6:.0f}", f"{tool.net('cpu_s'):.2f}", f"{tool.start('cpu_s'):.2f}",
                f"{tool.run_s:.2f}", f"{tool.median('rss_bytes') / 1e6:.0f}",
                f"{tool.median('worker_rss_bytes') / 1e6:.0f}" if RAY.name == name else "-", f"{kept[name]:,}",
            ])
            # fmt: on
    print("\n### From the smallest to the largest\n")
    header = ["tool", "MB", "net CPU s", "start CPU s", "run s", "process RSS MB", "worker RSS MB", "kept"]
    print(table(header, sorted(rows, key=lambda row: row[0])), flush=True)

    local = [figures[LOCAL.name] for figures in found if LOCAL.name in figures]
    pool = [figures[RAY.name] for figures in found if RAY.name in figures]
    sizes = " to ".join(f"{corpus.jsonl_bytes / 1e6:.0f}" for corpus in (corpora[0], corpora[-1])) + " MB"
    claim = f"{LOCAL.name}: exponent of net CPU seconds, {sizes}"
    report.judge(claim, f"<= {MOST_EXPONENT}", exponent(local) if len(local) > 1 else None)
    worker_mb = local[-1].median("rss_bytes") / 1e6 if local else None
    report.judge(f"{LOCAL.name}: peak memory at the largest, MB", f"<= {MOST_WORKER_MB}", worker_mb)
    worker_mb = pool[-1].median("worker_rss_bytes") / 1e6 if pool else None
    report.judge(f"{RAY.name}: peak memory of a worker at the largest, MB", f"<= {MOST_WORKER_MB}", worker_mb)
    growth = pool[-1].median("rss_bytes") / pool[0].median("rss_bytes") if len(pool) > 1 else None
    report.judge(f"{RAY.name}: memory of the driver, {sizes}", f"<= {MOST_DRIVER}", growth)


def exponent(tools: Sequence[Figures]) -> float:
    """Slope of the least-squares line through net CPU seconds over bytes, both as logarithms: 1 is linear."""
    sizes, costs = (
        [math.log(value) for value in values]
        for values in zip(*((tool.input_bytes, tool.net("cpu_s")) for tool in tools), strict=True)
    )
    return statistics.linear_regression(sizes, costs).slope


def main() -> int:
    """Measure what is asked for, print it as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="600MB", help="plain JSON lines to generate")
    parser.add_argument("--peer-size", default="25MB", help="the same for the slow peers")
    parser.add_argument("--sizes", default="100MB,600MB,2GB", help="the same for linear; ray takes 1 GB of the last")
    parser.add_argument("--corpora", type=Path, default=Path("../shared/corpora"))
    parser.add_argument("--work", type=Path, default=Path("/dev/shm/curator-bench"))
    parser.add_argument("--json", type=Path, help="write every single run to this file too")
    args = parser.parse_args()
    parts = args.only.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"--only: unknown {unknown}. Choose from: {', '.join(PARTS)}")

    machine = describe_machine(PACKAGES)
    print(f"## Fuzzy deduplication, {machine['date']}\n")
    print(f"- machine: {machine['machine']}\n- versions: {machine['versions']}\n- curator: {machine['curator']}")

    def made(size: str, *kinds: str) -> Corpus:
        corpus = prepare(args.work.resolve(), args.corpora.resolve(), size, [*kinds, "jsonl"])
        megabytes = corpus.jsonl_bytes / 1e6
        print(f"- corpus: {megabytes:.0f} MB, {corpus.rows:,} documents, {corpus.distinct:,} distinct", flush=True)
        return corpus

    report = Report()
    kinds = [kind for kind in FORMATS if kind in parts]
    sizes = args.sizes.split(",")
    if kinds or "peers" in parts:
        corpus = made(args.size, *kinds)
    for kind in kinds:
        compare_speed(corpus, kind, args.rounds, report)
    if "peers" in parts:
        compare_peers(made(args.peer_size), corpus, args.rounds, report)
    if "ray" in parts:
        compare_ray(first_shards(made(sizes[-1]), RAY_BYTES), args.rounds, report)
    if "linear" in parts:
        compare_linear([made(size) for size in sizes], args.rounds, report)

    print("\n### Goals\n")
    print(table(["what", "goal", "measured"], report.goals))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine, **asdict(report)}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
