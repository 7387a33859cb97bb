"""What the node's network means: whose an address is, what overlaps a pool, how large packets are, and their source."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.models.base import IPAddress
from netplumb.models.kernel import LINK_GROUP, RT_TABLE_MAIN, Link, Scope
from netplumb.models.network import Pool
from netplumb.models.nodenetwork import EndingRoute, Hop, NetworkFacts, NodeAddress, NodeRoute
from netplumb.models.policy import ForeignRule
from netplumb.reconciler.decide.nodenetwork import network_conditions, refusal, surveyed, whose_else
from netplumb.reconciler.decide.uplinks import SOURCES_MAX

UP0, UP1, OURS = 2, 3, 9
LINKS = {
    UP0: Link(Scope.NODE, "up0", mtu=1500),
    UP1: Link(Scope.NODE, "up1", mtu=1400),
    OURS: Link(Scope.NODE, "npaaaaaaaaaaaa", mtu=1280, group=LINK_GROUP),
}
POOL = Pool.model_validate({"cidr": "10.99.0.0/16"})


def address(text: str, index: int = UP0, *, ours: bool = False) -> NodeAddress:
    found = ip_interface(text)
    return NodeAddress(found.ip, found.network, index, ours)


def route(dst: str, *hops: tuple[int, str], src: str = "", table: int = RT_TABLE_MAIN, **more: Any) -> NodeRoute:
    ways = tuple(Hop(index, ip_address(gateway) if gateway else None) for index, gateway in hops)
    return NodeRoute(ip_network(dst), ways, table, ip_address(src) if src else None, **more)


def facts(*things: NodeAddress | NodeRoute | ForeignRule) -> NetworkFacts:
    return NetworkFacts(
        addresses=tuple(it for it in things if isinstance(it, NodeAddress)),
        routes=tuple(it for it in things if isinstance(it, NodeRoute)),
        rules=tuple(it for it in things if isinstance(it, ForeignRule)),
        links=LINKS,
    )


@pytest.mark.parametrize(
    ("thing", "cuts"),
    [
        (route("0.0.0.0/0", (UP0, "192.0.2.2")), None),
        (route("0.0.0.0/1", (UP0, "")), None),
        (route("10.0.0.0/8", (UP0, "192.0.2.2")), None),
        (route("10.0.0.0/8", (UP0, "")), None),
        (route("10.99.0.0/16", (UP0, "192.0.2.2")), True),
        (route("10.99.7.0/24", (UP0, "192.0.2.2"), (UP1, "198.51.100.2")), True),
        (route("10.99.7.7/32", (UP0, "")), True),
        (route("10.99.7.7/32", (OURS, "")), None),
        (route("10.99.7.0/24", (UP0, "192.0.2.2"), table=77), None),
        (route("10.0.0.0/8", (UP0, ""), connected=True), True),
        (route("203.0.113.0/24", (UP0, "10.99.0.9")), False),
        (address("10.99.0.9/32"), False),
        (address("10.0.0.1/8"), True),
        (address("10.99.0.1/32", ours=True), None),
        (address("192.0.2.1/24"), None),
    ],
)
def test_what_overlaps_a_pool(thing: NodeAddress | NodeRoute, cuts: bool | None) -> None:
    """None where nothing does; what cuts a network off is told from what is merely passed over."""
    found = surveyed(facts(thing), [POOL]).overlaps
    assert (any(it.cuts for it in found) if found else None) == cuts
    assert bool(list(network_conditions(surveyed(facts(thing), [POOL])))) == (cuts is not None)


@pytest.mark.parametrize(
    ("prefix", "link", "cuts"),
    [
        ("10.0.0.0/8", UP0, True),
        ("10.99.0.0/16", UP0, True),
        ("10.99.7.6/31", UP0, False),
        ("10.99.7.7/32", OURS, None),
        ("192.0.2.0/24", UP0, None),
        ("fd00::/8", UP0, None),
    ],
)
def test_a_local_prefix_is_the_nodes_however_large(prefix: str, link: int, cuts: bool | None) -> None:
    """A part of the pool is passed over; where all of it is in one, it gives nothing."""
    known = surveyed(replace(facts(), local=((ip_network(prefix), link),)), [POOL])
    assert [it.cuts for it in known.overlaps] == ([] if cuts is None else [cuts])
    assert bool(whose_else(ip_address("10.99.7.7"), known)) == (cuts is not None)
    assert bool(known.taken[POOL.prefix]) == (cuts is not None)
    assert (POOL.prefix in known.covered) == (cuts is True)


@pytest.mark.parametrize(
    ("text", "metric", "ends"),
    [
        ("10.99.7.7", 0, True),
        ("10.99.7.7", 5, False),
        ("fd99::7", 1, True),
        ("fd99::7", 16, True),
        ("fd99::7", 1024, False),
    ],
)
def test_a_route_that_ends_the_way_to_an_address(text: str, metric: int, ends: bool) -> None:
    """It is passed over and told where ours does not come before it."""
    pool = Pool.model_validate({"cidr": "fd99::/64" if ":" in text else "10.99.0.0/16"})
    known = surveyed(
        replace(facts(), ending=(EndingRoute("blackhole", ip_network(text), RT_TABLE_MAIN, metric),)), [pool]
    )
    assert bool(known.overlaps) == bool(known.taken[pool.prefix]) == bool(whose_else(ip_address(text), known)) == ends


def test_what_is_more_specific_than_a_pool_is_not_its_to_give() -> None:
    """The stretches are in order, apart, and less the pool itself."""
    known = surveyed(
        facts(
            address("10.99.5.5/32"),
            route("10.99.5.4/31", (UP0, "192.0.2.2")),
            route("10.99.5.6/31", (UP0, "192.0.2.2")),
            route("10.99.0.0/16", (UP0, "192.0.2.2")),
            route("203.0.113.0/24", (UP0, "10.99.0.9")),
        ),
        [POOL],
    )
    at = int(POOL.cidr.network_address)
    assert known.taken == {"10.99.0.0/16": ((at + 9, at + 9), (at + 5 * 256 + 4, at + 5 * 256 + 7))}


KNOWN = surveyed(
    facts(
        address("192.0.2.1/24"),
        address("2001:db8::1/64"),
        address("198.51.100.0/31", UP1),
        route("0.0.0.0/0", (UP0, "192.0.2.2")),
        route("203.0.113.0/24", (UP0, "2001:db8::9")),
        route("203.0.113.9/32", (UP1, "")),
        route("198.18.0.0/16", (OURS, "10.99.0.5")),
    ),
    [POOL],
)


@pytest.mark.parametrize(
    ("text", "words", "meant"),
    [
        ("192.0.2.1", "the node's own, on up0", False),
        ("192.0.2.2", "the next hop of the node's route default via 192.0.2.2 dev up0", False),
        ("2001:db8::9", "the next hop of the node's route 203.0.113.0/24", False),
        ("192.0.2.255", "the broadcast address of 192.0.2.0/24 on up0", False),
        ("192.0.2.0", "the network address of 192.0.2.0/24 on up0", False),
        ("2001:db8::", "the subnet-router anycast address of 2001:db8::/64 on up0", False),
        ("198.51.100.0", "the node's own, on up1", False),
        ("192.0.2.3", "is in 192.0.2.0/24", True),
        ("198.51.100.1", "is in 198.51.100.0/31", True),
        ("203.0.113.9", "is in 203.0.113.9/32", True),
        ("203.0.113.10", "", True),
        ("10.99.0.5", "", True),
    ],
)
def test_whose_a_static_address_is(text: str, words: str, meant: bool) -> None:
    """What is meant passes where it may be meant; a next hop that is a workload is its own."""
    ip = ip_address(text)
    refused = refusal(ip, None, KNOWN, allow_foreign=False)
    assert (words in str(refused)) if words else refused is None
    assert (refusal(ip, None, KNOWN, allow_foreign=True) is None) == meant
    assert bool(whose_else(ip, KNOWN)) == ("own" in words or "next hop" in words)


def test_a_pools_address_is_judged_by_what_is_more_specific_than_the_pool() -> None:
    """The pool itself says that its addresses are meant."""
    around = surveyed(facts(address("10.1.0.1/8"), address("10.99.7.1/24", UP1)), [POOL])
    assert refusal(ip_address("10.99.0.5"), POOL, around, allow_foreign=False) is None
    assert refusal(ip_address("10.99.7.5"), POOL, around, allow_foreign=False) is not None
    assert refusal(ip_address("10.3.0.5"), None, around, allow_foreign=False) is not None


@pytest.mark.parametrize(
    ("things", "mtu"),
    [
        ([], None),
        ([route("10.0.0.0/8", (UP1, "198.51.100.2"))], None),
        ([route("0.0.0.0/0", (UP0, "192.0.2.2"))], 1500),
        ([route("0.0.0.0/0", (UP0, "192.0.2.2"), (UP1, ""))], 1400),
        ([route("0.0.0.0/0", (UP0, "192.0.2.2")), route("::/0", (UP1, ""))], 1400),
        ([route("0.0.0.0/0", (UP0, "192.0.2.2")), route("0.0.0.0/0", (UP1, ""), metric=9)], 1500),
        ([route("0.0.0.0/0", (UP0, "")), route("128.0.0.0/1", (UP1, ""))], 1400),
        ([route("::/0", (UP0, "")), route("::/0", (UP1, ""), table=77)], 1400),
        ([route("0.0.0.0/0", (UP0, ""), mtu=1380)], 1380),
        ([route("0.0.0.0/0", (UP0, ""), mtu=9000)], 1500),
        ([route("0.0.0.0/0", (OURS, "")), route("::/0", (UP0, ""))], 1500),
    ],
)
def test_the_smallest_way_out_in_use_counts(things: list[NodeRoute], mtu: int | None) -> None:
    assert surveyed(facts(*things), []).uplink_mtu == mtu


def test_every_way_out_is_an_uplink() -> None:
    """With all hops, by whatever table and metric; what leads into workloads is none."""
    ways = [route("0.0.0.0/0", (UP0, "192.0.2.2"), (UP1, ""), metric=9), route("::/0", (OURS, ""))]
    assert surveyed(facts(*ways, route("10.0.0.0/8", (UP1, ""))), []).uplinks == {"up0", "up1"}
    assert surveyed(facts(route("10.0.0.0/8", (UP1, ""))), []).uplinks == frozenset()


TWO = (address("192.0.2.1/24"), address("192.0.2.9/24"))


def sources(*things: NodeAddress | NodeRoute | ForeignRule) -> list[tuple[str, str, IPAddress | None]]:
    return [(it.link, str(it.dst), it.ip) for it in surveyed(facts(*things), [POOL]).sources]


def test_a_route_without_a_choice_is_masqueraded() -> None:
    """What the kernel fills in, and a source that is the only one, is what masquerading chooses."""
    connected = route("192.0.2.0/24", (UP0, ""), src="192.0.2.1", connected=True)
    assert sources(*TWO, connected, route("0.0.0.0/0", (UP0, "192.0.2.2"))) == []
    assert sources(address("192.0.2.1/24"), route("0.0.0.0/0", (UP0, "192.0.2.2"), src="192.0.2.1")) == []


def test_a_source_of_a_routes_own_has_its_exceptions_before_it() -> None:
    """By each of the route's links; another link's routes are none, and what says the same again is not said twice."""
    nine = ip_address("192.0.2.9")
    found = sources(
        *TWO,
        route("192.0.2.0/24", (UP0, ""), src="192.0.2.1", connected=True),
        route("0.0.0.0/0", (UP0, "192.0.2.2"), src="192.0.2.9"),
        route("10.0.0.0/8", (UP1, "")),
        route("10.1.0.0/16", (UP0, "192.0.2.2"), src="192.0.2.9"),
    )
    assert found == [("up0", "192.0.2.0/24", None), ("up0", "0.0.0.0/0", nine)]


def test_of_two_tables_the_one_that_workloads_come_to_first_counts() -> None:
    one, nine = ip_address("192.0.2.1"), ip_address("192.0.2.9")
    routes = (
        route("0.0.0.0/0", (UP0, ""), src="192.0.2.1", table=77),
        route("0.0.0.0/0", (UP0, ""), src="192.0.2.9"),
    )
    main = ForeignRule(4, 32766)
    for src, expected in (("10.99.0.0/16", one), ("192.0.2.1/32", nine)):
        rule = ForeignRule(4, 100, ip_network(src), table=77)
        assert sources(*TWO, *routes, rule, main) == [("up0", "0.0.0.0/0", expected)]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(4, 8), st.sampled_from(["", "192.0.2.9", "192.0.2.8"]))))
def test_the_sources_say_what_the_most_specific_route_says(drawn: list[tuple[int, int, str]]) -> None:
    """For every destination, whatever was left out since it follows from the rest."""
    routes: dict[str, NodeRoute] = {}
    for number, length, src in drawn:
        dst = str(ip_network((number << 28 | number << 24, length), strict=False))
        routes.setdefault(dst, route(dst, (UP0, "192.0.2.2"), src=src))
    found = surveyed(facts(*TWO, *routes.values()), []).sources
    for place in (ip_network(dst).network_address for dst in routes):
        meant = max((it for it in routes.values() if place in it.dst), key=lambda it: it.dst.prefixlen)
        first = next((it for it in found if place in it.dst), None)
        assert (first.ip if first is not None else None) == meant.source


def test_the_rules_are_bounded() -> None:
    many = [route(f"10.{n // 256}.{n % 256}.0/24", (UP0, ""), src="192.0.2.9") for n in range(2 * SOURCES_MAX)]
    assert len(sources(*TWO, *many)) == SOURCES_MAX
