"""The comparison that ends a sweep: settings that differ, beside what became of the documents, and how fast.

Points flow in, each with the output that it published; a table for a terminal, CSV and JSON flow out. Which documents
two points have in common is read from their ledgers. Nothing is compared across inputs: where two points read other
files, their overlap is unknown.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curator.logs import escape

OBJECTIVES = (
    "kept",
    "kept_share",
    "removed",
    "removed_share",
    "quarantined",
    "quarantined_share",
    "seconds",
    "mb_per_s",
)
"""Numbers of a point that a sweeper can search for the best of."""

MOST_DOCUMENTS = 500_000_000
"""Documents gone in all points together, 8 bytes each in memory, beyond which overlaps are not counted."""

_WIDE = 8
_FORMULA = re.compile(r"[=+\-@\t\r](?![\d.]+$)")


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One point of a sweep, after it ran.

    Args:
        name: its name.
        directory: its run directory.
        settings: its settings, as text by key.
        output_path: its output; ``None`` if it has none.
        exit_code: 0 if it was published, now or by an earlier sweep.
        reason: why it failed.
        log: where to read on.
    """

    name: str
    directory: Path
    settings: Mapping[str, str]
    output_path: Path | None
    exit_code: int = 0
    reason: str = ""
    log: Path | None = None


@dataclass(frozen=True, slots=True)
class Measures:
    """What is known of a published output.

    Args:
        counts: records read, kept, removed and quarantined.
        removed: documents removed, by reason.
        quarantined: bad records, by reason.
        seconds: wall time of the run proper, with that of shared work.
        shared_seconds: how much of it was work that another point of the sweep had done.
        read_bytes: uncompressed bytes of the input.
    """

    counts: Mapping[str, int]
    removed: Mapping[str, int]
    quarantined: Mapping[str, int]
    seconds: float
    read_bytes: int
    shared_seconds: float = 0.0

    def objective(self, name: str) -> float:
        """One of ``OBJECTIVES``; shares are of the records read, between 0 and 1.

        Example:
            >>> counts = {"read": 4, "kept": 3, "removed": 1, "quarantined": 0}
            >>> Measures(counts, {"exact_duplicate": 1}, {}, 2.0, 10).objective("kept_share")
            0.75
        """
        if name == "seconds":
            return self.seconds
        if name == "mb_per_s":
            return self.read_bytes / 1e6 / self.seconds if self.seconds > 0 else 0.0
        count = float(self.counts[name.removesuffix("_share")])
        if name.endswith("_share"):
            return count / self.counts["read"] if self.counts["read"] else 0.0
        return count


def measure(output_path: Path) -> Measures:
    """Read what a published output says of itself.

    Raises:
        OSError: there is no such output.
        ValueError: it is damaged.
        LookupError: it is damaged.
    """
    from curator.runs.publish import ACCOUNTS_FOLDER

    run: dict[str, Any] = json.loads((output_path / ACCOUNTS_FOLDER / "run.json").read_text(encoding="utf-8"))
    return Measures(
        run["counts"],
        _by_reason(run["stages"], "removed"),
        _by_reason(run["stages"], "quarantined"),
        float(run["seconds"]) + float(run.get("shared_seconds", 0)),
        int(run["input"]["uncompressed_bytes"]),
        float(run.get("shared_seconds", 0)),
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """Points side by side.

    Args:
        points: the points, each once.
        measures: what became of each; ``None`` of a point that failed.
        kept_overlap: Jaccard similarity of the sets of kept documents of each two points, ``None`` if unknown.
        removed_overlap: the same of the removed ones.
        objective: which number was searched for the best of.
    """

    points: Sequence[SweepPoint]
    measures: Sequence[Measures | None]
    kept_overlap: Sequence[Sequence[float | None]]
    removed_overlap: Sequence[Sequence[float | None]]
    objective: str | None = None
    keys: Sequence[str] = field(init=False)

    def __post_init__(self) -> None:
        """Find the settings that differ."""
        every = dict.fromkeys(key for point in self.points for key in point.settings)
        differ = [key for key in every if len({point.settings.get(key) for point in self.points}) > 1]
        object.__setattr__(self, "keys", differ)

    def rows(self) -> list[dict[str, Any]]:
        """One flat mapping a point, the same keys in all."""
        kinds: dict[str, list[str]] = {
            kind: sorted({reason for each in self.measures if each for reason in getattr(each, kind)})
            for kind in ("removed", "quarantined")
        }
        rows = []
        for number, (point, found) in enumerate(zip(self.points, self.measures, strict=True)):
            row: dict[str, Any] = {"point": point.name, "exit_code": point.exit_code}
            row |= {key: point.settings.get(key) for key in self.keys}
            for name in ("read", "kept", "removed", "quarantined"):
                row[name] = found.counts[name] if found else None
            for kind, reasons in kinds.items():
                row |= {f"{kind}.{each}": getattr(found, kind).get(each, 0) if found else None for each in reasons}
            row["seconds"] = found.seconds if found else None
            row["shared_seconds"] = found.shared_seconds if found else None
            row["mb_per_s"] = round(found.objective("mb_per_s"), 3) if found else None
            if self.objective is not None:
                row["objective"] = found.objective(self.objective) if found else None
            for kind, matrix in (("kept", self.kept_overlap), ("removed", self.removed_overlap)):
                row |= {
                    f"{kind}_overlap.{other.name}": value
                    for other, value in zip(self.points, matrix[number], strict=True)
                }
            row |= {"reason": point.reason, "directory": str(point.directory)}
            rows.append(row)
        return rows

    def to_csv(self) -> str:
        """The rows as CSV; text that a spreadsheet would take for a formula gets a quote in front."""
        rows = self.rows()
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(list(rows[0]) if rows else [])
        writer.writerows([_cell(value) for value in row.values()] for row in rows)
        return stream.getvalue()

    def to_json(self) -> str:
        """Everything, with numbers as numbers."""
        points = [
            {
                "name": point.name,
                "directory": str(point.directory),
                "output_path": None if point.output_path is None else str(point.output_path),
                "settings": dict(point.settings),
                "exit_code": point.exit_code,
                "reason": point.reason,
                "log": None if point.log is None else str(point.log),
                "counts": dict(found.counts) if found else None,
                "removed": dict(found.removed) if found else None,
                "quarantined": dict(found.quarantined) if found else None,
                "seconds": found.seconds if found else None,
                "shared_seconds": found.shared_seconds if found else None,
                "mb_per_s": found.objective("mb_per_s") if found else None,
                "objective": found.objective(self.objective) if found and self.objective else None,
            }
            for point, found in zip(self.points, self.measures, strict=True)
        ]
        content = {
            "version": 1,
            "objective": self.objective,
            "settings_that_differ": list(self.keys),
            "points": points,
            "kept_overlap": self.kept_overlap,
            "removed_overlap": self.removed_overlap,
        }
        return json.dumps(content, ensure_ascii=False, indent=1) + "\n"

    def table(self, width: int = 160) -> str:
        """The comparison for a terminal, with the names of the points below it."""
        from rich import box
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        others = [number for number, found in enumerate(self.measures) if found is not None]
        others = others if len(self.points) <= _WIDE else others[:1]
        table.add_column("")
        short = [key.rpartition(".")[2] for key in self.keys]
        for key, name in zip(self.keys, short, strict=True):
            table.add_column(Text(name if short.count(name) == 1 else key), overflow="fold")
        shown = ["kept", "removed", "quarantined", "seconds", "MB/s"]
        shown += [self.objective] if self.objective is not None else []
        for name in (*shown, *(f"as {number + 1}" for number in others)):
            table.add_column(Text(name), justify="right", no_wrap=True)
        for number, (point, found) in enumerate(zip(self.points, self.measures, strict=True)):
            cells = [str(number + 1), *(point.settings.get(key, "") for key in self.keys)]
            if found is None:
                cells += [f"failed, {point.exit_code}"]
            else:
                cells += [f"{found.counts['kept']:,}", _listed(found.removed), _listed(found.quarantined)]
                cells += [
                    f"{found.seconds:.2f}{'*' * bool(found.shared_seconds)}",
                    f"{found.objective('mb_per_s'):,.0f}",
                ]
                cells += [f"{found.objective(self.objective):,.6g}"] if self.objective is not None else []
                cells += [_share(self.kept_overlap[number][other]) for other in others]
            table.add_row(*(Text(escape(cell)) for cell in cells))
        stream = io.StringIO()
        Console(file=stream, width=width, color_system=None).print(table)
        lines = [line.rstrip() for line in stream.getvalue().splitlines() if line.strip()]
        lines += ["", "as 1, ...: how much of the documents kept is the same as in that point, between 0 and 1"]
        if any(found and found.shared_seconds for found in self.measures):
            lines.append("*: with the time of work that another point had done")
        lines += [f"{number + 1:<3} {point.name}" for number, point in enumerate(self.points)]
        return "\n".join(lines)

    def failures(self) -> list[str]:
        """A sentence for each point that failed: its name, the reason, and where to read on."""
        return [
            f"{point.name} failed with exit code {point.exit_code}: {point.reason or 'it gave no reason'}"
            + (f"\n  Its log: {point.log}" if point.log is not None else "")
            for point in self.points
            if point.exit_code
        ]


def compare(points: Sequence[SweepPoint], objective: str | None = None) -> Comparison:
    """Put points side by side.

    Args:
        points: in their order; of two with one directory, the first counts.
        objective: which number was searched for the best of.

    Example:
        >>> compare([SweepPoint("a", Path("a"), {"keep": "first"}, None, 1, "no such file")]).failures()
        ['a failed with exit code 1: no such file']
    """
    first: dict[Path, SweepPoint] = {}
    for point in points:
        first.setdefault(point.directory, point)
    once = list(first.values())
    outputs = [None if point.exit_code or point.output_path is None else point.output_path for point in once]
    measures = [None if output is None else measure(output) for output in outputs]
    kept, removed = _overlaps(outputs, measures)
    return Comparison(once, measures, kept, removed, objective)


def _overlaps(
    outputs: Sequence[Path | None], measures: Sequence[Measures | None]
) -> tuple[list[list[float | None]], list[list[float | None]]]:
    """Jaccard similarities of the kept, and of the removed, documents of each two outputs."""
    import numpy as np

    count = len(outputs)
    kept: list[list[float | None]] = [[None] * count for _ in outputs]
    removed: list[list[float | None]] = [[None] * count for _ in outputs]
    gone = [each.counts["removed"] + each.counts["quarantined"] if each else 0 for each in measures]
    if sum(gone) > MOST_DOCUMENTS:
        return kept, removed
    places = [None if output is None else _places(output) for output in outputs]
    for one, here in enumerate(places):
        for other, there in enumerate(places[: one + 1]):
            if here is None or there is None or here[0] != there[0]:
                continue
            total = sum(records for *_, records in here[0])
            both = len(np.intersect1d(here[1], there[1], assume_unique=True))
            removed[one][other] = removed[other][one] = _jaccard(both, len(here[1]) + len(there[1]) - both)
            out, away = np.concatenate(here[1:]), np.concatenate(there[1:])
            both = len(np.intersect1d(out, away, assume_unique=True))
            either = len(out) + len(away) - both
            kept[one][other] = kept[other][one] = _jaccard(total - either, total - both)
    return kept, removed


def _places(output: Path) -> tuple[list[Any], Any, Any]:
    """The files of the input with their records, and the places in it of what was removed, and of bad records.

    A document id holds the split, and points may have cut the same input otherwise: a place counts records from the
    beginning of the first file.
    """
    import numpy as np

    from curator.runs.result import read_accounts, read_manifest

    manifest = read_manifest(output)
    begins = np.concatenate([[0], np.cumsum([split["read"] for split in manifest["splits"]], dtype=np.int64)])
    ledger, quarantine = read_accounts(output, "ledger"), read_accounts(output, "quarantine")
    removed = begins[ledger["split"].to_numpy()] + ledger["row"].to_numpy()
    refused = [np.empty(0, np.int64)]
    for split, row, records in zip(
        *(quarantine[name].to_pylist() for name in ("split", "row", "records")), strict=True
    ):
        if row >= 0:
            refused.append(begins[split] + row + np.arange(records))
    read: dict[str, int] = {}
    for split in manifest["splits"]:
        read[split["file"]] = read.get(split["file"], 0) + split["read"]
    files = [[entry["path"], entry["size_bytes"], entry["version"], read[entry["path"]]] for entry in manifest["input"]]
    return files, removed, np.concatenate(refused)


def _jaccard(both: int, either: int) -> float:
    # Two empty sets are the same set.
    return round(both / either, 6) if either else 1.0


def _by_reason(stages: Sequence[Mapping[str, Any]], kind: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for stage in stages:
        for reason, count in stage[kind].items():
            found[reason] = found.get(reason, 0) + count
    return dict(sorted(found.items()))


def _listed(counts: Mapping[str, int]) -> str:
    return "\n".join(f"{reason} {count:,}" for reason, count in counts.items() if count) or "0"


def _share(value: float | None) -> str:
    return "?" if value is None else f"{value:.3f}"


def _cell(value: object) -> object:
    if isinstance(value, str) and _FORMULA.match(value):
        return f"'{value}"
    return "" if value is None else value
