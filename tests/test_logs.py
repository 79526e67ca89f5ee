"""Logs: one line for people, one JSON object for machines, no secrets and no control characters in either."""

import json
import logging
import stat
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from curator.logs import MASK, configure_logs, escape, redact


@pytest.fixture
def logs(tmp_path):
    handlers, level = logging.root.handlers[:], logging.root.level
    configure_logs(tmp_path)

    def lines():
        return [json.loads(line) for line in (tmp_path / "curator.jsonl").read_text().splitlines()]

    yield lines
    logger.remove()
    logger.add(sys.stderr)
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "hf_token",
        "CLIENT_SECRET",
        "DB_PASSWORD",
        "PASSWD",
        "OPENAI_API_KEY",
        "AWS_SECRET_ACCESS_KEY",
        "SSH_PRIVATE_KEY",
        "MY_CREDENTIALS",
    ],
)
def test_the_value_of_a_variable_that_names_a_secret_is_masked(monkeypatch, name):
    monkeypatch.setenv(name, "s3cr3t-value")
    assert redact("a s3cr3t-value, twice: s3cr3t-value") == f"a {MASK}, twice: {MASK}"


@pytest.mark.parametrize(("name", "value"), [("TOKENIZERS_PARALLELISM", "false"), ("HOME_PATH", "s3cr3t-value")])
def test_short_values_and_other_variables_stay(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    assert redact(f"it is {value}") == f"it is {value}"


def test_a_secret_is_masked_as_it_looks_in_a_repr_and_in_json(monkeypatch):
    secret = 'line\none "quoted" \\ 小'
    monkeypatch.setenv("MY_TOKEN", secret)
    text = f"{secret} {secret!r} {json.dumps(secret)}"
    assert redact(text) == f"{MASK} '{MASK}' \"{MASK}\""


def test_the_longer_of_two_secrets_is_masked_whole(monkeypatch):
    monkeypatch.setenv("A_TOKEN", "abcdefgh")
    monkeypatch.setenv("B_TOKEN", "abcdefgh-and-more")
    assert redact("abcdefgh-and-more abcdefgh") == f"{MASK} {MASK}"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("s3://key:pass@bucket/a", "s3://***@bucket/a"),
        ("https://token@host", "https://***@host"),
        ("https://a:b@c@host/x@y", "https://***@host/x@y"),
        ("https://host/a@b", "https://host/a@b"),
        ("mail me@example.org", "mail me@example.org"),
        ("'ftp://u:p@h' \"http://u@h\"", "'ftp://***@h' \"http://***@h\""),
    ],
)
def test_the_user_part_of_a_url_is_masked(text, masked):
    assert redact(text) == masked


@given(st.text(alphabet=st.characters()))
def test_escaped_text_has_no_control_characters_and_can_be_written(text):
    escaped = escape(text)
    escaped.encode("utf-8")
    assert all(char.isprintable() or char in "\t\n" or not char.isascii() for char in escaped)
    assert "\x9b" not in escaped


def test_ordinary_text_is_not_changed_by_escaping():
    text = "naïve café 你好 🙂 a\tb\nc"
    assert escape(text) == text


def test_a_line_goes_to_stderr_and_to_the_run_directory(logs, capsys):
    logger.info("read {} files", 3)
    assert capsys.readouterr().err.endswith("INFO    read 3 files\n")
    assert logs()[0]["record"]["message"] == "read 3 files"


def test_only_the_owner_can_read_the_log_file(logs, tmp_path):
    assert stat.S_IMODE((tmp_path / "curator.jsonl").stat().st_mode) == 0o600


def test_the_log_file_is_appended_to(logs, tmp_path):
    logger.info("one")
    configure_logs(tmp_path)
    logger.info("two")
    assert [line["record"]["message"] for line in logs()] == ["one", "two"]


def test_record_text_cannot_fake_a_line_or_move_the_cursor(logs, capsys):
    logger.warning("bad id {}", "x\r\x1b[2K\n12:00:00 INFO    all is well\u202e")
    err = capsys.readouterr().err
    assert err.splitlines()[0].endswith("bad id x\\r\\x1b[2K")
    assert err.splitlines()[1] == "    12:00:00 INFO    all is well\\u202e"
    assert len(logs()) == 1


def test_the_standard_library_is_passed_on_with_its_place_and_its_braces(logs, capsys):
    logging.getLogger("some.library").warning("took %s {braces}", 3)
    assert "WARNING took 3 {braces}" in capsys.readouterr().err
    record = logs()[0]["record"]
    assert record["function"] == "test_the_standard_library_is_passed_on_with_its_place_and_its_braces"
    assert record["level"]["name"] == "WARNING"


def test_libraries_are_quiet_below_the_level(logs, capsys):
    logging.getLogger("some.library").debug("details")
    assert capsys.readouterr().err == ""
    assert logs() == []


def test_secrets_are_masked_in_messages_values_and_tracebacks(logs, capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", 'hf_"quoted"_value')
    token = 'hf_"quoted"_value'
    try:
        raise ValueError(f"refused: {token} at https://me:pw12@host/")
    except ValueError:
        logger.bind(header=token).exception("with {}", token)
    written = capsys.readouterr().err + (tmp_path / "curator.jsonl").read_text()
    assert "quoted" not in written
    assert "pw12" not in written
    assert logs()[0]["record"]["message"] == f"with {MASK}"


def test_a_traceback_is_in_the_log_file_only_and_shows_no_values_of_variables(logs, capsys):
    document = "text" + " of a document"
    try:
        len(document) / 0
    except ZeroDivisionError:
        logger.exception("it failed")
    assert "Traceback" not in capsys.readouterr().err
    text = logs()[0]["text"]
    assert "Traceback" in text
    assert "text of a document" not in text


def test_stderr_is_plain_where_it_is_no_terminal(logs, capsys):
    logger.error("red")
    assert "\x1b" not in capsys.readouterr().err


def test_without_a_run_directory_only_stderr_is_written(tmp_path, capsys, logs):
    configure_logs(None, level="WARNING")
    logger.info("unseen")
    logger.warning("seen")
    assert "unseen" not in capsys.readouterr().err
    assert logs() == []
