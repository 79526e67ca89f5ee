"""Documents that an earlier corpus already has go, and the ledger says what they lost to."""

import json
import os
import shutil

import pyarrow.parquet as pq
import pytest

from curator import (
    ConfigError,
    ExactDeduplication,
    LocalExecutor,
    Pipeline,
    ProcessingStage,
    Read,
    Write,
    verify_output,
)
from curator.pipeline import plan_run
from curator.report.show import show_output
from curator.stages.barrier import known_keys
from curator.stages.dedup.fuzzy import FuzzyDeduplication
from tests.near_duplicates import WORDS, greedy, shingles, similarity, write_families
from tests.signature_runs import data_of, deduplicate, kept_ids, write_corpus

BASE = [f"{word}{place}" for place, word in enumerate(WORDS[:60])]


def changed(*places, base=BASE):
    """The base text with some of its words replaced; each one costs about five shingles of 56."""
    text = list(base)
    for place in places:
        text[place] = f"new{place}"
    return " ".join(text)


OTHER = " ".join(f"other{number}" for number in range(60))


@pytest.fixture(scope="module")
def months(tmp_path_factory):
    """Families of texts, dealt to three months; and what is left of the first two, with signatures of both."""
    folder = tmp_path_factory.mktemp("months")
    texts = write_families(23, 90, most_changes=4)
    third = len(texts) // 3
    for number, name in enumerate("abc"):
        part = texts[number * third : (number + 1) * third]
        write_corpus(folder / "in" / f"{name}.jsonl", part, lang=lambda row: "xy"[row % 2])
    options = {"split_bytes": 15_000, "bands": 25, "rows": 5}
    deduplicate(str(folder / "in" / "a.jsonl"), folder / "out-a", keep_signatures=folder / "kept-a", **options)
    more = {"keep_signatures": folder / "kept-b", "against": folder / "kept-a"}
    deduplicate(str(folder / "in" / "b.jsonl"), folder / "out-b", **more, **options)
    return folder, texts


def corpora(folder, kind, names="ab"):
    if kind == "beside":
        for name in names:
            if not (folder / f"beside-{name}").exists():
                shutil.copytree(folder / f"out-{name}", folder / f"beside-{name}")
                shutil.copytree(folder / f"kept-{name}", folder / f"beside-{name}.signatures")
    return [str(folder / f"{kind}-{name}") for name in names]


@pytest.mark.parametrize(
    ("kind", "verify"), [("kept", "exact"), ("out", "exact"), ("beside", "exact"), ("kept", "signature")]
)
def test_month_by_month_is_all_months_at_once(months, tmp_path, kind, verify):
    folder, _ = months
    options = {"split_bytes": 15_000, "bands": 25, "rows": 5, "verify": verify}
    whole, _ = deduplicate(str(folder / "in"), tmp_path / "whole", **options)
    one = {"split_bytes": 15_000, "bands": 25, "rows": 5, "verify": verify}
    if verify == "exact":
        first, second = kept_ids(folder / "out-a"), kept_ids(folder / "out-b")
    else:
        kept = {"keep_signatures": tmp_path / "kept-a"}
        first, _ = deduplicate(str(folder / "in" / "a.jsonl"), tmp_path / "out-a", **one, **kept)
        kept = {"keep_signatures": tmp_path / "kept-b", "against": corpora(tmp_path, kind, "a")}
        second, _ = deduplicate(str(folder / "in" / "b.jsonl"), tmp_path / "out-b", **one, **kept)
        folder = tmp_path
    sources = corpora(folder, kind)
    third, result = deduplicate(str(months[0] / "in" / "c.jsonl"), tmp_path / "c", against=sources, **one)
    assert [*first, *second, *third] == whole
    assert len(third) < result.counts["read"]
    lost = [row for row in result.ledger().to_pylist() if row["kept_in"] is not None]
    assert {row["kept_in"] for row in lost} == set(sources)
    for row in lost:
        assert row["kept_id"].startswith("a" if row["kept_in"] == sources[0] else "b")


def test_the_ledger_names_corpus_document_and_exact_similarity(months, tmp_path):
    folder, texts = months
    third = len(texts) // 3
    by_id = {f"{name}{row}": texts[number * third + row] for number, name in enumerate("abc") for row in range(third)}
    one = {"split_bytes": 15_000, "bands": 25, "rows": 5}
    _, result = deduplicate(str(folder / "in" / "c.jsonl"), tmp_path / "c", against=corpora(folder, "kept"), **one)
    rows = result.ledger().to_pylist()
    kept = {*kept_ids(folder / "out-a"), *kept_ids(folder / "out-b"), *kept_ids(tmp_path / "c")}
    assert rows
    for row in rows:
        assert row["kept_id"] in kept
        assert row["score"] == similarity(shingles(by_id[row["id"]]), shingles(by_id[row["kept_id"]])) >= 0.8
    lost = next(row for row in rows if row["kept_in"] == str(folder / "kept-a"))
    header = json.loads((folder / "kept-a" / "signatures.json").read_text())
    split = header["splits"][lost["kept_document_id"] >> 32]["split"]
    lines = (folder / "in" / "a.jsonl").read_bytes()
    offset = lines.index(b"\n", split["begin"] - 1) + 1 if split["begin"] else 0
    line = lines[offset:].splitlines()[lost["kept_document_id"] & 0xFFFFFFFF]
    assert json.loads(line)["id"] == lost["kept_id"]
    shown = "\n".join(show_output(tmp_path / "c", removed=len(rows), quarantined=0))
    assert f"id {lost['kept_id']}, {folder / 'kept-a'}, an earlier corpus" in shown
    assert verify_output(tmp_path / "c").problems == []


def test_the_exact_cover_of_everything_is_what_stays(tmp_path):
    texts = write_families(4, 40, most_changes=3)
    half = len(texts) // 2
    write_corpus(tmp_path / "old.jsonl", texts[:half])
    source = write_corpus(tmp_path / "new.jsonl", texts[half:])
    many = {"bands": 60, "rows": 2}
    deduplicate(str(tmp_path / "old.jsonl"), tmp_path / "old", **many)
    kept, _ = deduplicate(source, tmp_path / "new", against=tmp_path / "old", **many)
    expected = greedy(texts, 0.8)
    assert [*kept_ids(tmp_path / "old"), *kept] == [
        f"old{number}" if number < half else f"new{number - half}" for number in expected
    ]


def test_what_an_earlier_run_removed_removes_nothing(tmp_path):
    # B lost to A; C is similar to B and not to A.
    a, b, c = changed(5), changed(5, 30), changed(5, 30, 50)
    write_corpus(tmp_path / "old.jsonl", [a, b])
    source = write_corpus(tmp_path / "new.jsonl", [c])
    many = {"bands": 60, "rows": 2}
    deduplicate(str(tmp_path / "old.jsonl"), tmp_path / "out", keep_signatures=tmp_path / "kept", **many)
    for name in ("out", "kept"):
        assert deduplicate(source, tmp_path / f"new-{name}", against=tmp_path / name, **many)[0] == ["new0"]
    assert deduplicate(source, tmp_path / "new", against=tmp_path / "old.jsonl", **many)[0] == []


def test_an_earlier_document_wins_whatever_the_keeper_policy_says(tmp_path):
    write_corpus(tmp_path / "old.jsonl", [changed()], score=lambda row: 1)
    source = write_corpus(tmp_path / "new.jsonl", [changed(3), OTHER, changed(9) + " longer"], score=lambda row: 9)
    deduplicate(str(tmp_path / "old.jsonl"), tmp_path / "out", keep_signatures=tmp_path / "kept")
    for keep, cluster, name in (
        ("first", "keeper", "out"),
        ("longest", "components", "kept"),
        ("max:score", "keeper", "kept"),
        ("priority:score", "components", "out"),
    ):
        options = {"against": tmp_path / name, "keep": keep, "cluster": cluster}
        kept, result = deduplicate(source, tmp_path / f"new-{keep}", **options)
        assert kept == ["new1"]
        rows = result.ledger().to_pylist()
        assert [(row["kept_id"], row["kept_in"]) for row in rows] == [("old0", str(tmp_path / name))] * 2


def test_only_groups_of_the_same_scope_are_compared_with_earlier_ones(tmp_path):
    write_corpus(tmp_path / "old.jsonl", [changed(), OTHER], lang=lambda row: "xy"[row])
    source = write_corpus(tmp_path / "new.jsonl", [changed(9), OTHER, changed(9)], lang=lambda row: "yyx"[row])
    scoped = {"scope": "lang"}
    deduplicate(str(tmp_path / "old.jsonl"), tmp_path / "out", keep_signatures=tmp_path / "kept", **scoped)
    for name in ("out", "kept", "old.jsonl"):
        assert deduplicate(source, tmp_path / f"new-{name}", against=tmp_path / name, **scoped)[0] == ["new0"]
    deduplicate(str(tmp_path / "old.jsonl"), tmp_path / "bare", keep_signatures=tmp_path / "without")
    with pytest.raises(ConfigError, match="has no column 'lang', which scope needs"):
        deduplicate(source, tmp_path / "no", against=tmp_path / "without", **scoped)


def test_nothing_is_removed_that_no_corpus_has(tmp_path):
    texts = dict.fromkeys(" ".join(text.split()) for text in write_families(8, 30, most_changes=0))
    write_corpus(tmp_path / "old.jsonl", ["", "   ", "a b", OTHER])
    source = write_corpus(tmp_path / "new.jsonl", [*texts, "", "a c", "  "])
    kept, result = deduplicate(source, tmp_path / "new", against=tmp_path / "old.jsonl")
    assert len(kept) == result.counts["read"] == len(texts) + 3


@pytest.mark.parametrize("form", ["parquet", "jsonl.gz", "jsonl.zst"])
def test_an_output_of_any_format_can_be_an_earlier_corpus(tmp_path, form):
    path = tmp_path / "old.jsonl"
    path.write_text("".join(json.dumps({"content": t, "n": n}) + "\n" for n, t in enumerate([OTHER, changed(), ""])))
    first = [Read(str(path), text_field="content", id_field="n"), Write(tmp_path / "old", format=form)]
    Pipeline(first).run(LocalExecutor())
    source = write_corpus(tmp_path / "new.jsonl", [changed(7), "", "new text"])
    kept, result = deduplicate(source, tmp_path / "new", against=tmp_path / "old")
    assert kept == ["new1", "new2"]
    assert result.ledger()["kept_id"].to_pylist() == ["1"]


def test_an_output_without_any_documents_removes_nothing(tmp_path):
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    deduplicate(str(empty), tmp_path / "out", keep_signatures=tmp_path / "kept")
    source = write_corpus(tmp_path / "new.jsonl", [OTHER])
    for name in ("out", "kept"):
        assert deduplicate(source, tmp_path / f"new-{name}", against=tmp_path / name)[0] == ["new0"]


def test_changed_or_missing_texts_are_refused_unless_signatures_are_enough(tmp_path):
    old, source = (
        write_corpus(tmp_path / "old.jsonl", [changed()]),
        write_corpus(tmp_path / "new.jsonl", [changed(9), OTHER]),
    )
    deduplicate(old, tmp_path / "out", keep_signatures=tmp_path / "kept")
    os.utime(old, ns=(1, 1))
    with pytest.raises(ConfigError, match=r"old\.jsonl.* has changed since: .*verify=signature"):
        deduplicate(source, tmp_path / "no", against=tmp_path / "kept")
    os.unlink(old)
    with pytest.raises(ConfigError, match=r"old\.jsonl.* is gone: .*verify=signature"):
        deduplicate(source, tmp_path / "no", against=tmp_path / "kept")
    kept, result = deduplicate(source, tmp_path / "new", against=tmp_path / "kept", verify="signature")
    assert kept == ["new1"]
    assert 0.6 < result.ledger()["score"][0].as_py() <= 1
    assert deduplicate(source, tmp_path / "none", against=tmp_path / "kept", verify="none", keep="longest")[0] == [
        "new1"
    ]


def test_corpora_that_do_not_fit_are_refused_all_in_one_message(tmp_path):
    old, source = write_corpus(tmp_path / "old.jsonl", [changed()]), write_corpus(tmp_path / "new.jsonl", [OTHER])
    deduplicate(old, tmp_path / "out", keep_signatures=tmp_path / "kept", shingle_size=4)
    deduplicate(source, tmp_path / "own", keep_signatures=tmp_path / "own-kept")
    against = [tmp_path / name for name in ("kept", "own-kept", "new.jsonl", "nowhere")]
    with pytest.raises(ConfigError) as refused:
        deduplicate(source, tmp_path / "no", against=against)
    first, second, third, fourth = refused.value.problems
    assert "kept' was made with shingle_size=4, this run has 5" in first
    assert "own-kept' is part of this run's input: all of it would be removed" in second
    assert "new.jsonl' is part of this run's input" in third
    assert "nowhere" in fourth
    assert all(problem.startswith("fuzzy.against: ") for problem in refused.value.problems)


def test_an_output_that_was_changed_since_is_refused(tmp_path):
    old, source = write_corpus(tmp_path / "old.jsonl", [changed()]), write_corpus(tmp_path / "new.jsonl", [OTHER])
    deduplicate(old, tmp_path / "out")
    with (tmp_path / "out" / "part-00000.jsonl").open("a") as handle:
        handle.write('{"text": "one more"}\n')
    with pytest.raises(ConfigError, match=r"part-00000\.jsonl' is not what was published"):
        deduplicate(source, tmp_path / "no", against=tmp_path / "out")
    (tmp_path / "out" / "_curator" / "manifest.json").write_text("{")
    with pytest.raises(ConfigError, match="is no whole output"):
        deduplicate(source, tmp_path / "no", against=tmp_path / "out")


def test_results_do_not_depend_on_how_the_work_is_cut(months, tmp_path):
    folder, _ = months
    source, against = str(folder / "in" / "c.jsonl"), [str(folder / "kept-a"), str(folder / "out-b")]
    plain = {"bands": 25, "rows": 5, "against": against, "split_bytes": 15_000}
    deduplicate(source, tmp_path / "plain", **plain)
    cut = {"bands_per_iteration": 7, "partition_bytes": 2_000, "documents_per_task": 3}
    deduplicate(source, tmp_path / "cut", **plain, **cut)
    assert data_of(tmp_path / "cut") == data_of(tmp_path / "plain")
    reused = {"signatures": tmp_path / "kept", "num_hashes": 125}
    deduplicate(source, tmp_path / "first", split_bytes=15_000, bands=25, rows=5, keep_signatures=tmp_path / "kept")
    deduplicate(source, tmp_path / "reused", **plain, **reused)
    assert data_of(tmp_path / "reused") == data_of(tmp_path / "plain")


def test_the_fingerprint_knows_what_was_compared_with_and_the_plan_says_so(months, tmp_path):
    folder, _ = months
    source = Read(str(folder / "in" / "c.jsonl"))
    plans = {
        name: plan_run([source, FuzzyDeduplication(against=against, bands=25, rows=5), Write(tmp_path / "no")])
        for name, against in {"none": None, "a": folder / "kept-a", "b": folder / "kept-b"}.items()
    }
    assert len({plan.fingerprint for plan in plans.values()}) == 3
    assert [step.name for step in plans["a"].steps][:3] == ["read · fuzzy", "read · fuzzy (earlier)", "fuzzy (buckets)"]
    assert plans["a"].read_bytes > plans["none"].read_bytes
    assert any("compares with" in note and "kept-a" in note for note in plans["a"].notes)
    assert pq.read_table(folder / "out-b" / "_curator" / "ledger").num_rows > 0


def test_corpora_after_each_other_have_ids_of_their_own(tmp_path):
    first = write_corpus(tmp_path / "x.jsonl", [changed(), OTHER])
    second = write_corpus(tmp_path / "y.jsonl", ["unseen words", changed(40), "more of them"])
    source = write_corpus(tmp_path / "new.jsonl", [changed(40), OTHER + " end", "a third text"])
    kept, result = deduplicate(source, tmp_path / "new", against=[second, first])
    assert kept == ["new2"]
    rows = [(row["id"], row["kept_in"], row["kept_id"], row["kept_document_id"]) for row in result.ledger().to_pylist()]
    assert rows == [("new0", second, "y1", 1), ("new1", first, "x1", 1)]


@pytest.mark.parametrize("name", ["out", "kept", "old.jsonl"])
def test_exact_deduplication_removes_texts_that_an_earlier_corpus_has(tmp_path, name):
    old = write_corpus(tmp_path / "old.jsonl", ["first", "Second  text", "first", OTHER, ""], score=lambda row: 1)
    source = write_corpus(tmp_path / "new.jsonl", ["second text", "third", "first", "third", ""], score=lambda row: 9)
    deduplicate(old, tmp_path / "out", stage=ExactDeduplication(against=[]))
    deduplicate(old, tmp_path / "fuzzy", keep_signatures=tmp_path / "kept")
    options = {"case": "lower", "white_space": "collapse", "keep": "max:score", "partition_bytes": 20}
    stage = ExactDeduplication(against=tmp_path / name, **options)
    kept, result = deduplicate(source, tmp_path / "new", stage=stage)
    assert kept == ["new1", "new4"]
    rows = [(row["id"], row["kept_id"], row["kept_in"]) for row in result.ledger().to_pylist()]
    earlier = str(tmp_path / name)
    assert rows == [("new0", "old1", earlier), ("new2", "old0", earlier), ("new3", "new1", None)]


def test_exact_month_by_month_is_all_months_at_once(months, tmp_path):
    texts = months[1]
    parts = [write_corpus(tmp_path / f"{name}.jsonl", texts[number::2][:60]) for number, name in enumerate("ab")]
    write_corpus(tmp_path / "both" / "a.jsonl", texts[0::2][:60] + texts[:9])
    write_corpus(tmp_path / "a.jsonl", texts[0::2][:60] + texts[:9])
    shutil.copy(parts[1], tmp_path / "both" / "b.jsonl")
    whole, _ = deduplicate(str(tmp_path / "both"), tmp_path / "whole", stage=ExactDeduplication())
    first, _ = deduplicate(parts[0], tmp_path / "out-a", stage=ExactDeduplication())
    second, _ = deduplicate(parts[1], tmp_path / "out-b", stage=ExactDeduplication(against=tmp_path / "out-a"))
    assert [*first, *second] == whole
    assert len(whole) < 129


def test_exact_and_fuzzy_in_one_pass_each_compare_with_what_they_name(tmp_path):
    old = write_corpus(tmp_path / "old.jsonl", [changed(), "short"])
    older = write_corpus(tmp_path / "older.jsonl", ["nothing alike", OTHER])
    source = write_corpus(tmp_path / "new.jsonl", ["short", changed(9), OTHER, OTHER + " end", "short too"])
    exact = ExactDeduplication(against=[older, old])
    kept, result = deduplicate(source, tmp_path / "new", before=[exact], against=[old, older])
    assert kept == ["new4"]
    rows = [(row["id"], row["stage"], row["kept_id"], row["kept_in"]) for row in result.ledger().to_pylist()]
    assert rows == [
        ("new0", "exact", "old1", old),
        ("new1", "fuzzy", "old0", old),
        ("new2", "exact", "older1", older),
        ("new3", "fuzzy", "older1", older),
    ]


def test_a_scope_that_a_stage_makes_is_refused_beside_earlier_corpora(tmp_path):
    class Tongue(ProcessingStage):
        name = "tongue"

        def inputs(self):
            return ("text",)

        def outputs(self):
            return ("tongue",)

        def process(self, task):
            return task

    source = write_corpus(tmp_path / "new.jsonl", [OTHER])
    stage = FuzzyDeduplication(scope="tongue", against=write_corpus(tmp_path / "old.jsonl", [OTHER]))
    with pytest.raises(ConfigError, match="a stage in front makes this column"):
        plan_run([Read(source), Tongue(), stage, Write(tmp_path / "no")])


def test_only_keys_that_the_run_has_itself_are_sent_and_the_result_is_the_same(months, tmp_path, monkeypatch):
    folder, _ = months
    source, passed = str(folder / "in" / "c.jsonl"), []
    plain = known_keys.KnownKeys.select

    def count(self, keys):
        found = plain(self, keys)
        passed.append((keys.num_rows, found.num_rows))
        return found

    monkeypatch.setattr(known_keys.KnownKeys, "select", count)
    options = {"bands": 25, "rows": 5, "against": corpora(folder, "kept")}
    deduplicate(source, tmp_path / "some", **options)
    assert sum(found for _, found in passed) < sum(sent for sent, _ in passed) / 2
    passed.clear()
    monkeypatch.setattr(known_keys, "MOST_KEYS", 0)
    deduplicate(source, tmp_path / "all", **options)
    assert passed == []
    assert data_of(tmp_path / "all") == data_of(tmp_path / "some")
