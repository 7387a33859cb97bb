"""How port mappings are written, what they mean, and which of them collide."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from netplumb.models.attachment import AttachmentKey, AttachmentSpec
from netplumb.models.errors import AlreadyHeld, TooMany
from netplumb.models.ports import MAPPINGS_MAX, PORTS_MAX, PortMapping, PortMappings, Protocol
from netplumb.reconciler.decide import claims
from netplumb.reconciler.decide.claims import PortHolders, default_route_holder

MAPPINGS: TypeAdapter[tuple[PortMapping, ...]] = TypeAdapter(PortMappings)
WEB, DB = AttachmentKey("web", "eth0"), AttachmentKey("db", "eth0")


def parsed(*texts: object) -> tuple[PortMapping, ...]:
    return MAPPINGS.validate_python(texts)


def mistake(*texts: object) -> str:
    with pytest.raises(ValidationError) as caught:
        parsed(*texts)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("8080:80", {}),
        ("8080:80/udp", {"protocol": "udp"}),
        ("8080:80/SCTP", {"protocol": "sctp"}),
        ("127.0.0.1:8080:80", {"host_ip": "127.0.0.1"}),
        ("[::1]:8080:80/tcp", {"host_ip": "::1"}),
        ("8080-8082:80", {"host_port_end": 8082}),
        ("8080-8082:80-82/udp", {"host_port_end": 8082, "protocol": "udp"}),
        ({"host_port": "8080-8082", "container_port": 80}, {"host_port_end": 8082}),
    ],
)
def test_text_means_what_the_fields_mean(text: object, fields: dict[str, Any]) -> None:
    """A person writes a line, a program the fields."""
    assert parsed(text) == parsed({"host_port": 8080, "container_port": 80, **fields})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("80", "is not like 8080:80"),
        ("80:", "is not like"),
        ("a:80", "is not like"),
        ("٨٠:80", "is not like"),
        ("10.0.0.300:80:80", "does not appear to be an IPv4 or IPv6 address"),
        ("::1:80:80", "is not like"),
        ("80:80/icmp", "tcp"),
        ("0:80", "greater than or equal to 1"),
        ("65536:80", "less than or equal to 65535"),
        ("90-80:80", "ends before it begins"),
        ("1-10:80-90", "the two ranges differ in length"),
        ("1-100:65500", "go beyond 65535"),
        ("224.0.0.1:80:80", "cannot be an address of the node"),
        ("255.255.255.255:80:80", "cannot be an address of the node"),
        ("[::ffff:192.0.2.1]:80:80", "cannot be an address of the node"),
        ("[::ffff:c000:201]:80:80", "cannot be an address of the node"),
        ("[fe80::1]:80:80", "fe80::1 is link-local, the same on every interface"),
        ("[fe80::1%up0]:80:80", "is link-local"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    assert said in mistake(text)


@pytest.mark.parametrize("end", range(8080, 8083))
def test_a_range_leads_port_by_port(end: int) -> None:
    """Its size, its ports, and how it is written."""
    (mapping,) = parsed(f"8080-{end}:80" if end > 8080 else "8080:80")
    assert mapping.size == end - 8079
    assert {port.port for port in mapping.host_ports()} == set(range(8080, end + 1))
    assert {port.version for port in mapping.host_ports()} == {4, 6}
    assert parsed(str(mapping)) == ((mapping,) if end > 8080 else parsed("8080:80"))


@pytest.mark.parametrize(
    ("one", "other", "collide"),
    [
        ("80:1", "80:2", True),
        ("80:1", "80:2/udp", False),
        ("80:1", "127.0.0.1:80:2", True),
        ("127.0.0.1:80:1", "80:2", True),
        ("127.0.0.1:80:1", "127.0.0.2:80:2", False),
        ("127.0.0.1:80:1", "[::1]:80:2", False),
        ("0.0.0.0:80:1", "[::]:80:2", False),
        ("0.0.0.0:80:1", "10.0.0.1:80:2", True),
        ("70-90:1", "85-95:200", True),
        ("70-79:1", "80-95:200", False),
    ],
)
def test_two_mappings_collide_when_one_packet_could_mean_both(one: str, other: str, collide: bool) -> None:
    """Within a wish it is a mistake, between attachments the port is held."""
    holders = PortHolders()
    holders.hold(parsed(one), WEB)
    holders.check(parsed(other), WEB)
    if collide:
        assert "both mean" in mistake(one, other)
        with pytest.raises(AlreadyHeld, match="held by attachment web/eth0"):
            holders.check(parsed(other), DB)
    else:
        assert len(parsed(one, other)) == 2
        holders.check(parsed(other), DB)
    holders.release(parsed(one), WEB)
    holders.check(parsed(other), DB)


def test_a_node_maps_only_so_many_ports(monkeypatch: pytest.MonkeyPatch) -> None:
    """At whatever addresses. What is mapped may be said again, or be fewer; what goes makes room."""
    monkeypatch.setattr(claims, "NODE_PORTS_MAX", 30)
    holders = PortHolders()
    for _ in range(2):
        holders.hold(parsed("192.0.2.1:80-89:80"), WEB)
        holders.hold(parsed("192.0.2.2:80-89:80"), DB)
    holders.check(parsed("90-94:90"), AttachmentKey("cache", "eth0"))
    with pytest.raises(TooMany, match=r"20 ports are mapped on this node.* no more than 30 .* would be 12 more"):
        holders.check(parsed("90-95:90"), AttachmentKey("cache", "eth0"))
    with pytest.raises(TooMany):
        holders.check(parsed("192.0.2.1:80-100:80"), WEB)
    for wish in ("192.0.2.1:80-89:80", "192.0.2.1:85-89:80", "192.0.2.1:80-99:80"):
        holders.check(parsed(wish), WEB)
    holders.release(parsed("192.0.2.2:80-89:80"), DB)
    holders.check(parsed("90-95:90"), AttachmentKey("cache", "eth0"))


@pytest.mark.parametrize(
    ("said", "left"),
    [
        (("80:1", "80:1"), ("80:1",)),
        (("80:1", "[::]:80:1"), ("80:1",)),
        (("0.0.0.0:80:1", "80:1"), ("80:1",)),
        (("80:1", "127.0.0.1:80:1"), ("80:1",)),
        (("[::1]:80:1", "127.0.0.1:80:1", "80:1"), ("80:1",)),
        (("0.0.0.0:80:1", "[::]:80:1"), ("0.0.0.0:80:1", "[::]:80:1")),
        (("0.0.0.0:80:1", "[::1]:80:1"), ("0.0.0.0:80:1", "[::1]:80:1")),
        (("85:6", "80-90:1", "88-90:9-11"), ("80-90:1",)),
        (("80-85:1-6", "84-90:5"), ("80-85:1-6", "84-90:5")),
        (("80:1/udp", "80:1/tcp"), ("80:1/udp", "80:1/tcp")),
    ],
)
def test_what_leads_to_the_same_is_one_mapping(said: tuple[str, ...], left: tuple[str, ...]) -> None:
    """However often it is said; what a wider mapping says is not said again."""
    assert parsed(*said) == tuple(mapping for text in left for mapping in parsed(text))


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("80:1", "80:1", True),
        ("80:1", "127.0.0.1:80:1", True),
        ("80:1", "[::]:80:1", True),
        ("80-90:1", "85:6", True),
        ("80-90:1", "85:7", False),
        ("80:1", "80:2", False),
        ("80:1", "127.0.0.1:80:2", False),
    ],
)
def test_interfaces_of_one_workload_share_what_leads_to_the_same(one: str, other: str, shared: bool) -> None:
    """Another workload has nothing of it, and only the last of those that share lets go of the port."""
    second = AttachmentKey("web", "eth1")
    holders = PortHolders()
    holders.hold(parsed(one), WEB)
    with pytest.raises(AlreadyHeld, match="held by attachment web/eth0"):
        holders.check(parsed(other), DB)
    if not shared:
        with pytest.raises(AlreadyHeld, match="share what leads to the same port"):
            holders.check(parsed(other), second)
        return
    holders.check(parsed(other), second)
    holders.hold(parsed(other), second)
    holders.release(parsed(one), WEB)
    with pytest.raises(AlreadyHeld, match="held by attachment web/eth1"):
        holders.check(parsed(other), DB)
    holders.release(parsed(other), second)
    holders.check(parsed(other), DB)


def test_what_was_taken_over_is_not_released_by_its_former_holder() -> None:
    """A port moves from one that goes to one that comes before the first has gone."""
    holders = PortHolders()
    holders.hold(parsed("80:1"), WEB)
    holders.hold(parsed("80:1"), DB)
    holders.release(parsed("80:1"), WEB)
    with pytest.raises(AlreadyHeld, match="db/eth0"):
        holders.check(parsed("80:1"), WEB)


def test_there_is_a_bound_to_what_one_wish_maps() -> None:
    """Each port is an element in the kernel."""
    assert f"at most {PORTS_MAX} may be" in mistake(f"1-{PORTS_MAX}:1", f"{PORTS_MAX + 1}:1")
    assert f"at most {MAPPINGS_MAX}" in mistake(*(f"{port}:1" for port in range(1, MAPPINGS_MAX + 2)))


@given(st.text(max_size=40) | st.binary(max_size=10) | st.integers() | st.none() | st.lists(st.integers(), max_size=2))
def test_anything_else_is_a_mistake_and_nothing_worse(value: object) -> None:
    """Whatever is written is either a mapping or a validation error."""
    try:
        (mapping,) = parsed(value)
    except ValidationError:
        return
    assert parsed(str(mapping)) == (mapping,)


def test_protocols_are_those_with_ports() -> None:
    assert {it.value for it in Protocol} == {"tcp", "udp", "sctp"}


def interface(name: str, default_route: bool | None = None) -> AttachmentSpec:
    return AttachmentSpec.model_validate(
        {"workload_id": "web", "netns": {"name": "web"}, "if_name": name, "default_route": default_route}
    )


@pytest.mark.parametrize(
    ("interfaces", "holder"),
    [
        ([interface("eth10"), interface("eth2")], "eth2"),
        ([interface("eth2"), interface("eth10", True)], "eth10"),
        ([interface("net1", True), interface("eth9", True)], "eth9"),
        ([interface("eth0", False), interface("eth1")], "eth1"),
        ([interface("eth0", False)], None),
        ([], None),
    ],
)
def test_one_interface_holds_the_default_route(interfaces: list[AttachmentSpec], holder: str | None) -> None:
    """The first that asks for it, else the first that says nothing, in whatever order they came."""
    for order in (interfaces, interfaces[::-1]):
        found = default_route_holder(order)
        assert (found.if_name if found is not None else None) == holder


def test_an_address_of_the_node_narrows_the_family() -> None:
    (mapping,) = parsed("[fd00::1]:80:80")
    assert (mapping.versions, mapping.bound_ip) == ((6,), ip_address("fd00::1"))
    (mapping,) = parsed("0.0.0.0:80:80")
    assert (mapping.versions, mapping.bound_ip) == ((4,), None)
