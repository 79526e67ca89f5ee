"""The subcommands, as they are typed, on an output with something of everything."""

import json

import pytest

from curator import ExactDeduplication, LocalExecutor, Pipeline, Read, Write
from curator.report.commands import run_command
from curator.report.progress import Progress


@pytest.fixture
def output(tmp_path):
    source = tmp_path / "in.jsonl"
    evil = "\x1b[31mred\nline"
    records = [{"id": "first", "text": evil}, {"id": "other", "text": "b"}, {"id": "second", "text": evil}]
    source.write_text("".join(json.dumps(record) + "\n" for record in records) + "broken \x1b[0m\n")
    Pipeline([Read(str(source)), ExactDeduplication(), Write(tmp_path / "out")]).run(LocalExecutor())
    return tmp_path / "out"


def test_show_prints_what_was_removed_beside_what_it_lost_to(output, capsys):
    assert run_command(["show", str(output), "--quarantined", "1"]) == 0
    shown = capsys.readouterr().out
    assert "by exact: exact_duplicate, key " in shown
    assert shown.index("kept     id first") < shown.index("removed  id second")
    assert shown.count(r"\x1b[31mred\nline") == 1
    assert "(the same text)" in shown
    assert "quarantined: json_parse" in shown
    assert "\x1b" not in shown


def test_show_finds_one_document_by_its_id(output, capsys):
    assert run_command(["show", str(output), "--id", "second"]) == 0
    assert "removed  id second" in capsys.readouterr().out
    assert run_command(["show", str(output), "--id", "first"]) == 0
    assert "removed  id second" in capsys.readouterr().out
    assert run_command(["show", str(output), "--id", "other"]) == 0
    assert "no document with the id other was removed, and none lost to it" in capsys.readouterr().out


def test_show_says_so_when_the_input_is_gone(output, capsys):
    (output.parent / "in.jsonl").unlink()
    assert run_command(["show", str(output)]) == 0
    assert capsys.readouterr().out.count("(the input is gone)") == 2


def test_verify_recounts_and_fails_on_a_difference(output, capsys):
    assert run_command(["verify", str(output)]) == 0
    assert "verified: 4 records read = 2 kept + 1 removed + 1 quarantined" in capsys.readouterr().out
    (output / "part-00000.jsonl").write_bytes(b"x" + (output / "part-00000.jsonl").read_bytes()[1:])
    assert run_command(["verify", str(output)]) == 1
    assert "its bytes are not those that were published" in capsys.readouterr().err


def test_status_prints_the_report_of_a_finished_run(output, capsys):
    assert run_command(["status", str(output)]) == 0
    assert "4 records read = 2 kept + 1 removed + 1 quarantined" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["verify", "show", "status"])
def test_what_is_no_output_is_an_error_and_no_traceback(command, tmp_path, capsys):
    assert run_command([command, str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith(f"curator {command}: ")


def test_progress_is_quiet_when_nobody_looks(capsys):
    with Progress(None) as progress, progress.step("read", total_bytes=10, num_units=1) as step:
        step.add_bytes(4)
        step.unit_done(10)
    assert capsys.readouterr() == ("", "")


def test_progress_shows_the_step_on_a_terminal(capsys):
    with Progress(True) as progress, progress.step("read · exact", total_bytes=10, num_units=1) as step:
        step.add_bytes(4)
        step.unit_done(10)
    assert "read · exact" in capsys.readouterr().err


def test_progress_counts_bytes_of_a_step_that_reads_and_units_of_one_behind_a_barrier(capsys):
    with Progress(True) as progress:
        with progress.step("read", total_bytes=2_000_000, num_units=2) as step:
            step.unit_done(2_000_000)
        with progress.step("verify", total_bytes=0, num_units=3) as step:
            step.unit_done(700)
    shown = [line for line in capsys.readouterr().err.split("\n") if line.strip()]
    assert [line for line in shown if "read" in line and "2.0/2.0 MB" in line]
    assert [line for line in shown if "verify" in line and "3/3 units" in line]
    assert not [line for line in shown if "verify" in line and "bytes" in line]
