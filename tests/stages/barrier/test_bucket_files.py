"""Files of rows that lie by bucket: nothing is lost, and no more is held than was allowed."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.stages.barrier.bucket_files import BucketWriter, count_rows, read_buckets, read_rows, read_schema

TYPES = {
    "number": pa.uint64(),
    "small": pa.int16(),
    "flag": pa.bool_(),
    "text": pa.string(),
    "many": pa.list_(pa.int32()),
    "time": pa.timestamp("ms"),
}
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "bucket": st.integers(0, 4),
            "number": st.none() | st.integers(0, 2**64 - 1),
            "small": st.integers(-(2**15), 2**15 - 1),
            "flag": st.none() | st.booleans(),
            "text": st.none() | st.text(max_size=9),
            "many": st.none() | st.lists(st.integers(0, 9), max_size=4),
            "time": st.integers(0, 10**12),
        }
    ),
    max_size=40,
)
SCHEMA = pa.schema([("bucket", pa.uint16()), *TYPES.items()])


def deal(table):
    return table, table["bucket"].to_numpy()


@settings(deadline=None)
@given(ROWS, st.integers(1, 10), st.integers(1, 3_000))
def test_every_row_is_in_its_bucket_in_the_order_it_came(tmp_path_factory, rows, step, held_bytes):
    path = tmp_path_factory.mktemp("buckets") / "rows.arrow"
    writer = BucketWriter(path, 5, held_bytes, deal)
    for first in range(0, len(rows), step):
        writer.add(pa.Table.from_pylist(rows[first : first + step], SCHEMA))
    assert writer.close() is bool(rows)
    if not rows:
        assert not path.exists()
        return
    assert count_rows(path).tolist() == np.bincount([row["bucket"] for row in rows], minlength=5).tolist()
    whole = pa.Table.from_pylist(rows, SCHEMA)
    for bucket in range(5):
        expected = [row for row in whole.to_pylist() if row["bucket"] == bucket]
        assert pa.concat_tables(read_buckets(path, bucket, bucket + 1)).to_pylist() == expected
        assert read_rows([path, path], bucket, bucket + 1).to_pylist() == 2 * expected


def test_rows_beyond_the_bytes_that_may_be_held_are_written_at_once(tmp_path):
    table = pa.table({"bucket": np.zeros(10_000, np.uint16), "number": np.arange(10_000)})
    writer = BucketWriter(tmp_path / "a", 1, 10_000, deal)
    writer.add(table)
    assert writer.num_batches >= 9
    assert sum(rows.nbytes for rows, _ in writer._held) <= 10_000
    assert writer.close()
    sizes = [part.nbytes for part in read_buckets(tmp_path / "a", 0, 1)]
    assert max(sizes) <= 10_000
    assert len(list(tmp_path.iterdir())) == 1


def test_one_huge_row_among_small_ones_is_not_held_with_many(tmp_path):
    table = pa.table({"bucket": np.zeros(1000, np.uint16), "text": ["x"] * 999 + ["y" * 1_000_000]})
    writer = BucketWriter(tmp_path / "a", 1, 5_000, deal)
    writer.add(table)
    assert writer.close()
    sizes = [part.num_rows for part in read_buckets(tmp_path / "a", 0, 1)]
    assert sizes[-1] == 1
    assert sum(sizes) == 1000


def test_a_small_slice_does_not_hold_the_table_it_was_cut_from(tmp_path):
    whole = pa.table({"bucket": np.zeros(1_000_000, np.uint16), "number": np.arange(1_000_000)})
    writer = BucketWriter(tmp_path / "a", 1, 1 << 20, deal)
    for first in range(0, 50_000, 1000):
        writer.add(whole.slice(first, 1000))
    assert sum(rows.get_total_buffer_size() for rows, _ in writer._held) <= 2 * (1 << 20)
    assert writer.close()


def test_a_file_without_rows_still_has_its_columns(tmp_path):
    writer = BucketWriter(tmp_path / "a", 3, 100, deal)
    writer.add(SCHEMA.empty_table())
    assert writer.close()
    assert read_schema(tmp_path / "a") == SCHEMA
    assert count_rows(tmp_path / "a").tolist() == [0, 0, 0]


def test_tables_of_other_columns_are_refused_with_both(tmp_path):
    writer = BucketWriter(tmp_path / "a", 1, 100, deal)
    writer.add(pa.table({"bucket": pa.array([0], pa.uint16())}))
    with pytest.raises(ValueError, match=r"a table has the columns b: int64; one before it had bucket: uint16"):
        writer.add(pa.table({"b": [1]}))


def test_more_files_than_are_mapped_at_once_are_read_in_their_order(tmp_path):
    for number in range(300):
        writer = BucketWriter(tmp_path / str(number), 2, 1 << 20, deal)
        writer.add(pa.table({"bucket": np.array([1, 0, 1], np.uint16), "number": np.full(3, number)}))
        writer.close()
    paths = [tmp_path / str(number) for number in range(300)]
    assert read_rows(paths, 1, 2)["number"].to_pylist() == np.repeat(np.arange(300), 2).tolist()
    assert read_rows(paths, 0, 1)["number"].to_pylist() == list(range(300))
