"""Which runs read their input once."""

import pytest

from curator import ExactDeduplication, FuzzyDeduplication, LocalExecutor, ProcessingStage, Read, Write
from curator.errors import ConfigError
from curator.pipeline import Barrier, OnePass, Segment, build_steps
from curator.pipeline.one_pass import join_passes, separate_passes
from curator.tasks import InputFile, Split


class Longer(ProcessingStage):
    name = "longer"

    def inputs(self):
        return ("text", "length")

    def process(self, task):
        return task


def joined(*stages, documents=1_000, most_bytes=1 << 30, splits=()):
    return join_passes(build_steps([Read("a"), *stages, Write("b")]), splits, documents, most_bytes)


def in_buckets(**options):
    return FuzzyDeduplication(**{"verify": "none", **options})


@pytest.mark.parametrize(
    "stages",
    [
        [ExactDeduplication()],
        [ExactDeduplication(empty_text="remove", case="lower")],
        [in_buckets()],
        [in_buckets(scope="lang")],
        [ExactDeduplication(), in_buckets()],
        [Longer(), ExactDeduplication(), Longer().with_(name="later")],
    ],
)
def test_stages_that_keep_the_first_read_once(stages):
    (step,) = joined(*stages)
    assert isinstance(step, OnePass)
    assert step.name == " · ".join(["read", *(stage.name for stage in stages), "write"])


@pytest.mark.parametrize(
    "stages",
    [
        [],
        [Longer()],
        [ExactDeduplication(keep="longest")],
        [ExactDeduplication(keep="max:score")],
        [ExactDeduplication(against="earlier")],
        [in_buckets(verify="signature")],
        [in_buckets(cluster="components")],
        [in_buckets(keep="longest")],
        [in_buckets(bands_per_iteration=3)],
        [in_buckets(keep_signatures="kept")],
        [in_buckets(signatures="kept")],
        [in_buckets(against="kept")],
        [in_buckets(max_comparisons=1)],
        [ExactDeduplication(), in_buckets(cluster="components")],
        [ExactDeduplication(), Longer(), in_buckets()],
    ],
)
def test_stages_that_have_to_wait_do_not(stages):
    steps = joined(*stages)
    assert all(isinstance(step, Segment | Barrier) for step in steps)
    assert [step.name for step in steps] == [step.name for step in build_steps([Read("a"), *stages, Write("b")])]


@pytest.mark.parametrize(("plain", "packed", "num_steps"), [(0, 0, 6), (100, 90, 6), (90, 100, 1), (0, 1, 1)])
def test_texts_are_compared_as_they_pass_where_reading_some_again_would_be_decoding_all(plain, packed, num_steps):
    files = [InputFile("a.jsonl", plain, "", "jsonl"), InputFile("b.jsonl.zst", packed, "", "jsonl", "zst")]
    splits = [Split(place, file, 0, file.size_bytes, file.size_bytes) for place, file in enumerate(files)]
    assert len(joined(FuzzyDeduplication(), splits=splits)) == num_steps
    assert len(joined(FuzzyDeduplication(verify="signature"), splits=splits)) == 6


def test_documents_whose_keys_would_be_too_many_are_read_twice():
    stage = in_buckets(bands=14, rows=8)
    for documents, num_steps in ((3_000_000, 1), (4_000_000, len(build_steps([Read("a"), stage, Write("b")])))):
        assert len(joined(stage, documents=documents)) == num_steps
    assert len(joined(ExactDeduplication(), most_bytes=0)) == 3


def test_the_one_source_reads_what_both_passes_need():
    (step,) = joined(ExactDeduplication(), Longer())
    assert set(step.source.fields()) == {"id", "text", "length"}
    assert [part.name for part in separate_passes([step])] == [
        "read · exact",
        "exact (shuffle)",
        "read · longer · write",
    ]


@pytest.mark.parametrize("value", [-1, "1GB", True, 1.5, None])
def test_bytes_are_a_whole_number(value):
    with pytest.raises(ConfigError, match=r"executor\.one_pass_bytes"):
        LocalExecutor({"one_pass_bytes": value})
