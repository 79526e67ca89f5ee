"""The stage contract: a pure function of its task, and the three roles that an executor treats in their own way.

A plain stage turns tasks into tasks. A source plans splits and reads them. A shuffle stage asks for equal keys to
meet: its ``process`` and ``keys`` run in the segment before the barrier, its ``decide`` behind it. A sink gathers the
tasks of one unit of work into files. A constructor never touches the file system, the network or a device.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pyarrow as pa

from curator.errors import StageError
from curator.stages.resources import Resources
from curator.tasks import DocumentBatch, ResultTask, Split, SplitTask, Task

if TYPE_CHECKING:
    from curator.stages.barrier.deciders import Decider, InOrder
    from curator.stages.barrier.rounds import BarrierRound


_NO_SETTINGS = frozenset(("name", "resources", "runtime_env", "batch_size", "keys_are_independent"))


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """The node that ``setup_on_node`` runs on."""

    node_id: str = ""


@dataclass(frozen=True, slots=True)
class WorkerMetadata:
    """The worker that ``setup`` runs in; ``allocation`` is what its backend gave it."""

    worker_id: str = ""
    allocation: Any = None


class ProcessingStage(ABC):
    """Turns tasks into tasks: same task, same result, no state that matters between calls.

    ``batch_size`` tasks are handed to ``process_batch`` at a time. ``runtime_env`` is the strongest layer of the
    environment of its workers. Both, and ``resources`` and ``name``, may be set on the class or changed with
    ``with_``.

    Example:
        >>> from dataclasses import dataclass
        >>> class Double(ProcessingStage):
        ...     name = "double"
        ...     def process(self, task):
        ...         return [task, task]
        >>> Double().with_(batch_size=4).batch_size
        4
    """

    name: str = ""
    resources: Resources = Resources()
    batch_size: int = 1
    runtime_env: Mapping[str, Any] | None = None

    def inputs(self) -> tuple[str, ...]:
        """Columns of a document batch that this stage reads."""
        return ()

    def outputs(self) -> tuple[str, ...]:
        """Columns that it adds or changes."""
        return ()

    def required_columns(self) -> tuple[str, ...]:
        """Those of ``inputs`` without which it would do nothing of use; an input that seems to lack one is refused."""
        return ()

    def setup_on_node(self, node_info: NodeInfo, worker_metadata: WorkerMetadata) -> None:
        """Prepare a node, once, before any worker starts there: downloads, compiled kernels."""

    def setup(self, worker_metadata: WorkerMetadata) -> None:
        """Prepare one worker: load what ``process`` needs."""

    @abstractmethod
    def process(self, task: Any) -> Task | list[Task] | Iterator[Task] | None:  # noqa: ANN401
        """The work: one task in; one, many, lazily many, or none out."""

    def process_batch(self, tasks: Sequence[Task]) -> list[Task | None]:
        """The work on several tasks; stages that gain from it override this one."""
        results: list[Task | None] = []
        for task in tasks:
            made = self.process(task)
            if made is None or isinstance(made, Task):
                results.append(made)
            else:
                results.extend(made)
        return results

    def teardown(self) -> None:
        """Release what ``setup`` took."""

    def usage(self) -> dict[str, dict[str, float]]:
        """What it used outside its worker since this was last asked: by the name of what was used, sums by measure."""
        return {}

    def num_workers(self) -> int | None:
        """Workers that this stage wants; ``None`` leaves it to the executor."""
        return None

    def ray_stage_spec(self) -> dict[str, Any]:
        """Hints for Ray executors, by the keys of ``RayStageSpecKeys``."""
        return {}

    def settings(self) -> dict[str, Any]:
        """What decides the result: the part of the configuration that a fingerprint covers.

        All attributes whose names do not begin with ``_``. Their values are those of JSON, or paths, sets, dataclasses,
        functions and classes; a stage that holds something else overrides this.
        """
        return {
            key: value
            for key, value in sorted(vars(self).items())
            if not key.startswith("_") and key not in _NO_SETTINGS
        }

    def notes(self) -> list[str]:
        """What the plan of a run should say about this stage, a line each."""
        return []

    def with_(self, **changes: Any) -> Self:  # noqa: ANN401
        """A copy with some attributes changed; the original stays as it was.

        Raises:
            AttributeError: the stage has no such attribute.
        """
        changed = copy.copy(self)
        for key, value in changes.items():
            if not hasattr(self, key):
                raise AttributeError(f"{type(self).__name__} has no attribute {key!r} to change.")
            setattr(changed, key, value)
        return changed

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """What a source will read: its splits in order, what it passed over, and of a shard a digest of the whole input."""

    splits: list[Split]
    ignored: list[str]
    whole_input: str = ""


class SourceStage(ProcessingStage):
    """Plans the splits of an input once, and reads one split at a time, lazily."""

    @abstractmethod
    def plan_splits(self) -> SplitPlan:
        """List the input and cut it; reads metadata only, writes nothing, and does not depend on the cluster."""

    def materialise(self, directory: Path) -> SourceStage:
        """A source whose input exists as files, made below ``directory`` if it has to be made."""
        del directory
        return self

    def doubts(self, splits: Sequence[Split], columns: Sequence[str]) -> list[str]:
        """What looks like a mistake but need not be one, a sentence each, such as a column that nothing seems to have.

        Args:
            splits: the planned splits.
            columns: columns that stages ask for by name.
        """
        return []

    @abstractmethod
    def for_segment(self, columns: Sequence[str], *, whole_rows: bool) -> SourceStage:
        """The same source, reading only ``columns``, and whole rows only for a segment that writes them."""


class ShuffleStage(ProcessingStage):
    """A barrier: rows of equal key meet, and what is decided about them flows on.

    Behind the barrier there is one round, ``decide`` on each partition of the keys, unless ``rounds`` says more. A
    stage with ``num_bands`` bands sends several keys of each document, and keys meet only those of their band; the
    first round takes ``bands_per_iteration`` bands at a time (``None``: all), so that it holds no more than those.
    """

    partition_bytes: int = 256 << 20
    num_bands: int = 1
    bands_per_iteration: int | None = None
    keys_are_independent: bool = False
    """Whether ``process`` and ``keys`` are pure functions of each single document, and ``process`` takes none out: then
    keys may be made before an earlier barrier has decided, in the same pass, and those of what it removed are left out.
    """

    @abstractmethod
    def keys(self, batch: DocumentBatch) -> pa.Table | Sequence[pa.Table]:
        """The small table to shuffle: the key (``high`` and ``low``), ``document``, and what ``decide`` needs.

        Keys are uint64 and evenly spread in their highest bits. With bands, a column ``band`` (uint16 or uint32) says
        which one a row belongs to; or there is one table for each band, which then gets that column (uint16).
        """

    def decide(self, keys: pa.Table) -> pa.Table:
        """Documents to remove, given every row of some keys; columns as ``REMOVALS`` says, one row a document.

        Raises:
            NotImplementedError: the stage has neither this nor ``rounds``.
        """
        raise NotImplementedError(f"{self.name}: decide() or rounds() must say what happens behind the barrier")

    def rounds(self) -> Sequence[BarrierRound]:
        """The rounds behind the barrier; the first one takes the keys, the last one decides."""
        from curator.stages.barrier.rounds import DecideRound

        return (DecideRound(self),)

    def key_settings(self) -> dict[str, Any]:
        """Those of ``settings`` that decide the keys: runs that agree in them can share the work of making keys."""
        return self.settings()

    def resolve(self, source: SourceStage, before: Sequence[ProcessingStage], splits: Sequence[Split]) -> Resolved:
        """What this stage needs to know of files, once the input is planned; reads metadata only.

        Args:
            source: the source of the run.
            before: the stages in front of this one, the source first, as they were given.
            splits: the splits of the run.

        Returns:
            The source that the run uses, and this stage, both changed or as they are.

        Raises:
            ConfigError: the files do not fit.
        """
        del before, splits
        return Resolved(source, self)

    @property
    def earlier_splits(self) -> Sequence[Split]:
        """Splits whose documents are compared but never written; their ordinals begin at ``EARLIER``."""
        return ()

    def earlier_inputs(self) -> tuple[str, ...]:
        """Columns of those documents that this stage reads."""
        return self.inputs()

    def in_order(self, splits: Sequence[Split]) -> InOrder | None:
        """What its ``decider`` takes; ``None`` if only the barrier can decide, or does it better.

        Args:
            splits: the splits of the run.
        """
        return None

    def decider(self) -> Decider:
        """Decides about the documents as they pass in input order, with the result that the rounds would have.

        Raises:
            NotImplementedError: only the barrier can decide.
        """
        raise NotImplementedError(f"{self.name}: only its barrier can decide")

    @property
    def files_to_keep(self) -> FilesToKeep | None:
        """What the segment before the barrier leaves for good beside the output, if anything."""
        return None

    def get_band_iterations(self) -> list[tuple[int, int]]:
        """The ranges of bands that the first round takes one after the other.

        Example:
            >>> class Pairs(ShuffleStage):
            ...     num_bands, bands_per_iteration = 5, 2
            ...     def process(self, task): ...
            ...     def keys(self, batch): ...
            >>> Pairs().get_band_iterations()
            [(0, 2), (2, 4), (4, 5)]
        """
        step = self.bands_per_iteration or self.num_bands
        return [(first, min(first + step, self.num_bands)) for first in range(0, self.num_bands, step)]


@dataclass(frozen=True, slots=True)
class Resolved:
    """A source and a shuffle stage that know the files they work with."""

    source: SourceStage
    stage: ShuffleStage


class KeptFileWriter(ABC):
    """Writes one file of those that are kept, for one split."""

    @abstractmethod
    def add(self, batch: DocumentBatch) -> None:
        """Take the documents of a batch at the end of the segment."""

    @abstractmethod
    def close(self) -> dict[str, Any]:
        """Finish the file and say what it is: ``size_bytes``, ``digest`` and ``rows``."""

    @abstractmethod
    def abort(self) -> None:
        """Let go of the file after a failure."""


class FilesToKeep(ABC):
    """A folder that a run leaves beside its output: a file of each split, and a header; whole or not at all."""

    path: str

    @abstractmethod
    def open(self, split: Split, path: Path) -> KeptFileWriter:
        """Start the file of a split, on a worker."""

    @abstractmethod
    def finish(self, folder: Path, run: str, splits: Sequence[Mapping[str, Any]]) -> None:
        """Write the header, on the driver.

        Args:
            folder: where the files lie.
            run: fingerprint of the run.
            splits: by split: its plan (``split``), ``rows``, ``read``, ``bytes``, ``extent``, ``stages``, ``files``.
        """


REMOVALS = pa.schema(
    [
        ("document", pa.uint64()),
        ("id", pa.string()),
        ("reason", pa.string()),
        ("key", pa.string()),
        ("score", pa.float64()),
        ("kept", pa.uint64()),
        ("kept_id", pa.string()),
        ("kept_in", pa.string()),
    ]
)
"""What a shuffle decides: the document, why, by which key or score, and the kept document it lost to, which is one of
the run unless ``kept_in`` names the corpus that ``kept`` is an id of."""


class SinkWriter(ABC):
    """Gathers the tasks of one unit of work into files of a private directory."""

    @abstractmethod
    def write(self, task: Task) -> None:
        """Take one task; nothing of it may be referred to afterwards."""

    @abstractmethod
    def close(self) -> ResultTask:
        """Finish the files and say what they are."""

    @abstractmethod
    def abort(self) -> None:
        """Let go of open files after a failure; what was written is thrown away by the caller."""


class SinkStage(ProcessingStage):
    """The end of a pipeline: one set of files per unit of work."""

    whole_rows: bool = True

    @abstractmethod
    def open(self, task: SplitTask, unit: int, directory: Path) -> SinkWriter:
        """Start gathering what comes of ``task`` in ``directory``, which is private to this attempt."""

    def process(self, task: Any) -> Task | list[Task] | Iterator[Task] | None:  # noqa: ANN401
        """Refuses: a sink is fed through its writer."""
        raise StageError(f"{self.name}: a sink takes tasks through open().", stage=self.name, task_id=task.task_id)
