"""Rounds behind a barrier: small tasks in, files and counts out, each round planned from what the one before it left.

The driver plans a round from counts and names of files; a worker runs each of its tasks in a private directory. The
first round takes the keys, partition by partition (and range of bands by range of bands); the last one leaves removals.
Documents are read again by number, and only the columns that a round asks for.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curator.stages.barrier.arrow_files import read_arrow, write_arrow
from curator.stages.barrier.keys import read_partition
from curator.stages.barrier.removals import write_removals
from curator.stages.base import ShuffleStage, SourceStage
from curator.tasks import DocumentBatch, PartitionTask, ResultTask, RoundTask, Selection, Split, SplitTask, Task
from curator.tasks.split import ROW_BITS

_ROW_MASK = np.uint64((1 << ROW_BITS) - 1)


ONLY_IDS = ("id",)
"""The columns of a round that needs nothing of a document but its id."""

DOCUMENTS = "documents.arrow"
"""Name of the index of documents among the small files of a round that reads some again."""


class DocumentReader:
    """Reads documents again that reached the barrier.

    Args:
        source: the source, reading the columns of the round.
        index_path: what ``write_documents_index`` wrote.
        only_ids: whether ids are all that is wanted: they lie beside the rows, and nothing is read again.
    """

    def __init__(self, source: SourceStage, index_path: str, *, only_ids: bool = False) -> None:
        self._source = source
        self._index_path = index_path
        self._only_ids = only_ids

    def read(self, documents: npt.NDArray[np.uint64]) -> Iterator[DocumentBatch]:
        """Read some documents, split by split, front to back.

        Args:
            documents: uint64, shape (num_docs,), ascending, all different: ids of documents that reached the barrier.

        Yields:
            Batches with the columns of the round; each is valid until the next one is asked for.

        Raises:
            ValueError: a document did not reach the barrier, or they are not ascending.
        """
        if not (documents[1:] > documents[:-1]).all():
            raise ValueError("documents must be ascending and all different")
        index = read_arrow(self._index_path)
        splits = (documents >> np.uint64(ROW_BITS)).astype(np.int64)
        for ordinal in np.unique(splits).tolist():
            first, last = np.searchsorted(splits, [ordinal, ordinal + 1])
            place = int(np.searchsorted(index["ordinal"].to_numpy(), ordinal))
            rows = (documents[first:last] & _ROW_MASK).astype(np.int64)
            split = Split.from_dict(json.loads(index["split"][place].as_py()))
            if self._only_ids:
                yield _ids_of(split, index["rows"][place].as_py(), rows)
                continue
            selection = Selection(index["rows"][place].as_py(), "", rows)
            task = SplitTask(task_id=str(ordinal), split=split, selection=selection)
            for batch in _as_batches(self._source.process(task)):
                if batch.num_items:
                    yield batch


def write_documents_index(path: Path, splits: Sequence[Split], rows_paths: Sequence[str]) -> None:
    """List the splits, and where their rows are, for the rounds that read documents again.

    Args:
        path: a name that nobody reads yet.
        splits: all splits, in the order of their ordinals.
        rows_paths: the rows of each that reached the barrier.
    """
    described = [json.dumps(split.to_dict()) for split in splits]
    columns = {
        "ordinal": pa.array([split.ordinal for split in splits], pa.int64()),
        "split": pa.array(described, pa.large_string()),
        "rows": pa.array(rows_paths, pa.string()),
    }
    write_arrow(path, pa.table(columns))


def read_documents_index(directory: Path) -> list[Split]:
    """The splits whose documents a round may read again, in the order of their ordinals.

    Args:
        directory: what ``plan`` of the round was given.
    """
    return [
        Split.from_dict(json.loads(described)) for described in read_arrow(directory / DOCUMENTS)["split"].to_pylist()
    ]


class BarrierRound(ABC):
    """One round of work behind a barrier.

    ``name`` is a word for plans and progress; ``columns`` are the columns of documents that it reads again.
    """

    name: str = ""
    columns: tuple[str, ...] = ()

    @abstractmethod
    def plan(self, results: Sequence[ResultTask], directory: Path) -> Sequence[RoundTask]:
        """Plan the tasks of this round, on the driver; without any, the next round gets the same results.

        Args:
            results: what the round before left, in the order of its tasks; the first round has none.
            directory: for small files that all tasks read; its names must be those of this round alone.
        """

    @abstractmethod
    def run(self, task: Task, directory: Path, reader: DocumentReader | None) -> ResultTask:
        """Do one task, on a worker; a task may be done again after a failure, and only one attempt counts.

        Args:
            task: the task.
            directory: private to this attempt; the files of the result lie here.
            reader: reads documents again; ``None`` if the round asks for no columns.
        """

    def summary(self, results: Sequence[ResultTask]) -> dict[str, int]:
        """What the report of a run says about this round: what is counted, in words, and how many.

        Numbers of several turns are added up, and of those whose words begin with ``largest`` the largest is taken.

        Args:
            results: what its tasks left.
        """
        return {}


class KeysRound(BarrierRound):
    """A first round: it takes the keys, one partition at a time."""

    def plan(self, results: Sequence[ResultTask], directory: Path) -> Sequence[RoundTask]:
        """Nothing: the partitions of the keys are its tasks."""
        return ()

    def run(self, task: Task, directory: Path, reader: DocumentReader | None) -> ResultTask:
        """Read a partition and take it."""
        assert isinstance(task, PartitionTask)
        return self.take(read_partition(task.index_path, task.partition), directory)

    @abstractmethod
    def take(self, keys: pa.Table, directory: Path) -> ResultTask:
        """Work on every row of some keys.

        Args:
            keys: what ``keys`` of the stage returned, in split order; with bands, the rows of some of them.
            directory: private to this attempt.
        """


class DecideRound(KeysRound):
    """The only round of most stages: ``decide`` on each partition.

    Args:
        stage: the stage.
    """

    name = "decide"

    def __init__(self, stage: ShuffleStage) -> None:
        self._stage = stage

    def take(self, keys: pa.Table, directory: Path) -> ResultTask:
        """Decide."""
        return removals_result(self._stage.decide(keys), directory)


def removals_result(removals: pa.Table, directory: Path) -> ResultTask:
    """The result of a last round.

    Args:
        removals: columns as ``REMOVALS`` says, one row a document; no other task may remove one of them.
        directory: private to this attempt.
    """
    result = ResultTask(unit=0, directory=str(directory), counts={"removed": removals.num_rows})
    if write_removals(directory / "removals.arrow", removals):
        result.files["removals"] = "removals.arrow"
    return result


def _ids_of(split: Split, rows_path: str, rows: npt.NDArray[np.int64]) -> DocumentBatch:
    """Some documents of a split with their ids only.

    Raises:
        ValueError: a document did not reach the barrier.
    """
    table = read_arrow(rows_path)
    left = table["row"].to_numpy()
    places = np.searchsorted(left, rows)
    found = int((left[np.minimum(places, len(left) - 1)] == rows).sum()) if len(left) else 0
    if found != len(rows):
        raise ValueError(f"{len(rows):,} rows of a split are wanted, {found:,} of them are left")
    return DocumentBatch(split=split, rows=rows, columns=table.select(["id"]).take(pa.array(places)))


def _as_batches(made: object) -> Iterator[DocumentBatch]:
    batches = made if isinstance(made, Iterator | list) else [made]
    for batch in batches:
        assert isinstance(batch, DocumentBatch)
        yield batch
