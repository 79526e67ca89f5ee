"""The outputs of a sharded run: one directory per shard, which of them are there, and how to run the others.

``OUTPUT/shard-0003-of-0010`` is an output like any other. Nothing is written here; what does not fit together, such as
shards of different settings or of an input that changed in between, is said.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curator.errors import ConfigError, VerifyError
from curator.runs.publish import ACCOUNTS_FOLDER
from curator.runs.result import read_manifest

_NAME = re.compile(r"shard-(\d{4})-of-(\d{4})(\._curator)?")


@dataclass(frozen=True, slots=True)
class ShardsFound:
    """What there is of a sharded output.

    Args:
        count: how many shards it has.
        done: those that are published.
        problems: why the published ones are not shards of one and the same run.
    """

    count: int
    done: tuple[int, ...]
    problems: tuple[str, ...] = ()

    @property
    def missing(self) -> list[int]:
        """Those that are not published, in order."""
        return sorted(set(range(self.count)) - set(self.done))


def find_shards(output_path: Path, count: int | None = None) -> ShardsFound:
    """Look at a sharded output.

    Args:
        output_path: the directory that holds those of the shards.
        count: how many shards there should be; ``None`` is what their names say.

    Raises:
        VerifyError: there are no shards, or shards of different divisions.
    """
    names = [path.name for path in output_path.iterdir()] if output_path.is_dir() else []
    found = [match for name in sorted(names) if (match := _NAME.fullmatch(name))]
    counts = {int(match[2]) for match in found} | ({count} if count is not None else set())
    if not counts:
        raise VerifyError(f"{str(output_path)!r} holds no shards, and nothing says how many there should be.")
    if len(counts) > 1:
        listed = " and ".join(f"{each:,}" for each in sorted(counts))
        raise VerifyError(
            f"{str(output_path)!r} holds, or should hold, {listed} shards: runs of different shard.count wrote there. "
            "Give each of them an output_path of its own."
        )
    (total,) = counts
    manifests: dict[int, dict[str, Any]] = {}
    for match in found:
        path = output_path / match[0]
        if match[3] is None and (path / ACCOUNTS_FOLDER / "SUCCESS.json").exists():
            manifests[int(match[1])] = read_manifest(path)
    return ShardsFound(total, tuple(sorted(manifests)), tuple(_check(manifests)))


def _check(manifests: dict[int, dict[str, Any]]) -> list[str]:
    """All of them must have divided the same input, and must have the same settings."""
    first = next(iter(manifests), 0)
    problems: list[str] = []
    for index, manifest in manifests.items():
        if _settings(manifest) != _settings(manifests[first]):
            problems.append(f"shard {index} was run with other settings than shard {first}.")
        if manifest.get("whole_input") != manifests[first].get("whole_input"):
            problems.append(
                f"shard {index} divided another input than shard {first}: files came, went or changed in between, and "
                "documents may be in no shard, or in two. Run all shards again, in another output_path."
            )
    return problems


def _settings(manifest: dict[str, Any]) -> list[Any]:
    return [
        {**stage, "settings": {key: value for key, value in stage["settings"].items() if key != "shard_index"}}
        for stage in manifest["stages"]
    ]


def array_spec(indices: Sequence[int]) -> str:
    """Indices as ``sbatch --array`` takes them.

    Args:
        indices: ascending.

    Example:
        >>> array_spec([0, 3, 4, 5, 9])
        '0,3-5,9'
    """
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def resubmission(found: ShardsFound, words: Sequence[str]) -> list[str]:
    """The command that submits just the missing shards.

    Args:
        found: what there is.
        words: the command that submitted all of them, ``sbatch`` first.

    Raises:
        ConfigError: the words are no such command.

    Example:
        >>> resubmission(ShardsFound(4, (0, 2)), ["sbatch", "--array=0-3", "run.sbatch", "output_path=clean"])
        ['sbatch', '--array=1,3', 'run.sbatch', 'output_path=clean', 'shard.count=4']
    """
    if not words or Path(words[0]).name != "sbatch":
        raise ConfigError(f"the command behind -- must begin with sbatch, and is {' '.join(words)!r}.")
    kept: list[str] = []
    skip = False
    for word in words[1:]:
        if not skip and not re.match(r"--array(=|$)|-a|shard\.(count|index)=", word):
            kept.append(word)
        skip = not skip and word in ("--array", "-a")
    return [words[0], f"--array={array_spec(found.missing)}", *kept, f"shard.count={found.count}"]


def count_in(words: Sequence[str]) -> int | None:
    """How many shards a command that submits them says there are.

    Example:
        >>> count_in(["sbatch", "run.sbatch", "shard.count=4"]), count_in(["sbatch", "--array=0-9%2", "run.sbatch"])
        (4, 10)
    """
    for pattern, more in ((r"shard\.count=(\d+)", 0), (r"(?:--array=|-a)?0-(\d+)(?:%\d+)?", 1)):
        for word in words:
            if match := re.fullmatch(pattern, word):
                return int(match[1]) + more
    return None
