"""Cutting input files into splits: a function of the input alone, never of the cluster."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from curator.tasks import InputFile, Split

MIN_SPLIT_BYTES = 16 << 20
MAX_SPLIT_BYTES = 128 << 20
SPLITS_WANTED = 16
"""Splits that a middle-sized input is cut into, so that every worker of one machine gets some."""


def choose_split_bytes(total_bytes: int) -> int:
    """Bytes of one split: a 16th of the input, at least 16 MiB and at most 128 MiB.

    Args:
        total_bytes: size of all input files.

    Example:
        >>> choose_split_bytes(600_000_000), choose_split_bytes(10**13)
        (37500000, 134217728)
    """
    return min(max(-(-total_bytes // SPLITS_WANTED), MIN_SPLIT_BYTES), MAX_SPLIT_BYTES)


def cut_bytes(size_bytes: int, split_bytes: int) -> list[tuple[int, int]]:
    """Byte ranges of about equal size that cover a file; at least one, also of an empty file.

    A range holds two thirds to three halves of ``split_bytes``: a file that is a third too large is not cut in two,
    since every split costs files and commits.

    Example:
        >>> cut_bytes(26, 10)
        [(0, 8), (8, 17), (17, 26)]
    """
    count = max(1, (2 * size_bytes + split_bytes) // (2 * split_bytes))
    bounds = [size_bytes * index // count for index in range(count + 1)]
    return list(pairwise(bounds))


def cut_row_groups(group_bytes: Sequence[int], split_bytes: int) -> list[tuple[int, int, int]]:
    """Ranges of row groups of about ``split_bytes`` each.

    Args:
        group_bytes: compressed size of each row group.
        split_bytes: bytes wanted in one split.

    Returns:
        (first group, one past the last, bytes) of each split; one empty range for a file without row groups.

    Example:
        >>> cut_row_groups([6, 6, 6], 10)
        [(0, 1, 6), (1, 2, 6), (2, 3, 6)]
    """
    ranges: list[tuple[int, int, int]] = []
    begin, size = 0, 0
    for group, count in enumerate(group_bytes):
        if group > begin and size + count > split_bytes:
            ranges.append((begin, group, size))
            begin, size = group, 0
        size += count
    ranges.append((begin, len(group_bytes), size))
    return ranges


def number_splits(pieces: Sequence[tuple[InputFile, int, int, int]]) -> list[Split]:
    """Splits in input order, numbered from 0."""
    return [Split(ordinal, *piece) for ordinal, piece in enumerate(pieces)]
