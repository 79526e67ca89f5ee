"""The command lines of model servers: settings and addresses in, words and variables out. Pure; nothing is started.

The key never is among the words, which everybody on a machine can read; a server finds it among its variables. vLLM's
options are those of its documentation (``vllm serve``, "Parallelism and Scaling"): the server of rank 0 answers
requests, those of the other nodes run without an address and find it by ``--master-addr``.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from curator.serve.settings import TINY_MODEL, ReplicaSettings
from curator.stages.runtime_env import SecretText

KEY_VARIABLE = "CURATOR_REPLICA_KEY"
"""The variable of every server that holds the key it is to ask for."""

_SHORT = re.compile(r"\{\{|\}\}|\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Rank:
    """One server of a replica; a replica has one for each of its nodes.

    Args:
        host: address that it listens on.
        port: that it may listen on; requests go to that of rank 0.
        rank: from 0 on.
        nnodes: servers of the replica.
        master_addr: address of rank 0.
        master_port: where the ranks meet.
    """

    host: str
    port: int
    rank: int = 0
    nnodes: int = 1
    master_addr: str = ""
    master_port: int = 0


@dataclass(frozen=True, slots=True)
class ServerCommand:
    """What a node starts.

    Args:
        words: the program and its arguments; nothing of it goes through a shell.
        variables: of its environment, over what the node has.
        model_path: what must be there on the node; empty for a model that has a name.
    """

    words: tuple[str, ...]
    variables: Mapping[str, str]
    model_path: str = ""


def server_command(settings: ReplicaSettings, rank: Rank, *, key: str, key_file: str) -> ServerCommand:
    """The command of one server.

    Args:
        settings: of its set.
        rank: which server it is, and where.
        key: what requests must carry.
        key_file: a file that holds the key.

    Example:
        >>> judge = ReplicaSettings(name="judge", model="llama", tp_size=4, arguments={"max_model_len": 8192})
        >>> print(*server_command(judge, Rank("127.0.0.1", 8000), key="k", key_file="f").words)
        vllm serve llama --host 127.0.0.1 --port 8000 --tensor-parallel-size 4 --max-model-len 8192
    """
    own = {str(name): str(value) for name, value in dict((settings.runtime_env or {}).get("env_vars") or {}).items()}
    variables = {**own, KEY_VARIABLE: SecretText(key)}
    if settings.engine == "command":
        return ServerCommand(tuple(_command(settings, rank, key_file)), variables)
    is_path = settings.model.startswith("/") and ":" not in settings.model  # FOLDER:FILE.gguf is one as well
    model_path = settings.model if is_path else ""
    if settings.engine == "vllm":
        variables |= _vllm_variables(settings, rank, key)
        return ServerCommand(tuple(_vllm(settings, rank)), variables, model_path)
    usual = {"HF_HUB_OFFLINE": "1"} if settings.model == TINY_MODEL else {}
    if settings.device == "cpu":
        # Torch would take all cores of the node, those of workers and of other replicas too.
        usual["OMP_NUM_THREADS"] = str(max(1, int(settings.bundle().cpus)))
    return ServerCommand(tuple(_transformers(settings, rank)), {**usual, **variables}, model_path)


def options(arguments: Mapping[str, Any]) -> Iterator[str]:
    """Options of a command line from names and values.

    Args:
        arguments: ``True`` is a switch, ``False`` the one that begins with ``no-``, ``None`` leaves it out, a list is
            several words, a mapping is JSON.

    Example:
        >>> print(*options({"max_model_len": 8192, "enforce_eager": True, "enable_x": False, "a": None, "b": [1, 2]}))
        --max-model-len 8192 --enforce-eager --no-enable-x --b 1 2
    """
    for name, value in arguments.items():
        plain = str(name).lstrip("-").replace("_", "-")
        if value is None:
            continue
        if isinstance(value, bool):
            yield f"--{plain}" if value else f"--no-{plain}"
            continue
        yield f"--{plain}"
        if isinstance(value, Mapping):
            yield json.dumps(dict(value))
        elif isinstance(value, list | tuple):
            yield from map(str, value)
        else:
            yield str(value)


def _vllm(settings: ReplicaSettings, rank: Rank) -> Iterator[str]:
    yield from ("vllm", "serve", settings.model)
    if settings.revision:
        yield from ("--revision", settings.revision)
    if rank.rank == 0:
        yield from ("--host", rank.host, "--port", str(rank.port))
    if settings.device == "gpu":
        yield from ("--tensor-parallel-size", str(settings.tp_size))
    if settings.pp_size > 1:
        yield from ("--pipeline-parallel-size", str(settings.pp_size))
    if rank.nnodes > 1:
        yield from ("--nnodes", str(rank.nnodes), "--node-rank", str(rank.rank))
        yield from ("--master-addr", rank.master_addr, "--master-port", str(rank.master_port))
    if rank.rank:
        yield "--headless"
    yield from options(settings.arguments or {})


def _vllm_variables(settings: ReplicaSettings, rank: Rank, key: str) -> dict[str, str]:
    # Processes that are forked cannot use a GPU that their parent has used.
    variables = {"VLLM_WORKER_MULTIPROC_METHOD": "spawn"} if settings.device == "gpu" else {}
    if rank.nnodes > 1:
        variables["VLLM_HOST_IP"] = rank.host
    return {**variables, "VLLM_API_KEY": SecretText(key)} if rank.rank == 0 else variables


def _transformers(settings: ReplicaSettings, rank: Rank) -> Iterator[str]:
    # Its server knows no keys; ours is the same server behind a check.
    yield from (sys.executable, "-m", "curator.serve.transformers_server", "serve", settings.served_model)
    yield from ("--host", rank.host, "--port", str(rank.port))
    yield from ("--device", "cpu" if settings.device == "cpu" else "cuda")
    yield from options(settings.arguments or {})


def _command(settings: ReplicaSettings, rank: Rank, key_file: str) -> Iterator[str]:
    values = {
        "host": rank.host,
        "port": str(rank.port),
        "model": settings.model,
        "revision": settings.revision,
        "api_key_file": key_file,
        "tp_size": str(settings.tp_size),
        "rank": str(rank.rank),
        "nnodes": str(rank.nnodes),
        "master_addr": rank.master_addr or rank.host,
    }

    def fill(match: re.Match[str]) -> str:
        return values[match[1]] if match[1] else match[0][0]

    for word in settings.command or ():
        yield _SHORT.sub(fill, word)
