"""Exact deduplication: documents of equal text meet by their 128-bit hash, and one of them is kept.

The hash is XXH3-128 (seed 0) of the UTF-8 text, after the normalisation that was asked for; any xxhash library computes
it again from the ledger's ``key``. Among n documents the chance of any false match is below n**2 / 2**129.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from curator.errors import ConfigError
from curator.stages.barrier.deciders import Decider, InOrder
from curator.stages.base import (
    REMOVALS,
    NodeInfo,
    ProcessingStage,
    Resolved,
    ShuffleStage,
    SourceStage,
    WorkerMetadata,
)
from curator.stages.dedup.earlier import EarlierCorpus, are_earlier, is_earlier, listed, name_documents
from curator.stages.dedup.in_order import ExactDecider, exact_in_order
from curator.stages.dedup.normalise import CASES, UNICODE_FORMS, WHITE_SPACES, Normalisation
from curator.stages.io.text_buffers import single
from curator.tasks import DocumentBatch, Split, document_ids

EMPTY_TEXTS = ("keep", "match", "remove")
_NUMERIC = (pa.types.is_floating, pa.types.is_integer, pa.types.is_decimal, pa.types.is_boolean)


class ExactDeduplication(ShuffleStage):
    """Keeps one document of each text.

    Args:
        keep: which one: ``first`` in input order, ``longest`` before normalisation (in characters), or
            ``max:<column>``, the largest number in that column; ties go to the first, no number loses.
        case: ``keep``, ``lower`` or ``fold`` (Unicode case folding).
        white_space: ``keep``, or ``collapse``: runs become one space, ends are trimmed.
        unicode: ``keep``, or a normal form: ``NFC``, ``NFD``, ``NFKC``, ``NFKD``.
        against: earlier corpora, one or several: outputs of curator, folders of signatures, whose texts are read again,
            or other inputs. A document whose text one of them has goes.
        empty_text: documents whose text is empty after normalisation are not compared (``keep``), are compared like
            all others (``match``), or go (``remove``). Documents without any text are never compared.
        partition_bytes: bytes of keys that one worker holds at a time behind the barrier.

    Raises:
        ConfigError: an option is not one of those.

    Example:
        >>> ExactDeduplication(keep="max:score", white_space="collapse").inputs()
        ('text', 'id', 'score')
    """

    name = "exact"

    def __init__(
        self,
        *,
        keep: str = "first",
        case: str = "keep",
        white_space: str = "keep",
        unicode: str = "keep",
        empty_text: str = "keep",
        against: str | Sequence[str] | None = None,
        partition_bytes: int = 256 << 20,
    ) -> None:
        self.keep = keep
        self.case = case
        self.white_space = white_space
        self.unicode = unicode
        self.empty_text = empty_text
        self.against = listed(against, "exact.against")
        self._earlier: tuple[EarlierCorpus, ...] = ()
        self.partition_bytes = partition_bytes
        problems = [
            f"exact.{key}: {value!r} is not known. Choose from: {', '.join(choices)}."
            for key, value, choices in (
                ("case", case, CASES),
                ("white_space", white_space, WHITE_SPACES),
                ("unicode", unicode, UNICODE_FORMS),
                ("empty_text", empty_text, EMPTY_TEXTS),
            )
            if value not in choices
        ]
        if keep not in ("first", "longest") and not (isinstance(keep, str) and keep.startswith("max:") and keep[4:]):
            problems.append(f"exact.keep: {keep!r} is not known. Choose from: first, longest, max:<column>.")
        if isinstance(partition_bytes, bool) or not isinstance(partition_bytes, int) or partition_bytes < 1:
            problems.append(f"exact.partition_bytes={partition_bytes!r}: must be a whole number of at least 1.")
        if problems:
            raise ConfigError(problems)

    @property
    def keys_are_independent(self) -> bool:  # type: ignore[override]
        """A key is the text's own, unless empty texts are taken out on the way."""
        return self.empty_text != "remove"

    def inputs(self) -> tuple[str, ...]:
        """The text, the id for the ledger, and the column that decides who is kept."""
        return ("text", "id", *([self.keep[4:]] if self.keep.startswith("max:") else []))

    def settings(self) -> dict[str, Any]:
        """What decides the result; the number of partitions does not."""
        decisive = {key: value for key, value in super().settings().items() if key != "partition_bytes"}
        return decisive | {"against": [corpus.identity for corpus in self._earlier] or self.against}

    def notes(self) -> list[str]:
        """What is compared with."""
        return [f"compares with {corpus.name!r}: {len(corpus.splits):,} splits" for corpus in self._earlier]

    def resolve(self, source: SourceStage, before: Sequence[ProcessingStage], splits: Sequence[Split]) -> Resolved:
        """Find the earlier corpora.

        Raises:
            ConfigError: one of them is not there, or is part of the input.
        """
        if not self.against:
            return Resolved(source, self)
        from curator.stages.dedup.signature_source import with_earlier

        found, earlier = with_earlier(source, None, self.against, splits, where=f"{self.name}.against", texts=True)
        return Resolved(found, self.with_(_earlier=earlier))

    @property
    def earlier_splits(self) -> Sequence[Split]:
        """The splits of the earlier corpora."""
        return [split for corpus in self._earlier for split in corpus.splits]

    def earlier_inputs(self) -> tuple[str, ...]:
        """The text, and the id for the ledger."""
        return ("text", "id")

    def in_order(self, splits: Sequence[Split]) -> InOrder | None:
        """What it takes to decide about documents as they pass."""
        return exact_in_order(self)

    def decider(self) -> Decider:
        """Keeps the first of equal texts as they pass."""
        return ExactDecider(self)

    def setup_on_node(self, node_info: NodeInfo, worker_metadata: WorkerMetadata) -> None:
        """Compile the kernels once."""
        self._warm()

    def setup(self, worker_metadata: WorkerMetadata) -> None:
        """Load the kernels before the first unit is timed."""
        self._warm()

    def _warm(self) -> None:
        from curator.kernels.warm import warm_hashing, warm_normalising

        warm_hashing()
        if (self.case, self.white_space, self.unicode) != ("keep", "keep", "keep"):
            warm_normalising()

    def process(self, task: DocumentBatch) -> DocumentBatch:
        """Add the key columns; with ``empty_text: remove``, take empty texts out."""
        from curator.kernels.xxh3 import hash_texts

        text = single(task.columns["text"])
        offsets, data = Normalisation(self.case, self.white_space, self.unicode).apply(text)
        high, low = hash_texts(data, offsets)
        compared = text.is_valid().to_numpy(zero_copy_only=False)
        empty = compared & (np.diff(offsets) == 0)
        if self.empty_text != "match":
            compared &= ~empty
        made = {"high": high, "low": low, "compared": compared}
        if self._is_ordered:
            made["order"] = self._order(task, text)
        columns = task.columns
        for name, values in made.items():
            columns = columns.append_column(f"{self.name}.{name}", pa.array(values))
        task.columns = columns
        if self.empty_text == "remove":
            return task.remove(empty, stage=self.name, reason="empty_text")
        return task

    @property
    def _is_ordered(self) -> bool:
        """Whether anything but the place in the input decides who is kept."""
        return self.keep != "first" or bool(self.against)

    def _order(self, batch: DocumentBatch, text: pa.Array) -> npt.NDArray[np.float64]:
        """What a document counts for among its equals, float64, shape (num_docs,); larger is kept, earlier ones are."""
        if is_earlier(batch.split.ordinal):
            return np.full(len(text), np.inf)
        if self.keep == "first":
            return np.zeros(len(text))
        if self.keep == "longest":
            lengths = pc.fill_null(pc.utf8_length(text), 0)
            return np.asarray(lengths, np.float64)
        return np.minimum(numbers(single(batch.columns[self.keep[4:]])), np.finfo(np.float64).max)

    def keys(self, batch: DocumentBatch) -> pa.Table:
        """Key, document, user's id and, where there is one, order of the documents that are compared."""
        columns = batch.columns
        made = {name: columns[f"{self.name}.{name}"] for name in ("high", "low")}
        made["document"] = pa.array(document_ids(batch.split.ordinal, batch.rows))
        if self._is_ordered:
            made["order"] = columns[f"{self.name}.order"]
        made["id"] = columns["id"] if columns["id"].type == pa.large_string() else columns["id"].cast(pa.large_string())
        table = pa.Table.from_arrays(list(made.values()), list(made))
        compared = columns[f"{self.name}.compared"]
        return table if pc.all(compared).as_py() is not False else table.filter(compared)

    def decide(self, keys: pa.Table) -> pa.Table:
        """Every document whose key another one holds that comes before it in the keeper order."""
        from curator.kernels.groups import first_of_equal

        if not keys.num_rows:
            return REMOVALS.empty_table()
        high, low, document = (_numpy(keys[name]) for name in ("high", "low", "document"))
        order = _numpy(keys["order"]) if self._is_ordered else np.zeros(len(document))
        keeper = first_of_equal(high, low, order, document)
        rows = np.flatnonzero((keeper != np.arange(len(keeper))) & ~are_earlier(document))
        kept = keeper[rows]
        kept_documents, kept_in = name_documents(document[kept], self._earlier)
        ids = keys["id"]
        return pa.table(
            {
                "document": document[rows],
                "id": ids.take(pa.array(rows)),
                "reason": pa.array(["exact_duplicate"] * len(rows), pa.string()),
                "key": hexadecimal(high[rows], low[rows]),
                "score": pa.nulls(len(rows), pa.float64()),
                "kept": kept_documents,
                "kept_id": ids.take(pa.array(kept)),
                "kept_in": pa.array(kept_in, pa.string()),
            }
        ).cast(REMOVALS)


def hexadecimal(high: npt.NDArray[np.uint64], low: npt.NDArray[np.uint64]) -> pa.Array:
    """128-bit keys as an xxhash library prints them.

    Args:
        high: uint64, shape (num_keys,).
        low: uint64, shape (num_keys,).

    Returns:
        large_string array, shape (num_keys,), 32 characters each.

    Example:
        >>> hexadecimal(np.array([1], np.uint64), np.array([255], np.uint64))[0].as_py()
        '000000000000000100000000000000ff'
    """
    digits = np.stack([high, low], axis=1).astype(">u8").tobytes().hex().encode()
    offsets = np.arange(0, 32 * len(high) + 1, 32)
    return pa.Array.from_buffers(pa.large_string(), len(high), [None, pa.py_buffer(offsets), pa.py_buffer(digits)])


def numbers(column: pa.Array) -> npt.NDArray[np.float64]:
    """A column as numbers: float64, NaN where a value is missing or is no number; a time counts from its epoch.

    Example:
        >>> numbers(pa.array(["3", "1e2", "many", None]))
        array([  3., 100.,  nan,  nan])
    """
    is_text = pa.types.is_large_string(column.type) or pa.types.is_string(column.type)
    if is_text:
        number = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"
        column = pc.if_else(pc.match_substring_regex(column, number), column, None)
    if pa.types.is_temporal(column.type):
        column = column.cast(pa.int64() if column.type.bit_width == 64 else pa.int32())
    elif not (is_text or any(test(column.type) for test in _NUMERIC)):
        return np.full(len(column), np.nan)
    return np.asarray(column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)


def _numpy(column: pa.ChunkedArray) -> npt.NDArray[Any]:
    return np.ascontiguousarray(column.to_numpy())
