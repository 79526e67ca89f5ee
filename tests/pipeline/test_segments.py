import pytest

from curator import ConfigError, ExactDeduplication, Pipeline, ProcessingStage, Read, Resources, Write
from curator.pipeline import Barrier, build_steps


class Filter(ProcessingStage):
    name = "filter"

    def inputs(self):
        return ("text", "language")

    def process(self, task):
        return task


class Rewrite(Filter):
    name = "rewrite"

    def outputs(self):
        return ("text",)


def test_stages_between_barriers_are_fused_and_the_source_reads_again_behind_one():
    steps = build_steps([Read("a"), Filter(), ExactDeduplication(), Write("b")])
    assert [step.name for step in steps] == ["read · filter · exact", "exact (shuffle)", "read · write"]
    assert isinstance(steps[1], Barrier)


def test_a_segment_reads_only_the_columns_that_its_stages_declare():
    steps = build_steps([Read("a", text_field="body"), Filter(), ExactDeduplication(keep="max:n"), Write("b")])
    assert steps[0].stages[0].fields() == {"id": "id", "text": "body", "language": "language", "n": "n"}
    assert steps[2].stages[0].fields() == {"id": "id"}


class Dependent(ExactDeduplication):
    keys_are_independent = False


def again(**options):
    return ExactDeduplication(**options).with_(name="again")


def test_barriers_that_follow_each_other_share_one_pass_over_the_input():
    steps = build_steps([Read("a"), ExactDeduplication(), again(keep="max:n"), Filter(), Write("b")])
    assert [step.name for step in steps] == [
        "read · exact · again",
        "exact (shuffle)",
        "again (shuffle)",
        "read · filter · write",
    ]
    assert steps[0].stages[0].fields() == {"id": "id", "text": "text", "n": "n"}
    assert [step.position for step in steps[1:3]] == [0, 1]
    assert [steps[0].number, steps[3].number] == [0, 1]


@pytest.mark.parametrize(
    "later",
    [
        Dependent().with_(name="again"),
        again(empty_text="remove"),
        again().with_(resources=Resources(cpus=2)),
        again().with_(runtime_env={"env_vars": {"A": "1"}}),
    ],
    ids=["says no", "takes documents out", "other resources", "other environment"],
)
def test_a_barrier_that_cannot_join_the_one_before_it_reads_again(later):
    names = [step.name for step in build_steps([Read("a"), ExactDeduplication(), later, Write("b")])]
    assert names == ["read · exact", "exact (shuffle)", "read · again", "again (shuffle)", "read · write"]


def test_a_stage_between_two_barriers_sees_what_the_first_one_left():
    names = [step.name for step in build_steps([Read("a"), ExactDeduplication(), Filter(), again(), Write("b")])]
    assert names == ["read · exact", "exact (shuffle)", "read · filter · again", "again (shuffle)", "read · write"]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ([], "there are none"),
        ([Read("a"), Read("b"), Write("c")], "two stages are named 'read'"),
        ([ExactDeduplication(), Read("a"), Write("b")], r"(?s)stages.read: reads the input and must come first"),
        ([Read("a"), Write("b"), ExactDeduplication()], "stages.write: writes the output and must come last"),
        ([Write("b")], "stages.write: needs a stage that reads"),
        ([Read("a"), Rewrite(), ExactDeduplication(), Write("b")], "stages.rewrite: changes text"),
    ],
    ids=["none", "twice", "read last", "write first", "no read", "rewrite"],
)
def test_an_order_that_cannot_run_is_refused_in_words(stages, message):
    with pytest.raises(ConfigError, match=message):
        Pipeline(stages)


def test_building_a_pipeline_touches_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Pipeline([Read("nowhere/*.jsonl"), ExactDeduplication(), Write("out")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({}, ["filter · again"]),
        ({"runtime_env": {}}, ["filter · again"]),
        ({"runtime_env": {"env_vars": {"A": "1"}}}, ["filter", "again"]),
        ({"resources": Resources(cpus=2)}, ["filter", "again"]),
        ({"num_workers": lambda: 3}, ["filter", "again"]),
        ({"ray_stage_spec": dict}, ["filter · again"]),
        ({"ray_stage_spec": lambda: {"ray_remote_args": {}}}, ["filter · again"]),
        ({"ray_stage_spec": lambda: {"ray_remote_args": {"scheduling_strategy": "SPREAD"}}}, ["filter", "again"]),
    ],
)
def test_stages_without_a_source_share_a_worker_only_if_one_suits_both(changes, names):
    steps = build_steps([Filter(), Filter().with_(name="again", **changes)])
    assert [step.name for step in steps] == names
