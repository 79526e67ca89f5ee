"""Signals that stop a run, sent to real processes: exit codes, what is left, what is published."""

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from curator import stopping

ROOT = Path(__file__).parents[1]
MARK = "CURATOR_TEST_MARK"
STARTED = []
STAGE = """
import os
import time
from curator.stages.base import ProcessingStage

class Slow(ProcessingStage):
    name = "slow"

    def __init__(self, folder):
        self.folder = folder

    def process(self, task):
        open(os.path.join(self.folder, "working"), "w").close()
        time.sleep(0.2)
        return task
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "slow_stage.py").write_text(STAGE)
    options = tmp_path / "options" / "stages"
    options.mkdir(parents=True)
    (options / "slow.yaml").write_text(f"# Slow.\nslow: {{_target_: slow_stage.Slow, folder: {tmp_path}}}\n")
    lines = [f'{{"id": "{row}", "text": "{"x" * 100}"}}\n' for row in range(2000)]
    (tmp_path / "in.jsonl").write_text("".join(lines))
    return tmp_path


@pytest.fixture
def mark():
    """A variable in the environment of everything that a test starts; what is left of it is ended."""
    value = secrets.token_hex(8)
    yield value
    for process in marked(value):
        process.kill()
    for process in STARTED:
        process.communicate()
    STARTED.clear()


def marked(value):
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == value and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def start(folder, mark, *words):
    """A run that takes minutes if it is let; its input is 200 units of a fifth of a second."""
    command = [sys.executable, "-m", "curator", "--trust", "slow_stage", "--config-dir", "options"]
    command += ["stages=[read,slow,write]", "input_path=in.jsonl", "output_path=out", "stages.read.split_bytes=1000"]
    command += words
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    environment |= {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", MARK: mark}
    STARTED.append(subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True))
    return STARTED[-1]


def wait_for(condition, process, limit_s=120, poll_s=0.02):
    ends_s = time.monotonic() + limit_s
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < ends_s
        time.sleep(poll_s)


def ray_folder(mark):
    """Where the private Ray session of a run keeps its files; None as long as there is none."""
    words = [word for process in marked(mark) for word in process.cmdline() if word.startswith("--temp-dir=")]
    return Path(words[0].partition("=")[2]) if words else None


def assert_nothing_is_left(folder, mark):
    assert not (folder / "out").exists()
    assert not (folder / "out._curator").exists()
    assert [process.cmdline() for process in marked(mark)] == []


def wait_for_moment(moment, folder, mark, process):
    if moment == "starting":
        wait_for((folder / "out._curator").exists, process)
    elif moment == "ray starts":
        wait_for(lambda: ray_folder(mark), process, poll_s=0.2)  # a look at all processes takes long
    else:
        wait_for((folder / "working").exists, process)


@pytest.mark.parametrize(
    ("executor", "moment", "number"),
    [
        ("local", "starting", signal.SIGTERM),
        ("local", "working", signal.SIGTERM),
        ("local", "working", signal.SIGUSR1),
        ("local", "working", signal.SIGUSR2),
        pytest.param("ray_actor_pool", "starting", signal.SIGUSR1, marks=pytest.mark.ray),
        pytest.param("ray_actor_pool", "ray starts", signal.SIGTERM, marks=pytest.mark.ray),
        pytest.param("ray_actor_pool", "working", signal.SIGTERM, marks=pytest.mark.ray),
    ],
)
def test_a_signal_stops_a_run_with_75_and_leaves_nothing_behind(folder, mark, executor, moment, number):
    process = start(folder, mark, f"executor={executor}")
    wait_for_moment(moment, folder, mark, process)
    where = ray_folder(mark)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == stopping.STOPPED, said
    assert f"Stopped by {signal.Signals(number).name}: nothing is published" in said
    assert "Traceback" not in said
    assert_nothing_is_left(folder, mark)
    assert where is None or not where.exists()


def test_the_same_signal_again_within_a_moment_is_one_request(folder, mark):
    process = start(folder, mark)
    wait_for((folder / "working").exists, process)
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == stopping.STOPPED
    assert_nothing_is_left(folder, mark)


@pytest.mark.parametrize(
    ("executor", "first", "second"),
    [
        ("local", signal.SIGUSR1, signal.SIGTERM),
        pytest.param("ray_actor_pool", signal.SIGINT, signal.SIGINT, marks=pytest.mark.ray),
    ],
)
def test_a_second_signal_ends_a_run_at_once_and_nothing_but_scratch_is_left(folder, mark, executor, first, second):
    process = start(folder, mark, f"executor={executor}")
    wait_for((folder / "working").exists, process)
    where = ray_folder(mark)
    assert (where is None) == (executor == "local")
    process.send_signal(first)
    process.send_signal(second)
    _, said = process.communicate(timeout=60)
    # The second one may come when the first has done its work.
    done = stopping.INTERRUPTED if first == signal.SIGINT else stopping.STOPPED
    assert process.returncode in (-second, done), said
    assert not (folder / "out").exists()
    psutil.wait_procs(marked(mark), timeout=60)
    assert [left.cmdline() for left in marked(mark)] == []
    assert where is None or not where.exists()
    again = start(folder, mark, "stages.read.split_bytes=1000000")
    assert again.communicate(timeout=120)[1] is not None
    assert again.returncode == 0
    assert not (folder / "out._curator").exists()


def test_a_point_of_a_sweep_that_is_stopped_stops_the_sweep(folder, mark):
    words = [
        "-m",
        "output_path='${hydra:runtime.output_dir}/out'",
        "stages.read.max_depth=9,8",
        "hydra.sweep.dir=swept",
    ]
    process = start(folder, mark, *words)
    wait_for((folder / "working").exists, process)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == stopping.STOPPED, said
    (stopped,) = [path for path in (folder / "swept").iterdir() if path.is_dir()]
    assert stopped.name.startswith("max-depth-9_")
    assert [path.name for path in stopped.glob("out*")] == []


# What follows runs in this process: the signals are its own.


@pytest.fixture(autouse=True)
def no_handler_is_left():
    before = [signal.getsignal(number) for number in stopping.STOP_SIGNALS]
    yield
    assert [signal.getsignal(number) for number in stopping.STOP_SIGNALS] == before


def test_a_stop_that_was_swallowed_is_raised_by_the_next_check():
    with stopping.stop_signals():
        for ask in (lambda: signal.raise_signal(signal.SIGUSR1), stopping.check_stop):
            with pytest.raises(KeyboardInterrupt):
                ask()
    assert stopping.stop_code() == 75


def test_a_signal_after_the_point_of_no_return_is_noted_until_the_next_check():
    with stopping.stop_signals():
        stopping.hold_stops()
        signal.raise_signal(signal.SIGUSR1)
        with pytest.raises(KeyboardInterrupt):
            stopping.check_stop()


def test_ctrl_c_keeps_its_own_exit_code():
    with pytest.raises(KeyboardInterrupt), stopping.stop_signals():
        signal.raise_signal(signal.SIGINT)
    assert stopping.stop_code() == 130
    stopping.check_stop()


def test_a_signal_is_handed_on_to_the_function_that_waited_for_it_once_the_run_has_cleared_up():
    order = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: order.append("handed on"))

    def run():
        try:
            signal.raise_signal(signal.SIGUSR2)
        finally:
            order.append("cleared up")

    try:
        with pytest.raises(SystemExit) as raised, stopping.stop_signals():
            run()
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert raised.value.code == 75
    assert order == ["cleared up", "handed on"]


def test_a_signal_that_is_ignored_goes_on_being_ignored():
    before = signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    try:
        with stopping.stop_signals():
            signal.raise_signal(signal.SIGUSR1)
            stopping.check_stop()
    finally:
        signal.signal(signal.SIGUSR1, before)
