"""Runs of fuzzy deduplication over small corpora, for the tests of kept signatures and of earlier corpora."""

import json

from curator import LocalExecutor, Pipeline, Read, Write, verify_output
from curator.stages.dedup.fuzzy import FuzzyDeduplication


def write_corpus(path, texts, *, prefix="", **columns):
    """JSON lines: the texts, ids that say where they come from, and further columns by number of the document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = []
    for row, text in enumerate(texts):
        record = {"id": f"{prefix or path.stem}{row}", "text": text} | {name: of(row) for name, of in columns.items()}
        lines.append(json.dumps(record) + "\n")
    path.write_text("".join(lines), encoding="utf-8")
    return str(path)


def deduplicate(source, target, *, executor=None, split_bytes=None, before=(), stage=None, **options):
    """Run over a source, check the output with ``curator verify``, and return ids that are kept, and the result."""
    stages = [
        Read(source, split_bytes=split_bytes),
        *before,
        stage or FuzzyDeduplication(**options),
        Write(target, durability="fast"),
    ]
    result = Pipeline(stages).run(executor or LocalExecutor())
    found = verify_output(target)
    assert found.problems == []
    assert found.counts == result.counts
    return kept_ids(target), result


def kept_ids(target):
    """Ids in an output of JSON lines, in order."""
    lines = [line for part in sorted(target.glob("*.jsonl")) for line in part.read_text().splitlines()]
    return [json.loads(line)["id"] for line in lines]


def data_of(target):
    """Every byte of an output that does not say when and where it was made."""
    return {
        path.relative_to(target).as_posix(): path.read_bytes()
        for path in sorted(target.rglob("*"))
        if path.is_file() and path.name not in ("run.json", "report.txt", "SUCCESS.json")
    }
