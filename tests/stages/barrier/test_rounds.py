"""Reading documents again by number, from every format, and bands in key files."""

import gzip
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curator import Read
from curator.stages.barrier.keys import NUM_SLICES, KeysWriter, plan_partitions, read_partition, write_keys_index
from curator.stages.barrier.rounds import DocumentReader, write_documents_index
from curator.stages.barrier.rows import RowsWriter
from curator.tasks import SplitTask, document_ids

RECORDS = [{"id": f"d{number}", "text": f"text {number} ä", "n": number} for number in range(900)]


def write_input(folder, kind):
    folder.mkdir()
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS).encode()
    if kind == "jsonl":
        (folder / "a.jsonl").write_bytes(lines)
    elif kind == "gz":
        (folder / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    else:
        pq.write_table(pa.Table.from_pylist(RECORDS), folder / "a.parquet", row_group_size=100)
    return Read(str(folder), split_bytes=6_000)


def index_input(source, path):
    """What the segment before a barrier leaves: the rows of each split, of which every seventh is gone."""
    splits, rows_paths, alive = source.plan_splits().splits, [], {}
    for split in splits:
        writer = RowsWriter()
        reader = source.for_segment(["text", "id"], whole_rows=False)
        for batch in reader.process(SplitTask(task_id="0", split=split)):
            kept = batch.select(batch.rows % 7 != 0)
            writer.add(kept)
            documents = document_ids(split.ordinal, kept.rows).tolist()
            alive |= dict(zip(documents, kept.columns["id"].to_pylist(), strict=True))
        rows_paths.append(str(path.with_name(f"{split.ordinal}.rows")))
        writer.close(path.with_name(f"{split.ordinal}.rows"))
    write_documents_index(path, splits, rows_paths)
    return alive


@pytest.mark.parametrize("kind", ["jsonl", "gz", "parquet"])
def test_any_documents_are_read_again_with_the_columns_that_are_wanted(tmp_path, kind):
    source = write_input(tmp_path / "in", kind)
    alive = index_input(source, tmp_path / "documents.arrow")
    wanted = np.array(sorted(np.random.default_rng(6).choice(sorted(alive), 60, replace=False)), np.uint64)
    reader = DocumentReader(source.for_segment(["text", "n"], whole_rows=False), str(tmp_path / "documents.arrow"))
    found = {}
    for batch in reader.read(wanted):
        documents = document_ids(batch.split.ordinal, batch.rows).tolist()
        found |= dict(zip(documents, batch.columns.to_pylist(), strict=True))
    assert list(found) == wanted.tolist()
    for document, row in found.items():
        record = next(record for record in RECORDS if record["id"] == alive[document])
        assert (row["id"], row["text"], int(row["n"])) == (record["id"], record["text"], record["n"])
    assert list(reader.read(np.empty(0, np.uint64))) == []


def test_a_document_that_is_gone_cannot_be_read_again(tmp_path):
    source = write_input(tmp_path / "in", "jsonl")
    index_input(source, tmp_path / "documents.arrow")
    reader = DocumentReader(source.for_segment(["text"], whole_rows=False), str(tmp_path / "documents.arrow"))
    with pytest.raises(ValueError, match="2 rows of a split are wanted, 1 of them are left"):
        list(reader.read(np.array([1, 7], np.uint64)))


def test_each_turn_finds_the_keys_of_its_bands_and_no_others(tmp_path):
    rng = np.random.default_rng(3)
    iterations = [(0, 2), (2, 4), (4, 5)]
    files, put_in = [], []
    for number in range(3):
        writer = KeysWriter(tmp_path / f"{number}.arrow", iterations, held_bytes=3_000)
        for _ in range(4):
            tables = []
            for band in range(5):
                high = rng.choice(rng.integers(0, 2**64, 40, np.uint64), 20)
                put_in += [(band, key) for key in high.tolist()]
                tables.append(pa.table({"high": high, "document": np.arange(20, dtype=np.uint64)}))
            writer.add(tables)
        assert writer.close()
        files.append(str(tmp_path / f"{number}.arrow"))
    found = []
    plans = plan_partitions(files, 2_000, 3)
    for turn, ((begin, end), bounds) in enumerate(zip(iterations, plans, strict=True)):
        assert (bounds[0], bounds[-1]) == (0, NUM_SLICES)
        write_keys_index(tmp_path / f"{turn}.json", files, bounds, turn)
        parts = [read_partition(str(tmp_path / f"{turn}.json"), number) for number in range(len(bounds) - 1)]
        assert len(parts) > 1
        rows = [list(zip(part["band"].to_pylist(), part["high"].to_pylist(), strict=True)) for part in parts]
        assert {band for part in rows for band, _ in part} == set(range(begin, end))
        keys = [{key for _, key in part} for part in rows]
        assert sum(map(len, keys)) == len(set().union(*keys))
        found += [row for part in rows for row in part]
    assert sorted(found) == sorted(put_in)


def test_keys_without_their_bands_are_refused(tmp_path):
    def keys(**columns):
        return pa.table({"high": pa.array([1, 2], pa.uint64()), **columns})

    writer = KeysWriter(tmp_path / "a", [(0, 2), (2, 4)])
    with pytest.raises(ValueError, match="without the column 'band'"):
        writer.add(keys())
    with pytest.raises(ValueError, match="returned 3 tables for 4 bands"):
        writer.add([keys()] * 3)
    with pytest.raises(ValueError, match="the band 4, but there are 4"):
        writer.add(keys(band=pa.array([0, 4], pa.uint16())))
