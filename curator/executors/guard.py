"""A stage between a source and a sink, under guard: one record that it cannot take costs one record.

Batches of documents flow in and out. When the stage raises, the same batch is given to it once more, to confirm; then
halves of its rows, down to single records. Those that it raises for alone leave as quarantine entries of their batch,
and the rest of the batch is processed as if they had never been there. A stage that cannot take more than a few
records of a split, or none of a batch, is a mistake and no matter of the data: it ends the run. So does one that
breaks the contract: documents go out that did not come in, or something goes out that is no batch of documents.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt
from loguru import logger

from curator.errors import CuratorError, StageError
from curator.executors.adapter import BaseStageAdapter
from curator.stages.base import ProcessingStage
from curator.tasks import DocumentBatch, FailedTask, NoneTask, Task, child_ids

MAX_STAGE_ERRORS = 16
"""Records of one split that stages may fail on; more of them are a mistake of a stage, not of the data."""

ENOUGH_TO_TELL = 4
"""Documents of one batch that have to fail, if all of them do, for the stage to be at fault."""

STAGE_ERROR = "stage_error"
_MAX_DETAIL = 500
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]{4,}\b")
_STORAGE_ERRORS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE))
_INSTEAD = (
    "between reading and writing a stage returns batches of documents, and takes documents out with batch.remove()"
)

OnEnter = Callable[[str, int, int], None]
"""Is told, before a stage gets some rows: its name, the first row, and one past the last."""


class RecordBudget:
    """How many records of a split the stages of a segment may still fail on."""

    def __init__(self) -> None:
        self.left = MAX_STAGE_ERRORS


class GaveUpError(Exception):
    """A stage returned a ``FailedTask``: it could not take the documents, and says why."""


class GuardedStageAdapter(BaseStageAdapter):
    """Adapts a stage that gets documents of a split.

    Args:
        stage: the stage.

    ``budget`` and ``on_enter`` are set for every unit by the worker.
    """

    def __init__(self, stage: ProcessingStage) -> None:
        super().__init__(stage)
        self.budget = RecordBudget()
        self.on_enter: OnEnter | None = None

    def stream(self, tasks: Sequence[Task]) -> Iterator[Task]:
        """All batches that come of some batches, less the records that the stage cannot take.

        Raises:
            StageError: the stage fails on too many records, or breaks its contract.
        """
        batches = [self._batch(task, self.stage.name) for task in tasks]
        if self.on_enter is not None and (filled := [batch.rows for batch in batches if batch.num_items]):
            self.on_enter(self.stage.name, int(filled[0][0]), int(filled[-1][-1]) + 1)
        with self.timed():
            given, made = self._process_guarded(batches)
            _carry_accounts(given, made)
            _check_rows(self.stage.name, given, made)
        for batch, name in zip(made, child_ids([batch.task_id for batch in batches], len(made)), strict=True):
            batch.task_id = name
            yield batch

    def _process_guarded(self, batches: list[DocumentBatch]) -> tuple[list[DocumentBatch], list[DocumentBatch]]:
        """What the stage was given at last, and what it made of it."""
        try:
            return batches, self._call(batches)
        except Exception as error:  # noqa: BLE001
            failure = self._about_data(error, batches)
        try:
            made = self._call(batches)
        except Exception as error:  # noqa: BLE001
            failure = self._about_data(error, batches)
        else:
            logger.warning("{} raised {!r}, but not when the batch was repeated", self.stage.name, failure)
            return batches, made
        num_documents = sum(batch.num_items for batch in batches)
        errors = self._failing(batches, 0, num_documents) if num_documents else {}
        if not errors or len(errors) == num_documents >= ENOUGH_TO_TELL:
            raise self._failure(failure, batches[0].task_id) from failure
        self.budget.left -= len(errors)
        for detail in errors.values():
            logger.warning("a record goes to the quarantine: {}", detail)
        rest = _without(batches, self.stage.name, errors)
        try:
            return rest, self._call(rest)
        except Exception as error:
            failure = self._about_data(error, batches)
            raise self._failure(
                failure, batches[0].task_id, "after the records that it cannot take were left out"
            ) from error

    def _failing(self, batches: Sequence[DocumentBatch], begin: int, end: int) -> dict[int, str]:
        """The documents of a range on which the stage fails alone, each with what it raised.

        Args:
            batches: the batches; their documents are counted through.
            begin: first document of a range on which the stage fails.
            end: one past its last document.
        """
        if end - begin == 1:
            error = self._error_on(batches, begin, end)
            return {} if error is None else {begin: self._detail(error)}
        middle = (begin + end) // 2
        found: dict[int, str] = {}
        for first, last in ((begin, middle), (middle, end)):
            if last - first == 1 or self._error_on(batches, first, last) is not None:
                found |= self._failing(batches, first, last)
            if len(found) > self.budget.left:
                error = self._error_on(batches, next(iter(found)), next(iter(found)) + 1) or GaveUpError()
                limit = f"it fails on more than {MAX_STAGE_ERRORS} records of one split, so the stage is at fault"
                raise self._failure(error, batches[0].task_id, limit) from error
        return found

    def _error_on(self, batches: Sequence[DocumentBatch], begin: int, end: int) -> Exception | None:
        """What the stage raises for some of the documents, ``None`` if it takes them."""
        pieces, first = [], 0
        for batch in batches:
            places = np.arange(first, first + batch.num_items)
            first += batch.num_items
            if (keep := (places >= begin) & (places < end)).any():
                pieces.append(batch.select(keep))
        try:
            self._call(pieces)
        except Exception as error:  # noqa: BLE001
            return self._about_data(error, batches)
        return None

    def _call(self, batches: Sequence[DocumentBatch]) -> list[DocumentBatch]:
        """Hand copies of some batches to the stage; whatever it raises is raised."""
        copies = [batch.copy() for batch in batches]
        if len(copies) == 1 and type(self.stage).process_batch is ProcessingStage.process_batch:
            result = self.stage.process(copies[0])
            made = [result] if result is None or isinstance(result, Task) else list(result)
        else:
            made = list(self.stage.process_batch(copies))
        if not made:
            raise _contract(self.stage.name, f"returned no batch at all; {_INSTEAD}")
        return [self._batch(task, self.stage.name) for task in self._checked(made, batches[0].task_id)]

    def _batch(self, task: Task, stage: str) -> DocumentBatch:
        if isinstance(task, DocumentBatch):
            return task
        if isinstance(task, FailedTask):
            raise GaveUpError(task.reason)
        what = "nothing" if isinstance(task, NoneTask) else f"a {type(task).__name__}"
        raise _contract(stage, f"returned {what} for a batch of documents; {_INSTEAD}")

    def _about_data(self, error: Exception, batches: Sequence[DocumentBatch]) -> Exception:
        """The error, if the data may be the reason for it; any other one is raised at once."""
        if isinstance(error, CuratorError | MemoryError):
            raise error
        if isinstance(error, OSError) and error.errno == errno.ENOMEM:
            raise MemoryError(str(error)) from error
        if isinstance(error, OSError) and error.errno in _STORAGE_ERRORS:
            raise self._failure(error, batches[0].task_id) from error
        return error

    def _detail(self, error: Exception) -> str:
        """What a stage raised, as one short line that is the same in every run."""
        text = _ADDRESS.sub("0x...", str(error))[: 2 * _MAX_DETAIL]
        escaped = "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
        kind = "" if isinstance(error, GaveUpError) else f"{type(error).__name__}: "
        detail = f"{self.stage.name}: {kind}{escaped}"
        return detail if len(detail) <= _MAX_DETAIL else f"{detail[: _MAX_DETAIL - 3]}..."


def guard_stages(adapters: Sequence[BaseStageAdapter], on_enter: OnEnter) -> None:
    """Give the stages of one segment what they share for one split."""
    budget = RecordBudget()
    for adapter in adapters:
        assert isinstance(adapter, GuardedStageAdapter)
        adapter.budget, adapter.on_enter = budget, on_enter


def _without(batches: Sequence[DocumentBatch], stage: str, errors: dict[int, str]) -> list[DocumentBatch]:
    """The batches with some of their documents in quarantine."""
    rest, first = [], 0
    for batch in batches:
        here = {place - first: detail for place, detail in errors.items() if first <= place < first + batch.num_items}
        first += batch.num_items
        drop = np.zeros(batch.num_items, np.bool_)
        drop[list(here)] = True
        details = [here[place] for place in sorted(here)]
        rest.append(batch.quarantine(drop, stage=stage, reasons=[STAGE_ERROR] * len(here), details=details))
    return rest


def _carry_accounts(given: Sequence[DocumentBatch], made: Sequence[DocumentBatch]) -> None:
    """Hand on what batches account for, unchanged by the stage: one by one, or all by the first of another number."""
    known = {id(entry) for batch in given for entry in (*batch.removed, *batch.quarantined)}
    for batch in made:
        batch.removed = [entry for entry in batch.removed if id(entry) not in known]
        batch.quarantined = [entry for entry in batch.quarantined if id(entry) not in known]
        known |= {id(entry) for entry in (*batch.removed, *batch.quarantined)}
        batch.num_read, batch.num_bytes, batch.extent = 0, 0, None
    for place, batch in enumerate(given):
        carrier = made[place if len(made) == len(given) else 0]
        carrier.removed = [*batch.removed, *carrier.removed]
        carrier.quarantined = [*batch.quarantined, *carrier.quarantined]
        carrier.num_read += batch.num_read
        carrier.num_bytes += batch.num_bytes
        if batch.extent is not None:
            first = batch.extent[0] if carrier.extent is None else carrier.extent[0]
            carrier.extent = (first, batch.extent[1])


def _check_rows(stage: str, given: Sequence[DocumentBatch], made: Sequence[DocumentBatch]) -> None:
    """No document comes out that did not go in, and none comes out twice; those that are missing are counted later."""
    for batch in made:
        num_documents = len(batch.rows)
        lengths = {"columns": batch.columns.num_rows if batch.columns.num_columns else num_documents}
        if batch.lines is not None:
            lengths["lines"] = len(batch.lines.starts)
        if batch.table is not None:
            lengths["rows of its table"] = batch.table.num_rows
        if wrong := [f"{length:,} {name}" for name, length in lengths.items() if length != num_documents]:
            raise _contract(stage, f"returned a batch of {num_documents:,} documents with {' and '.join(wrong)}")
        if batch.split != given[0].split:
            raise _contract(stage, f"returned documents of {batch.split.name} for documents of {given[0].split.name}")
    before, left = _rows(given), _rows(made)
    if np.array_equal(before, left):
        return
    known = {id(entry) for batch in given for entry in (*batch.removed, *batch.quarantined)}
    gone = [entry.rows for batch in made for entry in batch.removed if id(entry) not in known]
    gone += [np.array([entry.row]) for batch in made for entry in batch.quarantined if id(entry) not in known]
    if (np.diff(left) <= 0).any():
        raise _contract(stage, "returned documents in another order than they came, or twice")
    after = np.sort(np.concatenate([left, *gone]))
    if np.array_equal(after, before):
        return
    if len(strange := np.setdiff1d(after, before)):
        raise _contract(stage, f"returned or removed row {int(strange[0]):,}, which it was not given")
    if len(twice := after[1:][np.diff(after) == 0]):
        raise _contract(stage, f"returned or removed row {int(twice[0]):,} twice")


def _rows(batches: Sequence[DocumentBatch]) -> npt.NDArray[np.int64]:
    return np.concatenate([np.empty(0, np.int64), *(batch.rows for batch in batches)])


def _contract(stage: str, what: str) -> StageError:
    return StageError(f"stage_contract: stage {stage!r} {what}.", stage=stage)
