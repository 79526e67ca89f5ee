"""The process tree of a server: what ends it, and that nothing of it is left, whoever is killed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from curator.errors import ExecutorError
from curator.serve import guard
from curator.serve.processes import kill_marked, kill_orphans, marked_processes, start_server

TREE = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN if 'stubborn' in sys.argv else signal.SIG_DFL)
code = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(3600)"
children = [subprocess.Popen([sys.executable, '-c', code], start_new_session=True) for _ in range(2)]
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)  # the grandchild is nobody's now
    time.sleep(3600)
open(sys.argv[1], 'w').write('started')
time.sleep(3600)
"""


@pytest.fixture
def mark(request):
    mark = f"curator-tests.{os.getpid()}.{request.node.name}"
    yield mark
    kill_marked(mark)


@pytest.fixture
def start(mark, tmp_path):
    servers = []

    def start(words, *, stop_timeout_s=1, **more):
        log = tmp_path / "log"
        more |= {"mark": mark, "stop_timeout_s": stop_timeout_s, "folder": tmp_path}
        servers.append(start_server(words, {"A": "1"}, log, **more))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


def wait_for(what, timeout_s=20):
    deadline = time.monotonic() + timeout_s
    while not what():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def tree(start, mark, tmp_path, *words):
    flag = tmp_path / "flag"
    server = start([sys.executable, "-c", TREE, str(flag), *words])
    wait_for(lambda: flag.exists() and len(marked_processes().get(mark, {})) >= 5)
    return server


@pytest.mark.parametrize("words", [(), ("stubborn",)])
def test_stopping_a_server_ends_its_children_in_sessions_of_their_own_and_those_that_nobody_owns(
    words, start, mark, tmp_path
):
    server = tree(start, mark, tmp_path, *words)
    server.stop()
    assert marked_processes().get(mark, {}) == {}
    server.stop()


def test_a_server_that_heeds_sigterm_ends_by_it_and_not_by_sigkill(start, mark, tmp_path):
    code = (
        "import signal,sys,time; signal.signal(15, lambda *_: sys.exit(7)); print('up', flush=True); time.sleep(3600)"
    )
    server = start([sys.executable, "-c", code], stop_timeout_s=30)
    wait_for(lambda: "up" in server.tail())
    server.stop()
    assert server.exit_code() == 7


def test_a_server_that_ends_takes_its_children_with_it_and_its_code_is_known(start, mark, tmp_path):
    code = (
        "import subprocess,sys; subprocess.Popen(['sleep','3600'], start_new_session=True); sys.exit('no such model')"
    )
    server = start([sys.executable, "-c", code])
    wait_for(lambda: server.exit_code() is not None)
    assert server.exit_code() == 1
    assert "no such model" in server.tail()
    assert marked_processes().get(mark, {}) == {}


def test_a_server_that_a_signal_ended_says_which(start, mark, tmp_path):
    server = start([sys.executable, "-c", "import os; os.kill(os.getpid(), 9)"])
    wait_for(lambda: server.exit_code() is not None)
    assert server.exit_code() == 137


def test_the_death_of_the_owner_by_sigkill_ends_the_tree(start, mark, tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from curator.serve.processes import start_server\n"
        f"start_server([sys.executable, '-c', {TREE!r}, 'flag'], {{}}, Path('log'), mark={mark!r}, stop_timeout_s=60,"
        " folder=Path('.'))\ntime.sleep(3600)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path)
    wait_for(lambda: (tmp_path / "flag").exists() and len(marked_processes().get(mark, {})) >= 5)
    owner.kill()
    owner.wait()
    wait_for(lambda: mark not in marked_processes())


def test_the_death_of_the_guard_by_sigkill_ends_the_server_and_the_rest_is_found_by_its_mark(start, mark, tmp_path):
    server = tree(start, mark, tmp_path)
    # What the server has left to nobody is the guard's child too, but leads no group.
    (itself,) = (each.pid for each in psutil.Process(server.guard.pid).children() if os.getpgid(each.pid) == each.pid)
    server.guard.kill()
    server.guard.wait()
    wait_for(lambda: itself not in marked_processes().get(mark, {}))
    left = set(marked_processes()[mark])
    assert set(kill_orphans("curator-tests.")) >= left
    assert marked_processes().get(mark, {}) == {}


@pytest.mark.parametrize("installation", ["this", "another"])
def test_a_server_whose_guard_is_alive_is_no_orphan_whichever_installation_started_it(
    installation, start, mark, tmp_path, monkeypatch
):
    if installation == "another":
        copy = tmp_path / "curator" / "serve" / "guard.py"
        copy.parent.mkdir(parents=True)
        copy.write_bytes(Path(guard.__file__).read_bytes())
        monkeypatch.setattr(guard, "__file__", str(copy))
    server = tree(start, mark, tmp_path)
    monkeypatch.undo()
    killed = kill_orphans("curator-tests.")
    assert not set(killed) & set(marked_processes()[mark])
    assert server.exit_code() is None
    server.stop()


def test_words_go_to_the_server_as_they_are_and_through_no_shell(start, mark, tmp_path):
    words = ["a b", "$HOME", "`id`", "'", "--", "{x}", "; touch here"]
    server = start([sys.executable, "-c", "import json,sys; print(json.dumps(sys.argv[1:]))", *words])
    wait_for(lambda: server.exit_code() is not None)
    assert json.loads(server.tail()) == words
    assert not (tmp_path / "here").exists()


def test_a_server_gets_no_variables_of_ray_and_its_log_is_private(start, mark, tmp_path, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    server = start([sys.executable, "-c", "import os; print(sorted(os.environ))"])
    wait_for(lambda: server.exit_code() is not None)
    names = server.tail()
    assert "'A'" in names
    assert "RAY_" not in names
    assert (tmp_path / "log").stat().st_mode & 0o077 == 0


def test_a_program_that_is_not_there_is_named(start, mark, tmp_path):
    with pytest.raises(ExecutorError, match="no program 'no-such-server' on this node"):
        start(["no-such-server"])
