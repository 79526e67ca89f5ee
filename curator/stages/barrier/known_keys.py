"""Which keys the documents of a run have, so that of an earlier corpus only those need to reach the barrier.

Key files of the run flow in; tables of keys of other documents flow through, less the rows whose key nobody in the run
has. A few of those slip through (about one in sixteen, more beyond 67 million keys); none is lost that the run has.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from curator.stages.barrier.bucket_files import count_rows, read_buckets

MOST_KEYS = 1 << 28
"""Keys of a run beyond which too many others would slip through for the effort."""

_BITS_PER_KEY = 16
_LEAST_BITS, _MOST_BITS = 16, 30
_3, _7 = np.uint64(3), np.uint64(7)


class KnownKeys:
    """A set of keys that may claim to have some more.

    Args:
        keys: arrays of keys, evenly spread in their highest bits; uint64, shape (num_keys,) each.
        num_keys: keys in all of them.

    Example:
        >>> known = KnownKeys([np.array([1 << 63, 5], np.uint64)], 2)
        >>> known.select(pa.table({"high": pa.array([5, 3 << 62, 1 << 63], pa.uint64())}))["high"].to_pylist()
        [5, 9223372036854775808]
    """

    def __init__(self, keys: Sequence[npt.NDArray[np.uint64]], num_keys: int) -> None:
        wanted = max(1, num_keys * _BITS_PER_KEY - 1).bit_length()
        self._shift = np.uint64(64 - min(max(wanted, _LEAST_BITS), _MOST_BITS))
        self._bits = np.zeros(1 << (61 - int(self._shift)), np.uint8)
        for part in keys:
            self._add(part)

    @classmethod
    def read(cls, index_path: str) -> KnownKeys:
        """The keys in the files that ``write_known_keys`` listed."""
        index = json.loads(Path(index_path).read_text(encoding="utf-8"))
        known = cls([], index["keys"])
        for path in index["files"]:
            for table in read_buckets(path, 0, len(count_rows(path))):
                known._add(table["high"].to_numpy())
        return known

    def select(self, keys: pa.Table) -> pa.Table:
        """The rows of a key table whose key is known."""
        high = keys["high"].to_numpy() >> self._shift
        found = (self._bits[high >> _3] >> (high & _7).astype(np.uint8)) & np.uint8(1)
        return keys.filter(pa.array(found.astype(np.bool_)))

    def _add(self, keys: npt.NDArray[np.uint64]) -> None:
        places = keys >> self._shift
        np.bitwise_or.at(self._bits, places >> _3, np.left_shift(np.uint8(1), (places & _7).astype(np.uint8)))


def write_known_keys(path: Path, key_files: Sequence[str]) -> bool:
    """List key files for the workers that read an earlier corpus; False, and no list, if they hold too many keys."""
    num_keys = sum(int(count_rows(name).sum()) for name in key_files)
    if num_keys > MOST_KEYS:
        return False
    path.write_text(json.dumps({"files": list(key_files), "keys": num_keys}), encoding="utf-8")
    return True
