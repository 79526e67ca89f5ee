"""Kept signatures and earlier corpora on several workers: the bytes of one process."""

import shutil

import pytest

from curator import LocalExecutor, RayActorPoolExecutor
from tests.near_duplicates import write_families
from tests.signature_runs import data_of, deduplicate, write_corpus

pytestmark = pytest.mark.ray


def test_workers_keep_and_use_the_signatures_of_one_process(ray_address, tmp_path):
    texts = write_families(31, 60)
    half = len(texts) // 2
    for name, part in (("old", texts[:half]), ("new", texts[half:])):
        write_corpus(tmp_path / f"{name}.jsonl", part, score=lambda row: row % 5)
    results = {}
    for workers in (0, 2):
        pool = {"address": ray_address, "num_workers": workers}
        executor = RayActorPoolExecutor(pool) if workers else LocalExecutor()
        one = {"executor": executor, "split_bytes": 6_000, "bands": 25, "rows": 5}
        # The same names for all, since the ledger and the fingerprint have them.
        names = {name: tmp_path / name for name in ("old", "kept", "new", "again", "new-kept")}
        deduplicate(str(tmp_path / "old.jsonl"), names["old"], keep_signatures=names["kept"], **one)
        more = {"against": [names["kept"]], "keep": "max:score", **one}
        deduplicate(str(tmp_path / "new.jsonl"), names["new"], keep_signatures=names["new-kept"], **more)
        deduplicate(str(tmp_path / "new.jsonl"), names["again"], signatures=names["new-kept"], threshold=0.7, **more)
        results[workers] = {name: data_of(path) for name, path in names.items()}
        for path in names.values():
            shutil.rmtree(path)
    assert results[0] == results[2]
    assert len(results[0]["kept"]) > 3
