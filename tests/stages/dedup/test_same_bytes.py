"""Deduplication writes the same bytes on every backend, with any number of workers, and however the input is cut."""

import hashlib
import json
import logging

import pytest

from curator import ExactDeduplication, LocalExecutor, Pipeline, RayActorPoolExecutor, RayDataExecutor, Read, Write
from curator.stages.dedup import gathering
from curator.stages.dedup.fuzzy import FuzzyDeduplication
from tests.executors.suite import content_of
from tests.near_duplicates import write_families

SPLIT_BYTES = 25_000


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    texts = write_families(9, 120, words=(20, 120))
    texts += texts[::3]
    folder = tmp_path_factory.mktemp("in")
    for number in range(2):
        lines = [json.dumps({"id": f"{number}-{row}", "text": text}) for row, text in enumerate(texts[number::2])]
        (folder / f"{number}.jsonl").write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return folder


def run(corpus, output, executor, split_bytes, **options):
    stages = [ExactDeduplication(), FuzzyDeduplication(threshold=0.7, **options)]
    result = Pipeline([Read(str(corpus), split_bytes=split_bytes), *stages, Write(output)]).run(executor)
    assert {stage["name"] for stage in result.stages if stage["removed"]} == {"exact", "fuzzy"}
    return result


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    """One process and one file of components: the output and the result."""
    output = tmp_path_factory.mktemp("reference") / "out"
    return output, run(corpus, output, LocalExecutor(), SPLIT_BYTES)


@pytest.fixture(scope="module")
def reference(whole):
    return whole[0]


def decisions(result):
    """Who lost to whom and how; documents are named by their ids, since their numbers depend on the splits."""
    rows = result.ledger().to_pylist()
    return sorted((row["id"], row["stage"], row["kept_id"], row["score"], row["key"]) for row in rows)


@pytest.mark.parametrize(("split_bytes", "few"), [(None, 0), (1_500, 64), (9_000, 0), (9_000, 64)])
def test_the_output_joined_together_is_the_same_for_any_split_size(
    corpus, whole, tmp_path, split_bytes, few, monkeypatch
):
    # With 0, candidates are read where they lie; with 64, as here there are few of them, split by split.
    monkeypatch.setattr(gathering, "_FEW", few)
    ours = run(corpus, tmp_path / "out", LocalExecutor(), split_bytes, documents_per_task=40, bands_per_iteration=6)
    stages = {stage["name"]: stage for stage in ours.stages}
    assert ("gathered bytes" in stages["fuzzy"]["details"]) == bool(few)
    joined = [
        hashlib.sha256(b"".join(path.read_bytes() for path in sorted(folder.glob("part-*")))).hexdigest()
        for folder in (tmp_path / "out", whole[0])
    ]
    assert joined[0] == joined[1]
    assert decisions(ours) == decisions(whole[1])


@pytest.fixture(scope="module")
def address():
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 4, "object_store_memory": 80_000_000, "include_dashboard": False},
    )
    try:
        yield cluster.address
    finally:
        logging.getLogger("ray").setLevel(logging.ERROR)
        cluster.shutdown()


@pytest.mark.ray
@pytest.mark.parametrize(
    ("backend", "num_workers"),
    [(RayActorPoolExecutor, 3), (RayDataExecutor, 2)],
    ids=["pool of 3", "ray data"],
)
def test_the_workers_of_a_backend_write_the_bytes_of_one_process(
    corpus, reference, address, tmp_path, backend, num_workers
):
    # How keys and components are cut is another one, too; nothing of it may be seen in the output.
    executor = backend({"address": address, "num_workers": num_workers})
    run(corpus, tmp_path / "out", executor, SPLIT_BYTES, documents_per_task=30, partition_bytes=20_000)
    assert content_of(tmp_path / "out") == content_of(reference)
