"""How far a run has come, or how it ended, from what lies at its output path."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from curator.errors import VerifyError
from curator.runs.publish import ACCOUNTS_FOLDER


def status_output(output_path: Path) -> str:
    """The report of a finished run, or what is known of one under way.

    Raises:
        VerifyError: there is neither.
    """
    report = output_path / ACCOUNTS_FOLDER / "report.txt"
    lock = output_path.with_name(output_path.name + "._curator") / "lock"
    lines = []
    if lock.exists():
        owner = lock.read_text().strip()
        with open(lock) as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
                lines.append("a run was started here and died; the next run clears what it left")
            except OSError:
                lines.append(f"a run is under way: process {owner}, {_committed(lock.parent)}")
    if report.exists():
        lines.append(report.read_text(encoding="utf-8").rstrip())
    if not lines:
        raise VerifyError(f"{str(output_path)!r}: no run has finished here, and none is under way.")
    return "\n".join(lines)


def _committed(scratch: Path) -> str:
    counts = {path.name: len(os.listdir(path)) for path in sorted(scratch.glob("commits-*"))}
    return (
        ", ".join(f"step {name.removeprefix('commits-')}: {n:,} units done" for name, n in counts.items())
        or "nothing done yet"
    )
