"""A Ray session: joined if there is one or an address says so, else started privately and taken down again.

A private session listens on loopback only, demands a token that only this process and its workers know, and keeps its
files in a folder that only this user can open. A session that was there before is left as it was, and so are the
caller's signal handlers. Refused: an environment that Ray would drop, or that a node cannot make; a token that the
cluster does not take.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
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
from ray._private import ray_constants, services
from ray.exceptions import AuthenticationError

from curator.cluster.leftovers import removed_with_this_process
from curator.cluster.loguru_serializer import register_loguru_serializer
from curator.cluster.runtime_env import check_runtime_env, try_runtime_env
from curator.cluster.secrets import JOB, hide_secrets, put_secrets, remove_secrets, secrets_of_this_block
from curator.errors import ConfigError, ExecutorError
from curator.stopping import check_stop

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
        runtime_env: environment of all workers; ``None`` in it, or for it, is the same as nothing there.

    Raises:
        ConfigError: ``runtime_env`` is wrong, or the session is there already and Ray would drop it.
        ExecutorError: the cluster cannot be reached or refuses the token, the session cannot be started, or a node
            cannot make the environment.
    """
    env = check_runtime_env(runtime_env)
    if ray.is_initialized():
        if env:
            raise ConfigError(
                "runtime_env: a Ray session is up already, and Ray would drop this environment. Give it to ray.init(), "
                "or call ray.shutdown() first."
            )
        register_loguru_serializer()
        with secrets_of_this_block():
            yield RaySession(False, _alive_nodes())
        return
    with secrets_of_this_block():
        shown = hide_secrets(env, JOB)
        if address is not None:
            yield from _joined(address, shown)
        else:
            yield from _private(num_cpus or len(os.sched_getaffinity(0)), shown)


def _check_answers(address: str) -> None:
    """Refuse an address where nobody listens; Ray itself would wait for minutes."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return  # "auto" and ray:// are for Ray to find
    try:
        _connect_socket(host, port)
    except OSError as error:
        raise ExecutorError(
            f"executor.address={address!r}: no Ray cluster answers there: {error}. "
            "Start one with 'ray start --head', or leave the address out for a private session."
        ) from error


def _connect_socket(host: str, port: str) -> None:
    socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()


def _listens_on_loopback_only(address: str) -> bool:
    """Whether Ray, which takes the outer address of this machine for 127.0.0.1, would miss the cluster."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or host.strip("[]") not in ("127.0.0.1", "localhost", "::1"):
        return False
    try:
        _connect_socket(services.resolve_ip_for_localhost(host.strip("[]")), port)
    except OSError:
        return True
    return False


def _joined(address: str, runtime_env: Mapping[str, Any]) -> Iterator[RaySession]:
    _check_answers(address)
    _read_authentication_again()
    try:
        with _loopback() if _listens_on_loopback_only(address) else contextlib.nullcontext():
            _connect(address, runtime_env)
    except (AuthenticationError, ConnectionError) as error:
        # Ray reports a token that the cluster refuses as a lost connection, after 20 s.
        raise ExecutorError(
            f"executor.address={address!r}: there is no Ray cluster, or it refuses the token of this process "
            f"(RAY_AUTH_MODE is {os.environ.get('RAY_AUTH_MODE', 'not set')!r}). If the cluster asks for a token, set "
            "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN_PATH to a file with the one that it was started with."
        ) from error
    except Exception as error:
        raise ExecutorError(f"executor.address={address!r}: the cluster cannot be joined: {error}.") from error
    yield from _up(False, runtime_env)


def _private(num_cpus: int, runtime_env: Mapping[str, Any]) -> Iterator[RaySession]:
    # A socket path may have 107 bytes, so the folder lies as high as it can.
    folder = Path(tempfile.mkdtemp(prefix="curator-", dir="/tmp" if os.path.isdir("/tmp") else None))  # noqa: S108
    token = folder / "token"
    with open(os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as handle:
        handle.write(secrets.token_hex(32))
    environment = dict(_PRIVATE_ENVIRONMENT)
    if "RAY_AUTH_MODE" not in os.environ:
        environment |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    try:
        with removed_with_this_process(folder), _environment(environment):
            _read_authentication_again()
            umask = os.umask(0o077)
            try:
                with _loopback():
                    _connect("local", runtime_env, num_cpus=num_cpus, include_dashboard=False, _temp_dir=str(folder))
            except Exception as error:
                raise ExecutorError(f"a private Ray session cannot be started: {error}.") from error
            finally:
                os.umask(umask)
            logger.debug("a private Ray session with {} cores is up", num_cpus)
            yield from _up(True, runtime_env)
    finally:
        _read_authentication_again()


def _connect(address: str, runtime_env: Mapping[str, Any], **settings: Any) -> None:  # noqa: ANN401
    """Call ``ray.init``, which leaves nothing behind if it fails or is interrupted."""
    try:
        with _signals_kept():
            ray.init(
                address=address,
                namespace=NAMESPACE,
                runtime_env=dict(runtime_env) or None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                **settings,
            )
    except BaseException:
        ray.shutdown()
        raise


def _up(started_here: bool, runtime_env: Mapping[str, Any]) -> Iterator[RaySession]:
    try:
        put_secrets()
        register_loguru_serializer()
        try_runtime_env(runtime_env)
        yield RaySession(started_here, _alive_nodes())
    finally:
        remove_secrets()
        ray.shutdown()


@contextlib.contextmanager
def _loopback() -> Iterator[None]:
    """Let this process take 127.0.0.1 for its address, which decides where every port of a new node listens."""
    # The variable for it is read once, when Ray is imported.
    before, ray_constants.ENABLE_RAY_CLUSTER = ray_constants.ENABLE_RAY_CLUSTER, False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _read_authentication_again() -> None:
    """Make Ray see the mode and the token of the environment, which it otherwise reads once per process."""
    from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Keep the caller's signal handlers while Ray starts, which swallows Ctrl-C then and takes SIGTERM for itself.

    Raises:
        KeyboardInterrupt: at the end, if Ctrl-C was pressed meanwhile, or another signal asked the run to stop.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupt, pressed = signal.getsignal(signal.SIGINT), False
    ray_utils = ray._private.utils
    take_sigterm = ray_utils.set_sigterm_handler

    def notice(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        if callable(interrupt):
            interrupt(number, frame)

    signal.signal(signal.SIGINT, notice)
    # Ray takes SIGTERM at the very beginning: putting a handler back would leave all of the start without it.
    ray_utils.set_sigterm_handler = lambda _handler: None
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGINT) is notice:
            signal.signal(signal.SIGINT, interrupt)
        ray_utils.set_sigterm_handler = take_sigterm
        # Below Python, Ray has taken SIGTERM for its crash reports, and would abort the process after 3 s.
        if (terminate := signal.getsignal(signal.SIGTERM)) is not None:
            signal.signal(signal.SIGTERM, terminate)
    if pressed:
        raise KeyboardInterrupt
    check_stop()


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
