"""``mode=explain``: every effective executor and runtime_env key, and the layer that it comes from.

A built run flows in, a table flows out. Values of environment variables are masked, whatever they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curator.config.build import Run
from curator.config.layers import Path, Settings, leaves
from curator.config.secrets import mask
from curator.logs import MASK, redact


def explain(run: Run) -> str:
    """Say where the settings of a run come from.

    Args:
        run: what ``build_run`` made.

    Returns:
        Lines of three columns: key, value, layer; one table for the executor and the environment of all workers, and
        one for each stage that has an environment of its own.
    """
    executor = run.settings.executor
    rows = _rows("executor", {**executor.arguments, **executor.config}, executor.sources)
    known = {row[0] for row in rows}
    default = f"default of {executor.kind.__name__}"
    rows += [
        (f"executor.{key}", _shown(value, (key,)), default)
        for key, value in sorted(getattr(run.executor, "config", {}).items())
        if not any(row == f"executor.{key}" or row.startswith(f"executor.{key}.") for row in known)
    ]
    for stage in run.settings.stages:
        if "runtime_env" in stage.changes:
            own: Settings = stage.environment
            rows += _rows(f"stages.{stage.name}", own.executor, own.sources)
    widths = [max(len(row[column]) for row in [("key", "value", "layer"), *rows]) for column in (0, 1)]
    return "\n".join(
        f"{key:{widths[0]}}  {value:{widths[1]}}  {layer}" for key, value, layer in [("key", "value", "layer"), *rows]
    )


def _rows(prefix: str, tree: Mapping[str, Any], sources: Mapping[Path, str]) -> list[tuple[str, str, str]]:
    rows = []
    for path, value in leaves(tree):
        layer = next((sources[path[:end]] for end in range(len(path), 0, -1) if path[:end] in sources), "")
        rows.append((".".join((prefix, *path)), _shown(value, path), layer))
    return rows


def _shown(value: object, path: Path) -> str:
    if "env_vars" in path and value is not None and value != {}:
        return MASK
    shown = mask(value, path)
    return "null" if shown is None else redact(str(shown).lower() if isinstance(shown, bool) else str(shown))
