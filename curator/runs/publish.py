"""Publishing: the committed files become one directory, which appears whole or not at all."""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curator.errors import OutputExistsError
from curator.pipeline.plan import FORMAT_VERSION, Plan
from curator.runs.accounts import Accounts
from curator.runs.scratch import Scratch
from curator.stages.io.output_file import DIGEST, digest_file, storage_error, sync_directory
from curator.tasks import ResultTask

ACCOUNTS_FOLDER = "_curator"
"""Where everything but the data lies, below the output; loaders pass over names that begin with ``_``."""

_RENAME_EXCHANGE = 2
_AT_FDCWD = -100


def build_output(
    scratch: Scratch,
    plan: Plan,
    accounts: Accounts,
    segment_results: Sequence[Sequence[ResultTask]],
    *,
    run: Mapping[str, Any],
    report: str,
    durable: bool,
) -> Path:
    """Gather the files of a run in a staging directory, with the manifest that names each of them.

    Args:
        scratch: the scratch space of the run.
        plan: its plan.
        accounts: its accounts, checked.
        segment_results: the committed results of each segment, in order; the last one has the parts.
        run: what goes into ``run.json``: times, places and everything else that differs between equal runs.
        report: the table of the run as text.
        durable: whether names are forced to the medium.

    Returns:
        The staging directory, on the file system of the output.

    Raises:
        StorageError: it cannot be written.
    """
    staging = scratch.path / "staging"
    folder = staging / ACCOUNTS_FOLDER
    splits: list[dict[str, Any]] = []
    try:
        for path in (staging, folder, folder / "ledger", folder / "quarantine"):
            path.mkdir(mode=0o755)
        for split, *results in zip(plan.splits, *segment_results, strict=True):
            entry: dict[str, Any] = {
                "ordinal": split.ordinal,
                "file": split.file.path,
                "begin": split.begin,
                "end": split.end,
                **accounts.split_counts[split.ordinal],
                "ledger": [],
                "quarantine": [],
            }
            for result in results:
                source = Path(result.directory)
                for kind in ("ledger", "quarantine"):
                    if name := result.files.get(kind):
                        target = f"{kind}/{name.removesuffix(f'.{kind}.parquet')}.parquet"
                        os.rename(source / name, folder / target)
                        entry[kind].append({"name": f"{ACCOUNTS_FOLDER}/{target}", **result.counts["records"][kind]})
            part = results[-1].counts["part"]
            name = results[-1].files["part"]
            os.rename(Path(results[-1].directory) / name, staging / name)
            entry["part"] = {"name": name, "size_bytes": part["bytes"], "digest": part["digest"], "rows": part["kept"]}
            splits.append(entry)
        files = list(dict.fromkeys(split.file for split in plan.splits))
        manifest = {
            "version": FORMAT_VERSION,
            "digest": DIGEST,
            "fingerprint": plan.fingerprint,
            "stages": plan.stages,
            **({"whole_input": plan.whole_input} if plan.whole_input else {}),
            "input": [
                {
                    "path": file.path,
                    "size_bytes": file.size_bytes,
                    "version": file.version,
                    "format": file.format,
                    "compression": file.compression,
                    "num_rows": file.num_rows,
                }
                for file in files
            ],
            "totals": accounts.totals(),
            "splits": splits,
        }
        _write_json(folder / "manifest.json", manifest)
        _write_json(folder / "run.json", run)
        (folder / "report.txt").write_text(report + "\n", encoding="utf-8")
        sealed = {name: digest_file(folder / name).digest for name in ("manifest.json", "report.txt", "run.json")}
        _write_json(folder / "SUCCESS.json", {"digest": DIGEST, "files": sealed, "seal": seal(sealed)})
        if durable:
            for path in (*(folder.glob("*.*")), folder / "ledger", folder / "quarantine", folder, staging):
                sync_directory(path) if path.is_dir() else _sync_file(path)
    except OSError as error:
        raise storage_error(staging, error) from error
    return staging


def seal(digests: Mapping[str, str]) -> str:
    """One digest over the digests of the files that nothing else covers."""
    import xxhash

    return xxhash.xxh3_128(json.dumps(dict(digests), sort_keys=True).encode()).hexdigest()


def publish(staging: Path, output_path: Path, *, replace: bool) -> None:
    """Give the staging directory the name of the output, in one step.

    Raises:
        OutputExistsError: something appeared at the output since the run began, and may not be replaced.
        StorageError: the file system refuses.
    """
    try:
        if replace and output_path.exists() and any(output_path.iterdir()):
            _swap(staging, output_path)
        else:
            os.rename(staging, output_path)
        sync_directory(output_path.parent)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            raise OutputExistsError(
                f"output_path: {str(output_path)!r} appeared while this run was under way; it is left as it is."
            ) from None
        raise storage_error(output_path, error) from error


def _swap(staging: Path, output_path: Path) -> None:
    """Exchange two directories at once where the kernel can, else with a moment in between."""
    libc = ctypes.CDLL(None, use_errno=True)
    if hasattr(libc, "renameat2"):
        old, new = os.fsencode(staging), os.fsencode(output_path)
        if libc.renameat2(_AT_FDCWD, old, _AT_FDCWD, new, _RENAME_EXCHANGE) == 0:
            shutil.rmtree(staging, ignore_errors=True)
            return
        if ctypes.get_errno() not in (errno.EINVAL, errno.ENOSYS):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    aside = staging.with_name("replaced")
    os.rename(output_path, aside)
    os.rename(staging, output_path)
    shutil.rmtree(aside, ignore_errors=True)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _sync_file(path: Path) -> None:
    with open(path, "rb") as handle:
        os.fsync(handle.fileno())
