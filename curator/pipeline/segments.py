"""Cutting a list of stages into segments, which stream, and barriers, which need all of their input first.

Stages in, steps out. A segment is fused: one worker pushes a task through all of its stages before it takes the next.
Between a source and a sink only a barrier ends a segment, since text never leaves its worker; behind the barrier, the
source reads again what is left, and only the columns that the stages there need. Barriers that follow each other are
joined where the later one allows it (``keys_are_independent``): the keys of all are made in one pass over the input,
and what an earlier one removed is left out when a later one takes its keys. Stages without a source are cut where
one worker cannot serve both: other resources, environment or number of workers, a batch that is gathered from several
tasks, or the tasks of a stage that fans out. Segments that follow each other without a barrier are a chain: the second
starts as soon as the first has made something.

Tables of plain stages are shuffled by a ``TableShuffle``, which ends one segment and begins the next: the worker that
made a table also writes its rows, dealt into buckets, to a file of the attempt (*insert*), and the worker that goes on
with a partition reads it (*extract*). So a chain that ends in an insert yields one small ``ResultTask`` a unit, a chain
that begins with an extract takes one ``ExtractTask`` a unit, and both are run like all others, by
``StepWorker.run(unit, tasks)``; rows never pass the driver.

Where one worker gets all splits in their order, and the first of equal documents stays, there is nothing to wait for:
the two segments and the barriers between them are then one step (see ``pipeline/one_pass.py``).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from curator.pipeline.columns import source_columns
from curator.pipeline.order import check_order
from curator.stages.base import ProcessingStage, ShuffleStage, SinkStage, SourceStage
from curator.stages.collective import CollectiveStage
from curator.stages.resources import Resources
from curator.stages.shuffle import TableShuffle
from curator.tasks import Split

if TYPE_CHECKING:
    from curator.stages.barrier.rounds import BarrierRound


@dataclass(frozen=True, slots=True)
class Segment:
    """Stages that one worker runs one after the other on each unit of work.

    Args:
        ordinal: position among the steps.
        stages: the stages, a source first if there is one.
        shuffles: the shuffle stages whose keys this segment collects at its end; their barriers follow, in this order.
        sink: the sink that this segment ends in.
        extract: the table shuffle whose partitions this segment begins with: its units are ``ExtractTask``s.
        insert: the table shuffle that this segment hands its tables to: its units become ``ResultTask``s.
        earlier: splits that are read instead of those of the run: documents that its own are only compared with.
        number: position among the segments alone; names of files have it, since it does not depend on rounds and bands.
        scratch: directory for the attempts of a segment that inserts; set by the executor before anything runs.
    """

    ordinal: int
    stages: tuple[ProcessingStage, ...]
    shuffles: tuple[ShuffleStage, ...] = ()
    sink: SinkStage | None = None
    extract: TableShuffle | None = None
    insert: TableShuffle | None = None
    earlier: tuple[Split, ...] = ()
    number: int = 0
    scratch: str | None = None

    @property
    def all_stages(self) -> tuple[ProcessingStage, ...]:
        """Every stage that a worker of this segment holds."""
        parts = (self.extract, *self.stages, *self.shuffles, self.sink, self.insert)
        return tuple(stage for stage in parts if stage is not None)

    @property
    def name(self) -> str:
        """The stages' names, as they are run."""
        names = [stage.name for stage in self.all_stages]
        if self.extract is not None:
            names[0] += " (extract)"
        if self.insert is not None:
            names[-1] += " (insert)"
        if self.earlier:
            names[-1] += " (earlier)"
        return " · ".join(names)

    @property
    def resources(self) -> Resources:
        """What one worker needs."""
        needed = self.all_stages[0].resources
        for stage in self.all_stages[1:]:
            needed = needed.fused(stage.resources)
        return needed

    @property
    def batch_size(self) -> int:
        """Tasks in one unit of work."""
        return max(1, self.all_stages[0].batch_size or 1)


@dataclass(frozen=True, slots=True)
class Barrier:
    """One round behind a shuffle; the first round is run once for each iteration of its bands.

    Args:
        ordinal: position among the steps.
        shuffle: the stage.
        round: which of its rounds, 0-based.
        iteration: which range of bands the first round takes.
        source: the source, for a round that reads documents again.
        position: which of the shuffles of the segment before it.
    """

    ordinal: int
    shuffle: ShuffleStage
    round: int = 0
    iteration: int = 0
    source: SourceStage | None = None
    position: int = 0

    @property
    def work(self) -> BarrierRound:
        """What is done in this round."""
        return self.shuffle.rounds()[self.round]

    @property
    def is_last(self) -> bool:
        """Whether what this round leaves are the removals."""
        return self.round == len(self.shuffle.rounds()) - 1

    @property
    def all_stages(self) -> tuple[ProcessingStage, ...]:
        """The shuffle stage, and the source if it is needed."""
        return (self.shuffle,) if self.source is None else (self.shuffle, self.source)

    @property
    def name(self) -> str:
        """The stage's name, marked as the part behind the barrier, with the round if there are several."""
        if self.is_last and not self.round:
            return f"{self.shuffle.name} (shuffle)"
        iterations = self.shuffle.get_band_iterations()
        begin, end = iterations[self.iteration]
        bands = f", bands {begin} to {end - 1}" if not self.round and len(iterations) > 1 else ""
        return f"{self.shuffle.name} ({self.work.name}{bands})"

    @property
    def resources(self) -> Resources:
        """What one worker needs."""
        return self.shuffle.resources


@dataclass(frozen=True, slots=True)
class Collective:
    """A stage whose workers are the ranks of one group: it needs all tasks, and divides them evenly.

    Args:
        ordinal: position among the steps.
        stage: the stage.
    """

    ordinal: int
    stage: CollectiveStage

    @property
    def all_stages(self) -> tuple[ProcessingStage, ...]:
        """The one stage."""
        return (self.stage,)

    @property
    def name(self) -> str:
        """The stage's name, marked as a group of ranks."""
        return f"{self.stage.name} (collective)"

    @property
    def resources(self) -> Resources:
        """What one rank needs."""
        return self.stage.resources


@dataclass(frozen=True, slots=True)
class OnePass:
    """Two segments and the barriers between them, run as one: who stays is decided as the documents pass.

    It takes one worker that gets the splits in their order, and stages that keep the first of equal documents. What
    it leaves is what the two segments would have left, file by file.

    Args:
        ordinal: position among the steps.
        source: reads what both segments need.
        first: the segment before the barriers.
        barriers: what is decided on the way; their rounds are not run.
        second: the segment behind them, which ends in a sink.
        num_splits: splits that there are.
        most_bytes: bytes that the deciders may hold; beyond them, the barriers are needed after all.
    """

    ordinal: int
    source: SourceStage
    first: Segment
    barriers: tuple[Barrier, ...]
    second: Segment
    num_splits: int
    most_bytes: int

    @property
    def all_stages(self) -> tuple[ProcessingStage, ...]:
        """Every stage that the worker holds."""
        return (self.source, *self.first.all_stages[1:], *self.second.all_stages[1:])

    @property
    def shuffles(self) -> tuple[ShuffleStage, ...]:
        """The stages that decide."""
        return self.first.shuffles

    @property
    def name(self) -> str:
        """The stages' names, as they are run."""
        return " · ".join(stage.name for stage in self.all_stages)

    @property
    def resources(self) -> Resources:
        """What the worker needs."""
        needed = self.source.resources
        for stage in self.all_stages[1:]:
            needed = needed.fused(stage.resources)
        return needed


Step = Segment | Barrier | Collective | OnePass


def build_steps(stages: Sequence[ProcessingStage], *, fuse: bool = True) -> list[Step]:
    """Segments and barriers in running order.

    Args:
        stages: the stages of a pipeline; a source, if there is one, comes first, and a sink last.
        fuse: ``False`` gives every stage of a pipeline without a source a segment of its own; results are the same.

    Raises:
        ConfigError: the order cannot be run; every reason is in the message.

    Example:
        >>> from curator.stages.io.read import Read
        >>> from curator.stages.io.write import Write
        >>> from curator.stages.dedup.exact import ExactDeduplication
        >>> [step.name for step in build_steps([Read("a"), ExactDeduplication(), Write("b")])]
        ['read · exact', 'exact (shuffle)', 'read · write']
    """
    check_order(stages)
    source = stages[0] if stages and isinstance(stages[0], SourceStage) else None
    steps: list[Step] = []
    current: list[ProcessingStage] = []
    extract: TableShuffle | None = None
    joined: list[ShuffleStage] = []
    for position, stage in enumerate(stages):
        if isinstance(stage, ShuffleStage):
            joined.append(stage)
            if _joins(stage, stages[position + 1 : position + 2]):
                continue
            steps.append(_segment(len(steps), current, shuffles=joined))
            for each in joined:
                steps += _earlier(len(steps), each, source)
            for number, each in enumerate(joined):
                steps += _rounds(len(steps), each, source, number)
            current, joined = [source] if source is not None else [], []
            continue
        if isinstance(stage, SinkStage):
            steps.append(_segment(len(steps), current, sink=stage))
            current = []
            continue
        before = [*([extract] if extract is not None else []), *current]
        alone = isinstance(stage, CollectiveStage)
        if source is None and before and (alone or not (fuse and _can_fuse(before, stage))):
            steps.append(_segment(len(steps), current, extract=extract))
            current, extract = [], None
        if isinstance(stage, CollectiveStage):
            steps.append(Collective(len(steps), stage))
        elif isinstance(stage, TableShuffle):
            steps.append(_segment(len(steps), current, extract=extract, insert=stage))
            current, extract = [], stage
        else:
            current.append(stage)
    if extract is not None or (current and current != [source]) or (current and not steps):
        steps.append(_segment(len(steps), current, extract=extract))
    numbers = iter(range(len(steps)))
    return [
        replace(each, number=next(numbers)) if isinstance(each, Segment) and not each.earlier else each
        for each in steps
    ]


def _earlier(ordinal: int, stage: ShuffleStage, source: SourceStage | None) -> list[Step]:
    """The segment that makes keys of the documents that a stage compares with, if there are any."""
    if not stage.earlier_splits or source is None:
        return []
    reader = source.for_segment(stage.earlier_inputs(), whole_rows=False)
    return [Segment(ordinal, (reader,), (stage,), earlier=tuple(stage.earlier_splits))]


def _joins(stage: ShuffleStage, following: Sequence[ProcessingStage]) -> bool:
    """Whether the stage that follows makes its keys in the same pass: it says so, and needs no other workers."""
    return any(
        isinstance(later, ShuffleStage) and later.keys_are_independent and _worker_shape(later) == _worker_shape(stage)
        for later in following
    )


def _rounds(first: int, stage: ShuffleStage, source: SourceStage | None, position: int) -> list[Step]:
    turns = range(len(stage.get_band_iterations()))
    steps: list[Step] = [Barrier(first + number, stage, 0, number, position=position) for number in turns]
    for number, work in enumerate(stage.rounds()[1:], start=1):
        reader = source.for_segment(work.columns, whole_rows=False) if source is not None and work.columns else None
        steps.append(Barrier(first + len(steps), stage, number, source=reader, position=position))
    return steps


def chains(steps: Sequence[Step]) -> Iterator[list[Step]]:
    """Runs of segments that stream into one another; a barrier stands alone, and an insert ends a run.

    Example:
        >>> [len(chain) for chain in chains([])]
        []
    """
    chain: list[Step] = []
    for step in steps:
        last = chain[-1] if chain else None
        if last is not None and not (isinstance(step, Segment) and isinstance(last, Segment) and last.insert is None):
            yield chain
            chain = []
        chain.append(step)
    if chain:
        yield chain


def _can_fuse(before: Sequence[ProcessingStage], stage: ProcessingStage) -> bool:
    """Whether one worker may push the tasks of ``before`` on to ``stage`` without anybody noticing."""
    if (stage.batch_size or 1) != 1:
        return False
    if before[-1].ray_stage_spec().get("is_fanout_stage") and not isinstance(stage, TableShuffle):
        return False
    together = [*before, stage]
    owners = [other for other in together if not isinstance(other, TableShuffle)] or together
    guests = [other for other in together if isinstance(other, TableShuffle) and other not in owners]
    shapes = [_worker_shape(owner) for owner in owners]
    return all(shape == shapes[0] for shape in shapes) and all(_fits_into(guest, owners[0]) for guest in guests)


def _fits_into(shuffle: TableShuffle, owner: ProcessingStage) -> bool:
    """Whether a worker of another stage can insert or extract on the way: it has what that takes."""
    fused = owner.resources.fused(shuffle.resources) if owner.resources.can_fuse(shuffle.resources) else None
    return fused == owner.resources and not any(_worker_shape(shuffle)[1:])


def _worker_shape(stage: ProcessingStage) -> tuple[Resources, object, int | None, object]:
    options = stage.ray_stage_spec().get("ray_remote_args")
    return stage.resources, stage.runtime_env or None, stage.num_workers(), options or None


def _segment(
    ordinal: int,
    stages: Sequence[ProcessingStage],
    *,
    shuffles: Sequence[ShuffleStage] = (),
    sink: SinkStage | None = None,
    extract: TableShuffle | None = None,
    insert: TableShuffle | None = None,
) -> Segment:
    ends: list[ProcessingStage] = [*shuffles, *([sink] if sink is not None else [])]
    if stages and isinstance(stages[0], SourceStage):
        columns = source_columns((*stages[1:], *ends))
        source = stages[0].for_segment(columns, whole_rows=sink is not None and sink.whole_rows)
        stages = [source, *stages[1:]]
    return Segment(ordinal, tuple(stages), tuple(shuffles), sink, extract, insert)
