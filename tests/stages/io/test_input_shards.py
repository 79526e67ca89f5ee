"""Dividing an input into shards: every file in one of them, in order, and none much larger than it must be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator import ConfigError, InputError, Read, Write
from curator.stages.io.shards import choose_shard
from curator.tasks import InputFile


def files_of(sizes):
    return [InputFile(f"{number:03d}.jsonl", size, "0", "jsonl") for number, size in enumerate(sizes)]


@given(sizes=st.lists(st.integers(0, 1000), min_size=1, max_size=30), data=st.data())
def test_shards_in_a_row_are_the_whole_input_and_none_is_empty(sizes, data):
    files = files_of(sizes)
    count = data.draw(st.integers(1, len(files)))
    shards = [choose_shard(files, index, count) for index in range(count)]
    assert [file for shard in shards for file in shard] == files
    assert all(shards)


@given(sizes=st.lists(st.integers(0, 50), min_size=1, max_size=8), data=st.data())
def test_the_largest_shard_is_as_small_as_neighbours_allow(sizes, data):
    files = files_of(sizes)
    count = data.draw(st.integers(1, len(files)))

    def best(rest, parts):
        if parts == 1:
            return sum(rest)
        return min(max(sum(rest[:cut]), best(rest[cut:], parts - 1)) for cut in range(1, len(rest) - parts + 2))

    largest = max(sum(file.size_bytes for file in choose_shard(files, index, count)) for index in range(count))
    assert largest == best(sizes, count)


def test_more_shards_than_files_are_refused():
    with pytest.raises(InputError, match=r"shard\.count=3: the input has 2 files"):
        choose_shard(files_of([1, 1]), 0, 3)


@pytest.mark.parametrize(("index", "count"), [(0, None), (None, 2), (2, 2), (-1, 2), (0, 0), (True, 2), (0, 10_000)])
def test_a_shard_that_cannot_be_is_refused_before_anything_is_read(index, count):
    with pytest.raises(ConfigError, match=r"shard\.(index|count)="):
        Read("nowhere", shard_index=index, shard_count=count)


def test_a_reader_plans_the_splits_of_its_shard_only(tmp_path, write_jsonl):
    for number in range(3):
        write_jsonl(tmp_path / f"{number}.jsonl", [{"text": "x"}])
    plan = Read(str(tmp_path), shard_index=1, shard_count=3).plan_splits()
    assert [split.file.path for split in plan.splits] == [str(tmp_path / "1.jsonl")]
    assert [split.ordinal for split in plan.splits] == [0]


def test_a_shard_is_among_the_settings_and_no_shard_is_not():
    assert Read("x", shard_index=1, shard_count=2).settings()["shard_index"] == 1
    assert not [key for key in Read("x").settings() if "shard" in key]


def test_the_output_of_a_shard_has_a_directory_of_its_own():
    assert Write("clean", shard_index=3, shard_count=10).output_path == "clean/shard-0003-of-0010"
    assert Write("clean").output_path == "clean"
