"""Runs that ask a stub: what the tests of whole runs share, and a script that they can kill."""

import json
import sys
from pathlib import Path

from curator import LocalExecutor, Pipeline, Read, Write
from curator.stages.text.endpoints import Endpoint
from curator.stages.text.llm import AskModel
from curator.stages.text.threshold import KeepAbove

ANSWER = {"score": {"type": "integer", "min": 0, "max": 5}, "reason": "string"}


class Replicas:
    """Replicas of one model, as whoever serves them would say."""

    def __init__(self, *urls):
        self.urls = urls

    def endpoints(self):
        return [Endpoint(f"judge-{index}", url, "stub", "a1") for index, url in enumerate(self.urls)]


def write_corpus(path, number, special=None):
    """Documents that a stub scores by their number; ``special`` puts words in front of some."""
    lines = []
    for index in range(number):
        word = (special or {}).get(index, "a")
        lines.append(json.dumps({"id": f"d{index}", "text": f"{word} text, number {index}"}) + "\n")
    path.mkdir(exist_ok=True)
    half = number // 2
    (path / "a.jsonl").write_text("".join(lines[:half]))
    (path / "b.jsonl").write_text("".join(lines[half:]))
    return path


def ask_model(url, cache, **options):
    given = {
        "endpoint": url,
        "model": "stub",
        "revision": "a1",
        "deadline_s": 60.0,
        "attempts": 2,
        "unavailable_s": 60.0,
        "max_concurrency": 8,
        "cache_path": None if cache is None else str(cache),
        **options,
    }
    if given["endpoint"] is None:
        given = {key: value for key, value in given.items() if key not in ("endpoint", "model", "revision")}
    return AskModel("Judge: {text}", ANSWER, **given).with_(name="judge")


def quality_stages(corpus, output, ask):
    write = Write(output, add_columns=["score"], durability="fast")
    return [Read(str(corpus)), ask, KeepAbove("score", 3), write]


def run(corpus, output, ask, executor=None):
    return Pipeline(quality_stages(corpus, output, ask)).run(executor or LocalExecutor(), show_progress=False)


def output_bytes(path):
    """What a run has made: data, ledger and quarantine, by name."""
    found = {}
    for file in sorted(Path(path).rglob("*")):
        if file.is_file() and (file.name.startswith("part-")):
            found[str(file.relative_to(path))] = file.read_bytes()
    return found


if __name__ == "__main__":
    corpus, output, url, cache = sys.argv[1:]
    run(Path(corpus), Path(output), ask_model(url, cache))
