"""The last round of fuzzy deduplication: candidates are compared, and it is decided who goes.

Files of components flow in, removals flow out. What is compared is a set of 64-bit words for each document:

* ``exact``: its shingles, of the text that is read again. The similarity is exactly theirs.
* ``signature``: positions and values of its signature, made again from the text; two signatures agree in ``a`` of ``k``
  positions exactly if these sets have a Jaccard similarity of ``a / (2 * k - a)``. The estimate is ``a / k``.
* ``none``: nothing; no text is read, and sharing a bucket is enough.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from loguru import logger

from curator.stages.barrier.bucket_files import read_buckets
from curator.stages.barrier.rounds import BarrierRound, DocumentReader, removals_result
from curator.stages.base import REMOVALS
from curator.stages.dedup.deciding import decide
from curator.stages.dedup.earlier import are_earlier, name_documents
from curator.stages.dedup.gathering import (
    Found,
    read_candidates,
    read_gathered,
    read_gathered_index,
    write_gathered_index,
)
from curator.stages.dedup.keeper import keeper_order
from curator.stages.dedup.members import ContentStore, Members
from curator.tasks import ResultTask, RoundTask, Task
from curator.tasks.split import ROW_BITS

if TYPE_CHECKING:
    from curator.stages.dedup.fuzzy import FuzzyDeduplication

REASON = "near_duplicate"

_CONTENTS = "contents"


class VerifyRound(BarrierRound):
    """One task a file of components.

    Args:
        stage: the stage.
    """

    name = "verify"

    def __init__(self, stage: FuzzyDeduplication) -> None:
        self._stage = stage
        self.columns = stage.columns_to_verify()

    def plan(self, results: Sequence[ResultTask], directory: Path) -> Sequence[RoundTask]:
        """A task for each file of components."""
        gathered = [result for result in results if "gathered" in result.files]
        dealt = [result for result in results if "files" in result.files]
        paths = {result.counts["components"] for result in gathered}
        paths |= {f"{result.directory}/{result.files['files']}" for result in dealt}
        index = directory / "gathered.json"
        write_gathered_index(index, gathered)
        count = max((result.counts["files"] for result in [*gathered, *dealt]), default=0)
        return [RoundTask(files=[*paths, str(index)], values={"file": number}) for number in range(count)]

    def run(self, task: Task, directory: Path, reader: DocumentReader | None) -> ResultTask:
        """Read, compare, decide."""
        from curator.kernels.buckets import group_words
        from curator.kernels.numbering import number_words

        assert isinstance(task, RoundTask)
        assert reader is not None
        number = task.values["file"]
        table = pa.concat_tables(read_buckets(task.files[0], number, number + 1))
        documents, places = number_words(table["document"].to_numpy())
        keys, bounds = group_words(table["key"].to_numpy(), places, len(documents))
        kind = np.uint8 if self._stage.verify == "exact" else np.uint64
        store = ContentStore(directory / _CONTENTS, self._stage.compare_bytes, kind)
        found = self._find(documents, read_gathered_index(task.files[1]), number, reader)
        try:
            members = self._gather(documents, keys, bounds, found, store)
            spilled = members.contents.values.nbytes if members.contents.is_mapped else 0
            decided = decide(members, self._stage.cluster, self._stage.max_comparisons)
        finally:
            store.release()
        if decided.bounded:
            logger.warning(
                "{}: {:,} documents share buckets with more than max_comparisons={} others and were not compared with "
                "all of them; some near-duplicates among them may be kept",
                self._stage.name,
                decided.bounded,
                self._stage.max_comparisons,
            )
        result = removals_result(self._removals(members, decided.keepers, decided.similarities), directory)
        result.counts |= {
            "comparisons": decided.comparisons,
            "similar": decided.similar,
            "bounded": decided.bounded,
            "spilled": spilled,
        }
        return result

    def summary(self, results: Sequence[ResultTask]) -> dict[str, int]:
        """How many pairs were compared, and what was given up."""
        counts = [result.counts for result in results if "comparisons" in result.counts]
        spilled = sum(count["spilled"] for count in counts)
        return {
            "compared pairs": sum(count["comparisons"] for count in counts),
            "similar pairs": sum(count["similar"] for count in counts),
            "documents not compared with all": sum(count["bounded"] for count in counts),
            **({"spilled bytes": spilled} if spilled else {}),
        }

    def _find(
        self,
        documents: npt.NDArray[np.uint64],
        gathered: Mapping[int, str],
        number: int,
        reader: DocumentReader,
    ) -> Iterator[Found]:
        """All candidates of a file of components, split by split: gathered, or read again."""
        splits = (documents >> np.uint64(ROW_BITS)).astype(np.int64)
        for ordinal in np.unique(splits).tolist():
            if ordinal in gathered:
                yield from read_gathered(gathered[ordinal], number)
            else:
                first, last = np.searchsorted(splits, [ordinal, ordinal + 1])
                yield from read_candidates(self._stage, reader, documents[first:last])

    def _gather(
        self,
        documents: npt.NDArray[np.uint64],
        keys: npt.NDArray[np.uint64],
        key_offsets: npt.NDArray[np.int64],
        candidates: Iterable[Found],
        store: ContentStore,
    ) -> Members:
        known, ids, values = [np.empty(0, np.uint64)], [pa.array([], pa.large_string())], [np.empty(0)]
        for found in candidates:
            known.append(found.documents)
            ids.append(found.ids)
            values.append(found.values)
            store.add(found.contents, found.offsets)
        contents = store.close()
        if not np.array_equal(np.concatenate(known), documents):
            raise ValueError(
                f"{len(documents):,} documents were to be read again; {sum(map(len, known)):,} others came"
            )
        earlier = are_earlier(documents)
        order = keeper_order(np.concatenate(values), documents)
        return Members(
            documents=documents,
            ids=pa.concat_arrays(ids),
            order=order[np.argsort(~earlier[order], kind="stable")],
            num_protected=int(earlier.sum()),
            contents=contents,
            keys=keys,
            key_offsets=key_offsets,
            threshold=self._threshold(),
            shingling=self._stage.shingling if self._stage.verify == "exact" else None,
        )

    def _threshold(self) -> float:
        if self._stage.verify == "exact":
            return self._stage.threshold
        if self._stage.verify == "none":
            return 0.0
        k = self._stage.signature_length
        agreeing = math.ceil(round(self._stage.threshold * k, 6))
        return agreeing / (2 * k - agreeing)

    def _removals(
        self, members: Members, keepers: npt.NDArray[np.int64], similarities: npt.NDArray[np.float64]
    ) -> pa.Table:
        rows = np.flatnonzero(keepers >= 0)
        if not len(rows):
            return REMOVALS.empty_table()
        kept = keepers[rows]
        kept_documents, kept_in = name_documents(members.documents[kept], self._stage.earlier)
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
                "kept": kept_documents,
                "kept_id": members.ids.take(pa.array(kept)),
                "kept_in": pa.array(kept_in, pa.string()),
            }
        ).cast(REMOVALS)
