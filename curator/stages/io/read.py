"""Reading: splits in, document batches out, with only the columns that some stage asked for.

The user's fields become the columns ``text`` and ``id`` (both UTF-8 strings); other columns keep their names. A record
that cannot be accepted leaves as a ``Quarantined`` entry of its batch, never silently.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from loguru import logger

from curator.errors import ConfigError, InputError
from curator.stages.base import NodeInfo, SourceStage, SplitPlan, WorkerMetadata
from curator.stages.io.inputs import EMBEDDED, list_inputs
from curator.stages.io.shards import check_shard, choose_shard, digest_listing
from curator.stages.io.splits import choose_split_bytes, cut_bytes, number_splits
from curator.tasks import DocumentBatch, InputFile, Split, SplitTask

_FILES_LOOKED_INTO = 8
WITHOUT_TEXT = ("keep", "quarantine", "remove")
MAX_DEPTH = 512
"""Deepest nesting that can be allowed: the parser behind the scanner calls itself once a level."""


class Read(SourceStage):
    """Reads JSON lines (plain, gzip, zstd) and Parquet from files, directories, globs and fsspec URLs.

    Args:
        input_path: one path or several; ``embedded`` is the text that every Python installation carries.
        text_field: field or column with the text.
        id_field: field or column with the users' id; documents without one are fine.
        split_bytes: bytes of one split; ``None`` chooses a 16th of the input, between 16 and 128 MiB.
        max_record_bytes: longest record in bytes; longer ones go to the quarantine unread.
        max_depth: deepest nesting of a JSON record.
        without_text: what happens to a record whose text is missing, null or no string: ``quarantine``,
            ``remove`` (a line in the ledger) or ``keep`` (written, never compared).
        max_quarantined: share of bad records, 0 to 1, above which the run stops and publishes nothing; ``None`` never
            stops.
        shard_index: which shard of the input to read, from 0; ``None`` reads all of it.
        shard_count: how many shards there are; whole files go to shards, see ``stages/io/shards.py``.

    Raises:
        ConfigError: an argument is out of range.

    Example:
        >>> Read("corpus/*.jsonl", text_field="content")
        Read(input_path=['corpus/*.jsonl'])
    """

    name = "read"

    def __init__(
        self,
        input_path: str | Sequence[str] = EMBEDDED,
        *,
        text_field: str = "text",
        id_field: str = "id",
        split_bytes: int | None = None,
        max_record_bytes: int = 64 << 20,
        max_depth: int = 256,
        without_text: str = "quarantine",
        max_quarantined: float | None = None,
        shard_index: int | None = None,
        shard_count: int | None = None,
    ) -> None:
        paths = [input_path] if isinstance(input_path, str | Path) else list(input_path)
        self.input_path = [str(path) for path in paths]
        self.text_field = text_field
        self.id_field = id_field
        self.split_bytes = split_bytes
        self.max_record_bytes = max_record_bytes
        self.max_depth = max_depth
        self.without_text = without_text
        self.max_quarantined = max_quarantined
        self.shard_index = shard_index
        self.shard_count = shard_count
        self._columns: tuple[str, ...] = ()
        self._whole_rows = False
        self._check()

    def _check(self) -> None:
        problems = []
        if not self.input_path:
            problems.append("input_path: nothing to read. Name a file, a directory or a glob, or 'embedded'.")
        if EMBEDDED in self.input_path and len(self.input_path) > 1:
            problems.append("input_path: 'embedded' stands alone; name files, or it, not both.")
        if self.without_text not in WITHOUT_TEXT:
            problems.append(
                f"read.without_text: {self.without_text!r} is not known. Choose from: {', '.join(WITHOUT_TEXT)}."
            )
        for key, lowest in (("split_bytes", 1), ("max_record_bytes", 1), ("max_depth", 1)):
            value = getattr(self, key)
            if key == "split_bytes" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < lowest:
                problems.append(f"read.{key}={value!r}: must be a whole number of at least {lowest}.")
        share = self.max_quarantined
        if share is not None and (isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1):
            problems.append(f"read.max_quarantined={share!r}: must be a share from 0 to 1, or null.")
        if isinstance(self.max_record_bytes, int) and self.max_record_bytes > 1 << 30:
            problems.append(f"read.max_record_bytes={self.max_record_bytes}: must be at most 1 GiB (1073741824).")
        if isinstance(self.max_depth, int) and self.max_depth > MAX_DEPTH:
            problems.append(f"read.max_depth={self.max_depth}: must be at most {MAX_DEPTH}.")
        problems += check_shard(self.shard_index, self.shard_count)
        if problems:
            raise ConfigError(problems)

    def outputs(self) -> tuple[str, ...]:
        """The text and the users' id."""
        return ("text", "id")

    def settings(self) -> dict[str, Any]:
        """Where the bytes come from is in the input manifest; what is done with them is here."""
        decided_elsewhere = ("input_path", "max_quarantined")
        settings = {key: value for key, value in super().settings().items() if key not in decided_elsewhere}
        if self.shard_count is None:
            del settings["shard_index"], settings["shard_count"]
        return settings

    def materialise(self, directory: Path) -> Read:
        """The embedded documents become files in ``directory``; any other input stays where it is."""
        if self.input_path != [EMBEDDED]:
            return self
        from curator.stages.io.embedded import write_embedded

        return self.with_(input_path=[str(path) for path in write_embedded(directory)])

    def plan_splits(self) -> SplitPlan:
        """List the files, look into Parquet footers, cut. Reads metadata only.

        Raises:
            InputError: a file is missing or is not what it claims; every such file is in the message.
        """
        from curator.stages.io.parquet_reader import inspect_parquet

        listing = list_inputs(self.input_path)
        files = choose_shard(listing.files, self.shard_index, self.shard_count)
        split_bytes = self.split_bytes or choose_split_bytes(sum(f.size_bytes for f in files))
        pieces: list[tuple[InputFile, int, int, int]] = []
        problems: list[str] = []
        for file in files:
            if file.format == "parquet":
                try:
                    found, ranges = inspect_parquet(file, self.text_field, split_bytes)
                except InputError as error:
                    problems.extend(error.problems)
                    continue
                pieces.extend((found, begin, end, size) for begin, end, size in ranges)
            elif file.compression == "none":
                ranges2 = cut_bytes(file.size_bytes, split_bytes)
                pieces.extend((file, begin, end, end - begin) for begin, end in ranges2)
            else:
                pieces.append((file, 0, file.size_bytes, file.size_bytes))
        if problems:
            raise InputError(problems)
        whole_input = "" if self.shard_count is None else digest_listing(listing.files)
        return SplitPlan(number_splits(pieces), listing.ignored, whole_input)

    def doubts(self, splits: Sequence[Split], columns: Sequence[str]) -> list[str]:
        """Fields that no file shows in its footer or its first 64 kB; without an id a document is complete."""
        from curator.stages.io.inputs import columns_shown, seems_to_have

        files = list(dict.fromkeys(split.file for split in splits))[:_FILES_LOOKED_INTO]
        fields = {"text": self.text_field}
        asked = [fields.get(name, name) for name in dict.fromkeys(columns) if name != "id"]
        lacking = [name for name in asked if files and not any(seems_to_have(file, name) for file in files)]
        if not lacking:
            return []
        shown = list(dict.fromkeys(name for file in files for name in columns_shown(file)))
        near = {name: get_close_matches(name, shown, n=1) for name in lacking}
        return [
            f"no field {name!r} in the first 64 kB of any of the first {len(files)} input files; "
            + (f"did you mean {near[name][0]!r}?" if near[name] else "is it spelled right?")
            for name in lacking
        ]

    def for_segment(self, columns: Sequence[str], *, whole_rows: bool) -> Read:
        """A reader of some columns; ``text`` and ``id`` are the user's fields, others are taken by name."""
        return self.with_(_columns=tuple(dict.fromkeys(columns)), _whole_rows=whole_rows)

    def fields(self) -> dict[str, str]:
        """Column name to field name, for the columns of this segment; the id is always among them."""
        names = {"text": self.text_field, "id": self.id_field}
        return {column: names.get(column, column) for column in ("id", *self._columns)}

    def setup_on_node(self, node_info: NodeInfo, worker_metadata: WorkerMetadata) -> None:
        """Compile the kernels once, so that the workers of a node find them in the cache."""
        from curator.kernels.warm import is_compiled, warm_reading

        if not is_compiled():
            logger.info("compiling for this machine; it takes about half a minute and is done once")
        warm_reading()

    def setup(self, worker_metadata: WorkerMetadata) -> None:
        """Load the kernels, and what reads JSON lines, before the first unit is timed."""
        import curator.stages.io.jsonl_reader  # noqa: F401
        from curator.kernels.warm import warm_reading

        warm_reading()

    def process(self, task: SplitTask) -> Iterator[DocumentBatch]:
        """Read one split, lazily; after a barrier only its selection.

        Raises:
            InputChangedError: the file is not what was planned.
        """
        if task.split.file.format == "parquet":
            from curator.stages.io.parquet_reader import read_parquet, read_parquet_selection

            if task.selection is not None:
                return read_parquet_selection(self, task, task.selection)
            return read_parquet(self, task)
        from curator.stages.io.jsonl_reader import read_jsonl, read_jsonl_selection

        if task.selection is not None:
            return read_jsonl_selection(self, task, task.selection)
        return read_jsonl(self, task)

    def __repr__(self) -> str:
        return f"Read(input_path={self.input_path!r})"
