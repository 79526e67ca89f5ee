import json

from curator.cluster import NodeOffer
from curator.placement import ReplicaRequest, plan_replicas, render_replicas, replicas_as_json
from curator.placement.table import NOT_ASKED

REQUESTS = [
    ReplicaRequest(name="judge", tp_size=4, pp_size=2, num_cpus=8),
    ReplicaRequest(name="tiny", count=2, gpus=0, num_cpus=0.5, memory_gb=2),
]
NODES = [NodeOffer(node_id=letter * 56, cpus=8, gpus=4, memory=8e9) for letter in "ab"]


def test_a_plan_is_shown_replica_by_replica_with_its_bundles_and_nodes():
    assert render_replicas(REQUESTS, plan_replicas(REQUESTS, NODES)) == [
        "replica  size       bundles                            nodes",
        "judge-0  TP=4 PP=2  2 x (4 CPU, 4 GPU), STRICT_SPREAD  aaaaaaaaaaaa, bbbbbbbbbbbb",
        "tiny-0   CPU        0.5 CPU, 2 GB memory, STRICT_PACK  aaaaaaaaaaaa",
        "tiny-1   CPU        0.5 CPU, 2 GB memory, STRICT_PACK  aaaaaaaaaaaa",
    ]


def test_without_a_plan_it_is_said_what_is_asked_for_and_that_nobody_was_asked():
    assert render_replicas(REQUESTS) == [
        "replica  size       bundles                     nodes",
        f"judge    TP=4 PP=2  1 x (8 CPU, 8 GPU)          {NOT_ASKED}",
        f"tiny     CPU        2 x (0.5 CPU, 2 GB memory)  {NOT_ASKED}",
    ]


def test_a_plan_as_values_has_every_bundle_and_the_whole_id_of_every_node():
    first, second = json.loads(json.dumps(replicas_as_json(REQUESTS, plan_replicas(REQUESTS, NODES))))
    assert first == {
        "name": "judge",
        "count": 1,
        "tp_size": 4,
        "pp_size": 2,
        "gpus": 8,
        "placements": [
            {
                "name": "judge-0",
                "strategy": "STRICT_SPREAD",
                "bundles": [{"CPU": 4, "GPU": 4}] * 2,
                "nodes": ["a" * 56, "b" * 56],
            }
        ],
    }
    assert [placement["name"] for placement in second["placements"]] == ["tiny-0", "tiny-1"]
    assert [each["placements"] for each in replicas_as_json(REQUESTS)] == [None, None]


def test_nothing_asked_for_is_nothing_shown():
    assert render_replicas([]) == []
    assert replicas_as_json([]) == []
