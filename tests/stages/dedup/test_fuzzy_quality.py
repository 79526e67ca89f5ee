"""Fuzzy deduplication beside plain Python that compares every pair: what is found, and what is wrongly removed."""

import json
import math
import random

import pytest

from curator import LocalExecutor, Pipeline, Read, Write, verify_output
from curator.stages.dedup.fuzzy import FuzzyDeduplication
from tests.near_duplicates import greedy, pair_of_similarity, shingles, similar_pairs, similarity, write_families

SEED = 3
LEVELS = (0.7, 0.8, 0.9)


@pytest.fixture(scope="module")
def texts():
    return write_families(SEED, 250)


@pytest.fixture(scope="module")
def corpus(texts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("in")
    return write_corpus(folder, texts)


def write_corpus(folder, texts, num_files=3):
    for number in range(num_files):
        begin, end = (len(texts) * bound // num_files for bound in (number, number + 1))
        with open(folder / f"part-{number}.jsonl", "w", encoding="utf-8") as handle:
            for row in range(begin, end):
                handle.write(json.dumps({"id": row, "text": texts[row]}, ensure_ascii=False) + "\n")
    return folder


def decide(corpus, output, *, executor=None, split_bytes=None, **options):
    """The keeper and the score of each removed text."""
    stages = [
        Read(str(corpus), split_bytes=split_bytes),
        FuzzyDeduplication(**options),
        Write(output, durability="fast"),
    ]
    result = Pipeline(stages).run(executor or LocalExecutor())
    assert verify_output(output).problems == []
    rows = result.ledger().to_pylist()
    return {int(row["id"]): (int(row["kept_id"]), row["score"]) for row in rows}


@pytest.mark.parametrize(
    ("threshold", "options", "plain"),
    [
        *((threshold, {}, {}) for threshold in LEVELS),
        (0.8, {"scheme": "classic"}, {}),
        *((threshold, {"shingle": "char", "shingle_size": 24}, {"unit": "char", "size": 24}) for threshold in LEVELS),
    ],
    ids=str,
)
def test_similar_pairs_are_resolved_and_nothing_else_is_removed(corpus, texts, tmp_path, threshold, options, plain):
    gone = decide(corpus, tmp_path / "out", threshold=threshold, **options)
    pairs = similar_pairs(texts, threshold, **plain)
    assert len(pairs) > 150
    unresolved = [pair for pair in pairs if not gone.keys() & set(pair)]
    assert len(unresolved) <= 0.01 * len(pairs)
    sets = [shingles(text, **plain) for text in texts]
    for number, (keeper, score) in gone.items():
        assert keeper not in gone
        assert keeper < number
        assert score == similarity(sets[number], sets[keeper]) >= threshold


@pytest.mark.parametrize("verify", ["exact", "signature"])
def test_with_generous_bands_the_kept_set_is_the_exact_greedy_cover(corpus, texts, tmp_path, verify):
    # The estimate is off by a few hundredths with so many hashes; only the exact cover has to be the same.
    gone = decide(corpus, tmp_path / "out", threshold=0.8, bands=64, rows=4, verify=verify)
    kept = [number for number in range(len(texts)) if number not in gone]
    if verify == "exact":
        assert kept == greedy(texts, 0.8)
    else:
        assert len(set(kept) ^ set(greedy(texts, 0.8))) < 0.05 * len(texts)


def test_components_keep_one_of_each_connected_component_of_similar_pairs(corpus, texts, tmp_path):
    gone = decide(corpus, tmp_path / "out", threshold=0.7, bands=64, rows=3, cluster="components")
    first = list(range(len(texts)))
    pairs = similar_pairs(texts, 0.7)
    for _ in range(20):
        for left, right in pairs:
            first[left] = first[right] = min(first[left], first[right])
    assert {number: keeper for number, (keeper, _) in gone.items()} == {
        number: name for number, name in enumerate(first) if name != number
    }
    sets = [shingles(text) for text in texts]
    assert all(score == similarity(sets[number], sets[keeper]) for number, (keeper, score) in gone.items())
    assert min(score for _, score in gone.values()) < 0.7


@pytest.mark.parametrize("scheme", ["fast", "classic"])
def test_without_verification_pairs_are_found_as_the_s_curve_says(tmp_path, scheme):
    chance, bands, rows, num_pairs = random.Random(11), 14, 8, 400
    wanted = {numerator: 1 - (1 - (numerator / 10) ** rows) ** bands for numerator in (5, 6, 7, 8, 9)}
    texts, kinds = [], []
    for numerator in wanted:
        for _ in range(num_pairs):
            texts += pair_of_similarity(chance, numerator, 10)
            kinds.append(numerator)
    assert similarity(*(shingles(text) for text in texts[:2])) == 0.5
    (tmp_path / "in").mkdir()
    gone = decide(
        write_corpus(tmp_path / "in", texts),
        tmp_path / "out",
        bands=bands,
        rows=rows,
        verify="none",
        scheme=scheme,
        scope=None,
    )
    assert all(number == keeper + 1 and score is None for number, (keeper, score) in gone.items())
    for numerator, expected in wanted.items():
        found = sum(2 * pair + 1 in gone for pair, kind in enumerate(kinds) if kind == numerator) / num_pairs
        # Four standard errors; sets of forty shingles make the fast scheme a little better than independent draws.
        error = math.sqrt(expected * (1 - expected) / num_pairs)
        assert abs(found - expected) <= 4 * error + 0.02, numerator


@pytest.mark.parametrize("verify", ["exact", "none"])
@pytest.mark.parametrize("cluster", ["keeper", "components"])
def test_how_the_work_is_cut_changes_nothing(corpus, tmp_path, verify, cluster):
    options = {"verify": verify, "cluster": cluster, "threshold": 0.75}
    whole = decide(corpus, tmp_path / "whole", **options)
    assert whole
    for number, cut in enumerate(
        [
            {"split_bytes": 40_000},
            {"bands_per_iteration": 1, "documents_per_task": 1_000},
            {"bands_per_iteration": 4, "partition_bytes": 30_000, "documents_per_task": 60, "split_bytes": 90_000},
        ]
    ):
        assert decide(corpus, tmp_path / str(number), **cut, **options) == whole


def test_the_order_of_files_decides_only_who_is_first(texts, tmp_path):
    for name, order in (("a", texts), ("b", texts[::-1])):
        (tmp_path / name).mkdir()
        gone = decide(write_corpus(tmp_path / name, order), tmp_path / f"out-{name}", threshold=0.8, bands=64, rows=4)
        kept = [number for number in range(len(order)) if number not in gone]
        assert kept == greedy(order, 0.8)
