"""Addresses and ports of a node, asked on that node: for servers that only this machine or its network may reach.

Refused: an address that is routed from everywhere, and ports below 1024 or above 65535.
"""

from __future__ import annotations

import ipaddress
import socket

from curator.errors import ConfigError, ExecutorError

FIRST_PORT = 20_000
"""Above the ports of Ray's workers."""

LAST_PORT = 32_767
"""Below the ports that Linux gives to outgoing connections."""


def check_address(address: str) -> str:
    """The address itself, if it is a loopback or private one.

    Raises:
        ExecutorError: it can be reached from everywhere, or is no address.

    Example:
        >>> check_address("10.1.2.3")
        '10.1.2.3'
    """
    try:
        is_global = ipaddress.ip_address(address).is_global
    except ValueError:
        raise ExecutorError(
            f"node address {address!r}: is no IP address. Start the node with --node-ip-address."
        ) from None
    if is_global:
        raise ExecutorError(
            f"node address {address!r}: can be reached from everywhere; model servers listen on loopback or private "
            "addresses alone. Start the node with --node-ip-address and the address of its private interface."
        )
    return address


def check_ports(first: int, last: int) -> None:
    """Refuse ports that are reserved or do not exist.

    Raises:
        ConfigError: they are no whole numbers, or not 1024 <= first <= last <= 65535.
    """
    whole = all(isinstance(port, int) and not isinstance(port, bool) for port in (first, last))
    if not whole or not 1024 <= first <= last <= 65_535:
        raise ConfigError(f"ports {first!r} to {last!r}: must be whole numbers, 1024 <= first <= last <= 65535.")


def find_free_port(address: str, first: int, last: int) -> int:
    """The first port of a range that can be bound on this machine.

    Args:
        address: the address to bind.
        first: the first port to try.
        last: the last one.

    Raises:
        ExecutorError: all are in use, or see ``check_address``.
    """
    host = check_address(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(first, last + 1):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    ports = f"port {first}" if first == last else f"every port from {first} to {last}"
    raise ExecutorError(f"{ports} of {host} is in use. Name another one.")


def is_port_taken(address: str, port: int) -> bool:
    """Whether a program of this machine listens at a port; connections that have ended there do not count.

    Args:
        address: the address that it would listen on.
        port: the port.
    """
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return True
        return False
