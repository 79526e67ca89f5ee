import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator.errors import ConfigError, ExecutorError
from curator.placement import ReplicaBundleSpec, plan_replica_bundle_shape
from curator.placement.bundles import sizes_in_words

VARIABLE = "CURATOR_IGNORE_RAY_HEAD_NODE"


def topology(*gpus, head=None):
    return [
        {"node_id": f"n{number}", "num_gpus": count, "is_head": number == head} for number, count in enumerate(gpus)
    ]


@pytest.mark.parametrize(
    ("gpus", "tp_size", "nnodes", "per_node"),
    [
        pytest.param([8], 4, 1, 4, id="one node is large enough"),
        pytest.param([5, 8], 4, 1, 4, id="one node, although two would do"),
        pytest.param([4, 4], 8, 2, 4, id="two halves"),
        pytest.param([4, 4, 4], 12, 3, 4, id="three thirds"),
        pytest.param([4, 4, 4], 6, 2, 3, id="two nodes before three"),
        pytest.param([3, 3, 3, 3], 8, 4, 2, id="no thirds of eight"),
        pytest.param([4, 4, 2, 2], 8, 2, 4, id="mixed nodes"),
        pytest.param([1, 1], 2, 2, 1, id="a GPU each"),
        pytest.param([1], 1, 1, 1, id="the smallest"),
    ],
)
def test_one_node_is_preferred_then_the_fewest_that_share_equally(gpus, tp_size, nnodes, per_node):
    spec = plan_replica_bundle_shape(tp_size, topology=topology(*gpus))
    assert spec == ReplicaBundleSpec(
        bundles=[{"CPU": 1, "GPU": per_node}] * nnodes,
        strategy="STRICT_PACK" if nnodes == 1 else "STRICT_SPREAD",
        nnodes=nnodes,
        per_node_gpus=per_node,
    )
    assert spec.bundle_label_selector is None
    assert (spec.is_multi_node, spec.total_gpus) == (nnodes > 1, tp_size)


@pytest.mark.parametrize(
    ("gpus", "tp_size", "sizes"), [([1, 3], 4, "1 to 3"), ([2, 2], 6, "1, 2, 4"), ([4], 5, "1 to 4")]
)
def test_without_an_even_split_the_sizes_that_would_fit_are_named(gpus, tp_size, sizes):
    with pytest.raises(
        ExecutorError, match=rf"Cannot place TP={tp_size}: need an even split .* fit: {sizes}\.$"
    ) as error:
        plan_replica_bundle_shape(tp_size, topology=topology(*gpus))
    assert isinstance(error.value, RuntimeError)
    assert f"found across {len(gpus)} eligible node(s) with" in str(error.value)


@pytest.mark.parametrize("nodes", [[], topology(0, 0)])
def test_a_cluster_without_gpus_is_told_from_a_small_one(nodes):
    with pytest.raises(ExecutorError, match=r"No GPU nodes found in the Ray cluster\. .*'device: cpu'"):
        plan_replica_bundle_shape(1, topology=nodes)


@pytest.mark.parametrize("tp_size", [0, -1, True, 2.0, "4", None])
def test_a_size_below_one_or_no_whole_number_is_refused(tp_size):
    with pytest.raises(ValueError, match=r"^tp_size=.*must be >= 1") as error:
        plan_replica_bundle_shape(tp_size, topology=topology(8))
    assert isinstance(error.value, ConfigError)


def test_the_head_is_left_out_when_the_variable_says_so_and_each_bundle_asks_for_a_worker(monkeypatch):
    nodes = topology(16, 4, 4, head=0)
    assert plan_replica_bundle_shape(8, topology=nodes).nnodes == 1
    monkeypatch.setenv(VARIABLE, "1")
    spec = plan_replica_bundle_shape(8, topology=nodes)
    assert (spec.nnodes, spec.per_node_gpus) == (2, 4)
    assert spec.bundle_label_selector == [{"ray.io/node-type": "worker"}] * 2
    assert plan_replica_bundle_shape(4, topology=nodes).bundle_label_selector == [{"ray.io/node-type": "worker"}]


def test_a_head_with_the_only_gpus_that_is_left_out_leaves_none(monkeypatch):
    monkeypatch.setenv(VARIABLE, "1")
    with pytest.raises(ExecutorError, match=r"^CURATOR_IGNORE_RAY_HEAD_NODE is set but no non-head GPU nodes"):
        plan_replica_bundle_shape(1, topology=topology(8, head=0))


def test_without_a_session_and_without_a_topology_the_error_says_so():
    with pytest.raises(ExecutorError, match="no Ray session is up"):
        plan_replica_bundle_shape(1)


def test_a_spec_cannot_be_changed_and_survives_a_process_boundary():
    spec = plan_replica_bundle_shape(8, topology=topology(4, 4))
    with pytest.raises(AttributeError):
        spec.nnodes = 3
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert spec.bundles[0] is not spec.bundles[1]


@given(st.lists(st.integers(0, 8), max_size=6), st.integers(1, 24), st.randoms())
@settings(max_examples=100)
def test_any_answer_is_an_equal_split_on_the_fewest_nodes_whatever_their_order(gpus, tp_size, random):
    possible = [
        nnodes
        for nnodes in range(1, len(gpus) + 1)
        if tp_size % nnodes == 0 and sum(count >= tp_size // nnodes for count in gpus) >= nnodes
    ]
    shuffled = random.sample(gpus, len(gpus))
    if not possible:
        with pytest.raises(ExecutorError):
            plan_replica_bundle_shape(tp_size, topology=topology(*gpus))
        return
    spec = plan_replica_bundle_shape(tp_size, topology=topology(*gpus))
    assert spec.nnodes == possible[0]
    assert [bundle["GPU"] for bundle in spec.bundles] == [tp_size // spec.nnodes] * spec.nnodes
    assert plan_replica_bundle_shape(tp_size, topology=topology(*shuffled)) == spec


@pytest.mark.parametrize(
    ("sizes", "words"), [([], "none"), ([4], "4"), ([1, 2], "1, 2"), ([1, 2, 3, 5, 7, 8, 9], "1 to 3, 5, 7 to 9")]
)
def test_sizes_are_said_as_a_person_would(sizes, words):
    assert sizes_in_words(sizes) == words
