"""Reads the marks of ownership on the node and in workloads' namespaces, from which a new store begins if the old one
was lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace

import structlog

from netplumb.models.attachment import NETNS_DIR
from netplumb.models.errors import NotANetworkNamespace, Retryable, Terminal
from netplumb.models.kernel import FIRST_HOP_V4, FIRST_HOP_V6, RT_PROTOCOL, KernelObject, Link, Scope
from netplumb.models.naming import ifb_name_beside
from netplumb.models.network import Pool
from netplumb.models.nft import NftElement
from netplumb.reconciler.converge.observe import NodeSnapshot
from netplumb.reconciler.converge.observe import snapshot as take_snapshot
from netplumb.reconciler.converge.shaping import read_shaping
from netplumb.reconciler.decide.ownership import is_our_link
from netplumb.reconciler.decide.policies.lost import found_in
from netplumb.reconciler.decide.rebuild import Found, addresses_on_node, rebuild
from netplumb.reconciler.desired.store import Change
from netplumb.reconciler.kernel.namespaces import Namespace, NamespaceMissingError, Namespaces
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.netnspaths import namespace_paths, nsid_of
from netplumb.reconciler.kernel.rtnetlink import dumps, encode, encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

_TRIES = 4

log = structlog.get_logger(__name__)


def begin_anew(
    pools: Sequence[Pool], node_mtu: int, table: Iterable[KernelObject], elements: Collection[NftElement]
) -> Change:
    """What a new store begins with: the records that the marks on this node, and our nftables table with these
    elements, tell of. Raises Retryable."""
    with closing(MarkReader(elements)) as reader:
        rebuilt = rebuild(_read_whole(reader), pools, node_mtu)
    return Change(
        put=tuple(rebuilt.attachments.values()),
        cursors=tuple(rebuilt.cursors(pools)),
        unclaimed=rebuilt.unclaimed,
        lost=found_in(table, elements),
    )


def _read_whole(reader: MarkReader) -> list[Found]:
    """Reads again where something went between two reads, as workloads do that end meanwhile."""
    for _ in range(_TRIES - 1):
        try:
            return reader.read()
        except Retryable as error:
            log.info("the marks are read again", cause=str(error))
    return reader.read()


class MarkReader:
    """Made and used in the node's namespace. Changes nothing."""

    def __init__(self, elements: Iterable[NftElement]) -> None:
        self._node = Channel()
        self._namespaces = Namespaces()
        self._elements: defaultdict[str, list[NftElement]] = defaultdict(list)
        for element in elements:
            self._elements[element.owner].append(element)

    def close(self) -> None:
        self._node.close()
        self._namespaces.close()

    def read(self) -> list[Found]:
        """Each link of ours on the node with what is on its two ends.

        Raises Retryable when the kernel does not answer of the node: to know half of it would be to lose the other
        half.
        """
        snapshot = take_snapshot(self._node)
        by_nsid: dict[int, list[Link]] = defaultdict(list)
        for link, _ in snapshot.ours:
            if link.kind == "veth":
                by_nsid[link.peer_nsid].append(link)
        unreached = by_nsid.pop(-1, [])
        found = list(self._in_namespaces(by_nsid, snapshot)) if by_nsid else []
        unreached += (link for links in by_nsid.values() for link in links)
        return found + [Found(link, self._on_node(link, snapshot)) for link in unreached]

    def _in_namespaces(self, wanted: dict[int, list[Link]], snapshot: NodeSnapshot) -> Iterator[Found]:
        """Takes out of `wanted` what was found a way to."""
        for path in namespace_paths():
            if not wanted:
                return
            try:
                namespace = self._namespaces.open(path)
            except (NamespaceMissingError, NotANetworkNamespace, Terminal) as error:
                log.debug("a namespace was passed over", path=path, cause=str(error))
                continue
            with namespace:
                if (nsid := nsid_of(self._node, namespace.fd)) is None:
                    continue
                for link in wanted.pop(nsid, ()):
                    yield self._found(link, namespace, path, snapshot)

    def _found(self, link: Link, namespace: Namespace, path: str, snapshot: NodeSnapshot) -> Found:
        name = path.removeprefix(f"{NETNS_DIR}/")
        mark = self._namespaces.mark_of(name) if name != path else ""
        found = Found(link, self._on_node(link, snapshot), path, namespace.cookie, mark)
        told = _inside(namespace.channel, link, with_addresses=not addresses_on_node(found))
        return replace(found, told=told)

    def _on_node(self, link: Link, snapshot: NodeSnapshot) -> Sequence[KernelObject]:
        ifb_name = ifb_name_beside(link.name)
        ifb = snapshot.links_by_name.get(ifb_name)
        return [
            *snapshot.routes_by_index.get(link.index, ()),
            *snapshot.neighbours_by_index.get(link.index, ()),
            *self._elements.get(link.name, ()),
            *read_shaping(self._node, link, link.name, ifb if ifb and is_our_link(ifb[0]) else None, ifb_name),
        ]


def _inside(workload: Channel, link: Link, *, with_addresses: bool) -> Sequence[KernelObject]:
    """What only the workload's end tells: its name, where its routes lead, its addresses where the node has none. Asked
    for by what is ours, and nothing where the workload made it too large to be read or changes it under the reader:
    nobody else waits for its word."""
    try:
        return list(_read_inside(workload, link, with_addresses=with_addresses))
    except Retryable as error:
        log.warning("what a workload's own end tells is not known", link=link.name, cause=str(error))
        return ()


def _read_inside(workload: Channel, link: Link, *, with_addresses: bool) -> Iterator[KernelObject]:
    (reply,) = workload.transact([encodelinks.get_link_by_index(link.peer_index)])
    if (found := dumps.link_in(Scope.WORKLOAD, reply)) is None:
        return
    end, _ = found
    if end.kind != "veth" or end.peer_index != link.index:
        return
    yield end
    names = {end.index: end.name}
    if with_addresses:
        yield from dumps.addresses(workload, Scope.WORKLOAD, names)
    yield from dumps.neighbours_at(workload, (FIRST_HOP_V4, FIRST_HOP_V6), Scope.WORKLOAD, names)
    for family in (rt.AF_INET, rt.AF_INET6):
        body = encode.dump_routes(family, index=end.index, protocol=RT_PROTOCOL)
        yield from dumps.routes(workload, body, Scope.WORKLOAD, names)
