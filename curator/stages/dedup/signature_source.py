"""A source in front of another one, which takes signatures from files instead of making them from texts.

Splits flow in and batches flow out, as from the source behind it: same rows, same places, same bad records. As long as
the columns that are wanted were kept, the text is not opened; otherwise the source behind reads it. Splits of earlier
corpora, which the run only compares with, have ordinals of their own and are read from wherever they lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curator.stages.barrier.arrow_files import read_arrow
from curator.stages.barrier.rows import read_selection
from curator.stages.base import NodeInfo, SourceStage, SplitPlan, WorkerMetadata
from curator.stages.dedup.earlier import EarlierCorpus, is_earlier, open_earlier
from curator.stages.dedup.signature_files import CHARACTERS, SIGNATURE, SignatureFiles, batch_columns
from curator.stages.io.byte_stream import check_unchanged
from curator.tasks import DocumentBatch, Quarantined, RawLines, Removed, Selection, Split, SplitTask
from curator.tasks.split import EARLIER

_MOST_ROWS = 1 << 14


class SignatureSource(SourceStage):
    """Reads signatures where they are kept, and everything else through another source.

    Args:
        source: the source of the run.
        kept: signatures of the run's input; ``None`` if there are none.
        earlier: corpora that the run compares with.
    """

    def __init__(self, source: SourceStage, kept: SignatureFiles | None, earlier: Sequence[EarlierCorpus] = ()) -> None:
        self.name = source.name
        self.resources = source.resources
        self.runtime_env = source.runtime_env
        self.batch_size = source.batch_size
        self.max_quarantined = getattr(source, "max_quarantined", None)
        self.shard_index = getattr(source, "shard_index", None)
        self.shard_count = getattr(source, "shard_count", None)
        self._source = source
        self._kept = kept
        self._earlier = tuple(earlier)
        self._columns: tuple[str, ...] = ()
        self._whole_rows = False

    @property
    def reads_text(self) -> bool:
        """Whether the run's own splits are opened for the columns that are wanted."""
        return self._whole_rows or self._kept is None or not self._kept.has(("id", *self._columns))

    @property
    def behind(self) -> SourceStage:
        """The source of the run as it was given."""
        return self._source.behind if isinstance(self._source, SignatureSource) else self._source

    @property
    def next_ordinal(self) -> int:
        """The first ordinal that no earlier corpus has."""
        first = self._source.next_ordinal if isinstance(self._source, SignatureSource) else EARLIER
        return max((corpus.first + len(corpus.splits) for corpus in self._earlier), default=first)

    def read_instead(self, earlier: Sequence[Split]) -> int | None:
        """Bytes that are read in place of the texts of the run, or of earlier splits; ``None``: the texts."""
        if not earlier and not self.reads_text:
            assert self._kept is not None
            return sum(part.files["part"].size_bytes for part in self._kept.splits)
        corpora = [corpus for corpus in self._earlier if any(corpus.owns(split.ordinal) for split in earlier)]
        if not corpora:
            return None
        return sum(_stored_bytes(corpus) for corpus in corpora)

    def plan_splits(self) -> SplitPlan:
        """Those of the source behind."""
        return self._source.plan_splits()

    def doubts(self, splits: Sequence[Split], columns: Sequence[str]) -> list[str]:
        """Those of the source behind."""
        return self._source.doubts(splits, columns)

    def settings(self) -> dict[str, Any]:
        """Those of the source behind."""
        return self._source.settings()

    def outputs(self) -> tuple[str, ...]:
        """Those of the source behind."""
        return self._source.outputs()

    def for_segment(self, columns: Sequence[str], *, whole_rows: bool) -> SignatureSource:
        """The same source for some columns, ``SIGNATURE`` and ``CHARACTERS`` among them or not."""
        return self.with_(_columns=tuple(dict.fromkeys(columns)), _whole_rows=whole_rows)

    def setup_on_node(self, node_info: NodeInfo, worker_metadata: WorkerMetadata) -> None:
        """Prepare the source behind."""
        self._source.setup_on_node(node_info, worker_metadata)

    def setup(self, worker_metadata: WorkerMetadata) -> None:
        """Prepare the source behind."""
        self._source.setup(worker_metadata)

    def process(self, task: SplitTask) -> Iterator[DocumentBatch]:
        """Read one split, or what is left of it.

        Raises:
            StageError: signatures are not those that were kept.
            InputChangedError: a file is not what it was.
        """
        if any(corpus.owns(task.split.ordinal) for corpus in self._earlier):
            yield from self._read_earlier(task)
        elif self.reads_text or is_earlier(task.split.ordinal):
            yield from self._read(self._source, task)
        else:
            assert self._kept is not None
            yield from read_signatures(self._kept, task.split.ordinal, task, self._columns)

    def _read(self, source: SourceStage, task: SplitTask) -> Iterator[DocumentBatch]:
        columns = ["text" if name in (SIGNATURE, CHARACTERS) else name for name in self._columns]
        made = source.for_segment(columns, whole_rows=self._whole_rows).process(task)
        assert isinstance(made, Iterator)
        for batch in made:
            assert isinstance(batch, DocumentBatch)
            yield batch

    def _read_earlier(self, task: SplitTask) -> Iterator[DocumentBatch]:
        corpus, number = next(
            (corpus, task.split.ordinal - corpus.first) for corpus in self._earlier if corpus.owns(task.split.ordinal)
        )
        kept = corpus.kept
        if kept is None:
            yield from self._read(corpus.sources[number], task)
        elif "text" not in self._columns:
            yield from read_signatures(kept, number, task, self._columns, in_output=True)
        elif task.selection is not None:
            yield from self._read(corpus.sources[number], task)
        else:
            kept.check(number)
            rows = kept_rows(kept, number)
            selection = Selection(str(kept.file(number, "part")), "", rows)
            yield from self._read(corpus.sources[number], replace(task, selection=selection))


def with_earlier(
    source: SourceStage,
    kept: SignatureFiles | None,
    against: Sequence[str],
    splits: Sequence[Split],
    *,
    where: str,
    texts: bool,
    made_with: Mapping[str, Any] | None = None,
) -> tuple[SourceStage, tuple[EarlierCorpus, ...]]:
    """A source that also reads kept signatures and earlier corpora, and those; the source as it is if there are none.

    Args:
        source: the source of the run, or one that an earlier stage made of it.
        kept: signatures of the run's input.
        against: names of earlier corpora.
        splits: the run's own splits.
        where: the option that names the corpora, for messages.
        texts: whether their texts are read.
        made_with: how the run makes signatures; ``None`` if it has no use for any.

    Raises:
        ConfigError: a corpus does not fit.
    """
    plain = source.behind if isinstance(source, SignatureSource) else source
    first = source.next_ordinal if isinstance(source, SignatureSource) else EARLIER
    earlier = tuple(open_earlier(against, plain, splits, made_with, where=where, first=first, texts=texts))
    if kept is None and not earlier:
        return source, ()
    return SignatureSource(source, kept, earlier), earlier


def _stored_bytes(corpus: EarlierCorpus) -> int:
    if corpus.kept is not None:
        return sum(part.files["part"].size_bytes for part in corpus.kept.splits)
    return sum(split.size_bytes for split in corpus.splits)


def read_signatures(
    kept: SignatureFiles, number: int, task: SplitTask, columns: Sequence[str], *, in_output: bool = False
) -> Iterator[DocumentBatch]:
    """The documents of a split from its signature file, and what became of its other records.

    Args:
        kept: the signatures.
        number: which of their splits.
        task: the split as this run knows it, and what is wanted of it.
        columns: columns that were kept; the id is always among them.
        in_output: only documents that the run which kept them did not remove, and no others on record.

    Raises:
        StageError: a file is not what was published.
    """
    split, names = task.split, dict.fromkeys(("id", *columns))
    empty = pa.table({name: pa.array([], pa.large_string()) for name in names})
    first = DocumentBatch(split=split, rows=np.empty(0, np.int64), columns=empty)
    wanted: npt.NDArray[np.int64] | None = None
    if task.selection is not None:
        selected = read_selection(task.selection, split.ordinal)
        wanted, first.removed = selected.rows, selected.removed
    else:
        kept.check(number)
        if in_output:
            wanted = kept_rows(kept, number)
        else:
            check_unchanged(split.file)
            _account(first, kept, number)
    yield first
    table = read_arrow(str(kept.file(number, "part")))
    for record_batch in table.to_batches(max_chunksize=_MOST_ROWS):
        rows = pa.Table.from_batches([record_batch])
        if wanted is not None:
            places = np.flatnonzero(np.isin(rows["row"].to_numpy(), wanted, kind="sort"))
            if not len(places):
                continue
            rows = rows if len(places) == rows.num_rows else rows.take(pa.array(places))
        yield DocumentBatch(
            split=split,
            rows=rows["row"].to_numpy().copy(),
            columns=batch_columns(rows, list(names)),
            lines=_places(rows),
        )


def kept_rows(kept: SignatureFiles, number: int) -> npt.NDArray[np.int64]:
    """The rows of a split that its run wrote in the end: int64, ascending."""
    rows = np.asarray(read_arrow(str(kept.file(number, "part")))["row"].to_numpy(), np.int64)
    gone = kept.file(number, "gone")
    return rows if gone is None else rows[~np.isin(rows, read_arrow(gone)["row"].to_numpy())]


def _places(rows: pa.Table) -> RawLines | None:
    """Where lines lie, without their bytes."""
    if "begin" not in rows.column_names:
        return None
    return RawLines(np.empty(0, np.uint8), rows["begin"].to_numpy(), rows["end"].to_numpy(), 0)


def _account(batch: DocumentBatch, kept: SignatureFiles, number: int) -> None:
    """Give a batch the counts of its split, and the records that are no documents any more."""
    split = kept.splits[number]
    batch.num_read, batch.num_bytes, batch.extent = split.read, split.bytes, split.extent
    if (path := kept.file(number, "quarantine")) is not None:
        for row in pq.read_table(path).to_pylist():
            fields = {name: row[name] for name in Quarantined.__slots__}
            batch.quarantined.append(Quarantined(**fields))
    if (path := kept.file(number, "ledger")) is not None:
        batch.removed += _removed(path)


def _removed(path: Path) -> list[Removed]:
    ledger = pq.read_table(path)
    found = []
    names = ledger.select(["stage", "reason"]).group_by(["stage", "reason"]).aggregate([]).to_pylist()
    for name in sorted(names, key=lambda name: (name["stage"], name["reason"])):
        mask = pc.and_(pc.equal(ledger["stage"], name["stage"]), pc.equal(ledger["reason"], name["reason"]))
        part = ledger.filter(mask).combine_chunks()
        column = {key: pa.concat_arrays(part[key].chunks) for key in part.column_names}
        found.append(
            Removed(
                stage=name["stage"],
                reason=name["reason"],
                rows=part["row"].to_numpy().astype(np.int64),
                ids=column["id"],
                keys=column["key"],
                scores=column["score"],
                kept=column["kept_document_id"],
                kept_ids=column["kept_id"],
                kept_in=column["kept_in"],
            )
        )
    return found
