"""Keys of earlier corpora that nobody in the run has stay away from the barrier, and none that somebody has."""

import numpy as np
import pyarrow as pa
import pytest

from curator.stages.barrier.keys import KeysWriter
from curator.stages.barrier.known_keys import KnownKeys, write_known_keys


@pytest.mark.parametrize("iterations", [((0, 1),), ((0, 2), (2, 3))])
def test_every_known_key_comes_through_and_few_others_do(tmp_path, iterations):
    rng = np.random.default_rng(1)
    files, own = [], []
    for number in range(3):
        high = rng.integers(0, 1 << 64, 5_000, np.uint64)
        table = pa.table({"high": high, "document": np.arange(5_000, dtype=np.uint64)})
        table = table.append_column("band", pa.array(np.arange(5_000, dtype=np.uint16) % iterations[-1][1]))
        writer = KeysWriter(tmp_path / f"{number}.arrow", iterations, held_bytes=50_000)
        writer.add(table)
        writer.close()
        files.append(str(tmp_path / f"{number}.arrow"))
        own.append(high)
    assert write_known_keys(tmp_path / "known.json", files)
    known = KnownKeys.read(str(tmp_path / "known.json"))
    all_own = np.concatenate(own)
    assert known.select(pa.table({"high": all_own})).num_rows == 15_000
    others = pa.table({"high": rng.integers(0, 1 << 64, 50_000, np.uint64), "row": np.arange(50_000)})
    passed = known.select(others)
    assert passed.num_rows < 50_000 / 12
    assert (others["high"].to_numpy()[passed["row"].to_numpy()] == passed["high"].to_numpy()).all()


def test_the_smallest_and_the_largest_key_are_keys(tmp_path):
    ends = np.array([0, 2**64 - 1], np.uint64)
    assert KnownKeys([ends], 2).select(pa.table({"high": ends})).num_rows == 2
    assert KnownKeys([], 0).select(pa.table({"high": ends})).num_rows == 0


def test_too_many_keys_are_not_listed(tmp_path, monkeypatch):
    monkeypatch.setattr("curator.stages.barrier.known_keys.MOST_KEYS", 1)
    writer = KeysWriter(tmp_path / "a.arrow")
    writer.add(pa.table({"high": pa.array([1, 2], pa.uint64()), "document": pa.array([0, 1], pa.uint64())}))
    writer.close()
    assert not write_known_keys(tmp_path / "known.json", [str(tmp_path / "a.arrow")])
    assert not (tmp_path / "known.json").exists()
