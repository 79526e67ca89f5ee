"""A shuffle of tables: rows of equal key meet in one partition, whatever made them and however many workers there are.

Table tasks in, one table task a partition out. Which partition a row belongs to follows from its key alone, so results
are the same for any number of workers, units and retries; inside a partition rows keep the order of the input. No more
than the memory budget is held: rows go to files, one a unit of work, and a partition is read when its turn comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from curator.errors import ConfigError, StageError
from curator.stages.barrier.keys import MOST_ITERATIONS, NUM_SLICES
from curator.stages.base import NodeInfo, ProcessingStage, WorkerMetadata
from curator.tasks import Task

NULL_KEYS = ("match", "drop")
MOST_PARTITIONS = MOST_ITERATIONS * NUM_SLICES
"""Partitions, of all iterations of bands together, that rows can be dealt into."""


class TableShuffle(ProcessingStage):
    """Brings rows of equal key together.

    Keys may be integers, floats (-0.0 equals 0.0, all NaN are equal), booleans, decimals, dates, times, strings and
    binaries, one column or several; dictionaries count as their values. The partition follows from 64 bits: integers
    and times are mixed directly, strings and all others through XXH3-128 of their bytes. All tables must have the same
    columns and types; dictionaries come out as their values, and metadata of the schema does not come out.

    Args:
        key_columns: the column, or columns, that make the key.
        num_partitions: how many partitions; ``None`` makes as many as keep each below ``partition_bytes``, at most
            1024, and some more where that lets workers share a smaller shuffle.
        partition_bytes: bytes of rows in one partition, if it is not a single key that has more; ``None`` is a quarter
            of the memory budget.
        memory_budget_bytes: what one worker may hold for the shuffle: rows are written before an eighth of it is
            waiting, and a partition and the copy that is made of it fit into it.
        null_keys: ``match``: rows whose key is null meet each other; ``drop``: they go, and are counted in the log.
        sort_by_key: sort each partition by key, nulls last; rows of equal key stay in input order.
        keep_empty: make a task for partitions without rows as well.
        num_bands: the tables have a column ``band`` (integers from 0 on) and keys meet only within a range of
            ``bands_per_iteration`` of these bands, range after range; ``None``: there are no bands.
        bands_per_iteration: bands in one range; ``None`` takes all at once.
        scratch_path: a directory for the files of the shuffle that all nodes see; ``None`` is the executor's
            ``scratch_path``, and without one the system's directory for temporary files, which is right for one node.

    Raises:
        ConfigError: an argument is out of range.

    Example:
        >>> TableShuffle("key", num_partitions=8).ray_stage_spec()
        {'is_shuffle_stage': True}
    """

    name = "shuffle"

    def __init__(
        self,
        key_columns: str | Sequence[str],
        *,
        num_partitions: int | None = None,
        partition_bytes: int | None = None,
        memory_budget_bytes: int = 512 << 20,
        null_keys: str = "match",
        sort_by_key: bool = False,
        keep_empty: bool = False,
        num_bands: int | None = None,
        bands_per_iteration: int | None = None,
        scratch_path: str | None = None,
    ) -> None:
        self.key_columns = [key_columns] if isinstance(key_columns, str) else list(key_columns)
        self.num_partitions = num_partitions
        self.partition_bytes = partition_bytes
        self.memory_budget_bytes = memory_budget_bytes
        self.null_keys = null_keys
        self.sort_by_key = sort_by_key
        self.keep_empty = keep_empty
        self.num_bands = num_bands
        self.bands_per_iteration = bands_per_iteration
        self.scratch_path = None if scratch_path is None else str(scratch_path)
        self._check()

    def _check(self) -> None:
        problems = []
        if not self.key_columns or not all(isinstance(column, str) and column for column in self.key_columns):
            problems.append(f"shuffle.key_columns={self.key_columns!r}: name one column or several.")
        if self.null_keys not in NULL_KEYS:
            problems.append(f"shuffle.null_keys: {self.null_keys!r} is not known. Choose from: {', '.join(NULL_KEYS)}.")
        for key, optional in (
            ("num_partitions", True),
            ("partition_bytes", True),
            ("memory_budget_bytes", False),
            ("num_bands", True),
            ("bands_per_iteration", True),
        ):
            value = getattr(self, key)
            wrong = isinstance(value, bool) or not isinstance(value, int) or value < 1
            if wrong and not (optional and value is None):
                problems.append(f"shuffle.{key}={value!r}: must be a whole number of at least 1.")
        if self.bands_per_iteration is not None and self.num_bands is None:
            problems.append(
                f"shuffle.bands_per_iteration={self.bands_per_iteration!r}: there are no bands; set num_bands."
            )
        if not problems and self.num_buckets > MOST_PARTITIONS:
            turns = len(self.get_band_iterations())
            problems.append(
                f"shuffle.num_partitions={self.num_partitions!r}: {self.num_buckets:,} partitions in {turns} turns are "
                f"too many; {MOST_PARTITIONS:,} are possible in all."
            )
        if problems:
            raise ConfigError(problems)

    @property
    def num_buckets(self) -> int:
        """Buckets that rows are dealt into: the partitions of all turns, or slices to join into partitions later."""
        return (self.num_partitions or NUM_SLICES) * len(self.get_band_iterations())

    @property
    def most_partition_bytes(self) -> int:
        """Bytes of rows that a partition should not exceed."""
        return self.partition_bytes or max(1, self.memory_budget_bytes // 4)

    def get_band_iterations(self) -> list[tuple[int, int]]:
        """The ranges of bands whose keys meet, one after the other; ``[(0, 1)]`` if there are no bands."""
        bands = self.num_bands or 1
        step = self.bands_per_iteration or bands
        return [(first, min(first + step, bands)) for first in range(0, bands, step)]

    def ray_stage_spec(self) -> dict[str, Any]:
        """A shuffle; with bands, one in several turns."""
        return {"is_shuffle_stage": True, **({"is_lsh_stage": True} if self.num_bands else {})}

    def settings(self) -> dict[str, Any]:
        """What decides the result; where its files are does not."""
        return {key: value for key, value in super().settings().items() if key != "scratch_path"}

    def setup_on_node(self, node_info: NodeInfo, worker_metadata: WorkerMetadata) -> None:
        """Compile the kernels once."""
        self._warm()

    def setup(self, worker_metadata: WorkerMetadata) -> None:
        """Load the kernels before the first unit is timed."""
        self._warm()

    def _warm(self) -> None:
        from curator.kernels.warm import warm_hashing, warm_partitioning

        warm_hashing()
        warm_partitioning()

    def process(self, task: Task) -> Task | list[Task] | None:
        """Refuses: a shuffle is run in two parts, before and behind a barrier."""
        raise StageError(
            f"{self.name}: a shuffle needs all tables at once; run it through an executor's execute().",
            stage=self.name,
            task_id=task.task_id,
        )
