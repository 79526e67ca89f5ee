"""The keeper of the replicas of a run, or of a set that outlives runs: has them placed, started, and healthy.

Settings go in; the addresses come out as a file for each set, reports as answers. Each replica has a thread: it starts
the servers in the bundles of its placement group, lets the replica in when it has answered a real request, and looks at
it from then on. When one of its servers ends, hangs, or loses its node, all of the replica is ended and started again,
elsewhere if a node is gone; after too many ends it is given up, with the reason.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from loguru import logger

from curator.errors import ConfigError, CuratorError
from curator.placement import ReplicaGroup, acquire_replicas, rebuild, remove_named_pgs_with_prefix
from curator.placement.groups import lost_bundles, remove_pg
from curator.serve.endpoints import ENDED, FAILED, STARTING, UP, write_addresses, write_key
from curator.serve.processes import PREFIX
from curator.serve.replica import Launch, PortTakenError, Replica
from curator.serve.requests import request_of
from curator.serve.settings import ReplicaSettings

_FORGIVEN_AFTER_S = 600.0
_END_S = 10.0
_PAUSES_S = (0.2, 30.0)
"""The first and the longest pause between an end and the next start."""


@dataclass(slots=True)
class ReplicaReport:
    """A replica at one moment.

    Args:
        name: of the replica, such as ``judge-0``.
        set_name: of its set.
        state: ``STARTING``, ``UP``, ``FAILED`` or ``ENDED``.
        url: where it answers; empty while it does not.
        nodes: addresses of its nodes.
        ends: how often it has ended.
        reason: of the last end.
    """

    name: str
    set_name: str
    state: str = STARTING
    url: str = ""
    nodes: tuple[str, ...] = ()
    ends: int = 0
    reason: str = ""


def group_prefix(owner: str) -> str:
    """What the names of an owner's placement groups, and the marks of its processes, begin with.

    Example:
        >>> group_prefix("up-judge")
        'curator-replicas.up-judge.'
    """
    return f"{PREFIX}{owner}."


class ReplicaKeeper:
    """Keeps sets of replicas; to be made as an actor, for it uses threads and waits.

    Args:
        sets: what is to be kept.
        owner: who it is kept for, without a ``.``; no other keeper of the cluster has the name.
        directory: for addresses, keys and logs, on a file system that all nodes see.
        ignore_head_node: leave the head node alone.
    """

    def __init__(
        self, sets: Sequence[ReplicaSettings], owner: str, directory: str, ignore_head_node: bool = False
    ) -> None:
        self.sets = {each.name: each for each in sets}
        self.owner = owner
        self.directory = Path(directory)
        self.ignore_head_node = ignore_head_node
        self.reports = {
            each.name: [ReplicaReport(f"{each.name}-{index}", each.name) for index in range(each.replicas)]
            for each in sets
        }
        self._is_placed = False
        self._stopping = threading.Event()
        self._changed = threading.Lock()
        self._thread = threading.Thread(target=self._keep_all, name="keep", daemon=True)
        self._thread.start()

    def report(self) -> list[ReplicaReport]:
        """All replicas, in the order of the sets."""
        with self._changed:
            return [replica for each in self.reports.values() for replica in each]

    def about(self) -> tuple[str, dict[str, str]]:
        """The directory, and the digest of the settings of each set."""
        return str(self.directory), {name: each.digest for name, each in self.sets.items()}

    def stop(self) -> None:
        """End all replicas, and give back what they reserved; the caller ends this actor then.

        Replicas that wait for room on the nodes have nothing that could be ended.
        """
        self._stopping.set()
        longest_s = max(each.stop_timeout_s for each in self.sets.values())
        self._thread.join(longest_s + _END_S if self._is_placed else 0)

    def _keep_all(self) -> None:
        try:
            self._open()
        except Exception as error:  # noqa: BLE001 - a thread has nobody to raise to; the reports say it
            self._fail_all(str(error) if isinstance(error, CuratorError) else repr(error))
        finally:
            removed = remove_named_pgs_with_prefix(group_prefix(self.owner))
            logger.debug("{}: {} placement groups given back", self.owner, removed)
            for name in self.sets:
                self._publish(name, is_over=self._stopping.is_set())

    def _open(self) -> None:
        # A keeper that was started again finds what the one before it has left.
        remove_named_pgs_with_prefix(group_prefix(self.owner))
        keys = {name: write_key(self.directory, name) for name in self.sets}
        for name in self.sets:
            self._publish(name)
        longest_s = max(each.start_timeout_s for each in self.sets.values())
        groups = acquire_replicas(
            [request_of(each) for each in self.sets.values()],
            prefix=group_prefix(self.owner),
            timeout_s=longest_s,
            ignore_head_node=self.ignore_head_node or None,
        )
        self._is_placed = True
        threads = []
        for group in groups:
            name = group.placement.request.name
            launch = Launch(self.sets[name], keys[name], str(self.directory), group.name)
            threads.append(
                threading.Thread(target=self._keep, args=(launch, group), name=group.placement.name, daemon=True)
            )
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def _keep(self, launch: Launch, group: ReplicaGroup) -> None:
        settings = launch.settings
        report = self.reports[settings.name][group.placement.index]
        budget, pause_s = settings.max_restarts, _PAUSES_S[0]
        deadline: float | None = None
        while not self._stopping.is_set():
            up_since, reason, is_unlucky = None, "", False
            try:
                # Its group is not whole any more when a node is gone, and all of it is reserved anew.
                if lost_bundles(group.pg):
                    group = rebuild(
                        group, timeout_s=settings.start_timeout_s, ignore_head_node=self.ignore_head_node or None
                    )
                replica = Replica(launch, group, self._stopping)
                with replica:
                    replica.place()
                    deadline = deadline or time.monotonic() + settings.start_timeout_s
                    replica.start(deadline)
                    up_since = time.monotonic()
                    self._say(report, state=UP, url=replica.url, nodes=replica.nodes, reason="")
                    reason = replica.watch()
            except ConfigError as error:
                budget, reason = 0, str(error)
            except PortTakenError as error:
                is_unlucky, reason = True, str(error)
            except CuratorError as error:
                reason = str(error)
            except Exception as error:  # noqa: BLE001 - whatever it is, the replica is not there
                reason = f"{type(error).__name__}: {error}"
            if self._stopping.is_set():
                break
            reason = reason.replace(launch.key, "***")
            now = time.monotonic()
            if up_since is not None:
                deadline, pause_s = None, _PAUSES_S[0]
                budget = settings.max_restarts if now - up_since > _FORGIVEN_AFTER_S else budget
            is_late = deadline is not None and now >= deadline
            if (budget == 0 and not is_unlucky) or is_late:
                self._say(report, state=FAILED, url="", ends=report.ends + 1, reason=reason)
                remove_pg(group.pg)
                return
            budget -= not is_unlucky
            logger.warning("{}: {} It is started again.", report.name, reason)
            self._say(report, state=STARTING, url="", ends=report.ends + 1, reason=reason)
            self._stopping.wait(pause_s)
            pause_s = min(2 * pause_s, _PAUSES_S[1])
        self._say(report, state=ENDED, url="")

    def _say(self, report: ReplicaReport, **changes: object) -> None:
        with self._changed:
            for key, value in changes.items():
                setattr(report, key, value)
        self._publish(report.set_name)

    def _fail_all(self, reason: str) -> None:
        for replica in self.report():
            self._say(replica, state=FAILED, reason=reason)

    def _publish(self, name: str, *, is_over: bool = False) -> None:
        with self._changed:
            replicas = self.reports[name]
            states = {replica.state for replica in replicas}
            state = ENDED if is_over else UP if UP in states else STARTING if STARTING in states else FAILED
            reasons = [f"{each.name} was given up: {each.reason}" for each in replicas if each.state == FAILED]
            urls = ["" if is_over else replica.url for replica in replicas]
            path = self.directory / f"{name}.json"
            write_addresses(path, urls, state=state, reason=" ".join(reasons))
