"""Shuffles under fire: workers that die between insert and extract, and in every round behind a barrier."""

import numpy as np
import pytest

from curator import (
    LocalExecutor,
    Pipeline,
    RayActorPoolExecutor,
    Read,
    Resources,
    Write,
    verify_output,
)
from curator.pipeline import Barrier, Segment, build_steps, chains
from curator.stages.barrier.rounds import DocumentReader
from curator.stages.shuffle import TableShuffle
from tests.executors.shuffle_stages import CountKeys, DieWhileMaking, MakeTables, SharedWords
from tests.executors.stages_for_tests import AddOne, numbers
from tests.executors.suite import content_of, write_words


@pytest.fixture
def ray_executor(ray_address):
    return RayActorPoolExecutor({"address": ray_address, "num_workers": 2})


class GpuStage(AddOne):
    name = "gpu"
    resources = Resources(cpus=1, gpus=1)


def shape(stages, **options):
    return [step.name for step in build_steps(stages, **options)]


def test_rows_are_inserted_where_they_are_made_and_go_on_where_they_are_extracted():
    stages = [AddOne(), TableShuffle("key"), CountKeys()]
    assert shape(stages) == ["add_one · shuffle (insert)", "shuffle (extract) · count_keys"]
    assert shape([GpuStage(), *stages[1:]]) == ["gpu · shuffle (insert)", "shuffle (extract) · count_keys"]
    assert shape(stages[1:2]) == ["shuffle (insert)", "shuffle (extract)"]
    assert [len(chain) for chain in chains(build_steps([GpuStage(), *stages]))] == [2, 1]


def test_without_fusing_every_stage_has_a_segment_of_its_own():
    stages = [AddOne(), TableShuffle("key"), CountKeys()]
    assert shape(stages, fuse=False) == ["add_one", "shuffle (insert)", "shuffle (extract)", "count_keys"]


def test_a_shuffle_that_needs_more_than_its_neighbours_stands_alone():
    shuffle = TableShuffle("key").with_(resources=Resources(cpus=1, memory_gb=8))
    assert shape([AddOne(), shuffle, CountKeys().with_(batch_size=2)]) == [
        *("add_one", "shuffle (insert)", "shuffle (extract)", "count_keys"),
    ]


def test_rounds_and_turns_are_steps_with_a_name_and_read_only_where_they_must():
    steps = build_steps([Read("a"), SharedWords(), Write("b")])
    barriers = [step for step in steps if isinstance(step, Barrier)]
    assert [step.name for step in barriers] == [
        "shared_words (edges, bands 0 to 1)",
        "shared_words (edges, bands 2 to 3)",
        "shared_words (components)",
        "shared_words (verify)",
    ]
    assert [step.source is not None for step in barriers] == [False, False, False, True]
    assert [step.number for step in steps if isinstance(step, Segment)] == [0, 1]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bands_per_iteration": 0}, "bands_per_iteration=0: must be a whole number"),
        ({"num_bands": 100, "bands_per_iteration": 1}, "takes 100 turns for 100 bands; at most 64 are possible"),
        ({"num_bands": "4"}, "num_bands='4': must be a whole number"),
    ],
)
def test_bands_that_cannot_be_are_refused_before_anything_runs(changes, message, tmp_path):
    stage = SharedWords()
    vars(stage).update(changes)
    with pytest.raises(ValueError, match=message):
        Pipeline([Read("a"), stage, Write(tmp_path / "out")])


def test_one_round_in_several_turns_is_refused(tmp_path):
    class OneRound(SharedWords):
        def rounds(self):
            return super().rounds()[:1]

    with pytest.raises(ValueError, match="one round cannot decide in 2 turns"):
        Pipeline([Read("a"), OneRound(), Write(tmp_path / "out")])


def test_documents_that_did_not_reach_the_barrier_cannot_be_read_again(tmp_path):
    with pytest.raises(ValueError, match="ascending and all different"):
        next(DocumentReader(Read("a"), "nowhere").read(np.array([2, 1], np.uint64)))


@pytest.mark.ray
def test_a_worker_killed_in_the_insert_costs_its_own_unit_only(ray_executor, tmp_path):
    (tmp_path / "deaths").mkdir()
    (tmp_path / "scratch").mkdir()
    shuffle = TableShuffle("key", num_partitions=4, scratch_path=str(tmp_path / "scratch"))
    stages = [MakeTables(), DieWhileMaking(tmp_path / "deaths"), shuffle, CountKeys(tmp_path / "deaths")]
    parts = ray_executor.execute(stages, numbers(*range(8)))
    assert sorted(path.name for path in (tmp_path / "deaths").iterdir()) == ["extract", "insert"]
    calm = LocalExecutor().execute([MakeTables(), shuffle, CountKeys()], numbers(*range(8)))
    assert [part.table.to_pydict() for part in parts] == [part.table.to_pydict() for part in calm]
    assert sum(sum(part.table["id_count"].to_pylist()) for part in parts) == 8 * 500
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.ray
def test_a_worker_killed_in_every_round_changes_no_byte(ray_executor, tmp_path):
    write_words(tmp_path / "in")
    (tmp_path / "deaths").mkdir()

    def run(who, name, stage):
        stages = [Read(str(tmp_path / "in"), split_bytes=2_000), stage, Write(tmp_path / name, durability="fast")]
        return Pipeline(stages).run(who)

    run(ray_executor, "killed", SharedWords(deaths=tmp_path / "deaths"))
    run(LocalExecutor(), "calm", SharedWords())
    assert sorted(path.name for path in (tmp_path / "deaths").iterdir()) == ["components", "edges", "verify"]
    assert content_of(tmp_path / "killed") == content_of(tmp_path / "calm")
    assert verify_output(tmp_path / "killed").problems == []
    assert not list(tmp_path.glob("*._curator"))
