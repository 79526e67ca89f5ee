"""What a config says about one set of replicas: a frozen ``ReplicaSettings``, checked. Pure, no Ray.

Refused, all mistakes in one message: sizes below 1, a model server that cannot do what is asked, options that curator
sets itself, and a command that says not where to listen or would show the key to everybody on the machine.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from curator.errors import ConfigError
from curator.stages.resources import Resources

TINY_MODEL = "curator-tiny-random"
"""The name of the model with random weights that is made where it is served; nothing is fetched for it."""

PLACEHOLDERS = ("host", "port", "model", "revision", "api_key_file", "tp_size", "rank", "nnodes", "master_addr")
"""What the words of ``command`` may name in braces; ``{{`` and ``}}`` are braces."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_OWN_ARGUMENTS = {
    "api_key": "a key is made for each run",
    "device": "write device beside arguments",
    "distributed_executor_backend": "curator starts the servers of all nodes",
    "force_model": "write model beside arguments",
    "headless": "curator starts the servers of all nodes",
    "host": "curator chooses the address",
    "master_addr": "curator starts the servers of all nodes",
    "master_port": "curator starts the servers of all nodes",
    "model": "write model beside arguments",
    "nnodes": "curator plans the nodes",
    "node_rank": "curator starts the servers of all nodes",
    "pipeline_parallel_size": "write pp_size beside arguments",
    "port": "curator chooses the port",
    "revision": "write revision beside arguments",
    "served_model_name": "requests name the model",
    "tensor_parallel_size": "write tp_size beside arguments",
}
_LEAST = {
    "replicas": 1,
    "tp_size": 1,
    "pp_size": 1,
    "start_timeout_s": 1,
    "health_interval_s": 0.1,
    "health_timeout_s": 0.1,
    "stop_timeout_s": 0,
    "max_restarts": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplicaSettings:
    """Replicas of one model that are all alike.

    Args:
        name: what stages call the set.
        model: a name on the model hub, or a folder that every node sees; ``curator-tiny-random`` is made on the spot.
        engine: ``vllm``, ``transformers``, or ``command`` for any server that speaks OpenAI's protocol.
        revision: commit of the model; empty is the newest.
        replicas: copies of the model.
        device: ``gpu``, or ``cpu`` for a replica without GPUs.
        tp_size: GPUs that each layer is split over.
        pp_size: parts that the layers are split into; a replica spans ``tp_size * pp_size`` GPUs.
        arguments: options of the engine's own command, as ``{max_model_len: 8192}``.
        command: of engine ``command``, the words that start the server; they may name ``PLACEHOLDERS`` in braces.
        resources: what else a replica reserves: ``cpus``, ``memory_gb``, ``custom`` and ``labels``.
        runtime_env: environment of the server, merged over that of the run.
        start_timeout_s: seconds from the first start of a server until it must have answered, restarts included.
        health_interval_s: seconds between looks at a replica that is up.
        health_timeout_s: seconds that such a look may take; three in a row without an answer end the server.
        stop_timeout_s: seconds between asking a server to end and ending it.
        max_restarts: ends of a replica before it is given up; ten healthy minutes forgive one.

    Raises:
        ConfigError: something is wrong; all of it is in the message.

    Example:
        >>> ReplicaSettings(name="judge", model="llama", engine="vllm", tp_size=0)
        Traceback (most recent call last):
        curator.errors.ConfigError: tp_size: 0 must be at least 1.
    """

    name: str
    model: str
    engine: Literal["vllm", "transformers", "command"] = "vllm"
    revision: str = ""
    replicas: int = 1
    device: Literal["gpu", "cpu"] = "gpu"
    tp_size: int = 1
    pp_size: int = 1
    arguments: Mapping[str, Any] | None = None
    command: list[str] | None = None
    resources: Mapping[str, Any] | None = None
    runtime_env: Mapping[str, Any] | None = None
    start_timeout_s: float = 1800.0
    health_interval_s: float = 10.0
    health_timeout_s: float = 30.0
    stop_timeout_s: float = 15.0
    max_restarts: int = 3

    def __post_init__(self) -> None:
        if problems := list(_mistakes(self)):
            raise ConfigError(problems)

    @property
    def served_model(self) -> str:
        """What requests name."""
        return f"{self.model}@{self.revision}" if self.revision and self.engine == "transformers" else self.model

    @property
    def digest(self) -> str:
        """Of everything that decides what is served, as 16 hexadecimal digits; the values of variables count."""
        said = json.dumps(asdict(self), sort_keys=True, default=str)
        return hashlib.blake2b(said.encode(), digest_size=8).hexdigest()

    def bundle(self) -> Resources:
        """What a whole replica reserves besides its GPUs."""
        given = dict(self.resources or {})
        return Resources(
            cpus=given.get("cpus", 1.0),
            memory_gb=given.get("memory_gb", 0.0),
            custom=given.get("custom") or {},
            labels=given.get("labels") or {},
        )


def _mistakes(settings: ReplicaSettings) -> Iterator[str]:
    if not _NAME.fullmatch(settings.name):
        yield f"name: {settings.name!r} must be letters, digits, '-' and '_', at most 63 of them."
    if not settings.model.strip():
        yield "model: is empty. Name a model of the hub, a folder, or 'curator-tiny-random'."
    if settings.model.startswith("-") or settings.revision.startswith("-"):
        yield "model: neither a model nor a revision begins with '-'."
    for key, least in _LEAST.items():
        value = getattr(settings, key)
        if not value >= least:  # nan as well
            yield f"{key}: {value!r} must be at least {least}."
    if settings.device == "cpu" and (settings.tp_size > 1 or settings.pp_size > 1):
        yield "device: on cpu, a replica is one process; leave out tp_size and pp_size, or write device=gpu."
    if settings.engine == "transformers" and (settings.tp_size > 1 or settings.pp_size > 1):
        yield "engine: transformers serves a model on one device; write engine=vllm, or leave out tp_size and pp_size."
    if settings.model == TINY_MODEL and settings.engine != "transformers":
        yield f"model: {TINY_MODEL} is made for engine=transformers."
    yield from _mistakes_in_resources(settings)
    yield from _mistakes_in_arguments(settings)
    yield from _mistakes_in_command(settings)


def _mistakes_in_resources(settings: ReplicaSettings) -> Iterator[str]:
    known = ("cpus", "custom", "labels", "memory_gb")
    for key in settings.resources or {}:
        if key == "gpus":
            yield "resources.gpus: follows from tp_size and pp_size; device=cpu is for none."
        elif key not in known:
            yield f"resources.{key}: there is no such key. The keys are: {', '.join(known)}."
    try:
        settings.bundle()
    except (ConfigError, TypeError, ValueError) as error:
        yield f"resources: {error}"


def _mistakes_in_arguments(settings: ReplicaSettings) -> Iterator[str]:
    for key in settings.arguments or {}:
        plain = str(key).lstrip("-").replace("-", "_")
        if plain in _OWN_ARGUMENTS:
            yield f"arguments.{key}: is not to be set here: {_OWN_ARGUMENTS[plain]}."
        elif not re.fullmatch(r"[A-Za-z][A-Za-z0-9_.]*", plain):
            yield f"arguments.{key}: is no name of an option."
    if settings.arguments and settings.engine == "command":
        yield "arguments: engine=command takes its options as words of command."


def _mistakes_in_command(settings: ReplicaSettings) -> Iterator[str]:
    if settings.engine != "command":
        if settings.command:
            yield f"command: engine={settings.engine} has its own; write engine=command."
        return
    if not settings.command:
        yield "command: engine=command needs the words of one, as in [my-server, --port, '{port}', --model, '{model}']."
        return
    said = " ".join(settings.command)
    named = {match[1] for match in re.finditer(r"(?<!\{)\{(\w*)\}(?!\})", said)}
    if "api_key" in named:
        yield (
            "command: everybody on the machine can read the words of a command. The key is in the variable "
            "CURATOR_REPLICA_KEY of the server, and in the file that {api_key_file} names."
        )
    for name in sorted(named - set(PLACEHOLDERS) - {"api_key"}):
        yield f"command: {{{name}}} is not known. The names are: {', '.join(PLACEHOLDERS)}."
    if "port" not in named:
        yield "command: does not say {port}, so nobody would know where the server listens."
