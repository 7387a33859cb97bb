"""What a workload with all rights in its own namespace and none on the node does: it marks what it likes as ours."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from itertools import count
from threading import Event, Thread
from typing import Literal

from netplumb.models.kernel import (
    ADDRESS_PROTOCOL,
    FIRST_HOP_V4,
    FIRST_HOP_V6,
    RT_PROTOCOL,
    RT_SCOPE_LINK,
    Address,
    Neighbour,
    Route,
    Scope,
)
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.netlink.wire import Request
from netplumb.reconciler.kernel.rtnetlink import encode
from tests.e2e.daemons import ROOT
from tests.e2e.hosts import Host

IF_NAME = "eth0"
_A_SEND = 60
_FLOWS_A_SOCKET = 20_000


def channel_in(tenant: Host, if_name: str = IF_NAME) -> tuple[Channel, int]:
    """A channel in the tenant's namespace, and the index of its interface."""
    with tenant.enter():
        return Channel(), socket.if_nametoindex(if_name)


def claim(tenant: Host, addresses: Iterable[str], protocol: int = ADDRESS_PROTOCOL) -> None:
    """Takes addresses to its interface as netplumb would, routes and neighbours too; its own stay the second choice."""
    channel, index = channel_in(tenant)
    with channel:
        for number, text in enumerate(addresses):
            ip = ip_address(text)
            hop = FIRST_HOP_V4 if ip.version == 4 else FIRST_HOP_V6
            place = (Scope.WORKLOAD, IF_NAME)
            channel.transact(
                [
                    *encode.add_address(Address(*place, ip.packed, ip.max_prefixlen, protocol=protocol), index),
                    *encode.add_neighbour(Neighbour(*place, ip.packed, bytes(6)), index),
                    *encode.add_route(
                        Route(Scope.WORKLOAD, ip.packed, ip.max_prefixlen, IF_NAME, hop, metric=7 + number), index
                    ),
                    *encode.add_route(
                        Route(Scope.WORKLOAD, bytes(len(hop)), 0, IF_NAME, hop, ip.packed, metric=7 + number), index
                    ),
                ]
            )


def fill_with_routes(tenant: Host, count: int, if_name: str = IF_NAME, protocol: int = RT_PROTOCOL) -> None:
    """So many routes of the tenant's over an interface, with our mark."""
    channel, index = channel_in(tenant, if_name)
    with channel:
        _send(channel, (request for number in range(count) for request in _route(number, index, protocol)))


def _route(number: int, index: int, protocol: int = RT_PROTOCOL) -> list[Request]:
    dst = (0x14000000 + number).to_bytes(4, "big")
    route = Route(Scope.WORKLOAD, dst, 32, IF_NAME, rt_scope=RT_SCOPE_LINK, protocol=protocol)
    return encode.add_route(route, index)


def fill_with_addresses(tenant: Host, count: int) -> None:
    """So many addresses on its interface, without any mark."""
    channel, index = channel_in(tenant)
    with channel:
        _send(channel, (request for number in range(count) for request in _address(number, index)))


def _address(number: int, index: int) -> list[Request]:
    ip = (0x1E000000 + number).to_bytes(4, "big")
    return encode.add_address(Address(Scope.WORKLOAD, IF_NAME, ip, 32, protocol=0), index)


def fill_with_neighbours(tenant: Host, count: int, if_name: str = IF_NAME) -> None:
    """So many permanent neighbours of the tenant's on an interface."""
    channel, index = channel_in(tenant, if_name)
    neighbours = (
        Neighbour(Scope.WORKLOAD, if_name, (0x1E000000 + number).to_bytes(4, "big"), bytes(6))
        for number in range(count)
    )
    with channel:
        _send(channel, (request for neighbour in neighbours for request in encode.add_neighbour(neighbour, index)))


def fill_with_flows(tenant: Host, to: str, count: int) -> None:
    """So many flows of the tenant's to an address, which connection tracking keeps for half a minute and more."""
    ports = range(20_000, 20_000 + _FLOWS_A_SOCKET)
    with tenant.enter():
        for _ in range(-(-count // len(ports))):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                for port in ports:
                    sock.sendto(b"", (to, port))


@contextmanager
def crowding(tenant: Host, friend: Host, to: str) -> Iterator[None]:
    """As many flows as the kernel tracks, of the tenant's to its friend, who answers each at this address."""
    answers = friend.command(sys.executable, "-m", "tests.e2e.answerer", IF_NAME)
    sends = tenant.command(sys.executable, "-m", "tests.e2e.crowder", to)
    with subprocess.Popen(answers, cwd=ROOT) as answering, subprocess.Popen(sends, cwd=ROOT) as sending:
        try:
            yield
            assert answering.poll() is None, "the friend answers no more"
            assert sending.poll() is None, "the flows ended too soon"
        finally:
            sending.kill()
            answering.kill()


def _send(channel: Channel, requests: Iterator[Request]) -> None:
    waiting: list[Request] = []
    for request in requests:
        waiting.append(request)
        if len(waiting) == _A_SEND:
            channel.transact(waiting)
            waiting.clear()
    channel.transact(waiting)


@contextmanager
def repeating(work: Callable[[], object], every_s: float = 0.0) -> Iterator[None]:
    """The work is done again and again in a thread beside the test."""
    stop, failed = Event(), list[BaseException]()

    def run() -> None:
        try:
            while not stop.wait(every_s):
                work()
        except BaseException as error:
            failed.append(error)

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
    assert not failed, failed


@contextmanager
def linking(tenant: Host, pairs: int, group: int = 7) -> Iterator[None]:
    """So many pairs of the tenant's own, made one after the other and deleted at once, again and again."""
    made = "".join(f"link add a{it} group {group} type veth peer name b{it} group {group}\n" for it in range(pairs))

    def renew() -> None:
        subprocess.run(tenant.command("ip", "-batch", "-"), input=made, text=True, check=True)
        tenant.run(f"ip link delete group {group}")

    with repeating(renew):
        yield


@contextmanager
def churning(tenant: Host) -> Iterator[None]:
    """The tenant's routes change all the time, so that no long read of them is of one moment."""
    channel, index = channel_in(tenant)
    route = Route(Scope.WORKLOAD, bytes((30, 0, 0, 1)), 32, IF_NAME, FIRST_HOP_V4)
    both = encode.add_route(route, index) + encode.delete_route(route, index)
    with channel, repeating(lambda: channel.transact(both)):
        yield


@contextmanager
def renewing(tenant: Host, every_s: float = 0.01, protocol: int = RT_PROTOCOL) -> Iterator[None]:
    """Ever-new routes, one after the other. With our mark, there is always one to be taken away; without, there is
    always something new to be looked at."""
    channel, index = channel_in(tenant)
    numbers = count()
    with channel, repeating(lambda: channel.transact(_route(next(numbers), index, protocol)), every_s):
        yield


@contextmanager
def flooding(
    tenant: Host, a_second: int = 80_000, most: int = 8_000_000, *, what: Literal["route", "link"] = "route"
) -> Iterator[None]:
    """A program beside the test changes something of the tenant's, each time a message to whoever listens."""
    words = tenant.command(sys.executable, "-m", "tests.e2e.flooder", what, str(most), str(a_second))
    with subprocess.Popen(words, cwd=ROOT) as process:
        try:
            yield
            assert process.poll() is None, "the flood ended too soon"
        finally:
            process.kill()
