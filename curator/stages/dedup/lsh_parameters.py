"""Bands and rows of locality-sensitive hashing: what they find, and which ones to take.

Two documents of similarity ``s`` share a bucket with probability ``1 - (1 - s ** rows) ** bands``, the S-curve: more
bands find more pairs, more rows find fewer. Numbers flow in and out; refused is what no signature can deliver.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from curator.errors import ConfigError

MAX_HASHES = 128
"""Positions of a signature that ``choose_bands`` uses at most, unless told otherwise."""

SHOWN_SIMILARITIES = (0.6, 0.7, 0.8, 0.9)
_INTERVALS = 200
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class LshParameters:
    """How a signature is cut.

    Args:
        bands: at least 1.
        rows: values in a band, at least 1.

    Example:
        >>> LshParameters(14, 8).num_hashes
        112
        >>> [f"{share:.2f}" for share in LshParameters(14, 8).probabilities().values()]
        ['0.21', '0.56', '0.92', '1.00']
    """

    bands: int
    rows: int

    @property
    def num_hashes(self) -> int:
        """Positions of a signature that are used."""
        return self.bands * self.rows

    def probabilities(self, similarities: Sequence[float] = SHOWN_SIMILARITIES) -> dict[float, float]:
        """The probability that a pair becomes a candidate, by its similarity."""
        return dict(zip(similarities, s_curve(self.bands, self.rows, similarities), strict=True))

    def drawn(self) -> str:
        """The S-curve from similarity 0.4 to 1 as a row of bars, 0.025 each; a bar of full height is a share of 1.

        Example:
            >>> LshParameters(15, 8).drawn()
            '▁▁▁▁▁▂▂▂▃▃▄▄▅▆▇▇█████████'
        """
        shares = s_curve(self.bands, self.rows, [0.4 + 0.025 * step for step in range(25)])
        return "".join(_BARS[round(share * (len(_BARS) - 1))] for share in shares)

    def recall(self, threshold: float) -> float:
        """The share that is found of pairs whose similarities are spread evenly over ``threshold ... 1``."""
        return mean_recall(self.bands, self.rows, threshold)


def s_curve(bands: int, rows: int, points: Sequence[float]) -> list[float]:
    """The probability that two documents share at least one bucket.

    Args:
        bands: at least 1.
        rows: values in a band, at least 1.
        points: similarities, 0 to 1.

    Example:
        >>> [round(share, 3) for share in s_curve(20, 13, [0.7, 0.8, 0.9])]
        [0.177, 0.677, 0.997]
    """
    return [1 - (1 - float(point) ** rows) ** bands for point in points]


def mean_recall(bands: int, rows: int, threshold: float) -> float:
    """The share that is found of pairs whose similarities are spread evenly over ``threshold ... 1``.

    This is the mean of the S-curve there (by Simpson's rule). Near-duplicates of real corpora are more similar than
    that, so more of them are found; of pairs at the very threshold fewer are.

    Args:
        bands: at least 1.
        rows: values in a band, at least 1.
        threshold: 0 to 1.

    Example:
        >>> round(mean_recall(14, 8, 0.8), 3), round(mean_recall(20, 13, 0.8), 3)
        (0.99, 0.946)
    """
    step = (1 - threshold) / _INTERVALS
    heights = s_curve(bands, rows, [threshold + step * index for index in range(_INTERVALS)] + [1.0])
    inner = 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2])
    return (heights[0] + inner + heights[-1]) / (3 * _INTERVALS)


def choose_bands(
    threshold: float,
    recall: float = 0.99,
    *,
    max_hashes: int = MAX_HASHES,
    bands: int | None = None,
    rows: int | None = None,
) -> LshParameters:
    """Choose the cheapest bands and rows that find enough.

    Of all settings with ``bands * rows <= max_hashes`` and ``mean_recall >= recall``, take the most rows, since each
    one spares candidates below the threshold that would have to be read again and compared; and with them the fewest
    bands, since each one is 16 bytes per document to shuffle. What is given explicitly wins: both are taken as they
    are, one of them leaves only the other one to choose.

    Args:
        threshold: the similarity from which on pairs are duplicates, above 0, at most 1.
        recall: the share of them to find, above 0, below 1; see ``mean_recall``.
        max_hashes: positions of a signature, at least 1.
        bands: at least 1, or ``None`` to have it chosen.
        rows: at least 1, or ``None`` to have it chosen.

    Raises:
        ConfigError: a number is out of its range, or nothing finds so much with so few hashes.

    Example:
        >>> choose_bands(0.8, 0.99)
        LshParameters(bands=15, rows=8)
        >>> choose_bands(0.8, bands=20, rows=13)
        LshParameters(bands=20, rows=13)
    """
    problems = _problems(threshold, recall, max_hashes, bands, rows)
    if problems:
        raise ConfigError(problems)
    if bands is not None and rows is not None:
        return LshParameters(bands, rows)
    for each in [rows] if rows else range(max_hashes, 0, -1):
        fewest = bands or _fewest_bands(threshold, recall, each, max_hashes // each)
        if fewest is not None and fewest * each <= max_hashes and mean_recall(fewest, each, threshold) >= recall:
            return LshParameters(fewest, each)
    given = "".join(f", fuzzy.{name}={value}" for name, value in (("bands", bands), ("rows", rows)) if value)
    most_rows = rows or 1
    best = mean_recall(bands or max(max_hashes // most_rows, 1), most_rows, threshold)
    raise ConfigError(
        [
            f"fuzzy.recall={recall}: not to be had at fuzzy.threshold={threshold} with "
            f"fuzzy.max_hashes={max_hashes}{given}; the most is {best:.4f}. "
            f"Type a lower recall, a larger max_hashes (such as {2 * max_hashes}), or fewer rows."
        ]
    )


def _fewest_bands(threshold: float, recall: float, rows: int, most: int) -> int | None:
    """The fewest bands that find enough, ``None`` if ``most`` are too few; more bands always find more."""
    if most < 1 or mean_recall(most, rows, threshold) < recall:
        return None
    low, high = 1, most
    while low < high:
        middle = (low + high) // 2
        if mean_recall(middle, rows, threshold) >= recall:
            high = middle
        else:
            low = middle + 1
    return low


def _problems(threshold: object, recall: object, max_hashes: object, bands: object, rows: object) -> list[str]:
    problems = []
    if not _is_number(threshold) or not 0 < threshold <= 1:  # type: ignore[operator]
        problems.append(f"fuzzy.threshold={threshold!r}: must be a number above 0 and at most 1, such as 0.8.")
    if not _is_number(recall) or not 0 < recall < 1:  # type: ignore[operator]
        problems.append(f"fuzzy.recall={recall!r}: must be a number above 0 and below 1, such as 0.99.")
    for name, value in (("max_hashes", max_hashes), ("bands", bands), ("rows", rows)):
        is_missing = value is None and name != "max_hashes"
        if not is_missing and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            problems.append(f"fuzzy.{name}={value!r}: must be a whole number of at least 1.")
    return problems


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
