"""The accounts of a run: what each step did with how many records, and whether it all adds up.

Counts of every step flow in; the table of stages flows out. Nothing is published before ``check`` has passed: records
read are records kept, removed and quarantined, split by split; the bytes that the splits covered tile each file; a
Parquet file gave as many records as its footer says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from curator.errors import ConservationError, StageError
from curator.pipeline import Barrier, Plan, Segment, Step
from curator.tasks import ResultTask, Split

_STREAM_DAMAGES = frozenset(("corrupt_stream", "truncated_stream", "trailing_garbage"))


@dataclass(slots=True)
class StageAccount:
    """One row of the table of stages.

    Args:
        name: the stage.
        documents_in: documents that reached it.
        removed: documents it removed, by reason.
        quarantined: records it could not take, by reason.
        bytes: uncompressed bytes that passed it.
        seconds: worker seconds spent in it, summed over workers.
        replicas: what it used outside, such as model replicas: by name, sums by measure.
        details: what it counted behind its barrier, in words.
    """

    name: str
    documents_in: int = 0
    removed: Counter[str] = field(default_factory=Counter)
    quarantined: Counter[str] = field(default_factory=Counter)
    bytes: int = 0
    seconds: float = 0.0
    replicas: dict[str, Counter[str]] = field(default_factory=dict)
    details: dict[str, int] = field(default_factory=dict)

    @property
    def kept(self) -> int:
        """Documents that went on."""
        return self.documents_in - self.removed.total() - self.quarantined.total()

    def to_dict(self) -> dict[str, Any]:
        """JSON values for ``run.json``."""
        return {
            "name": self.name,
            "documents_in": self.documents_in,
            "kept": self.kept,
            "removed": dict(sorted(self.removed.items())),
            "quarantined": dict(sorted(self.quarantined.items())),
            "bytes": self.bytes,
            "seconds": round(self.seconds, 3),
            **({"replicas": self._used()} if self.replicas else {}),
            **({"details": self.details} if self.details else {}),
        }

    def note(self, found: Mapping[str, int]) -> None:
        """Take what a round counted: sums, and of what is the largest the largest."""
        for word, number in found.items():
            before = self.details.get(word, 0)
            self.details[word] = max(before, number) if word.startswith("largest") else before + number

    def _used(self) -> dict[str, dict[str, float]]:
        sums = sorted(self.replicas.items())
        return {name: {measure: round(amount, 3) for measure, amount in used.items()} for name, used in sums}


class Accounts:
    """Collects the counts of all steps of a run.

    Args:
        plan: the plan of the run.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.stages = {stage["name"]: StageAccount(stage["name"]) for stage in plan.stages}
        self._decided = 0
        self._alive: list[int] | None = None
        self.split_counts: list[dict[str, int]] = [
            {"read": 0, "kept": 0, "removed": 0, "quarantined": 0} for _ in plan.splits
        ]
        self.damaged_files = 0

    def add(self, step: Step, results: Sequence[ResultTask]) -> None:
        """Take the results of a finished step.

        Raises:
            ConservationError: they do not add up with what went in.
        """
        for result in results:
            for name, seconds in result.seconds.items():
                self.stages[name].seconds += seconds
            for name, used in result.counts.get("usage", {}).items():
                for replica, amounts in used.items():
                    self.stages[name].replicas.setdefault(replica, Counter()).update(amounts)
        if isinstance(step, Segment) and step.earlier:
            return
        if isinstance(step, Segment):
            self._add_segment(step, results)
        else:
            self._decided += sum(result.counts["removed"] for result in results)
            if isinstance(step, Barrier):
                self.stages[step.shuffle.name].note(step.work.summary(results))

    def decided(self, results: Sequence[ResultTask]) -> None:
        """Take note of what was decided where no barrier was needed for that."""
        for result in results:
            self._decided += result.counts.get("decided", 0)
            for name, found in result.counts.get("summaries", {}).items():
                self.stages[name].note(found)

    def _add_segment(self, segment: Segment, results: Sequence[ResultTask]) -> None:
        first_pass, before = self._alive is None, self._alive
        shuffled = self._shuffled_before(segment)
        alive, applied = [], 0
        passed_bytes = sum(result.counts["bytes"] for result in results)
        for split, result in zip(self._plan.splits, results, strict=True):
            counts, totals = result.counts, self.split_counts[split.ordinal]
            removed = sum(sum(reasons.values()) for reasons in counts["removed"].values())
            quarantined = sum(sum(reasons.values()) for reasons in counts["quarantined"].values())
            incoming = counts["read"] if before is None else before[split.ordinal]
            if incoming != counts["alive"] + removed + quarantined:
                raise ConservationError(
                    f"{segment.name}: {split.name} of {split.file.path!r} does not add up: {incoming:,} records in, "
                    f"but {counts['alive']:,} left, {removed:,} removed and {quarantined:,} in quarantine. "
                    "Nothing is published."
                )
            if first_pass:
                totals["read"] = counts["read"]
                found = {reason for reasons in counts["quarantined"].values() for reason in reasons}
                self.damaged_files += not _STREAM_DAMAGES.isdisjoint(found)
            totals["removed"] += removed
            totals["quarantined"] += quarantined
            totals["kept"] = counts["alive"]
            alive.append(counts["alive"])
            for name, reasons in counts["removed"].items():
                self.stages[name].removed.update(reasons)
                applied += sum(reasons.values()) if name in shuffled else 0
            for name, reasons in counts["quarantined"].items():
                self.stages[name].quarantined.update({reason: n for reason, n in reasons.items() if n})
            if "part" in counts and counts["part"]["kept"] != counts["alive"]:
                raise ConservationError(
                    f"{segment.name}: {split.name}: {counts['alive']:,} documents reached the writer, but "
                    f"{counts['part']['kept']:,} were written. Nothing is published."
                )
        self._check_stages(segment, results)
        if not first_pass and applied != self._decided:
            raise ConservationError(
                f"{segment.name}: the barrier decided to remove {self._decided:,} documents, but {applied:,} were "
                "taken out. Nothing is published."
            )
        if first_pass:
            self._check_coverage(results)
            for stage in self.stages.values():
                stage.bytes = passed_bytes
        self._alive, self._decided = alive, 0

    def _check_stages(self, segment: Segment, results: Sequence[ResultTask]) -> None:
        """A stage that could take none of its documents is wrong, however few of each split it was given."""
        flowing = sum(result.counts["alive"] for result in results)
        for stage in reversed(segment.all_stages[1:]):
            lost: Counter[str] = Counter()
            for result in results:
                flowing += sum(result.counts["removed"].get(stage.name, {}).values())
                lost.update(result.counts["quarantined"].get(stage.name, {}))
            flowing += lost.total()
            if flowing > 1 and lost.total() == flowing:
                shown = ", ".join(f"{reason} {count:,}" for reason, count in lost.most_common())
                raise StageError(
                    f"stage {stage.name!r} could take none of the {flowing:,} documents that reached it: {shown}. That "
                    "is a mistake of the stage and not of the data. Nothing is published.",
                    stage=stage.name,
                )

    def _shuffled_before(self, segment: Segment) -> set[str]:
        """The stages whose barriers lie between a segment and the one before it."""
        names: set[str] = set()
        for step in self._plan.parts[: segment.ordinal]:
            names = set() if isinstance(step, Segment) else {*names, step.all_stages[0].name}
        return names

    def _check_coverage(self, results: Sequence[ResultTask]) -> None:
        """The independent count: bytes of JSON lines tile their file, Parquet rows are those of the footer."""
        by_file: dict[str, list[tuple[Split, ResultTask]]] = {}
        for split, result in zip(self._plan.splits, results, strict=True):
            by_file.setdefault(split.file.path, []).append((split, result))
        for path, parts in by_file.items():
            file = parts[0][0].file
            if file.format == "parquet":
                read = sum(result.counts["read"] for _, result in parts)
                if file.num_rows is not None and read != file.num_rows:
                    raise ConservationError(f"{path!r}: its footer says {file.num_rows:,} rows, {read:,} were read.")
                continue
            position = 0
            for split, result in parts:
                first, last = result.counts["extent"]
                if first != position:
                    raise ConservationError(
                        f"{path!r}: {split.name} begins at byte {first:,}, but the part before it ends at "
                        f"{position:,}. Nothing is published."
                    )
                position = last
            if file.compression == "none" and position != file.size_bytes:
                raise ConservationError(f"{path!r}: {position:,} of {file.size_bytes:,} bytes were read.")

    def finish(self) -> None:
        """Fill in what reached each stage, front to back."""
        flowing = sum(counts["read"] for counts in self.split_counts)
        for stage in self.stages.values():
            stage.documents_in = flowing
            flowing = stage.kept
        kept = sum(counts["kept"] for counts in self.split_counts)
        if flowing != kept:
            raise ConservationError(f"{flowing:,} documents should be left after all stages, {kept:,} are.")

    def totals(self) -> dict[str, int]:
        """Records of the whole run: read, kept, removed, quarantined."""
        keys = ("read", "kept", "removed", "quarantined")
        return {key: sum(counts[key] for counts in self.split_counts) for key in keys}
