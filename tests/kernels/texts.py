"""Texts for tests of kernels: near-equal ones in families, and what is hard to fold."""

import numpy as np
from hypothesis import strategies as st

from curator.kernels.shingles import Shingling

_WORDS = st.sampled_from(
    ["a", "B", "one", "Two", "three,", "\u00c4ra", "\u6f22\u5b57", "\u0130x", "  ", "\u2003", "verylongwordindeed" * 3]
)
_LINES = st.lists(_WORDS, max_size=12).map(" ".join)

TEXTS = st.lists(_LINES, min_size=1, max_size=5).flatmap(
    lambda family: st.lists(
        st.tuples(st.sampled_from(family), _LINES, st.booleans()).map(
            lambda drawn: drawn[0] if drawn[2] else f"{drawn[0]} {drawn[1]}"
        ),
        min_size=1,
        max_size=10,
    )
)
"""Some texts, of which many begin alike or are equal."""

SHINGLINGS = st.sampled_from(
    [
        Shingling(size=1),
        Shingling(size=3),
        Shingling(unit="char", size=2),
        Shingling(unit="char", size=9),
        Shingling(unit="auto", size=2),
    ]
)


def laid_out(texts):
    """Texts as kernels take them: bytes and offsets."""
    encoded = [text.encode() for text in texts]
    data = np.frombuffer(b"".join(encoded) + bytes(64), np.uint8)
    return data, np.cumsum([0, *map(len, encoded)])
