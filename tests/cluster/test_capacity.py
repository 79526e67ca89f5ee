import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curator import ConfigError, Resources
from curator.cluster.capacity import (
    UNLIMITED,
    NodeOffer,
    actor_options,
    exclude_head,
    explain_misfit,
    offers_from_nodes,
    pack,
    workers_that_fit,
)

HUNDREDTHS = st.integers(0, 800).map(lambda hundredths: hundredths / 100)
GPU_AMOUNTS = st.one_of(st.integers(0, 100).map(lambda hundredths: hundredths / 100), st.integers(0, 4))
SHAPES = st.builds(
    Resources,
    cpus=HUNDREDTHS,
    gpus=GPU_AMOUNTS,
    memory_gb=st.integers(0, 8),
    custom=st.dictionaries(st.just("slots"), HUNDREDTHS),
    labels=st.dictionaries(st.just("zone"), st.sampled_from(["a", "!a", "in(a,b)", "!in(a,b)"])),
)
OFFERS = st.lists(
    st.builds(
        NodeOffer,
        node_id=st.integers(0, 9).map(lambda number: f"n{number}"),
        cpus=HUNDREDTHS,
        gpus=st.integers(0, 4),
        memory=st.integers(0, 32).map(lambda gb: gb * 1e9),
        custom=st.dictionaries(st.just("slots"), HUNDREDTHS),
        labels=st.dictionaries(st.just("zone"), st.sampled_from(["a", "b", "c"])),
    ),
    max_size=4,
    unique_by=lambda offer: offer.node_id,
)


def node(name, resources, labels=None, *, alive=True):
    return {"NodeID": name, "Alive": alive, "Resources": resources, "Labels": labels or {}}


def exact(amount):
    """The decimal that was written down."""
    return Fraction(str(amount))


def used(placed):
    """What workers occupy: shapes with how many of each."""
    totals = {"CPU": Fraction(0), "GPU": Fraction(0), "memory": Fraction(0), "slots": Fraction(0)}
    for shape, count in placed:
        totals["CPU"] += exact(shape.cpus) * count
        totals["GPU"] += exact(shape.gpus) * count
        totals["memory"] += exact(shape.memory_gb) * 10**9 * count
        totals["slots"] += exact(shape.custom.get("slots", 0)) * count
    return totals


def is_within(totals, offer):
    amounts = offer.amounts()
    return all(total <= exact(amounts.get(kind, 0)) for kind, total in totals.items())


@pytest.mark.parametrize(
    ("need", "offered", "count"),
    [(0.1, 1.0, 10), (0.4, 8, 20), (0.1, 0.3, 3), (1 / 3, 1, 3), (1 / 6, 1, 6), (0.7, 7, 10)],
)
def test_fractions_are_exact(need, offered, count):
    assert workers_that_fit(Resources(cpus=need), [NodeOffer(node_id="a", cpus=offered)]) == {"a": count}


@pytest.mark.parametrize(
    ("need", "offered", "count"),
    [(0.6, 2, 2), (0.5, 2, 4), (0.3, 2, 6), (0.34, 2, 4), (2, 3, 1), (1, 1.5, 1), (0.4, 1.5, 3)],
)
def test_a_part_of_a_gpu_lies_on_one_gpu(need, offered, count):
    assert workers_that_fit(Resources(cpus=0, gpus=need), [NodeOffer(node_id="a", gpus=offered)]) == {"a": count}


def test_workers_are_counted_node_by_node():
    offers = [NodeOffer(node_id="a", gpus=1.5), NodeOffer(node_id="b", gpus=1.5)]
    assert workers_that_fit(Resources(cpus=0, gpus=1), offers) == {"a": 1, "b": 1}


def test_a_worker_that_needs_nothing_fits_without_limit_but_only_where_its_labels_lead():
    offers = [NodeOffer(node_id="a", labels={"zone": "z1"}), NodeOffer(node_id="b")]
    assert workers_that_fit(Resources(cpus=0, labels={"zone": "z1"}), offers) == {"a": UNLIMITED, "b": 0}


@given(SHAPES, OFFERS)
def test_what_fits_is_within_the_offer_and_one_more_would_not_be(shape, offers):
    for offer in offers:
        count = workers_that_fit(shape, [offer])[offer.node_id]
        if count == UNLIMITED:
            assert not any(used([(shape, 1)]).values())
            continue
        assert is_within(used([(shape, count)]), offer)
        if shape.gpus == 0 and (count or not shape.labels):
            assert not is_within(used([(shape, count + 1)]), offer)


@given(SHAPES, OFFERS, HUNDREDTHS)
def test_a_larger_node_never_holds_fewer_and_a_larger_worker_never_more(shape, offers, more):
    larger_worker = Resources(
        cpus=shape.cpus + more, gpus=shape.gpus, memory_gb=shape.memory_gb, custom=shape.custom, labels=shape.labels
    )
    for offer in offers:
        larger_node = NodeOffer(
            node_id=offer.node_id,
            cpus=offer.cpus + more,
            gpus=offer.gpus + int(more),
            memory=offer.memory,
            custom=offer.custom,
            labels=offer.labels,
        )
        count = workers_that_fit(shape, [offer])[offer.node_id]
        assert workers_that_fit(shape, [larger_node])[offer.node_id] >= count
        assert workers_that_fit(larger_worker, [offer])[offer.node_id] <= count


@given(st.lists(st.tuples(SHAPES, st.integers(0, 12)), max_size=4), OFFERS)
def test_packing_never_takes_more_of_a_node_than_it_offers(demands, offers):
    packing = pack(demands, offers)
    assert packing == pack(demands, offers)
    for offer in offers:
        placed = [
            (shape, placed.get(offer.node_id, 0)) for (shape, _), placed in zip(demands, packing.placement, strict=True)
        ]
        assert is_within(used(placed), offer)
        whole = sum(exact(shape.gpus) * count for shape, count in placed if shape.gpus >= 1)
        over_half = sum(count for shape, count in placed if 0.5 < shape.gpus < 1)
        assert whole + over_half <= offer.gpus
    for (_, wanted), count, placed in zip(demands, packing.counts, packing.placement, strict=True):
        assert count == sum(placed.values()) <= wanted


@given(SHAPES, OFFERS)
def test_packing_one_shape_places_all_that_fit(shape, offers):
    fitting = sum(workers_that_fit(shape, offers).values())
    if fitting <= 2000:
        assert pack([(shape, 2001)], offers).counts == (fitting,)


@given(st.lists(st.tuples(SHAPES, st.integers(1, 12)), min_size=1, max_size=3), OFFERS)
def test_nothing_more_fits_beside_a_packing_that_left_somebody_wanting(demands, offers):
    counts = pack(demands, offers).counts
    for position, (_, wanted) in enumerate(demands):
        if counts[position] < wanted:
            more = [(shape, want + (number == position)) for number, (shape, want) in enumerate(demands)]
            assert pack(more, offers).counts == counts


def test_demands_take_turns_so_that_none_is_starved():
    assert pack([(Resources(cpus=1), 100), (Resources(cpus=1), 3)], [NodeOffer(node_id="a", cpus=4)]).counts == (2, 2)


def test_workers_without_gpus_stay_away_from_gpu_nodes_while_there_is_room():
    offers = [NodeOffer(node_id="a-gpu", cpus=2, gpus=2), NodeOffer(node_id="b-cpu", cpus=2)]
    packing = pack([(Resources(cpus=1), 2), (Resources(cpus=1, gpus=1), 2)], offers)
    assert packing.placement == ({"b-cpu": 2}, {"a-gpu": 2})


@pytest.mark.parametrize(
    ("selector", "hosts"),
    [("z1", ["a"]), ("!z1", ["b", "c"]), ("in(z1,z2)", ["a", "b"]), ("!in(z1,z2)", ["c"])],
)
def test_labels_decide_which_nodes_may_be_used(selector, hosts):
    offers = [
        NodeOffer(node_id="a", cpus=1, labels={"zone": "z1"}),
        NodeOffer(node_id="b", cpus=1, labels={"zone": "z2"}),
        NodeOffer(node_id="c", cpus=1),
    ]
    fitting = workers_that_fit(Resources(labels={"zone": selector}), offers)
    assert [node_id for node_id, count in fitting.items() if count] == hosts


def test_offers_are_made_of_alive_nodes_in_the_order_of_their_ids():
    nodes = [
        node("c", {"CPU": 4.0, "node:__internal_head__": 1.0}),
        node("b", {"CPU": 2.0, "GPU": 1.0, "memory": 5e9, "object_store_memory": 1e9, "slots": 3.0}, {"zone": "z"}),
        node("a", {"CPU": 8.0}, alive=False),
    ]
    first, second = offers_from_nodes(nodes)
    assert (first.node_id, first.cpus, first.gpus, first.memory) == ("b", 2.0, 1.0, 5e9)
    assert (dict(first.custom), dict(first.labels)) == ({"slots": 3.0}, {"zone": "z"})
    assert second.is_head
    assert [offer.node_id for offer in offers_from_nodes(nodes, ignore_head_node=True)] == ["b"]


def test_offers_of_what_is_free_count_the_rest_as_nothing():
    (offer,) = offers_from_nodes([node("a", {"CPU": 4.0, "GPU": 2.0})], available={"a": {"CPU": 1.5}})
    assert (offer.cpus, offer.gpus) == (1.5, 0.0)


def test_a_misfit_names_stage_need_offer_and_gap_of_the_nearest_node():
    offers = [
        NodeOffer(node_id="a", cpus=4, memory=8e9, labels={"zone": "z1"}),
        NodeOffer(node_id="b", cpus=2, gpus=1, memory=8e9, labels={"zone": "z1"}),
    ]
    needed = Resources(cpus=3, gpus=2, memory_gb=4, labels={"zone": "z1"})
    assert explain_misfit("embed", needed, offers) == (
        "embed: no node can hold a worker, which needs 3 CPU, 2 GPU, 4 GB memory, zone=z1. "
        "The best of 2 offers 4 CPU, 0 GPU, 8 GB memory, zone=z1: 2 GPU missing."
    )
    assert explain_misfit("embed", Resources(labels={"zone": "z2"}), offers).endswith("zone=z1: zone=z2 missing.")
    assert explain_misfit("embed", needed, []).endswith("There is no node that may be used.")


@given(SHAPES, OFFERS)
def test_a_misfit_always_names_something_missing_when_nothing_fits(shape, offers):
    if offers and not any(workers_that_fit(shape, offers).values()):
        assert ": nothing missing" not in explain_misfit("stage", shape, offers)


def test_options_reserve_exactly_what_is_counted():
    options = actor_options(Resources(cpus=1 / 3, gpus=2, memory_gb=1.1, custom={"slots": 0.5}, labels={"a": "!b"}))
    assert options == {
        "num_cpus": 0.3333,
        "num_gpus": 2,
        "memory": 1_100_000_000,
        "resources": {"slots": 0.5},
        "label_selector": {"a": "!b"},
    }
    assert actor_options(Resources(cpus=0)) == {"num_cpus": 0, "num_gpus": 0}


@pytest.mark.parametrize(
    ("asked", "selector"),
    [
        ({}, "!in(h1,h2)"),
        ({"ray.io/node-id": "!w1"}, "!in(h1,h2,w1)"),
        ({"ray.io/node-id": "!in(w1,w2)"}, "!in(h1,h2,w1,w2)"),
        ({"ray.io/node-id": "w1"}, "in(w1)"),
        ({"ray.io/node-id": "in(h1,w1)"}, "in(w1)"),
    ],
)
def test_excluding_the_head_keeps_what_the_user_asked_for(asked, selector):
    options = {"num_cpus": 1, "label_selector": {"zone": "z1", **asked}}
    before = {"num_cpus": 1, "label_selector": {"zone": "z1", **asked}}
    assert exclude_head(options, ["h2", "h1"]) == {
        "num_cpus": 1,
        "label_selector": {"zone": "z1", "ray.io/node-id": selector},
    }
    assert options == before
    assert exclude_head(options, []) == before


def test_asking_for_the_head_node_and_excluding_it_is_refused():
    with pytest.raises(ConfigError, match=r"node-id='h1': asks for the head node, which executor.ignore_head_node"):
        exclude_head({"label_selector": {"ray.io/node-id": "h1"}}, ["h1"])


def test_planning_does_not_import_ray():
    script = "import sys, curator.cluster, curator.cluster.capacity, curator.stages.spec; print('ray' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.strip() == "False"
