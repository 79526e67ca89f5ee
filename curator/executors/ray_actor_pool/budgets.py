"""How often what may go wrong: each loss is put into a class, and each class has a limit. Pure, no Ray, no clock.

Losses flow in, and what to do comes out: try again, after a while, or give up. A unit is charged only when it was alone
on the worker that ended; a node that is lost is nobody's fault, and takes back what was charged for its workers.
"""

from __future__ import annotations

from dataclasses import dataclass

from curator.errors import ExecutorError
from curator.executors.ray_actor_pool.units import Charge, Unit

MAX_TIMEOUTS = 2
"""Calls that may not come back before their unit is given up."""

MAX_SETUP_FAILURES = 3
"""Workers in a row that may fail to be set up before the run does."""

MAX_LOST_IN_A_ROW = 5
"""Workers of a pool that may be lost, or units of it given up, with nothing done in between."""

_LONGEST_PAUSE_S = 30.0


def pause_s(losses: int) -> float:
    """Seconds to wait before a unit is tried again, after so many losses.

    Example:
        >>> [pause_s(losses) for losses in (1, 2, 3, 9)]
        [1.0, 2.0, 4.0, 30.0]
    """
    return min(_LONGEST_PAUSE_S, 2.0 ** (losses - 1))


def verdict(unit: Unit, max_attempts: int) -> str:
    """Why a unit has to be given up; empty if it may be tried again.

    Args:
        unit: the unit, with all that it is charged with.
        max_attempts: workers that it may cost.
    """
    timeouts = [charge for charge in unit.charges if charge.timeout]
    if len(timeouts) >= min(MAX_TIMEOUTS, max_attempts):
        return timeouts[-1].reason
    return unit.charges[-1].reason if len(unit.charges) >= max_attempts else ""


def charge(unit: Unit, reason: str, node_id: str, *, timeout: bool = False) -> None:
    """Blame a unit for the end of its worker."""
    unit.charges.append(Charge(reason, node_id, timeout))
    unit.alone, unit.avoid = True, node_id


def forgive(unit: Unit, node_id: str) -> None:
    """Take back what a unit was charged with on a node that turned out to be lost."""
    unit.charges = [each for each in unit.charges if each.node_id != node_id or each.timeout]


@dataclass(slots=True)
class RunBudget:
    """Losses that are nobody's fault, in one run.

    Args:
        max_node_failures: how many are survived.
    """

    max_node_failures: int
    failures: int = 0

    def infrastructure_failed(self, what: str) -> None:
        """A node or an object was lost.

        Raises:
            ExecutorError: that was one too many.
        """
        self.failures += 1
        if self.failures > self.max_node_failures:
            raise ExecutorError(
                f"{what}, the {self.failures:,}th loss of a node or of an object in this run; "
                f"executor.max_node_failures={self.max_node_failures} allows no more."
            )


@dataclass(slots=True)
class PoolBudget:
    """Losses of the workers of one segment.

    Args:
        name: the segment.
    """

    name: str
    lost_in_a_row: int = 0
    given_up_in_a_row: int = 0
    setups_failed_in_a_row: int = 0
    first_setup_error: Exception | None = None

    def unit_done(self) -> None:
        """A unit came back: the pool works."""
        self.lost_in_a_row = self.given_up_in_a_row = 0

    def worker_lost(self, how: str) -> None:
        """A worker ended, and no single unit is to blame.

        Raises:
            ExecutorError: that was one too many in a row.
        """
        self.lost_in_a_row += 1
        if self.lost_in_a_row >= MAX_LOST_IN_A_ROW:
            raise ExecutorError(
                f"{self.name}: {self.lost_in_a_row} workers in a row were lost without finishing anything; the last "
                f"one: {how}."
            )

    def unit_given_up(self, reason: str) -> None:
        """A unit ended its workers until its attempts were used up.

        Raises:
            ExecutorError: that was one too many in a row.
        """
        self.lost_in_a_row = 0
        self.given_up_in_a_row += 1
        if self.given_up_in_a_row >= MAX_LOST_IN_A_ROW:
            raise ExecutorError(
                f"{self.name}: {self.given_up_in_a_row} units in a row ended every worker that they were given to, and "
                f"none was finished in between; the last one: {reason}."
            )

    def setup_done(self) -> None:
        """A worker is ready."""
        self.setups_failed_in_a_row, self.first_setup_error = 0, None

    def setup_failed(self, error: Exception) -> None:
        """A worker could not be set up.

        Raises:
            Exception: the first such error, if that was one too many in a row.
        """
        self.first_setup_error = self.first_setup_error or error
        self.setups_failed_in_a_row += 1
        if self.setups_failed_in_a_row >= MAX_SETUP_FAILURES:
            raise self.first_setup_error
