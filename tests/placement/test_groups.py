import os
import subprocess
import sys
import time

import pytest

from curator.cluster import get_gpu_topology
from curator.errors import ConfigError, ExecutorError
from curator.placement import (
    build_pg,
    build_replica_pg,
    bundle_node_ids,
    find_pg,
    groups,
    lost_bundles,
    plan_replica_bundle_shape,
    remove_named_pgs_with_prefix,
    remove_pg,
)
from tests.placement.conftest import wait_until

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("nothing_left")]

# Longer than a test may take: what is said to fail at once must not wait for it.
FOR_EVER_S = 3600
IN_ANOTHER_NAMESPACE = """
import sys
import ray
from ray.util.placement_group import placement_group
ray.init(address=sys.argv[1], namespace="elsewhere", log_to_driver=False)
group = placement_group([{"CPU": 1}], "PACK", "test-kept", lifetime="detached")
assert group.wait(30)
if sys.stdin.readline():
    ray.util.remove_placement_group(group)
"""


def free_gpus():
    from curator.cluster import available_offers

    return {offer.node_id: offer.gpus for offer in available_offers()}


def test_the_topology_is_read_from_the_cluster(joined, head):
    topology = get_gpu_topology()
    assert [node["num_gpus"] for node in topology] == [4, 4, 4]
    assert [node["node_id"] for node in topology if node["is_head"]] == [head]
    other = next(node["node_id"] for node in topology if not node["is_head"])
    assert [node["node_id"] for node in get_gpu_topology(other) if node["is_head"]] == [other]


def test_where_ray_marks_no_head_it_is_the_node_of_the_driver(joined, head):
    unmarked = [node | {"Resources": {"CPU": 4.0, "GPU": 2.0}} for node in joined.nodes]
    topology = get_gpu_topology(nodes=[*unmarked, {"NodeID": "dead", "Alive": False, "Resources": {"GPU": 8.0}}])
    assert [node["node_id"] for node in topology if node["is_head"]] == [head]
    assert [node["num_gpus"] for node in topology] == [2, 2, 2]


@pytest.mark.parametrize(("tp_size", "nnodes"), [(1, 1), (4, 1), (6, 2), (8, 2), (12, 3)])
def test_a_shape_planned_for_this_cluster_is_reserved_on_it(tp_size, nnodes):
    spec = plan_replica_bundle_shape(tp_size)
    group = build_replica_pg(spec, "test-replica", timeout_s=FOR_EVER_S)
    nodes = bundle_node_ids(group)
    assert (spec.nnodes, len(set(nodes)), lost_bundles(group)) == (nnodes, nnodes, [])
    free = free_gpus()
    assert [free[node_id] for node_id in nodes] == [4 - tp_size // nnodes] * nnodes
    assert sum(free.values()) == 12 - tp_size
    assert remove_pg(group)


@pytest.mark.parametrize("tp_size", [5, 7, 16])
def test_a_shape_that_this_cluster_cannot_hold_is_refused(tp_size):
    with pytest.raises(ExecutorError, match=rf"Cannot place TP={tp_size}: .* fit: 1 to 4, 6, 8, 9, 12\."):
        plan_replica_bundle_shape(tp_size)


def test_the_head_is_left_alone_when_the_variable_says_so(monkeypatch, head):
    monkeypatch.setenv("CURATOR_IGNORE_RAY_HEAD_NODE", "1")
    group = build_replica_pg(plan_replica_bundle_shape(8), "test-replica", timeout_s=FOR_EVER_S)
    assert head not in bundle_node_ids(group)
    assert free_gpus()[head] == 4
    remove_pg(group)
    with pytest.raises(ExecutorError, match=r"Cannot place TP=12"):
        plan_replica_bundle_shape(12)


@pytest.mark.parametrize(
    ("bundles", "strategy", "selectors", "gap"),
    [
        ([{"CPU": 1, "GPU": 5}], "STRICT_PACK", None, "its one bundle, which needs 1 CPU, 5 GPU.*: 1 GPU missing"),
        ([{"GPU": 3}, {"GPU": 3}], "STRICT_PACK", None, "all bundles, which needs 6 GPU.*: 2 GPU missing"),
        ([{"GPU": 1}] * 4, "STRICT_SPREAD", None, "4 bundles must be on as many nodes, but 3 of 3 can hold one"),
        ([{"GPU": 1}] * 2, "STRICT_SPREAD", [{"zone": "east"}] * 2, "2 bundles .* but 1 of 3 can hold one"),
        ([{"GPU": 1}], "STRICT_PACK", [{"zone": "north"}], ": zone=north missing"),
        ([{"GPU": 1, "slots": 1}], "PACK", None, "one of its bundles, .*: 1 slots missing"),
        ([{"GPU": 4}] * 4, "PACK", None, "only 3 of 4 bundles fit beside each other on 3 nodes"),
    ],
)
def test_what_no_node_could_ever_hold_fails_at_once_with_the_gap(bundles, strategy, selectors, gap):
    with pytest.raises(ExecutorError, match=rf"^placement group 'test-x': .*{gap}"):
        build_pg(bundles, strategy, "test-x", bundle_label_selector=selectors, timeout_s=FOR_EVER_S)


def test_a_busy_cluster_is_waited_for_and_then_said_to_be_busy(node_in):
    east = [{"zone": "east"}]
    held = build_pg([{"GPU": 2}], "STRICT_PACK", "test-held", bundle_label_selector=east)
    with pytest.raises(
        ExecutorError, match=r"'test-late': 1 x \(3 GPU\), STRICT_PACK, was not free within 0\.3 s: .*busy"
    ):
        build_pg([{"GPU": 3}], "STRICT_PACK", "test-late", bundle_label_selector=east, timeout_s=0.3)
    assert find_pg("test-late") is None
    assert free_gpus()[node_in("east")] == 2
    remove_pg(held)
    remove_pg(build_pg([{"GPU": 3}], "STRICT_PACK", "test-late", bundle_label_selector=east))


def test_a_stop_while_waiting_leaves_nothing(monkeypatch):
    held = build_pg([{"GPU": 4}], "STRICT_PACK", "test-held", bundle_label_selector=[{"zone": "east"}])
    sleep = time.sleep

    def interrupted(seconds):
        monkeypatch.setattr(groups.time, "sleep", sleep)
        raise KeyboardInterrupt

    monkeypatch.setattr(groups.time, "sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        build_pg(
            [{"GPU": 1}], "STRICT_PACK", "test-late", bundle_label_selector=[{"zone": "east"}], timeout_s=FOR_EVER_S
        )
    assert find_pg("test-late") is None
    remove_pg(held)


def test_a_name_is_given_once_and_again_after_its_group_is_gone():
    first = build_pg([{"GPU": 1}], "STRICT_PACK", "test-name")
    with pytest.raises(ConfigError, match=r"'test-name': a group of that name is there already"):
        build_pg([{"GPU": 1}], "STRICT_PACK", "test-name")
    assert find_pg("test-name") == first
    remove_pg(first)
    second = build_pg([{"GPU": 1}], "STRICT_PACK", "test-name")
    assert find_pg("test-name") == second != first
    remove_pg(second)


@pytest.mark.parametrize(
    ("bundles", "strategy", "selectors"),
    [
        ([{}], "PACK", None),
        ([], "PACK", None),
        ([{"GPU": 1}], "TIGHT", None),
        ([{"GPU": -1}], "PACK", None),
        ([{"GPU": 1}], "PACK", [{"zone": "a b"}]),
        ([{"GPU": 1}], "PACK", [{}, {}]),
    ],
)
def test_bundles_that_are_none_are_a_mistake_of_the_caller(bundles, strategy, selectors):
    with pytest.raises(ConfigError, match=r"^placement group 'test-x': "):
        build_pg(bundles, strategy, "test-x", bundle_label_selector=selectors)


def test_a_session_in_another_namespace_is_refused():
    with pytest.raises(ExecutorError, match=r"is in the namespace 'curator'; placement groups are named in 'other'"):
        build_pg([{"GPU": 1}], "PACK", "test-x", namespace="other")


class Sleeper:
    def is_there(self):
        return True


def test_groups_with_a_prefix_are_removed_with_what_runs_in_them_and_others_stay(cluster):
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    other = subprocess.Popen(
        [sys.executable, "-c", IN_ANOTHER_NAMESPACE, cluster.address],
        stdin=subprocess.PIPE,
        env=os.environ | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"},
    )
    made = [build_pg([{"GPU": 1}], "STRICT_PACK", name) for name in ("test-a", "test-b", "test-gone", "stays")]
    remove_pg(made[2])
    actor = ray.remote(Sleeper).options(
        num_cpus=0, num_gpus=1, scheduling_strategy=PlacementGroupSchedulingStrategy(made[0])
    )
    handle = actor.remote()
    assert ray.get(handle.is_there.remote(), timeout=60)
    wait_until(lambda: "test-kept" in names_in_table())
    assert remove_named_pgs_with_prefix("test-") == 2
    assert remove_named_pgs_with_prefix("test-") == 0
    assert names_in_table() == ["stays", "test-kept"]
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(handle.is_there.remote(), timeout=60)
    remove_pg(made[3])
    other.communicate(b"end\n", timeout=60)
    assert other.returncode == 0


def test_a_group_that_ray_knows_nothing_of_is_lost():
    from ray import PlacementGroupID
    from ray.util.placement_group import PlacementGroup

    unknown = PlacementGroup(PlacementGroupID.from_random())
    assert (lost_bundles(unknown), bundle_node_ids(unknown)) == ([0], [])
    assert remove_pg(unknown)


def test_an_empty_prefix_would_be_everybodys_and_is_refused():
    with pytest.raises(ConfigError, match=r"^prefix='': would remove"):
        remove_named_pgs_with_prefix("")


def names_in_table():
    from ray.util.placement_group import placement_group_table

    return sorted(entry["name"] for entry in placement_group_table().values() if entry["state"] == "CREATED")
