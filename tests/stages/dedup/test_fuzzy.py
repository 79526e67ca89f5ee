import json
import random

import numpy as np
import pytest

from curator import ConfigError, LocalExecutor, Pipeline, Read, Write, verify_output
from curator.pipeline import plan_run
from curator.report.show import show_output
from curator.stages.dedup.fuzzy import FuzzyDeduplication
from curator.stages.dedup.lsh_parameters import LshParameters
from tests.near_duplicates import WORDS, shingles, similarity

BASE = [f"{word}{place}" for place, word in enumerate(WORDS[:60])]


def changed(*places, words=None):
    """The base text with some of its words replaced; each one costs about five shingles of 56."""
    text = list(words or BASE)
    for place in places:
        text[place] = f"new{place}"
    return " ".join(text)


def run(folder, records, *, name="out", executor=None, split_bytes=None, **options):
    """Ids that are kept, and the result; records are texts, or mappings."""
    source = folder / "in.jsonl"
    full = [{"id": str(row), **({"text": r} if isinstance(r, str) else r)} for row, r in enumerate(records)]
    source.write_text("".join(json.dumps(record) + "\n" for record in full), encoding="utf-8")
    stages = [
        Read(str(source), split_bytes=split_bytes),
        FuzzyDeduplication(**options),
        Write(folder / name, durability="fast"),
    ]
    result = Pipeline(stages).run(executor or LocalExecutor())
    assert verify_output(folder / name).problems == []
    lines = [line for part in sorted((folder / name).glob("*.jsonl")) for line in part.read_text().splitlines()]
    return [json.loads(line)["id"] for line in lines], result


def test_a_document_loses_to_a_similar_one_and_the_ledger_says_how_similar(tmp_path):
    texts = [changed(), "something else altogether, in so many words", changed(30), changed(59)]
    kept, result = run(tmp_path, texts)
    assert kept == ["0", "1"]
    rows = result.ledger().to_pylist()
    assert [(row["id"], row["kept_id"], row["reason"], row["key"]) for row in rows] == [
        ("2", "0", "near_duplicate", None),
        ("3", "0", "near_duplicate", None),
    ]
    exact = [similarity(shingles(texts[0]), shingles(texts[row])) for row in (2, 3)]
    assert [row["score"] for row in rows] == exact


def test_a_chain_keeps_both_ends_unless_components_are_asked_for(tmp_path):
    # A~B and B~C are similar, A and C are not; the middle comes last, second or first.
    a, b, c = changed(5), changed(5, 30), changed(5, 30, 50)
    sets = [shingles(text) for text in (a, b, c)]
    threshold = 0.8
    assert similarity(sets[0], sets[1]) >= threshold
    assert similarity(sets[1], sets[2]) >= threshold
    assert similarity(sets[0], sets[2]) < threshold
    many = {"bands": 60, "rows": 2, "threshold": threshold}
    for order, kept in (((a, c, b), ["0", "1"]), ((a, b, c), ["0", "2"]), ((b, a, c), ["0"])):
        assert run(tmp_path, order, name=f"keeper-{kept}-{len(order[0])}", **many)[0] == kept
    for number, order in enumerate(((a, c, b), (a, b, c), (b, a, c))):
        found, result = run(tmp_path, order, name=f"components-{number}", cluster="components", **many)
        assert found == ["0"]
        scores = {int(row["id"]): row["score"] for row in result.ledger().to_pylist()}
        own = [shingles(text) for text in order]
        assert scores == {row: similarity(own[0], own[row]) for row in (1, 2)}


def test_documents_without_text_are_never_duplicates(tmp_path):
    texts = ["", "", "   ", "\n\t", "\u2003", "...", "..."]
    assert run(tmp_path, texts)[0] == ["0", "1", "2", "3", "4", "5"]
    assert run(tmp_path, texts, name="space", punctuation="space")[0] == list("0123456")
    assert run(tmp_path, texts, name="none", verify="none")[0] == ["0", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    "options", [{}, {"verify": "none"}, {"verify": "signature"}, {"shingle": "char", "shingle_size": 24}], ids=str
)
def test_short_documents_are_compared_as_one_shingle(tmp_path, options):
    texts = ["two words", "Two  words", "two word", "one", "one", "three small words", "a b c d", "a b c d e"]
    kept, _ = run(tmp_path, texts, **options)
    assert kept == ["0", "2", "3", "5", "6", "7"]


def test_identical_documents_leave_one_however_many_they_are(tmp_path):
    kept, result = run(tmp_path, [changed()] * 3000)
    assert kept == ["0"]
    assert set(result.ledger()["score"].to_pylist()) == {1.0}
    assert set(result.ledger()["kept_id"].to_pylist()) == {"0"}


def test_one_enormous_document_passes_beside_a_similar_one(tmp_path):
    chance = random.Random(5)
    words = chance.choices(WORDS, k=400_000)
    copy = [*words[:200_000], "inserted", *words[200_000:]]
    kept, result = run(tmp_path, [" ".join(words), "small", " ".join(copy), "small"])
    assert kept == ["0", "1"]
    assert result.ledger()["score"].to_pylist()[0] > 0.9999


def test_case_white_space_and_punctuation_do_not_count_where_they_were_asked_not_to(tmp_path):
    plain, loud, dotted = changed(), changed().upper().replace(" ", " \n "), changed().replace(" ", ", ")
    assert run(tmp_path, [plain, loud, dotted])[0] == ["0", "2"]
    assert run(tmp_path, [plain, loud, dotted], name="case", case="keep")[0] == ["0", "1", "2"]
    assert run(tmp_path, [plain, loud, dotted], name="dots", punctuation="space")[0] == ["0"]
    sharp = [" ".join(f"stra{form}e{place}" for place in range(30)) for form in ("ss", "ß", "SS")]
    assert run(tmp_path, sharp, name="lower")[0] == ["0", "1"]
    assert run(tmp_path, sharp, name="fold", case="fold")[0] == ["0"]
    composed = [" ".join(f"caf{form}{place}" for place in range(30)) for form in ("\u00e9", "e\u0301")]
    assert run(tmp_path, composed, name="raw")[0] == ["0", "1"]
    assert run(tmp_path, composed, name="nfc", unicode="NFC")[0] == ["0"]


def test_auto_takes_characters_for_scripts_without_spaces(tmp_path):
    chance = random.Random(2)
    text = "".join(chr(chance.randrange(0x4E00, 0x9000)) for _ in range(300))
    other = text[:150] + "\u4e8c" + text[151:]
    assert run(tmp_path, [text, other, changed(), changed(3)])[0] == ["0", "1", "2"]
    assert run(tmp_path, [text, other, changed(), changed(3)], name="auto", shingle="auto")[0] == ["0", "2"]


@pytest.mark.parametrize(
    ("keep", "kept"),
    [("first", "0"), ("longest", "2"), ("max:score", "1"), ("priority:score", "3"), ("max:absent", "0")],
)
@pytest.mark.parametrize("verify", ["exact", "none"])
def test_the_policy_says_who_stays(tmp_path, keep, kept, verify):
    texts = [changed(), changed(30), changed(30) + "   .", changed() + " "]
    records = [{"text": text, "score": score} for text, score in zip(texts, [5, "7.5", None, 1], strict=True)]
    found, result = run(tmp_path, records, keep=keep, verify=verify)
    assert found == [kept]
    assert set(result.ledger()["kept_id"].to_pylist()) == {kept}


def test_ties_go_to_the_first(tmp_path):
    records = [{"text": changed(), "score": 1.0}] * 5
    for keep in ("longest", "max:score", "priority:score"):
        assert run(tmp_path, records, name=keep.replace(":", "-"), keep=keep)[0] == ["0"]


def test_only_documents_of_one_scope_are_compared(tmp_path):
    records = [{"text": changed(), "dump": dump} for dump in ("a", "b", "a", None, "b", None, 7, "7", "")]
    assert run(tmp_path, records, scope="dump")[0] == ["0", "1", "3", "6", "8"]
    assert run(tmp_path, records, name="all")[0] == ["0"]


def test_a_template_beyond_the_bound_is_counted_and_not_collapsed(tmp_path):
    from loguru import logger

    lines = []
    sink = logger.add(lambda line: lines.append(str(line)), level="WARNING")
    try:
        chance = random.Random(1)
        head = " ".join(BASE[:40])
        texts = [head + " " + " ".join(chance.choices(WORDS, k=40)) for _ in range(60)]
        options = {"bands": 40, "rows": 2, "threshold": 0.9}
        kept, _ = run(tmp_path, texts, max_comparisons=2, **options)
        assert len(kept) == 60
        linked, _ = run(tmp_path, texts, name="linked", max_comparisons=2, cluster="components", **options)
        assert len(linked) == 60
        bounded = [line for line in lines if "max_comparisons=2" in line]
        assert len(bounded) == 2
        lines.clear()
        assert len(run(tmp_path, texts, name="all", **options)[0]) == 60
        assert not [line for line in lines if "max_comparisons" in line]
    finally:
        logger.remove(sink)


def test_show_prints_a_removed_document_with_its_keeper_and_similarity(tmp_path):
    run(tmp_path, [changed(), changed(30)])
    shown = "\n".join(show_output(tmp_path / "out", removed=5, quarantined=0))
    score = similarity(shingles(changed()), shingles(changed(30)))
    assert f"by fuzzy: near_duplicate, similarity {score:.4f}, threshold 0.8" in shown
    assert "new30" in shown
    assert "kept" in shown


def test_the_plan_shows_bands_rows_and_what_they_find(tmp_path):
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    stages = [Read(str(tmp_path / "in.jsonl")), FuzzyDeduplication(bands=14, rows=8), Write(tmp_path / "out")]
    plan = plan_run(stages)
    notes = [line for line in str(plan).splitlines() if line.startswith("note ")]
    assert notes[0].endswith(
        "fuzzy: 14 bands of 8 rows find pairs of similarity 0.6: 21.1 %, 0.7: 56.5 %, 0.8: 92.4 %, 0.9: 100.0 %"
    )
    assert notes[1].endswith(f"fuzzy: from similarity 0.4 to 1.0: {LshParameters(14, 8).drawn()}")
    assert [step.name for step in plan.steps] == [
        "read · fuzzy",
        "fuzzy (buckets)",
        "fuzzy (components)",
        "fuzzy (gather)",
        "fuzzy (verify)",
        "read · write",
    ]


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        ({"threshold": 80}, ["fuzzy.threshold=80: must be a number above 0 and at most 1"]),
        (
            {"verify": "exakt", "cluster": "chains", "scheme": "slow", "keep": "best", "shingle_size": 0, "recall": 1},
            [
                "fuzzy.verify: 'exakt' is not known. Choose from: exact, signature, none",
                "fuzzy.cluster: 'chains'",
                "fuzzy.scheme: 'slow'",
                "fuzzy.keep: 'best' is not known. Choose from: first, longest, max:<column>, priority:<column>",
                "fuzzy.shingle_size=0: must be a whole number of 1 to 256",
                "fuzzy.recall=1: must be a number above 0 and below 1",
            ],
        ),
        ({"bands": 0}, ["fuzzy.bands=0: must be a whole number of at least 1"]),
        ({"bands": 1000, "rows": 1000}, ["1,000,000, more than the 65,536"]),
        ({"max_hashes": 1, "recall": 0.999}, ["fuzzy.recall=0.999: not to be had"]),
        ({"scope": 3, "bands_per_iteration": 0}, ["fuzzy.scope=3", "fuzzy.bands_per_iteration=0"]),
        (
            {"max_comparisons": True, "documents_per_task": 1.5},
            ["fuzzy.max_comparisons=True", "documents_per_task=1.5"],
        ),
        ({"shingle": "words", "case": "upper", "unicode": "nfc", "punctuation": "drop"}, ["fuzzy.shingle: 'words'"]),
    ],
    ids=str,
)
def test_all_wrong_options_are_refused_at_once(options, messages):
    with pytest.raises(ConfigError) as raised:
        FuzzyDeduplication(**options)
    for message in messages:
        assert message in str(raised.value)
    assert len(raised.value.problems) >= len(messages)


def test_what_does_not_decide_is_not_in_the_fingerprint():
    plain = FuzzyDeduplication().settings()
    assert FuzzyDeduplication(bands_per_iteration=3, partition_bytes=9, documents_per_task=2).settings() == plain
    assert FuzzyDeduplication(bands=15, rows=8).settings() == plain
    assert FuzzyDeduplication(threshold=0.81).settings() != plain


def test_an_input_of_nothing_passes(tmp_path):
    assert run(tmp_path, [])[0] == []
    assert run(tmp_path, [""], name="empty")[0] == ["0"]
    assert run(tmp_path, ["alone"], name="alone", bands_per_iteration=2)[0] == ["0"]


def test_what_is_shuffled_is_at_most_250_bytes_a_document():
    import pyarrow as pa

    from curator.tasks import DocumentBatch, InputFile, Split

    stage = FuzzyDeduplication()
    split = Split(0, InputFile("a.jsonl", 9, "", "jsonl"), 0, 9, 9)
    columns = pa.table({"text": [changed(place) for place in range(50)], "id": [None] * 50})
    batch = DocumentBatch(split=split, rows=np.arange(50), columns=columns)
    assert stage.keys(stage.process(batch)).nbytes <= 250 * 50
