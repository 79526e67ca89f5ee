"""The sets of replicas that a config says: checked settings in, and the stages that ask them; all mistakes at once.

The environment of a set is merged over that of the job by the one merge, so that a variable it changes is named in a
warning. Nothing is started here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from curator.config.arguments import construct
from curator.config.environment import check_environment, reveal
from curator.config.layers import Settings, merge_stage_env
from curator.config.suggest import suggest
from curator.errors import ConfigError
from curator.serve.settings import ReplicaSettings

if TYPE_CHECKING:
    from curator.executors.base import BaseExecutor
    from curator.pipeline.outlook import Machine
    from curator.placement.replicas import ReplicaPlan, ReplicaRequest
    from curator.stages.base import ProcessingStage

FOLDER = "replicas"
"""Below the run's directory: addresses, keys and logs."""


def read_replicas(
    section: object, job: Settings, problems: list[str], trusted: Sequence[str]
) -> tuple[tuple[ReplicaSettings, ...], list[Settings]]:
    """Check the section ``replicas``.

    Args:
        section: name to settings; ``None`` is none.
        job: the environment of the job.
        problems: gets a sentence for every mistake.
        trusted: prefixes of trusted names.

    Returns:
        The sets, and the environment of each with the source of each key.

    Example:
        >>> problems = []
        >>> read_replicas({"judge": {"modle": "m"}}, Settings({}, {}), problems, ())[0]
        ()
        >>> problems[0].partition(" The keys")[0]
        "replicas.judge.modle: there is no such key. Did you mean 'replicas.judge.model'?"
    """
    if section is None:
        return (), []
    if not isinstance(section, Mapping):
        problems.append(f"replicas: {section!r} is no mapping of names to settings. Choose one: 'replicas=tiny_cpu'.")
        return (), []
    sets, environments = [], []
    for name, said in section.items():
        path = f"replicas.{name}"
        if not isinstance(said, Mapping):
            problems.append(f"{path}: {said!r} is no mapping with a model.")
            continue
        given = dict(said)
        wrong = check_environment(given.get("runtime_env"), f"{path}.runtime_env", trusted)
        if "name" in given:
            wrong.append(f"{path}.name: the name of a set is its key. Leave it out.")
        if not wrong:
            environment = merge_stage_env(job, given.get("runtime_env") or {}, path)
            environments.append(environment)
            merged = reveal(environment.executor.get("runtime_env") or {})
            # Of what the job says, Ray hands everything but variables on by itself, and takes local folders once only.
            own = {"env_vars", *(given.get("runtime_env") or {})}
            given["runtime_env"] = {key: value for key, value in merged.items() if key in own}
        problems += wrong
        try:
            sets.append(construct(ReplicaSettings, {**given, "name": str(name)}, path))
        except ConfigError as error:
            problems += error.problems
    return tuple(sets), environments


def ask_replicas(
    stages: Sequence[ProcessingStage], sets: Sequence[ReplicaSettings], problems: list[str]
) -> tuple[list[ProcessingStage], dict[str, ReplicaSettings]]:
    """Find the set that each stage asks.

    Args:
        stages: the stages; those that have a ``source`` and no ``endpoint`` ask a set.
        sets: what was chosen.
        problems: gets a sentence for every stage that has nobody to ask.

    Returns:
        The stages, which know what their model is called now, and the set of each one that asks.
    """
    known = {each.name: each for each in sets}
    changed: list[ProcessingStage] = []
    asked: dict[str, ReplicaSettings] = {}
    for stage in stages:
        if not hasattr(stage, "source") or getattr(stage, "endpoint", None) is not None:
            changed.append(stage)
            continue
        wanted = getattr(stage, "replicas", None)
        name = next(iter(known), None) if wanted is None and len(known) == 1 else wanted
        if name in known:
            asked[stage.name] = known[name]
            stage = stage.with_(model=known[name].served_model, revision=known[name].revision or None)
        elif wanted is not None:
            others = suggest(str(wanted), known, kind="sets") if known else f"Choose it: 'replicas={wanted}'."
            problems.append(f"stages.{stage.name}.replicas: there is no set {wanted!r} in this run. {others}")
        elif known:
            problems.append(
                f"stages.{stage.name}.replicas: which of {', '.join(sorted(known))} is to be asked? Say "
                f"'stages.{stage.name}.replicas={min(known)}'."
            )
        else:
            problems.append(
                f"stages.{stage.name}: there is nobody to ask. Choose a set of replicas, as in 'replicas=tiny_cpu', or "
                f"name a server: 'stages.{stage.name}.endpoint=http://HOST:PORT/v1'."
            )
        changed.append(stage)
    return changed, asked


def tell_sources(
    stages: Sequence[ProcessingStage], asked: Mapping[str, ReplicaSettings], run_directory: Path
) -> list[ProcessingStage]:
    """Copies of the stages that know where the addresses of their replicas will be."""
    from curator.serve.endpoints import ReplicaEndpoints

    directory = str(run_directory.absolute() / FOLDER)

    def told(stage: ProcessingStage) -> ProcessingStage:
        settings = asked.get(stage.name)
        if settings is None:
            return stage
        return stage.with_(source=ReplicaEndpoints(settings.name, settings.served_model, directory, settings.revision))

    return [told(stage) for stage in stages]


@contextmanager
def beside(
    executor: BaseExecutor, sets: Sequence[ReplicaSettings], run_directory: Path, stages: Sequence[ProcessingStage]
) -> Iterator[None]:
    """Let an executor have replicas up while its session is, if they leave room to a worker of any of the stages."""
    if not sets:
        yield
        return
    # A local run's worker is this process, which Ray knows nothing of.
    worker_cpus = max(stage.resources.cpus for stage in stages) if "num_workers" in executor.config else 0.0

    def open_replicas() -> AbstractContextManager[Any]:
        from curator.serve.beside import replicas_beside

        directory = run_directory.absolute() / FOLDER
        return replicas_beside(sets, directory, ignore_head_node=executor.ignore_head_node, worker_cpus=worker_cpus)

    executor.beside = (open_replicas,)
    try:
        yield
    finally:
        executor.beside = ()


def plan_sets(
    sets: Sequence[ReplicaSettings], machine: Machine | None, executor: BaseExecutor, problems: list[str]
) -> tuple[list[ReplicaRequest], ReplicaPlan | None]:
    """Where the replicas would be.

    Args:
        sets: what was chosen.
        machine: where a session of our own would be; ``None`` for a cluster, which is not asked.
        executor: who runs.
        problems: gets a sentence for each set that does not fit.

    Returns:
        What is asked for, and the plan; ``None`` for it on a cluster.
    """
    from curator.cluster.capacity import NodeOffer
    from curator.placement.packing import plan_replicas
    from curator.serve.requests import request_of

    requests = [request_of(each) for each in sets]
    if machine is None or not requests:
        return requests, None
    here = NodeOffer(
        node_id="this machine", is_head=True, cpus=machine.cpus, gpus=machine.gpus, memory=machine.memory_bytes
    )
    plan = plan_replicas(requests, [here], ignore_head_node=executor.ignore_head_node or None)
    problems += plan.problems
    return requests, plan


def unasked(sets: Sequence[ReplicaSettings], asked: Mapping[str, ReplicaSettings]) -> list[str]:
    """A sentence for each set that no stage asks."""
    used = {each.name for each in asked.values()}
    return [
        f"replicas.{each.name}: no stage of this run asks it; it is started all the same."
        for each in sets
        if each.name not in used
    ]
