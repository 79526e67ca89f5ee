import pytest

from curator import ConfigError, ExactDeduplication, Pipeline, ProcessingStage, Read, Write
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


def test_two_barriers_make_two_rounds():
    names = [
        s.name
        for s in build_steps([Read("a"), ExactDeduplication(), ExactDeduplication().with_(name="again"), Write("b")])
    ]
    assert names == ["read · exact", "exact (shuffle)", "read · again", "again (shuffle)", "read · write"]


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
