"""What fuzzy deduplication finds and what it wrongly removes, beside the exact truth of a generated or a real corpus.

    python benchmarks/quality.py --corpora ../shared/corpora
    python benchmarks/quality.py --size 25MB --only word-5
    python benchmarks/quality.py --public

The truth are the exact Jaccard similarities of all pairs of the corpus, for five words and for 24 characters, as its
generator recorded them; of the public corpus (24,814 real documents, 71 MB of text, in four formats) those of at least
0.5, which others computed. For each setting:

- `recall`: of the pairs at least that similar, the share of which at most one document is kept. It flatters
  whoever removes too much, so it has to be read together with the next two.
- `over`: removed documents without any kept document that is similar enough.
- `wrong`: removed documents whose named keeper is not similar enough, or has another similarity than was said.

The first row is the truth itself, decided greedily in the order of the input. With generous bands, ours must keep the
same number; it ends the run with code 1 if it does not, or if a verified setting has a document in `over` or `wrong`.
"""

import argparse
import csv
import gzip
import json
import shutil
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from measure import ChildFailedError, describe_machine, run_child, table

PACKAGES = ("pyarrow", "numba")
GRAMS = {"word-5": "word5", "char-24": "char24"}
CHAR_24 = ("shingle=char", "shingle_size=24")
GENEROUS = ("bands=32", "rows=4")
# A row of the report: which similarity counts, the threshold, the options, and whether the result must be exact.
SETTINGS = [
    ("word-5", 0.8, GENEROUS, True),
    ("word-5", 0.8, (), False),
    ("word-5", 0.7, (), False),
    ("word-5", 0.9, (), False),
    ("word-5", 0.8, ("bands=14", "rows=8"), False),
    ("word-5", 0.8, ("bands=14", "rows=8", "verify=signature"), False),
    ("word-5", 0.8, ("bands=14", "rows=8", "verify=none"), False),
    ("word-5", 0.8, ("bands=14", "rows=8", "verify=none", "cluster=components"), False),
    ("word-5", 0.8, ("cluster=components",), False),
    ("char-24", 0.8, (*CHAR_24, *GENEROUS), True),
    ("char-24", 0.8, CHAR_24, False),
    ("char-24", 0.7, CHAR_24, False),
    ("char-24", 0.9, CHAR_24, False),
    ("char-24", 0.8, (*CHAR_24, "bands=20", "rows=13"), False),
]
# What the recorded similarities are rounded to.
ROUNDING = 1e-6
SHOWN = (0.7, 0.8, 0.9)

Pairs = list[tuple[str, str, float]]


@dataclass(frozen=True)
class Truth:
    """The input, its documents in order, and every pair of them that is similar, by the kind of shingle."""

    input_path: Path
    ids: list[str]
    pairs: dict[str, Pairs]


def prepare(work: Path, corpora: Path, size: str) -> Path:
    """Generate the corpus with its truth, if it is not there."""
    folder = work / f"truth-{size}"
    if (folder / "truth" / "pairs.csv.gz").is_file():
        return folder
    generator, seed = corpora / "bench" / "gen_bench.py", corpora / "bench" / "seed.jsonl.gz"
    if not generator.is_file():
        raise SystemExit(f"--corpora {corpora}: no bench/gen_bench.py there. Name the folder of the corpus generator.")
    partial = work / f"truth-{size}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    command = [sys.executable, str(generator), "--seed-file", str(seed), "--size", size, "--seed", "1"]
    run_child([*command, "--workers", "2", "--out", str(partial / "made")], partial, pinned=False)
    (partial / "made" / "truth").rename(partial / "truth")
    (partial / "jsonl").mkdir()
    for path in sorted((partial / "made").glob("*.jsonl")):
        path.rename(partial / "jsonl" / path.name)
    shutil.rmtree(partial / "made")
    partial.rename(folder)
    return folder


def read_truth(folder: Path) -> Truth:
    """The ids of all documents and the similarities of all pairs."""
    ids = [json.loads(line)["id"] for path in sorted((folder / "jsonl").iterdir()) for line in path.open("rb")]
    pairs: dict[str, Pairs] = {name: [] for name in GRAMS}
    with gzip.open(folder / "truth" / "pairs.csv.gz", "rt", encoding="utf-8", newline="") as lines:
        rows = csv.reader(lines)
        for left, right, *similarities in rows:
            if not similarities[0][:1].isdigit():
                continue  # a header
            for name, similarity in zip(GRAMS, similarities, strict=True):
                pairs[name].append((left, right, float(similarity)))
    return Truth(folder / "jsonl", ids, pairs)


def read_public(corpora: Path, work: Path) -> Truth:
    """The same of the corpus that was collected; a copy in one format says in which order its documents are."""
    import pyarrow.parquet as pq

    from curator import LocalExecutor, Pipeline, Read, Write

    folder = corpora / "public"
    if not (folder / "truth" / "pairs_word5.parquet").is_file():
        raise SystemExit(f"--corpora {corpora}: no public/truth there. Name the folder of the corpora.")
    copy = work / "public-copy"
    shutil.rmtree(copy, ignore_errors=True)
    Pipeline([Read(str(folder / "corpus")), Write(copy, format="jsonl")]).run(LocalExecutor(), show_progress=False)
    ids = [json.loads(line)["id"] for path in sorted(copy.glob("part-*")) for line in path.open("rb")]
    shutil.rmtree(copy)
    pairs: dict[str, Pairs] = {}
    for name, gram in GRAMS.items():
        table = pq.read_table(folder / "truth" / f"pairs_{gram}.parquet")
        columns = (table[column].to_pylist() for column in ("id1", "id2", "jaccard"))
        pairs[name] = list(zip(*columns, strict=True))
    return Truth(folder / "corpus", ids, pairs)


def greedy(truth: Truth, name: str, threshold: float) -> set[str]:
    """The documents that stay if each one goes that is similar to one kept before."""
    place = {document: number for number, document in enumerate(truth.ids)}
    earlier = defaultdict(list)
    for left, right, similarity in truth.pairs[name]:
        if similarity >= threshold:
            first, second = sorted((left, right), key=place.__getitem__)
            earlier[second].append(first)
    kept: set[str] = set()
    for document in truth.ids:
        if not any(other in kept for other in earlier.get(document, ())):
            kept.add(document)
    return kept


def decide(
    input_path: Path, work: Path, threshold: float, options: tuple[str, ...]
) -> tuple[set[str], dict[str, tuple[str, float]]]:
    """Run curator; the ids that are kept, and the keeper and the score of each one that is not."""
    from curator.runs.result import read_accounts

    target = work / "quality" / "result"
    shutil.rmtree(target.parent, ignore_errors=True)
    target.parent.mkdir(parents=True)
    overrides = [f"stages.fuzzy.{option}" for option in (f"threshold={threshold}", *options)]
    # fmt: off
    run_child([
        sys.executable, "-m", "curator", "stages=[read,fuzzy,write]", *overrides, f"input_path={input_path}",
        f"output_path={target}", "stages.write.format=jsonl", f"hydra.run.dir={target.with_name('hydra')}",
    ], target.parent, pinned=False)
    # fmt: on
    kept = {json.loads(line)["id"] for path in target.glob("*.jsonl") for line in path.open("rb")}
    rows = read_accounts(target, "ledger").to_pylist()
    shutil.rmtree(target.parent)
    return kept, {row["id"]: (row["kept_id"], row["score"]) for row in rows}


def judge(
    truth: Truth, name: str, threshold: float, kept: set[str], gone: dict[str, tuple[str, float]] | None
) -> list[str]:
    """The figures of one row."""
    cells = [f"{len(kept):,}"]
    for least in SHOWN:
        similar = [(left, right) for left, right, similarity in truth.pairs[name] if similarity >= least]
        resolved = sum(not (left in kept and right in kept) for left, right in similar)
        cells.append(f"{resolved / max(len(similar), 1):.4f}")
    near = defaultdict(set)
    similarity_of = {}
    for left, right, similarity in truth.pairs[name]:
        similarity_of[frozenset((left, right))] = similarity
        if similarity >= threshold - ROUNDING:
            near[left].add(right)
            near[right].add(left)
    removed = [document for document in truth.ids if document not in kept]
    over = sum(not near[document] & kept for document in removed)
    wrong = 0
    for document, (keeper, score) in (gone or {}).items():
        known = similarity_of.get(frozenset((document, keeper)), 0.0)
        wrong += known < threshold - ROUNDING or (score is not None and abs(known - score) > ROUNDING)
    return [*cells, f"{over:,} ({over / max(len(removed), 1):.1%})", "-" if gone is None else f"{wrong:,}"]


def main() -> int:
    """Measure what is asked for, print it as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--corpora", type=Path, default=Path("../shared/corpora"))
    parser.add_argument("--size", default="100MB", help="plain JSON lines to generate")
    parser.add_argument("--public", action="store_true", help="the public corpus instead, with its truth")
    parser.add_argument("--only", default=",".join(GRAMS), help=f"of {','.join(GRAMS)}")
    parser.add_argument("--work", type=Path, default=Path("/dev/shm/curator-bench"))
    args = parser.parse_args()
    wanted = args.only.split(",")
    if unknown := sorted(set(wanted) - set(GRAMS)):
        parser.error(f"--only: unknown {unknown}. Choose from: {', '.join(GRAMS)}")

    machine = describe_machine(PACKAGES)
    print(f"## Quality of fuzzy deduplication, {machine['date']}\n")
    print(f"- machine: {machine['machine']}\n- versions: {machine['versions']}\n- curator: {machine['curator']}")
    work, corpora = args.work.resolve(), args.corpora.resolve()
    truth = read_public(corpora, work) if args.public else read_truth(prepare(work, corpora, args.size))
    said = "the public one" if args.public else f"{args.size}, seed 1"
    print(f"- corpus: {said}, {len(truth.ids):,} documents\n", flush=True)
    rows, problems = [], []
    exact = {}
    for name, threshold in dict.fromkeys((name, threshold) for name, threshold, *_ in SETTINGS if name in wanted):
        exact[name, threshold] = greedy(truth, name, threshold)
        figures = judge(truth, name, threshold, exact[name, threshold], None)
        rows.append([f"{name} {threshold}", "exact, greedy", *figures])
    for name, threshold, options, must_be_exact in SETTINGS:
        if name not in wanted:
            continue
        label = " ".join(option for option in options if option not in CHAR_24) or "defaults"
        try:
            kept, gone = decide(truth.input_path, work, threshold, options)
        except ChildFailedError as error:
            problems.append(f"{name} {threshold} {label}: does not run: {error}")
            continue
        figures = judge(truth, name, threshold, kept, gone)
        rows.append([f"{name} {threshold}", label, *figures])
        if must_be_exact and kept != exact[name, threshold]:
            problems.append(f"{name} {threshold} {label}: {len(kept):,} kept, {len(exact[name, threshold]):,} in truth")
        is_verified = "verify" not in label and "components" not in label
        if is_verified and (figures[-1] != "0" or not figures[-2].startswith("0 ")):
            problems.append(f"{name} {threshold} {label}: over {figures[-2]}, wrong {figures[-1]}; both must be 0")
    header = ["shingles, threshold", "options", "kept", *(f"recall @{least}" for least in SHOWN), "over", "wrong"]
    print(table(header, rows))
    for problem in problems:
        print(f"\nWRONG: {problem}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
