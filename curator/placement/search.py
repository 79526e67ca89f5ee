"""The search for nodes for every replica: splits and free pieces in, nodes out. Exact, unless that takes too long.

Replicas are placed in the order they come in. Each tries its splits, the fewest nodes first, and of the nodes those
that it fills best; nodes that are alike are tried once, and what has failed is not tried again. Amounts are in grains.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from curator.cluster.amounts import DEVICES, fits, needs_of, take
from curator.cluster.capacity import NodeOffer, workers_that_fit
from curator.placement.replicas import ReplicaRequest

LOOKS = 100_000
"""Looks at a node after which nothing better is searched for; a second or two."""

DEEPEST = 200
"""Replicas up to which there is a search; more of them are placed one by one, and none is moved again."""

Pieces = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Split:
    """One way to cut a replica: equal parts, each on a node of its own.

    Args:
        nnodes: parts.
        needs: what a part reserves, in grains, by Ray's names.
        hosts: for each node, whether a part may be there.
    """

    nnodes: int
    needs: Mapping[str, int]
    hosts: tuple[bool, ...]


def plan_splits(request: ReplicaRequest, nodes: Sequence[NodeOffer]) -> list[Split]:
    """Every way to cut a replica that finds nodes, were it alone there; the fewest nodes first.

    A part has whole pipeline stages or an equal part of one, so that no stage is cut unevenly.

    Example:
        >>> nodes = [NodeOffer(node_id=name, cpus=8, gpus=4) for name in "abc"]
        >>> [split.nnodes for split in plan_splits(ReplicaRequest(name="judge", tp_size=6), nodes)]
        [2, 3]
    """
    splits = []
    for nnodes in range(1, (min(request.total_gpus, len(nodes)) or min(1, len(nodes))) + 1):
        part, uneven = divmod(request.total_gpus, nnodes)
        if uneven or (part and part % request.tp_size and request.tp_size % part):
            continue
        needs = request.bundle_resources(nnodes)
        fitting = workers_that_fit(needs, nodes)
        hosts = tuple(fitting[node.node_id] > 0 for node in nodes)
        if sum(hosts) >= nnodes:
            splits.append(Split(nnodes, needs_of(needs), hosts))
    return splits


class Board:
    """Replicas to be placed, and what is free on the nodes.

    What is free on a node is a state; states are numbered, so that they can be compared and remembered quickly.

    Args:
        nodes: for each node its free pieces, by Ray's names.
        replicas: for each replica its splits, at least one, the fewest nodes first.
    """

    def __init__(self, nodes: Sequence[Mapping[str, Sequence[int]]], replicas: Sequence[Sequence[Split]]) -> None:
        self.replicas = replicas
        needed = {kind for splits in replicas for split in splits for kind in split.needs}
        devices = {kind for free in nodes for kind, pieces in free.items() if kind in DEVICES and any(pieces)}
        # Devices first: of two nodes, the one with fewer of them left is filled, whatever else is free there.
        self._kinds = sorted(needed | devices, key=lambda kind: (kind not in DEVICES, kind))
        self._numbers: dict[Pieces, int] = {}
        self._states: list[Pieces] = []
        self._sums: list[list[int]] = []
        self._start = [self._number({kind: free.get(kind, ()) for kind in self._kinds}) for free in nodes]
        hosts = sorted({split.hosts for splits in replicas for split in splits})
        marks = [tuple(each[node] for each in hosts) for node in range(len(nodes))]
        self._marks = [marks.index(mark) for mark in marks]
        self._least = self._needed_from_each_on()
        self._parts: dict[int, dict[int, tuple[tuple[int, ...], int] | None]] = {
            id(split): {} for splits in replicas for split in splits
        }
        self._looks = 0

    @property
    def was_cut(self) -> bool:
        """Whether there may be a place for all of them although none was found."""
        return self._looks > LOOKS or len(self.replicas) > DEEPEST

    def place_all(self) -> list[tuple[int, ...]] | None:
        """The nodes of each replica, together as few as can be; ``None`` if there is no room, or none was found."""
        if len(self.replicas) > DEEPEST:
            placed = self.place_some()[0]
            return placed if all(placed) else None
        fewest = sum(splits[0].nnodes for splits in self.replicas)
        if found := self._search(0):
            return found
        found = self._search(sum(splits[-1].nnodes for splits in self.replicas) - fewest)
        for extra in range(1, sum(map(len, found)) - fewest if found else 0):
            if better := self._search(extra):
                return better
        return found

    def place_some(self) -> tuple[list[tuple[int, ...]], list[dict[str, list[int]]]]:
        """The nodes of each replica, none for one without room behind those before it; and what is free on each then.

        No replica makes room for a later one.
        """
        states, placed = list(self._start), []
        for splits in self.replicas:
            nodes, states = next(self._moves(splits, states, len(states)), ((), states))
            placed.append(nodes)
        return placed, [self._by_kind(state) for state in states]

    def _search(self, extra: int) -> list[tuple[int, ...]] | None:
        """Place all of them on at most ``extra`` nodes more than if each had the fewest."""
        failed: dict[tuple[object, ...], int] = {}
        chosen: list[tuple[int, ...]] = []

        def place(position: int, states: Sequence[int], left: int) -> bool:
            if position == len(self.replicas):
                return True
            key = (position, *sorted(zip(states, self._marks, strict=True)))
            if failed.get(key, -1) >= left or not self._is_enough(position, states):
                return False
            splits = self.replicas[position]
            for nodes, after in self._moves(splits, states, splits[0].nnodes + left):
                chosen.append(nodes)
                if place(position + 1, after, left + splits[0].nnodes - len(nodes)):
                    return True
                chosen.pop()
                if self._looks > LOOKS:
                    return False
            failed[key] = left
            return False

        return chosen if place(0, self._start, extra) else None

    def _moves(
        self, splits: Sequence[Split], states: Sequence[int], most: int
    ) -> Iterator[tuple[tuple[int, ...], list[int]]]:
        """Every choice of at most ``most`` nodes for a replica, the best first, and the states after it."""
        for split in splits:
            if split.nnodes > most:
                return
            self._looks += len(states)
            parts = self._parts[id(split)]
            alike: dict[tuple[object, ...], list[int]] = {}
            for node, state in enumerate(states):
                if state not in parts:
                    parts[state] = self._place_part(state, split)
                if split.hosts[node] and (part := parts[state]) is not None:
                    alike.setdefault((part[0], self._marks[node], state), []).append(node)
            for nodes in _choices([alike[key] for key in sorted(alike)], split.nnodes):
                after = list(states)
                for node in nodes:
                    after[node] = (parts[states[node]] or ((), 0))[1]
                yield nodes, after

    def _place_part(self, state: int, split: Split) -> tuple[tuple[int, ...], int] | None:
        """How badly a part suits a node, and the state after it; ``None`` if it does not fit.

        Badly: by the devices that it leaves idle there, then by what is free of what it needs.
        """
        free = self._by_kind(state)
        if not fits(free, split.needs):
            return None
        idle = sum(sum(free[kind]) for kind in self._kinds if kind in DEVICES and kind not in split.needs)
        waste = idle, *(sum(free[kind]) for kind in self._kinds if kind in split.needs)
        take(free, split.needs)
        return waste, self._number(free)

    def _is_enough(self, position: int, states: Sequence[int]) -> bool:
        """Whether the nodes together have what the replicas from one on need together."""
        have = zip(*(self._sums[state] for state in states), strict=True)
        return all(sum(sums) >= least for sums, least in zip(have, self._least[position], strict=True))

    def _needed_from_each_on(self) -> list[list[int]]:
        needed = [[0] * len(self._kinds)]
        for splits in reversed(self.replicas):
            least = [min(split.nnodes * split.needs.get(kind, 0) for split in splits) for kind in self._kinds]
            needed.append([one + rest for one, rest in zip(least, needed[-1], strict=True)])
        return needed[::-1]

    def _number(self, free: Mapping[str, Sequence[int]]) -> int:
        pieces = tuple(tuple(sorted(free[kind])) for kind in self._kinds)
        if pieces not in self._numbers:
            self._numbers[pieces] = len(self._states)
            self._states.append(pieces)
            self._sums.append([sum(each) for each in pieces])
        return self._numbers[pieces]

    def _by_kind(self, state: int) -> dict[str, list[int]]:
        return {kind: list(pieces) for kind, pieces in zip(self._kinds, self._states[state], strict=True)}


def _choices(alike: Sequence[Sequence[int]], number: int) -> Iterator[tuple[int, ...]]:
    """Every choice of so many nodes; of nodes that are alike the first ones."""
    if number == 0:
        yield ()
        return
    if sum(map(len, alike)) < number:
        return
    first, rest = alike[0], alike[1:]
    for count in range(min(len(first), number), -1, -1):
        for others in _choices(rest, number - count):
            yield (*first[:count], *others)
