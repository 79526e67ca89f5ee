"""``curator replicas up | list | down``: sets of replicas that stand for many runs on one cluster.

Words in, exit code out. ``up`` takes settings as a run does, and starts what ``replicas=...`` chooses; ``list`` and
``down`` take names of sets. All three find the cluster by ``executor.address=...``, else by ``RAY_ADDRESS``.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from curator.config.suggest import suggest
from curator.errors import ConfigError

if TYPE_CHECKING:
    from curator.serve.keeper import ReplicaReport

ADDRESS = "executor.address"
VERBS = ("down", "list", "up")
USAGE = (
    "curator replicas up replicas=NAME [KEY=VALUE ...] | list [NAME ...] | down [NAME ...], each with "
    "executor.address=HOST:PORT, or RAY_ADDRESS in the environment"
)
_WHICH = f"which cluster? Type '{ADDRESS}=HOST:PORT', or set RAY_ADDRESS. 'ray start --head' starts one."


def run_replicas(words: Sequence[str]) -> int:
    """Run one of the commands.

    Args:
        words: what was typed behind ``curator replicas``.

    Returns:
        The exit code.

    Raises:
        ConfigError: a word is wrong, no cluster is named, or a set is not there.
        ExecutorError: the cluster cannot be joined, or a replica was given up.

    Example:
        >>> run_replicas(["lits"])
        Traceback (most recent call last):
        curator.errors.ConfigError: replicas lits: there is no such command. Did you mean 'list'? ...
    """
    if not words or words[0] in ("-h", "--help", "help"):
        print(USAGE)
        return 0 if words else 2
    verb, rest = words[0], list(words[1:])
    if verb not in VERBS:
        raise ConfigError(f"replicas {verb}: there is no such command. {suggest(verb, VERBS, kind='commands')}")
    from curator.logs import configure_logs

    configure_logs(None)
    return _up(rest) if verb == "up" else _list(rest) if verb == "list" else _down(rest)


def _up(words: list[str]) -> int:
    from curator.cluster.session import ray_session
    from curator.config.build import build_run
    from curator.config.compose import compose, read_composed_job

    if not any(word.partition("=")[0] == "executor" for word in words):
        words.insert(0, "executor=ray_actor_pool")
    # Stages are no part of it, and need neither input nor output.
    with compose([*words, "stages=copy"]) as composition:
        job = read_composed_job(composition.config)
        directory = Path(str(composition.config.hydra.run.dir)).absolute() / "replicas"
        run = build_run(job.plain, job.layers, composition.trusted)
    sets = run.settings.replicas
    if not sets:
        raise ConfigError("replicas: nothing is chosen. Choose some: 'curator replicas up replicas=tiny_cpu'.")
    from curator.serve.standing import put_up

    address = _known(run.executor.config.get("address") or os.environ.get("RAY_ADDRESS"))
    with ray_session(address, runtime_env=run.executor.config.get("runtime_env")):
        reports = put_up(sets, directory, ignore_head_node=run.executor.ignore_head_node)
    print(_table([("up", report) for report in reports]))
    print(f"files     {directory}")
    return 0


def _list(words: list[str]) -> int:
    from curator.cluster.session import ray_session
    from curator.serve.standing import list_replicas

    address, names = _address_and_names(words)
    with ray_session(_known(address)):
        found = list_replicas()
    shown = [(owner, report) for owner, report in found if not names or report.set_name in names]
    print(_table(shown) if shown else "no replicas are up")
    return 0


def _down(words: list[str]) -> int:
    from curator.cluster.session import ray_session
    from curator.serve.processes import kill_orphans
    from curator.serve.standing import take_down

    address, names = _address_and_names(words)
    if address is None and not names:
        # Without a cluster there are no sets, but there may be processes of one that has died.
        print(f"reaped    {len(kill_orphans())} processes on this machine; {_WHICH}")
        return 0
    with ray_session(_known(address)):
        ended, reaped = take_down(names)
    print(f"ended     {', '.join(ended) or 'no set'}")
    print(f"reaped    {reaped.groups} placement groups, {reaped.processes} processes")
    return 0


def _address_and_names(words: Sequence[str]) -> tuple[str | None, list[str]]:
    address: str | None = None
    names, problems = [], []
    for word in words:
        key, is_setting, value = word.partition("=")
        if is_setting and key == ADDRESS and value:
            address = value
        elif is_setting or word.startswith("-"):
            problems.append(f"{word}: is neither a name nor {ADDRESS}=HOST:PORT. {USAGE}.")
        else:
            names.append(word)
    if problems:
        raise ConfigError(problems)
    return address or os.environ.get("RAY_ADDRESS"), names


def _known(address: str | None) -> str:
    # Ray itself would join whatever cluster it finds on this machine.
    if not address:
        raise ConfigError(f"replicas: {_WHICH}")
    return address


def _table(found: Sequence[tuple[str, ReplicaReport]]) -> str:
    head = ("replica", "owner", "state", "address", "nodes", "ends", "")
    rows = [head]
    for owner, report in found:
        first = report.reason.splitlines()[0] if report.reason else ""
        rows.append((report.name, owner, report.state, report.url, ", ".join(report.nodes), str(report.ends), first))
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )
