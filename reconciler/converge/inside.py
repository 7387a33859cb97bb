"""What the kernel holds in a workload's namespace, which the workload can make as large as it likes, and change all the
time. So only what is ours is read, within a bound, and the read is given up beyond that.

There are two ways to read. In a thread of its own, the kernel filters for what is ours: however much else there is,
little comes out, but the kernel may walk a million routes in one call. Where others wait, the kernel is asked for
everything, and the read stops at the bound: most workloads have hardly more than what is ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, replace

from netplumb.models.attachment import Attachment
from netplumb.models.kernel import (
    ADDRESS_PROTOCOL,
    FIRST_HOP_V4,
    FIRST_HOP_V6,
    LINK_GROUP,
    RT_PROTOCOL,
    KernelObject,
    Key,
    Link,
    LinkUp,
    Route,
    Rule,
    Scope,
)
from netplumb.models.naming import routing_table
from netplumb.reconciler.converge.observed import Observed, add_rule
from netplumb.reconciler.kernel.namespaces import LO_INDEX
from netplumb.reconciler.kernel.netlink.channel import AT_ONCE, OF_A_WORKLOAD, Bound, Channel
from netplumb.reconciler.kernel.rtnetlink import dumps, encode, encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

_FAMILIES = (rt.AF_INET, rt.AF_INET6)


def observe_inside(workload: Channel, observed: Observed, attachment: Attachment, *, at_once: bool) -> bool:
    """Reads the workload's side into `observed`; returns whether its loopback has IPv6.

    Raises TooLarge or DumpInterrupted where it cannot be read whole, and then only the two links are known; Retryable
    when the kernel does not answer.
    """
    if_name = attachment.key.if_name
    requests = [encodelinks.get_link_by_index(LO_INDEX), encodelinks.get_link_by_name(if_name)]
    node_link = observed.node_link
    if node_link is not None and node_link.peer_index:
        requests.append(encodelinks.get_link_by_index(node_link.peer_index))
    lo, named, *by_index = (dumps.link_in(Scope.WORKLOAD, reply) for reply in workload.transact(requests))
    lo_ipv6 = True
    found: dict[Key, KernelObject] = {}
    if lo is not None:
        lo_ipv6 = not lo[0].ipv6_disabled
        if lo[1]:
            _add(found, LinkUp(Scope.WORKLOAD, "lo"))
    ours = next((f for f in by_index if f is not None and node_link is not None and is_pair(node_link, f[0])), None)
    if (end := ours or named) is not None:
        link, up = end
        if ours is not None and node_link is not None:
            link = replace(link, peer=node_link.name)
        observed.workload_link = link
        _add(found, link, (Link, Scope.WORKLOAD, if_name))
        if ours is not None:
            if up:
                _add(found, LinkUp(Scope.WORKLOAD, if_name))
            end_read = _End(workload, link.index, if_name, at_once=at_once)
            for thing in end_read.bound():
                _add(found, thing)
            if attachment.has_own_way or link.group == LINK_GROUP:
                for route in end_read.routes(routing_table(if_name)):
                    _add(found, route)
                for rule in end_read.rules({address.packed for address in attachment.siblings}):
                    add_rule(found, rule)
    observed.objects |= found
    return lo_ipv6


def observe_stray(workload: Channel, observed: Observed, attachment: Attachment) -> None:
    """Takes an interface under the attachment's name for an end of ours, whose other end left the node, where it has
    the attachment's MAC and one of its addresses with our mark. What a workload may forge of it is its own loss."""
    link = observed.workload_link
    if link is None or link.kind != "veth" or link.peer or link.mac != bytes.fromhex(attachment.mac.replace(":", "")):
        return
    ours = {address.packed for address in attachment.addresses}
    found = dumps.addresses(workload, Scope.WORKLOAD, {link.index: link.name}, AT_ONCE)
    if any(it.protocol == ADDRESS_PROTOCOL and it.ip in ours for it in found):
        observed.workload_link = replace(link, stray=True)
        observed.objects[(Link, Scope.WORKLOAD, attachment.key.if_name)] = observed.workload_link


def _add(objects: dict[Key, KernelObject], thing: KernelObject, key: Key | None = None) -> None:
    objects[thing.key if key is None else key] = thing


def is_pair(node_link: Link, other: Link) -> bool:
    """Each end of a veth carries the index of the other. A namespace other than the recorded one may by chance hold a
    veth with those numbers, but it is not entered: its cookie was compared before."""
    return other.kind == "veth" and node_link.peer_index == other.index and other.peer_index == node_link.index


@dataclass(frozen=True, slots=True)
class _End:
    """The workload's end of a pair, and how it is read."""

    workload: Channel
    index: int
    name: str
    at_once: bool

    def bound(self) -> Iterator[KernelObject]:
        """Addresses, neighbours, and routes."""
        names = {self.index: self.name}
        yield from dumps.addresses(self.workload, Scope.WORKLOAD, names, self._bound)
        yield from dumps.neighbours_at(self.workload, (FIRST_HOP_V4, FIRST_HOP_V6), Scope.WORKLOAD, names)
        yield from self.routes(rt.RT_TABLE_MAIN)
        yield from self._routes(rt.AF_INET6, rt.RT_TABLE_LOCAL)

    def routes(self, table: int) -> Iterator[Route]:
        for family in _FAMILIES:
            yield from self._routes(family, table)

    def _routes(self, family: int, table: int) -> list[Route]:
        if self.at_once:
            body = encode.dump_routes(family, table=table)
        else:
            body = encode.dump_routes(family, index=self.index, protocol=RT_PROTOCOL, table=table)
        return dumps.routes(self.workload, body, Scope.WORKLOAD, {self.index: self.name}, self._bound)

    def rules(self, of_siblings: Set[bytes]) -> Iterator[Rule]:
        """What a workload with several interfaces has beside, or had. Rules of none of the others are this one's, so
        that those of an interface that is gone go too."""
        found = dumps.rules(self.workload, Scope.WORKLOAD, self._bound)
        return (rule for rule in found if rule.src not in of_siblings)

    @property
    def _bound(self) -> Bound:
        return AT_ONCE if self.at_once else OF_A_WORKLOAD
