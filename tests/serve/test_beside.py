"""Replicas beside a run, on a cluster of three nodes: started, asked, lost, started again, gone."""

import json
import os
import re
import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path

import pytest
import ray
from ray.util.placement_group import placement_group_table

from curator.errors import ConfigError, ExecutorError
from curator.placement import acquire_replicas, lost_bundles, remove_pg
from curator.serve.beside import end_keeper, find_keeper, living_owners, replicas_beside, start_keeper
from curator.serve.endpoints import FAILED, UP, ReplicaEndpoints
from curator.serve.keeper import group_prefix
from curator.serve.processes import PREFIX
from curator.serve.replica import Launch, Replica
from curator.serve.requests import request_of

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("joined")]


def groups():
    return [each["name"] for each in placement_group_table().values() if each["state"] != "REMOVED"]


def ask(endpoint, *, key=None):
    key = endpoint.api_key if key is None else key
    body = json.dumps({"model": endpoint.model, "messages": []}).encode()
    headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{endpoint.url}/chat/completions", data=body, headers=headers)
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.loads(answer.read())


def of(settings, directory):
    return ReplicaEndpoints(settings.name, settings.served_model, str(directory), settings.revision)


@pytest.fixture(autouse=True)
def nothing_is_reserved(joined):
    yield
    assert [name for name in groups() if name.startswith(PREFIX)] == []
    assert living_owners() == set()


def test_replicas_of_two_sets_are_up_beside_a_run_and_gone_behind_it(stub, tmp_path):
    judge = stub(name="judge", replicas=2, device="gpu", tp_size=2)
    small = stub(name="small")
    with replicas_beside([judge, small], tmp_path):
        found = of(judge, tmp_path).endpoints()
        assert [each.replica for each in found] == ["judge-0", "judge-1"]
        answers = [ask(each) for each in found]
        assert len({each["pid"] for each in answers}) == 2
        assert [each["devices"] for each in answers] == ["0,1", "0,1"]
        (other,) = of(small, tmp_path).endpoints()
        assert ask(other)["devices"] == ""
        assert len({each.api_key for each in (*found, other)}) == 2
        assert all(each.url.startswith("http://127.0.0.1:") for each in (*found, other))
        assert len([name for name in groups() if name.startswith(PREFIX)]) == 3
    with pytest.raises(ExecutorError, match=r"replicas.judge: they have ended"):
        of(judge, tmp_path).endpoints()


def test_the_key_is_in_no_argument_and_no_log_and_its_file_is_private(stub, tmp_path, replica_processes):
    settings = stub()
    with replicas_beside([settings], tmp_path):
        (endpoint,) = of(settings, tmp_path).endpoints()
        assert len(endpoint.api_key) >= 40
        with pytest.raises(urllib.error.HTTPError, match="401"):
            ask(endpoint, key="another")
        processes = [process for ids in replica_processes().values() for process in ids]
        assert len(processes) >= 2
        for process in processes:
            assert endpoint.api_key.encode() not in Path(f"/proc/{process}/cmdline").read_bytes()
        files = [path for path in tmp_path.iterdir() if path.is_file()]
        assert {path.name for path in files} == {"stub.json", "stub.key", "stub-0.log"}
        assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
        assert endpoint.api_key not in (tmp_path / "stub-0.log").read_text()
        assert "***" in repr(endpoint)


def test_a_server_that_is_killed_comes_back_with_another_address_and_the_same_name(stub, tmp_path, wait_for):
    settings = stub()
    with replicas_beside([settings], tmp_path):
        (before,) = of(settings, tmp_path).endpoints()
        killed = ask(before)["pid"]
        os.kill(killed, signal.SIGKILL)
        (after,) = wait_for(lambda: [each for each in of(settings, tmp_path).endpoints() if each.url != before.url])
        assert after.replica == before.replica
        assert after.api_key == before.api_key
        assert ask(after)["pid"] != killed


def test_a_server_that_hangs_is_ended_and_comes_back(stub, tmp_path, wait_for):
    settings = stub("hangs_later", health_timeout_s=0.3)
    with replicas_beside([settings], tmp_path):
        first = of(settings, tmp_path).endpoints()[0].url
        wait_for(lambda: [each.url for each in of(settings, tmp_path).endpoints() if each.url != first])


def test_a_port_that_another_program_takes_first_costs_no_restart_and_another_one_is_used(stub, tmp_path, wait_for):
    settings = stub("late", max_restarts=0, command=["--state", str(tmp_path)])

    def take_its_port():
        port = int(wait_for(lambda: (tmp_path / "port").exists() and (tmp_path / "port").read_text()))
        with socket.create_server(("127.0.0.1", port)):
            (tmp_path / "taken").touch()
            done.wait()

    done = threading.Event()
    taker = threading.Thread(target=take_its_port)
    taker.start()
    try:
        with replicas_beside([settings], tmp_path):
            (endpoint,) = of(settings, tmp_path).endpoints()
            assert ask(endpoint)
            assert f":{(tmp_path / 'port').read_text()}/" not in endpoint.url
            keeper = find_keeper(f"run-{ray.get_runtime_context().get_job_id()}")
            assert [report.ends for report in ray.get(keeper.report.remote())] == [1]
    finally:
        done.set()
        taker.join()
    assert "Address already in use" in (tmp_path / "stub-0.log").read_text()


def test_a_server_that_needs_sigkill_and_its_child_are_gone_behind_the_run(stub, tmp_path):
    settings = stub("stubborn", stop_timeout_s=0.5)
    with replicas_beside([settings], tmp_path):
        assert ask(of(settings, tmp_path).endpoints()[0])


def test_servers_that_never_get_well_are_given_up_in_bounded_time_each_with_its_reason(stub, tmp_path, wait_for):
    reasons = {
        "dies": r"its server ended with exit code 1\. Its log is .*stub-dies-0.log, and ends:.*the model is not there",
        "never": r"no request within 7 s \(start_timeout_s\): .* answered by nothing: .*Connection refused",
        "hangs": r"no request within 7 s \(start_timeout_s\): .* answered by nothing: .*timed out",
        "500": r"no request within 7 s \(start_timeout_s\): .* answered by 500",
        "garbage": r"no request within 7 s \(start_timeout_s\): .* answered by no completion: '<html>no</html>'",
    }
    limits = {mode: 60 if mode == "dies" else 7 for mode in reasons}
    sets = [stub(mode, name=f"stub-{mode}", start_timeout_s=limits[mode], max_restarts=1) for mode in reasons]
    keeper = start_keeper(sets, "tests", tmp_path)
    try:
        wait_for(lambda: all(each.state == FAILED for each in ray.get(keeper.report.remote())))
        for report, (mode, reason) in zip(ray.get(keeper.report.remote()), reasons.items(), strict=True):
            assert re.search(reason, report.reason, re.DOTALL), report
            assert report.ends == (2 if mode == "dies" else 1)
        assert [name for name in groups() if name.startswith(PREFIX)] == []
    finally:
        end_keeper(keeper, "tests", 1)


def test_a_program_that_is_not_there_ends_the_run_and_says_so(stub, tmp_path):
    from dataclasses import replace

    settings = replace(stub(max_restarts=0), command=["no-such-server", "{port}"])
    with (
        pytest.raises(ExecutorError, match=r"^replicas.stub: stub-0: there is no program 'no-such-server'"),
        replicas_beside([settings], tmp_path),
    ):
        pytest.fail("it began")


def test_a_model_that_is_not_there_ends_the_run_at_once_and_is_named(stub, tmp_path):
    from dataclasses import replace

    settings = replace(stub(max_restarts=3), model="/no/such/model", engine="vllm", command=None)
    with (
        pytest.raises(ExecutorError, match=r"^replicas.stub: stub-0: model: there is no '/no/such/model' on its node"),
        replicas_beside([settings], tmp_path),
    ):
        pytest.fail("it began")


def test_what_can_never_fit_is_refused_at_once_with_the_sizes_that_would(stub, tmp_path):
    settings = stub(device="gpu", tp_size=8)
    with pytest.raises(ExecutorError, match=r"TP=8: .* would fit: 1, 2, 4\."), replicas_beside([settings], tmp_path):
        pytest.fail("it began")


def test_a_command_without_ranks_is_refused_where_a_replica_spans_nodes(stub, tmp_path):
    settings = stub(device="gpu", tp_size=4)
    with (
        pytest.raises(ExecutorError, match=r"replicas.stub.command: 4 GPUs span 2 nodes here"),
        replicas_beside([settings], tmp_path),
    ):
        pytest.fail("it began")


def test_the_servers_of_a_replica_on_two_nodes_know_their_ranks(stub, tmp_path, wait_for):
    words = ["--mode", "well", "--state", "{rank}-of-{nnodes}-at-{master_addr}"]
    settings = stub(device="gpu", tp_size=4, command=words)
    with replicas_beside([settings], tmp_path):
        (endpoint,) = of(settings, tmp_path).endpoints()
        assert ask(endpoint)
        logs = sorted(path.name for path in tmp_path.glob("*.log"))
        assert logs == ["stub-0-rank1.log", "stub-0.log"]
        assert "0-of-2-at-127.0.0.1" in (tmp_path / "stub-0.log").read_text()
        # The first answers as soon as it is there, whether the other has written anything yet or not.
        wait_for(lambda: "1-of-2-at-127.0.0.1" in (tmp_path / "stub-0-rank1.log").read_text())


def test_where_other_machines_reach_a_server_it_listens_on_its_node_s_address_and_must_ask_for_the_key(
    cluster, stub, tmp_path, wait_for
):
    node = cluster.add_node(
        num_cpus=1, object_store_memory=80_000_000, resources={"far": 2}, node_ip_address="127.0.1.2"
    )
    cluster.wait_for_nodes()
    far = {"resources": {"cpus": 0.1, "custom": {"far": 1}}}
    sets = [stub(name="asks", **far), stub("open", name="open", **far)]
    keeper = start_keeper(sets, "tests", tmp_path)
    try:
        asks, is_open = wait_for(
            lambda: [each for each in [ray.get(keeper.report.remote())] if {r.state for r in each} == {UP, FAILED}]
        )[0]
        assert asks.url.startswith("http://127.0.1.2:")
        assert asks.nodes == ("127.0.1.2",)
        assert "answers without the key, on an address that other machines reach" in is_open.reason
    finally:
        end_keeper(keeper, "tests", 1)
        cluster.remove_node(node)


def test_a_node_that_is_lost_before_a_worker_of_it_starts_is_noticed_at_once(cluster, stub, tmp_path, wait_for):
    node = cluster.add_node(num_cpus=1, object_store_memory=80_000_000, resources={"brief": 1})
    cluster.wait_for_nodes()
    settings = stub(resources={"cpus": 0.1, "custom": {"brief": 1}})
    (group,) = acquire_replicas([request_of(settings)], prefix=group_prefix("tests"), timeout_s=60)
    try:
        cluster.remove_node(node)
        wait_for(lambda: lost_bundles(group.pg))
        launch = Launch(settings, "key", str(tmp_path), group.name)
        began = time.monotonic()
        with (
            pytest.raises(ExecutorError, match="its node was lost before its worker had started"),
            Replica(launch, group, threading.Event()) as replica,
        ):
            replica.place()
        assert time.monotonic() - began < 45  # its supervisor, which never started, is not waited for
    finally:
        remove_pg(group.pg)


def test_a_run_that_fails_leaves_nothing(stub, tmp_path):
    with pytest.raises(ZeroDivisionError), replicas_beside([stub()], tmp_path):
        1 / 0  # noqa: B018


def test_no_sets_need_no_cluster(tmp_path):
    with replicas_beside([], tmp_path / "none"):
        assert not (tmp_path / "none").exists()


def test_two_sets_of_one_name_are_refused(stub, tmp_path):
    with pytest.raises(ConfigError, match="two sets have this name"), replicas_beside([stub(), stub()], tmp_path):
        pytest.fail("it began")
