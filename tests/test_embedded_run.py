"""The command as a newcomer types it first, on the embedded input: it works, says so, and leaves nothing behind."""

import ipaddress
import os
import re
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[1]
MARK = "CURATOR_TEST_RUN"
SESSION_FOLDER = re.compile(r"/tmp/curator-[\w-]+")


@pytest.fixture
def run_environment():
    """What a user has, and a mark by which the processes of this run are found; Ray asks for a token as usual."""
    kept = {key: value for key, value in os.environ.items() if key not in ("RAY_AUTH_MODE", "RAY_ADDRESS")}
    return kept | {"PYTHONPATH": str(ROOT), MARK: secrets.token_hex(8)}


def processes_of(mark):
    """Every process that was started with the mark, whoever its parent is by now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def watch(processes, addresses, folders):
    """Take down what these processes listen on, and the session folders that they were told of."""
    for process in processes:
        try:
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN:
                    addresses.add((connection.laddr.ip, connection.laddr.port))
            folders.update(SESSION_FOLDER.findall(" ".join(process.cmdline())))
        except psutil.Error:
            continue


def is_loopback(address):
    found = ipaddress.ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def is_open(address, port):
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(1)
        return probe.connect_ex((address, port)) == 0


def check_output(folder, run_environment):
    (output,) = folder.glob("runs/*/*/output")
    command = [sys.executable, "-m", "curator", "verify", str(output)]
    result = subprocess.run(
        command, cwd=folder, env=run_environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 0, result.stderr
    words = ("records read", "removed")
    read, removed = (int(re.search(rf"([\d,]+) {word}", result.stdout)[1].replace(",", "")) for word in words)
    assert read > 1000
    assert 0 < removed < read
    assert not list(folder.glob("**/*._curator"))


def test_a_bare_command_deduplicates_what_every_python_carries(tmp_path, run_environment):
    command = [sys.executable, "-m", "curator"]
    result = subprocess.run(
        command, cwd=tmp_path, env=run_environment, capture_output=True, text=True, timeout=200, check=False
    )
    assert result.returncode == 0, result.stderr
    assert "exact_duplicate" in result.stdout
    assert "near_duplicate" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    check_output(tmp_path, run_environment)


@pytest.mark.slow
@pytest.mark.ray
def test_the_main_job_on_ray_listens_on_loopback_only_and_leaves_nothing_behind(tmp_path, run_environment):
    command = [sys.executable, "-m", "curator", "executor=ray_actor_pool", "stages=dedup"]
    addresses, folders, most = set(), set(), 0
    log = tmp_path.with_name(tmp_path.name + ".log")
    with open(log, "wb") as output:
        driver = subprocess.Popen(command, cwd=tmp_path, env=run_environment, stdout=output, stderr=output)
        try:
            end = time.monotonic() + 240
            while driver.poll() is None and time.monotonic() < end:
                processes = processes_of(run_environment[MARK])
                most = max(most, len(processes))
                watch(processes, addresses, folders)
                time.sleep(0.3)  # a look at all processes and their sockets costs a tenth of a second of a core
        finally:
            if driver.poll() is None:
                for process in processes_of(run_environment[MARK]):
                    process.kill()
            driver.wait()
    assert driver.returncode == 0, log.read_text()
    assert "exact_duplicate" in log.read_text()
    assert "near_duplicate" in log.read_text()

    assert most > 3, "no Ray processes were seen"
    assert addresses, "no listening sockets were seen"
    assert [address for address, _ in addresses if not is_loopback(address)] == []

    end = time.monotonic() + 10
    while (left := processes_of(run_environment[MARK])) and time.monotonic() < end:
        time.sleep(0.2)
    assert [process.cmdline() for process in left] == []
    assert [address for address in addresses if is_open(*address)] == []
    assert folders, "no session folder was seen"
    assert [folder for folder in folders if Path(folder).exists()] == []
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    check_output(tmp_path, run_environment)
