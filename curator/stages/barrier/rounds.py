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


class DocumentReader:
    """Reads documents again that reached the barrier.

    Args:
        source: the source, reading the columns of the round.
        index_path: what ``write_documents_index`` wrote.
    """

    def __init__(self, source: SourceStage, index_path: str) -> None:
        self._source = source
        self._index_path = index_path

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
            rows = (documents[first:last] & _ROW_MASK).astype(np.int64)
            split = Split.from_dict(json.loads(index["split"][ordinal].as_py()))
            selection = Selection(index["rows"][ordinal].as_py(), "", rows)
            task = SplitTask(task_id=str(ordinal), split=split, selection=selection)
            for batch in _as_batches(self._source.process(task)):
                if batch.num_items:
                    yield batch


def write_documents_index(path: Path, splits: Sequence[Split], rows_paths: Sequence[str]) -> None:
    """List the splits, and where their rows are, for the rounds that read documents again.

    Args:
        path: a name that nobody reads yet.
        splits: all splits, in order.
        rows_paths: the rows of each that reached the barrier.
    """
    described = [json.dumps(split.to_dict()) for split in splits]
    write_arrow(path, pa.table({"split": pa.array(described, pa.large_string()), "rows": pa.array(rows_paths)}))


class BarrierRound(ABC):
    """One round of work behind a barrier.

    ``name`` is a word for plans and progress; ``columns`` are the columns of documents that it reads again.
    """

    name: str = ""
    columns: tuple[str, ...] = ()

    @abstractmethod
    def plan(self, results: Sequence[ResultTask], directory: Path) -> Sequence[RoundTask]:
        """Plan the tasks of this round, on the driver.

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


def _as_batches(made: object) -> Iterator[DocumentBatch]:
    batches = made if isinstance(made, Iterator | list) else [made]
    for batch in batches:
        assert isinstance(batch, DocumentBatch)
        yield batch
