"""Gathering what is compared, split by split, where reading it for each file of components would cost more.

Candidates of one component lie in many splits, and those of one split in many components. Lines of a plain file are
read where they are, unless there are so many files of components that each would find only a few of them in a split.
Compressed files and Parquet would have to be decoded again for every file of components. Such a split is read once:
what is compared of each of its candidates is written to a table, dealt by file of components.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curator.stages.barrier.arrow_files import read_arrow
from curator.stages.barrier.bucket_files import BucketWriter, read_buckets
from curator.stages.barrier.rounds import ONLY_IDS, BarrierRound, DocumentReader, read_documents_index
from curator.stages.dedup.keeper import keeper_values
from curator.stages.dedup.members import Values
from curator.stages.dedup.signature_files import SIGNATURE, signature_values
from curator.stages.io.text_buffers import own_strings, single
from curator.tasks import DocumentBatch, ResultTask, RoundTask, Task, document_ids
from curator.tasks.split import ROW_BITS

if TYPE_CHECKING:
    from curator.stages.dedup.fuzzy import FuzzyDeduplication

_HELD_BYTES = 32 << 20
_FEW = 64
"""Candidates of a split for one file of components, below which opening it again costs more than gathering all."""

_POSITION_BITS = np.uint64(32)


class Found(NamedTuple):
    """What is known of some candidates.

    Args:
        documents: uint64, shape (num_docs,), ascending.
        ids: the users' ids; large_string, shape (num_docs,).
        values: what decides who stays; float64, shape (num_docs,).
        contents: what is compared: texts, uint8, or words, none twice in each document, uint64; shape (n,).
        offsets: where those of each document begin and, last, where all end; int64, shape (num_docs + 1,).
    """

    documents: npt.NDArray[np.uint64]
    ids: pa.Array
    values: npt.NDArray[np.float64]
    contents: Values
    offsets: npt.NDArray[np.int64]

    def to_table(self) -> pa.Table:
        """As a table, a row a document, in memory of its own."""
        used = pa.py_buffer(self.contents[: self.offsets[-1]].copy())
        if self.contents.dtype == np.uint8:
            contents = pa.Array.from_buffers(pa.large_binary(), len(self.ids), [None, pa.py_buffer(self.offsets), used])
        else:
            words = pa.Array.from_buffers(pa.uint64(), int(self.offsets[-1]), [None, used])
            contents = pa.LargeListArray.from_arrays(self.offsets, words)
        return pa.table({"document": self.documents, "id": self.ids, "value": self.values, "contents": contents})

    @classmethod
    def from_table(cls, table: pa.Table) -> Found:
        """The inverse of ``to_table``."""
        contents = single(table["contents"])
        values: Values
        if pa.types.is_large_binary(contents.type):
            _, begins, data = contents.buffers()
            offsets = np.frombuffer(begins, np.int64, contents.offset + len(contents) + 1)[contents.offset :]
            values = np.frombuffer(data or b"", np.uint8)
        else:
            offsets, values = contents.offsets.to_numpy(), contents.values.to_numpy()
        return cls(
            table["document"].to_numpy(),
            single(table["id"]),
            table["value"].to_numpy(),
            values[offsets[0] : offsets[-1]],
            (offsets - offsets[0]).astype(np.int64),
        )


class GatherRound(BarrierRound):
    """One task for each split that is better read once; none if there is one file of components only.

    Args:
        stage: the stage.
    """

    name = "gather"

    def __init__(self, stage: FuzzyDeduplication) -> None:
        self._stage = stage
        self.columns = stage.columns_to_verify()

    def plan(self, results: Sequence[ResultTask], directory: Path) -> Sequence[RoundTask]:
        """A task for each split that has candidates, and is decoded as a whole or has few for each file."""
        dealt = [result for result in results if "files" in result.files]
        if self.columns == ONLY_IDS or not dealt or dealt[0].counts["files"] < 2:
            return []
        result, files = dealt[0], dealt[0].counts["files"]
        candidates, components = (f"{result.directory}/{result.files[kind]}" for kind in ("documents", "files"))
        documents = read_arrow(candidates)["document"].to_numpy()
        tasks = []
        for split in read_documents_index(directory):
            first, last = np.searchsorted(documents, _bounds(split.ordinal))
            if last > first and (split.is_decoded_whole or last - first < _FEW * files):
                values = {"split": split.ordinal, "files": files}
                tasks.append(RoundTask(files=[candidates, components], values=values))
        return tasks

    def run(self, task: Task, directory: Path, reader: DocumentReader | None) -> ResultTask:
        """Decode a split, and deal what is compared of its candidates."""
        assert isinstance(task, RoundTask)
        assert reader is not None
        candidates, ordinal = read_arrow(task.files[0]), task.values["split"]
        first, last = (int(bound) for bound in np.searchsorted(candidates["document"].to_numpy(), _bounds(ordinal)))
        mine = candidates.slice(first, last - first)
        documents, file_of = mine["document"].to_numpy(), mine["file"].to_numpy()

        def deal(table: pa.Table) -> tuple[pa.Table, npt.NDArray[np.uint16]]:
            return table, file_of[np.searchsorted(documents, table["document"].to_numpy())]

        writer = BucketWriter(directory / "gathered.arrow", task.values["files"], _HELD_BYTES, deal)
        try:
            for found in read_candidates(self._stage, reader, documents):
                writer.add(found.to_table())
            writer.close()
        except BaseException:
            writer.abort()
            raise
        size = (directory / "gathered.arrow").stat().st_size
        counts = {"split": ordinal, "files": task.values["files"], "components": task.files[1], "bytes": size}
        return ResultTask(unit=0, directory=str(directory), files={"gathered": "gathered.arrow"}, counts=counts)

    def summary(self, results: Sequence[ResultTask]) -> dict[str, int]:
        """How much was written."""
        gathered = [result.counts["bytes"] for result in results if "gathered" in result.files]
        return {"gathered bytes": sum(gathered)} if gathered else {}


def write_gathered_index(path: Path, results: Sequence[ResultTask]) -> None:
    """List which splits were gathered, and where."""
    found = {result.counts["split"]: f"{result.directory}/{result.files['gathered']}" for result in results}
    path.write_text(json.dumps(found), encoding="utf-8")


def read_gathered_index(path: str) -> dict[int, str]:
    """The file of each split that was gathered."""
    return {int(split): name for split, name in json.loads(Path(path).read_text(encoding="utf-8")).items()}


def read_gathered(path: str, number: int) -> list[Found]:
    """What was gathered of one split for one file of components, in order."""
    return [Found.from_table(table) for table in read_buckets(path, number, number + 1) if table.num_rows]


def read_candidates(
    stage: FuzzyDeduplication,
    reader: DocumentReader,
    documents: npt.NDArray[np.uint64],
) -> Iterator[Found]:
    """Read some documents again, front to back.

    Args:
        stage: the stage.
        reader: reads the columns of ``stage.columns_to_verify``.
        documents: uint64, shape (num_docs,), ascending, all different.

    Yields:
        What was found in each batch; valid until the next one.
    """
    for batch in reader.read(documents):
        ids = own_strings(single(batch.columns["id"]))  # a batch is valid until the next one only
        values = keeper_values(stage.keep, batch)
        yield Found(document_ids(batch.split.ordinal, batch.rows), ids, values, *compared(stage, batch))


def compared(stage: FuzzyDeduplication, batch: DocumentBatch) -> tuple[Values, npt.NDArray[np.int64]]:
    """What is compared of each document of a batch, and where it begins."""
    from curator.kernels.sketch import sketch_texts

    if stage.verify == "none":
        return np.zeros(batch.num_items, np.uint64), np.arange(batch.num_items + 1)
    k = stage.signature_length
    if SIGNATURE in batch.columns.column_names and stage.verify == "signature":
        signatures = signature_values(single(batch.columns[SIGNATURE]), k)
    else:
        offsets, data = stage.normalised(single(batch.columns["text"]))
        if stage.verify == "exact":
            return data, offsets
        signatures, _ = sketch_texts(data, offsets, k, shingling=stage.shingling, scheme=stage.scheme)
    places = np.arange(k, dtype=np.uint64) << _POSITION_BITS
    return (signatures.astype(np.uint64) | places).reshape(-1), np.arange(len(signatures) + 1) * k


def _bounds(ordinal: int) -> npt.NDArray[np.uint64]:
    return np.array([ordinal << ROW_BITS, (ordinal + 1) << ROW_BITS], np.uint64)
