"""Damage is a miss, the first answer stays, and several processes share a folder."""

import os
import sqlite3
import subprocess
import sys

import pytest

from curator import StorageError
from curator.stages.text.answer_cache import AnswerCache, answer_key


def keys(number):
    return [answer_key("judge", "a1", {"prompt": index}) for index in range(number)]


@pytest.fixture
def cache(tmp_path):
    opened = AnswerCache(tmp_path / "answers")
    yield opened
    opened.close()


def files(tmp_path):
    return sorted((tmp_path / "answers").glob("*.sqlite"))


def test_an_answer_is_found_by_model_revision_and_request_alone(cache):
    request = {"prompt": "a", "seed": 0}
    cache.put(answer_key("judge", "a1", request), "yes")
    assert cache.get(answer_key("judge", "a1", {"seed": 0, "prompt": "a"})) == "yes"
    for other in (("judge", "a2", request), ("other", "a1", request), ("judge", "a1", {**request, "seed": 1})):
        assert cache.get(answer_key(*other)) is None


def test_the_first_answer_stays_whoever_gives_another_one(cache, tmp_path):
    (key,) = keys(1)
    other = AnswerCache(tmp_path / "answers")
    assert cache.put(key, "first") == "first"
    assert other.put(key, "second") == "first"
    other.close()
    assert cache.get(key) == "first"


@pytest.mark.parametrize("damage", ["garbage", "truncated", "empty", "one byte"])
def test_damage_is_a_miss_and_the_folder_works_again_at_once(cache, tmp_path, damage):
    for key in keys(64):
        cache.put(key, "yes" * 50)
    cache.close()
    for path in files(tmp_path):
        data = bytearray(path.read_bytes())
        if damage == "garbage":
            data = os.urandom(len(data))
        elif damage == "truncated":
            data = data[: len(data) // 2]
        elif damage == "empty":
            data = b""
        else:
            data[data.index(b"yesyes") + 5] ^= 1
        path.write_bytes(data)
    again = AnswerCache(tmp_path / "answers")
    found = [again.get(key) for key in keys(64)]
    assert set(found) <= {None, "yes" * 50}
    assert None in found
    assert [again.put(key, "yes" * 50) for key in keys(64)] == ["yes" * 50] * 64
    assert [again.get(key) for key in keys(64)] == ["yes" * 50] * 64
    again.close()


def test_a_folder_that_cannot_be_made_is_refused_in_words(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=r"cache_path: .* cannot be made"):
        AnswerCache(tmp_path / "file" / "answers")


def test_a_locked_file_costs_the_answer_and_not_the_run(cache, tmp_path, monkeypatch):
    monkeypatch.setattr("curator.stages.text.answer_cache._LOCK_WAIT_S", 0.05)
    (key,) = keys(1)
    cache.put(key, "yes")
    cache.close()
    holder = sqlite3.connect(files(tmp_path)[0], isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    assert cache.get(key) is None
    assert cache.put(key, "no") == "no"
    holder.execute("ROLLBACK")
    holder.close()
    assert cache.get(key) == "yes"


WRITER = """
import sys
from pathlib import Path
from curator.stages.text.answer_cache import AnswerCache, answer_key
cache = AnswerCache(Path(sys.argv[1]))
print("ready", flush=True)
for index in range(int(sys.argv[2])):
    cache.put(answer_key("judge", "a1", {"prompt": index}), sys.argv[3])
    print(index, flush=True)
"""


def writer(tmp_path, number, text):
    command = [sys.executable, "-c", WRITER, str(tmp_path / "answers"), str(number), text]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_that_write_at_once_agree_on_every_answer(cache, tmp_path):
    writers = [writer(tmp_path, 150, text) for text in ("a", "b", "c")]
    for process in writers:
        process.communicate(timeout=120)
        assert process.returncode == 0
    found = [cache.get(key) for key in keys(150)]
    assert set(found) <= {"a", "b", "c"}


def test_what_a_killed_process_has_kept_is_there(cache, tmp_path):
    process = writer(tmp_path, 100_000, "yes")
    for line in process.stdout:
        if line.strip() == "40":
            process.kill()
            break
    process.communicate(timeout=60)
    assert [cache.get(key) for key in keys(41)] == ["yes"] * 41
