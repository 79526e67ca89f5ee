import socket

import pytest

from curator.errors import ConfigError, ExecutorError
from curator.placement.addresses import check_address, check_ports, find_free_port, is_port_taken


@pytest.mark.parametrize(
    "address", ["127.0.0.1", "127.0.1.3", "10.1.2.3", "192.168.0.9", "172.16.0.1", "::1", "fd00::1"]
)
def test_loopback_and_private_addresses_may_be_listened_on(address):
    assert check_address(address) == address


@pytest.mark.parametrize(
    ("address", "message"),
    [("8.8.8.8", "can be reached from everywhere"), ("2001:4860::8", "can be reached"), ("node-7", "is no IP address")],
)
def test_an_address_that_the_world_can_reach_or_that_is_none_is_refused(address, message):
    with pytest.raises(ExecutorError, match=rf"^node address '{address}': .*{message}.*--node-ip-address"):
        find_free_port(address, 20_000, 20_001)


def test_the_first_port_that_nobody_listens_on_is_found_even_behind_a_listener_on_all_addresses():
    port = find_free_port("127.0.0.1", 26_000, 32_000)
    with socket.create_server(("0.0.0.0", port)):
        assert find_free_port("127.0.0.1", port, 32_700) > port
        with pytest.raises(ExecutorError, match=rf"^port {port} of 127\.0\.0\.1 is in use"):
            find_free_port("127.0.0.1", port, port)


def test_a_port_is_taken_while_a_program_listens_there_and_not_by_connections_that_have_ended():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert is_port_taken("127.0.0.1", port)
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()  # the side that closes first waits for a minute
    assert not is_port_taken("127.0.0.1", port)


def test_a_range_of_ports_that_are_all_in_use_is_said_to_be():
    port = find_free_port("127.0.0.1", 26_500, 32_000)
    with socket.create_server(("127.0.0.1", port)):
        try:
            neighbour = socket.create_server(("127.0.0.1", port + 1))
        except OSError:
            pytest.skip(f"port {port + 1} was taken meanwhile")
        with neighbour, pytest.raises(ExecutorError, match=rf"^every port from {port} to {port + 1} of 127"):
            find_free_port("127.0.0.1", port, port + 1)


@pytest.mark.parametrize("ports", [(1023, 2000), (2000, 65_536), (2001, 2000), (2000.0, 2001), (True, 2000)])
def test_a_range_that_is_none_is_refused(ports):
    with pytest.raises(ConfigError, match=r"^ports .*1024 <= first <= last <= 65535"):
        check_ports(*ports)
