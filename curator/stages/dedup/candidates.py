"""From band keys to groups of documents that may be similar: the first two rounds of fuzzy deduplication.

Partitions of (key, document) rows flow in. The first round leaves the buckets that two documents or more share, and
which of their documents are connected. The second one connects those of all partitions and bands, and deals the
components to files, each whole, with the buckets of its documents. Documents that share no bucket are gone by then:
nobody reads them again before the writer does.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from loguru import logger

from curator.stages.barrier.arrow_files import read_arrow, write_arrow
from curator.stages.barrier.bucket_files import BucketWriter
from curator.stages.barrier.rounds import BarrierRound, DocumentReader, KeysRound
from curator.stages.dedup.earlier import are_earlier
from curator.tasks import ResultTask, RoundTask, Task

MOST_FILES = 1 << 16
"""Files of components that there may be; the kernels number buckets in 16 bits."""

_HELD_BYTES = 64 << 20
_HELD_EDGES = 1 << 22


class BucketsRound(KeysRound):
    """Finds the buckets of some keys that two documents or more share."""

    name = "buckets"

    def take(self, keys: pa.Table, directory: Path) -> ResultTask:
        """Leave the rows of shared buckets, and each of their documents beside the first one it is connected with."""
        from curator.kernels.buckets import connect_buckets, shared_rows

        high = np.ascontiguousarray(keys["high"].to_numpy())
        shared = shared_rows(high)
        high, documents = _compared(high[shared], keys["document"].to_numpy()[shared])
        found = connect_buckets(high, documents)
        result = ResultTask(unit=0, directory=str(directory))
        result.counts = {"rows": 0, "buckets": found.num_buckets, "largest": found.largest}
        if found.num_buckets:
            write_arrow(directory / "edges.arrow", pa.table({"document": found.documents, "root": found.roots}))
            write_arrow(directory / "buckets.arrow", pa.table({"place": found.places.astype(np.uint32), "key": high}))
            result.files = {"edges": "edges.arrow", "buckets": "buckets.arrow"}
            result.counts["rows"] = len(high)
        return result

    def summary(self, results: Sequence[ResultTask]) -> dict[str, int]:
        """How many buckets are shared, and the largest of them."""
        counts = [result.counts for result in results]
        largest = max((count["largest"] for count in counts if count["buckets"]), default=0)
        return {"shared buckets": sum(count["buckets"] for count in counts), "largest bucket": largest}


class ComponentsRound(BarrierRound):
    """One task: connects what the buckets of all partitions connect, and deals components to files.

    Args:
        stage: the name of the stage, for messages.
        documents_per_file: documents that a file is to hold; a larger component has one of its own.
    """

    name = "components"

    def __init__(self, stage: str, documents_per_file: int) -> None:
        self._stage = stage
        self._documents_per_file = documents_per_file

    def plan(self, results: Sequence[ResultTask], directory: Path) -> Sequence[RoundTask]:
        """One task, or none if no two documents share a bucket."""
        shared = [result for result in results if result.files]
        logger.info(
            "{}: {:,} buckets hold two documents or more, the largest one {:,}",
            self._stage,
            sum(result.counts["buckets"] for result in results),
            max((result.counts["largest"] for result in shared), default=0),
        )
        if not shared:
            return []
        return [
            RoundTask(
                files=[f"{result.directory}/{result.files[kind]}" for kind in ("edges", "buckets") for result in shared]
            )
        ]

    def run(self, task: Task, directory: Path, reader: DocumentReader | None) -> ResultTask:
        """Connect and deal."""
        assert isinstance(task, RoundTask)
        half = len(task.files) // 2
        documents, roots = connect(task.files[:half])
        _, component, sizes = np.unique(roots, return_inverse=True, return_counts=True)
        file_of_component, num_files = deal_components(sizes, self._documents_per_file)
        file_of_document = file_of_component[component.reshape(-1)]

        def deal(table: pa.Table) -> tuple[pa.Table, npt.NDArray[np.uint16]]:
            return table.drop_columns(["file"]), table["file"].to_numpy()

        writer = BucketWriter(directory / "files.arrow", num_files, _HELD_BYTES, deal)
        for edges, buckets in zip(task.files[:half], task.files[half:], strict=True):
            own, table = read_arrow(edges)["document"].to_numpy(), read_arrow(buckets)
            places, file_of_own = table["place"].to_numpy(), file_of_document[np.searchsorted(documents, own)]
            writer.add(pa.table({"document": own[places], "key": table["key"], "file": file_of_own[places]}))
        writer.close()
        write_arrow(directory / "documents.arrow", pa.table({"document": documents, "file": file_of_document}))
        result = ResultTask(unit=0, directory=str(directory))
        result.files = {"files": "files.arrow", "documents": "documents.arrow"}
        result.counts = {
            "files": num_files,
            "documents": len(documents),
            "components": len(sizes),
            "largest": int(sizes.max()),
        }
        return result

    def summary(self, results: Sequence[ResultTask]) -> dict[str, int]:
        """How many documents share buckets, and in how many groups."""
        counts = [result.counts for result in results]
        return {
            "candidates": sum(count["documents"] for count in counts),
            "groups": sum(count["components"] for count in counts),
            "largest group": max((count["largest"] for count in counts), default=0),
        }


def connect(paths: Sequence[str]) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """Connected components of the edges in some files, in memory for a few times their documents.

    Args:
        paths: files with the columns ``document`` and ``root``.

    Returns:
        documents, ascending, and the smallest document of the component of each; uint64, shape (num_docs,).
    """
    from curator.kernels.union_find import components

    ends: list[list[npt.NDArray[np.uint64]]] = [[np.empty(0, np.uint64)], [np.empty(0, np.uint64)]]
    held, limit = 0, _HELD_EDGES
    for path in paths:
        table = read_arrow(path)
        ends[0].append(table["document"].to_numpy())
        ends[1].append(table["root"].to_numpy())
        held += table.num_rows
        if held > limit:
            linked = components(np.concatenate(ends[0]), np.concatenate(ends[1]))
            ends = [[linked.documents], [linked.roots]]
            held = len(linked.documents)
            # Twice what is there, so that each edge is looked at a few times only, however many files there are.
            limit = max(_HELD_EDGES, 2 * held)
    linked = components(np.concatenate(ends[0]), np.concatenate(ends[1]))
    return linked.documents, linked.roots


def deal_components(sizes: npt.NDArray[np.int64], documents_per_file: int) -> tuple[npt.NDArray[np.uint16], int]:
    """Deal components to files of about equal size, the largest first; none is split.

    Args:
        sizes: documents of each component; int64, shape (num_components,).
        documents_per_file: wanted at most; a component that has more is alone in its file.

    Returns:
        The file of each component, uint16, shape (num_components,), and how many files there are.

    Example:
        >>> files, count = deal_components(np.array([2, 9, 3, 2, 4]), 6)
        >>> files.tolist(), count
        ([2, 0, 2, 1, 1], 3)
    """
    per_file = max(documents_per_file, -(-int(sizes.sum()) // (MOST_FILES // 4)))
    order = np.argsort(-sizes, kind="stable")
    alone = int((sizes >= per_file).sum())
    others = len(sizes) - alone
    num_shared = -(-int(sizes[order[alone:]].sum()) // per_file)
    num_shared += num_shared % 2 if num_shared > 1 else 0  # two workers would wait for the third one of three
    # To and fro over the files, so that each gets as many of the large ones as of the small ones.
    turn = np.arange(others) % max(2 * num_shared, 1)
    shared = np.where(turn < num_shared, turn, 2 * num_shared - 1 - turn)
    files = np.empty(len(sizes), np.uint16)
    files[order] = np.concatenate([np.arange(alone), alone + shared])
    return files, alone + num_shared


def _compared(
    keys: npt.NDArray[np.uint64], documents: npt.NDArray[np.uint64]
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64]]:
    """The rows of buckets that have a document of the run; earlier corpora are not compared with themselves."""
    earlier = are_earlier(documents)
    if not earlier.any():
        return keys, documents
    begins = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    own = np.repeat(np.logical_or.reduceat(~earlier, begins), np.diff(np.append(begins, len(keys))))
    return keys[own], documents[own]
