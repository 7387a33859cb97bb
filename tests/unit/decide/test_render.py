"""Rendering: what one attachment, and the node, should be in the kernel."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, TypeVar

import pytest

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec, NetnsRef
from netplumb.models.kernel import (
    FIRST_HOP_MAC,
    FIRST_HOP_V4,
    FIRST_HOP_V6,
    IPV6_METRIC,
    LINK_GROUP,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    RTN_LOCAL,
    Address,
    KernelObject,
    Link,
    LinkUp,
    Neighbour,
    Route,
    Scope,
    Sysctl,
    scope_of,
)
from netplumb.models.naming import alias_of, node_if_name, workload_mac
from netplumb.models.network import Families, Node, Surroundings
from netplumb.models.nft import NftChain, NftElement
from netplumb.models.routing import ExtraRoute
from netplumb.reconciler.decide.ownership import is_ours
from netplumb.reconciler.decide.render import render_attachment, render_elements, render_node
from netplumb.reconciler.decide.render.workload import metric_v6

T = TypeVar("T")
V4, V6 = ip_address("10.1.0.2"), ip_address("fd01::2")
NODE_V4, NODE_V6 = ip_address("10.1.0.1"), ip_address("fd01::1")


SPEC_FIELDS = AttachmentSpec.model_fields.keys() - Attachment.model_fields.keys()


def attachment(if_name: str = "eth0", **fields: Any) -> Attachment:
    wish: dict[str, Any] = {"workload_id": "web", "if_name": if_name, "netns": NetnsRef(name="web")}
    wish |= {name: fields.pop(name) for name in SPEC_FIELDS & fields.keys()}
    known = {
        "addresses": (V4, V6),
        "node_addresses": (NODE_V4, NODE_V6),
        "mac": "02:00:00:00:00:07",
        "default_route_by": if_name,
    }
    return Attachment(spec=AttachmentSpec(**wish), source="rpc", **(known | fields))


def rendered(
    wish: Attachment, *, node: Node | None = None, v6: bool = True, reached: bool = True
) -> list[KernelObject]:
    things = render_attachment(wish, node or Node(), Families(v6=v6), reached=reached)
    return [*render_elements(wish, node or Node()), *things]


def of(type_: type[T], things: list[KernelObject], scope: Scope | None = None) -> list[T]:
    return [thing for thing in things if isinstance(thing, type_) and (scope is None or scope_of(thing) is scope)]


def test_a_dual_stack_attachment_has_a_route_and_a_neighbour_for_each_address_on_the_node() -> None:
    """The node reaches each address by a host route from its own address, and needs to ask nobody for the MAC."""
    things = rendered(attachment())
    name = node_if_name(AttachmentKey("web", "eth0"))
    v4, v6 = of(Route, things, Scope.NODE)
    assert (v4.dst, v4.prefix_len, v4.link, v4.prefsrc) == (V4.packed, 32, name, NODE_V4.packed)
    assert (v6.dst, v6.prefix_len, v6.link, v6.prefsrc) == (V6.packed, 128, name, NODE_V6.packed)
    assert v6.metric < IPV6_METRIC
    mac = bytes.fromhex("020000000007")
    neighbours = [(n.ip, n.mac, n.proxy) for n in of(Neighbour, things, Scope.NODE)]
    assert neighbours == [(FIRST_HOP_V6, None, True), (V4.packed, mac, False), (V6.packed, mac, False)]


def test_the_workload_reaches_everything_by_way_of_the_first_hop() -> None:
    """Each family has its address, a known neighbour as first hop, and a default route through it."""
    things = rendered(attachment())
    addresses = [(a.link, a.ip, a.prefix_len) for a in of(Address, things, Scope.WORKLOAD)]
    assert addresses == [("eth0", V4.packed, 32), ("eth0", V6.packed, 128)]
    neighbours = [(n.ip, n.mac) for n in of(Neighbour, things, Scope.WORKLOAD)]
    assert neighbours == [(FIRST_HOP_V4, FIRST_HOP_MAC), (FIRST_HOP_V6, FIRST_HOP_MAC)]
    defaults = [(r.gateway, r.prefsrc) for r in of(Route, things, Scope.WORKLOAD) if r.prefix_len == 0]
    assert defaults == [(FIRST_HOP_V4, V4.packed), (FIRST_HOP_V6, V6.packed)]
    hops = [r for r in of(Route, things, Scope.WORKLOAD) if r.gateway is None and r.type != RTN_LOCAL]
    assert [(r.dst, r.prefix_len) for r in hops] == [(FIRST_HOP_V4, 32)]


def test_the_workload_answers_at_its_ipv6_addresses_at_once() -> None:
    """By a local route of ours beside the kernel's, which a busy kernel adds late."""
    local = [route for route in of(Route, rendered(attachment()), Scope.WORKLOAD) if route.type == RTN_LOCAL]
    assert [(r.dst, r.prefix_len, r.table, r.link) for r in local] == [(V6.packed, 128, RT_TABLE_LOCAL, "eth0")]
    assert all(route.metric for route in local)


def test_no_address_is_put_on_the_nodes_end() -> None:
    """The node's end carries no address: the kernel's work would grow with their number."""
    assert not of(Address, rendered(attachment()), Scope.NODE)


def test_the_nodes_end_carries_every_mark() -> None:
    """Name, group and alias tell whose link it is, and each end names the other."""
    key = AttachmentKey("web", "eth0")
    node, workload = of(Link, rendered(attachment()))
    assert (node.name, node.group, node.alias, node.peer) == (node_if_name(key), LINK_GROUP, alias_of(key), "eth0")
    assert (workload.name, workload.mac, workload.peer) == ("eth0", bytes.fromhex("020000000007"), node.name)
    assert is_ours(node)


@pytest.mark.parametrize(("v4", "v6"), [(True, False), (False, True)])
def test_a_family_without_an_address_leaves_no_trace(v4: bool, v6: bool) -> None:
    """With an address of one family there is no address, route or workload's neighbour of the other."""
    things = rendered(attachment(addresses=(V4,) * v4 + (V6,) * v6))
    size = 4 if v4 else 16
    assert {len(a.ip) for a in of(Address, things)} == {size}
    assert {len(r.dst) for r in of(Route, things)} == {size}
    assert {len(n.ip) for n in of(Neighbour, things, Scope.WORKLOAD)} == {size}


def test_where_ipv6_is_off_nothing_of_it_is_desired() -> None:
    """A node or a workload without IPv6 is left with the IPv4 half whole, and asked for nothing that must fail."""
    things = rendered(attachment(), v6=False)
    sizes = {len(t.dst if isinstance(t, Route) else t.ip) for t in things if isinstance(t, Route | Address | Neighbour)}
    assert sizes == {4}
    node, _ = of(Link, things)
    assert node.proxy_ndp is None
    assert node.addr_gen_mode is None
    assert of(Route, things) == of(Route, rendered(attachment(addresses=(V4,))))


@pytest.mark.parametrize(("asked", "mtu"), [(0, 9000), (1400, 1400)])
def test_the_mtu_is_the_wishs_or_else_the_nodes_on_both_ends(asked: int, mtu: int) -> None:
    """Both ends of a pair have the same MTU."""
    assert {link.mtu for link in of(Link, rendered(attachment(mtu=asked), node=Node(mtu=9000)))} == {mtu}


def test_several_interfaces_of_one_workload_share_nothing_but_loopback() -> None:
    """A second interface has a pair and addresses of its own."""
    first, second = rendered(attachment("eth0")), rendered(attachment("eth1"))
    assert {t.key for t in first} & {t.key for t in second if isinstance(t, LinkUp)} == {
        LinkUp(Scope.WORKLOAD, "lo").key
    }


def test_routes_over_different_interfaces_have_different_metrics() -> None:
    """Else the kernel would make one route over several of them. All go before what the kernel gives others'."""
    for names in (
        [*(f"eth{number}" for number in range(256)), *(f"net{number}" for number in range(256))],
        ["eth0", "eth1000", "eth99999999", "net1", "e0", "ethernet0", "lan"],
    ):
        metrics = [metric_v6(name) for name in names]
        assert len(set(metrics)) == len(names)
        assert max(metrics) < IPV6_METRIC


def test_only_the_holder_has_default_routes() -> None:
    """Of several interfaces in one workload, one leads everywhere; the others to their own routes alone."""
    extra = ExtraRoute.model_validate({"dst": "192.0.2.0/24"})
    held, other = (rendered(attachment(routes=(extra,), default_route_by=by)) for by in ("eth0", "eth1"))
    lengths = [
        sorted(it.prefix_len for it in of(Route, things, Scope.WORKLOAD) if it.table == RT_TABLE_MAIN)
        for things in (held, other)
    ]
    assert lengths == [[0, 0, 24, 32], [24, 32]]


def test_the_other_interfaces_may_answer_over_the_link_of_the_default_route() -> None:
    """Their addresses are let through there, as elements that are theirs and go with them."""
    held, other = (rendered(attachment(name, default_route_by="eth0")) for name in ("eth0", "eth1"))
    link, owner = (node_if_name(AttachmentKey("web", name)) for name in ("eth0", "eth1"))
    assert of(NftElement, held) == []
    assert of(NftElement, other) == [
        NftElement("sibling4", (link, str(V4)), owner=owner),
        NftElement("sibling6", (link, str(V6)), owner=owner),
    ]


def test_out_of_reach_only_the_nodes_side_is_desired() -> None:
    """While the namespace cannot be reached nothing is asked of it."""
    things = rendered(attachment(), reached=False)
    assert {scope_of(thing) for thing in things} == {Scope.NODE}
    assert things == [t for t in rendered(attachment()) if scope_of(t) is Scope.NODE]


def test_every_object_has_a_key_of_its_own() -> None:
    """No two objects of an attachment, nor of the node, stand in each other's place."""
    node = Node(node_addresses=(NODE_V4, NODE_V6), around=Surroundings(accept_ra_interfaces=("up0", "up1")))
    for things in (rendered(attachment()), list(render_node(node))):
        assert len({thing.key for thing in things}) == len(things)


def test_the_node_forwards_and_answers_from_its_addresses() -> None:
    """Forwarding of both families; the first hop and the node's addresses on loopback, none for the outside."""
    things = list(
        render_node(Node(node_addresses=(NODE_V4, NODE_V6), around=Surroundings(accept_ra_interfaces=("up0",))))
    )
    assert [(s.name, s.value, s.instead_of) for s in of(Sysctl, things)] == [
        ("net/ipv4/ip_forward", "1", None),
        ("net/ipv6/conf/up0/accept_ra", "2", "1"),
        ("net/ipv6/conf/all/forwarding", "1", None),
    ]
    assert [(a.ip, a.rt_scope, a.deprecated) for a in of(Address, things)] == [
        (FIRST_HOP_V4, 253, False),
        (NODE_V4.packed, 253, False),
        (NODE_V6.packed, 0, True),
    ]


def test_a_node_without_ipv6_is_asked_for_none() -> None:
    """With IPv6 off, neither its switches nor its addresses are desired."""
    node = Node(node_addresses=(NODE_V4, NODE_V6), around=Surroundings(accept_ra_interfaces=("up0",)), ipv6=False)
    things = list(render_node(node))
    assert not [s for s in of(Sysctl, things) if "ipv6" in s.name]
    assert {len(a.ip) for a in of(Address, things)} == {4}


@pytest.mark.parametrize("masquerade", [True, False])
def test_masquerading_is_one_rule_or_none(masquerade: bool) -> None:
    """The chain is there either way, so that switching it off takes the rule away."""
    chains = of(NftChain, list(render_node(Node(masquerade=masquerade))))
    (chain,) = (chain for chain in chains if (chain.type, chain.hook) == ("nat", "postrouting"))
    assert sum("workloads to outside" in rule for rule in chain.rules) == masquerade


def test_a_mac_of_the_keys_own_is_rendered_as_bytes() -> None:
    """The workload's end has the record's MAC, which by default follows from the key."""
    mac = workload_mac(AttachmentKey("web", "eth0"))
    _, workload = of(Link, rendered(attachment(mac=mac)))
    assert workload.mac is not None
    assert workload.mac.hex(":") == mac
