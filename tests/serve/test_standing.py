"""``curator replicas up | list | down``, and what is left of drivers that were killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import ray
from ray.util.placement_group import placement_group_table

from curator.cluster import ray_session
from curator.config.replica_commands import run_replicas
from curator.errors import ConfigError
from curator.placement.addresses import is_port_taken
from curator.serve.beside import living_owners, reap_groups, replicas_beside, start_keeper, wait_until_up
from curator.serve.endpoints import ReplicaEndpoints, read_addresses
from curator.serve.processes import PREFIX, kill_marked
from curator.serve.standing import list_replicas, put_up, take_down

pytestmark = pytest.mark.ray


def groups():
    names = [each["name"] for each in placement_group_table().values() if each["state"] != "REMOVED"]
    return [name for name in names if name.startswith(PREFIX)]


def where(directory, name="stub"):
    return ReplicaEndpoints(name, "stub-model", str(directory)).endpoints()


def pid_at(endpoint):
    request = urllib.request.Request(
        f"{endpoint.url}/chat/completions", b"{}", headers={"Authorization": f"Bearer {endpoint.api_key}"}
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())["pid"]


def test_a_set_stands_while_drivers_come_and_go_is_used_by_a_run_and_ends_when_it_is_taken_down(
    cluster, stub, tmp_path
):
    settings = stub(replicas=2)
    with ray_session(cluster.address):
        reports = put_up([settings], tmp_path / "up")
        assert [report.state for report in reports] == ["up", "up"]
    with ray_session(cluster.address):
        with pytest.raises(ConfigError, match=r"replicas.stub: a set of that name is up already"):
            put_up([settings], tmp_path / "again")
        standing = [pid_at(each) for each in where(tmp_path / "up" / "stub")]
        with replicas_beside([settings], tmp_path / "run"):
            assert [pid_at(each) for each in where(tmp_path / "run")] == standing
            assert len(groups()) == 2
        with pytest.raises(ConfigError, match="with other settings"), replicas_beside([stub()], tmp_path / "other"):
            pytest.fail("it began")
        assert [(owner, report.name) for owner, report in list_replicas()] == [("up", "stub-0"), ("up", "stub-1")]
        with pytest.raises(ConfigError, match=r"replicas.judge: no set of that name is up. These are up: stub."):
            take_down(["judge"])
        ended, reaped = take_down(["stub"])
        assert ended == ["stub"]
        assert (reaped.groups, reaped.processes) == (0, 0)
        assert groups() == []
        assert living_owners() == set()


def test_a_set_whose_keeper_was_killed_is_kept_again(cluster, stub, tmp_path, wait_for):
    with ray_session(cluster.address):
        put_up([stub()], tmp_path)
        (first,) = where(tmp_path / "stub")
        ray.kill(ray.get_actor("curator-keeper.up-stub", namespace="curator"), no_restart=False)
        (second,) = wait_for(lambda: [each for each in where(tmp_path / "stub") if each.url != first.url])
        assert pid_at(second)
        take_down()
        assert groups() == []


DRIVER = """
import sys, time
from pathlib import Path
from curator.cluster import ray_session
from curator.serve.beside import replicas_beside
from curator.serve.settings import ReplicaSettings

settings = ReplicaSettings(name="stub", model="stub-model", engine="command", device="cpu", stop_timeout_s=3,
                           resources={"cpus": 0.1}, command=sys.argv[3:], replicas=2)
with ray_session(sys.argv[1] if sys.argv[1] != "private" else None):
    with replicas_beside([settings], Path(sys.argv[2])):
        Path(sys.argv[2], "began").touch()
        time.sleep(3600)
"""


@pytest.fixture
def start_driver(stub, tmp_path):
    """Starts a driver with replicas beside it, in the cluster of an address or ``private`` in one of its own."""
    drivers = []

    def start(address):
        drivers.append(subprocess.Popen([sys.executable, "-c", DRIVER, address, str(tmp_path), *stub().command]))
        return drivers[-1]

    yield start
    for driver in drivers:
        driver.kill()
        driver.wait()


@pytest.mark.parametrize("when", ["starting", "running"])
def test_a_driver_that_is_killed_leaves_no_process_actor_or_group_behind_the_next_start_or_down(
    when, cluster, stub, start_driver, tmp_path, wait_for, replica_processes
):
    driver = start_driver(cluster.address)
    sign = tmp_path / ("began" if when == "running" else "stub-0.log")
    wait_for(lambda: sign.exists() or driver.poll() is not None)
    ports = [int(urlsplit(url).port) for url in read_addresses(tmp_path / "stub.json")["urls"] if url]
    assert len(ports) == (2 if when == "running" else 0)
    driver.kill()
    assert driver.wait() == -signal.SIGKILL
    if when == "starting":
        assert run_replicas(["down", f"executor.address={cluster.address}"]) == 0
    with ray_session(cluster.address):
        if when == "running":
            with replicas_beside([stub(name="next")], tmp_path / "next"):
                assert {name.split(".")[2] for name in groups()} == {"next-0"}
        assert groups() == []
        wait_for(lambda: not replica_processes())
        assert not any(is_port_taken("127.0.0.1", port) for port in ports)
        assert living_owners() == set()
        named = ray.util.list_named_actors(all_namespaces=True)
        assert [each for each in named if each["namespace"] == "curator"] == []


def test_a_keeper_that_ray_ends_a_moment_after_its_driver_is_waited_for_and_its_groups_removed(cluster, stub, tmp_path):
    with ray_session(cluster.address):
        keeper = start_keeper([stub()], "run-brief", tmp_path)
        wait_until_up(keeper)
        ending = threading.Timer(0.3, ray.kill, [keeper])
        ending.start()
        assert reap_groups() == 1
        ending.join()
        assert groups() == []


def test_a_driver_with_a_session_of_its_own_takes_everything_with_it_when_it_is_killed(
    loopback, start_driver, tmp_path, wait_for, replica_processes
):
    driver = start_driver("private")
    wait_for(lambda: (tmp_path / "began").exists() or driver.poll() is not None)
    assert len(replica_processes()) == 2
    driver.kill()
    driver.wait()
    wait_for(lambda: not replica_processes())


def test_what_a_guard_that_was_killed_with_its_owner_has_left_is_ended_by_down(cluster, capsys):
    mark = f"{PREFIX}run-dead.stub-0"
    left = subprocess.Popen(["sleep", "3600"], env={**os.environ, "CURATOR_REPLICA": mark})
    try:
        assert run_replicas(["down", f"executor.address={cluster.address}"]) == 0
        assert left.wait(timeout=20) == -signal.SIGKILL
        assert "reaped    0 placement groups" in capsys.readouterr().out
    finally:
        kill_marked(mark)


def test_the_commands_put_up_list_and_take_down(cluster, stub, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    folder = tmp_path / "conf" / "replicas"
    folder.mkdir(parents=True)
    words = json.dumps(stub().command)
    said = f"model: stub-model, engine: command, device: cpu, command: {words}, stop_timeout_s: 1, max_restarts: 0"
    (folder / "ours.yaml").write_text(f"# Ours.\nours: {{{said}, resources: {{cpus: 0.1}}}}\n")
    chosen = [f"hydra.searchpath=[file://{tmp_path}/conf]", "replicas=ours", "replicas.ours.stop_timeout_s=2"]
    assert run_replicas(["up", *chosen]) == 0
    try:
        out = capsys.readouterr().out
        assert "ours-0   up     up     http://127.0.0.1:" in out
        directory = Path(out.splitlines()[-1].split()[1])
        assert pid_at(where(directory / "ours", "ours")[0])
        assert run_replicas(["list"]) == 0
        assert "ours-0" in capsys.readouterr().out
    finally:
        assert run_replicas(["down", "ours"]) == 0
    assert "ended     ours" in capsys.readouterr().out
    assert run_replicas(["list"]) == 0
    assert capsys.readouterr().out == "no replicas are up\n"
