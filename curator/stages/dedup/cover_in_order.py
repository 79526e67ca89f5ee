"""The verified cover, decided as documents pass: one goes when a kept one that shares a bucket is similar enough.

A batch flows by, and its documents and the kept ones that share buckets with them make a small cover of their own, in
which those are kept already. Since it depends on kept documents before it alone who goes, small covers one after the
other decide what one of the whole corpus would have decided.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from loguru import logger

from curator.errors import StorageError, TwoPassesError
from curator.stages.barrier.deciders import Decider, Found
from curator.stages.barrier.text_spool import TextSpool
from curator.stages.dedup.band_words import unpack_words
from curator.stages.io.text_buffers import single
from curator.tasks import DocumentBatch

if TYPE_CHECKING:
    from curator.kernels.cover import Cover
    from curator.kernels.shared_keys import Sharers
    from curator.stages.dedup.fuzzy import FuzzyDeduplication

_MOST_SHARERS = 1 << 10
"""Kept documents in the buckets of one, on the average of a batch, beyond which all are better compared at once."""

_MOST_SPOOL_BYTES = 1 << 36


class CoverDecider(Decider):
    """Keeps a document unless a kept one that shares a bucket is similar to it.

    Args:
        stage: the stage whose ``process`` made the batches.
    """

    def __init__(self, stage: FuzzyDeduplication) -> None:
        from curator.kernels.shared_keys import SharedKeys
        from curator.stages.dedup.verification import REASON

        super().__init__(stage.name, REASON)
        self._stage = stage
        self._table = SharedKeys()
        self._num_kept = 0
        self._spool: TextSpool | None = None
        self._counted = {"compared pairs": 0, "similar pairs": 0, "documents not compared with all": 0}

    @property
    def table_bytes(self) -> int:
        """Bytes of keys that are held."""
        return self._table.num_bytes + (0 if self._spool is None else self._spool.held_bytes)

    def open(self, directory: Path) -> None:
        """Make the file of texts."""
        self._spool = TextSpool(directory)

    def close(self) -> None:
        """Let go of it."""
        if self._spool is not None:
            self._spool.close()

    def expect(self, growth: float) -> None:
        """Make the table as large as it will have to be, when it grows."""
        self._table.expected_keys = int(self._table.num_keys * growth)

    def summary(self) -> dict[str, int]:
        """Pairs that were compared, and what was given up."""
        counted, self._counted = self._counted, dict.fromkeys(self._counted, 0)
        if bounded := counted["documents not compared with all"]:
            logger.warning(
                "{}: {:,} documents share buckets with more than max_comparisons={} others and were not compared with "
                "all of them; some near-duplicates among them may be kept",
                self.stage,
                bounded,
                self._stage.max_comparisons,
            )
        return counted

    def keys(self, batch: DocumentBatch, rows: npt.NDArray[np.int64]) -> pa.Array:
        """None: it is the similarity that decides."""
        return pa.nulls(len(rows), pa.string())

    def find(self, batch: DocumentBatch, alive: npt.NDArray[np.bool_]) -> Found:
        """A kept document that is similar to each, if there is one."""
        words = unpack_words(single(batch.columns[f"{self.stage}.keys"]))
        kept = single(batch.columns[f"{self.stage}.compared"]).to_numpy(zero_copy_only=False) & alive
        texts = single(batch.columns["text"]).cast(pa.large_string())
        keepers, scores = np.full(len(words), -1, np.int64), np.full(len(words), np.nan)
        sharers = self._table.find(words, kept)
        if len(sharers.rows) > _MOST_SHARERS * len(words):
            raise TwoPassesError(
                f"{self.stage}: documents of {batch.split.name} share buckets with more than {_MOST_SHARERS:,} kept "
                "ones each, on the average."
            )
        rows = self._candidates(words, kept, sharers)
        if len(rows):
            numbers, decided = self._decide(words[rows], texts.take(pa.array(rows)), sharers)
            gone = np.flatnonzero(decided.keepers[len(numbers) :] >= 0)
            keeper = decided.keepers[len(numbers) :][gone]
            scores[rows[gone]] = decided.similarities[len(numbers) :][gone]
            kept[rows[gone]] = False
            before = self._num_kept + np.cumsum(kept) - 1
            everybody = np.concatenate([numbers, before[rows]])
            keepers[rows[gone]] = everybody[keeper]
        keepers[kept] = self._num_kept + np.arange(int(kept.sum()))
        self._keep(words, kept, texts)
        return Found(keepers, kept, scores)

    def _candidates(
        self, words: npt.NDArray[np.uint64], compared: npt.NDArray[np.bool_], sharers: Sharers
    ) -> npt.NDArray[np.int64]:
        """Rows of documents that share a bucket with a kept one, or with another one of the batch; ascending."""
        from curator.kernels.buckets import shared_rows

        among = np.flatnonzero(compared)
        meeting = among[shared_rows(words[among].reshape(-1)) // words.shape[1]]
        found = np.zeros(len(words), np.bool_)
        found[sharers.rows] = found[meeting] = True
        return np.flatnonzero(found)

    def _decide(
        self, words: npt.NDArray[np.uint64], texts: pa.Array, sharers: Sharers
    ) -> tuple[npt.NDArray[np.int64], Cover]:
        """The numbers of the kept documents that some are compared with, and what is decided of those and of them."""
        from curator.kernels.cover import cover_texts

        assert self._spool is not None
        _, once = np.unique(sharers.slots, return_index=True)
        once = once[np.argsort(sharers.numbers[once], kind="stable")]
        keys = sharers.keys[once]
        numbers, begins = np.unique(sharers.numbers[once], return_index=True)
        offsets, data = self._stage.normalised(pa.concat_arrays([self._spool.take(numbers), texts]))
        decided = cover_texts(
            np.arange(len(numbers) + len(texts)),
            data,
            offsets,
            # Sorted, as behind a barrier: which buckets of a size are looked at first depends on it.
            np.concatenate([keys, np.sort(words, axis=1).reshape(-1)]),
            np.concatenate([begins, len(keys) + words.shape[1] * np.arange(len(texts) + 1)]),
            self._stage.threshold,
            shingling=self._stage.shingling,
            max_comparisons=self._stage.max_comparisons,
            num_protected=len(numbers),
        )
        self._count(decided)
        return numbers, decided

    def _count(self, decided: Cover) -> None:
        self._counted["compared pairs"] += decided.comparisons
        self._counted["similar pairs"] += int((decided.keepers >= 0).sum())
        self._counted["documents not compared with all"] += int(decided.bounded.sum())

    def _keep(self, words: npt.NDArray[np.uint64], kept: npt.NDArray[np.bool_], texts: pa.Array) -> None:
        """Take the documents that are kept into account."""
        assert self._spool is not None
        rows = np.flatnonzero(kept)
        try:
            self._spool.add(texts, rows)
        except StorageError as error:  # two passes need no room for texts
            raise TwoPassesError(str(error)) from error
        if self._spool.num_bytes > _MOST_SPOOL_BYTES:
            raise TwoPassesError(f"{self.stage}: more than {_MOST_SPOOL_BYTES:,} bytes of text are kept.")
        self._table.add(words[rows], np.arange(self._num_kept, self._num_kept + len(rows)))
        self._num_kept += len(rows)
