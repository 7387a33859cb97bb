"""Ownership: what netplumb made is told by the marks on it alone."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import pytest

from netplumb.models.attachment import AttachmentKey
from netplumb.models.kernel import (
    LINK_GROUP,
    Address,
    KernelObject,
    Link,
    LinkUp,
    Neighbour,
    Route,
    Scope,
    Sysctl,
)
from netplumb.models.naming import alias_of, node_if_name
from netplumb.models.nft import NftChain
from netplumb.reconciler.decide.ownership import is_our_link, is_ours

KEY = AttachmentKey("web", "eth0")
OURS = Link(Scope.NODE, node_if_name(KEY), group=LINK_GROUP, alias=alias_of(KEY))
DAMAGE: dict[str, str | int] = {"name": "eth7", "group": 0, "alias": ""}


@pytest.mark.parametrize("field", DAMAGE)
def test_a_link_that_lost_one_mark_is_still_ours(field: str) -> None:
    """No single damage makes a link of ours a stranger's."""
    assert is_our_link(replace(OURS, **{field: DAMAGE[field]}))  # type: ignore[arg-type]


@pytest.mark.parametrize("lost", list(combinations(DAMAGE, 2)))
def test_a_link_with_one_mark_is_not_ours(lost: tuple[str, str]) -> None:
    """One mark may be somebody else's by chance."""
    assert not is_our_link(replace(OURS, **{field: DAMAGE[field] for field in lost}))  # type: ignore[arg-type]


def test_only_a_veth_on_the_node_is_ours() -> None:
    """Marks on another kind of link, or in a workload, count for nothing."""
    assert is_ours(OURS)
    assert not is_ours(replace(OURS, kind="dummy"))
    assert not is_ours(replace(OURS, scope=Scope.WORKLOAD))


@pytest.mark.parametrize("protocol", [0, 2, 3, 4, 77, 79])
def test_what_another_protocol_marks_is_foreign(protocol: int) -> None:
    """Addresses, routes and neighbours are ours by their protocol number."""
    ip = bytes(4)
    things: list[KernelObject] = [
        Address(Scope.WORKLOAD, "eth0", ip, 32),
        Route(Scope.NODE, ip, 32, "np0"),
        Neighbour(Scope.NODE, "np0", ip),
    ]
    for thing in things:
        assert is_ours(thing)
        assert isinstance(thing, Address | Route | Neighbour)
        assert not is_ours(replace(thing, protocol=protocol))


def test_a_chain_of_our_table_is_ours_and_a_switch_never_is() -> None:
    """The table is netplumb's whole; switches are shared with the rest of the node, so never taken back by a plan."""
    assert is_ours(NftChain("postrouting"))
    assert not is_ours(Sysctl(Scope.NODE, "net/ipv4/ip_forward", "1"))
    assert not is_ours(LinkUp(Scope.NODE, OURS.name))
