"""Who of a workload's interfaces serves a port that several of them map."""

from __future__ import annotations

from collections.abc import Sequence

from netplumb.models.attachment import Attachment
from netplumb.reconciler.decide.render.ports import maps_localhost, render_port_elements
from netplumb.reconciler.desired.assignment import changed_with

BOTH = ("10.0.0.2", "fd00::2")
WEB = {("port4", "6", "8081"), ("port6", "6", "8081")}


def interface(
    if_name: str, *ports: str, addresses: Sequence[str] = BOTH, default_route: bool | None = None
) -> Attachment:
    wish = {
        "workload_id": "web",
        "netns": {"name": "web"},
        "if_name": if_name,
        "port_mappings": ports,
        "default_route": default_route,
    }
    record = {"spec": wish, "source": "rpc", "mac": "02:00:00:00:00:01", "addresses": addresses}
    return Attachment.model_validate(record)


def settled(*interfaces: Attachment) -> dict[str, Attachment]:
    """By name, as they are when all know of one another."""
    gone = interfaces[0].model_copy(update={"spec": interface("gone").spec, "removing": True})
    changed = {it.key: it for it in changed_with(gone, interfaces)}
    return {it.spec.if_name: changed.get(it.key, it) for it in interfaces}


def served(record: Attachment) -> set[tuple[str, ...]]:
    """The address maps' elements of an interface, less where they lead."""
    addresses = (it for it in render_port_elements(record) if it.set.endswith("_address"))
    return {(it.set.removesuffix("_address"), *map(str, it.match)) for it in addresses}


def serving(*interfaces: Attachment) -> list[str]:
    records = settled(*interfaces).values()
    assert [served(it) for it in records if served(it)] == [WEB], "one at a time, and all of it"
    return [it.spec.if_name for it in records if served(it)]


def test_one_serves_and_the_next_takes_over() -> None:
    """In whatever order they came; the tenth comes after the second."""
    eth0, eth2, eth10 = (interface(name, "8081:80") for name in ("eth0", "eth2", "eth10"))
    assert serving(eth2, eth0, eth10) == serving(eth10, eth0, eth2) == ["eth0"]
    assert serving(eth10, eth2) == serving(eth2, eth10) == ["eth2"]
    assert serving(eth10) == ["eth10"]


def test_the_default_route_leads_where_answers_come_from() -> None:
    """What maps a port beside it waits; what does not map it leaves it to the next."""
    plain, asking = interface("eth0", "8081:80"), interface("eth1", "8081:80", default_route=True)
    assert serving(plain, asking) == ["eth1"]
    assert serving(interface("eth0"), interface("eth2", "8081:80"), interface("eth1", "8081:80")) == ["eth1"]


def test_each_family_is_served_by_the_first_that_has_it() -> None:
    records = settled(interface("eth0", "8081:80", addresses=BOTH[:1]), interface("eth1", "8081:80"))
    assert served(records["eth0"]) == {("port4", "6", "8081")}
    assert served(records["eth1"]) == {("port6", "6", "8081")}
    assert [maps_localhost(records["eth1"], version) for version in (4, 6)] == [False, True]


def test_of_a_range_only_what_is_shared_is_yielded() -> None:
    records = settled(
        interface("eth0", "8000-8002:80-82"),
        interface("eth1", "8001-8003:81-83", "127.0.0.1:8000:80", "53:53/udp"),
    )
    assert served(records["eth1"]) == {
        ("port4", "6", "8003"),
        ("port6", "6", "8003"),
        ("port_at4", "127.0.0.1", "6", "8000"),
        ("port4", "17", "53"),
        ("port6", "17", "53"),
    }
