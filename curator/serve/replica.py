"""One replica from its start to its end: supervisors in the bundles of its group, its servers, the gate, the watch.

A group that is reserved goes in; an address that has answered a real request comes out. Whatever ends the replica, a
server's exit, a hang, a lost worker or node, ``with`` ends all the rest of it. Refused: a server that does not ask for
the key on an address that other machines reach.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from curator.cluster.topology import alive_nodes
from curator.errors import ConfigError, CuratorError, ExecutorError
from curator.placement import ReplicaGroup, lost_bundles
from curator.serve.engines import Rank, server_command
from curator.serve.settings import ReplicaSettings
from curator.serve.supervisor import Sight, Supervisor

_CALL_S = 60.0
"""For a call that takes no time on a node that is well."""

_SUPERVISOR_S = 600.0
"""For a worker to start, its environment included."""

_LOOK_S = 0.5
_MISSES = 3
"""Looks in a row without an answer that end a server."""


@dataclass(frozen=True, slots=True)
class Launch:
    """What all starts of a replica have in common.

    Args:
        settings: of its set.
        key: what requests must carry.
        directory: for its logs.
        mark: name of its group, which its processes carry.
    """

    settings: ReplicaSettings
    key: str
    directory: str
    mark: str

    def __repr__(self) -> str:
        return f"Launch({self.mark!r})"


class PortTakenError(ExecutorError):
    """Another program has taken the port of a server, between its choice and the server's start."""


class Replica:
    """One start of a replica.

    Args:
        launch: what is started.
        group: where.
        stopping: set when the replica is not wanted any more; waits end then.
    """

    def __init__(self, launch: Launch, group: ReplicaGroup, stopping: threading.Event) -> None:
        self.launch = launch
        self.group = group
        self.url = ""
        self.nodes: tuple[str, ...] = ()
        self._stopping = stopping
        self._supervisors: list[Any] = []
        self._is_placed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # One that has not started yet has nothing to stop, and might never answer.
        if self._is_placed:
            stopped = [supervisor.stop.remote() for supervisor in self._supervisors]
            with contextlib.suppress(RayError):
                ray.wait(stopped, num_returns=len(stopped), timeout=self.launch.settings.stop_timeout_s + _CALL_S)
        for supervisor in self._supervisors:
            ray.kill(supervisor)

    def place(self) -> None:
        """Have a supervisor in each bundle, with its environment.

        Raises:
            ConfigError: the command cannot be that of several nodes.
            ExecutorError: a node is lost, or cannot start a worker in time.
        """
        settings, spec = self.launch.settings, self.group.placement.spec
        if spec.nnodes > 1 and settings.engine == "command" and "{rank}" not in " ".join(settings.command or ()):
            raise ConfigError(
                f"replicas.{settings.name}.command: {spec.total_gpus} GPUs span {spec.nnodes} nodes here, and the "
                "command has no {rank}. Give it {rank}, {nnodes} and {master_addr}, or ask for fewer GPUs."
            )
        self._supervisors = [self._supervise(index) for index in range(spec.nnodes)]
        ready = [supervisor.look.remote() for supervisor in self._supervisors]
        deadline = time.monotonic() + _SUPERVISOR_S
        for each in ready:
            while not ray.wait([each], timeout=_LOOK_S)[0]:
                # Ray lets a worker for a bundle that is gone wait for ever.
                if lost_bundles(self.group.pg):
                    raise ExecutorError("its node was lost before its worker had started.")
                if self._stopping.is_set():
                    raise ExecutorError("it is not wanted any more.")
                if time.monotonic() > deadline:
                    raise ExecutorError(f"its worker has not started within {_SUPERVISOR_S:g} s.")
            _get(each, _CALL_S)
        self._is_placed = True

    def start(self, deadline: float) -> None:
        """Start the servers, and wait until the replica has answered a request.

        Args:
            deadline: of the monotonic clock.

        Raises:
            ConfigError: a server is open to everybody; the model is not there.
            PortTakenError: a server ended because somebody else was quicker at its port.
            ExecutorError: a server ended, or did not answer in time; a node is lost.
        """
        settings, launch, spec = self.launch.settings, self.launch, self.group.placement.spec
        is_one_machine = len({node["NodeManagerAddress"] for node in alive_nodes()}) == 1
        placing = [supervisor.place.remote(is_one_machine, 2) for supervisor in self._supervisors]
        places = [_get(each, _CALL_S) for each in placing]
        self.nodes = tuple(host for host, _, _ in places)
        master, (port, master_port), _ = places[0]
        for index, supervisor in enumerate(self._supervisors):
            host, ports, _ = places[index]
            rank = Rank(host, ports[0], index, spec.nnodes, master, master_port)
            command = server_command(settings, rank, key=launch.key, key_file=f"{launch.directory}/{settings.name}.key")
            mark = launch.mark if index == 0 else f"{launch.mark}-rank{index}"
            _get(
                supervisor.start.remote(command, launch.directory, mark=mark, stop_timeout_s=settings.stop_timeout_s),
                _CALL_S,
            )
        url = f"http://{master}:{port}/v1"
        self._pass_the_gate(url, is_one_machine, deadline)
        self.url = url

    def watch(self) -> str:
        """Look at the replica until it ends.

        Returns:
            Why it ended; empty if it is not wanted any more.
        """
        settings, misses = self.launch.settings, 0
        next_look = time.monotonic() + settings.health_interval_s
        while not self._stopping.wait(min(_LOOK_S, settings.health_interval_s)):
            if reason := self._ended():
                return reason
            if time.monotonic() < next_look:
                continue
            well = self._supervisors[0].is_well.remote(self.url, self.launch.key, settings.health_timeout_s)
            reason = _get(well, settings.health_timeout_s + _CALL_S)
            misses = misses + 1 if reason else 0
            if misses == _MISSES:
                return f"{reason}; {_MISSES} times in a row."
            next_look = time.monotonic() + settings.health_interval_s
        return ""

    def _supervise(self, index: int) -> Any:  # noqa: ANN401
        settings, bundle = self.launch.settings, self.group.placement.spec.bundles[index]
        amounts = dict(bundle)
        environment = {
            key: value for key, value in (settings.runtime_env or {}).items() if value is not None and key != "env_vars"
        }
        actor: Any = ray.remote(Supervisor)
        return actor.options(
            num_cpus=amounts.pop("CPU", 0),
            num_gpus=amounts.pop("GPU", 0),
            memory=amounts.pop("memory", None),
            resources=amounts or None,
            # It has to answer while a request for its server's health is under way.
            max_concurrency=4,
            max_restarts=0,
            runtime_env=environment or None,
            scheduling_strategy=PlacementGroupSchedulingStrategy(self.group.pg, placement_group_bundle_index=index),
        ).remote()

    def _pass_the_gate(self, url: str, is_one_machine: bool, deadline: float) -> None:
        settings, key = self.launch.settings, self.launch.key
        rank_0 = self._supervisors[0]
        while not self._stopping.is_set():
            self._check_runs()
            # One that was placed late is asked at least once.
            patience_s = min(max(deadline - time.monotonic(), 1.0), max(settings.health_timeout_s, 10.0))
            asked = rank_0.ask.remote(url, settings.served_model, key, patience_s)
            while not ray.wait([asked], timeout=_LOOK_S)[0]:
                self._check_runs()
                if self._stopping.is_set():
                    return
            if not (last := _get(asked, _CALL_S)):
                if not is_one_machine and _get(
                    rank_0.is_open.remote(url, settings.served_model, patience_s), patience_s + _CALL_S
                ):
                    raise ConfigError(
                        f"replicas.{settings.name}: its server answers without the key, on an address that other "
                        "machines reach. Let it ask for the key in its variable CURATOR_REPLICA_KEY."
                    )
                return
            if time.monotonic() >= deadline:
                tail = _get(rank_0.tail.remote(), _CALL_S)
                raise ExecutorError(
                    f"it answered no request within {settings.start_timeout_s:g} s (start_timeout_s): {last}. "
                    f"{self._log_says(tail)}"
                )
            self._stopping.wait(_LOOK_S)

    def _check_runs(self) -> None:
        if not (reason := self._ended()):
            return
        for supervisor in self._supervisors:
            if port := _get(supervisor.taken_port.remote(), _CALL_S):
                raise PortTakenError(f"port {port} of its node was taken before its server listened there; {reason}")
        raise ExecutorError(reason)

    def _ended(self) -> str:
        """Why a server has ended; empty if all run."""
        for supervisor in self._supervisors:
            sight: Sight = _get(supervisor.look.remote(), _CALL_S)
            if sight.exit_code is not None:
                return f"its server ended with exit code {sight.exit_code}. {self._log_says(sight.tail)}"
        return ""

    def _log_says(self, tail: str) -> str:
        path = f"{self.launch.directory}/{self.group.placement.name}.log"
        shown = "\n".join(f"    {line}" for line in tail.splitlines()[-8:])
        return f"Its log is {path}" + (f", and ends:\n{shown}" if shown else ", and is empty.")


def _get(reference: Any, timeout_s: float) -> Any:  # noqa: ANN401
    try:
        return ray.get(reference, timeout=timeout_s)
    except GetTimeoutError as error:
        raise ExecutorError(f"its node has not answered for {timeout_s:g} s.") from error
    except RayActorError as error:
        raise ExecutorError("its worker or its node was lost.") from error
    except RayTaskError as error:
        if isinstance(error.cause, CuratorError):
            raise error.cause from None
        raise ExecutorError(f"{error.cause!r} on its node.") from error
