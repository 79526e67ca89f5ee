"""``curator show``: a reader sees who stayed, who lost to it, by which stage, how similar, and where texts differ."""

import json

import pytest

from curator import ExactDeduplication, FuzzyDeduplication, LocalExecutor, Pipeline, Read, VerifyError, Write
from curator.report.excerpt import mark_difference
from curator.report.show import show_output
from curator.stages.text.threshold import KeepAbove
from tests.near_duplicates import WORDS

BASE = [f"{word}{place}" for place, word in enumerate(WORDS[:60])]


def changed(*places):
    return " ".join(f"new{place}" if place in places else word for place, word in enumerate(BASE))


def shown(folder, texts, *stages, **options):
    """What is shown of a run, line by line; records are texts, or mappings."""
    source = folder / "in.jsonl"
    records = [{"id": f"doc{row}", **({"text": r} if isinstance(r, str) else r)} for row, r in enumerate(texts)]
    source.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    output = folder / "out"
    Pipeline([Read(str(source)), *stages, Write(output, durability="fast")]).run(LocalExecutor())
    return [line.strip() for line in show_output(output, **{"removed": None, "quarantined": 0} | options)]


def test_a_group_is_its_keeper_and_each_removed_one_with_similarity_and_difference(tmp_path):
    lines = shown(tmp_path, [changed(), "else", changed(30), changed(58, 59)], FuzzyDeduplication())
    group = lines.index("group of 3: 2 removed")
    assert lines[group + 1] == "kept     id doc0, in.jsonl, row 0 of split 0"
    assert lines[group + 2].startswith(" ".join(BASE[:10]))
    assert lines[group + 3] == "removed  id doc2, in.jsonl, row 2 of split 0"
    assert lines[group + 4] == "by fuzzy: near_duplicate, similarity 0.8361, threshold 0.8"
    assert f"{BASE[29]} [-{BASE[30]}-]{{+new30+}} {BASE[31]}" in lines[group + 5]
    assert lines[group + 6] == "removed  id doc3, in.jsonl, row 3 of split 0"
    assert lines[group + 8].endswith(f"[-{BASE[58]} {BASE[59]}-]{{+new58 new59+}}")


def test_a_document_whose_keeper_lost_later_stands_in_the_group_of_the_last_one(tmp_path):
    lines = shown(tmp_path, [changed(), changed(30), changed(30)], ExactDeduplication(), FuzzyDeduplication())
    assert "group of 3: 2 removed" in lines
    (exact,) = [line for line in lines if line.startswith("by exact")]
    assert exact.endswith(", to id doc1, in.jsonl, row 1 of split 0")
    assert lines[lines.index(exact) + 1] == "(the same text)"


def test_a_keeper_that_a_filter_took_out_is_not_said_to_be_kept(tmp_path):
    texts = [{"text": "same", "n": 1}, {"text": "same", "n": 9}, {"text": "other", "n": 1}]
    lines = shown(tmp_path, texts, ExactDeduplication(), KeepAbove("n", 5))
    assert "but removed by a later stage, by keep_above: below_threshold, score 1.0000" in lines
    alone = lines.index("lost to no other document")
    assert lines[alone + 1 : alone + 3] == [
        "removed  id doc0, in.jsonl, row 0 of split 0",
        "by keep_above: below_threshold, score 1.0000",
    ]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"verify": "none"}, "by fuzzy: near_duplicate, shares a bucket, not compared"),
        ({"verify": "signature"}, "by fuzzy: near_duplicate, estimated similarity"),
    ],
    ids=str,
)
def test_what_was_not_compared_is_not_called_a_similarity(tmp_path, options, reason):
    lines = shown(tmp_path, [changed(), changed(58)], FuzzyDeduplication(**options))
    assert any(line.startswith(reason) for line in lines)


def test_one_that_is_connected_through_others_says_so(tmp_path):
    options = {"cluster": "components", "bands": 60, "rows": 2}
    lines = shown(tmp_path, [changed(5), changed(5, 30, 50), changed(5, 30)], FuzzyDeduplication(**options))
    assert len([line for line in lines if line.endswith("threshold 0.8, similar to it through others")]) == 1


def test_normalisation_is_part_of_the_reason(tmp_path):
    stage = ExactDeduplication(case="lower", white_space="collapse")
    lines = shown(tmp_path, ["A  text", "a text", "A text"], stage)
    assert len([line for line in lines if "exact_duplicate after case=lower, white_space=collapse, key" in line]) == 2
    assert "[-A-]{+a+} text" in lines
    assert "(the same words; white space differs)" in lines


def test_an_id_shows_a_removed_document_or_all_that_lost_to_a_kept_one(tmp_path):
    texts = [changed(), "else", changed(30), changed(30), "else"]
    stages = (ExactDeduplication(), FuzzyDeduplication())
    assert "group of 3: 2 removed" in shown(tmp_path, texts, *stages, only_id="doc0")
    (tmp_path / "again").mkdir()
    lines = shown(tmp_path / "again", texts, *stages, only_id="doc3")
    assert "group of 3: 2 removed, 1 of them shown" in lines
    assert not [line for line in lines if line.startswith("removed  id doc2")]


def test_every_reason_is_shown_before_one_is_shown_again_and_a_reason_may_be_asked_for(tmp_path):
    texts = ["same"] * 40 + [changed(), changed(30)]
    stages = (ExactDeduplication(), FuzzyDeduplication())
    lines = shown(tmp_path, texts, *stages, removed=2)
    assert [line.split(",")[0] for line in lines if line.startswith("by ")] == [
        "by exact: exact_duplicate",
        "by fuzzy: near_duplicate",
    ]
    assert lines[-1] == "2 of 40 removed documents shown; --removed N or all shows more"
    output = tmp_path / "out"
    near = list(show_output(output, removed=5, quarantined=0, reason="near_duplicate"))
    assert "doc41" in "".join(near)
    assert "exact_duplicate" not in "".join(near)
    with pytest.raises(VerifyError, match="Reasons here: exact_duplicate, near_duplicate"):
        list(show_output(output, removed=5, quarantined=0, reason="near"))


def test_an_output_without_removals_says_so(tmp_path):
    assert shown(tmp_path, ["one", "two"], ExactDeduplication()) == ["no document was removed"]


def test_a_difference_is_found_at_the_end_of_long_texts_and_between_scripts_without_spaces():
    long = "word " * 100_000
    assert mark_difference(long + "old", long + "new") == f"... {'word ' * 6}[-old-]{{+new+}}"
    line = "".join(chr(0x4E00 + place) for place in range(100))
    assert mark_difference(line, line[:50] + "x" + line[51:]) == (
        f"... {line[44:50]}[-{line[50]}-]{{+x+}}{line[51:57]} ..."
    )


def test_a_difference_of_many_places_is_bounded_and_moves_no_cursor():
    old, new = (" ".join(f"{kind}{place} same" for place in range(3_000)) for kind in "ab")
    found = mark_difference(old, new)
    assert found.endswith("more places differ)")
    assert len(found) < 400
    assert "\x1b" not in mark_difference("a \x1b[31m b\n", "a \x1b[32m c\n")
    assert "\n" not in mark_difference("a \x1b[31m b\n", "a \x1b[32m c\n")
