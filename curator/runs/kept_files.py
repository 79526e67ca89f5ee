"""Files that stages leave for later runs: gathered from the attempts that count, and published with the output.

Committed results flow in, a folder flows out, which appears whole or not at all. Beside the file of each split lie the
records that had left before it was written, and the rows that the run removed afterwards.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from loguru import logger

from curator.errors import OutputExistsError
from curator.pipeline import Plan, Segment
from curator.runs.publish import publish
from curator.runs.scratch import Scratch
from curator.stages.barrier.arrow_files import write_arrow
from curator.stages.base import FilesToKeep
from curator.stages.io.output_file import digest_file, storage_error, sync_directory
from curator.tasks import ResultTask


@dataclass(frozen=True, slots=True)
class KeptFolder:
    """A folder that is ready to get its name.

    Args:
        scratch: the scratch space beside it, locked.
        staging: where its files lie.
    """

    scratch: Scratch
    staging: Path

    def publish(self) -> None:
        """Give it its name.

        Raises:
            OutputExistsError: something appeared there since the run began.
            StorageError: the file system refuses.
        """
        publish(self.staging, self.scratch.output_path, replace=False)
        logger.info("kept {}", self.scratch.output_path)
        self.close()

    def close(self) -> None:
        """Throw away what was not published."""
        self.scratch.close()


def check_kept_folders(plan: Plan, output_path: Path, inputs: Sequence[str]) -> None:
    """Refuse folders that lie where the output or the input is, or that two stages keep files in; before anything runs.

    Args:
        plan: the plan.
        output_path: absolute path of the output.
        inputs: local input files and directories.

    Raises:
        OutputExistsError: some folder cannot be what it is asked to be.
    """
    stages = [stage for step in plan.steps if isinstance(step, Segment) for stage in step.shuffles]
    wanted = {stage.name: stage.files_to_keep for stage in stages}
    taken = {os.path.realpath(output_path): "the output"}
    taken |= {os.path.realpath(path): f"the input {path!r}" for path in inputs}
    for name, files in wanted.items():
        if files is None:
            continue
        real = os.path.realpath(files.path)
        for other, what in taken.items():
            if os.path.commonpath([real, other]) in (real, other):
                raise OutputExistsError(
                    f"{name}: files are to be kept in {files.path!r}, which overlaps {what}. Choose a folder of "
                    "its own."
                )
        taken[real] = f"what {name} keeps"


def build_kept_folders(
    plan: Plan,
    segment_results: Sequence[Sequence[ResultTask]],
    split_counts: Sequence[Mapping[str, int]],
    *,
    durable: bool,
) -> list[KeptFolder]:
    """Gather what the stages of a plan keep; the files of the results are moved away, their accounts are not.

    Args:
        plan: the plan.
        segment_results: the committed results of each segment that reads the run's input, in order.
        split_counts: by split, the records that were ``read``.
        durable: whether files are forced to the medium.

    Raises:
        OutputExistsError: another run is writing such a folder.
        StorageError: it cannot be written.
    """
    segments = [step for step in plan.steps if isinstance(step, Segment) and not step.earlier]
    folders: list[KeptFolder] = []
    try:
        for order, segment in enumerate(segments):
            for number, stage in enumerate(segment.shuffles):
                if (files := stage.files_to_keep) is not None:
                    folders.append(_open(files, durable=durable))
                    _fill(folders[-1].staging, files, f"kept-{number}", plan, order, segment_results, split_counts)
                    if durable:
                        _sync(folders[-1].staging)
    except OSError as error:
        for folder in folders:
            folder.close()
        raise storage_error(folders[-1].staging if folders else plan.output_path, error) from error
    except BaseException:
        for folder in folders:
            folder.close()
        raise
    return folders


def _open(files: FilesToKeep, *, durable: bool) -> KeptFolder:
    target = Path(os.path.abspath(files.path))
    scratch = Scratch(target, durable=durable)
    scratch.open()
    staging = scratch.path / "staging"
    staging.mkdir(mode=0o755)
    return KeptFolder(scratch, staging)


def _fill(
    folder: Path,
    files: FilesToKeep,
    kind: str,
    plan: Plan,
    order: int,
    segment_results: Sequence[Sequence[ResultTask]],
    split_counts: Sequence[Mapping[str, int]],
) -> None:
    described = []
    for split, *results in zip(plan.splits, *segment_results, strict=True):
        first, later = results[order], results[order + 1 :]
        source = Path(first.directory)
        record = first.counts[kind]
        shutil.move(source / first.files[kind], folder / f"{split.name}.arrow")
        entries = {"part": _entry(f"{split.name}.arrow", record)}
        for accounts in ("ledger", "quarantine"):
            if name := first.files.get(accounts):
                target = f"{split.name}.{accounts}.parquet"
                shutil.copyfile(source / name, folder / target)
                entries[accounts] = _entry(target, first.counts["records"][accounts])
        gone = _gone(later)
        if len(gone):
            target = f"{split.name}.gone.arrow"
            write_arrow(folder / target, pa.table({"row": gone}))
            found = digest_file(folder / target)
            entries["gone"] = _entry(target, {"size_bytes": found.size_bytes, "digest": found.digest})
        described.append(
            {
                "split": split.to_dict(),
                "rows": record["rows"],
                "read": split_counts[split.ordinal]["read"],
                "bytes": first.counts["bytes"],
                "extent": first.counts["extent"],
                "stages": sorted({*first.counts["removed"], *first.counts["quarantined"]}),
                "files": entries,
            }
        )
    files.finish(folder, plan.fingerprint, described)


def _gone(results: Sequence[ResultTask]) -> npt.NDArray[np.int64]:
    """Rows of a split that left in some segments, ascending."""
    rows = [np.empty(0, np.int64)]
    for result in results:
        for accounts in ("ledger", "quarantine"):
            if name := result.files.get(accounts):
                found = pq.read_table(Path(result.directory, name), columns=["row"])["row"].to_numpy()
                rows.append(found[found >= 0].astype(np.int64))
    return np.unique(np.concatenate(rows))


def _entry(name: str, record: Mapping[str, Any]) -> dict[str, Any]:
    return {"name": name, "size_bytes": record["size_bytes"], "digest": record["digest"]}


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        with open(path, "rb") as handle:
            os.fsync(handle.fileno())
    sync_directory(folder)
