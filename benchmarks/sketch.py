"""Shingles and signatures: megabytes of text per CPU second on one core, reading and writing left out.

    taskset -c 1 python benchmarks/sketch.py
    taskset -c 1 python benchmarks/sketch.py --megabytes 50 --rounds 9 --input part-00000.jsonl

Without `--input` the text is generated: words of a Zipf-like vocabulary in documents of 50 to 1,200
words, in two corpora, one ASCII and one of which one word in eight has a letter beyond it. Each figure
is the best of some interleaved rounds of CPU time; compiling is done before. A shared machine slows
all of them, by up to a half; compare figures of one run.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from curator.kernels.shingle_sets import shingle_sets
from curator.kernels.shingles import Shingling
from curator.kernels.sketch import SCHEMES, band_keys, sketch_texts
from curator.kernels.vector import PADDING

SETTINGS = {
    "word-5 14x8": (Shingling(), 14, 8),
    "char-24 20x13": (Shingling(unit="char", size=24), 20, 13),
}
Texts = tuple[np.ndarray, np.ndarray]


def generated(megabytes: float, seed: int, *, accents: bool) -> Texts:
    """Text in Arrow's layout: uint8 with padding, and int64 offsets."""
    random = np.random.default_rng(seed)
    letters = np.array(list("eeeeeetttaaaooiinnsshhrrddlluucmwfgypbvk"))
    vocabulary = []
    for length in np.clip(random.poisson(4.2, 30_000), 1, 18):
        word = "".join(random.choice(letters, length))
        vocabulary.append(word.replace("e", "é", 1) if accents and random.random() < 1 / 8 else word)
    words = np.array(vocabulary, object)
    documents, size_bytes = [], 0
    while size_bytes < megabytes * 1e6:
        ranks = (len(words) ** random.random(random.integers(50, 1200))).astype(int) - 1
        text = (" ".join(words[ranks]) + ".").capitalize().encode()
        documents.append(text)
        size_bytes += len(text)
    return packed(documents)


def packed(documents: list[bytes]) -> Texts:
    """Texts in Arrow's layout."""
    offsets = np.zeros(len(documents) + 1, np.int64)
    np.cumsum([len(document) for document in documents], out=offsets[1:])
    return np.frombuffer(b"".join(documents) + bytes(PADDING), np.uint8), offsets


def read(path: Path, megabytes: float) -> Texts:
    """The first texts of a file of JSON lines."""
    documents, size_bytes = [], 0
    with path.open("rb") as lines:
        for line in lines:
            documents.append(json.loads(line)["text"].encode())
            size_bytes += len(documents[-1])
            if size_bytes >= megabytes * 1e6:
                break
    return packed(documents)


def works(texts: Texts) -> dict[str, Callable[[], object]]:
    """What is measured, by its name."""
    found: dict[str, Callable[[], object]] = {}
    for name, (shingling, bands, rows) in SETTINGS.items():
        for scheme in SCHEMES:
            found[f"{name} {scheme}"] = lambda shingling=shingling, bands=bands, rows=rows, scheme=scheme: band_keys(
                sketch_texts(*texts, bands * rows, shingling=shingling, scheme=scheme).signatures, bands, rows
            )
        found[f"{name} sets"] = lambda shingling=shingling: shingle_sets(*texts, shingling)
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--input", type=Path, help="JSON lines with a field `text`, instead of generated text")
    options = parser.parse_args()
    if options.input:
        corpora = {options.input.name: read(options.input, options.megabytes)}
    else:
        corpora = {
            name: generated(options.megabytes, options.seed, accents=name == "accented")
            for name in ("ascii", "accented")
        }
    for name, texts in corpora.items():
        best = dict.fromkeys(works(texts), float("inf"))
        for work in works(texts).values():
            work()
        for _ in range(options.rounds):
            for label, work in works(texts).items():
                before = time.process_time()
                work()
                best[label] = min(best[label], time.process_time() - before)
        size_mb = texts[1][-1] / 1e6
        print(f"{name}: {size_mb:.1f} MB, {len(texts[1]) - 1:,} documents, best of {options.rounds} rounds")
        for label, cpu_s in best.items():
            print(f"  {label:24} {size_mb / cpu_s:8.0f} MB/s per core   {cpu_s:7.3f} CPU s")


if __name__ == "__main__":
    main()
