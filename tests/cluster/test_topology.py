import pytest
from loguru import logger

from curator import Resources
from curator.cluster import (
    WorkerAllocation,
    actor_options,
    alive_nodes,
    available_offers,
    check_total_gpu_capacity,
    exclude_head,
    get_available_cpu_gpu_resources,
    get_head_node_id,
    get_worker_metadata_and_node_id,
    is_head_node,
    offers_from_nodes,
    topology,
    workers_that_fit,
)
from curator.errors import ExecutorError

pytestmark = pytest.mark.ray


def test_the_head_is_found_among_the_alive_nodes_and_known_when_it_offers_nothing(joined, head_node):
    assert len(alive_nodes()) == 3
    assert get_head_node_id() == head_node
    assert [node["NodeID"] for node in alive_nodes() if is_head_node(node)] == [head_node]
    assert is_head_node({"NodeID": head_node, "Resources": {}})


def test_what_is_free_is_summed_without_what_workers_hold(joined, gpu_node):
    import ray

    assert get_available_cpu_gpu_resources() == (3, 2)
    assert get_available_cpu_gpu_resources(ignore_head_node=True) == (2, 2)
    hold = ray.remote(Hold).options(**actor_options(Resources(cpus=0.5, gpus=1)))
    actor = hold.remote()
    ray.get(actor.is_there.remote())
    try:
        wait_until(lambda: get_available_cpu_gpu_resources() == (2.5, 1))
        assert next(offer for offer in available_offers() if offer.node_id == gpu_node).gpus == 1
    finally:
        ray.kill(actor)


def test_ignoring_a_head_that_is_not_there_is_warned_of(joined, monkeypatch):
    lines = []
    sink = logger.add(lines.append, level="WARNING", format="{message}")
    monkeypatch.setattr(topology, "is_head_node", lambda node: False)
    available_offers(ignore_head_node=True)
    logger.remove(sink)
    assert ["no head node is found among 3 nodes" in line for line in lines] == [True]


def test_too_few_gpus_is_an_error_at_once_with_both_numbers(joined):
    check_total_gpu_capacity(2, ignore_head_node=True)
    with pytest.raises(ExecutorError, match=r"^4 GPUs are needed, but the cluster has 2 on 3 nodes\."):
        check_total_gpu_capacity(4)


def test_a_worker_knows_its_node_its_id_and_what_it_was_given(joined, gpu_node):
    import ray

    resources = Resources(cpus=0.5, gpus=2, custom={"slots": 1})
    node, worker = ray.get(ray.remote(ask).options(**actor_options(resources)).remote())
    assert node.node_id == gpu_node
    assert worker.worker_id
    assert worker.allocation == WorkerAllocation(0.5, 2.0, ("0", "1"), {"slots": 1.0})
    actor = ray.remote(Hold).options(num_cpus=0).remote()
    assert ray.get(actor.ask.remote())[1].worker_id == actor._actor_id.hex()
    ray.kill(actor)


def test_a_driver_has_no_allocation(joined):
    assert get_worker_metadata_and_node_id()[1].allocation is None


@pytest.mark.parametrize("selector", ["z1", "!z1", "in(z1,z2)", "!in(z1,z2)", "!nowhere"])
def test_ray_places_workers_where_a_selector_was_predicted_to_lead(joined, selector):
    import ray

    resources = Resources(cpus=0, labels={"zone": selector})
    predicted = {
        node_id for node_id, count in workers_that_fit(resources, offers_from_nodes(joined.nodes)).items() if count
    }
    options = {**actor_options(resources), "scheduling_strategy": "SPREAD"}
    used = set(ray.get([ray.remote(where).options(**options).remote() for _ in range(3)], timeout=30))
    assert used
    assert used <= predicted


def test_ray_places_no_worker_on_the_head_when_it_is_excluded(joined, head_node):
    import ray

    options = exclude_head(actor_options(Resources(cpus=0)), [head_node])
    spread = ray.remote(where).options(**options, scheduling_strategy="SPREAD")
    assert head_node not in ray.get([spread.remote() for _ in range(4)], timeout=30)


def test_ray_starts_exactly_as_many_workers_as_were_predicted(joined):
    import ray

    resources = Resources(cpus=0, gpus=0.6)
    predicted = sum(workers_that_fit(resources, offers_from_nodes(joined.nodes)).values())
    actors = [ray.remote(Hold).options(**actor_options(resources)).remote() for _ in range(predicted + 1)]
    there, waiting = ray.wait([actor.is_there.remote() for actor in actors], num_returns=predicted, timeout=30)
    there_later, _ = ray.wait(waiting, timeout=1)
    for actor in actors:
        ray.kill(actor)
    assert (predicted, len(there), there_later) == (2, 2, [])


class Hold:
    def is_there(self):
        return True

    def ask(self):
        return ask()


def ask():
    return get_worker_metadata_and_node_id()


def where():
    import ray

    return ray.get_runtime_context().get_node_id()


def wait_until(condition):
    import time

    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "did not come true within 20 s"
        time.sleep(0.05)
