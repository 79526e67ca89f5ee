"""Shuffle stages for tests; they live in a module so that Ray workers can import them."""

import os
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curator import ProcessingStage
from curator.stages.barrier.arrow_files import read_arrow, write_arrow
from curator.stages.barrier.rounds import BarrierRound, KeysRound, removals_result
from curator.stages.base import REMOVALS, ShuffleStage
from curator.tasks import ResultTask, RoundTask, TableTask, document_ids

NUM_FILES = 3


def kill_once(folder, name):
    """Kills this process as the system would, the first time that it is asked to."""
    if folder is not None and not Path(folder, name).exists():
        Path(folder, name).touch()
        os.kill(os.getpid(), signal.SIGKILL)


class SharedWords(ShuffleStage):
    """Near duplicates, as plainly as can be: a document goes if a kept one before it has two of its first words.

    Band ``b`` is the word at position ``b``: three rounds (edges, components, verify), and two turns for four bands.
    """

    name = "shared_words"

    def __init__(self, *, bands_per_iteration=2, partition_bytes=2_000, band_column=False, deaths=None):
        self.num_bands = 4
        self.bands_per_iteration = bands_per_iteration
        self.partition_bytes = partition_bytes
        self.band_column = band_column
        self._deaths = None if deaths is None else str(deaths)

    def inputs(self):
        return ("text", "id")

    def settings(self):
        return {}  # none of them decides about the result

    def process(self, task):
        return task

    def keys(self, batch):
        documents = document_ids(batch.split.ordinal, batch.rows)
        words = [(text or "").split()[: self.num_bands] for text in batch.columns["text"].to_pylist()]
        tables = [self._band(words, documents, band) for band in range(self.num_bands)]
        if not self.band_column:
            return tables
        numbered = [
            table.append_column("band", pa.array(np.full(len(table), band, np.uint32)))
            for band, table in enumerate(tables)
        ]
        return pa.concat_tables(numbered)

    def _band(self, words, documents, band):
        from curator.kernels.xxh3 import hash_texts

        rows = [row for row, found in enumerate(words) if len(found) > band]
        texts = [words[row][band].encode() for row in rows]
        offsets = np.cumsum([0, *map(len, texts)])
        high, _ = hash_texts(np.frombuffer(b"".join(texts), np.uint8), offsets)
        return pa.table({"high": high, "document": documents[rows]})

    def rounds(self):
        return (Edges(self._deaths), Components(self._deaths), Verify(self._deaths))


class Edges(KeysRound):
    name = "edges"

    def __init__(self, deaths):
        self.deaths = deaths

    def take(self, keys, directory):
        kill_once(self.deaths, "edges")
        assert keys.num_rows == 0 or len(set(keys["band"].to_pylist())) <= 4
        grouped = keys.group_by(["band", "high"]).aggregate([("document", "list")])
        edges = set()
        for documents in grouped["document_list"].to_pylist():
            first = min(documents)
            edges |= {(first, other) for other in documents if other != first}
        bands = sorted(set(keys["band"].to_pylist()))
        result = ResultTask(unit=0, directory=str(directory), counts={"edges": len(edges), "bands": bands})
        if edges:
            first, second = zip(*sorted(edges), strict=True)
            table = pa.table({"first": pa.array(first, pa.uint64()), "second": pa.array(second, pa.uint64())})
            write_arrow(directory / "edges.arrow", table)
            result.files["edges"] = "edges.arrow"
        return result


class Components(BarrierRound):
    """One task: union-find over all edges; components are dealt to files."""

    name = "components"

    def __init__(self, deaths):
        self.deaths = deaths

    def plan(self, results, directory):
        files = [f"{result.directory}/{result.files['edges']}" for result in results if "edges" in result.files]
        return [RoundTask(files=files, values={"edges": sum(result.counts["edges"] for result in results)})]

    def run(self, task, directory, reader):
        kill_once(self.deaths, "components")
        assert reader is None
        roots = {}

        def root_of(document):
            while roots.setdefault(document, document) != document:
                document = roots[document]
            return document

        seen = 0
        for path in task.files:
            for edge in read_arrow(path).to_pylist():
                low, high = sorted((root_of(edge["first"]), root_of(edge["second"])))
                roots[high] = low
                seen += 1
        assert seen == task.values["edges"]
        result = ResultTask(unit=0, directory=str(directory), counts={"documents": len(roots)})
        for number in range(NUM_FILES):
            rows = sorted(
                (root_of(document), document) for document in roots if root_of(document) % NUM_FILES == number
            )
            if rows:
                root, document = zip(*rows, strict=True)
                table = pa.table({"root": pa.array(root, pa.uint64()), "document": pa.array(document, pa.uint64())})
                write_arrow(directory / f"{number}.arrow", table)
                result.files[f"components-{number}"] = f"{number}.arrow"
        return result


class Verify(BarrierRound):
    name = "verify"
    columns = ("text",)

    def __init__(self, deaths):
        self.deaths = deaths

    def plan(self, results, directory):
        (result,) = results
        return [RoundTask(files=[f"{result.directory}/{name}"]) for _, name in sorted(result.files.items())]

    def run(self, task, directory, reader):
        kill_once(self.deaths, "verify")
        (path,) = task.files
        table = read_arrow(path)
        texts, ids = {}, {}
        for batch in reader.read(np.sort(table["document"].to_numpy())):
            documents = document_ids(batch.split.ordinal, batch.rows).tolist()
            texts |= dict(zip(documents, batch.columns["text"].to_pylist(), strict=True))
            ids |= dict(zip(documents, batch.columns["id"].to_pylist(), strict=True))
        rows = []
        for root in sorted(set(table["root"].to_pylist())):
            members = table.filter(pc.equal(table["root"], pa.scalar(root, pa.uint64())))["document"].to_pylist()
            rows += [
                {"document": document, "id": ids[document], "kept": kept, "kept_id": ids[kept], "score": float(shared)}
                for document, kept, shared in cover({document: texts[document] for document in sorted(members)})
            ]
        removals = pa.Table.from_pylist(
            [{**row, "reason": "shared_words", "key": None} for row in rows], schema=REMOVALS
        )
        return removals_result(removals, directory)


def cover(texts):
    """What goes, which kept document it is like, and how many words they share; in the order of ``texts``."""
    kept, gone = {}, []
    for document, text in texts.items():
        words = (text or "").split()[:4]
        for other, others in kept.items():
            shared = sum(mine == theirs for mine, theirs in zip(words, others, strict=False))
            if shared >= 2:
                gone.append((document, other, shared))
                break
        else:
            kept[document] = words
    return gone


class MakeTables(ProcessingStage):
    """Rows from a seed, so that the driver never holds them: task ``n`` becomes table ``n``."""

    name = "make_tables"

    def __init__(self, num_rows=500, num_keys=70):
        self.num_rows = num_rows
        self.num_keys = num_keys

    def process(self, task):
        rng = np.random.default_rng(task.value)
        keys = rng.integers(0, self.num_keys, self.num_rows).astype(np.uint64)
        ids = np.arange(self.num_rows, dtype=np.uint64) + np.uint64(task.value * self.num_rows)
        return TableTask(table=pa.table({"key": keys, "id": ids, "name": [f"row {number}" for number in ids]}))


class CountKeys(ProcessingStage):
    """Rows of each key; right only if all of them are here. Kills its worker at partition 1, once."""

    name = "count_keys"

    def __init__(self, deaths=None):
        self.deaths = None if deaths is None else str(deaths)

    def process(self, task):
        if task.partition == 1:
            kill_once(self.deaths, "extract")
        return TableTask(table=task.table.group_by("key").aggregate([("id", "count")]), partition=task.partition)


class DieWhileMaking(ProcessingStage):
    """Kills its worker at the third task, once: some units have been inserted by then."""

    name = "die_while_making"

    def __init__(self, deaths):
        self.deaths = str(deaths)

    def process(self, task):
        if task.task_id.startswith("2"):
            kill_once(self.deaths, "insert")
        return task
