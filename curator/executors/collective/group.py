"""The ranks of a collective stage as Ray actors, one group for one run of the stage.

Tasks and a stage flow in, what all ranks made flows out in input order. The group lives and dies as one: a rank that is
lost takes the others with it, and everything is done again by new actors under a new session, as often as the budget
allows. Ray restarts nothing by itself. Every wait has a limit, and the actors are ended however a run ends. Actors of a
group that failed are killed where they are, so ``teardown`` is only called after success.
"""

from __future__ import annotations

import contextlib
import importlib.util
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

import ray
from loguru import logger
from ray.exceptions import RayError, RayTaskError, RuntimeEnvSetupError

from curator.cluster.secrets import STAGE, hide_secrets, take_secrets
from curator.errors import ConfigError, CuratorError, ExecutorError, StageError
from curator.executors.collective.rank import NEEDS_TORCH, Answer, Place, Rank
from curator.executors.collective.shares import split_evenly
from curator.executors.collective.torch_communicator import import_torch, meeting_addresses
from curator.stages.base import WorkerMetadata
from curator.stages.collective import COMMUNICATORS, CollectiveStage
from curator.tasks import FailedTask, Task

BLAME_S = 20.0
"""After a rank says that it lost the others: time in which the one that is to blame has to be found dead."""

STAGE_ATTEMPTS = 2
"""Groups that an exception of the stage may end: the second one confirms it."""

LONGEST_PAUSE_S = 30.0
_NODE_NEWS_S = 3.0


class _RankActor(Rank):
    """A rank in an actor."""

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401
        take_secrets()
        super().__init__(*arguments)

    def place(self) -> Answer[Place]:
        """Where this is; torch is imported on the way, so that all ranks do that at the same time."""

        def act() -> Place:
            import_torch()
            context = ray.get_runtime_context()
            gpu_ids = context.get_accelerator_ids().get("GPU", [])
            address = str(ray.util.get_node_ip_address())  # type: ignore[no-untyped-call]
            return Place(context.get_node_id(), address, context.get_actor_id() or "", tuple(map(str, gpu_ids)))

        return self._answer("start", act)


class _LostError(Exception):
    """The group is no more; ``node`` says that a whole node was lost."""

    def __init__(self, reason: str, *, node: bool = False) -> None:
        super().__init__(reason)
        self.node = node


class CollectiveGroup:
    """Runs a collective stage on ranks of its own, in the Ray session that is up.

    Args:
        stage: the stage.
        num_ranks: actors, at least 1; all of them have to fit on the cluster at once.
        actor_options: how Ray places one of them (``num_cpus``, ``num_gpus``, ``label_selector``, ``runtime_env``...);
            what is not said comes from the stage.
        setup_timeout_s: limit for starting all ranks, for joining them, and for ``setup``, each.
        call_timeout_s: limit for ``process_batch``.
        operation_timeout_s: how long a rank may wait for the others in one call of its communicator; at least as long
            as the slowest rank computes between two calls.
        max_restarts: how often the group is started again after a rank was lost.
        max_node_losses: how often it is started again after a node was lost.

    Raises:
        ConfigError: the stage asks for a communicator that is not known, or for ``nccl`` without a whole GPU per rank.
    """

    def __init__(
        self,
        stage: CollectiveStage,
        *,
        num_ranks: int,
        actor_options: Mapping[str, Any] | None = None,
        setup_timeout_s: float = 300.0,
        call_timeout_s: float = 86_400.0,
        operation_timeout_s: float = 1_800.0,
        max_restarts: int = 3,
        max_node_losses: int = 10,
    ) -> None:
        resources = stage.resources
        self.stage = stage
        self.num_ranks = num_ranks
        self.actor_options = {"num_cpus": resources.cpus, "num_gpus": resources.gpus, **(actor_options or {})}
        if stage.runtime_env:
            self.actor_options.setdefault("runtime_env", dict(stage.runtime_env))
        self.setup_timeout_s = setup_timeout_s
        self.call_timeout_s = call_timeout_s
        self.operation_timeout_s = operation_timeout_s
        self.max_restarts = max_restarts
        self.max_node_losses = max_node_losses
        self._check()

    def _check(self) -> None:
        name, gpus = self.stage.name, self.actor_options["num_gpus"] or 0
        problems = []
        if self.num_ranks < 1:
            problems.append(f"stages.{name}.num_ranks={self.num_ranks!r}: must be at least 1.")
        if self.stage.communicator not in COMMUNICATORS:
            problems.append(
                f"stages.{name}.communicator={self.stage.communicator!r}: is not known; choose one of "
                f"{', '.join(COMMUNICATORS)}."
            )
        if self.stage.communicator == "nccl" and gpus < 1:
            problems.append(
                f"stages.{name}.communicator='nccl': joins GPUs, and a rank has {gpus:g} of them. Give it one with "
                f"'stages.{name}.resources.gpus=1', or choose 'stages.{name}.communicator=gloo'."
            )
        if problems:
            raise ConfigError(problems)

    def run(self, tasks: Sequence[Task]) -> list[Task]:
        """Run the stage on all tasks.

        Args:
            tasks: the tasks with their ids; none gives none and starts nothing.

        Returns:
            What the ranks made, in rank order, and behind it the tasks that they gave up (``FailedTask``).

        Raises:
            StageError: the stage raised something, twice.
            ConfigError: the stage refuses its configuration.
            ExecutorError: torch is missing, no Ray session is up, the ranks do not fit on the cluster, one of them did
                not answer in time, or ranks were lost more often than allowed.
        """
        if not tasks:
            return []
        if importlib.util.find_spec("torch") is None:
            raise ExecutorError(NEEDS_TORCH.format("No module named 'torch'"))
        if not ray.is_initialized():
            raise ExecutorError(f"stage {self.stage.name!r}: no Ray session is up for its ranks.")
        try:
            ray.cloudpickle.dumps(self.stage)  # type: ignore[no-untyped-call]
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise ConfigError(f"stages.{self.stage.name}: cannot be sent to a worker: {problem}.") from error
        shares = split_evenly(tasks, self.num_ranks)
        restarts = node_losses = failures = 0
        while True:
            try:
                made, failure = self._attempt(shares)
            except _LostError as loss:
                restarts, node_losses = restarts + (not loss.node), node_losses + loss.node
                self._check_budget(loss, restarts, node_losses)
                logger.warning("{}: {}; the group of {} starts again", self.stage.name, loss, self.num_ranks)
                if not loss.node:
                    time.sleep(min(LONGEST_PAUSE_S, 2.0 ** (restarts - 1)))
                continue
            except StageError as error:
                failures += 1
                if failures == STAGE_ATTEMPTS:
                    raise
                logger.warning("{}; everything is run once more", error)
                continue
            if failure is not None:
                raise failure
            return made

    def _check_budget(self, loss: _LostError, restarts: int, node_losses: int) -> None:
        if restarts > self.max_restarts:
            losses, limit = restarts, f"max_restarts={self.max_restarts}"
        elif node_losses > self.max_node_losses:
            losses, limit = node_losses, f"max_node_losses={self.max_node_losses}"
        else:
            return
        times = "once" if losses == 1 else f"{losses} times"
        raise ExecutorError(
            f"stage {self.stage.name!r}: its group of {self.num_ranks} ranks was lost {times} ({limit}); the "
            f"last time {loss}. A rank that needs more memory than there is dies so; see the logs of its node."
        ) from loss

    def _attempt(self, shares: Sequence[list[Task]]) -> tuple[list[Task], CuratorError | None]:
        """One group from start to end: what it made, and what went wrong after that."""
        session = secrets.token_hex(8)
        actors: list[Any] = []
        try:
            for rank in range(self.num_ranks):
                actors.append(self._start(rank, session))  # noqa: PERF401
            places = self._join(actors, session)
            working = [actor.process.remote(share) for actor, share in zip(actors, shares, strict=True)]
            made = self._all("process_batch", working, self.call_timeout_s, places=places)
            results = [task for tasks in made for task in tasks]
            return sorted(results, key=lambda task: isinstance(task, FailedTask)), self._tear_down(actors)
        finally:
            for actor in actors:
                with contextlib.suppress(RayError):
                    ray.kill(actor)

    def _join(self, actors: Sequence[Any], session: str) -> list[Place]:
        """Join the ranks and set the stage up in all of them; where they are."""
        places: list[Place] = self._all("start", [actor.place.remote() for actor in actors], self.setup_timeout_s)
        addresses = meeting_addresses([place.address for place in places])
        limit_s = self.operation_timeout_s
        listening = [actors[0].listen.remote(addresses[0], limit_s)]
        (root,) = self._all("join", listening, self.setup_timeout_s, places=places)
        joining = [
            actor.connect.remote(root, session, address, limit_s, place.gpu_ids)
            for actor, address, place in zip(actors, addresses, places, strict=True)
        ]
        self._all("join", joining, self.setup_timeout_s, places=places)
        setting_up = [
            actor.setup.remote(self._metadata(rank, session, place))
            for rank, (actor, place) in enumerate(zip(actors, places, strict=True))
        ]
        self._all("setup", setting_up, self.setup_timeout_s, places=places)
        return places

    def _start(self, rank: int, session: str) -> Any:  # noqa: ANN401
        options = {
            **self.actor_options,
            "runtime_env": hide_secrets(self.actor_options.get("runtime_env") or {}, STAGE) or None,
            "name": f"{self.stage.name}-{session}-rank-{rank}",
            "max_restarts": 0,
            "max_task_retries": 0,
        }
        return ray.remote(_RankActor).options(**options).remote(self.stage, rank, self.num_ranks)

    def _metadata(self, rank: int, session: str, place: Place) -> WorkerMetadata:
        allocation = {"rank": rank, "num_ranks": self.num_ranks, "session": session, "gpu_ids": list(place.gpu_ids)}
        return WorkerMetadata(worker_id=place.worker_id, allocation=allocation)

    def _tear_down(self, actors: Sequence[Any]) -> CuratorError | None:
        try:
            self._all("teardown", [actor.teardown.remote() for actor in actors], self.setup_timeout_s)
        except _LostError as loss:
            logger.warning("{}: {}, after its work was done", self.stage.name, loss)
        except CuratorError as error:
            return error
        return None

    def _all(
        self, doing: str, calls: Sequence[Any], timeout_s: float, *, places: Sequence[Place] | None = None
    ) -> list[Any]:
        """The answers of all ranks, in order.

        Raises:
            _LostError: a rank was lost, or did not answer while it joined or was set up.
            CuratorError: the answer of a rank is an error, or a rank did not answer.
        """
        ranks = {call: rank for rank, call in enumerate(calls)}
        values: list[Any] = [None] * len(calls)
        waiting, deadline = list(calls), time.monotonic() + timeout_s
        hearsay: CuratorError | None = None
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=1, timeout=max(0.0, deadline - time.monotonic()))
            if not done:
                break
            answer = self._get(doing, done[0], ranks[done[0]], places)
            if answer.lost and hearsay is None:
                hearsay, deadline = answer.error, min(deadline, time.monotonic() + BLAME_S)
            elif answer.error is not None and not answer.lost:
                raise answer.error
            values[ranks[done[0]]] = answer.value
        if hearsay is not None:
            raise _LostError(str(hearsay))
        if waiting:
            self._give_up(doing, [ranks[call] for call in waiting], timeout_s)
        return values

    def _get(self, doing: str, call: Any, rank: int, places: Sequence[Place] | None) -> Answer[Any]:  # noqa: ANN401
        who = f"rank {rank} of {self.num_ranks}"
        try:
            answer: Answer[Any] = ray.get(call)
        except RuntimeEnvSetupError as error:
            raise ExecutorError(
                f"stage {self.stage.name!r}: the runtime_env of {who} cannot be set up: {error}"
            ) from error
        except RayTaskError as error:
            cause = f"{type(error.cause).__name__}: {error.cause}"
            raise StageError(
                f"{who}: stage {self.stage.name!r} failed in {doing}: {cause}", stage=self.stage.name
            ) from error
        except RayError as error:
            node = places is not None and _node_is_gone(places[rank].node_id)
            raise _LostError(
                f"{who} was lost with its {'node' if node else 'process'}: {_reason(error)}", node=node
            ) from error
        return answer

    def _give_up(self, doing: str, missing: Sequence[int], timeout_s: float) -> None:
        late = f"{'rank' if len(missing) == 1 else 'ranks'} {', '.join(map(str, missing))} of {self.num_ranks}"
        who = f"stage {self.stage.name!r}: {late}"
        if doing == "start":
            available: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
            free = {name: available.get(name, 0.0) for name in ("CPU", "GPU", "memory")}
            needs = {name: amount for name, amount in self.actor_options.items() if name != "runtime_env"}
            raise ExecutorError(
                f"{who} did not start within {timeout_s:g} s. All ranks run at once; each needs {needs}, and {free} is "
                f"free now. Free resources, or lower 'stages.{self.stage.name}.num_ranks'."
            )
        if doing == "process_batch":
            raise ExecutorError(f"{who} did not finish {doing} within {timeout_s:g} s.")
        raise _LostError(f"{late} did not finish {doing} within {timeout_s:g} s")


def _reason(error: RayError) -> str:
    """Why Ray says that an actor died, less its names and the general advice."""
    text = " ".join(str(error).partition("Some common causes")[0].split())
    start = max(text.rfind("The actor is dead because"), text.rfind("The actor died because"), 0)
    return text[start:].rstrip(". ")


def _node_is_gone(node_id: str) -> bool:
    """Whether a node has left the cluster; news of that can come a little later than that of its actors."""
    deadline = time.monotonic() + _NODE_NEWS_S
    while True:
        nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
        if node_id not in {node["NodeID"] for node in nodes if node["Alive"]}:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
