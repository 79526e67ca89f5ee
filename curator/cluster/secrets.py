"""Secrets on their way to workers: beside Ray's environments, which Ray writes into the log files of every node.

An environment with ``SecretText`` among its variables flows in; one without them flows out, with the name of an entry
in the store of the cluster. A worker takes the entry up before it does anything else. Entries live as long as the
session of the driver; who can read them can run code on the cluster.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import ray
from ray.experimental.internal_kv import _internal_kv_del, _internal_kv_get, _internal_kv_put

from curator.errors import ExecutorError
from curator.stages.runtime_env import SecretText

JOB = "CURATOR_SECRETS_OF_JOB"
STAGE = "CURATOR_SECRETS_OF_STAGE"
"""Variables that name entries: the one for all workers, and the one for workers of a stage, which is stronger."""

_NAMESPACE = b"curator"
_ENTRIES: dict[str, str] = {}
"""Of this driver: the names of entries by their content, so that all workers of a stage share one."""


def hide_secrets(env: Mapping[str, Any], variable: str) -> dict[str, Any]:
    """An environment as Ray may see it.

    Args:
        env: an environment; those without secrets come back as they are.
        variable: ``JOB`` or ``STAGE``.

    Example:
        >>> hide_secrets({"env_vars": {"A": "1"}}, JOB)
        {'env_vars': {'A': '1'}}
        >>> sorted(hide_secrets({"env_vars": {"A": "1", "B": SecretText("2")}}, JOB)["env_vars"])
        ['A', 'CURATOR_SECRETS_OF_JOB']
        >>> remove_secrets()
    """
    variables = env.get("env_vars") or {}
    hidden = {name: str(value) for name, value in variables.items() if isinstance(value, SecretText)}
    # What a stage says in the clear, or takes away, is stronger than a secret of the job.
    if not hidden and not (variable == STAGE and variables and _ENTRIES):
        return dict(env)
    content = json.dumps({"secrets": hidden, "names": sorted(variables)}, sort_keys=True)
    entry = _ENTRIES.setdefault(content, secrets.token_hex(16))
    put_secrets()
    shown = {name: value for name, value in variables.items() if name not in hidden}
    return {**env, "env_vars": {**shown, variable: entry}}


def put_secrets() -> None:
    """Put what was hidden where workers find it, as soon as a session is up."""
    if not ray.is_initialized():
        return
    for content, entry in _ENTRIES.items():
        _internal_kv_put(entry.encode(), content.encode(), overwrite=True, namespace=_NAMESPACE)


def remove_secrets(kept: Collection[str] = ()) -> None:
    """Take away what was put, but for the entries that are kept; the session is still up.

    Example:
        >>> remove_secrets()
    """
    for content, entry in list(_ENTRIES.items()):
        if entry not in kept:
            del _ENTRIES[content]
            if ray.is_initialized():
                # A cluster that has gone has taken its store along.
                with contextlib.suppress(Exception):
                    _internal_kv_del(entry.encode(), namespace=_NAMESPACE)


@contextlib.contextmanager
def secrets_of_this_block() -> Iterator[None]:
    """What is hidden meanwhile is taken away at the end, and nothing else."""
    before = set(_ENTRIES.values())
    try:
        yield
    finally:
        remove_secrets(before)


def take_secrets() -> None:
    """In a worker: set the variables that its environment has entries for.

    Raises:
        ExecutorError: an entry is not there any more: the driver has gone.
    """
    job, stage = (_read(variable) for variable in (JOB, STAGE))
    os.environ.update({name: value for name, value in job["secrets"].items() if name not in stage["names"]})
    os.environ.update(stage["secrets"])


def _read(variable: str) -> dict[str, Any]:
    entry = os.environ.get(variable)
    if not entry:
        return {"secrets": {}, "names": []}
    content = _internal_kv_get(entry.encode(), namespace=_NAMESPACE)
    if content is None:
        raise ExecutorError(f"{variable}: the secrets of this run are not there any more: its driver has gone.")
    found: dict[str, Any] = json.loads(content)
    return found
