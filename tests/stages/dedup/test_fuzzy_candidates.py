import random

import numpy as np
import pyarrow as pa
import pytest

from curator.stages.barrier.arrow_files import write_arrow
from curator.stages.barrier.bucket_files import read_buckets
from curator.stages.dedup.candidates import BucketsRound, ComponentsRound, connect, deal_components
from curator.stages.dedup.deciding import cover_in_chunks
from curator.stages.dedup.linking import link_components
from curator.stages.dedup.members import Contents, Members


def keys_table(rows):
    high, document = zip(*rows, strict=True)
    return pa.table({"high": pa.array(high, pa.uint64()), "document": pa.array(document, pa.uint64())})


def plain_components(edges):
    names = {end: end for edge in edges for end in edge}
    for _ in names:
        for left, right in edges:
            names[left] = names[right] = min(names[left], names[right])
    return names


def test_only_shared_buckets_and_connected_documents_are_left(tmp_path):
    result = BucketsRound().take(keys_table([(7, 1), (9, 4), (7, 3), (2**63, 3), (5, 8), (2**63, 2)]), tmp_path)
    assert result.counts == {"rows": 4, "buckets": 2, "largest": 2}
    tasks = ComponentsRound("fuzzy", 10).plan([result], tmp_path)
    (tmp_path / "next").mkdir()
    dealt = ComponentsRound("fuzzy", 10).run(tasks[0], tmp_path / "next", None)
    assert dealt.counts == {"files": 1, "documents": 3, "components": 1, "largest": 3}
    (rows,) = read_buckets(tmp_path / "next" / "files.arrow", 0, 1)
    assert sorted(zip(rows["key"].to_pylist(), rows["document"].to_pylist(), strict=True)) == [
        (7, 1),
        (7, 3),
        (2**63, 2),
        (2**63, 3),
    ]


def test_keys_that_nobody_shares_leave_nothing_to_do(tmp_path):
    result = BucketsRound().take(keys_table([(1, 1), (2, 2)]), tmp_path)
    assert result.files == {}
    assert ComponentsRound("fuzzy", 10).plan([result], tmp_path) == []


@pytest.mark.parametrize("held_edges", [1, 50, 1 << 22])
def test_edges_of_many_files_are_connected_whatever_is_held_at_a_time(tmp_path, monkeypatch, held_edges):
    monkeypatch.setattr("curator.stages.dedup.candidates._HELD_EDGES", held_edges)
    chance = random.Random(4)
    edges = [(chance.randrange(300), chance.randrange(300)) for _ in range(180)]
    paths = []
    for number in range(0, 180, 20):
        documents, roots = zip(*edges[number : number + 20], strict=True)
        paths.append(str(tmp_path / f"{number}.arrow"))
        table = {"document": pa.array(documents, pa.uint64()), "root": pa.array(roots, pa.uint64())}
        write_arrow(tmp_path / f"{number}.arrow", pa.table(table))
    documents, roots = connect(paths)
    assert dict(zip(documents.tolist(), roots.tolist(), strict=True)) == plain_components(edges)


@pytest.mark.parametrize("per_file", [1, 2, 7, 100, 10**6])
def test_components_are_dealt_whole_and_evenly(per_file):
    sizes = np.random.default_rng(per_file).zipf(1.7, 500).clip(2, 400).astype(np.int64)
    files, count = deal_components(sizes, per_file)
    loads = np.bincount(files, weights=sizes, minlength=count)
    assert len(loads) == count
    assert loads.min() > 0
    small = sizes[sizes < per_file]
    assert (loads <= max(per_file, 1) + (small.max() if len(small) else 0)).sum() >= count - (sizes >= per_file).sum()
    assert count <= -(-sizes.sum() // per_file) + (sizes >= per_file).sum()


def brute_force(sets, buckets, order, threshold):
    """Components of pairs that share a bucket and are similar; each is named by its first document in keeper order."""
    rank = {document: place for place, document in enumerate(order)}
    names = list(range(len(sets)))
    changed = True
    while changed:
        changed = False
        for left, mine in enumerate(sets):
            for right, yours in enumerate(sets):
                shares = buckets[left] & buckets[right] and len(mine & yours) / len(mine | yours) >= threshold
                if shares and names[left] != names[right]:
                    first = min(names[left], names[right], key=rank.__getitem__)
                    names[left] = names[right] = first
                    changed = True
    return [-1 if name == document else name for document, name in enumerate(names)]


@pytest.mark.parametrize("seed", range(8))
def test_linking_finds_the_components_of_brute_force(seed):
    chance = random.Random(seed)
    count = 60
    sets = [set(chance.sample(range(14), chance.randint(1, 9))) for _ in range(count)]
    buckets = [{chance.randrange(9) for _ in range(3)} for _ in range(count)]
    order = chance.sample(range(count), count)
    members = Members(
        documents=np.arange(count, dtype=np.uint64),
        ids=pa.nulls(count, pa.large_string()),
        order=np.array(order),
        contents=Contents(
            np.array([word for own in sets for word in sorted(own)], np.uint64), np.cumsum([0, *map(len, sets)])
        ),
        keys=np.array([key for own in buckets for key in sorted(own)], np.uint64),
        key_offsets=np.cumsum([0, *map(len, buckets)]),
        threshold=0.5,
    )
    linked = link_components(members, cover_in_chunks(members, 256).keepers, max_comparisons=count)
    assert linked.keepers.tolist() == brute_force(sets, buckets, order, 0.5)
    assert linked.bounded == 0
