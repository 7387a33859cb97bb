"""Desired state after its store was lost: records made from marks, and links that nobody is known for."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from netplumb.models.attachment import REBUILT_SOURCE, Attachment, AttachmentKey, DetachSpec
from netplumb.models.errors import AlreadyHeld, StoreUnwritable
from netplumb.models.naming import node_if_name, workload_mac
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.desired.store import Change
from tests.unit.benches import DB, WEB, Bench, declare, record, texts, wish

MARKED = Attachment(
    spec=wish(netns={"path": "/proc/9/ns/net"}, mtu=1400),
    source=REBUILT_SOURCE,
    addresses=(ip_address("10.0.0.4"), ip_address("fd00::4")),
    mac="02:00:00:00:00:07",
    netns_cookie=7,
)
NAMELESS = node_if_name(DB), (ip_address("10.0.0.5"), ip_address("fd00::5"))


@pytest.fixture
def lost(bench: Bench) -> Desired:
    """Desired state whose store was made anew with one record and one unclaimed link."""
    bench.store.commit(Change(put=(MARKED,), unclaimed=dict([NAMELESS])))
    return bench.restart()


@pytest.mark.parametrize("source", ["rpc", "cni/pods", "file/a.yaml"])
def test_any_source_takes_a_rebuilt_record_over(bench: Bench, lost: Desired, source: str) -> None:
    """Its first wish makes it an attachment like any other: same addresses and MAC, another generation."""
    after = lost.attach(wish(container_id="c1"), 7, source)
    assert (after.source, after.addresses, after.mac) == (source, MARKED.addresses, MARKED.mac)
    assert after.generation == MARKED.generation + 1
    assert after.releasing == ()
    assert not after.is_rebuilt
    with pytest.raises(AlreadyHeld, match=source):
        lost.attach(wish(), 7, "cni/other")
    assert bench.restart().attachments[WEB] == after


def test_a_state_file_has_its_key_back_and_no_other(lost: Desired) -> None:
    declare(lost, "file/a.yaml", [wish()])
    assert (record(lost).source, record(lost).addresses) == ("file/a.yaml", MARKED.addresses)
    assert list(lost.claims.waiting()) == []
    declare(lost, "file/b.yaml", [wish("other", addresses=["10.0.0.4"])])
    assert [spec.workload_id for _, spec, _ in lost.claims.waiting()] == ["other"]


@pytest.mark.parametrize(
    ("fields", "path_cookie", "meant"),
    [
        ({}, 0, True),
        ({"container_id": "c1", "netns_path": "/run/netns/web"}, 7, True),
        ({"netns_path": "/run/netns/web"}, 8, False),
        ({"netns_path": "/run/netns/web"}, 0, False),
    ],
)
def test_a_detach_of_a_rebuilt_record_means_its_namespace(
    lost: Desired, fields: dict[str, str], path_cookie: int, meant: bool
) -> None:
    """Its container is not known, so the namespace decides; what runs is not taken away by the echo of an older one."""
    gone = lost.detach(DetachSpec.model_validate({"workload_id": "web", **fields}), path_cookie)
    assert (gone is not None) == meant


def test_a_detach_of_a_record_without_a_known_namespace_goes_by_the_key(bench: Bench) -> None:
    """Otherwise nothing but a new Attach could ever end it."""
    bench.store.commit(Change(put=(MARKED.model_copy(update={"netns_cookie": 0}),)))
    desired = bench.restart()
    assert desired.detach(DetachSpec(workload_id="web", netns_path="/run/netns/web"), 8) is not None


def test_a_rebuilt_record_is_no_sources_garbage(lost: Desired) -> None:
    """Nobody knows whose it is, so no source's list of the living says that it is dead."""
    for source in ("rpc", "cni/pods"):
        assert lost.garbage(source, frozenset()) == []


def test_an_unclaimed_link_holds_its_addresses(lost: Desired) -> None:
    """They are neither given out nor to be had, until the link is gone; then the oldest release waits longest."""
    with pytest.raises(AlreadyHeld, match=NAMELESS[0]):
        lost.attach(wish("third", addresses=["10.0.0.5"]), 9)
    lost.links_seen({NAMELESS[0]})
    assert dict(lost.unclaimed) == dict([NAMELESS])
    lost.links_seen({"another"})
    assert dict(lost.unclaimed) == {}
    assert texts(lost.attach(wish("third", addresses=["10.0.0.5"]), 9))[0] == "10.0.0.5"


@pytest.mark.parametrize("addresses", [[], ["10.0.0.5"]])
def test_who_has_an_unclaimed_links_name_has_its_addresses(bench: Bench, lost: Desired, addresses: list[str]) -> None:
    """The name is a digest of the key: the wish for that key claims the link, asked for its address or not."""
    after = lost.attach(wish("db", addresses=addresses), 8)
    assert after.addresses == NAMELESS[1]
    assert (after.generation, after.releasing, after.mac) == (1, (), workload_mac(DB, after.addresses))
    assert dict(lost.unclaimed) == {}
    assert [lost.allocator.holder(address) for address in after.addresses] == [DB, DB]
    again = bench.restart()
    assert (again.attachments[DB], dict(again.unclaimed)) == (after, {})


def test_a_claim_that_cannot_be_written_leaves_the_link_unclaimed(bench: Bench, lost: Desired) -> None:
    bench.break_store()
    with pytest.raises(StoreUnwritable):
        lost.attach(wish("db"), 8)
    with pytest.raises(StoreUnwritable):
        lost.links_seen(frozenset())
    assert dict(lost.unclaimed) == dict([NAMELESS])
    assert [lost.allocator.holder(address) for address in NAMELESS[1]] == [AttachmentKey(NAMELESS[0], "")] * 2


def test_an_unclaimed_links_other_address_is_released_once_the_kernel_let_go(lost: Desired) -> None:
    """A wish for another address than the link has replaces it as it would an assigned one."""
    after = lost.attach(wish("db", addresses=["10.0.0.3"]), 8)
    assert after.releasing == (NAMELESS[1][0],)
    lost.converged(DB, after.generation)
    assert lost.allocator.holder(NAMELESS[1][0]) is None
