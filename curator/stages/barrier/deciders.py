"""Deciding in input order: who stays among the documents that have passed is known when the next one comes.

Batches flow by, and for each of them flows out which documents go. A decider holds the keys, ids and users' ids of the
documents that it kept, and since those before a document never change their fate, what it says is what a barrier would
have said behind all of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curator.stages.io.text_buffers import own_strings, single
from curator.tasks import DocumentBatch, Removed, document_ids

OWN_BYTES = 64
"""About what is held of a kept document besides its keys: its id, and the user's."""


_Part = tuple[npt.NDArray[np.uint64], pa.Array]


class KeptDocuments:
    """Ids of the documents that were kept, by their number.

    Example:
        >>> kept = KeptDocuments()
        >>> kept.add(np.array([4, 7], np.uint64), pa.array(["a", None], pa.large_string()))
        >>> kept.add(np.array([9], np.uint64), pa.array(["c"], pa.large_string()))
        >>> [column.tolist() for column in kept.take(np.array([2, 0, 2]))]
        [[9, 4, 9], ['c', 'a', 'c']]
    """

    def __init__(self) -> None:
        self._parts: list[_Part] = []
        self._fresh: list[_Part] = []
        self.num_bytes = 0

    def add(self, documents: npt.NDArray[np.uint64], ids: pa.Array) -> None:
        """Take some more of them.

        Args:
            documents: uint64, shape (num_docs,).
            ids: large_string, shape (num_docs,), in memory of its own.
        """
        if not len(documents):
            return
        self.num_bytes += documents.nbytes + ids.nbytes
        self._fresh.append((documents, ids))

    def take(self, numbers: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.uint64], pa.Array]:
        """Ids of documents and users' ids, of some of them.

        Args:
            numbers: int64, shape (n,).
        """
        self._join()
        documents = np.empty(len(numbers), np.uint64)
        order = np.argsort(numbers, kind="stable")
        ids, begin, first = [pa.array([], pa.large_string())], 0, 0
        for part, own_ids in self._parts:
            end = int(np.searchsorted(numbers[order], first + len(part)))
            places = numbers[order[begin:end]] - first
            documents[order[begin:end]] = part[places]
            ids.append(own_ids.take(pa.array(places)))
            begin, first = end, first + len(part)
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order))
        return documents, pa.concat_arrays(ids).take(pa.array(ranks))

    def _join(self) -> None:
        """Make parts large: as few of them as a logarithm of all documents, each of which is copied as few times."""
        if not self._fresh:
            return
        joined, self._fresh = _joined(self._fresh), []
        while self._parts and len(self._parts[-1][0]) <= 2 * len(joined[0]):
            joined = _joined([self._parts.pop(), joined])
        self._parts.append(joined)


def _joined(parts: Sequence[_Part]) -> _Part:
    return np.concatenate([documents for documents, _ in parts]), pa.concat_arrays([ids for _, ids in parts])


class InOrder(NamedTuple):
    """What deciding as documents pass takes.

    Args:
        document_bytes: bytes that are held for a document, about.
        holds_texts: whether the texts of those that are kept lie in a file beside the output until the end.
    """

    document_bytes: int
    holds_texts: bool = False


class Found(NamedTuple):
    """What was found out about the documents of a batch.

    Args:
        keepers: the number of the kept document that each one loses to, its own if it is kept, -1 if it is not
            compared; kept documents are numbered from 0 on as they pass; int64, shape (num_docs,).
        kept: whether it has a number now; bool, shape (num_docs,).
        scores: similarity to the keeper, float64, shape (num_docs,); ``None`` if there is no such thing.
    """

    keepers: npt.NDArray[np.int64]
    kept: npt.NDArray[np.bool_]
    scores: npt.NDArray[np.float64] | None = None


class Decider(ABC):
    """Decides who of the documents that pass goes, since one before it was kept.

    Args:
        stage: the name of the stage that it decides for.
        reason: why they go, one word.
    """

    def __init__(self, stage: str, reason: str) -> None:
        self.stage = stage
        self.reason = reason
        self.num_removed = 0
        self._kept = KeptDocuments()
        self._gone: list[_Gone] = []

    @property
    @abstractmethod
    def table_bytes(self) -> int:
        """Bytes of keys that are held."""

    @abstractmethod
    def expect(self, growth: float) -> None:
        """Be told how many times as many documents as so far there will be, as far as one knows."""

    @abstractmethod
    def find(self, batch: DocumentBatch, alive: npt.NDArray[np.bool_]) -> Found:
        """Look for the keepers of the documents of a batch, and take those that are kept into account.

        Args:
            batch: what ``process`` of the stage made.
            alive: whether a document is still there; bool, shape (num_docs,).
        """

    @abstractmethod
    def keys(self, batch: DocumentBatch, rows: npt.NDArray[np.int64]) -> pa.Array:
        """What the ledger says about the keys of some documents of a batch; string array, shape (num_rows,)."""

    def open(self, directory: Path) -> None:
        """Make ready what takes a place on disk, in a directory of the run; nothing remains there after ``close``."""

    def close(self) -> None:
        """Let go of it."""

    def summary(self) -> dict[str, int]:
        """What was counted since this was last asked, in the words of ``BarrierRound.summary``."""
        return {}

    @property
    def held_bytes(self) -> int:
        """Bytes that are held."""
        return self.table_bytes + self._kept.num_bytes

    def decide(self, batch: DocumentBatch, alive: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Which documents of a batch go; bool, shape (num_docs,).

        Args:
            batch: the next documents in input order, as ``process`` of the stage made them.
            alive: whether a document is still there; bool, shape (num_docs,).
        """
        keepers, kept, scores = self.find(batch, alive)
        ids = single(batch.columns["id"])
        drop = (keepers >= 0) & ~kept
        stay = np.flatnonzero(kept)
        documents = document_ids(batch.split.ordinal, batch.rows)
        kept_ids = own_strings(ids) if len(stay) == len(kept) else ids.take(pa.array(stay)).cast(pa.large_string())
        self._kept.add(documents[stay], kept_ids)
        if len(rows := np.flatnonzero(drop)):
            self.num_removed += len(rows)
            taken = ids.take(pa.array(rows)).cast(pa.large_string())
            own = pa.nulls(len(rows), pa.float64()) if scores is None else pa.array(scores[rows])
            self._gone.append(_Gone(batch.rows[rows], taken, self.keys(batch, rows), own, keepers[rows]))
        return drop

    def removed(self) -> list[Removed]:
        """Who went since this was last asked; all of one split."""
        gone, self._gone = self._gone, []
        if not gone:
            return []
        kept, kept_ids = self._kept.take(np.concatenate([part.keepers for part in gone]))
        rows = np.concatenate([part.rows for part in gone])
        return [
            Removed(
                stage=self.stage,
                reason=self.reason,
                rows=rows,
                ids=pa.concat_arrays([part.ids for part in gone]),
                keys=pa.concat_arrays([part.keys for part in gone]),
                scores=pa.concat_arrays([part.scores for part in gone]),
                kept=pa.array(kept),
                kept_ids=kept_ids,
            )
        ]


@dataclass(frozen=True, slots=True)
class _Gone:
    rows: npt.NDArray[np.int64]
    ids: pa.Array
    keys: pa.Array
    scores: pa.Array
    keepers: npt.NDArray[np.int64]


def warm_deciders() -> None:
    """Compile what deciders need, or load it."""
    from curator.kernels.warm import warm_deciding

    warm_deciding()
