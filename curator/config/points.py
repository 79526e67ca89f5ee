"""The points of a sweep: what each of them is, told by its content, and where it lives.

A composed config flows in; the name of the point's run directory flows out: what was swept over, for people, and a
digest of everything that decides the result or how it was run: the input manifest, the settings of stages, the executor
and the environments. Secrets are in neither. The same content has the same digest in every sweep, so that a point is
found again, whatever else is swept over.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.config.build import Run
from curator.config.secrets import mask, mask_overrides
from curator.errors import CuratorError
from curator.logs import redact
from curator.runs.shared_work import code_of

OUTCOME = "point.json"
"""What the process that ran a point leaves in its run directory."""

SHARED = ".shared"
"""Where the points of a sweep keep the work that they have in common, below the directory of the sweep."""

PLACEHOLDER = "POINT"
"""Stands for the run directory while its name is not known yet."""

_SAID_ELSEWHERE = ("mode", "plan_format", "objective", "on_env_override", "output_mode", "shared_work")
_DIGEST_LETTERS = 12
_LONGEST_PREFIX = 80


class PointError(CuratorError):
    """A point of a sweep failed; the others go on."""


@dataclass(slots=True, eq=False)
class Point:
    """One point of a sweep.

    Args:
        overrides: what the sweeper wants, ``key=value`` each.
        settings: the same for people, by key, secrets masked.
        directory: its run directory; its name ends with the digest.
        output_path: where its output appears.
        fingerprint: that of its plan; ``None`` if the input is written only when the point runs.
        is_done: whether its output is there, whole.
        exit_code: what its run ended with; ``None`` as long as nobody knows.
        reason: why it failed.
        log: where to read on.
    """

    overrides: list[str]
    settings: dict[str, str]
    directory: Path
    output_path: Path | None = None
    fingerprint: str | None = None
    is_done: bool = False
    exit_code: int | None = None
    reason: str = ""
    log: Path | None = None


def content_digest(
    plain: Mapping[str, Any], run: Run | None, placeholder: Path, version: str
) -> tuple[str, str | None]:
    """The digest of a point.

    Args:
        plain: its config, resolved as if it ran in ``placeholder``.
        run: what was built of it; ``None`` if it cannot be built, and the config alone must do.
        placeholder: a run directory that is the same for all points.
        version: that of curator.

    Returns:
        The digest, and the fingerprint of the plan if it will be that of the output.

    Raises:
        ConfigError: the input cannot be listed.
    """
    said = _without(plain)
    if isinstance(said.get("stages"), Mapping):
        # Stages are given some of it, such as the output_mode, by interpolation.
        said["stages"] = {name: _without(section) for name, section in said["stages"].items()}
    content: dict[str, Any] = {"config": mask(said), "version": version}
    fingerprint = None
    if run is not None:
        plan = run.pipeline.plan(run.executor)
        content["fingerprint"] = plan.fingerprint
        content["code"] = code_of(run.pipeline.stages)
        # The embedded documents are those of the Python that writes them.
        content["python"] = platform.python_version() if plan.is_estimated else None
        fingerprint = None if plan.is_estimated else plan.fingerprint
    text = json.dumps(content, sort_keys=True, default=str).replace(json.dumps(str(placeholder))[1:-1], ".")
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_LETTERS], fingerprint


def _without(section: Any) -> Any:  # noqa: ANN401
    """A section without the keys that decide nothing."""
    if not isinstance(section, Mapping):
        return section
    return {key: value for key, value in section.items() if key not in _SAID_ELSEWHERE}


def settings_of(overrides: Sequence[str]) -> dict[str, str]:
    """Overrides for people: values by key.

    Example:
        >>> settings_of(["+a.b=1", "~stages.exact", "x.api_key=abc"])
        {'a.b': '1', 'stages.exact': '(taken away)', 'x.api_key': '***'}
    """
    settings = {}
    for line in mask_overrides(overrides):
        key, _, value = line.partition("=")
        settings[key.lstrip("+~")] = "(taken away)" if line.startswith("~") else value
    return settings


def point_name(settings: Mapping[str, str], swept: Sequence[str], digest: str) -> str:
    """Name of a run directory: letters, digits, dots and dashes, so that it can be typed as part of a path.

    Args:
        settings: as ``settings_of`` makes them.
        swept: the keys that are swept over.
        digest: that of the content.

    Example:
        >>> point_name({"stages.exact.keep": "max:score", "mode": "run"}, ["stages.exact.keep"], "0123456789ab")
        'keep-max-score_0123456789ab'
    """
    words = [f"{key.rpartition('.')[2]}-{value}" for key, value in settings.items() if key in swept]
    clean = (re.sub(r"[^A-Za-z0-9.]+", "-", redact(word)).strip("-.") for word in words)
    prefix = "_".join(word for word in clean if word)[:_LONGEST_PREFIX].rstrip("-._")
    return f"{prefix}_{digest}" if prefix else digest


def find_directory(sweep: Path, name: str, digest: str) -> Path:
    """The run directory of a point: the one that has its digest already, under whatever name, or a new one."""
    names = sorted(os.listdir(sweep)) if sweep.is_dir() else []
    known = (each for each in names if each == digest or each.endswith(f"_{digest}"))
    return sweep / next((each for each in known if (sweep / each).is_dir()), name)


def is_published(output_path: Path, fingerprint: str | None) -> bool:
    """Whether an output is there, is what its manifest says (by names and sizes), and has this fingerprint."""
    from curator.runs.publish import ACCOUNTS_FOLDER
    from curator.runs.result import read_manifest

    try:
        if not (output_path / ACCOUNTS_FOLDER / "SUCCESS.json").is_file():
            return False
        manifest = read_manifest(output_path)
        files = [
            entry for split in manifest["splits"] for entry in (split["part"], *split["ledger"], *split["quarantine"])
        ]
        whole = all((output_path / each["name"]).stat().st_size == each["size_bytes"] for each in files)
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return whole and fingerprint in (None, manifest["fingerprint"])


def write_outcome(directory: Path, exit_code: int, reason: str) -> None:
    """Leave word in the run directory of a point, for the command that waits for it, maybe on another machine."""
    text = json.dumps({"exit_code": exit_code, "reason": redact(reason)})
    temporary = directory / f".{OUTCOME}"
    temporary.write_text(text + "\n", encoding="utf-8")
    os.replace(temporary, directory / OUTCOME)


def read_outcome(point: Point) -> None:
    """Take up what was left there; a point without a word keeps what is known of it."""
    try:
        found = json.loads((point.directory / OUTCOME).read_text(encoding="utf-8"))
        point.exit_code, point.reason = int(found["exit_code"]), str(found["reason"])
    except (OSError, ValueError, LookupError, TypeError):
        return
