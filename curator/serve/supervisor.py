"""The supervisor of a server: an actor in a bundle of a placement group, which owns it and dies with its node.

Commands come in, a look at the server goes out; decisions are the keeper's. The server listens on loopback if the
cluster is one machine, else on the private address of its node, and sees the GPUs of its bundle only.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import ray

from curator.errors import ConfigError, ExecutorError
from curator.placement.addresses import check_address, find_free_port, is_port_taken
from curator.serve.engines import ServerCommand
from curator.serve.processes import GuardedServer, kill_orphans, start_server

LOOPBACK = "127.0.0.1"
_PR_SET_PDEATHSIG = 1
_LONGEST_ANSWER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Sight:
    """What a supervisor sees of its server.

    Args:
        exit_code: ``None`` while it runs.
        tail: the end of its log, once it has ended.
    """

    exit_code: int | None
    tail: str = ""


class Supervisor:
    """Starts, looks at and ends one server on its node; all its methods may be called again."""

    def __init__(self) -> None:
        _end_with_parent()
        self._server: GuardedServer | None = None
        self._host, self._ports = "", list[int]()
        kill_orphans()

    def place(self, is_one_machine: bool, num_ports: int) -> tuple[str, list[int], str]:
        """Where a server may listen.

        Args:
            is_one_machine: whether nobody on another machine has to reach it.
            num_ports: free ports that are wanted, each another one.

        Returns:
            The address, the ports, and the id of the node.

        Raises:
            ExecutorError: the node's address can be reached from everywhere.
        """
        own: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
        host = LOOPBACK if is_one_machine else check_address(own)
        ports: list[int] = []
        # Two supervisors of one node that look at once must not find the same port.
        first = 20_000 + (os.getpid() * 7) % 12_000
        for _ in range(num_ports):
            ports.append(find_free_port(host, ports[-1] + 1 if ports else first, 32_767))
        self._host, self._ports = host, ports
        return host, ports, ray.get_runtime_context().get_node_id()

    def start(self, command: ServerCommand, directory: str, *, mark: str, stop_timeout_s: float) -> None:
        """Start the server.

        Args:
            command: what to start.
            directory: for its log, ``<name>.log``, and what it leaves behind.
            mark: name of the replica.
            stop_timeout_s: seconds between SIGTERM and SIGKILL.

        Raises:
            ConfigError: the model is a folder that is not here.
            ExecutorError: there is no such program here, or the directory cannot be written.
        """
        self.stop()
        if command.model_path and not Path(command.model_path).exists():
            raise ConfigError(
                f"model: there is no {command.model_path!r} on its node. Name a folder that every node sees, or a "
                "model of the hub."
            )
        folder = Path(directory)
        log = folder / f"{mark.rpartition('.')[2]}.log"
        try:
            self._server = start_server(
                command.words,
                {**command.variables, **_visible_devices()},
                log,
                mark=mark,
                stop_timeout_s=stop_timeout_s,
                folder=folder,
            )
        except OSError as error:
            raise ExecutorError(f"its server cannot be started: {error}") from error

    def look(self) -> Sight:
        """Whether the server runs."""
        if self._server is None:
            return Sight(-1)
        code = self._server.exit_code()
        return Sight(code, "" if code is None else self._server.tail())

    def tail(self) -> str:
        """The end of what the server wrote."""
        return "" if self._server is None else self._server.tail()

    def taken_port(self) -> int | None:
        """The port of ``place`` that another program has; to be asked when the server has ended, with all it began."""
        return next((port for port in self._ports if is_port_taken(self._host, port)), None)

    def ask(self, url: str, model: str, key: str, timeout_s: float) -> str:
        """Ask for a real completion of one token.

        Returns:
            Why that is no answer; empty if it is one.
        """
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        status, answer = _request(f"{url}/chat/completions", key, timeout_s, json.dumps(body).encode())
        if status != 200:
            return f"a request for one token was answered by {status or 'nothing'}: {answer[:300]}"
        try:
            choices = json.loads(answer)["choices"]
            return "" if choices[0]["message"] is not None else "a request for one token was answered without a message"
        except (ValueError, KeyError, TypeError, IndexError):
            return f"a request for one token was answered by no completion: {answer[:300]!r}"

    def is_open(self, url: str, model: str, timeout_s: float) -> bool:
        """Whether the server answers a request without the key."""
        body = {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        return _request(f"{url}/chat/completions", "", timeout_s, json.dumps(body).encode())[0] == 200

    def is_well(self, url: str, key: str, timeout_s: float) -> str:
        """Whether the server answers at all; a busy one is not given more to do for it.

        Returns:
            Why not; empty if it does.
        """
        status, answer = _request(f"{url.removesuffix('/v1')}/health", key, timeout_s, None)
        return "" if 0 < status < 500 else f"it was asked for its health, and answered {status or 'nothing'}: {answer}"

    def stop(self) -> None:
        """End the server and all that it began."""
        if self._server is not None:
            self._server.stop()


def _visible_devices() -> Mapping[str, str]:
    devices = ray.get_runtime_context().get_accelerator_ids().get("GPU", [])
    # Ray leaves the variable alone for a worker without GPUs, which would then see all of them.
    return {"CUDA_VISIBLE_DEVICES": ",".join(sorted(devices, key=lambda device: (len(device), device)))}


def _request(url: str, key: str, timeout_s: float, body: bytes | None) -> tuple[int, str]:
    """Status and text of an answer; 0 and the reason if there is none."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310 - our own http URL
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=timeout_s) as answer:
            return answer.status, answer.read(_LONGEST_ANSWER_BYTES).decode(errors="replace")
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read(_LONGEST_ANSWER_BYTES).decode(errors="replace")
    except Exception as error:  # noqa: BLE001 - a server under test may answer anything
        return 0, f"{type(error).__name__}: {error}"


def _end_with_parent() -> None:
    """Let the kernel end this worker when its node does, which ends its server."""
    parent = os.getppid()
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
