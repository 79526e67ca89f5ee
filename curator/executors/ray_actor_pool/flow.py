"""The flow of units through a chain of segments: what is ready, what has to be made again, and when all is done.

Answers flow in, ready units flow out. A task becomes a unit of the next segment as soon as it exists; where a segment
takes batches, they are cut from the ordered stream, as far as it is complete, so that they are the same in every run.
Refused: a unit that makes another number of tasks when it is done again.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence

from curator.errors import ExecutorError
from curator.executors.ray_actor_pool.units import Made, Payload, Piece, Place, ReadyQueue, Unit, UnitState
from curator.tasks import FailedTask, Task


class _Segment:
    """The units of one segment."""

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.ready = ReadyQueue()
        self.open: dict[Unit, None] = {}
        self.created = self.delivered = 0
        self.undelivered: list[Place] = []
        self.delivered_places: set[Place] = set()
        self.arrived: list[tuple[Place, Unit]] = []
        self.stream: list[Piece] = []
        self.buffered_bytes = 0
        self.num_waiting = 0

    def first_undelivered(self) -> Place | None:
        """The least place of a unit that has not been done yet."""
        while self.undelivered and self.undelivered[0] in self.delivered_places:
            self.delivered_places.discard(heapq.heappop(self.undelivered))
        return self.undelivered[0] if self.undelivered else None


class Flow:
    """Every unit of a chain.

    Args:
        batch_sizes: tasks in a unit of each segment.
        inputs: the units of the first segment.

    Example:
        >>> flow = Flow([1], [[], []])
        >>> len(flow.ready(0)), flow.is_done
        (2, False)
    """

    def __init__(self, batch_sizes: Sequence[int], inputs: Iterable[Sequence[Task]]) -> None:
        self.segments = [_Segment(size) for size in batch_sizes]
        self.failed: list[FailedTask] = []
        for number, tasks in enumerate(inputs):
            self._add(Unit(0, number, (number,), list(tasks)))

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do in any segment."""
        return self.is_exhausted(len(self.segments) - 1)

    def is_exhausted(self, segment: int) -> bool:
        """Whether a segment and all before it will never have work again, unless something is lost."""
        return not any(each.open or each.stream or each.arrived for each in self.segments[: segment + 1])

    def ready(self, segment: int) -> ReadyQueue:
        """The units of a segment that wait for a worker."""
        return self.segments[segment].ready

    def num_active(self, segment: int) -> int:
        """Units of a segment that are not done, without those whose inputs are being made again."""
        return len(self.segments[segment].open) - self.segments[segment].num_waiting

    def buffered_bytes(self, segment: int) -> int:
        """Bytes that wait in front of a segment."""
        return self.segments[segment].buffered_bytes

    def open_units(self) -> Iterator[Unit]:
        """Every unit that is not done."""
        for segment in self.segments:
            yield from segment.open

    def finish(self, unit: Unit, made: Made | None, ids: Sequence[str], failed: Sequence[FailedTask]) -> None:
        """A unit is done; its tasks go to the next segment.

        Args:
            unit: the unit; it must not be done already.
            made: where its tasks are; ``None`` for what leaves the chain.
            ids: their ids.
            failed: tasks that its stages gave up.

        Raises:
            ExecutorError: it was done before and made another number of tasks.
        """
        segment = self._withdraw(unit)
        unit.state = UnitState.DONE
        segment.open.pop(unit, None)
        for piece in unit.pieces():
            self._consumed(piece, piece.source.made)
        if unit.delivered:
            before = unit.made
            if len(ids) != len(unit.ids):
                raise ExecutorError(
                    f"a unit made {len(unit.ids)} tasks, and {len(ids)} when it was done again after a loss: a stage "
                    "must make the same of the same task."
                )
            unit.made = made
            self._revive(unit, before)
            return
        unit.made, unit.ids, unit.delivered = made, ids, True
        segment.delivered += 1
        segment.delivered_places.add(unit.place)
        self.failed += failed
        if unit.segment + 1 < len(self.segments):
            self._hand_on(unit)

    def requeue(self, unit: Unit) -> None:
        """Queue a unit once more, or let it wait until its inputs have been made again."""
        segment = self._withdraw(unit)
        missing = unit.missing()
        if not missing:
            segment.ready.push(unit)
            return
        unit.state = UnitState.WAITING
        segment.num_waiting += 1
        for source in missing:
            if source.state is UnitState.DONE:
                self._open_again(source)

    def hold(self, unit: Unit) -> None:
        """Keep a unit from the queue until it is queued again."""
        self._withdraw(unit)
        unit.state = UnitState.HELD

    def lose(self, segment: int, payload: Payload) -> None:
        """A payload in front of a segment is no more; the units that need it are to be queued again."""
        payload.reference = None
        self.segments[segment].buffered_bytes -= payload.size_bytes
        payload.size_bytes = 0

    def lose_node(self, node_id: str) -> None:
        """What was made on a node is no more: whoever needs it waits until it has been made again."""
        for number, segment in enumerate(self.segments):
            for piece in self._pieces_before(segment):
                made = piece.source.made
                if made is not None and made.payload_of(piece.index).node_id == node_id:
                    self.lose(number, made.payload_of(piece.index))
        for unit in list(self.open_units()):
            if unit.state in (UnitState.READY, UnitState.WAITING) and unit.missing():
                self.requeue(unit)

    @staticmethod
    def _pieces_before(segment: _Segment) -> Iterator[Piece]:
        """Every task in front of a segment, those that are in no unit yet included."""
        for unit in segment.open:
            yield from unit.pieces()
        yield from segment.stream
        for _, source in segment.arrived:
            yield from (Piece(source, index) for index in range(len(source.ids)))

    def _withdraw(self, unit: Unit) -> _Segment:
        """Take a unit out of whatever it waits in; the caller says what becomes of it."""
        segment = self.segments[unit.segment]
        segment.ready.discard(unit)
        segment.num_waiting -= unit.state is UnitState.WAITING
        return segment

    def _add(self, unit: Unit) -> None:
        segment = self.segments[unit.segment]
        segment.created += 1
        segment.open[unit] = None
        heapq.heappush(segment.undelivered, unit.place)
        self.requeue(unit)

    def _open_again(self, unit: Unit) -> None:
        self.segments[unit.segment].open[unit] = None
        unit.alone = False
        for piece in unit.pieces():
            self._needed(piece)
        self.requeue(unit)

    def _hand_on(self, unit: Unit) -> None:
        """Make units of the next segment of what a unit made."""
        following = self.segments[unit.segment + 1]
        for index in range(len(unit.ids)):
            self._needed(Piece(unit, index))
        if following.batch_size == 1:
            for index in range(len(unit.ids)):
                piece = Piece(unit, index)
                self._add(Unit(unit.segment + 1, following.created, piece.place, [piece]))
        else:
            heapq.heappush(following.arrived, (unit.place, unit))
        self._cut()

    def _cut(self) -> None:
        """Cut batches as far as the stream in front of them is complete."""
        complete: Place | None = None
        for number, segment in enumerate(self.segments):
            if number and segment.batch_size > 1:
                while segment.arrived and (complete is None or segment.arrived[0][0] < complete):
                    source = heapq.heappop(segment.arrived)[1]
                    segment.stream += [Piece(source, index) for index in range(len(source.ids))]
                size = segment.batch_size
                while len(segment.stream) >= size or (segment.stream and complete is None):
                    batch, segment.stream = segment.stream[:size], segment.stream[size:]
                    self._add(Unit(number, segment.created, batch[0].place, batch))
            least = [complete, segment.first_undelivered()]
            least += [segment.stream[0].place] if segment.stream else []
            complete = min((place for place in least if place is not None), default=None)

    def _needed(self, piece: Piece) -> None:
        """One unit more needs a task."""
        if (made := piece.source.made) is None:
            return
        payload = made.payload_of(piece.index)
        if payload.waiting == 0:
            self.segments[piece.source.segment + 1].buffered_bytes += payload.size_bytes
        payload.waiting += 1

    def _consumed(self, piece: Piece, made: Made | None) -> None:
        """One unit less needs a task; a payload that nobody needs is let go."""
        if made is None:
            return
        payload = made.payload_of(piece.index)
        payload.waiting -= 1
        if payload.waiting == 0:
            self.lose(piece.source.segment + 1, payload)

    def _revive(self, unit: Unit, before: Made | None) -> None:
        """A lost result is there again: count who needs it, and queue whoever waited for it."""
        if unit.segment + 1 == len(self.segments):
            return
        following = self.segments[unit.segment + 1]
        needed = [piece for piece in self._pieces_before(following) if piece.source is unit]
        for piece in needed:
            self._consumed(piece, before)
            self._needed(piece)
        for other in list(following.open):
            if other.state is UnitState.WAITING and any(piece.source is unit for piece in other.pieces()):
                self.requeue(other)
