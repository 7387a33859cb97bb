"""Which rules of others end what a workload sends."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address, ip_network

import pytest

from netplumb.models.attachment import Attachment, AttachmentSpec
from netplumb.models.kernel import RT_TABLE_MAIN
from netplumb.models.naming import node_if_name
from netplumb.models.nodenetwork import EndedWay, EndingRoute, Hop, NetworkFacts, NodeAddress, NodeNetwork, NodeRoute
from netplumb.models.policy import ForeignRule
from netplumb.reconciler.decide.sending import ended_ways, ending_rules, ends_of, leading_rules, narrow_ways

POOLS = [ip_network("10.99.0.0/16")]
SPEC = {"workload_id": "web", "netns": {"name": "web"}, "port_mappings": ["8080:80"]}
WEB = Attachment(
    spec=AttachmentSpec.model_validate(SPEC),
    source="rpc",
    mac="02:00:00:00:00:01",
    addresses=(ip_address("10.99.0.2"),),
)
END = ForeignRule(4, 500, looks_up=False, ends="prohibit")
MAIN = ForeignRule(4, 32766, table=RT_TABLE_MAIN)
OUT = NodeRoute(ip_network("0.0.0.0/0"), (Hop(7),), RT_TABLE_MAIN)


@pytest.mark.parametrize(
    ("rule", "ends"),
    [
        (END, True),
        (replace(END, src=ip_network("10.99.0.2/32")), True),
        (replace(END, src=ip_network("10.99.0.3/32")), False),
        (replace(END, version=6), False),
        (replace(END, selectors=(("ipproto", "udp"),)), True),
        (replace(END, selectors=(("sport", "80"),)), True),
        (replace(END, selectors=(("ipproto", "tcp"), ("sport", "70-90"))), True),
        (replace(END, selectors=(("ipproto", "udp"), ("sport", "80"))), False),
        (replace(END, selectors=(("sport", "81"),)), False),
        (replace(END, selectors=(("dport", "25"),)), False),
        (replace(END, dst=ip_network("192.0.2.0/24")), False),
        (replace(END, fwmark=1, fwmask=1), False),
        (replace(END, fwmark=0, fwmask=1), True),
        (replace(END, inverted=True), False),
        (replace(END, iif="up0"), False),
        (replace(END, iif=node_if_name(WEB.key)), True),
        (replace(END, ends="action 2"), False),
        (ForeignRule(4, 500, table=100), False),
    ],
    ids=str,
)
def test_what_ends_what_it_sends_is_told(rule: ForeignRule, ends: bool) -> None:
    """As far as that is sure, and nobody's wish about some destination."""
    assert bool(ends_of(WEB, NodeNetwork(ending_rules=(rule,)))) is ends


def test_a_rule_behind_one_that_leads_all_out_ends_nothing() -> None:
    """It is not asked then; but what suppresses routes, or leads some out, is no such rule."""
    late = replace(END, preference=40000)
    assert list(ending_rules(NetworkFacts(rules=(END, MAIN, late), routes=(OUT,)), POOLS)) == [END]
    assert list(ending_rules(NetworkFacts(rules=(MAIN, late)), POOLS)) == [late]
    for before in (
        replace(MAIN, suppress=(("suppress_prefixlength", "0"),)),
        replace(MAIN, iif="up0"),
        replace(MAIN, src=ip_network("10.99.1.0/24")),
        replace(MAIN, dst=ip_network("10.99.1.0/24")),
        replace(MAIN, version=6),
    ):
        assert list(ending_rules(NetworkFacts(rules=(before, late), routes=(OUT,)), POOLS)) == [late]


VPN = ForeignRule(4, 32765, table=51820, inverted=True, fwmark=51820, fwmask=0xFFFFFFFF)
TUNNEL = replace(OUT, hops=(Hop(8),), table=51820)


@pytest.mark.parametrize(
    ("rule", "routes", "leads"),
    [
        (VPN, (OUT, TUNNEL), True),
        (replace(VPN, inverted=False, fwmark=0, fwmask=0), (OUT, TUNNEL), True),
        (replace(VPN, inverted=False, fwmark=0, fwmask=0, src=POOLS[0]), (OUT, TUNNEL), True),
        (replace(VPN, inverted=False), (OUT, TUNNEL), False),
        (replace(VPN, inverted=False, fwmark=0, fwmask=0, iif="up0"), (OUT, TUNNEL), False),
        (replace(VPN, preference=40000), (OUT, TUNNEL), False),
        (VPN, (OUT, replace(TUNNEL, dst=ip_network("10.5.0.0/24"))), False),
        (VPN, (OUT, replace(TUNNEL, hops=OUT.hops)), False),
        (VPN, (TUNNEL,), False),
        (replace(VPN, version=6), (OUT, TUNNEL), False),
    ],
    ids=str,
)
def test_what_leads_past_the_main_table_s_uplink(rule: ForeignRule, routes: tuple[NodeRoute, ...], leads: bool) -> None:
    """Of what nobody marked, before the main table is asked for a way out, and by another interface."""
    first = replace(MAIN, preference=500, suppress=(("suppress_prefixlength", "0"),))
    rules = tuple(sorted((first, rule, MAIN), key=lambda it: it.preference))
    assert list(leading_rules(NetworkFacts(rules=rules, routes=routes), POOLS)) == ([rule] if leads else [])


ALL = ip_network("0.0.0.0/0")
NODE = NodeAddress(ip_address("192.0.2.1"), ip_network("192.0.2.0/24"), 7)
ASIDE = ForeignRule(4, 900, src=POOLS[0], table=100)
UNREACHABLE = EndingRoute("unreachable", ALL, 100)


def ended(*routes: NodeRoute | EndingRoute, rules: tuple[ForeignRule, ...] = (ASIDE, MAIN)) -> list[EndedWay]:
    ways = tuple(it for it in routes if isinstance(it, NodeRoute))
    ending = tuple(it for it in routes if isinstance(it, EndingRoute))
    return list(ended_ways(NetworkFacts((NODE,), ways, rules=rules, ending=ending), POOLS))


def test_a_route_that_ends_all_is_met_where_no_way_out_goes_before_it() -> None:
    """In the table of a rule for workloads, or in the main table once nothing led out before it."""
    assert ended(UNREACHABLE, OUT) == [EndedWay(UNREACHABLE, ASIDE)]
    assert not ended(replace(UNREACHABLE, metric=9), replace(OUT, table=100))
    assert ended(replace(UNREACHABLE, metric=5), replace(OUT, table=100, metric=9))
    in_main = replace(UNREACHABLE, table=RT_TABLE_MAIN, metric=9)
    assert ended(in_main) == [EndedWay(in_main, MAIN)]
    assert not ended(in_main, OUT)
    assert not ended(in_main, replace(OUT, table=100)), "nobody comes as far"
    assert not ended(replace(UNREACHABLE, type="throw"))


def test_a_route_that_ends_all_is_told_of_those_alone_whose_packets_come_to_it() -> None:
    one = replace(ASIDE, src=ip_network("10.99.0.3/32"))
    assert ends_of(WEB, NodeNetwork(ended_ways=(EndedWay(UNREACHABLE, ASIDE),)))
    assert not ends_of(WEB, NodeNetwork(ended_ways=(EndedWay(UNREACHABLE, one),)))


def test_the_ways_to_some_destinations_are_ended_by_somebody_s_wish_in_the_main_table() -> None:
    bogons = EndingRoute("blackhole", ip_network("192.168.0.0/16"), RT_TABLE_MAIN)
    assert not ended(bogons)
    assert ended(replace(bogons, table=100)) == [EndedWay(replace(bogons, table=100), ASIDE)]


@pytest.mark.parametrize(
    ("of", "found"),
    [
        (("2001:db8:2::/64",), True),
        (("2001:db8:2::/64", "2001:db8:3::/64"), True),
        (("2001:db8:2::/64", None), False),
        (("fd99::/48",), False),
        (("fd99:0:0:0:8000::/65",), False),
        ((), False),
    ],
    ids=str,
)
def test_a_way_out_for_other_senders_is_none(of: tuple[str | None, ...], found: bool) -> None:
    """Where there is no other; a node without any has none for itself either."""
    pool = ip_network("fd99::/64")
    main = replace(MAIN, version=6)
    all_v6 = ip_network("::/0")
    routes = [NodeRoute(all_v6, (Hop(7),), RT_TABLE_MAIN, src=ip_network(it) if it else None) for it in of]
    assert bool(list(narrow_ways([main], [OUT, *routes], [pool, *POOLS]))) is found
    beside = NodeRoute(all_v6, (Hop(7),), 100)  # of another table, to which nothing leads
    assert bool(list(narrow_ways([main], [*routes, beside], [pool]))) is found
    assert not list(narrow_ways([main, ForeignRule(6, 500, table=100)], [*routes, beside], [pool]))
