"""Ranks joined by torch.distributed: ``gloo`` between CPUs, ``nccl`` between GPUs. Nothing else here knows torch.

Rank 0 listens (``Meeting``) on a port that the system picks and that is bound before anybody is told about it, on one
address only: loopback when all ranks are on one machine, else the address of its node in the cluster. The others get
``host:port`` from the driver. A session name separates this group from any other that ever met there. Every wait has a
limit. Ranks of several nodes talk openly over the interface that joins the nodes: it has to be a private one.

``gloo`` is tested; ``nccl`` takes the same path with arrays copied to the rank's GPU, and has not been verified for
want of a machine with GPUs.
"""

from __future__ import annotations

import datetime
import fcntl
import ipaddress
import os
import re
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np

from curator.errors import CommunicationError, ExecutorError
from curator.executors.collective.reductions import decode, encode
from curator.stages.collective import Array, Call, Communicator, Reduction

CALL_BYTES = 256
"""What a rank says about its call, before each one."""

_SIOCGIFADDR = 0x8915
_Result = TypeVar("_Result")


def import_torch() -> None:
    """Import what a communicator needs, which takes seconds."""
    import torch.distributed  # noqa: F401


class Meeting:
    """Where the ranks of a group find each other; rank 0 holds it open.

    Args:
        address: address of this machine to listen on.
        timeout_s: how long anything may take.
    """

    def __init__(self, address: str, timeout_s: float) -> None:
        import torch.distributed as dist

        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        listener = socket.create_server((address, 0), family=family)
        self.root = f"{address}:{listener.getsockname()[1]}"
        # torch itself would listen on all addresses of the machine.
        self.store = dist.TCPStore(
            address,
            listener.getsockname()[1],
            is_master=True,
            wait_for_workers=False,
            timeout=datetime.timedelta(seconds=timeout_s),
            master_listen_fd=listener.detach(),
        )


class TorchCommunicator(Communicator):
    """One rank of a group; constructing it waits for all others.

    Args:
        rank: this rank.
        size: ranks of the group.
        backend: ``gloo`` or ``nccl``.
        meeting: where they meet: rank 0 gives its ``Meeting``, the others ``host:port``.
        session: name of the group.
        address: address of this machine that the others reach it at.
        timeout_s: how long a rank may wait for the others, in any call.
        device: for ``nccl``, the position of this rank's GPU among the visible ones.

    Raises:
        CommunicationError: the others did not come in time.
        ExecutorError: no network interface has ``address``.
    """

    def __init__(
        self,
        rank: int,
        size: int,
        *,
        backend: str,
        meeting: Meeting | str,
        session: str,
        address: str,
        timeout_s: float,
        device: int = 0,
    ) -> None:
        import torch
        import torch.distributed as dist

        super().__init__(rank, size)
        self.lost = False
        self._dist = dist
        self._torch = torch
        self._device = torch.device("cuda", device) if backend == "nccl" else torch.device("cpu")
        if backend == "nccl":
            torch.cuda.set_device(self._device)
        variable = f"{backend.upper()}_SOCKET_IFNAME"
        os.environ.setdefault(variable, interface_of(address, variable))
        timeout = datetime.timedelta(seconds=timeout_s)
        self._guarded(lambda: self._join(meeting, backend, session, timeout))

    def _join(self, meeting: Meeting | str, backend: str, session: str, timeout: datetime.timedelta) -> None:
        if isinstance(meeting, Meeting):
            self._store = meeting.store
        else:
            host, _, port = meeting.rpartition(":")
            self._store = self._dist.TCPStore(host, int(port), is_master=False, timeout=timeout)
        self._dist.init_process_group(
            backend,
            store=self._dist.PrefixStore(session, self._store),
            rank=self.rank,
            world_size=self.size,
            timeout=timeout,
            device_id=self._device if backend == "nccl" else None,
        )

    def close(self) -> None:
        """Leave the group."""
        if self._dist.is_initialized():
            self._dist.destroy_process_group()

    def _exchange(self, call: Call) -> list[Call]:
        said = ";".join((call.name, call.dtype, ",".join(map(str, call.shape)))).encode()
        if len(said) > CALL_BYTES:
            raise ValueError(
                f"{call.name}: an array of {len(call.shape)} dimensions has too many for a collective call."
            )
        heard = self._gather_bytes(np.frombuffer(said.ljust(CALL_BYTES), dtype=np.uint8).copy())
        return [_call(said.tobytes().decode()) for said in heard]

    def _reduce(self, array: Array, op: Reduction) -> Array:
        operation = {"sum": "SUM", "min": "MIN", "max": "MAX"}[op]
        tensor = self._tensor(encode(array.reshape(-1), op))
        self._guarded(lambda: self._dist.all_reduce(tensor, op=getattr(self._dist.ReduceOp, operation)))
        return decode(self._array(tensor), array.dtype, op).reshape(array.shape)

    def _broadcast(self, array: Array, root: int) -> Array:
        tensor = self._tensor(_bytes(array))
        self._guarded(lambda: self._dist.broadcast(tensor, src=root))
        return self._array(tensor).view(array.dtype).reshape(array.shape)

    def _gather(self, array: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
        sizes = [int(np.prod(shape, dtype=np.int64)) * array.dtype.itemsize for shape in shapes]
        padded = np.zeros(max(sizes), dtype=np.uint8)
        padded[: array.nbytes] = _bytes(array)
        heard = self._gather_bytes(padded)
        return [
            each[:size].view(array.dtype).reshape(shape) for each, size, shape in zip(heard, sizes, shapes, strict=True)
        ]

    def _gather_bytes(self, said: Array) -> list[Array]:
        tensor = self._tensor(said)
        heard = [self._torch.empty_like(tensor) for _ in range(self.size)]
        self._guarded(lambda: self._dist.all_gather(heard, tensor))
        return [self._array(each) for each in heard]

    def _tensor(self, array: Array) -> Any:  # noqa: ANN401
        return self._torch.from_numpy(array).to(self._device)

    def _array(self, tensor: Any) -> Array:  # noqa: ANN401
        array: Array = self._guarded(lambda: tensor.cpu().numpy())
        return array

    def _guarded(self, call: Callable[[], _Result]) -> _Result:
        if self.lost:
            raise CommunicationError(f"rank {self.rank} of {self.size} has lost the others already.")
        try:
            return call()
        except RuntimeError as error:
            self.lost = True
            reason = re.sub(r"^\[\S+\] ", "", str(error).strip().partition("\n")[0])  # less the line of a C++ file
            raise CommunicationError(f"rank {self.rank} of {self.size} lost the others: {reason}") from error


def interface_of(address: str, variable: str = "GLOO_SOCKET_IFNAME") -> str:
    """The network interface that has an IPv4 address.

    Args:
        address: an address of this machine.
        variable: what a user can set instead, for the message.

    Raises:
        ExecutorError: no interface has it as its first address.

    Example:
        >>> interface_of("127.0.0.1")
        'lo'
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe.fileno(), _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # an interface without an IPv4 address
            if socket.inet_ntoa(answer[20:24]) == address:
                return name
    raise ExecutorError(
        f"no network interface of this machine has the address {address!r} that the cluster knows it by. Name the "
        f"interface that joins the nodes in {variable}, in the stage's runtime_env.env_vars."
    )


def meeting_addresses(addresses: Sequence[str]) -> list[str]:
    """Addresses for ranks to listen on: loopback when they are all on one machine.

    Args:
        addresses: the node address of each rank.

    Example:
        >>> meeting_addresses(["10.0.0.7", "10.0.0.7"]), meeting_addresses(["10.0.0.7", "10.0.0.8"])
        (['127.0.0.1', '127.0.0.1'], ['10.0.0.7', '10.0.0.8'])
    """
    one_machine = len(set(addresses)) == 1 or all(ipaddress.ip_address(each).is_loopback for each in addresses)
    return ["127.0.0.1"] * len(addresses) if one_machine else list(addresses)


def _bytes(array: Array) -> Array:
    return np.frombuffer(array.tobytes(), dtype=np.uint8).copy()


def _call(said: str) -> Call:
    name, dtype, shape = said.rstrip().split(";")
    return Call(name, dtype, tuple(int(size) for size in shape.split(",") if size))
