"""The units of work of a chain of segments: where their tasks are, and which unit of the next segment takes them.

A unit is a place in the order and its inputs: tasks that the driver was given, or pieces of what units of the segment
before it made. What a unit makes lies in payloads, somewhere on the cluster; only references to them are here. Units
keep the recipe of their inputs, so that a payload that is lost with its node can be made again.
"""

from __future__ import annotations

import enum
import heapq
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from curator.errors import CuratorError
from curator.tasks import Task

Place = tuple[int, ...]
"""Where in the order of its segment a unit stands: the place of the unit it descends from, and a number below it."""


class UnitState(enum.Enum):
    """What a unit waits for: its time, an input that is made again, a worker, an answer, or nothing any more."""

    HELD = enum.auto()
    WAITING = enum.auto()
    READY = enum.auto()
    RUNNING = enum.auto()
    DONE = enum.auto()


@dataclass(slots=True, eq=False)
class Payload:
    """One object that a call left on the cluster.

    Args:
        reference: the backend's reference; ``None`` once nobody needs it, or once it is lost.
        node_id: where it was made.
        size_bytes: how large it is there.
        waiting: its tasks that some unit still needs.
    """

    reference: Any
    node_id: str
    size_bytes: int
    waiting: int = 0


@dataclass(frozen=True, slots=True)
class Made:
    """Where the tasks of one unit are: ``count`` of them in the payloads of a call, from number ``first`` on."""

    payloads: Sequence[Payload]
    starts: Sequence[int]
    first: int
    count: int

    def payload_of(self, index: int) -> Payload:
        """The payload of one task."""
        return self.payloads[bisect_right(self.starts, self.first + index) - 1]

    def within(self, index: int) -> int:
        """Its position in that payload."""
        return self.first + index - self.starts[bisect_right(self.starts, self.first + index) - 1]


@dataclass(frozen=True, slots=True)
class Piece:
    """One task that an earlier unit made."""

    source: Unit
    index: int

    @property
    def place(self) -> Place:
        """Where it stands in the order."""
        return (*self.source.place, self.index)


@dataclass(slots=True)
class Charge:
    """A loss that one unit is to blame for: it was alone on a worker that ended."""

    reason: str
    node_id: str
    timeout: bool = False


@dataclass(slots=True, eq=False)
class Unit:
    """A unit of work.

    Args:
        segment: its segment in the chain.
        number: its number there, in the order of creation.
        place: where it stands in the order.
        inputs: tasks, or pieces of earlier units.
    """

    segment: int
    number: int
    place: Place
    inputs: list[Task] | list[Piece]
    state: UnitState = UnitState.READY
    made: Made | None = None
    ids: Sequence[str] = ()
    delivered: bool = False
    flights: int = 0
    ticket: int = 0
    alone: bool = False
    isolated: bool = False
    avoid: str = ""
    failure: CuratorError | None = None
    charges: list[Charge] = field(default_factory=list)

    def pieces(self) -> Iterator[Piece]:
        """The inputs that other units made."""
        return (each for each in self.inputs if isinstance(each, Piece))

    def missing(self) -> list[Unit]:
        """The units whose work this one needs and which has to be done again."""
        return list(
            dict.fromkeys(
                piece.source
                for piece in self.pieces()
                if piece.source.made is None or piece.source.made.payload_of(piece.index).reference is None
            )
        )

    def node_id(self) -> str:
        """Where its first input lies, as far as known."""
        piece = next(self.pieces(), None)
        return "" if piece is None or piece.source.made is None else piece.source.made.payload_of(piece.index).node_id

    def input_ids(self) -> list[str]:
        """The ids of the tasks that go in."""
        return [each.source.ids[each.index] if isinstance(each, Piece) else each.task_id for each in self.inputs]


class ReadyQueue:
    """Units of one segment that wait for a worker: in their order, those whose input lies on the worker's node first.

    Suspects wait in a queue of their own and are handed out one at a time.
    """

    def __init__(self) -> None:
        self._heaps: dict[str, list[tuple[Place, int, Unit]]] = {}
        self._suspects: list[tuple[Place, int, Unit]] = []
        self._tickets = self.num_alone = self.num_together = 0

    def __len__(self) -> int:
        return self.num_alone + self.num_together

    def push(self, unit: Unit) -> None:
        """Queue a unit."""
        self._tickets += 1
        unit.ticket, unit.state = self._tickets, UnitState.READY
        self.num_alone += unit.alone
        self.num_together += not unit.alone
        heap = self._suspects if unit.alone else self._heaps.setdefault(unit.node_id(), [])
        heapq.heappush(heap, (unit.place, unit.ticket, unit))

    def discard(self, unit: Unit) -> None:
        """Take a unit out that has become something else."""
        if unit.state is UnitState.READY and unit.ticket:
            unit.ticket = 0
            self.num_alone -= unit.alone
            self.num_together -= not unit.alone

    def take_alone(self, worker: tuple[str, str], workers: Sequence[tuple[str, str]]) -> Unit | None:
        """The first suspect for a worker; not one that had better have another worker, if there is another.

        Args:
            worker: its node and its name.
            workers: those of all workers.
        """
        self._drop_stale(self._suspects)
        for _, ticket, unit in sorted(self._suspects, key=lambda entry: entry[:2]):
            if unit.ticket == ticket and (unit.avoid not in worker or all(unit.avoid in each for each in workers)):
                self.discard(unit)
                return unit
        return None

    def take(self, node_id: str, count: int) -> list[Unit]:
        """The next units for a worker on a node, at most ``count``."""
        taken: list[Unit] = []
        while len(taken) < count and self.num_together:
            own = self._drop_stale(self._heaps.get(node_id, []))
            heap = own or min((h for h in self._heaps.values() if self._drop_stale(h)), key=lambda h: h[0][0])
            unit = heapq.heappop(heap)[2]
            self.discard(unit)
            taken.append(unit)
        return taken

    @staticmethod
    def _drop_stale(heap: list[tuple[Place, int, Unit]]) -> list[tuple[Place, int, Unit]]:
        while heap and heap[0][2].ticket != heap[0][1]:
            heapq.heappop(heap)
        return heap
