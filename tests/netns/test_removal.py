"""Links that the kernel does not put into a departing group: what guards them stays until they are gone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Mapping
from typing import cast

import pytest

from netplumb.models.attachment import AttachmentKey
from netplumb.models.kernel import LINK_GROUP, Scope
from netplumb.models.naming import alias_of, node_if_name
from netplumb.models.nft import NftElement
from netplumb.reconciler.converge.removal import Doomed, remove_links
from netplumb.reconciler.kernel.namespaces import Namespaces
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.netlink.wire import Request, u32
from netplumb.reconciler.kernel.nftables.table import Nftables
from netplumb.reconciler.kernel.rtnetlink import decode, encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

WEB, DB = AttachmentKey("web", "eth0"), AttachmentKey("db", "eth0")
NAMES = {key: node_if_name(key) for key in (WEB, DB)}


class Elements:
    """Those that a table would have: whose were taken, and which of the links were there then."""

    def __init__(self) -> None:
        self.taken: list[tuple[set[str], set[str]]] = []

    def elements_of(self, owner: str, _: Iterable[str]) -> list[str]:
        return [owner]

    def remove_owned(self, owners: Iterable[str]) -> list[NftElement]:
        with Channel() as channel:
            self.taken.append((set(owners), {name for name in NAMES.values() if index_of(channel, name)}))
        return []


def index_of(channel: Channel, name: str) -> int:
    (reply,) = channel.transact([encodelinks.get_link_by_name(name)])
    return decode.link(Scope.NODE, reply.parts[0][1])[0].index if reply.parts else 0


def refused(index: int) -> Request:
    """What the kernel answers with an error, and changes nothing."""
    return Request(rt.RTM_NEWLINK, 0, encodelinks.link_header(index) + u32(rt.IFLA_MTU, 1))


def removed(elements: Elements) -> tuple[dict[AttachmentKey, bool], list[Mapping[int, AttachmentKey]]]:
    """Whether each went, and which were told of as going together."""
    going: list[Mapping[int, AttachmentKey]] = []
    with Channel() as node:
        results = remove_links(
            [Doomed(WEB), Doomed(DB)],
            node,
            cast("Namespaces", None),
            cast("Nftables", elements),
            lambda _: None,
            going.append,
        )
    return {key: error is None for key, error in results.items()}, going


@pytest.fixture
def indexes(monkeypatch: pytest.MonkeyPatch) -> dict[AttachmentKey, int]:
    """Two links of ours, of which the kernel puts one into no other group."""
    for key, name in NAMES.items():
        made = f"ip link add {name} group {LINK_GROUP} type veth peer name {key.workload_id}0"
        for line in (made, f"ip link set {name} alias {alias_of(key)}"):
            subprocess.run(line.split(), check=True)
    with Channel() as channel:
        found = {key: index_of(channel, name) for key, name in NAMES.items()}
    set_group = encodelinks.set_group
    monkeypatch.setattr(
        encodelinks,
        "set_group",
        lambda index, group: refused(index) if index == found[DB] else set_group(index, group),
    )
    return found


def test_one_that_cannot_be_put_aside_is_guarded_until_it_is_gone(indexes: dict[AttachmentKey, int]) -> None:
    """Both go, each by itself; only the other one's elements go before its link, and only it is told of before."""
    elements = Elements()
    assert removed(elements) == ({WEB: True, DB: True}, [{indexes[WEB]: WEB}])
    assert elements.taken == [({NAMES[WEB]}, set(NAMES.values())), ({NAMES[DB]}, set())]


def test_one_that_cannot_be_removed_either_stays_guarded(
    indexes: dict[AttachmentKey, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is told as failed, to be tried again, and the other one went."""
    delete_link = encodelinks.delete_link
    monkeypatch.setattr(
        encodelinks, "delete_link", lambda index: [refused(index)] if index == indexes[DB] else delete_link(index)
    )
    elements = Elements()
    assert removed(elements)[0] == {WEB: True, DB: False}
    assert elements.taken == [({NAMES[WEB]}, set(NAMES.values())), (set(), {NAMES[DB]})]
