import re
from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curator import ConfigError
from curator.cluster import NodeOffer
from curator.errors import ExecutorError
from curator.placement import ReplicaRequest, plan_replicas
from curator.placement import search as search_module

VARIABLE = "CURATOR_IGNORE_RAY_HEAD_NODE"


def node(name, gpus=0, cpus=64, **more):
    return NodeOffer(node_id=name, gpus=gpus, cpus=cpus, **more)


def ask(name, **more):
    return ReplicaRequest(name=name, **more)


def where(plan):
    return {each.name: each.node_ids for each in plan.placements}


NODES = st.lists(
    st.builds(
        NodeOffer,
        node_id=st.integers(0, 9).map(lambda number: f"n{number}"),
        cpus=st.integers(0, 4),
        gpus=st.integers(0, 4),
        memory=st.sampled_from([2e9, 8e9]),
        labels=st.dictionaries(st.just("zone"), st.sampled_from(["a", "b"])),
        custom=st.dictionaries(st.just("slots"), st.sampled_from([0.5, 2.0])),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda offer: offer.node_id,
)
ON_GPUS = st.builds(
    ReplicaRequest,
    name=st.sampled_from("abcd"),
    count=st.integers(1, 2),
    tp_size=st.integers(1, 4),
    pp_size=st.sampled_from([1, 1, 1, 2]),
    num_cpus=st.sampled_from([None, 0, 2]),
    memory_gb=st.sampled_from([0, 0, 3]),
    labels=st.one_of(st.just({}), st.just({}), st.sampled_from([{"zone": "a"}, {"zone": "!a"}])),
)
ON_CPUS = st.builds(
    ReplicaRequest,
    name=st.sampled_from("efg"),
    count=st.integers(1, 2),
    gpus=st.just(0),
    num_cpus=st.sampled_from([0.5, 1, 3]),
    resources=st.sampled_from([{}, {}, {"slots": 0.5}]),
)
REQUESTS = st.lists(st.one_of(ON_GPUS, ON_CPUS), min_size=1, max_size=3, unique_by=lambda request: request.name)


def nnodes_allowed(request):
    """The numbers of nodes that an equal split may have, said in another way than the planner does."""
    if request.total_gpus == 0:
        return [1]
    gpus = request.total_gpus
    return [
        nnodes
        for nnodes in range(1, gpus + 1)
        if gpus % nnodes == 0 and (gpus // nnodes % request.tp_size == 0 or request.tp_size % (gpus // nnodes) == 0)
    ]


def part_of(request, nnodes):
    def part(amount):
        # Ray counts in ten-thousandths, and the parts are the whole together.
        return -(-round(amount / nnodes * 10_000, 6) // 1) / 10_000

    parts = {"GPU": request.total_gpus / nnodes, "CPU": 1 if request.num_cpus is None else part(request.num_cpus)}
    parts["memory"] = round(part(request.memory_gb) * 1e9)
    return parts | {kind: part(amount) for kind, amount in request.resources.items()}


def may_be_on(request, offer):
    zone = offer.labels.get("zone")
    return {None: True, "a": zone == "a", "!a": zone != "a"}[request.labels.get("zone")]


def fewest_nodes(requests, offers):
    """The fewest nodes that all replicas can span together, by trying everything; ``None`` if they do not fit."""
    replicas = [request for request in requests for _ in range(request.count)]
    best = None

    def place(position, free, spanned):
        nonlocal best
        if best is not None and spanned >= best:
            return
        if position == len(replicas):
            best = spanned
            return
        request = replicas[position]
        for nnodes in nnodes_allowed(request):
            part = part_of(request, nnodes)
            for chosen in combinations(offers, nnodes):
                if all(
                    may_be_on(request, offer)
                    and all(free[offer.node_id].get(kind, 0) >= amount - 1e-9 for kind, amount in part.items())
                    for offer in chosen
                ):
                    taken = {
                        offer.node_id: {
                            kind: amount - part.get(kind, 0) for kind, amount in free[offer.node_id].items()
                        }
                        for offer in chosen
                    }
                    place(position + 1, free | taken, spanned + nnodes)

    place(0, {offer.node_id: offer.amounts() for offer in offers}, 0)
    return best


@given(REQUESTS, NODES)
@settings(max_examples=100, deadline=None)
def test_a_placement_is_found_whenever_there_is_one_and_spans_the_fewest_nodes(requests, offers):
    plan = plan_replicas(requests, offers)
    fewest = fewest_nodes(requests, offers)
    assert bool(plan.problems) == (fewest is None)
    if fewest is not None:
        assert sum(each.spec.nnodes for each in plan.placements) == fewest
        assert [(each.request.name, each.index) for each in plan.placements] == [
            (request.name, index) for request in requests for index in range(request.count)
        ]


@given(REQUESTS, NODES)
@settings(max_examples=100, deadline=None)
def test_no_node_gives_more_than_it_has_and_all_parts_of_a_replica_are_equal(requests, offers):
    plan = plan_replicas(requests, offers)
    used = {offer.node_id: dict.fromkeys(offer.amounts(), 0.0) for offer in offers}
    for placement in plan.placements:
        spec, request = placement.spec, placement.request
        assert len(set(placement.node_ids)) == len(spec.bundles) == spec.nnodes
        assert all(bundle == spec.bundles[0] for bundle in spec.bundles)
        assert spec.total_gpus == request.total_gpus
        assert spec.nnodes in nnodes_allowed(request)
        assert spec.bundle_label_selector == [{"ray.io/node-id": node_id} for node_id in placement.node_ids]
        assert spec.strategy == ("STRICT_SPREAD" if spec.is_multi_node else "STRICT_PACK")
        for node_id, bundle in zip(placement.node_ids, spec.bundles, strict=True):
            assert may_be_on(request, next(offer for offer in offers if offer.node_id == node_id))
            assert bundle == {kind: amount for kind, amount in part_of(request, spec.nnodes).items() if amount}
            for kind, amount in bundle.items():
                used[node_id][kind] = used[node_id].get(kind, 0) + amount
    for offer in offers:
        assert all(amount <= offer.amounts().get(kind, 0) + 1e-9 for kind, amount in used[offer.node_id].items())


@given(REQUESTS, NODES, st.randoms())
@settings(max_examples=50, deadline=None)
def test_the_order_of_the_nodes_and_of_the_requests_changes_nothing(requests, offers, random):
    plan = plan_replicas(requests, offers)
    assert plan_replicas(requests, random.sample(offers, len(offers))) == plan
    assert where(plan_replicas(random.sample(requests, len(requests)), offers)) == where(plan)


@given(REQUESTS, NODES)
@settings(max_examples=50, deadline=None)
def test_what_found_no_room_is_named_and_counts_what_did(requests, offers):
    plan = plan_replicas(requests, offers)
    counts = {request.name: sum(each.request == request for each in plan.placements) for request in requests}
    short = [request for request in requests if counts[request.name] < request.count]
    assert [problem.split(":")[0] for problem in plan.problems] == [f"replicas.{request.name}" for request in short]


def sizes_said(problem):
    """The sizes of a sentence such as ``... that would fit: 1 to 4, 6.``; ``None`` if it names none."""
    found = re.search(r"would fit: ([\d, to]+|none)\.", problem)
    if found is None:
        return None
    runs = [] if found[1] == "none" else [list(map(int, run.split(" to "))) for run in found[1].split(", ")]
    return {size for run in runs for size in range(run[0], run[-1] + 1)}


@given(st.integers(1, 20), st.sampled_from([1, 1, 2]), NODES)
@settings(max_examples=100, deadline=None)
def test_the_sizes_that_are_said_to_fit_are_those_that_do_and_no_others(tp_size, pp_size, offers):
    def problems_of(size, **more):
        return plan_replicas([ask("j", tp_size=size, pp_size=pp_size, **more)], offers).problems

    fitting = {size for size in range(1, 13) if not problems_of(size)}
    problems = problems_of(tp_size)
    assert bool(problems) == (tp_size not in fitting)
    is_for_want_of_gpus = any(offer.gpus for offer in offers) and bool(problems_of(tp_size, num_cpus=0))
    for problem in problems:
        assert sizes_said(problem) == (fitting if is_for_want_of_gpus else None)


def tight(seed):
    """A small cluster, and replicas that fill it or nearly so."""
    random = Random(seed)
    nodes = [
        node(name, random.randint(1, 6), random.choice([2, 3, 64]), labels={"zone": random.choice("aab")})
        for name in "pqrs"[: random.randint(2, 4)]
    ]
    room = sum(offer.gpus for offer in nodes) - random.choice([0, 0, 1])
    requests = []
    while room > 0 and len(requests) < 6:
        tp_size = random.choice([size for size in (1, 2, 2, 3, 4, 4, 5, 6) if size <= room])
        labels = random.choice([{}, {}, {"zone": "a"}, {"zone": "!a"}])
        requests.append(ask(f"m{len(requests)}", tp_size=tp_size, num_cpus=random.choice([0, 0, 1]), labels=labels))
        room -= tp_size
    return requests, nodes


def test_clusters_that_are_filled_to_the_last_gpu_are_filled_as_an_exhaustive_search_does():
    verdicts = []
    for seed in range(300):
        requests, nodes = tight(seed)
        plan = plan_replicas(requests, nodes)
        found = None if plan.problems else sum(each.spec.nnodes for each in plan.placements)
        assert found == fewest_nodes(requests, nodes), (seed, requests, nodes)
        verdicts.append(found and found > len(requests))
    assert min(verdicts.count(verdict) for verdict in (None, True, False)) > 10


def test_large_replicas_are_not_blocked_by_small_ones_that_came_first():
    nodes = [node("a", 4), node("b", 2)]
    plan = plan_replicas([ask("small", count=2), ask("large", tp_size=4)], nodes).check()
    assert where(plan) == {"small-0": ("b",), "small-1": ("b",), "large-0": ("a",)}


def test_a_placement_is_found_where_largest_first_into_the_tightest_node_fails():
    nodes = [node("a", 6), node("b", 4, cpus=3)]
    requests = [ask("x", tp_size=3, num_cpus=3), ask("y", tp_size=3, num_cpus=1), ask("z", tp_size=2, num_cpus=2)]
    plan = plan_replicas(requests, nodes).check()
    assert sum(each.spec.nnodes for each in plan.placements) == 3


def test_a_replica_that_finds_no_whole_node_is_cut_into_equal_parts():
    plan = plan_replicas(
        [ask("judge", tp_size=4, num_cpus=6, memory_gb=8)], [node("a", 3, memory=8e9), node("b", 2, memory=8e9)]
    )
    (placement,) = plan.check().placements
    assert placement.node_ids == ("b", "a")
    assert placement.spec.bundles == [{"CPU": 3, "GPU": 2, "memory": 4_000_000_000}] * 2
    assert placement.spec.strategy == "STRICT_SPREAD"


def test_pipeline_stages_are_not_cut_unevenly():
    """6 GPUs a node would be an even split of 3 x 4 GPUs, but would cut the second stage of 4 into 2 and 2."""
    plan = plan_replicas([ask("big", tp_size=4, pp_size=3)], [node("a", 6), node("b", 6)])
    assert plan.problems
    (placement,) = plan_replicas([ask("big", tp_size=4, pp_size=3)], [node(name, 4) for name in "abc"]).placements
    assert (placement.spec.nnodes, placement.spec.per_node_gpus) == (3, 4)


def test_a_replica_on_cpus_has_one_bundle_without_a_gpu_and_stays_away_from_gpus():
    nodes = [node("a", 8), node("b", 0, cpus=4)]
    plan = plan_replicas([ask("tiny", count=2, gpus=0, num_cpus=2)], nodes).check()
    assert where(plan) == {"tiny-0": ("b",), "tiny-1": ("b",)}
    assert plan.placements[0].spec.bundles == [{"CPU": 2}]
    assert (plan.placements[0].spec.total_gpus, plan.placements[0].spec.is_multi_node) == (0, False)


def test_what_is_free_counts_and_not_what_a_node_once_had():
    plan = plan_replicas([ask("judge", tp_size=4)], [node("a", 3)])
    assert plan.problems == (
        "replicas.judge: Cannot place TP=4: need an even split across nodes but no valid combination found across 1 "
        "eligible node(s) with 3 GPUs. Sizes that would fit: 1 to 3.",
    )


@pytest.mark.parametrize(
    ("request_", "nodes", "message"),
    [
        pytest.param(ask("j"), [node("a"), node("b")], "No GPU nodes found: none of 2 nodes", id="no GPU"),
        pytest.param(ask("j"), [], "No GPU nodes found: none of 0 nodes", id="no node"),
        pytest.param(ask("j", tp_size=6), [node("a", 2), node("b", 2)], r"TP=6: .* fit: 1, 2, 4\.", id="uneven"),
        pytest.param(ask("j", tp_size=64), [node("a", 8)], r"TP=64: .* fit: 1 to 8\.", id="larger than the cluster"),
        pytest.param(ask("j", tp_size=2, pp_size=3), [node("a", 4)], r"TP=2 x PP=3: .* fit: 1\.", id="pipeline"),
        pytest.param(
            ask("j", count=3, tp_size=3), [node("a", 8)], r"2 of 3 replicas fit .*; 2 GPUs .*: 1, 2\.", id="crowd"
        ),
        pytest.param(ask("j", num_cpus=9), [node("a", 4, cpus=8)], "needs 9 CPU, 1 GPU.*: 1 CPU missing", id="CPUs"),
        pytest.param(
            ask("j", memory_gb=9), [node("a", 4, memory=8e9)], "9 GB memory.*: 1 GB memory missing", id="memory"
        ),
        pytest.param(ask("j", resources={"slots": 2}), [node("a", 4)], ": 2 slots missing", id="custom resource"),
        pytest.param(ask("j", labels={"zone": "z"}), [node("a", 4)], ": zone=z missing", id="label"),
        pytest.param(
            ask("j", tp_size=8, labels={"zone": "z"}),
            [node("a", 4, labels={"zone": "z"}), node("b", 4)],
            "2 nodes must hold an equal part .*; 1 of 2 can",
            id="a label of both nodes",
        ),
        pytest.param(
            ask("j", count=3, memory_gb=3),
            [node("a", 8, memory=8e9)],
            "2 of 3 .*: 1 GB memory missing",
            id="crowded memory",
        ),
        pytest.param(ask("j", gpus=0, num_cpus=9), [node("a", cpus=8)], "needs 9 CPU.*: 1 CPU missing", id="CPU only"),
        pytest.param(
            ask("j", gpus=0, num_cpus=5, count=2),
            [node("a", cpus=8)],
            "1 of 2 .*: no node can hold another one, .*: 2 CPU missing",
            id="full",
        ),
    ],
)
def test_what_does_not_fit_is_said_with_what_is_missing_or_would_fit(request_, nodes, message):
    with pytest.raises(ExecutorError, match=rf"^replicas\.j: .*{message}"):
        plan_replicas([request_], nodes).check()


def test_the_head_is_left_out_when_the_variable_or_the_caller_says_so(monkeypatch):
    nodes = [node("a", 8, is_head=True), node("b", 4), node("c", 4)]
    request = ask("judge", tp_size=8)
    assert where(plan_replicas([request], nodes)) == {"judge-0": ("a",)}
    assert where(plan_replicas([request], nodes, ignore_head_node=True)) == {"judge-0": ("b", "c")}
    monkeypatch.setenv(VARIABLE, "1")
    assert where(plan_replicas([request], nodes)) == {"judge-0": ("b", "c")}
    assert where(plan_replicas([request], nodes, ignore_head_node=False)) == {"judge-0": ("a",)}


@pytest.mark.parametrize("request_", [ask("j", tp_size=2), ask("j", gpus=0)])
def test_a_head_that_is_all_there_is_and_left_out_is_named(request_):
    (problem,) = plan_replicas([request_], [node("a", 8, is_head=True)], ignore_head_node=True).problems
    assert "head" in problem
    assert problem.startswith("replicas.j: ")


def test_two_sets_of_replicas_of_one_name_are_refused():
    with pytest.raises(ConfigError, match=r"^replicas\.judge: two sets of replicas have this name"):
        plan_replicas([ask("judge"), ask("judge", tp_size=2)], [node("a", 8)])


def test_nothing_asked_for_is_an_empty_plan():
    assert plan_replicas([], [node("a", 8)]).check().placements == ()


def test_a_large_cluster_is_filled_to_the_last_gpu():
    nodes = [node(f"n{number:03}", 8) for number in range(100)]
    requests = [ask("a", count=50, tp_size=8), ask("b", count=60, tp_size=4), ask("c", count=160)]
    plan = plan_replicas(requests, nodes).check()
    assert len(plan.placements) == 270
    assert plan_replicas(requests, nodes[::-1]) == plan


def test_a_search_without_end_is_cut_and_still_gives_what_the_largest_first_give(monkeypatch):
    monkeypatch.setattr(search_module, "LOOKS", 1)
    nodes = [node(f"n{number}", 4) for number in range(6)]
    plan = plan_replicas([ask("a", count=4, tp_size=3), ask("b", count=8)], nodes)
    assert len(plan.placements) == 12
    assert not plan.problems
    cramped = [node(f"n{number}", 4, cpus=4) for number in range(6)]
    (problem,) = plan_replicas([ask("a", count=4, num_cpus=3), ask("b", count=5, num_cpus=2)], cramped).problems
    assert problem.startswith("replicas.b: 4 of 5 replicas fit")
    assert problem.endswith("another order may place them all.")
