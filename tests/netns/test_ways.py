"""The ways to other nodes on the real kernel: what is made is read back as it was wanted, whole and object by object,
and a pass over what is as it should be changes nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from netplumb.models.cluster import ClusterMode, ClusterView, HeldPrefix, Peer, Underlay
from netplumb.models.kernel import Route
from netplumb.models.network import Node
from netplumb.models.steps import Step
from netplumb.reconciler.converge.waypass import Done, Work, compare, converge
from netplumb.reconciler.converge.ways import WaysKernel
from netplumb.reconciler.decide.ways import Device, Ground, ground
from netplumb.reconciler.watch.nodenetwork import look
from tests.netns.conftest import NodeNamespace

DEVICE = Device("np-vxlan", 78, 4789)
POOLS = (ip_network("10.128.0.0/14"), ip_network("fd80::/48"))
OWN = (HeldPrefix(POOLS[0], ip_network("10.128.0.0/24")), HeldPrefix(POOLS[1], ip_network("fd80::/64")))
NODE = Node(node_addresses=(ip_address("10.128.0.1"), ip_address("fd80::1")))
MODES = (ClusterMode.ROUTES, ClusterMode.VXLAN)
UNDERLAYS = (
    Underlay(ip_address("192.0.2.1"), ip_address("fd01::1")),
    Underlay(ip_address("192.0.2.1")),
    Underlay(None, ip_address("fd01::1")),
)


def peer(number: int, *, v4: bool = True, v6: bool = True) -> Peer:
    prefixes = (f"10.128.{number}.0/24", f"fd80:0:0:{number:x}::/64")
    return Peer(
        f"node-{number}",
        Underlay(
            ip_address(f"192.0.2.{number}") if v4 else None,
            ip_address(f"fd01::{number:x}") if v6 else None,
        ),
        tuple(HeldPrefix(pool, ip_network(cidr)) for pool, cidr in zip(POOLS, prefixes, strict=True)),
    )


def view(mode: ClusterMode, underlay: Underlay, *peers: Peer) -> ClusterView:
    return ClusterView("node-1", mode, underlay, POOLS, OWN, {it.node: it for it in peers})


def ip(line: str) -> str:
    return subprocess.run(f"ip {line}".split(), check=True, capture_output=True, text=True).stdout


@pytest.fixture
def kernel() -> Iterator[WaysKernel]:
    for line in (
        "link add under type veth peer name far",
        "link set under up",
        "link set far up",
        "address add 192.0.2.1/24 dev under",
        "address add fd01::1/64 dev under nodad",
        "address add 10.128.0.1/32 dev lo scope link",
        "address add fd80::1/128 dev lo nodad preferred_lft 0",
    ):
        ip(line)
    kernel = WaysKernel()
    yield kernel
    kernel.close()


def on(of: ClusterView) -> Ground:
    return ground(of, DEVICE, NODE, look((), POOLS))


def passed(kernel: WaysKernel, of: ClusterView) -> Done:
    """A pass over all, which succeeded."""
    done = converge(Work(on(of), of.peers.values()), kernel, lambda _: False)
    assert not done.errors
    return done


def left(kernel: WaysKernel, of: ClusterView) -> list[Step]:
    return [*compare(Work(on(of), of.peers.values()), kernel).steps]


@pytest.mark.parametrize("underlay", UNDERLAYS, ids=str)
@pytest.mark.parametrize("mode", MODES)
def test_what_is_made_is_read_back_as_it_was_wanted(kernel: WaysKernel, mode: ClusterMode, underlay: Underlay) -> None:
    """After a pass nothing differs, whatever the nodes share; a peer asked for by itself differs in nothing either."""
    v4, v6 = underlay.v4 is not None, underlay.v6 is not None
    of = view(mode, underlay, *(peer(it, v4=v4, v6=v6) for it in (2, 3)))
    done = passed(kernel, of)
    # IPv6 cannot go by an IPv4 address where there is no device.
    assert len([it for it in done.steps if isinstance(it.thing, Route)]) == (
        4 if v6 or mode is ClusterMode.VXLAN else 2
    )
    assert left(kernel, of) == []
    seen = kernel.read_all(DEVICE.name, ["under"])
    again = converge(Work(on(of), of.peers.values(), done.ways.values(), seen.indexes), kernel, lambda _: False)
    assert (again.steps, again.errors) == ([], [])


@pytest.mark.parametrize("mode", MODES)
def test_a_peer_that_changes_or_goes_touches_its_own_objects_alone(kernel: WaysKernel, mode: ClusterMode) -> None:
    """One moves to another address, one goes: what the kernel holds follows, and the third is not spoken of."""
    before = view(mode, UNDERLAYS[0], peer(2), peer(3), peer(4))
    done = passed(kernel, before)
    seen = kernel.read_all(DEVICE.name, ["under"])
    moved = replace(peer(2), underlay=Underlay(ip_address("192.0.2.99"), ip_address("fd01::99")))
    after = view(mode, UNDERLAYS[0], moved, peer(4))
    work = Work(on(after), [moved], [done.ways["node-2"], done.ways["node-3"]], seen.indexes)
    change = converge(work, kernel, lambda _: False)
    assert not change.errors
    assert not [step for step in change.steps if "10.128.4." in str(step) or "fd80:0:0:4:" in str(step)]
    assert left(kernel, after) == []


@pytest.mark.parametrize("mode", MODES)
def test_nothing_is_left_without_peers_and_foreign_things_are(kernel: WaysKernel, mode: ClusterMode) -> None:
    """When a cluster is left, all goes that was made for it, and what others set stays."""
    ip("route add 203.0.113.0/24 via 192.0.2.9 proto static")
    before = ip("route") + ip("-6 route") + ip("link")
    passed(kernel, view(mode, UNDERLAYS[0], peer(2), peer(3)))
    assert ip("route") + ip("-6 route") + ip("link") != before
    passed(kernel, view(ClusterMode.NONE, UNDERLAYS[0], peer(2), peer(3)))
    assert ip("route") + ip("-6 route") + ip("link") == before


def test_a_device_under_another_name_is_named_back_and_a_stranger_stays(kernel: WaysKernel) -> None:
    """Ours is known by its marks. Another's interface of that name is a conflict, and is not touched."""
    of = view(ClusterMode.VXLAN, UNDERLAYS[0], peer(2))
    passed(kernel, of)
    ip("link set np-vxlan name stray0")
    passed(kernel, of)
    passed(kernel, of)
    assert left(kernel, of) == []
    ip("link delete np-vxlan")
    ip("link add np-vxlan type bridge")
    done = converge(Work(on(of), of.peers.values()), kernel, lambda _: False)
    assert [error.reason for error in done.errors] == ["Conflict"]
    assert "bridge" in ip("-d link show np-vxlan")


def test_another_device_of_the_same_network_is_told_as_what_it_is(kernel: WaysKernel) -> None:
    """The kernel has one VXLAN device of a number and a port, whatever its name is."""
    of = view(ClusterMode.VXLAN, UNDERLAYS[0], peer(2))
    ip("link add theirs type vxlan id 78 dstport 4789 local 192.0.2.1")
    done = converge(Work(on(of), of.peers.values()), kernel, lambda _: False)
    (error,) = done.errors
    assert error.reason == "Conflict"
    assert "another VXLAN device of the node has that id and port" in str(error)
    ip("link delete theirs")
    passed(kernel, of)
    assert left(kernel, of) == []


def test_our_device_in_another_namespace_is_told_and_made_anew_once_it_is_gone(
    kernel: WaysKernel, node: NodeNamespace
) -> None:
    """It keeps its number there for this node, where a list of the node's interfaces does not show it."""
    of = view(ClusterMode.VXLAN, UNDERLAYS[0], peer(2))
    passed(kernel, of)
    node.netns("away")
    ip("link set np-vxlan netns away")
    done = converge(Work(on(of), of.peers.values()), kernel, lambda _: False)
    (error,) = done.errors
    assert error.reason == "Conflict"
    assert "moved to another network namespace" in str(error)
    ip("-n away link delete np-vxlan")
    passed(kernel, of)
    assert left(kernel, of) == []


def test_a_device_that_differs_in_what_cannot_be_changed_is_made_anew(kernel: WaysKernel) -> None:
    """Another network, port or underlay address takes another device; what was on it is made again."""
    of = view(ClusterMode.VXLAN, UNDERLAYS[0], peer(2), peer(3))
    passed(kernel, of)
    other = replace(DEVICE, port=8472)
    on_other = ground(of, other, NODE, look((), POOLS))
    assert not converge(Work(on_other, of.peers.values()), kernel, lambda _: False).errors
    assert not compare(Work(on_other, of.peers.values()), kernel).steps
    assert "dstport 8472" in ip("-d link show np-vxlan")


def test_a_foreign_route_in_the_place_of_a_way_is_told_and_stays(kernel: WaysKernel) -> None:
    """It keeps its place, and what is more specific is told; once it is gone the way is made."""
    of = view(ClusterMode.ROUTES, UNDERLAYS[0], peer(2), peer(3))
    ip("route add 10.128.2.0/24 via 192.0.2.200 proto static")
    ip("route add blackhole 10.128.3.128/25")
    done = passed(kernel, of)
    words = [it.words for way in done.ways.values() for it in way.troubles]
    assert len(words) == 2
    assert words[0].startswith("10.128.2.0/24 via 192.0.2.200 dev under is in the place of the way")
    assert "leads a part of 10.128.3.0/24 of node-3 elsewhere" in words[1]
    assert ip("route show 10.128.2.0/24").strip() == "10.128.2.0/24 via 192.0.2.200 dev under proto static"
    ip("route delete 10.128.2.0/24 via 192.0.2.200")
    passed(kernel, of)
    assert "via 192.0.2.2 " in ip("route show 10.128.2.0/24")


def test_a_way_to_a_peer_that_is_on_no_link_is_told_and_stays_if_it_is_there(kernel: WaysKernel) -> None:
    """An address that is away for a moment takes no way away; one that never was on a link has none."""
    of = view(ClusterMode.ROUTES, UNDERLAYS[0], peer(2))
    far = replace(peer(3), underlay=Underlay(ip_address("198.51.100.3")))
    done = passed(kernel, replace(of, peers={**of.peers, far.node: far}))
    assert [it.condition for it in done.ways[far.node].troubles] == ["PeerNotOnLink", "PeerWithoutAddress"]
    assert ip("route show 10.128.3.0/24") == ""
    away = replace(on(of), connected=())
    assert compare(Work(away, of.peers.values()), kernel).steps == []
    assert "via 192.0.2.2 " in ip("route show 10.128.2.0/24")
