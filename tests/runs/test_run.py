"""What a run leaves: whole output or none, nothing else, and an account of every record."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import pyarrow as pa
import pytest

from curator import (
    ConfigError,
    ExactDeduplication,
    LocalExecutor,
    Pipeline,
    ProcessingStage,
    Read,
    StageError,
    StorageError,
    Write,
    verify_output,
)
from curator.errors import ConservationError, InputChangedError, OutputExistsError, TooManyBadRecordsError


@pytest.fixture
def corpus(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(3):
        lines = [json.dumps({"id": row, "text": f"text {row % 7} {number}"}) for row in range(50)]
        (folder / f"{number}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def run(corpus, output, *stages, one_pass_bytes=1 << 30, **options):
    read = Read(str(corpus), **{key: options.pop(key) for key in ("max_quarantined",) if key in options})
    return Pipeline([read, *stages, ExactDeduplication(), Write(output, **options)]).run(
        LocalExecutor({"one_pass_bytes": one_pass_bytes})
    )


def test_an_output_that_is_there_is_refused_before_anything_is_read(corpus, tmp_path):
    run(corpus, tmp_path / "out")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    with pytest.raises(OutputExistsError, match="output_mode=replace"):
        run(corpus, tmp_path / "out")
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}


def test_replace_swaps_the_whole_output(corpus, tmp_path):
    run(corpus, tmp_path / "out")
    (corpus / "2.jsonl").unlink()
    result = run(corpus, tmp_path / "out", output_mode="replace")
    assert sorted(path.name for path in (tmp_path / "out").glob("part*")) == ["part-00000.jsonl", "part-00001.jsonl"]
    assert result.counts["read"] == 100
    assert verify_output(tmp_path / "out").problems == []


@pytest.mark.parametrize("writer", ["tables of a worker", "driver"])
def test_a_full_disk_is_a_storage_error_that_names_the_place_whoever_meets_it(corpus, tmp_path, monkeypatch, writer):
    if writer == "driver":
        error = OSError(errno.ENOSPC, "Error writing bytes to file")
        monkeypatch.setattr("curator.executors.driver.Handover.finish", Mock(side_effect=error))
    else:
        opened = pa.OSFile
        monkeypatch.setattr(pa, "OSFile", lambda path, mode: opened("/dev/full", mode))
    with pytest.raises(StorageError, match=r"out\._curator.*: No space left on device; [\d,]+ bytes are free there"):
        run(corpus, tmp_path / "out", one_pass_bytes=0)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_what_curator_did_not_write_is_never_replaced(corpus, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("years")
    with pytest.raises(OutputExistsError, match="was not written by curator"):
        run(corpus, tmp_path / "out", output_mode="replace")
    assert (tmp_path / "out" / "thesis.txt").read_text() == "years"


@pytest.mark.parametrize("output", ["in", "in/out", "."], ids=str)
def test_an_output_that_overlaps_the_input_is_refused(corpus, tmp_path, output):
    with pytest.raises(OutputExistsError, match="overlaps the input"):
        run(corpus, tmp_path / output)


def test_an_output_that_cannot_be_written_is_found_before_reading(corpus, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        run(corpus, Path("/proc/none/out"))
    for below in ("out", "deep/out"):
        with pytest.raises(OutputExistsError, match=f"lies below '{tmp_path}/file', which is a file; name a directory"):
            run(corpus, tmp_path / "file" / below)
    with pytest.raises(OutputExistsError, match="file' is a file; name a directory"):
        run(corpus, tmp_path / "file")


def test_two_runs_never_write_the_same_output(corpus, tmp_path):
    from curator.runs.scratch import Scratch

    other = Scratch(tmp_path / "out")
    other.open()
    with pytest.raises(OutputExistsError, match=f"another run, process {os.getpid()}"):
        run(corpus, tmp_path / "out")
    other.close()
    assert run(corpus, tmp_path / "out").counts["read"] == 150


class Grow(ProcessingStage):
    """Appends to an input file while it is being read."""

    name = "grow"

    def __init__(self, path):
        self.path = str(path)

    def process(self, task):
        with open(self.path, "a") as handle:
            handle.write('{"text": "late"}\n')
        return task


def test_an_input_that_changes_during_the_run_ends_it(corpus, tmp_path):
    with pytest.raises(InputChangedError, match="changed while the run was reading it"):
        run(corpus, tmp_path / "out", Grow(corpus / "1.jsonl"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


class Lose(ProcessingStage):
    """A stage with a mistake: a row goes without a word."""

    name = "lose"

    def process(self, task):
        if task.num_items:
            task.rows, task.columns, task.lines = (
                task.rows[1:],
                task.columns.slice(1),
                task.lines.take([False] + [True] * (task.num_items - 1)),
            )
        return task


def test_a_stage_that_loses_a_record_stops_the_publication(corpus, tmp_path):
    with pytest.raises(ConservationError, match="50 records in, but 49 left"):
        run(corpus, tmp_path / "out", Lose())
    assert not (tmp_path / "out").exists()


class Short(ProcessingStage):
    """Removes short texts, and says so."""

    name = "short"

    def inputs(self):
        return ("text", "id")

    def process(self, task):
        import numpy as np
        import pyarrow as pa

        lengths = np.array([int(text.as_py().split()[1]) for text in task.columns["text"]], np.float64)
        return task.remove(lengths < 2, stage=self.name, reason="too_short", scores=pa.array(lengths))


def test_a_filter_is_accounted_for_beside_deduplication(corpus, tmp_path):
    result = run(corpus, tmp_path / "out", Short())
    removed = {(row["stage"], row["reason"]) for row in result.ledger().to_pylist()}
    assert removed == {("short", "too_short"), ("exact", "exact_duplicate")}
    assert [stage["removed"] for stage in result.stages] == [{}, {"too_short": 45}, {"exact_duplicate": 90}, {}]
    assert result.counts == {"read": 150, "kept": 15, "removed": 135, "quarantined": 0}
    assert verify_output(tmp_path / "out").problems == []


def test_too_many_bad_records_stop_the_run_with_their_reasons(corpus, tmp_path):
    with open(corpus / "1.jsonl", "a") as handle:
        handle.write("not json\n" * 3)
    with pytest.raises(TooManyBadRecordsError, match=r"3 of 153 records .*json_parse 3.*1\.jsonl"):
        run(corpus, tmp_path / "out", max_quarantined=0.01)
    assert not (tmp_path / "out").exists()
    assert run(corpus, tmp_path / "out", max_quarantined=0.02).counts["quarantined"] == 3
    with pytest.raises(ConfigError, match=r"read.max_quarantined=2"):
        Read("x", max_quarantined=2)


SLOW = """
import sys, time
from curator import *
class Slow(ProcessingStage):
    name = "slow"
    def process(self, task):
        print("busy", flush=True); time.sleep(0.5); return task
Pipeline([Read(sys.argv[1]), Slow(), ExactDeduplication(), Write(sys.argv[2], durability="fast")]).run(LocalExecutor())
"""


def test_a_killed_run_publishes_nothing_and_the_next_one_clears_up(corpus, tmp_path):
    command = [sys.executable, "-c", SLOW, str(corpus), str(tmp_path / "out")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        process.stdout.readline()
        time.sleep(0.6)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "out._curator").is_dir()
    assert run(corpus, tmp_path / "out").counts["kept"] == 21
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"]


def test_a_stage_that_fails_on_one_split_is_named(corpus, tmp_path):
    class Fail(Short):
        def process(self, task):
            raise KeyError("no such thing")

    with pytest.raises(StageError, match=r"stage 'short' failed on task '0_0': KeyError"):
        run(corpus, tmp_path / "out", Fail())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
