"""Writing: the documents that are left, one file a split, kept lines as the bytes that they were read as."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curator.errors import ConfigError
from curator.stages.base import SinkStage, SinkWriter, WorkerMetadata
from curator.stages.io.byte_stream import is_remote
from curator.stages.io.output_file import GZIP_LEVELS, ZSTD_LEVELS
from curator.stages.io.shards import check_shard, shard_directory
from curator.tasks import SplitTask

FORMATS = ("input", "jsonl", "jsonl.gz", "jsonl.zst", "parquet")
OUTPUT_MODES = ("new", "replace")
DURABILITIES = ("full", "fast")


class Write(SinkStage):
    """Writes what is left, in input order, under names that derive from the splits.

    The output appears whole, at the end of the run, or not at all.

    Args:
        output_path: a directory; it must be absent or empty unless ``output_mode`` is ``replace``.
        output_mode: ``new`` refuses an output that is there; ``replace`` swaps it for the new one at the very end.
        format: ``input`` keeps the format and compression of each input file; or ``jsonl``, ``jsonl.gz``,
            ``jsonl.zst``, ``parquet``. JSON lines become Parquet with the columns ``text``, ``id`` and ``extra`` (all
            other fields as one JSON text), so that no schema is guessed.
        compression_level: of gzip (0 to 3), or zstd (-7 to 19, also inside Parquet); ``None`` is 1.
        durability: ``full`` forces every file to the medium before the output appears; ``fast`` leaves that to the
            operating system.
        add_columns: columns that stages made and that become fields of the records, behind the others or in the place
            of a field of that name; all other bytes of a record stay as they are.
        shard_index: which shard of the input this is; its output gets a directory of its own below ``output_path``.
        shard_count: how many shards there are.

    Raises:
        ConfigError: an argument is not allowed.

    Example:
        >>> Write("clean", format="jsonl.zst").suffix_for("parquet")
        'jsonl.zst'
    """

    name = "write"

    def __init__(
        self,
        output_path: str | Path,
        *,
        output_mode: str = "new",
        format: str = "input",
        compression_level: int | None = None,
        durability: str = "full",
        add_columns: Sequence[str] = (),
        shard_index: int | None = None,
        shard_count: int | None = None,
    ) -> None:
        self.output_path = str(output_path)
        if self.output_path and shard_index is not None and not check_shard(shard_index, shard_count):
            self.output_path = str(shard_directory(output_path, shard_index, shard_count or 1))
        self.shard_index = shard_index
        self.shard_count = shard_count
        self.output_mode = output_mode
        self.format = format
        self.compression_level = compression_level
        self.durability = durability
        self.add_columns = tuple(add_columns)
        problems = [
            f"write.{key}: {value!r} is not known. Choose from: {', '.join(choices)}."
            for key, value, choices in (
                ("format", format, FORMATS),
                ("output_mode", output_mode, OUTPUT_MODES),
                ("durability", durability, DURABILITIES),
            )
            if value not in choices
        ]
        wrong = [name for name in self.add_columns if not isinstance(name, str) or name in ("", "text", "id")]
        if wrong or isinstance(add_columns, str) or len(set(self.add_columns)) < len(self.add_columns):
            problems.append(
                f"write.add_columns={add_columns!r}: must be a list of different names, neither 'text' nor 'id' among "
                "them, as in 'stages.write.add_columns=[score]'."
            )
        levels = GZIP_LEVELS if format == "jsonl.gz" else ZSTD_LEVELS
        if compression_level is not None and compression_level not in levels:
            allowed = f"{levels.start} to {levels.stop - 1}"
            problems.append(f"write.compression_level={compression_level!r}: must be a whole number, {allowed}.")
        if not self.output_path:
            problems.append("output_path: is empty. Name a directory, for example 'output_path=clean'.")
        elif is_remote(self.output_path):
            problems.append(
                f"output_path: {self.output_path!r} is remote. Output is written to a file system of this machine or a "
                "shared one; copy it from there."
            )
        if problems:
            raise ConfigError(problems)

    def inputs(self) -> tuple[str, ...]:
        """Raw rows, and for JSON lines that become Parquet the columns it will have."""
        return (*(("text", "id") if self.format == "parquet" else ()), *self.add_columns)

    def settings(self) -> dict[str, Any]:
        """What decides the bytes; where they go does not."""
        added = {"add_columns": list(self.add_columns)} if self.add_columns else {}
        return {"format": self.format, "compression_level": self.compression_level, **added}

    def suffix_for(self, input_suffix: str) -> str:
        """Format and compression of the output of a file, spelled like ``format``."""
        return input_suffix if self.format == "input" else self.format

    def setup(self, worker_metadata: WorkerMetadata) -> None:
        """Load what writes JSON lines before the first unit is timed."""
        import curator.stages.io.jsonl_writer  # noqa: F401

    def open(self, task: SplitTask, unit: int, directory: Path) -> SinkWriter:
        """Start the output file of a split in ``directory``."""
        suffix = self.suffix_for(task.split.file.suffix)
        path = directory / f"{task.split.name}.{suffix}"
        durable = self.durability == "full"
        if suffix == "parquet":
            from curator.stages.io.parquet_writer import ParquetSplitWriter

            return ParquetSplitWriter(
                path, task, unit, level=self.compression_level, durable=durable, add_columns=self.add_columns
            )
        from curator.stages.io.jsonl_writer import JsonlSplitWriter

        return JsonlSplitWriter(
            path, suffix, task, unit, level=self.compression_level, durable=durable, add_columns=self.add_columns
        )
