"""A Ray session: joined if there is one or an address says so, else started privately and taken down again.

A private session listens on loopback only, demands a token that only this process and its workers know, and keeps its
files in a folder that only this user can open. A session that was there before is left as it was.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import ray
from loguru import logger

from curator.errors import ConfigError, ExecutorError

NAMESPACE = "curator"
_CONNECT_S = 10.0

_PRIVATE_ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_USAGE_STATS_REPORT_URL": "http://127.0.0.1:9/",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # the node takes 127.0.0.1, and so does every port of it
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DEDUP_LOGS": "0",
    "RAY_prestart_worker_first_driver": "0",  # idle workers would start, and take the cores, while the run does
    "RAY_worker_niceness": "0",  # 15 otherwise: every other process of the machine would come first
}


@dataclass(frozen=True, slots=True)
class RaySession:
    """A session that is up.

    Args:
        started_here: whether it is taken down at the end.
        nodes: alive nodes as ``ray.nodes()`` lists them.
    """

    started_here: bool
    nodes: list[dict[str, Any]]


@contextlib.contextmanager
def ray_session(
    address: str | None = None, *, num_cpus: int | None = None, runtime_env: Mapping[str, Any] | None = None
) -> Iterator[RaySession]:
    """Use the session of this process, join the cluster at ``address``, or start a private session.

    Args:
        address: ``host:port`` of a cluster or ``auto``; ``None`` never joins one.
        num_cpus: cores that a private session offers; ``None`` is all that this process may use.
        runtime_env: environment of all workers.

    Raises:
        ConfigError: a ``runtime_env`` is given, but the session is there already and Ray would drop it.
        ExecutorError: the cluster cannot be reached, or the session cannot be started.
    """
    if ray.is_initialized():
        if runtime_env:
            raise ConfigError(
                "runtime_env: a Ray session is up already, and Ray would drop this environment. Give it to ray.init(), "
                "or call ray.shutdown() first."
            )
        yield RaySession(False, _alive_nodes())
        return
    if address is not None:
        yield from _joined(address, runtime_env)
    else:
        yield from _private(num_cpus or len(os.sched_getaffinity(0)), runtime_env)


def _check_answers(address: str) -> None:
    """Refuse an address where nobody listens; Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return  # "auto" and ray:// are for Ray to find
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
    except OSError as error:
        raise ExecutorError(
            f"executor.address={address!r}: no Ray cluster answers there: {error}. "
            "Start one with 'ray start --head', or leave the address out for a private session."
        ) from error


def _joined(address: str, runtime_env: Mapping[str, Any] | None) -> Iterator[RaySession]:
    _check_answers(address)
    try:
        ray.init(
            address=address,
            namespace=NAMESPACE,
            runtime_env=dict(runtime_env) if runtime_env else None,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:
        raise ExecutorError(f"executor.address={address!r}: no Ray cluster answers there: {error}.") from error
    try:
        yield RaySession(False, _alive_nodes())
    finally:
        ray.shutdown()


def _private(num_cpus: int, runtime_env: Mapping[str, Any] | None) -> Iterator[RaySession]:
    # A socket path may have 107 bytes, so the folder lies as high as it can.
    folder = Path(tempfile.mkdtemp(prefix="curator-", dir="/tmp" if os.path.isdir("/tmp") else None))  # noqa: S108
    token = folder / "token"
    with open(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as handle:
        handle.write(secrets.token_hex(32))
    environment = dict(_PRIVATE_ENVIRONMENT)
    if "RAY_AUTH_MODE" not in os.environ:
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    with _environment(environment):
        _read_authentication_again()
        umask = os.umask(0o077)
        try:
            with _interrupts_noticed():
                ray.init(
                    address="local",
                    num_cpus=num_cpus,
                    namespace=NAMESPACE,
                    runtime_env=dict(runtime_env) if runtime_env else None,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _temp_dir=str(folder),
                )
        except KeyboardInterrupt:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)
            raise
        except Exception as error:
            shutil.rmtree(folder, ignore_errors=True)
            raise ExecutorError(f"a private Ray session cannot be started: {error}.") from error
        finally:
            os.umask(umask)
        logger.debug("a private Ray session with {} cores is up", num_cpus)
        try:
            yield RaySession(True, _alive_nodes())
        finally:
            ray.shutdown()
            shutil.rmtree(folder, ignore_errors=True)
    _read_authentication_again()


def _read_authentication_again() -> None:
    """Make Ray see the mode and the token of the environment, which it otherwise reads once per process."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _interrupts_noticed() -> Iterator[None]:
    """Raise ``KeyboardInterrupt`` at the end if Ctrl-C was pressed and Ray, while it starts, has swallowed it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, pressed = signal.getsignal(signal.SIGINT), False

    def notice(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        if callable(before):
            before(number, frame)

    signal.signal(signal.SIGINT, notice)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is notice:
            signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update({name: value for name, value in values.items() if before[name] is None})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)


def _alive_nodes() -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    return [node for node in nodes if node["Alive"]]
