"""Deduplication of documents as they pass: equal texts, or texts that share a bucket, with the first one kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curator.stages.barrier.deciders import OWN_BYTES, Decider, Found, InOrder
from curator.stages.dedup.band_words import unpack_words
from curator.stages.io.text_buffers import single
from curator.tasks import DocumentBatch, Split

if TYPE_CHECKING:
    from curator.stages.dedup.exact import ExactDeduplication
    from curator.stages.dedup.fuzzy import FuzzyDeduplication

_SLOT_BYTES = 18
"""A slot of a table in which two thirds are in use."""

_PLACE_BYTES = 16
"""Where a text lies, and how long it is."""


def exact_in_order(stage: ExactDeduplication) -> InOrder | None:
    """What it takes; ``None`` if a document may lose to a later one, or to one of another corpus."""
    return InOrder(_SLOT_BYTES + 8 + OWN_BYTES) if stage.keep == "first" and not stage.against else None


def fuzzy_in_order(stage: FuzzyDeduplication, splits: Sequence[Split]) -> InOrder | None:
    """What it takes; ``None`` if a document may lose to a later one, or if signatures are kept, read or compared.

    Where texts are compared, those that are kept have to be at hand. Lines of a plain file are, by their place, and
    reading those that are compared once more costs less than to copy all. Compressed ones and Parquet are not.
    """
    decides_first = stage.keep == "first" and stage.cluster == "keeper" and stage.verify != "signature"
    is_alone = not stage.against and stage.keep_signatures is None and stage.signatures is None and stage.num_bands == 1
    if not (decides_first and is_alone):
        return None
    size = _SLOT_BYTES * stage.bands + OWN_BYTES
    if stage.verify == "none":
        # Of that many buckets all are looked at, and each has one kept document.
        return InOrder(size) if stage.bands <= stage.max_comparisons else None
    decoded = sum(split.size_bytes for split in splits if split.is_decoded_whole)
    is_worth_it = 2 * decoded > sum(split.size_bytes for split in splits)
    return InOrder(size + _PLACE_BYTES, holds_texts=True) if is_worth_it else None


class ExactDecider(Decider):
    """Keeps the first of equal texts.

    Args:
        stage: the stage whose ``process`` made the batches.
    """

    def __init__(self, stage: ExactDeduplication) -> None:
        from curator.kernels.kept_keys import KeptKeys

        super().__init__(stage.name, "exact_duplicate")
        self._table = KeptKeys()

    @property
    def table_bytes(self) -> int:
        """Bytes of keys that are held."""
        return self._table.num_bytes

    def expect(self, growth: float) -> None:
        """Make the table as large as it will have to be, when it grows."""
        self._table.expected_keys = int(self._table.num_keys * growth)

    def find(self, batch: DocumentBatch, alive: npt.NDArray[np.bool_]) -> Found:
        """The first document with the hash of each."""
        high, low, compared = (
            single(batch.columns[f"{self.stage}.{name}"]).to_numpy(zero_copy_only=False)
            for name in ("high", "low", "compared")
        )
        return Found(*self._table.decide_pairs(high, low, compared & alive))

    def keys(self, batch: DocumentBatch, rows: npt.NDArray[np.int64]) -> pa.Array:
        """The hashes."""
        from curator.stages.dedup.exact import hexadecimal

        high, low = (single(batch.columns[f"{self.stage}.{name}"]).to_numpy()[rows] for name in ("high", "low"))
        return hexadecimal(high, low)


class BucketDecider(Decider):
    """Keeps the first of documents that share a bucket, of which no other one is kept.

    Args:
        stage: the stage whose ``process`` made the batches.
    """

    def __init__(self, stage: FuzzyDeduplication) -> None:
        from curator.kernels.kept_keys import KeptKeys
        from curator.stages.dedup.verification import REASON

        super().__init__(stage.name, REASON)
        self._table = KeptKeys()
        self._counted = 0

    @property
    def table_bytes(self) -> int:
        """Bytes of keys that are held."""
        return self._table.num_bytes

    def expect(self, growth: float) -> None:
        """Make the table as large as it will have to be, when it grows."""
        self._table.expected_keys = int(self._table.num_keys * growth)

    def summary(self) -> dict[str, int]:
        """A document that goes shares a bucket with a kept one, which is enough to be similar."""
        gone, self._counted = self.num_removed - self._counted, self.num_removed
        return {"compared pairs": gone, "similar pairs": gone, "documents not compared with all": 0}

    def find(self, batch: DocumentBatch, alive: npt.NDArray[np.bool_]) -> Found:
        """The kept document that shares most buckets with each."""
        words = unpack_words(single(batch.columns[f"{self.stage}.keys"]))
        compared = single(batch.columns[f"{self.stage}.compared"]).to_numpy(zero_copy_only=False)
        return Found(*self._table.decide_words(words, compared & alive))

    def keys(self, batch: DocumentBatch, rows: npt.NDArray[np.int64]) -> pa.Array:
        """None: a bucket is no property of a document that says anything to anybody."""
        return pa.nulls(len(rows), pa.string())
