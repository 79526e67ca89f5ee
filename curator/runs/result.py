"""What a run gives back: counts, where things are, and the ledger as an Arrow table."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from curator.runs.ledger import LEDGER, QUARANTINE
from curator.runs.publish import ACCOUNTS_FOLDER
from curator.tasks import ResultTask


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run.

    Args:
        output_path: the published output.
        counts: records read, kept, removed and quarantined.
        stages: the table of stages, as in ``run.json``.
        seconds: wall time of the run proper, start-up of a backend not included.
        report: the table as text.
        parts: one task a split that names its file.
    """

    output_path: Path
    counts: dict[str, int]
    stages: list[dict[str, Any]]
    seconds: float
    report: str
    parts: list[ResultTask] = field(default_factory=list, repr=False)

    @property
    def exit_code(self) -> int:
        """0: a result exists only for a run that was published."""
        return 0

    def table(self) -> str:
        """The report that the command prints."""
        return self.report

    def ledger(self) -> pa.Table:
        """Every removed document: the columns of ``LEDGER``, sorted by document id."""
        return read_accounts(self.output_path, "ledger")

    def quarantine(self) -> pa.Table:
        """Every bad record: the columns of ``QUARANTINE``, in input order."""
        return read_accounts(self.output_path, "quarantine")


def read_manifest(output_path: Path) -> dict[str, Any]:
    """The manifest of an output.

    Raises:
        OSError: there is none.
        ValueError: it is no JSON.
    """
    content: dict[str, Any] = json.loads((output_path / ACCOUNTS_FOLDER / "manifest.json").read_text(encoding="utf-8"))
    return content


def read_accounts(output_path: Path, kind: str) -> pa.Table:
    """All ``ledger`` or all ``quarantine`` rows of an output, in split order."""
    schema = LEDGER if kind == "ledger" else QUARANTINE
    tables = [schema.empty_table()]
    for split in read_manifest(output_path)["splits"]:
        tables += [pq.read_table(output_path / entry["name"], schema=schema) for entry in split[kind]]
    table = pa.concat_tables(tables)
    return table.sort_by("document_id") if kind == "ledger" else table
