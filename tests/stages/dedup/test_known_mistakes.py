"""Mistakes that deduplication tools are known to make; each test is one that does not happen here."""

import json
import random

import numpy as np
import pytest

from curator import ExactDeduplication, LocalExecutor, Pipeline, Read, Write, verify_output
from curator.kernels.sketch import band_keys, sketch_texts
from curator.stages.dedup.fuzzy import FuzzyDeduplication
from curator.stages.dedup.lsh_parameters import choose_bands, s_curve
from tests.near_duplicates import WORDS, shingles, similarity, write_families


def run(folder, texts, *stages, name="out", split_bytes=None):
    """The ids that are kept, and the rows of the ledger by id; texts may come with an id."""
    source = folder / f"{name}.jsonl"
    pairs = [pair if isinstance(pair, tuple) else (str(row), pair) for row, pair in enumerate(texts)]
    source.write_text("".join(json.dumps({"id": key, "text": text}) + "\n" for key, text in pairs), encoding="utf-8")
    stages = stages or (FuzzyDeduplication(),)
    reader, writer = Read(str(source), split_bytes=split_bytes), Write(folder / name, durability="fast")
    result = Pipeline([reader, *stages, writer]).run(LocalExecutor())
    assert verify_output(folder / name).problems == []
    lines = [line for part in sorted((folder / name).glob("part-*")) for line in part.read_text().splitlines()]
    kept = [json.loads(line)["id"] for line in lines]
    ledger = {row["id"]: row for row in result.ledger().to_pylist()}
    assert sorted([*kept, *ledger]) == sorted(key for key, _ in pairs)
    return kept, ledger


def unique_words(chance, count):
    return [f"w{chance.getrandbits(48):x}" for _ in range(count)]


@pytest.mark.parametrize("length", [30, 90, 200, 1_000])
@pytest.mark.parametrize("place", ["front", "middle", "end"])
def test_one_word_put_in_anywhere_does_not_hide_a_near_duplicate(tmp_path, length, place):
    # A sketch that samples words by their position loses every pair that a word has shifted.
    chance, texts = random.Random(length), []
    for _ in range(20):
        words = unique_words(chance, length)
        position = {"front": 0, "middle": length // 2, "end": length}[place]
        texts += [" ".join(words), " ".join([*words[:position], "new", *words[position:]])]
    kept, _ = run(tmp_path, texts, FuzzyDeduplication(threshold=0.6))
    assert kept == [str(row) for row in range(0, 40, 2)]


def test_bands_are_told_apart_by_their_whole_keys():
    # A filter whose positions are masked and not reduced reaches few of them, and takes strangers for equals.
    chance = random.Random(1)
    texts = [" ".join(unique_words(chance, 12)) for _ in range(3_000)]
    data = np.frombuffer("".join(texts).encode() + bytes(64), np.uint8)
    signatures, _ = sketch_texts(data, np.cumsum([0, *map(len, texts)]), 112)
    keys = band_keys(signatures, 14, 8).reshape(-1)
    assert len(np.unique(keys)) == 14 * len(texts)
    spread = np.bitwise_or.reduce(keys) & ~np.bitwise_and.reduce(keys)
    assert spread == np.uint64(2**64 - 1)


@pytest.mark.parametrize(
    "options",
    [{}, {"verify": "none"}, {"shingle": "char", "shingle_size": 24}, {"punctuation": "space"}, {"shingle": "auto"}],
    ids=str,
)
def test_short_documents_are_neither_collapsed_nor_dropped_nor_passed_over(tmp_path, options):
    texts = ["a", "b", "", "c d", "a sentence like this", "a", "e f g h", "", "c d", "x" * 23, "日", "本"]
    kept, ledger = run(tmp_path, texts, FuzzyDeduplication(**options))
    assert {row: ledger[row]["kept_id"] for row in ledger} == {"5": "0", "8": "3"}
    assert len(kept) == 10


def test_a_text_that_repeats_itself_is_no_duplicate_of_itself(tmp_path):
    # A filter that is asked after its own n-grams were put in finds them all, and removes nearly everything.
    texts = ["to be or not to be " * 300, "to be or not to be " * 7, "quite another text of some more words " * 50]
    kept, ledger = run(tmp_path, texts)
    assert kept == ["0", "2"]
    assert ledger["1"]["kept_id"] == "0"


@pytest.mark.parametrize("split_bytes", [60, 400, None])
def test_the_first_and_the_last_document_of_a_split_are_documents_like_others(tmp_path, split_bytes):
    # A place that marks "none" is a real document somewhere, and its group falls apart.
    texts = [f"short text {row % 4} of some few words" for row in range(33)]
    kept, ledger = run(tmp_path, texts, FuzzyDeduplication(), split_bytes=split_bytes)
    assert kept == ["0", "1", "2", "3"]
    assert {row: found["kept_id"] for row, found in ledger.items()} == {str(row): str(row % 4) for row in range(4, 33)}


def test_a_chain_of_similar_documents_is_no_giant_cluster(tmp_path):
    # Every one is similar to the next, and none to those further on; the transitive closure would keep one.
    words = [f"word{place}" for place in range(400)]
    texts = [" ".join(words[start : start + 60]) for start in range(0, 340, 4)]
    sets = [shingles(text) for text in texts]
    kept, ledger = run(tmp_path, texts, FuzzyDeduplication(threshold=0.8, bands=60, rows=2))
    assert similarity(sets[0], sets[1]) >= 0.8 > similarity(sets[0], sets[2])
    assert len(kept) >= len(texts) // 3
    assert all(similarity(sets[int(row)], sets[int(found["kept_id"])]) >= 0.8 for row, found in ledger.items())


def test_two_pairs_that_share_a_bucket_do_not_lose_to_each_other(tmp_path):
    # A~B and C~D, connected by a bucket of B and C that are not similar: both A and C stay.
    chance = random.Random(4)
    frame, left, right = (unique_words(chance, count) for count in (40, 40, 40))
    texts = [
        " ".join(frame + left),
        " ".join([*frame, *left, "x"]),
        " ".join(frame + right),
        " ".join(frame + right[1:]),
    ]
    kept, ledger = run(tmp_path, texts, FuzzyDeduplication(threshold=0.8, bands=120, rows=1))
    assert kept == ["0", "2"]
    assert [ledger[row]["kept_id"] for row in ("1", "3")] == ["0", "2"]


def test_the_score_is_the_similarity_and_no_estimate_of_it(tmp_path):
    chance = random.Random(5)
    texts = []
    for _ in range(60):
        words = chance.choices(WORDS, k=150)
        texts += [" ".join(words), " ".join([*words[: chance.randint(120, 149)], "other"])]
    _, ledger = run(tmp_path, texts, FuzzyDeduplication(threshold=0.75))
    assert len(ledger) > 40
    for row, found in ledger.items():
        assert found["score"] == similarity(shingles(texts[int(row)]), shingles(texts[int(found["kept_id"])])) >= 0.75


def test_a_bucket_of_n_documents_takes_comparisons_in_proportion_to_n(tmp_path):
    text, counts = " ".join(WORDS[:80]), {}
    for count in (200, 800):
        source = tmp_path / f"{count}.jsonl"
        source.write_text("".join(json.dumps({"id": row, "text": f"{text} n{row % 3}"}) + "\n" for row in range(count)))
        stages = [Read(str(source)), FuzzyDeduplication(), Write(tmp_path / f"out-{count}", durability="fast")]
        result = Pipeline(stages).run(LocalExecutor())
        counts[count] = result.stages[1]["details"]
        assert counts[count]["largest bucket"] == count
        assert str(f"largest bucket {count}") in result.report
    assert counts[800]["compared pairs"] <= 4 * (counts[200]["compared pairs"] + 1)
    assert counts[800]["compared pairs"] < 800


def test_the_survivor_is_the_same_in_every_run_and_for_every_cut(tmp_path):
    texts = write_families(6, 50)
    first = run(tmp_path, texts, name="a")
    assert first[1]
    for name, split_bytes in (("b", None), ("c", 3_000), ("d", 20_000)):
        kept, ledger = run(tmp_path, texts, name=name, split_bytes=split_bytes)
        assert kept == first[0]
        assert {row: found["kept_id"] for row, found in ledger.items()} == {
            row: found["kept_id"] for row, found in first[1].items()
        }


def test_a_removal_is_applied_to_its_document_whatever_the_rows_before_it(tmp_path):
    # A list of positions removes others when files, limits or bad rows differ between two passes.
    text = " ".join(WORDS[:40])
    source = tmp_path / "in.jsonl"
    lines = ["{broken", json.dumps({"id": "a", "text": text}), "", "[]", json.dumps({"id": "b", "text": "else"})]
    lines += ['{"id": "none"}', json.dumps({"id": "c", "text": text + " more"}), json.dumps({"id": "d", "text": text})]
    source.write_text("\n".join(lines) + "\n")
    stages = [Read(str(source), split_bytes=90), ExactDeduplication(), FuzzyDeduplication()]
    result = Pipeline([*stages, Write(tmp_path / "out", durability="fast")]).run(LocalExecutor())
    found = [
        json.loads(line)["id"]
        for part in sorted((tmp_path / "out").glob("part-*"))
        for line in part.read_text().splitlines()
    ]
    assert found == ["a", "b"]
    ledger = {row["id"]: (row["stage"], row["kept_id"]) for row in result.ledger().to_pylist()}
    assert ledger == {"c": ("fuzzy", "a"), "d": ("exact", "a")}
    assert result.counts == {"read": 7, "kept": 2, "removed": 2, "quarantined": 3}


def test_more_bands_find_more_and_more_rows_find_less():
    for bands, rows in ((5, 4), (14, 8), (20, 13)):
        for similar in (0.5, 0.7, 0.9):
            (plain,), (banded,), (rowed,) = (
                s_curve(*shape, [similar]) for shape in ((bands, rows), (bands + 1, rows), (bands, rows + 1))
            )
            assert rowed < plain < banded
    assert choose_bands(0.8, 0.999).bands >= choose_bands(0.8, 0.9).bands


def test_characters_of_several_bytes_are_never_cut(tmp_path):
    texts = ["é" * size + "日本語" * size + "😀" for size in range(1, 40)]
    kept, _ = run(tmp_path, texts, FuzzyDeduplication(shingle="char", shingle_size=3))
    lines = [
        line
        for part in sorted((tmp_path / "out").glob("part-*"))
        for line in part.read_text(encoding="utf-8").splitlines()
    ]
    assert [json.loads(line)["text"] for line in lines] == [texts[int(row)] for row in kept]
