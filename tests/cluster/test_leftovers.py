import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from curator.cluster.leftovers import removed_with_this_process

PROGRAM = """
import os, sys, time
from pathlib import Path
from curator.cluster.leftovers import removed_with_this_process
with removed_with_this_process(Path(sys.argv[1])):
    print("up", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "a folder; touch x"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "file").touch()
    return folder


def test_a_folder_goes_at_the_end_and_the_shell_with_it(folder, tmp_path):
    before = {child.pid for child in psutil.Process().children()}
    with removed_with_this_process(folder):
        (shell,) = [child for child in psutil.Process().children() if child.pid not in before]
        assert os.getpgid(shell.pid) != os.getpgrp()
    assert list(tmp_path.iterdir()) == []
    assert not shell.is_running()


def test_a_folder_goes_when_an_error_ends_what_used_it(folder):
    with pytest.raises(ValueError, match="over"), removed_with_this_process(folder):
        raise ValueError("over")
    assert not folder.exists()


def test_a_folder_goes_soon_after_its_process_was_killed_and_the_processes_for_it_too(folder, tmp_path):
    sleep = [sys.executable, "-c", "import time; time.sleep(300)"]
    started = [subprocess.Popen([*sleep, *options]) for options in ([f"--session-dir={folder}/deep"], [str(folder)])]
    try:
        _kill_what_uses(folder, tmp_path)
        assert started[0].wait(60) == -signal.SIGKILL
        assert started[1].poll() is None  # it only names the folder, as an editor would
    finally:
        for other in started:
            other.kill()
            other.wait()


def _kill_what_uses(folder, tmp_path):
    with subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "up\n"
        assert Path(folder, "deep", "file").exists()
        process.send_signal(signal.SIGKILL)
    until = time.monotonic() + 60
    while list(tmp_path.iterdir()):
        assert time.monotonic() < until, "it is still there"
        time.sleep(0.05)
