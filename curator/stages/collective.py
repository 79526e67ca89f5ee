"""Stages whose workers talk to each other while they work: the ranks of one group, and the calls between them.

Every rank gets its even share of the tasks at once and a ``Communicator``; what flows between ranks are numpy arrays
of fixed-size elements, never Python objects and never tasks. A stage sees ranks, not what connects them: on one process
there is one rank, on a cluster an executor joins several.

Every rank makes the same calls in the same order, with the same dtype and shape. That is checked on every call, because
the alternative is a group that waits for ever: a rank that calls something else, or ends its work while another one
still calls, is a ``StageError`` on all ranks that shows what each of them did.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, NoReturn

import numpy as np

from curator.errors import StageError
from curator.stages.base import ProcessingStage
from curator.tasks import Task

COMMUNICATORS = ("gloo", "nccl")
REDUCTIONS = ("sum", "min", "max")

Array = np.ndarray[Any, np.dtype[Any]]
Reduction = Literal["sum", "min", "max"]


class Call(NamedTuple):
    """What one rank asks of the group: the name of the call, and dtype and shape of its array."""

    name: str
    dtype: str = ""
    shape: tuple[int, ...] = ()

    def __str__(self) -> str:
        return f"{self.name} of {np.dtype(self.dtype).name} {self.shape}" if self.dtype else self.name


END = Call("end of its work")


class Communicator(ABC):
    """One rank's way to the others.

    Arguments are never changed and results never share memory with them. Arrays hold elements of a fixed size, in any
    memory layout, and may be empty; a numpy number is an array of shape ().

    Args:
        rank: this rank, within [0, ``size``).
        size: ranks of the group, at least 1.
    """

    def __init__(self, rank: int, size: int) -> None:
        self.rank = rank
        self.size = size

    def all_reduce(self, array: Array, op: Reduction = "sum") -> Array:
        """Combine the arrays of all ranks, element by element; every rank gets the result.

        Integers are exact for any number of ranks: sums wrap as numpy's do. Sums of floats depend on the number of
        ranks in their last bits, and are the same in every run with as many. ``min`` and ``max`` are those of
        ``numpy.minimum`` and ``numpy.maximum``: a NaN anywhere is the result.

        Args:
            array: integers, float16, float32, float64, or (``min`` and ``max`` only) booleans, in native byte order.
            op: ``sum``, ``min`` or ``max``.

        Returns:
            An array of the same dtype and shape.

        Raises:
            TypeError: ``array`` is no such array.
            ValueError: ``op`` is none of these.
            StageError: another rank made another call, or gave another dtype or shape.
            CommunicationError: another rank was lost.

        Example:
            >>> SingleRank().all_reduce(np.array([1, 2], dtype=np.uint64))
            array([1, 2], dtype=uint64)
        """
        given = _own(array)
        if op not in REDUCTIONS:
            raise ValueError(f"all_reduce: op={op!r} is not known; choose one of {', '.join(sorted(REDUCTIONS))}.")
        kinds = "iuf" if op == "sum" else "biuf"
        if given.dtype.kind not in kinds or given.dtype.itemsize > 8 or not given.dtype.isnative:
            raise TypeError(
                f"all_reduce: there is no {op} of {given.dtype.str!r} arrays; it takes integers and floats of up to 64 "
                "bits in native byte order, and booleans for min and max. Convert with .astype() first."
            )
        self._agree(Call(f"all_reduce {op}", given.dtype.str, given.shape))
        return self._reduce(given, op) if given.size else given

    def broadcast(self, array: Array, root: int = 0) -> Array:
        """Give every rank the array of one of them.

        Args:
            array: on ``root`` what is sent; on the others any array of the same dtype and shape.
            root: the rank that sends, within [0, ``size``).

        Returns:
            The array of ``root``.

        Raises:
            TypeError: ``array`` is no array, or holds Python objects.
            ValueError: there is no rank ``root``.
            StageError: another rank made another call, or gave another dtype or shape.
            CommunicationError: another rank was lost.
        """
        given = _own(array)
        if not 0 <= root < self.size:
            raise ValueError(f"broadcast: root={root!r} is no rank of this group; they are 0 to {self.size - 1}.")
        self._agree(Call(f"broadcast from {root}", given.dtype.str, given.shape))
        return self._broadcast(given, root) if given.nbytes else given

    def all_gather(self, array: Array) -> list[Array]:
        """Give every rank the arrays of all of them.

        Args:
            array: its first dimension may differ from rank to rank, as the shares of the tasks do.

        Returns:
            One array per rank, in rank order.

        Raises:
            TypeError: ``array`` is no array, or holds Python objects.
            StageError: another rank made another call, or gave another dtype or other dimensions behind the first.
            CommunicationError: another rank was lost.

        Example:
            >>> SingleRank().all_gather(np.arange(3))
            [array([0, 1, 2])]
        """
        given = _own(array)
        calls = self._agree(Call("all_gather", given.dtype.str, given.shape), first_dimension=False)
        shapes = [call.shape for call in calls]
        if not any(_num_bytes(shape, given.dtype) for shape in shapes):
            return [np.empty(shape, given.dtype) for shape in shapes]
        return self._gather(given, shapes)

    def barrier(self) -> None:
        """Wait until every rank is here.

        Raises:
            StageError: another rank made another call.
            CommunicationError: another rank was lost.
        """
        self._agree(Call("barrier"))

    def end(self) -> None:
        """Say that this rank makes no more calls; its executor does that when the work of the stage is done.

        Raises:
            StageError: another rank still makes one.
            CommunicationError: another rank was lost.
        """
        self._agree(END)

    def _agree(self, call: Call, *, first_dimension: bool = True) -> list[Call]:
        """The calls of all ranks, which are the same."""
        calls = self._exchange(call)
        skipped = 0 if first_dimension else 1
        made = {(each.name, each.dtype, len(each.shape), each.shape[skipped:]) for each in calls}
        if len(made) > 1:
            shown = "; ".join(f"rank {rank}: {each}" for rank, each in enumerate(calls))
            raise StageError(
                f"the ranks of a collective stage do not agree: {shown}. Every rank has to make the same calls in the "
                "same order with arrays of the same dtype and shape, a rank without tasks too."
            )
        return calls

    @abstractmethod
    def _exchange(self, call: Call) -> list[Call]:
        """What every rank calls now, in rank order."""

    @abstractmethod
    def _reduce(self, array: Array, op: Reduction) -> Array: ...

    @abstractmethod
    def _broadcast(self, array: Array, root: int) -> Array: ...

    @abstractmethod
    def _gather(self, array: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]: ...


class SingleRank(Communicator):
    """The group of one: what a stage sees in a single process.

    Example:
        >>> SingleRank().rank, SingleRank().size
        (0, 1)
    """

    def __init__(self) -> None:
        super().__init__(rank=0, size=1)

    def _exchange(self, call: Call) -> list[Call]:
        return [call]

    def _reduce(self, array: Array, op: Reduction) -> Array:
        return array

    def _broadcast(self, array: Array, root: int) -> Array:
        return array

    def _gather(self, array: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
        return [array]


class CollectiveStage(ProcessingStage):
    """A stage whose workers are the ranks of one group, each with its share of all tasks.

    ``process_batch`` is called once per rank with that rank's tasks, in input order and possibly none of them;
    ``group`` is there from before ``setup`` until after ``teardown``. To be the same for any number of ranks, a result
    may depend on all tasks only through integers, or through ``min`` and ``max``. A stage that returns one task (or
    ``None``) for each of its tasks gets the same ids for any number of ranks; ids of a stage that returns any other
    number name the rank's share, which differs. A rank without tasks returns none.

    ``communicator`` is what joins the ranks on a cluster: ``gloo`` between CPUs, ``nccl`` between GPUs, one GPU a rank.
    ``num_ranks`` is how many there are, ``None`` as many as fit. ``batch_size`` means nothing here. The whole stage is
    run again when a rank is lost, so it writes nothing that a second run would not replace.

    Example:
        >>> class Count(CollectiveStage):
        ...     name = "count"
        ...     def process_batch(self, tasks):
        ...         self.total = int(self.group.all_reduce(np.array(len(tasks))))
        ...         return list(tasks)
        >>> Count().with_(num_ranks=4).num_workers()
        4
    """

    communicator: str = "gloo"
    num_ranks: int | None = None
    _group: Communicator | None = None

    @property
    def group(self) -> Communicator:
        """This rank's communicator.

        Raises:
            StageError: asked for outside of ``setup``, ``process_batch`` and ``teardown``.
        """
        if self._group is None:
            raise StageError(
                f"stage {self.name!r} has no communicator here: an executor sets it before setup() and takes it away "
                "after teardown().",
                stage=self.name,
            )
        return self._group

    def join(self, group: Communicator | None) -> None:
        """Take the communicator of a group, or leave it with ``None``; for executors."""
        self._group = group

    @abstractmethod
    def process_batch(self, tasks: Sequence[Task]) -> list[Task | None]:
        """The work on all tasks of this rank."""

    def process(self, task: Any) -> NoReturn:  # noqa: ANN401
        """Refuses: a rank takes all of its tasks at once."""
        raise StageError(
            f"{self.name}: a collective stage takes all tasks of its rank through process_batch().",
            stage=self.name,
            task_id=task.task_id,
        )

    def num_workers(self) -> int | None:
        """The number of ranks."""
        return self.num_ranks

    def ray_stage_spec(self) -> dict[str, Any]:
        """Asks for one group of ranks."""
        return {"is_raft_actor": True}

    def settings(self) -> dict[str, Any]:
        """As for any stage; how many ranks there are and what joins them decides nothing."""
        return {key: value for key, value in super().settings().items() if key not in ("communicator", "num_ranks")}


def _own(array: object) -> Array:
    """A contiguous copy that keeps the shape, also that of an array without dimensions."""
    if not isinstance(array, np.ndarray | np.generic):
        raise TypeError(f"a communicator takes numpy arrays, not {type(array).__name__}; use numpy.asarray() first.")
    if array.dtype.hasobject:
        raise TypeError(f"a communicator takes elements of a fixed size; dtype {array.dtype} holds Python objects.")
    return np.array(array, order="C", copy=True, subok=False)


def _num_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
