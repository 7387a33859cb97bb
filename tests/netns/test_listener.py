"""Listening: the node's and every workload's changes are heard, our own echoes are not."""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from netplumb.models.kernel import LINK_GROUP, Address, Scope
from netplumb.reconciler.kernel.namespaces import Namespaces
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.rtnetlink import decode, encode, encodelinks
from netplumb.reconciler.kernel.rtnetlink.listener import NODE_NSID, Event, Listener, Subject
from tests import namespaces
from tests.netns.conftest import NodeNamespace

WAIT_S = 10


def ip(line: str) -> None:
    subprocess.run(["ip", *line.split()], check=True, timeout=WAIT_S)


@pytest.fixture
def web(node: NodeNamespace) -> Path:
    """A workload's namespace with a veth to the node, np0 and eth0."""
    path = node.netns("web")
    ip("link add np0 type veth peer name eth0 netns web")
    return path


@pytest.fixture
def listener(web: Path) -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


def heard(listener: Listener, wanted: Callable[[Event], bool]) -> list[Event]:
    """All that is heard up to the first event that is wanted."""
    events: list[Event] = []
    end = time.monotonic() + WAIT_S
    while not any(map(wanted, events)):
        left = end - time.monotonic()
        assert left > 0, f"not heard among {events}"
        select.select(listener.filenos(), [], [], left)
        events += [event for event in listener.drain(64) if event is not None]
    return events


def first(listener: Listener, wanted: Callable[[Event], bool]) -> Event:
    return next(filter(wanted, heard(listener, wanted)))


def fence(listener: Listener) -> list[Event]:
    """All that is heard before a change that a process makes last: what was not heard by then never is."""
    ip("link add fence type veth peer name ecnef")
    return heard(listener, lambda event: event.subject is Subject.LINK and b"fence\0" in bytes(event.body))


def test_the_nodes_changes_are_heard(listener: Listener) -> None:
    """An address that a process puts on a node's link is heard with where it is and that somebody asked for it."""
    ip("address add 192.0.2.1/32 dev np0")
    (event,) = [e for e in heard(listener, lambda e: e.subject is Subject.ADDRESS) if e.subject is Subject.ADDRESS]
    assert (event.nsid, event.deleted, event.by_kernel) == (NODE_NSID, False, False)


def test_a_workloads_changes_are_heard_with_its_number(listener: Listener) -> None:
    """What happens inside a namespace with a veth to the node is heard under the number that the node has for it."""
    with Channel() as channel:
        (reply,) = channel.transact([encodelinks.get_link_by_name("np0")])
    number = decode.link(Scope.NODE, reply.parts[0][1])[0].peer_nsid
    ip("-n web address add 192.0.2.2/32 dev eth0")
    events = heard(listener, lambda event: event.subject is Subject.ADDRESS)
    assert [event.nsid for event in events if event.subject is Subject.ADDRESS] == [number]
    assert number != NODE_NSID


def test_a_workloads_link_is_read_from_its_event(listener: Listener) -> None:
    """An event of a link carries the link, so that it can be compared without a read."""
    ip("-n web link set eth0 mtu 1400")
    link = first(listener, lambda event: event.subject is Subject.LINK and event.nsid != NODE_NSID).link()
    assert (link.scope, link.name, link.mtu) == (Scope.WORKLOAD, "eth0", 1400)


def test_our_own_requests_are_not_heard(listener: Listener) -> None:
    """What a channel of ours changed wakes nobody, also after the channel was closed."""
    address = Address(Scope.NODE, "np0", ip_address("192.0.2.7").packed, 32)
    with Channel() as channel:
        (reply,) = channel.transact([encodelinks.get_link_by_name("np0")])
        index = int.from_bytes(reply.parts[0][1][4:8], "little")
        replies = channel.transact([*encode.add_address(address, index), *encode.delete_address(address, index)])
        assert [reply.errno for reply in replies] == [0, 0]
    assert not [event for event in fence(listener) if event.subject is Subject.ADDRESS]


def test_our_own_requests_in_a_workload_are_not_heard(listener: Listener, web: Path) -> None:
    """A channel inside a workload's namespace leaves no echo either."""
    opener = Namespaces()
    address = Address(Scope.WORKLOAD, "eth0", ip_address("192.0.2.7").packed, 32)
    with opener.open(str(web)) as namespace:
        (reply,) = namespace.channel.transact([encodelinks.get_link_by_name("eth0")])
        index = int.from_bytes(reply.parts[0][1][4:8], "little")
        (added,) = namespace.channel.transact(encode.add_address(address, index))
        assert added.errno == 0
    opener.close()
    assert not [event for event in fence(listener) if event.subject is Subject.ADDRESS]


def test_links_that_we_change_are_heard_by_how_they_look(listener: Listener) -> None:
    """A link's event carries no sender, so a change of ours is heard too, with the link as it is now."""
    ip("link set np0 up")
    with Channel() as channel:
        (reply,) = channel.transact([encodelinks.get_link_by_name("np0")])
        index = int.from_bytes(reply.parts[0][1][4:8], "little")
        channel.transact([encodelinks.set_group(index, LINK_GROUP)])
    ours = [event for event in fence(listener) if event.subject is Subject.LINK and event.index == index]
    assert ours[-1].by_kernel
    assert (ours[-1].link().name, ours[-1].link().group) == ("np0", LINK_GROUP)


def test_a_namespace_that_goes_is_heard_with_its_number(listener: Listener) -> None:
    """When a workload's namespace ends, the node hears the number that it had."""
    ip("-n web link set eth0 mtu 1400")
    number = first(listener, lambda event: event.subject is Subject.LINK and event.nsid != NODE_NSID).nsid
    namespaces.remove("web")
    gone = first(listener, lambda event: event.subject is Subject.NSID)
    assert (gone.deleted, gone.index) == (True, number)


def test_a_forwarding_switch_is_heard(listener: Listener) -> None:
    """Somebody who turns forwarding off is heard."""
    switch = Path("/proc/sys/net/ipv4/ip_forward")
    switch.write_text("1" if switch.read_text().strip() == "0" else "0")
    events = heard(listener, lambda event: event.subject is Subject.NETCONF)
    assert all(event.nsid == NODE_NSID for event in events if event.subject is Subject.NETCONF)


def test_a_route_to_one_host_tells_its_destination(listener: Listener) -> None:
    """A foreign route to a workload's address can be told from the event alone."""
    ip("link set np0 up")
    ip("route add 192.0.2.9/32 dev np0")
    events = heard(listener, lambda e: e.subject is Subject.ROUTE and not e.by_kernel)
    assert ip_address("192.0.2.9").packed in [event.destination() for event in events if event.subject is Subject.ROUTE]


def test_nothing_heard_is_an_empty_drain(listener: Listener) -> None:
    """Draining never blocks."""
    assert [event for event in listener.drain(10000) if event is None] == []
    assert list(listener.drain(1)) == []


def test_of_a_workload_only_what_may_concern_somebody_is_heard(listener: Listener) -> None:
    """Not its qdiscs, switches and next hops, which netplumb has none of there; its links are heard."""
    ip("-n web link set lo up")
    ip("-n web link set eth0 up")
    subprocess.run(["tc", "-n", "web", "qdisc", "add", "dev", "eth0", "root", "pfifo"], check=True, timeout=WAIT_S)
    ip("-n web nexthop add id 7 dev lo")
    ip("netns exec web sysctl -qw net.ipv4.conf.eth0.forwarding=1")
    ip("-n web link set eth0 alias done")
    told = heard(listener, lambda event: event.subject is Subject.LINK and b"done\0" in bytes(event.body))
    inside = {event.subject for event in told if event.nsid != NODE_NSID}
    assert Subject.LINK in inside
    assert inside.isdisjoint({Subject.TC, Subject.NETCONF, Subject.NEXT_HOP})


def test_who_is_not_heeded_is_not_read(listener: Listener) -> None:
    """Of a namespace that is not listened to nothing is told; of the node all is, and once."""
    ip("-n web link set eth0 up")
    ip("address add 192.0.2.1/32 dev np0")
    ip("link set np0 up")
    ip("link set np0 alias done")
    asked: list[int] = []
    events: list[Event] = []

    def heeds(nsid: int, messages: int) -> bool:
        asked.append(nsid)
        assert messages > 0
        return False

    ends = time.monotonic() + WAIT_S
    while not any(event.subject is Subject.LINK and b"done\0" in bytes(event.body) for event in events):
        assert time.monotonic() < ends
        select.select(listener.filenos(), [], [], WAIT_S)
        events += [event for event in listener.drain(64, WAIT_S, heeds) if event is not None]
    assert {event.nsid for event in events} == {NODE_NSID}
    assert NODE_NSID not in asked
    assert asked
    assert len([event for event in events if event.subject is Subject.ADDRESS]) == 1
