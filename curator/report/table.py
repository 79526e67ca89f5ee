"""The table that ends a run: each stage, what it kept, removed and refused, and how fast."""

from __future__ import annotations

import io
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


def render_report(
    totals: Mapping[str, int],
    stages: Sequence[Mapping[str, Any]],
    *,
    seconds: float,
    read_bytes: int,
    output_path: Path,
    damaged_files: int = 0,
) -> str:
    """The report of a run as plain text.

    Args:
        totals: records read, kept, removed, quarantined.
        stages: one mapping a stage, as ``StageAccount.to_dict`` makes them.
        seconds: wall time of the run.
        read_bytes: uncompressed bytes of the input.
        output_path: where the output is.
        damaged_files: compressed files that could not be read to their end.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("stage", "documents in", "kept", "removed", "quarantined", "MB/s", "worker s"):
        table.add_column(name, justify="left" if name == "stage" else "right")
    for stage in stages:
        rate = stage["bytes"] / 1e6 / stage["seconds"] if stage["seconds"] > 0 else 0.0
        table.add_row(
            Text(stage["name"]),
            f"{stage['documents_in']:,}",
            f"{stage['kept']:,}",
            _by_reason(stage["removed"]),
            _by_reason(stage["quarantined"]),
            f"{rate:,.0f}",
            f"{stage['seconds']:.2f}",
        )
    stream = io.StringIO()
    console = Console(file=stream, width=110, color_system=None)
    console.print(table)
    if any(stage.get("replicas") for stage in stages):
        console.print(_replica_table(stages))
    rate = read_bytes / 1e6 / seconds if seconds > 0 else 0.0
    lines = [
        "\n".join(line.rstrip() for line in stream.getvalue().strip("\n").splitlines()),
        *(_in_words(stage) for stage in stages if stage.get("details")),
        "",
        f"{totals['read']:,} records read = {totals['kept']:,} kept + {totals['removed']:,} removed "
        f"+ {totals['quarantined']:,} quarantined; {read_bytes / 1e6:,.1f} MB in {seconds:.2f} s, {rate:,.0f} MB/s",
        f"output      {output_path}",
    ]
    accounts = output_path / "_curator"
    if totals["quarantined"] or damaged_files:
        lines.append(f"quarantine  {accounts / 'quarantine'}")
    lines += [f"ledger      {accounts / 'ledger'}", f"report      {accounts / 'report.txt'}"]
    if totals["removed"]:
        lines.append(f"why         python -m curator show {shlex.quote(str(output_path))}")
    if damaged_files:
        lines.append(
            f"{damaged_files:,} compressed file(s) are damaged and could not be read to the end: see the quarantine."
        )
    return "\n".join(lines)


def _replica_table(stages: Sequence[Mapping[str, Any]]) -> Table:
    """What each stage asked of each replica; seconds are those of all its requests, which overlap."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("stage", "replica", "requests", "errors", "tokens in", "tokens out", "request s"):
        table.add_column(name, justify="left" if name in ("stage", "replica") else "right")
    for stage in stages:
        for replica, used in stage.get("replicas", {}).items():
            counts = [used.get(key, 0) for key in ("requests", "errors", "prompt_tokens", "completion_tokens")]
            cells = [f"{count:,.0f}" for count in counts]
            table.add_row(Text(stage["name"]), Text(replica), *cells, f"{used.get('seconds', 0):,.2f}")
    return table


def _in_words(stage: Mapping[str, Any]) -> str:
    """What a stage counted behind its barrier, in one line."""
    return f"{stage['name']}: " + ", ".join(f"{word} {number:,}" for word, number in stage["details"].items())


def _by_reason(counts: Mapping[str, int]) -> str:
    if not counts:
        return "0"
    return "\n".join(f"{reason} {count:,}" for reason, count in sorted(counts.items()))
