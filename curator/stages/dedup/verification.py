"""The last round of fuzzy deduplication: candidates are compared, and it is decided who goes.

Files of components flow in, removals flow out. Whatever is compared is a set of 64-bit words for each document:

* ``exact``: its shingles, from the text that is read again. The similarity is exactly theirs.
* ``signature``: positions and values of its signature, made again from the text; two signatures agree in ``a`` of ``k``
  positions exactly if these sets have a Jaccard similarity of ``a / (2 * k - a)``. The estimate is ``a / k``.
* ``none``: nothing; no text is read, and sharing a bucket is enough.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from loguru import logger

from curator.stages.barrier.bucket_files import read_buckets
from curator.stages.barrier.rounds import BarrierRound, DocumentReader, removals_result
from curator.stages.base import REMOVALS
from curator.stages.dedup.keeper import keeper_order, keeper_values, policy_column, single
from curator.stages.dedup.linking import link_components
from curator.tasks import DocumentBatch, ResultTask, RoundTask, Task

if TYPE_CHECKING:
    from curator.stages.dedup.fuzzy import FuzzyDeduplication

REASON = "near_duplicate"

_POSITION_BITS = np.uint64(32)


@dataclass(frozen=True, slots=True)
class Members:
    """The documents of some components, and what is known of them; position ``i`` is the same document everywhere.

    Args:
        documents: uint64, shape (num_docs,), ascending.
        ids: the users' ids; large_string, shape (num_docs,).
        order: positions in keeper order; int64, shape (num_docs,).
        hashes: what is compared, ascending and none twice in each document; uint64, shape (n,).
        offsets: where that of each document begins and, last, where all end; int64, shape (num_docs + 1,).
        keys: keys of the buckets that a document shares with others; uint64, shape (m,).
        key_offsets: where those of each document begin and, last, where all end; int64, shape (num_docs + 1,).
        threshold: the least similarity of ``hashes``.
    """

    documents: npt.NDArray[np.uint64]
    ids: pa.Array
    order: npt.NDArray[np.int64]
    hashes: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.int64]
    keys: npt.NDArray[np.uint64]
    key_offsets: npt.NDArray[np.int64]
    threshold: float


class VerifyRound(BarrierRound):
    """One task a file of components.

    Args:
        stage: the stage.
    """

    name = "verify"

    def __init__(self, stage: FuzzyDeduplication) -> None:
        self._stage = stage
        needs_text = stage.verify != "none" or stage.keep == "longest"
        columns = ["id", "text" if needs_text else None, policy_column(stage.keep)]
        self.columns = tuple(dict.fromkeys(column for column in columns if column is not None))

    def plan(self, results: Sequence[ResultTask], directory: Path) -> Sequence[RoundTask]:
        """A task for each file."""
        tasks = []
        for result in results:
            counts = result.counts
            logger.info(
                "{}: {:,} documents in {:,} groups share buckets, the largest group has {:,}",
                self._stage.name,
                counts["documents"],
                counts["components"],
                counts["largest"],
            )
            path = f"{result.directory}/{result.files['files']}"
            tasks += [RoundTask(files=[path], values={"file": number}) for number in range(counts["files"])]
        return tasks

    def run(self, task: Task, directory: Path, reader: DocumentReader | None) -> ResultTask:
        """Read, compare, decide."""
        assert isinstance(task, RoundTask)
        assert reader is not None
        number = task.values["file"]
        rows = pa.concat_tables(read_buckets(task.files[0], number, number + 1))
        members = self._read(rows["document"].to_numpy(), rows["key"].to_numpy(), reader)
        decide = _cover if self._stage.cluster == "keeper" else _link
        keepers, similarities, bounded, comparisons = decide(members, self._stage.max_comparisons)
        if bounded:
            logger.warning(
                "{}: {:,} documents share buckets with more than max_comparisons={} others and were not compared with "
                "all of them; some near-duplicates among them may be kept",
                self._stage.name,
                bounded,
                self._stage.max_comparisons,
            )
        result = removals_result(self._removals(members, keepers, similarities), directory)
        result.counts |= {"comparisons": comparisons, "bounded": bounded, "compared": len(members.documents)}
        return result

    def _read(self, rows: npt.NDArray[np.uint64], keys: npt.NDArray[np.uint64], reader: DocumentReader) -> Members:
        sequence = np.lexsort((keys, rows))
        documents, begins = np.unique(rows[sequence], return_index=True)
        ids, values, hashes, sizes = [], [np.empty(0)], [np.empty(0, np.uint64)], [np.zeros(1, np.int64)]
        for batch in reader.read(documents):
            found = single(batch.columns["id"]).cast(pa.large_string())
            ids.append(found.take(pa.array(np.arange(len(found)))))
            values.append(keeper_values(self._stage.keep, batch))
            batch_hashes, batch_offsets = self._words(batch)
            hashes.append(batch_hashes)
            sizes.append(np.diff(batch_offsets))
        offsets = np.cumsum(np.concatenate(sizes))
        if len(offsets) - 1 != len(documents):
            raise ValueError(f"{len(documents):,} documents were to be read again, {len(offsets) - 1:,} came")
        return Members(
            documents=documents,
            ids=pa.concat_arrays(ids),
            order=keeper_order(np.concatenate(values), documents),
            hashes=np.concatenate(hashes),
            offsets=offsets,
            keys=keys[sequence],
            key_offsets=np.append(begins, len(rows)).astype(np.int64),
            threshold=self._threshold(),
        )

    def _words(self, batch: DocumentBatch) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """What is compared of each document of a batch, and where it begins."""
        from curator.kernels.shingle_sets import shingle_sets
        from curator.kernels.sketch import sketch_texts

        stage = self._stage
        if stage.verify == "none":
            return np.zeros(batch.num_items, np.uint64), np.arange(batch.num_items + 1)
        offsets, data = stage.normalised(single(batch.columns["text"]))
        if stage.verify == "exact":
            return shingle_sets(data, offsets, stage.shingling)
        k = stage.bands * stage.rows
        signatures, _ = sketch_texts(data, offsets, k, shingling=stage.shingling, scheme=stage.scheme)
        places = np.arange(k, dtype=np.uint64) << _POSITION_BITS
        return (signatures.astype(np.uint64) | places).reshape(-1), np.arange(len(signatures) + 1) * k

    def _threshold(self) -> float:
        if self._stage.verify == "exact":
            return self._stage.threshold
        if self._stage.verify == "none":
            return 0.0
        k = self._stage.bands * self._stage.rows
        agreeing = math.ceil(round(self._stage.threshold * k, 6))
        return agreeing / (2 * k - agreeing)

    def _removals(
        self, members: Members, keepers: npt.NDArray[np.int64], similarities: npt.NDArray[np.float64]
    ) -> pa.Table:
        rows = np.flatnonzero(keepers >= 0)
        if not len(rows):
            return REMOVALS.empty_table()
        kept = keepers[rows]
        scores = similarities[rows]
        if self._stage.verify == "signature":
            scores = 2 * scores / (1 + scores)
        return pa.table(
            {
                "document": members.documents[rows],
                "id": members.ids.take(pa.array(rows)),
                "reason": pa.array([REASON] * len(rows), pa.string()),
                "key": pa.nulls(len(rows), pa.string()),
                "score": pa.nulls(len(rows), pa.float64()) if self._stage.verify == "none" else pa.array(scores),
                "kept": members.documents[kept],
                "kept_id": members.ids.take(pa.array(kept)),
            }
        ).cast(REMOVALS)


Decision = tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], int, int]


def _cover(members: Members, max_comparisons: int) -> Decision:
    """Keepers, similarities to them, bounded documents and comparisons, in keeper order."""
    from curator.kernels.jaccard import cover

    decided = cover(
        members.order,
        members.hashes,
        members.offsets,
        members.keys,
        members.key_offsets,
        members.threshold,
        max_comparisons=max_comparisons,
    )
    return decided.keepers, decided.similarities, int(decided.bounded.sum()), decided.comparisons


def _link(members: Members, max_comparisons: int) -> Decision:
    """The same for connected components of similar pairs, beginning with what the cover finds."""
    from curator.kernels.jaccard import pair_similarities

    keepers, _, _, comparisons = _cover(members, max_comparisons)
    linked = link_components(members, keepers, max_comparisons)
    removed = np.flatnonzero(linked.keepers >= 0)
    similarities = np.full(len(keepers), np.nan)
    similarities[removed] = pair_similarities(members.hashes, members.offsets, removed, linked.keepers[removed])
    return linked.keepers, similarities, linked.bounded, comparisons + linked.comparisons
