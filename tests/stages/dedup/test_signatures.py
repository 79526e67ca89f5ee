"""Signatures that are kept, and used again instead of the texts."""

import json
import shutil

import pytest

from curator import ConfigError, CuratorError, ExactDeduplication, LocalExecutor, Pipeline, Read, Write
from curator.pipeline import plan_run
from curator.stages.dedup.fuzzy import FuzzyDeduplication
from curator.stages.dedup.signature_files import HEADER, open_signatures
from curator.stages.io import byte_stream, jsonl_reader, line_reader
from tests.near_duplicates import write_families
from tests.signature_runs import data_of, deduplicate, kept_ids, write_corpus

BROKEN = ['{"id": "no text"}', "{not json", '{"id": "null", "text": null}']


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A corpus in three files with bad records and documents without words, and what was kept of it."""
    folder = tmp_path_factory.mktemp("corpus")
    texts = write_families(11, 60)
    for number in range(3):
        part = [*texts[number::3], "", "  \t "]
        path = folder / "in" / f"{number}.jsonl"
        write_corpus(path, part, prefix=f"{number}-", score=lambda row: row % 7, lang=lambda row: "ab"[row % 2])
        with path.open("a") as handle:
            handle.write("\n".join(BROKEN) + "\n")
    options = {"num_hashes": 128, "keep_signatures": str(folder / "kept"), "keep_columns": ["score", "lang"]}
    deduplicate(str(folder / "in"), folder / "out", split_bytes=20_000, **options)
    return folder


def run(corpus, target, **options):
    return deduplicate(str(corpus / "in"), target, split_bytes=20_000, **options)


def refuse(*_, **__):
    raise AssertionError("lines were looked for in a text")


@pytest.fixture
def bytes_read(monkeypatch):
    """Of plain files: on from where a stream is, and in places."""
    counted = []

    def counting(read):
        def count(*arguments):
            size = read(*arguments)
            counted.append(size)
            return size

        return count

    monkeypatch.setattr(byte_stream.ByteStream, "readinto", counting(byte_stream.ByteStream.readinto))
    monkeypatch.setattr(byte_stream.os, "preadv", counting(byte_stream.os.preadv))
    return counted


SWEEP = [
    {"threshold": 0.7},
    {"threshold": 0.9},
    {"bands": 30, "rows": 4},
    {"bands": 16, "rows": 8, "bands_per_iteration": 5},
    {"verify": "signature"},
    {"verify": "none", "bands": 14, "rows": 8},
    {"keep": "longest"},
    {"keep": "max:score", "verify": "signature"},
    {"scope": "lang", "keep": "priority:score"},
    {"cluster": "components"},
]


@pytest.mark.parametrize("options", SWEEP, ids=str)
def test_a_run_from_signatures_scans_no_text_and_is_the_run_without_them(corpus, tmp_path, options, monkeypatch):
    plain = run(corpus, tmp_path / "plain", num_hashes=128, **options)
    assert plain[1].counts["removed"] > 0
    assert plain[1].counts["quarantined"] == 9
    monkeypatch.setattr(jsonl_reader, "read_jsonl", refuse)
    monkeypatch.setattr(line_reader.LineReader, "chunks", refuse)
    reused = run(corpus, tmp_path / "reused", signatures=corpus / "kept", **options)
    assert data_of(tmp_path / "reused") == data_of(tmp_path / "plain")
    assert reused[1].counts == plain[1].counts


def test_a_run_from_signatures_reads_no_byte_of_the_input_but_to_write_and_to_verify(corpus, tmp_path, bytes_read):
    size = sum(path.stat().st_size for path in (corpus / "in").iterdir())
    sums = {}
    for name, options in {
        "plain": {"num_hashes": 128, "verify": "signature"},
        "exact": {"signatures": corpus / "kept"},
        "signature": {"signatures": corpus / "kept", "verify": "signature"},
        "longest": {"signatures": corpus / "kept", "verify": "none", "keep": "longest"},
    }.items():
        bytes_read.clear()
        stages = [Read(str(corpus / "in"), split_bytes=20_000), FuzzyDeduplication(**options)]
        Pipeline([*stages, Write(tmp_path / name, durability="fast")]).run(LocalExecutor())
        sums[name] = sum(bytes_read)
    # Sniffing takes up to 64 kB a file; writing reads what is between the first and the last line that stay.
    assert sums["signature"] <= size + 3 * (64 << 10)
    assert sums["longest"] <= size + 3 * (64 << 10)
    assert sums["exact"] > sums["signature"]
    assert sums["exact"] <= sums["plain"] - size // 3


def test_a_column_that_was_not_kept_is_read_from_the_input(corpus, tmp_path):
    deduplicate(str(corpus / "in"), tmp_path / "first", split_bytes=20_000, keep_signatures=tmp_path / "bare")
    plain = run(corpus, tmp_path / "plain", scope="lang")
    assert run(corpus, tmp_path / "reused", signatures=tmp_path / "bare", scope="lang")[0] == plain[0]
    by_score = {"keep": "max:score", "verify": "signature"}
    plain = run(corpus, tmp_path / "plain-score", **by_score)
    assert run(corpus, tmp_path / "reused-score", signatures=tmp_path / "bare", **by_score)[0] == plain[0]
    notes = plan_run(
        [
            Read(str(corpus / "in"), split_bytes=20_000),
            FuzzyDeduplication(signatures=tmp_path / "bare", scope="lang"),
            Write(tmp_path / "no"),
        ]
    ).notes
    assert any("'lang'" in note and "keep_columns" in note for note in notes)


def test_keeping_signatures_changes_nothing_in_the_output(corpus, tmp_path):
    run(corpus, tmp_path / "plain", num_hashes=128)
    assert data_of(corpus / "out") == data_of(tmp_path / "plain")


def test_the_same_signatures_are_the_same_bytes_again(corpus, tmp_path):
    options = {"num_hashes": 128, "keep_signatures": tmp_path / "kept", "keep_columns": ["score", "lang"]}
    run(corpus, tmp_path / "out", threshold=0.8, **options)
    assert data_of(tmp_path / "kept") == data_of(corpus / "kept")


def test_documents_are_deduplicated_exactly_and_kept_in_one_pass(corpus, tmp_path):
    plain = run(corpus, tmp_path / "plain", before=[ExactDeduplication()])
    kept = run(corpus, tmp_path / "kept", before=[ExactDeduplication()], keep_signatures=tmp_path / "signatures")
    reused = run(corpus, tmp_path / "reused", before=[ExactDeduplication()], signatures=tmp_path / "signatures")
    assert plain[0] == kept[0] == reused[0]
    alone = run(corpus, tmp_path / "alone", signatures=tmp_path / "signatures")
    assert alone[0] == run(corpus, tmp_path / "plain-alone")[0]


def test_signatures_cannot_be_kept_behind_a_barrier_of_its_own(corpus, tmp_path):
    with pytest.raises(ConfigError, match=r"exact.*|first pass over the input"):
        run(
            corpus,
            tmp_path / "out",
            before=[ExactDeduplication().with_(resources=FuzzyDeduplication().resources.__class__(cpus=2.0))],
            keep_signatures=tmp_path / "kept",
        )


def test_signatures_serve_fewer_bands_and_rows_and_never_more(corpus, tmp_path):
    with pytest.raises(ConfigError, match=r"need 130 hashes, and a signature has num_hashes=128"):
        run(corpus, tmp_path / "out", signatures=corpus / "kept", bands=13, rows=10)
    # Chosen ones fit by themselves.
    few = {"num_hashes": 24, "keep_signatures": tmp_path / "few"}
    run(corpus, tmp_path / "first", **few)
    stage = FuzzyDeduplication(signatures=tmp_path / "few", threshold=0.7, recall=0.5)
    plan = plan_run([Read(str(corpus / "in"), split_bytes=20_000), stage, Write(tmp_path / "no")])
    resolved = plan.steps[0].shuffles[0]
    assert resolved.signature_length == 24
    assert resolved.bands * resolved.rows <= 24


def test_classic_signatures_serve_fewer_hashes_as_if_they_had_been_made_so(corpus, tmp_path):
    run(corpus, tmp_path / "first", scheme="classic", num_hashes=128, keep_signatures=tmp_path / "kept")
    plain = run(corpus, tmp_path / "plain", scheme="classic", bands=10, rows=8, verify="signature")
    options = {"scheme": "classic", "bands": 10, "rows": 8, "num_hashes": 80, "verify": "signature"}
    assert run(corpus, tmp_path / "reused", signatures=tmp_path / "kept", **options)[0] == plain[0]
    assert data_of(tmp_path / "reused") == data_of(tmp_path / "plain")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"scheme": "classic"}, ["scheme='fast', this run has 'classic'"]),
        ({"num_hashes": 120}, ["num_hashes=128, this run has 120"]),
        ({"shingle": "char", "shingle_size": 24}, ["shingle='word'", "shingle_size=5, this run has 24"]),
        ({"case": "keep"}, ["case='lower'"]),
        ({"case": "fold"}, ["case='lower'"]),
        ({"punctuation": "space", "unicode": "NFC"}, ["punctuation='keep'", "unicode='keep'"]),
    ],
    ids=str,
)
def test_signatures_of_another_kind_are_refused_and_every_difference_is_named(corpus, tmp_path, options, named):
    with pytest.raises(ConfigError) as refused:
        run(corpus, tmp_path / "out", signatures=corpus / "kept", **options)
    assert len(refused.value.problems) == len(named)
    for problem, words in zip(sorted(refused.value.problems), sorted(named), strict=True):
        assert words in problem
    assert not (tmp_path / "out").exists()


def test_signatures_of_another_version_are_refused(corpus, tmp_path):
    copy = shutil.copytree(corpus / "kept", tmp_path / "kept")
    kept = open_signatures(copy, "here")
    kept.made_with["unicode_version"] = "1.0.0"
    kept.made_with["scheme_version"] = 0
    kept.write(copy)
    with pytest.raises(ConfigError) as refused:
        run(corpus, tmp_path / "out", signatures=copy)
    assert ["unicode_version" in problem for problem in refused.value.problems] == [False, True]
    assert ["scheme_version=0" in problem for problem in refused.value.problems] == [True, False]
    whole = json.loads((copy / HEADER).read_text())
    (copy / HEADER).write_text(json.dumps({**whole, "version": 99}))
    with pytest.raises(ConfigError, match=r"is of version 99, and this is version 1"):
        run(corpus, tmp_path / "out", signatures=copy)


def test_another_input_is_refused_and_the_files_are_named(corpus, tmp_path):
    source = shutil.copytree(corpus / "in", tmp_path / "in")
    deduplicate(str(source), tmp_path / "first", keep_signatures=tmp_path / "kept")
    with (source / "1.jsonl").open("a") as handle:
        handle.write('{"text": "one more"}\n')
    (source / "2.jsonl").unlink()
    (source / "3.jsonl").write_text('{"text": "another file"}\n')
    with pytest.raises(ConfigError) as refused:
        deduplicate(str(source), tmp_path / "out", signatures=tmp_path / "kept")
    assert [next(n for n in "0123" if f"{n}.jsonl" in p) for p in refused.value.problems] == ["1", "2", "3"]
    assert "had" in refused.value.problems[0]
    assert "this run does not read it" in refused.value.problems[1]
    assert "they have nothing of it" in refused.value.problems[2]


def test_other_splits_and_other_reading_are_refused(corpus, tmp_path):
    with pytest.raises(ConfigError, match=r"was cut into \d+ splits and is cut into 3 now"):
        deduplicate(str(corpus / "in"), tmp_path / "out", signatures=corpus / "kept")
    stages = [
        Read(str(corpus / "in"), split_bytes=20_000, without_text="remove"),
        FuzzyDeduplication(signatures=corpus / "kept"),
        Write(tmp_path / "out"),
    ]
    with pytest.raises(ConfigError, match=r"read\.without_text='quarantine', this run has 'remove'"):
        Pipeline(stages).run(LocalExecutor())


@pytest.mark.parametrize("what", ["truncated", "flipped", "missing", "header", "sealed", "no folder", "a file"])
def test_damaged_signatures_are_refused(corpus, tmp_path, what):
    copy = shutil.copytree(corpus / "kept", tmp_path / "kept")
    part, header = copy / "part-00001.arrow", copy / HEADER
    content = part.read_bytes()
    if what == "truncated":
        part.write_bytes(content[:-100])
    elif what == "flipped":
        place = len(content) // 2
        part.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
    elif what == "missing":
        part.unlink()
    elif what == "header":
        header.write_bytes(header.read_bytes()[:-30])
    elif what == "sealed":
        header.write_text(header.read_text().replace('"read": ', '"read": 1'))
        assert header.read_text() != (corpus / "kept" / HEADER).read_text()
    else:
        copy = tmp_path / "nowhere" if what == "no folder" else corpus / "in" / "0.jsonl"
    with pytest.raises(CuratorError, match=r"damaged|not those that were kept|holds no signatures"):
        run(corpus, tmp_path / "out", signatures=copy)
    assert not (tmp_path / "out").exists()


def test_signatures_appear_with_the_output_or_not_at_all(corpus, tmp_path):
    with pytest.raises(ConfigError, match="is there already and not empty; use what is there"):
        run(corpus, tmp_path / "out", keep_signatures=corpus / "kept")
    source = write_corpus(tmp_path / "a.jsonl", ["one", "two"])
    with open(source, "a") as handle:
        handle.write("{broken\n")
    stages = [Read(source, max_quarantined=0.0), FuzzyDeduplication(keep_signatures=tmp_path / "kept")]
    with pytest.raises(CuratorError, match="records are bad"):
        Pipeline([*stages, Write(tmp_path / "bad")]).run(LocalExecutor())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl"]


def test_a_stage_in_front_that_needs_the_text_gets_it_and_the_plan_says_so(corpus, tmp_path):
    source = Read(str(corpus / "in"), split_bytes=20_000)
    fuzzy = FuzzyDeduplication(signatures=corpus / "kept")
    notes = {
        name: next(
            note
            for note in plan_run([source, *before, fuzzy, Write(tmp_path / "no")]).notes
            if "kept" in note or "read" in note
        )
        for name, before in (("alone", []), ("behind", [ExactDeduplication()]))
    }
    assert "documents are read instead of their texts" in notes["alone"]
    assert "'text' was not kept with the signatures" in notes["behind"]


def test_an_output_that_cannot_be_published_leaves_no_signatures(corpus, tmp_path, monkeypatch):
    from curator.executors import driver

    def fail(*_, **__):
        raise CuratorError("no room")

    monkeypatch.setattr(driver, "build_output", fail)
    with pytest.raises(CuratorError, match="no room"):
        run(corpus, tmp_path / "out", keep_signatures=tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


def test_the_plan_says_what_is_read_instead_of_the_text(corpus, tmp_path):
    source = Read(str(corpus / "in"), split_bytes=20_000)
    plain = plan_run([source, FuzzyDeduplication(), Write(tmp_path / "no")])
    reused = plan_run([source, FuzzyDeduplication(signatures=corpus / "kept"), Write(tmp_path / "no")])
    kept = sum(path.stat().st_size for path in (corpus / "kept").glob("part-?????.arrow"))
    assert plain.read_bytes == 2 * plain.total_bytes
    assert reused.read_bytes == plain.total_bytes + kept
    assert list(tmp_path.iterdir()) == []


def test_signatures_that_a_joined_exact_stage_kept_serve_it_and_a_fuzzy_stage_alone(tmp_path):
    texts = write_families(5, 30)
    source = write_corpus(tmp_path / "in" / "a.jsonl", [*texts, *texts[:9]])
    kept = str(tmp_path / "kept")
    _, made = deduplicate(source, tmp_path / "a", before=[ExactDeduplication()], keep_signatures=kept)
    _, again = deduplicate(source, tmp_path / "b", before=[ExactDeduplication()], signatures=kept)
    assert data_of(tmp_path / "a") == data_of(tmp_path / "b")
    assert made.counts == again.counts
    assert made.counts["removed"] > 9
    deduplicate(source, tmp_path / "plain")
    deduplicate(source, tmp_path / "alone", signatures=kept)
    assert kept_ids(tmp_path / "alone") == kept_ids(tmp_path / "plain")
