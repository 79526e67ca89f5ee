"""What a user may say about the pools: a checked ``PoolSettings`` out of the executor's config. Pure, no Ray.

Refused, all mistakes in one message: wrong types, numbers out of range, and sizes that contradict each other.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from curator.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """Settings of the Ray actor pools; each one is a key of the executor's config.

    Args:
        address: cluster to join, ``host:port`` or ``auto``; ``None`` starts a private session on this machine.
        num_workers: workers of every segment, as far as there are units and room; ``None`` follows the backlog.
        min_workers: workers that a segment keeps while it may still get work.
        max_workers: workers that a segment has at most; ``None`` is as many as fit.
        runtime_env: environment of all workers; that of a stage is merged over it.
        fuse: ``False`` gives every stage workers of its own.
        unit_timeout_s: seconds that a call may take before its worker is ended; ``None`` is for ever.
        setup_timeout_s: seconds that setting a worker up may take.
        resource_timeout_s: seconds to wait for a worker while nothing else goes on; ``None`` is for ever.
        idle_timeout_s: seconds after which a worker without work is ended.
        max_attempts: workers that a unit may cost before it is given up or taken apart.
        max_node_failures: nodes and lost objects that a run survives.
        max_calls_per_worker: units after which a worker is replaced; ``None`` is never.
        max_worker_rss_gb: resident memory above which a worker is replaced after its unit; ``None`` is never.
        worker_memory_limit_gb: memory that a worker may take on top of what its setup took; ``None`` is no limit.
        reserved_cpus: cores that are left to others.
        reserved_gpus: GPUs that are left to others.
        max_buffered_bytes: bytes that may wait in front of a segment before the one that makes them pauses; ``None``
            is a quarter of the object store.
    """

    address: str | None = None
    num_workers: int | None = None
    min_workers: int = 0
    max_workers: int | None = None
    runtime_env: Mapping[str, Any] | None = None
    fuse: bool = True
    unit_timeout_s: float | None = None
    setup_timeout_s: float = 600.0
    resource_timeout_s: float | None = 600.0
    idle_timeout_s: float = 30.0
    max_attempts: int = 3
    max_node_failures: int = 100
    max_calls_per_worker: int | None = None
    max_worker_rss_gb: float | None = None
    worker_memory_limit_gb: float | None = None
    reserved_cpus: float = 0.0
    reserved_gpus: float = 0.0
    max_buffered_bytes: int | None = None


DEFAULTS: dict[str, Any] = {each.name: each.default for each in fields(PoolSettings)}

# Key to the least value, whether it is a whole number, and whether null is allowed.
_NUMBERS: dict[str, tuple[float, bool, bool]] = {
    "num_workers": (1, True, True),
    "min_workers": (0, True, False),
    "max_workers": (1, True, True),
    "unit_timeout_s": (0.001, False, True),
    "setup_timeout_s": (0.001, False, False),
    "resource_timeout_s": (0.001, False, True),
    "idle_timeout_s": (0, False, False),
    "max_attempts": (1, True, False),
    "max_node_failures": (0, True, False),
    "max_calls_per_worker": (1, True, True),
    "max_worker_rss_gb": (0.001, False, True),
    "worker_memory_limit_gb": (0.001, False, True),
    "reserved_cpus": (0, False, False),
    "reserved_gpus": (0, False, False),
    "max_buffered_bytes": (1, True, True),
}


def read_settings(config: Mapping[str, Any]) -> PoolSettings:
    """Check the config of the executor.

    Args:
        config: every key of ``PoolSettings``.

    Raises:
        ConfigError: something is wrong with it; every mistake is in the message.

    Example:
        >>> read_settings({**DEFAULTS, "num_workers": 4}).num_workers
        4
        >>> read_settings({**DEFAULTS, "num_workers": 0, "fuse": "no"})
        Traceback (most recent call last):
        curator.errors.ConfigError: executor.num_workers=0: must be a whole number of at least 1, or null.
        executor.fuse='no': must be true or false.
    """
    problems = []
    for key, (least, whole, nullable) in _NUMBERS.items():
        value = config[key]
        if value is None and nullable:
            continue
        is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
        if not is_number or not least <= value < float("inf"):
            kind = "a whole number" if whole else "a number"
            problems.append(
                f"executor.{key}={value!r}: must be {kind} of at least {least}{', or null' if nullable else ''}."
            )
    address, runtime_env = config["address"], config["runtime_env"]
    if address is not None and (not isinstance(address, str) or not address):
        problems.append(f"executor.address={address!r}: must be host:port, 'auto', or null for a private session.")
    if runtime_env is not None and not isinstance(runtime_env, Mapping):
        problems.append(f"executor.runtime_env={runtime_env!r}: must be a mapping, or null.")
    if not isinstance(config["fuse"], bool):
        problems.append(f"executor.fuse={config['fuse']!r}: must be true or false.")
    if not problems and config["max_workers"] is not None and config["min_workers"] > config["max_workers"]:
        problems.append(
            f"executor.min_workers={config['min_workers']}: must not be above "
            f"executor.max_workers={config['max_workers']}."
        )
    if problems:
        raise ConfigError(problems)
    return PoolSettings(**{key: config[key] for key in DEFAULTS})
