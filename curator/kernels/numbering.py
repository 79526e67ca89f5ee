"""Numbers for the distinct ones of some words, without sorting all of them: Arrow finds equal ones in a table.

Words flow in, distinct words and the number of each word flow out.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curator.kernels.vector import read_only


def number_words(words: npt.ArrayLike) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """The distinct ones of some words, and the position of each word among them: ``numpy.unique`` without sorting all.

    Args:
        words: uint64, shape (n,).

    Returns:
        uint64, ascending, shape (m,); and int64, shape (n,).

    Example:
        >>> [part.tolist() for part in number_words([7, 3, 7])]
        [[3, 7], [1, 0, 1]]
    """
    found, numbers = number_as_met(words)
    order = np.argsort(found)
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.arange(len(order))
    return found[order], ranks[numbers]


def number_as_met(words: npt.ArrayLike) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int32]]:
    """The same with the distinct words as they are met first.

    Args:
        words: uint64, shape (n,).

    Returns:
        uint64, shape (m,); and int32, shape (n,).

    Example:
        >>> [part.tolist() for part in number_as_met([7, 3, 7])]
        [[7, 3], [0, 1, 0]]
    """
    encoded = pa.array(read_only(words, np.uint64)).dictionary_encode()
    return encoded.dictionary.to_numpy(), encoded.indices.to_numpy()
