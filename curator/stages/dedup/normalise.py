"""Normalisation of texts before they are compared; what is written out never changes.

ASCII texts are normalised by a compiled kernel, the others one by one by Python, whose Unicode version is part of the
stage's fingerprint. The result equals ``" ".join(text.lower().split())`` for ``case: lower`` and
``white_space: collapse``.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curator.stages.io.text_buffers import PADDING_BYTES, TextBuffers, text_buffers

CASES = ("keep", "lower", "fold")
WHITE_SPACES = ("keep", "collapse")
UNICODE_FORMS = ("keep", "NFC", "NFD", "NFKC", "NFKD")


@dataclass(frozen=True, slots=True)
class Normalisation:
    """Which differences between texts do not count.

    Args:
        case: one of ``CASES``.
        white_space: one of ``WHITE_SPACES``.
        unicode: one of ``UNICODE_FORMS``.

    Example:
        >>> offsets, data = Normalisation("lower", "collapse", "keep").apply(pa.array(["A  b", None, "É "]))
        >>> bytes(data[: offsets[-1]]).decode(), offsets.tolist()
        ('a bé', [0, 3, 3, 5])
    """

    case: str = "keep"
    white_space: str = "keep"
    unicode: str = "keep"

    def apply(self, texts: pa.Array) -> TextBuffers:
        """Normalise texts.

        Args:
            texts: string or large_string array, shape (num_docs,); null counts as empty.

        Returns:
            offsets, int64, shape (num_docs + 1,), and UTF-8 bytes, uint8, at least 64 bytes longer than the last
            offset.
        """
        offsets, data = text_buffers(texts)
        if (self.case, self.white_space, self.unicode) == ("keep", "keep", "keep"):
            return offsets, data
        from curator.kernels.normalise import is_ascii, lower_and_collapse_ascii

        ascii_only = is_ascii(data, offsets)
        rows = np.flatnonzero(ascii_only)
        lower, collapse = self.case != "keep", self.white_space == "collapse"
        plain_offsets, plain = lower_and_collapse_ascii(data, offsets, rows, lower, collapse)
        others = np.flatnonzero(~ascii_only)
        if not len(others):
            return plain_offsets, plain
        normalise = self._function()
        pieces = [normalise(bytes(data[offsets[i] : offsets[i + 1]]).decode()).encode() for i in others.tolist()]
        return _interleave(plain_offsets, plain, rows, pieces, others)

    def _function(self) -> Callable[[str], str]:
        steps: list[Callable[[str], str]] = []
        if self.unicode != "keep":
            form = self.unicode
            steps.append(lambda text: unicodedata.normalize(form, text))  # type: ignore[arg-type]
        if self.case != "keep":
            steps.append(str.lower if self.case == "lower" else str.casefold)
        if self.white_space == "collapse":
            steps.append(lambda text: " ".join(text.split()))

        def normalise(text: str) -> str:
            for step in steps:
                text = step(text)
            return text

        return normalise


def _interleave(
    plain_offsets: npt.NDArray[np.int64],
    plain: npt.NDArray[np.uint8],
    rows: npt.NDArray[np.int64],
    pieces: list[bytes],
    others: npt.NDArray[np.int64],
) -> TextBuffers:
    """Put normalised texts of two kinds back in their order."""
    used = int(plain_offsets[-1])
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    begins = np.empty(len(rows) + len(others), np.int64)
    ends = np.empty_like(begins)
    begins[rows], ends[rows] = plain_offsets[:-1], plain_offsets[1:]
    ends[others] = used + np.cumsum(lengths)
    begins[others] = ends[others] - lengths
    joined = np.frombuffer(b"".join([plain[:used].tobytes(), *pieces, bytes(PADDING_BYTES)]), np.uint8)
    from curator.kernels.json_records import gather_strings

    return gather_strings(joined, begins, ends, np.zeros(len(begins), np.uint8))
