"""Dividing an input into shards that separate runs work on: whole files, in input order, about equal in bytes.

A listing of files and a shard flow in, the files of that shard flow out. The rule knows nothing but the listing, so
every run finds the same division without asking another one. Refused are more shards than files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from curator.errors import ConfigError, InputError
from curator.tasks import InputFile

MAX_SHARDS = 9_999


def check_shard(index: object, count: object) -> list[str]:
    """What is wrong with a shard; nothing is also a shard: the whole input.

    Args:
        index: which one, from 0; ``None`` with ``count``.
        count: how many there are; ``None`` does not shard.

    Returns:
        The problems.

    Example:
        >>> check_shard(None, None), check_shard(3, 3)
        ([], ['shard.index=3: must be a whole number from 0 to shard.count - 1, which is 2.'])
    """
    if index is None and count is None:
        return []
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= MAX_SHARDS:
        return [f"shard.count={count!r}: must be a whole number from 1 to {MAX_SHARDS:,}, with shard.index beside it."]
    if isinstance(index, bool) or not isinstance(index, int) or not 0 <= index < count:
        return [f"shard.index={index!r}: must be a whole number from 0 to shard.count - 1, which is {count - 1}."]
    return []


def shard_directory(output_path: str | Path, index: int, count: int) -> Path:
    """Where the output of one shard lies.

    Example:
        >>> shard_directory("clean", 3, 10).as_posix()
        'clean/shard-0003-of-0010'
    """
    return Path(output_path) / f"shard-{index:04d}-of-{count:04d}"


def choose_shard(files: Sequence[InputFile], index: int | None, count: int | None) -> list[InputFile]:
    """The files of one shard: a run of neighbours, so that shards in a row have the order of the whole input.

    The largest shard is as small as neighbours allow, and no shard is empty.

    Args:
        files: the whole input, in order.
        index: which shard, from 0; ``None`` with ``count``.
        count: how many shards; ``None`` is the whole input.

    Raises:
        ConfigError: there is no such shard.
        InputError: there are fewer files than shards.

    Example:
        >>> files = [InputFile(name, size, "0", "jsonl") for name, size in zip("abcd", (1, 1, 5, 2))]
        >>> [[file.path for file in choose_shard(files, index, 3)] for index in range(3)]
        [['a', 'b'], ['c'], ['d']]
    """
    if problems := check_shard(index, count):
        raise ConfigError(problems)
    if index is None or count is None:
        return list(files)
    if count > len(files):
        raise InputError(
            f"shard.count={count}: the input has {len(files):,} files, and a shard takes whole ones. "
            f"Choose at most {len(files)}, or make more files of them."
        )
    bounds = _cut([file.size_bytes for file in files], count)
    return list(files[bounds[index] : bounds[index + 1]])


def digest_listing(files: Sequence[InputFile]) -> str:
    """What tells whether two runs divided the same input.

    Returns:
        The SHA-256 of all paths, sizes and versions, in hexadecimal.
    """
    content = [[file.path, file.size_bytes, file.version] for file in files]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _cut(sizes: Sequence[int], count: int) -> list[int]:
    """Where the shards begin, and where the last one ends."""
    low, high = max(sizes, default=0), sum(sizes)
    while low < high:
        middle = (low + high) // 2
        if len(_fill(sizes, middle, count)) - 1 <= count:
            high = middle
        else:
            low = middle + 1
    return _fill(sizes, low, count)


def _fill(sizes: Sequence[int], capacity_bytes: int, count: int) -> list[int]:
    """Fill shards from the front, each up to the capacity; more than ``count`` of them if it is too small."""
    bounds, held = [0], 0
    for position, size in enumerate(sizes):
        # Empty shards at the end would be runs of nothing: the last files get one each.
        needed = count - len(bounds) >= len(sizes) - position
        if position > bounds[-1] and (held + size > capacity_bytes or needed):
            bounds.append(position)
            held = 0
        held += size
    return [*bounds, len(sizes)]
