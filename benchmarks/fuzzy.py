"""Fuzzy deduplication: speed and memory of curator beside copies and peers, on one core each, in one run.

    python benchmarks/fuzzy.py --corpora ../shared/corpora
    python benchmarks/fuzzy.py --only jsonl --size 100MB --rounds 5
    python benchmarks/fuzzy.py --only peers --peer-size 25MB

Speed is megabytes of plain JSON lines per CPU second, for all formats; `net` has the start-up (the same tool on ten
records) taken out, `gross` has not. A copy reads and writes records and decides nothing. Ours and the copies run on
`--size`, the slow peers on `--peer-size`; a peer that is not installed is left out, with the reason. What is kept is
shown beside the speed; how good it is says `quality.py`. A missed goal is printed and does not end the run.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path

from corpus import COUNT, FORMATS, Corpus, prepare
from measure import ChildFailedError, Cost, Figures, Tool, child_json, describe_machine, run_child, table
from peers import peer

PACKAGES = ("polars", "pyarrow", "numba", "ray", "datasketch", "datatrove")
PARTS = (*FORMATS, "peers", "ray")
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
    "zst": {"word-5 exact": 0.6},
    "parquet": {"word-5 exact": 0.6},
}
OPTIONS = {
    "word-5 none": (*WORD, *NONE),
    "word-5 exact": WORD,
    "char-24 none": (*CHAR, *NONE),
    "char-24 exact": CHAR,
}
LEAST_OF_PEER = {"datasketch": 35.0}
LEAST_OF_LOCAL = 1.6

_DATASKETCH = """
import json, pathlib, sys
from datasketch import MinHash, MinHashLSH
source, target = map(pathlib.Path, sys.argv[1:3])
target.mkdir()
index, number = MinHashLSH(num_perm=112, params=(14, 8)), 0
with (target / "out.jsonl").open("wb") as output:
    for path in sorted(source.iterdir()):
        with path.open("rb") as lines:
            for line in lines:
                words = json.loads(line)["text"].lower().split()
                grams = {" ".join(words[i : i + 5]).encode() for i in range(max(len(words) - 4, 1))} if words else ()
                signature = MinHash(num_perm=112)
                signature.update_batch(list(grams))
                if grams and index.query(signature):
                    continue
                if grams:
                    index.insert(number, signature)
                number += 1
                output.write(line)
"""
# The package that each peer needs, and its program.
PEERS = {"datasketch": ("datasketch", _DATASKETCH)}


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


def slow_peers() -> list[Tool]:
    """The peers that are installed."""
    tools = []
    for name, (package, program) in PEERS.items():
        if find_spec(package) is None:
            print(f"\n{name}: left out, the package {package!r} is not installed\n")
            continue

        def command(source: Path, target: Path, program: str = program) -> list[str]:
            return [sys.executable, "-c", program, str(source), str(target)]

        tools.append(Tool(name, command))
    return tools


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


def verdict(claim: str, least: float, ratio: float | None) -> list[str]:
    """One row of the goals."""
    if ratio is None:
        return [claim, f">= {least}", "not measured"]
    return [claim, f">= {least}", f"{ratio:.2f} {'PASS' if ratio >= least else 'MISS'}"]


def main() -> int:
    """Measure what is asked for, print it as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default=",".join(PARTS), help=f"of {','.join(PARTS)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--size", default="600MB", help="plain JSON lines to generate")
    parser.add_argument("--peer-size", default="25MB", help="the same for the slow peers")
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
    work, corpora = args.work.resolve(), args.corpora.resolve()
    goals: list[list[str]] = []
    figures: dict[str, dict[str, Figures]] = {}
    kinds = [kind for kind in FORMATS if kind in parts]
    if kinds or "ray" in parts:
        corpus = prepare(work, corpora, args.size, [*kinds, "jsonl"])
        print(f"- corpus: {corpus.jsonl_bytes / 1e6:.0f} MB, {corpus.rows:,} documents, {corpus.distinct:,} distinct")
    for kind in kinds:
        wanted = LEAST_OF_COPY[kind]
        found, kept = measure([peer(kind, COPY), *map(ours, wanted)], corpus, kind, args.rounds)
        figures[kind] = found
        show(f"{kind}, one core", found, kept, COPY)
        for name, least in wanted.items():
            both = found.get(COPY), found.get(f"curator {name}")
            ratio = both[1].net_mb_per_cpu_s / both[0].net_mb_per_cpu_s if both[0] and both[1] else None
            goals.append(verdict(f"{kind}: curator {name} over {COPY}, per CPU second", least, ratio))
    if "peers" in parts:
        small = prepare(work, corpora, args.peer_size, ["jsonl"])
        us = ours("word-5 none")
        found, kept = measure([us, *slow_peers()], small, "jsonl", args.rounds)
        figures["peers"] = found
        show(f"peers, {small.jsonl_bytes / 1e6:.0f} MB of jsonl, one core", found, kept, us.name)
        for name, least in LEAST_OF_PEER.items():
            both = found.get(us.name), found.get(name)
            ratio = both[0].net_mb_per_cpu_s / both[1].net_mb_per_cpu_s if both[0] and both[1] else None
            goals.append(verdict(f"jsonl: {us.name} over {name}, per CPU second", least, ratio))
    if "ray" in parts:
        local, pool = (
            ours("word-5 exact"),
            curator("curator ray x2", "executor=ray_actor_pool", "executor.num_workers=2", *WORD, tree=True, cores=2),
        )
        found, kept = measure([local, pool], corpus, "jsonl", args.rounds)
        figures["ray"] = found
        show(f"Ray, two actors on two cores, {corpus.jsonl_bytes / 1e6:.0f} MB of jsonl", found, kept, local.name)
        both = found.get(local.name), found.get(pool.name)
        ratio = both[0].median("run_s") / both[1].median("run_s") if both[0] and both[1] else None
        goals.append(verdict("ray_actor_pool x2: wall throughput over local", LEAST_OF_LOCAL, ratio))

    print("\n### Goals\n")
    print(table(["ratio", "goal", "net"], goals))
    if args.json:
        content = {name: {tool: asdict(figure) for tool, figure in found.items()} for name, found in figures.items()}
        args.json.write_text(json.dumps({"machine": machine, "figures": content}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
