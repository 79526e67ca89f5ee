import socket
import time

import pytest

from curator.errors import ConfigError, ExecutorError
from curator.placement import (
    build_pg,
    get_bundle_node_ip,
    get_free_port_in_bundle,
    remove_pg,
    run_in_bundle,
)

pytestmark = [pytest.mark.ray]


@pytest.fixture(scope="module")
def group(joined):
    made = build_pg([{"CPU": 1}, {"CPU": 1}], "STRICT_SPREAD", "test-two")
    yield made
    remove_pg(made)


def refuse():
    raise ConfigError("no.such.key: there is none.")


def fail():
    raise OSError("no space")


def sleep():
    time.sleep(60)


def node_id():
    import ray

    return ray.get_runtime_context().get_node_id()


def test_a_question_is_answered_on_the_node_of_the_bundle(group):
    from curator.placement import bundle_node_ids

    answers = [run_in_bundle(group, index, node_id, timeout_s=60) for index in (0, 1)]
    assert answers == bundle_node_ids(group)


def test_the_address_of_a_bundle_is_one_that_the_world_cannot_reach(group):
    assert get_bundle_node_ip(group, 0) == "127.0.0.1"


def test_a_port_in_use_is_passed_over_and_the_next_one_is_given(group):
    port = get_free_port_in_bundle(group, 1, start_port=24_000)
    with socket.create_server(("127.0.0.1", port)):
        later = get_free_port_in_bundle(group, 1, start_port=port)
        assert port < later < port + 100
        with pytest.raises(ExecutorError, match=rf"^port {port} of 127\.0\.0\.1 is in use"):
            get_free_port_in_bundle(group, 1, start_port=port, get_next=False)
        with pytest.raises(ExecutorError, match=rf"^port {port} of 127\.0\.0\.1 is in use"):
            get_free_port_in_bundle(group, 1, start_port=port, end_port=port)


@pytest.mark.parametrize("ports", [(80, 90), (3000, 2000), (60_000, 70_000), ("a", 2000), (True, 2000)])
def test_a_range_of_ports_that_is_none_is_refused_before_anybody_is_asked(group, ports):
    with pytest.raises(ConfigError, match=r"^ports "):
        get_free_port_in_bundle(group, 0, start_port=ports[0], end_port=ports[1])


@pytest.mark.parametrize("index", [2, -1, True])
def test_a_bundle_that_is_not_there_is_refused(group, index):
    with pytest.raises(ConfigError, match=r"^bundle .*: the placement group has 2 bundles"):
        get_bundle_node_ip(group, index)


def test_a_mistake_that_the_node_finds_arrives_as_what_it_is(group):
    with pytest.raises(ConfigError, match=r"^no\.such\.key: there is none\.$"):
        run_in_bundle(group, 0, refuse, timeout_s=60)
    with pytest.raises(ExecutorError, match=r"bundle 0 of a placement group: OSError\('no space'\) on its node"):
        run_in_bundle(group, 0, fail, timeout_s=60)


def test_no_answer_in_time_is_an_error(group):
    with pytest.raises(ExecutorError, match=r"no answer from its node within 0\.2 s"):
        run_in_bundle(group, 0, sleep, timeout_s=0.2)


def test_a_group_that_was_removed_is_said_to_be_lost_at_once(joined):
    gone = build_pg([{"CPU": 1}], "STRICT_PACK", "test-gone")
    remove_pg(gone)
    with pytest.raises(ExecutorError, match="bundle 0 of a placement group is lost"):
        get_bundle_node_ip(gone, 0, timeout_s=3600)
