"""The renderers read backwards: whatever was asked for, what is rebuilt of it asks for the same objects."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec, NetnsRef
from netplumb.models.bandwidth import NO_LIMITS, RATE_MIN, Bandwidth
from netplumb.models.kernel import KernelObject, Link, Scope, scope_of
from netplumb.models.naming import node_if_name, workload_mac
from netplumb.models.network import Families, Node
from netplumb.models.ports import Protocol
from netplumb.reconciler.decide.rebuild import Found, rebuild
from netplumb.reconciler.decide.render import render_attachment, render_elements

V4, V6 = ip_address("10.1.0.2"), ip_address("fd01::2")
NODE = Node(node_addresses=(ip_address("10.1.0.1"), ip_address("fd01::1")))
BOTH = (V4, V6)


def attached(addresses: Sequence[Any] = BOTH, *, holds: bool = True, if_name: str = "eth0", **wish: Any) -> Attachment:
    spec = AttachmentSpec.model_validate(
        {"workload_id": "web", "netns": {"name": "web"}, "if_name": if_name, "addresses": addresses, **wish}
    )
    return Attachment(
        spec=spec,
        source="rpc",
        addresses=tuple(addresses),
        mac=workload_mac(spec.key),
        node_addresses=NODE.node_addresses,
        netns_cookie=5,
        default_route_by=if_name if holds else "",
    )


def rendered(attachment: Attachment) -> list[KernelObject]:
    return [*render_elements(attachment, NODE), *render_attachment(attachment, NODE, Families())]


def found(before: Attachment) -> Found:
    objects = rendered(before)
    link = next(it for it in objects if isinstance(it, Link) and it.name == node_if_name(before.key))
    on_node = [it for it in objects if it != link and scope_of(it) is Scope.NODE]
    told = [it for it in objects if scope_of(it) is Scope.WORKLOAD]
    return Found(link, on_node, before.spec.netns.where, before.netns_cookie, told=told)


def again(*before: Attachment) -> list[Attachment]:
    rebuilt = rebuild([found(it) for it in before], [], NODE.mtu)
    assert rebuilt.unclaimed == {}
    return [rebuilt.attachments[it.key] for it in before]


PORTS = st.integers(1, 65535)
MAPPINGS = st.lists(
    st.builds(
        lambda host, size, container, protocol, ip: {
            "host_port": host,
            "host_port_end": min(host + size, 65535) if size else 0,
            "container_port": min(container, 65535 - size),
            "protocol": protocol,
            "host_ip": ip,
        },
        st.one_of(PORTS, st.integers(80, 90)),
        st.integers(0, 4),
        st.one_of(PORTS, st.integers(80, 90)),
        st.sampled_from(list(Protocol)),
        st.sampled_from([None, None, "0.0.0.0", "::", "127.0.0.1", "::1", "192.0.2.1", "2001:db8::1"]),
    ),
    max_size=5,
)
RATES = st.one_of(st.just(0), st.integers(RATE_MIN, 10**11), st.sampled_from([10**6, 10**8, 10**9]))
LIMITS = st.builds(
    lambda ingress, egress, bursts: {
        "ingress_rate": ingress,
        "egress_rate": egress,
        "ingress_burst": bursts[0] if ingress else 0,
        "egress_burst": bursts[1] if egress else 0,
    },
    *(RATES, RATES, st.tuples(st.integers(0, 10**9), st.integers(0, 10**9))),
)
SAID = st.sampled_from([None, True, False])
ROUTES = st.lists(
    st.sampled_from(["192.0.2.0/24", "198.51.100.7/32", "2001:db8::/32", "2001:db8:1::5/128"]).map(
        lambda dst: {"dst": dst}
    ),
    unique_by=lambda route: route["dst"],
    max_size=4,
)


@given(
    addresses=st.sampled_from([BOTH, (V4,), (V6,), (V4, ip_address("10.1.0.9"), V6)]),
    port_mappings=MAPPINGS,
    bandwidth=LIMITS,
    isolate_node=SAID,
    isolate_workloads=SAID,
    routes=ROUTES,
    mtu=st.sampled_from([0, 1280, 1400, 9000]),
    holds=st.booleans(),
)
def test_what_is_rebuilt_renders_as_what_it_was_rebuilt_from(
    addresses: tuple[Any, ...], holds: bool, **wish: Any
) -> None:
    """Ports, limits, isolation, routes, MTU: a pass over the rebuilt record finds nothing to do."""
    families = {it.version for it in addresses}
    # A port at an address of a family that the workload has not leads nowhere, and can't be seen.
    wish["port_mappings"] = [
        it for it in wish["port_mappings"] if it["host_ip"] is None or ip_address(it["host_ip"]).version in families
    ]
    try:
        before = attached(addresses, holds=holds, default_route=None if holds else False, **wish)
    except ValidationError:
        return  # mappings that mean the same port could not be asked for
    (after,) = again(before)
    assert set(rendered(after)) == set(rendered(before))


@pytest.mark.parametrize(
    "mappings",
    [
        ["8080:80/tcp"],
        ["8000-8010:9000-9010/udp"],
        ["127.0.0.1:8080:80/tcp"],
        ["[::1]:8080:80/sctp"],
        ["0.0.0.0:53:53/udp"],
        ["[::]:53:53/udp"],
        ["80:80/tcp", "82:82/tcp"],
    ],
)
def test_ports_are_told_in_the_words_that_asked_for_them(mappings: list[str]) -> None:
    """Ranges come back as ranges, and one family or one address as that."""
    (after,) = again(attached(port_mappings=mappings))
    assert [str(mapping) for mapping in after.spec.port_mappings] == mappings


def test_ports_without_a_family_are_meant_for_every_family_there_is() -> None:
    (after,) = again(attached((V4,), port_mappings=["8080:80"]))
    assert [mapping.host_ip for mapping in after.spec.port_mappings] == [None]


@pytest.mark.parametrize(
    "limits",
    [
        NO_LIMITS,
        Bandwidth(ingress_rate=100_000_000),
        Bandwidth(egress_rate=10_000_000),
        Bandwidth(ingress_rate=1_000_000_000, ingress_burst=8_000_000, egress_rate=8_000, egress_burst=200_000),
    ],
)
def test_limits_come_back(limits: Bandwidth) -> None:
    """To the bit where the burst was left to the daemon; in the terms in which they are enforced at least."""
    (after,) = again(attached(bandwidth=limits))
    mtu = NODE.mtu
    told, meant = after.spec.bandwidth.capped(mtu), limits.capped(mtu)
    assert (told.ingress_rate // 8, told.ingress_burst // 8) == (meant.ingress_rate // 8, meant.ingress_burst // 8)
    assert (told.egress_rate // 8, told.egress_burst // 8) == (meant.egress_rate // 8, meant.egress_burst // 8)
    if not (limits.ingress_burst or limits.egress_burst):
        assert after.spec.bandwidth == limits


def test_what_was_left_to_the_node_is_left_to_it() -> None:
    """Isolation and default route that the wish said nothing about are not said by what is rebuilt."""
    (after,) = again(attached())
    spec = after.spec
    assert (spec.isolate_node, spec.isolate_workloads, spec.default_route, after.default_route) == (
        *(None, None, None),
        True,
    )


def test_the_default_route_stays_where_it_is() -> None:
    """Of several interfaces the first has it unless said otherwise; what was said otherwise is said again."""
    first, second = attached(), attached((ip_address("10.1.0.3"),), if_name="eth1", holds=False)
    after = again(first, second)
    assert [(it.spec.default_route, it.default_route) for it in after] == [(None, True), (None, False)]
    assert [it.default_route_by for it in after] == ["eth0", "eth0"]
    first = attached(holds=False)
    second = attached((ip_address("10.1.0.3"),), if_name="eth1", holds=True, default_route=True)
    after = again(first, second)
    assert [(it.spec.default_route, it.default_route) for it in after] == [(False, False), (True, True)]
    assert [it.default_route_by for it in after] == ["eth1", "eth1"]


def test_a_namespace_that_was_not_seen_tells_nothing_of_its_routes() -> None:
    before = found(attached())
    after = rebuild([Found(before.link, before.objects)], [], NODE.mtu).attachments[AttachmentKey("web", "eth0")]
    assert (after.spec.default_route, after.default_route, after.spec.routes) == (None, True, ())
    assert after.spec.netns != NetnsRef(name="web")
