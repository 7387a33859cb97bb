"""What the kernel holds for one attachment, or for the node: always read, never remembered.

An attachment's objects are found by the names and marks that they should have. A renamed link is found by its index,
and kept under the key of the link that it should be, so that a plan can rename it back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from netplumb.models.attachment import Attachment, AttachmentKey
from netplumb.models.bandwidth import NO_LIMITS
from netplumb.models.errors import DumpInterrupted, TooLarge
from netplumb.models.kernel import FIRST_HOP_V6, RT_PROTOCOL, Link, LinkUp, Neighbour, Route, Scope
from netplumb.models.naming import IFB_PREFIX, NODE_IF_PREFIX, alias_of, ifb_name, node_if_name
from netplumb.models.network import Families
from netplumb.models.words import link_switch
from netplumb.reconciler.converge.inside import is_pair, observe_inside, observe_stray
from netplumb.reconciler.converge.observed import Observed
from netplumb.reconciler.converge.shaping import read_shaping
from netplumb.reconciler.converge.uppers import Upper, upper_of
from netplumb.reconciler.decide.ownership import is_our_link
from netplumb.reconciler.kernel import sysctls
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.netlink.wire import Buffer
from netplumb.reconciler.kernel.rtnetlink import decode, dumps, encode, encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt


@dataclass(frozen=True, slots=True)
class NodeSnapshot:
    """All that is ours on the node, and what of others is on top of it, read in one go and shared by the passes of a
    resync. Where it is not `whole`, others changed the node meanwhile: what it tells of was so, and what it does not
    tell of may be there."""

    links_by_alias: Mapping[str, tuple[Link, bool]]
    links_by_name: Mapping[str, tuple[Link, bool]]
    routes_by_index: Mapping[int, Sequence[Route]]
    neighbours_by_index: Mapping[int, Sequence[Neighbour]]
    uppers: Mapping[int, Upper]
    whole: bool = True

    @property
    def ours(self) -> Iterable[tuple[Link, bool]]:
        """Our links, whoever wants them."""
        return (found for found in self.links_by_name.values() if is_our_link(found[0]))


def observe(
    node: Channel,
    workload: Channel | None,
    attachment: Attachment,
    *,
    hint_indexes: Sequence[int] = (),
    snapshot: NodeSnapshot | None = None,
    node_ipv6: bool = True,
    at_once: bool = False,
) -> Observed:
    """Reads one attachment, less its elements of the nftables table. `workload` is None while its namespace cannot be
    reached. `hint_indexes` are where its links on the node were last seen, to find a renamed one without reading them
    all.

    Raises Retryable when the kernel does not answer, and where it has to be read `at_once`, also TooLarge or
    DumpInterrupted where that takes longer.
    """
    observed = Observed()
    key = attachment.key
    name = node_if_name(key)
    found, ifb = (_with_master(node, it) for it in _node_links(node, key, name, hint_indexes, snapshot))
    observed.ifb = ifb[0] if ifb is not None else None
    if found is not None:
        link, up = found
        observed.node_link = link
        if up:
            observed.add(LinkUp(Scope.NODE, name))
        if snapshot is None:
            _read_bound(node, observed, link.index, name, attachment)
        else:
            for route in snapshot.routes_by_index.get(link.index, ()):
                observed.add(replace(route, link=name))
            for neighbour in snapshot.neighbours_by_index.get(link.index, ()):
                observed.add(replace(neighbour, link=name))
    lo_ipv6 = True
    if workload is not None:
        try:
            lo_ipv6 = observe_inside(workload, observed, attachment, at_once=at_once)
        except (TooLarge, DumpInterrupted) as error:
            if at_once:
                raise
            observed.unread = error
        if found is None and (index := _renamed_end(node, observed.workload_link, alias_of(key))):
            return observe(node, workload, attachment, hint_indexes=(*hint_indexes, index), node_ipv6=node_ipv6)
        if found is None and observed.unread is None:
            try:
                observe_stray(workload, observed, attachment)
            except (TooLarge, DumpInterrupted) as error:
                if at_once:
                    raise
                observed.unread = error
    if observed.node_link is not None:
        paired = observed.workload_link is not None and bool(observed.workload_link.peer)
        observed.node_link = replace(observed.node_link, peer=key.if_name if paired else None)
        observed.objects[(Link, Scope.NODE, name)] = observed.node_link
    if ifb is not None or attachment.spec.bandwidth != NO_LIMITS or (found is not None and found[0].qdisc == "tbf"):
        for thing in read_shaping(node, observed.node_link, name, ifb, ifb_name(key)):
            observed.add(thing)
    if ifb is not None:
        observed.objects[(Link, Scope.NODE, ifb_name(key))] = ifb[0]
    off = _ipv6_off(observed, node_ipv6=node_ipv6, lo_ipv6=lo_ipv6)
    observed.families = Families(v6=not off, switch=off)
    return observed


def _ipv6_off(observed: Observed, *, node_ipv6: bool, lo_ipv6: bool) -> str:
    """The switch by which IPv6 cannot be rendered; empty where it can. A link tells for itself; before there is one,
    the node's default and the workload's loopback tell what it will be. The switch of our own link is ours to set, but
    where links to come are to have none."""
    node_link, link = observed.node_link, observed.workload_link
    if node_link is not None and node_link.ipv6_disabled and not (node_ipv6 and _is_ours_to_set(node_link)):
        return f"{link_switch(6, node_link.name, 'disable_ipv6')} on the node"
    if node_link is None and not node_ipv6:
        return "net.ipv6.conf.default.disable_ipv6 on the node"
    if link is not None and link.peer:
        return f"{link_switch(6, link.name, 'disable_ipv6')} in the workload" if link.ipv6_disabled else ""
    return "" if lo_ipv6 else "net.ipv6.conf.lo.disable_ipv6 in the workload"


def _is_ours_to_set(node_link: Link) -> bool:
    """Asked anew: nothing tells of the default, and a link that came while it was off is meant to be without."""
    return node_link.ipv6 is False and sysctls.read("net/ipv6/conf/default/disable_ipv6") == "0"


_OUR_ROUTES = (
    (rt.AF_INET, rt.RT_TABLE_MAIN),
    (rt.AF_INET6, rt.RT_TABLE_MAIN),
    (rt.AF_INET6, rt.RT_TABLE_LOCAL),
)
_Found = tuple[Link, bool] | None
"""A link, and whether it is up."""


def _node_links(
    node: Channel, key: AttachmentKey, name: str, hint_indexes: Sequence[int], snapshot: NodeSnapshot | None
) -> tuple[_Found, _Found]:
    """The node's end of the pair, and the ifb."""
    alias = alias_of(key)
    if snapshot is not None:
        found = snapshot.links_by_name.get(name) or snapshot.links_by_alias.get(alias)
        return found, snapshot.links_by_name.get(ifb_name(key))
    requests = [encodelinks.get_link_by_name(name), encodelinks.get_link_by_name(ifb_name(key))]
    requests += [encodelinks.get_link_by_index(index) for index in hint_indexes]
    by_name, ifb, *by_index = (dumps.link_in(Scope.NODE, reply) for reply in node.transact(requests))
    renamed = {it[0].kind: it for it in by_index if it is not None and is_our_link(it[0]) and it[0].alias == alias}
    return by_name or renamed.get("veth"), ifb or renamed.get("ifb")


def _with_master(node: Channel, found: _Found) -> _Found:
    """Few are under a bridge or the like, so that its name is asked for where one is."""
    if found is None or not found[0].master:
        return found
    (reply,) = node.transact([encodelinks.get_link_by_index(found[0].master)])
    master = dumps.link_in(Scope.NODE, reply)
    return replace(found[0], master_name=master[0].name if master is not None else ""), found[1]


def _renamed_end(node: Channel, other: Link | None, alias: str) -> int:
    """The index of our end on the node of the pair whose other end is where it should be; 0 if there is none. So the
    one that was renamed while nobody looked is found as well."""
    if other is None or other.kind != "veth" or not other.peer_index:
        return 0
    (reply,) = node.transact([encodelinks.get_link_by_index(other.peer_index)])
    found = dumps.link_in(Scope.NODE, reply)
    if found is None or not (is_pair(found[0], other) and is_our_link(found[0]) and found[0].alias == alias):
        return 0
    return found[0].index


def _read_bound(node: Channel, observed: Observed, index: int, name: str, attachment: Attachment) -> None:
    """Routes and neighbours of the node's end."""
    names = {index: name}
    addresses = {address.packed for address in attachment.addresses}
    for family in (rt.AF_INET, rt.AF_INET6):
        for route in dumps.routes(node, encode.dump_routes(family, index=index), Scope.NODE, names):
            observed.add(route)
            addresses.add(route.dst)  # also where it had another address before
    body = encode.dump_routes(rt.AF_INET6, index=index, protocol=RT_PROTOCOL, table=rt.RT_TABLE_LOCAL)
    for route in dumps.routes(node, body, Scope.NODE, names):
        observed.add(route)
    for neighbour in dumps.neighbours_at(node, addresses, Scope.NODE, names, proxied=[FIRST_HOP_V6]):
        observed.add(neighbour)


def snapshot(node: Channel, *, in_part: bool = False) -> NodeSnapshot:
    """Reads all that is ours on the node, for many passes at once; a pass would otherwise dump for itself. Taken
    `in_part`, a read that others' changes interrupt is not repeated until it is consistent.

    Raises Retryable when the kernel does not answer or no such dump can be had.
    """
    whole = True

    def dumped(type_: int, body: bytes) -> list[tuple[int, Buffer]]:
        nonlocal whole
        if not in_part:
            return node.dump(type_, body)
        found, consistent = node.dump_in_part(type_, body)
        whole &= consistent
        return found

    names: dict[int, str] = {}
    by_name: dict[str, tuple[Link, bool]] = {}
    by_alias: dict[str, tuple[Link, bool]] = {}
    uppers: dict[int, Upper] = {}
    for _, body in dumped(rt.RTM_GETLINK, encodelinks.dump_links()):
        link, up = decode.link(Scope.NODE, body)
        if not is_our_link(link):
            # A foreign link under a name that an attachment needs must be seen, since it stands in the way.
            if link.name.startswith((NODE_IF_PREFIX, IFB_PREFIX)):
                by_name[link.name] = link, up
            if (upper := upper_of(link)) is not None:
                uppers[link.index] = upper
            continue
        names[link.index] = link.name
        by_name[link.name] = link, up
        if link.kind == "veth":
            by_alias[link.alias or ""] = link, up
    routes: dict[int, list[Route]] = defaultdict(list)
    neighbours: dict[int, list[Neighbour]] = defaultdict(list)
    indexes = {name: index for index, name in names.items()}
    for family, table in _OUR_ROUTES:
        body = encode.dump_routes(family, protocol=RT_PROTOCOL, table=table)
        for route in dumps.decoded(dumped(rt.RTM_GETROUTE, body), decode.route, Scope.NODE, names):
            routes[indexes[route.link]].append(route)
    for proxy in (False, True):
        body = encode.dump_neighbours(proxy=proxy)
        for neighbour in dumps.decoded(dumped(rt.RTM_GETNEIGH, body), decode.neighbour, Scope.NODE, names):
            neighbours[indexes[neighbour.link]].append(neighbour)
    on_ours = {index: upper for index, upper in uppers.items() if upper.lower in names}
    return NodeSnapshot(by_alias, by_name, routes, neighbours, on_ours, whole)
