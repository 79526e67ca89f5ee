"""docs/fuzzy.md: what it tells people to type, one after the other in one folder, does what it says."""

import os
import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.near_duplicates import write_families
from tests.signature_runs import kept_ids, write_corpus

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "fuzzy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def words_of(line):
    words = shlex.split(line)
    if words[0] == "curator":
        words = ["python", "-m", *words]
    assert words[:3] == ["python", "-m", "curator"]
    return words[3:]


@pytest.mark.slow
def test_the_commands_on_signatures_and_earlier_corpora_do_what_the_page_says(tmp_path, forked):
    texts = write_families(2, 40)
    third = len(texts) // 3
    for number, month in enumerate(("january", "february", "march")):
        write_corpus(tmp_path / month / "a.jsonl", texts[number * third : (number + 1) * third], prefix=month)
    write_corpus(tmp_path / "questions.jsonl", [texts[-1], texts[2 * third]])
    commands = [line for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
    assert len(commands) == 7
    shown = []
    for line in commands:
        done = forked(words_of(line), cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)})
        assert done.returncode == 0, done.stderr
        shown.append(done.stdout)
    january, strict = (kept_ids(tmp_path / name) for name in ("clean/january", "strict"))
    assert set(january) < set(strict)
    assert len(list(tmp_path.rglob("multirun/**/_curator/manifest.json"))) == 2
    whole = [*january, *kept_ids(tmp_path / "clean" / "february"), *kept_ids(tmp_path / "clean" / "march")]
    assert len(set(whole)) == len(whole) < 3 * third
    lost = {
        name: set(pq.read_table(tmp_path / name / "_curator" / "ledger")["kept_in"].drop_null().to_pylist())
        for name in ("clean/february", "clean/march", "tested")
    }
    assert lost["clean/february"] == {"kept/january"}
    assert lost["clean/march"] == {"kept/january", "kept/february"}
    assert "questions.jsonl" in lost["tested"]
    assert "an earlier corpus, row" in shown[-1]
