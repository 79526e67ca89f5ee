import os
import subprocess
import sys
import threading

import pytest

from curator.errors import ConfigError, ExecutorError
from curator.placement import (
    ReplicaBundleSpec,
    ReplicaRequest,
    acquire_groups,
    acquire_replicas,
    acquisition,
    build_pg,
    bundle_node_ids,
    find_pg,
    groups,
    lost_bundles,
    rebuild,
    remove_named_pgs_with_prefix,
    remove_pg,
)
from tests.placement.conftest import NODE, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("nothing_left")]

FOR_EVER_S = 3600
ROUNDS = 3
# A run that wants what the test wants, in the other order, again and again.
ANOTHER_RUN = """
import sys
from curator.cluster import ray_session
from curator.placement import ReplicaBundleSpec, acquire_groups, remove_pg
with ray_session(sys.argv[1]):
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(int(sys.argv[2])):
        specs = {
            f"other-{zone}": ReplicaBundleSpec([{"GPU": 3}], "STRICT_PACK", 1, 3, [{"zone": zone}])
            for zone in ("west", "east")
        }
        for group in acquire_groups(specs, timeout_s=60).values():
            remove_pg(group)
    acquire_groups({"other-orphan": ReplicaBundleSpec([{"GPU": 1}], "STRICT_PACK", 1, 1)}, timeout_s=60)
    print("holding", flush=True)
    sys.stdin.readline()
"""


def pinned(node_id, gpus=3):
    return ReplicaBundleSpec([{"GPU": gpus}], "STRICT_PACK", 1, gpus, [{"ray.io/node-id": node_id}])


def in_zone(zone, gpus=3):
    return ReplicaBundleSpec([{"GPU": gpus}], "STRICT_PACK", 1, gpus, [{"zone": zone}])


def test_replicas_of_several_models_are_where_they_were_planned_to_be():
    requests = [
        ReplicaRequest(name="filter", count=2),
        ReplicaRequest(name="judge", tp_size=4, pp_size=2, num_cpus=4),
        ReplicaRequest(name="tiny", gpus=0, num_cpus=2),
    ]
    groups = acquire_replicas(requests, prefix="test-", timeout_s=60)
    assert [group.name for group in groups] == ["test-filter-0", "test-filter-1", "test-judge-0", "test-tiny-0"]
    for group in groups:
        assert tuple(bundle_node_ids(group.pg)) == group.placement.node_ids
        assert find_pg(group.name) == group.pg
    assert [group.placement.spec.total_gpus for group in groups] == [1, 1, 8, 0]
    assert remove_named_pgs_with_prefix("test-") == 4


def test_the_head_is_left_alone_without_any_label_of_the_workers(monkeypatch, head):
    monkeypatch.setenv("CURATOR_IGNORE_RAY_HEAD_NODE", "1")
    (group,) = acquire_replicas([ReplicaRequest(name="judge", tp_size=8)], prefix="test-", timeout_s=60)
    assert head not in bundle_node_ids(group.pg)
    remove_pg(group.pg)
    with pytest.raises(ExecutorError, match=r"^replicas\.judge: Cannot place TP=12"):
        acquire_replicas([ReplicaRequest(name="judge", tp_size=12)], prefix="test-", timeout_s=FOR_EVER_S)


def test_replicas_that_would_not_fit_on_idle_nodes_fail_at_once_and_none_is_reserved():
    requests = [ReplicaRequest(name="small"), ReplicaRequest(name="judge", count=3, tp_size=4)]
    with pytest.raises(ExecutorError, match=r"^replicas\.small: 0 of 1 replicas fit .* 0 GPUs are left"):
        acquire_replicas(requests, prefix="test-", timeout_s=FOR_EVER_S)


def test_replicas_that_others_keep_from_fitting_wait_and_then_say_so():
    held = build_pg([{"GPU": 2}], "STRICT_PACK", "test-held")
    with pytest.raises(
        ExecutorError, match=r"(?s)^the replicas would fit, but the nodes are busy\.\nreplicas\.judge: 2 of 3"
    ):
        acquire_replicas([ReplicaRequest(name="judge", count=3, tp_size=4)], prefix="test-", timeout_s=0.5)
    assert find_pg("test-judge-0") is None
    remove_pg(held)


def test_replicas_get_what_is_given_back_while_they_wait():
    held = build_pg([{"GPU": 2}], "STRICT_PACK", "test-held")
    giving_back = threading.Timer(1.0, remove_pg, [held])
    giving_back.start()
    groups = acquire_replicas([ReplicaRequest(name="judge", count=3, tp_size=4)], prefix="test-", timeout_s=60)
    giving_back.join()
    assert len(groups) == 3
    assert remove_named_pgs_with_prefix("test-judge") == 3


def test_of_several_groups_all_are_held_or_none(node_in):
    held = build_pg([{"GPU": 2}], "STRICT_PACK", "test-held", bundle_label_selector=[{"zone": "west"}])
    specs = {"test-b": pinned(node_in("west")), "test-a": pinned(node_in("east"))}
    with pytest.raises(
        ExecutorError, match=r"(?s)'test-b': .* was not free .*Tried \d+ times in 0\.1 s; nothing is reserved"
    ):
        acquire_groups(specs, timeout_s=0.1)
    assert (find_pg("test-a"), find_pg("test-b")) == (None, None)
    remove_pg(held)
    groups = acquire_groups(specs, timeout_s=60)
    assert list(groups) == ["test-b", "test-a"]
    for group in groups.values():
        remove_pg(group)


def test_groups_on_known_nodes_are_asked_for_in_the_order_of_the_nodes_whatever_they_are_called(monkeypatch, node_in):
    asked = []

    def noted(bundles, strategy, name, *, bundle_label_selector, **more):
        asked.append(bundle_label_selector[0]["ray.io/node-id"])
        return groups.try_build_pg(bundles, strategy, name, bundle_label_selector=bundle_label_selector, **more)

    monkeypatch.setattr(acquisition, "try_build_pg", noted)
    east, west = node_in("east"), node_in("west")
    for first, second in ((east, west), (west, east)):
        asked.clear()
        for group in acquire_groups({"test-1": pinned(first), "test-2": pinned(second)}, timeout_s=60).values():
            remove_pg(group)
        assert list(dict.fromkeys(asked)) == sorted([east, west])


def test_an_impossible_or_taken_group_among_several_gives_the_others_back():
    with pytest.raises(ExecutorError, match=r"'test-b': no node can hold"):
        acquire_groups({"test-a": in_zone("east"), "test-b": in_zone("west", gpus=9)}, timeout_s=FOR_EVER_S)
    taken = build_pg([{"GPU": 1}], "STRICT_PACK", "test-b")
    with pytest.raises(ConfigError, match=r"'test-b': a group of that name is there already"):
        acquire_groups({"test-a": in_zone("east"), "test-b": in_zone("west")}, timeout_s=FOR_EVER_S)
    assert find_pg("test-a") is None
    remove_pg(taken)


def test_two_runs_with_opposite_orders_both_get_their_nodes_and_what_a_killed_one_held_is_found(cluster):
    other = subprocess.Popen(
        [sys.executable, "-c", ANOTHER_RUN, cluster.address, str(ROUNDS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
    )
    try:
        assert other.stdout.readline() == "ready\n"
        other.stdin.write("start\n")
        other.stdin.flush()
        for _ in range(ROUNDS):
            # Ordered by name, this run would begin in the west and the other one in the east.
            groups = acquire_groups({"test-1": in_zone("west"), "test-2": in_zone("east")}, timeout_s=60)
            for group in groups.values():
                remove_pg(group)
        assert other.stdout.readline() == "holding\n"
        other.kill()
        other.communicate(timeout=60)
        assert find_pg("other-orphan") is not None
        assert remove_named_pgs_with_prefix("other-") == 1
    finally:
        other.kill()
        other.wait()


def test_a_group_that_lost_a_node_is_removed_whole_and_rebuilt_elsewhere(cluster):
    extra = cluster.add_node(**NODE, labels={"zone": "spare"})
    wait_until(lambda: extra.node_id in {node["NodeID"] for node in acquisition.alive_nodes()})
    held = [
        build_pg([{"GPU": 4}], "STRICT_PACK", f"test-{zone}", bundle_label_selector=[{"zone": zone}])
        for zone in ("east", "west")
    ]
    (group,) = acquire_replicas([ReplicaRequest(name="judge", tp_size=8)], prefix="test-", timeout_s=60)
    assert extra.node_id in group.placement.node_ids
    lost = group.placement.node_ids.index(extra.node_id)

    cluster.remove_node(extra, allow_graceful=False)
    wait_until(lambda: lost_bundles(group.pg) == [lost])
    with pytest.raises(ExecutorError, match=r"would fit, but the nodes are busy"):
        rebuild(group, timeout_s=0.3)
    assert find_pg(group.name) is None
    remove_pg(held[0])
    rebuilt = rebuild(group, timeout_s=60)
    assert rebuilt.name == group.name
    assert (rebuilt.placement.request, rebuilt.placement.index) == (group.placement.request, 0)
    assert (lost_bundles(rebuilt.pg), lost_bundles(group.pg)) == ([], [0, 1])
    assert extra.node_id not in bundle_node_ids(rebuilt.pg)
    assert tuple(bundle_node_ids(rebuilt.pg)) == rebuilt.placement.node_ids
    for each in (rebuilt.pg, held[1]):
        remove_pg(each)


def test_a_node_that_dies_between_plan_and_reservation_is_planned_around(monkeypatch, node_in):
    from curator.cluster import NodeOffer

    asked = []

    def offers():
        asked.append(1)
        gone = NodeOffer(node_id="0" * 56, cpus=4, gpus=4)
        return [gone] if len(asked) == 1 else available()

    available = acquisition.available_offers
    monkeypatch.setattr(acquisition, "available_offers", offers)
    (group,) = acquire_replicas([ReplicaRequest(name="judge", tp_size=4)], prefix="test-", timeout_s=60)
    assert len(asked) == 2
    assert group.placement.node_ids != ("0" * 56,)
    remove_pg(group.pg)
