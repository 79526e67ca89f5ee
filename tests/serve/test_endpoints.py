"""Addresses and keys as files: what a stage in a worker finds, and what it is told when there is nothing to find."""

import pytest

from curator.errors import ExecutorError
from curator.serve.endpoints import ENDED, FAILED, STARTING, UP, ReplicaEndpoints, write_addresses, write_key

NAME = "judge"


@pytest.fixture
def found(tmp_path):
    return ReplicaEndpoints(NAME, "org/model", str(tmp_path / "replicas"), "abc")


def test_a_key_is_random_for_each_run_stays_for_its_set_and_is_for_nobody_else_to_read(tmp_path):
    keys = [write_key(tmp_path / run, name) for run in ("one", "two") for name in ("judge", "small")]
    assert len(set(keys)) == 4
    assert min(map(len, keys)) >= 43  # 256 bits
    assert write_key(tmp_path / "one", "judge") == keys[0]
    assert (tmp_path / "one").stat().st_mode & 0o077 == 0
    assert (tmp_path / "one" / "judge.key").stat().st_mode & 0o777 == 0o600


def test_replicas_keep_their_names_while_some_are_away(found, tmp_path):
    folder = tmp_path / "replicas"
    key = write_key(folder, NAME)
    write_addresses(folder / "judge.json", ["", "http://127.0.0.1:2/v1"], state=UP)
    (second,) = found.endpoints()
    assert (second.replica, second.url) == ("judge-1", "http://127.0.0.1:2/v1")
    assert (second.model, second.revision, second.api_key) == ("org/model", "abc", key)
    assert key not in repr(second) + repr(found)
    write_addresses(folder / "judge.json", ["", ""], state=STARTING)
    assert found.endpoints() == []
    assert sorted(path.name for path in folder.iterdir()) == ["judge.json", "judge.key"]


@pytest.mark.parametrize(
    ("state", "reason", "message"),
    [(FAILED, "judge-0 was given up: no GPU", "judge-0 was given up: no GPU"), (ENDED, "", "they have ended")],
)
def test_replicas_that_will_not_come_back_are_an_error_with_the_reason(found, tmp_path, state, reason, message):
    write_key(tmp_path / "replicas", NAME)
    write_addresses(tmp_path / "replicas" / "judge.json", [""], state=state, reason=reason)
    with pytest.raises(ExecutorError, match=rf"^replicas\.judge: {message}"):
        found.endpoints()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"cannot be read: .* The run's directory must be one that all nodes see"),
        ("{", "does not say the addresses of replicas"),
        ('{"urls": []}', "does not say the addresses of replicas"),
    ],
)
def test_a_file_that_is_not_there_or_is_no_such_file_is_named(found, tmp_path, content, message):
    if content is not None:
        (tmp_path / "replicas").mkdir()
        (tmp_path / "replicas" / "judge.json").write_text(content)
    with pytest.raises(ExecutorError, match=message):
        found.endpoints()
