"""Two rtnetlink sockets that hear what changes: one on the node, one in each namespace that has a veth to it. What they
hear only marks keys; what is marked is read anew.

A workload may tell as much as it likes, so what the node tells does not wait behind that, nor is it lost with it. Only
links, addresses, routes, neighbours and rules concern anybody in a workload; the kernel passes on nothing else.

Decoding notifications whole costs more than the attach that caused them, so of each the header is read, and of links
and routes a few attributes more, to tell our own echoes from damage.
"""

from __future__ import annotations

import errno
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import islice
from math import inf

from netplumb.models.errors import Terminal, errno_name
from netplumb.models.kernel import RT_PROTOCOL, Link, Scope
from netplumb.reconciler.kernel.bpf import attach_filter
from netplumb.reconciler.kernel.netlink.channel import (
    NETLINK_ADD_MEMBERSHIP,
    OWN_PORT_IDS,
    OWN_PORT_IDS_MASK,
    SOL_NETLINK,
)
from netplumb.reconciler.kernel.netlink.datagrams import Batches, waiting
from netplumb.reconciler.kernel.netlink.socketfilter import Consequences, echo_filter
from netplumb.reconciler.kernel.netlink.wire import Buffer, attributes, messages, string
from netplumb.reconciler.kernel.rtnetlink import decode, tc
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

NETLINK_LISTEN_ALL_NSID = 8
SO_RCVBUFFORCE = 33

# enum rtnetlink_groups, include/uapi/linux/rtnetlink.h: LINK, NEIGH, IPV4_IFADDR, IPV4_ROUTE, IPV4_RULE, IPV6_IFADDR,
# IPV6_ROUTE, IPV6_RULE; and TC, IPV4_NETCONF, IPV6_NETCONF, NSID, NEXTHOP
_GROUPS_OF_WORKLOADS = (1, 3, 5, 7, 8, 9, 11, 19)
_GROUPS_OF_THE_NODE = (*_GROUPS_OF_WORKLOADS, 4, 24, 25, 28, 32)
_RECEIVE_BYTES = 1 << 15
_BUFFER_BYTES = 8 << 20
_BUFFER_BYTES_OF_WORKLOADS = 32 << 20  # what one that floods tells in a third of a second
NODE_NSID = -1


class Subject(IntEnum):
    LINK = 0
    ADDRESS = 1
    ROUTE = 2
    NEIGHBOUR = 3
    NETCONF = 4
    NSID = 5
    TC = 6
    RULE = 7
    NEXT_HOP = 8


_SUBJECTS = {
    rt.RTM_NEWLINK: Subject.LINK,
    rt.RTM_DELLINK: Subject.LINK,
    rt.RTM_NEWADDR: Subject.ADDRESS,
    rt.RTM_DELADDR: Subject.ADDRESS,
    rt.RTM_NEWROUTE: Subject.ROUTE,
    rt.RTM_DELROUTE: Subject.ROUTE,
    rt.RTM_NEWNEIGH: Subject.NEIGHBOUR,
    rt.RTM_DELNEIGH: Subject.NEIGHBOUR,
    rt.RTM_NEWNETCONF: Subject.NETCONF,
    rt.RTM_DELNETCONF: Subject.NETCONF,
    rt.RTM_DELNSID: Subject.NSID,
    rt.RTM_NEWQDISC: Subject.TC,
    rt.RTM_DELQDISC: Subject.TC,
    rt.RTM_NEWTFILTER: Subject.TC,
    rt.RTM_DELTFILTER: Subject.TC,
    rt.RTM_NEWRULE: Subject.RULE,
    rt.RTM_DELRULE: Subject.RULE,
    rt.RTM_NEWNEXTHOP: Subject.NEXT_HOP,
    rt.RTM_DELNEXTHOP: Subject.NEXT_HOP,
}
_DELETIONS = frozenset(
    {
        rt.RTM_DELLINK,
        rt.RTM_DELADDR,
        rt.RTM_DELROUTE,
        rt.RTM_DELNEIGH,
        rt.RTM_DELNSID,
        rt.RTM_DELQDISC,
        rt.RTM_DELTFILTER,
        rt.RTM_DELRULE,
    }
)
# What the kernel does by itself to these follows from a change of a link or an address, which has an event of its own.
# But for what concerns the node's network: a route that a router advertised, and an IPv6 address of global scope, which
# the kernel tells of by itself whoever gave it; and ::1 and link-local ones, which it sets when an interface has IPv6
# again. The offsets are those of rtm_protocol and ifa_scope.
_BY_ROUTER = (16 + 5, (rt.RTPROT_RA,))
_CONSEQUENCES = (
    Consequences(rt.RTM_NEWADDR, but_for=(16 + 3, (rt.RT_SCOPE_UNIVERSE, rt.RT_SCOPE_LINK, rt.RT_SCOPE_HOST))),
    Consequences(rt.RTM_NEWROUTE, but_for=_BY_ROUTER),
    Consequences(rt.RTM_DELROUTE, but_for=_BY_ROUTER),
    Consequences(rt.RTM_NEWNEIGH),
    Consequences(rt.RTM_DELNEIGH),
)
# The kernel tells of each entry of a VXLAN device by itself, whoever made it. The offset is that of ndm_family.
_BRIDGED = (16, (rt.AF_BRIDGE,))
_CONSEQUENCES_WITH_ENTRIES = (
    *_CONSEQUENCES[:-2],
    Consequences(rt.RTM_NEWNEIGH, but_for=_BRIDGED),
    Consequences(rt.RTM_DELNEIGH, but_for=_BRIDGED),
)
NETCONF_ALL = -1  # NETCONFA_IFINDEX_ALL
NETCONFA_IFINDEX = 1
NETCONFA_FORWARDING = 2
NETCONFA_RP_FILTER = 3
NETCONFA_PROXY_NEIGH = 5

_SWITCHES = {
    rt.AF_INET: {NETCONFA_FORWARDING: "forwarding_v4"},
    rt.AF_INET6: {NETCONFA_FORWARDING: "forwarding_v6", NETCONFA_PROXY_NEIGH: "proxy_ndp"},
}


@dataclass(frozen=True, slots=True)
class Event:
    """That something changed. `nsid` is NODE_NSID on the node; `by_kernel` tells that no process asked for it."""

    subject: Subject
    deleted: bool
    nsid: int
    index: int
    by_kernel: bool
    replaced: bool
    up: bool
    body: Buffer

    def link(self) -> Link:
        """The link as it was when this was sent."""
        return decode.link(Scope.NODE if self.nsid == NODE_NSID else Scope.WORKLOAD, self.body)[0]

    def name(self) -> str:
        """The name of the link that a LINK event tells of, without reading the rest; the kernel puts it first."""
        body = self.body[rt.IFINFOMSG.size :]
        size = int.from_bytes(body[:2], "little") if len(body) >= 4 else 0
        if int.from_bytes(body[2:4], "little") == rt.IFLA_IFNAME:
            return string(body[4:size])
        return string(attributes(body).get(rt.IFLA_IFNAME))

    def tells_of_forwarding_alone(self) -> bool:
        """Whether a NETCONF event of IPv4 says that forwarding was switched, and not that the interface is new."""
        found = attributes(self.body, 4)
        return self.body[0] == rt.AF_INET and NETCONFA_FORWARDING in found and NETCONFA_RP_FILTER not in found

    def switches(self) -> dict[str, bool]:
        """What a NETCONF event says of an interface's switches, by the names of a link's fields."""
        names = _SWITCHES.get(self.body[0])
        if names is None:
            return {}
        found = attributes(self.body, 4)
        return {name: bool(_s32(found[number])) for number, name in names.items() if number in found}

    def is_our_rule(self) -> bool:
        """Whether a RULE event tells of one of ours."""
        return decode.rule_protocol(attributes(self.body, rt.FIBRULE.size)) == RT_PROTOCOL

    def destination(self) -> bytes | None:
        """The destination of a route to one host."""
        return prefix[0] if self.body[1] in (32, 128) and (prefix := self.prefix()) is not None else None

    def prefix(self) -> tuple[bytes, int] | None:
        """The destination of any route but a default one."""
        dst = attributes(self.body, rt.RTMSG.size).get(rt.RTA_DST)
        return (bytes(dst), self.body[1]) if dst is not None else None

    def neighbour(self) -> bytes | None:
        """The address of a neighbour, or the MAC of a device's entry."""
        kind = rt.NDA_LLADDR if self.body[0] == rt.AF_BRIDGE else rt.NDA_DST
        what = attributes(self.body, rt.NDMSG.size).get(kind)
        return bytes(what) if what is not None else None


class Listener:
    """Raises Terminal when the kernel does not let it hear, naming the capability. Where there is a device to other
    nodes, it hears of `entries`."""

    def __init__(self, *, entries: bool = False) -> None:
        self._node = _opened(_GROUPS_OF_THE_NODE, _CONSEQUENCES_WITH_ENTRIES if entries else _CONSEQUENCES)
        try:
            self._workloads = _opened(_GROUPS_OF_WORKLOADS, of_workloads=True)
        except Terminal:
            self._node.close()
            raise
        self._of_workloads = Batches(self._workloads, _RECEIVE_BYTES)
        self.is_drained = True
        """Whether the last drain left nothing behind."""

    def filenos(self) -> tuple[int, int]:
        return self._node.fileno(), self._workloads.fileno()

    def close(self) -> None:
        self._node.close()
        self._workloads.close()

    def drain(
        self, most: int, within_s: float = inf, heeds: Callable[[int, int], bool] = lambda *_: True
    ) -> Iterator[Event | None]:
        """What was heard, at most so many messages of the node, and of workloads what can be read in that time. None
        stands for lost ones (ENOBUFS). `heeds` is asked for each namespace that told of something, with how many
        messages; where it says no, nothing is read of them."""
        ends = time.monotonic() + within_s
        self.is_drained = False
        for datagram in islice(waiting(self._node, _RECEIVE_BYTES), most):
            yield from _events(datagram, NODE_NSID)
        for namespaces in self._of_workloads.waiting():
            if namespaces is None:
                yield None
            else:
                yield from self._heeded(namespaces, heeds)
            if time.monotonic() > ends:
                return
        self.is_drained = True

    def _heeded(self, namespaces: Sequence[int | None], heeds: Callable[[int, int], bool]) -> Iterator[Event | None]:
        told = Counter(namespaces)
        heeded = {nsid for nsid, messages in told.items() if nsid is not None and heeds(nsid, messages)}
        if not heeded:
            return
        for number, nsid in enumerate(namespaces):
            if nsid is not None and nsid in heeded:
                yield from _events(self._of_workloads[number], nsid)


def _opened(
    groups: Iterable[int], consequences: Sequence[Consequences] = _CONSEQUENCES, *, of_workloads: bool = False
) -> socket.socket:
    flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
    made = socket.socket(socket.AF_NETLINK, flags, socket.NETLINK_ROUTE)
    try:
        _grow_buffer(made, _BUFFER_BYTES_OF_WORKLOADS if of_workloads else _BUFFER_BYTES)
        attach_filter(made, echo_filter(OWN_PORT_IDS.block, OWN_PORT_IDS_MASK, consequences))
        if of_workloads:
            made.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
        made.bind((0, 0))
        for group in groups:
            made.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
    except OSError as error:
        made.close()
        hint = " (CAP_NET_BROADCAST is needed)" if error.errno == errno.EPERM else ""
        code = error.errno or 0
        raise Terminal(f"cannot listen to kernel events: {errno_name(code)}{hint}", code=code) from None
    return made


def _grow_buffer(made: socket.socket, size: int) -> None:
    try:
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, size)
    except PermissionError:  # without root in the first user namespace; losses are met by a resync
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, size)


def _events(datagram: bytes | None, nsid: int) -> Iterator[Event | None]:
    if datagram is None:
        yield None
        return
    for type_, flags, _, port_id, body in messages(datagram):
        if (subject := _SUBJECTS.get(type_)) is not None:
            yield _event(subject, type_, flags, nsid, body, by_kernel=port_id == 0)


def _event(subject: Subject, type_: int, flags: int, nsid: int, body: Buffer, *, by_kernel: bool) -> Event:
    index, up = 0, False
    match subject:
        case Subject.LINK:
            _, _, index, link_flags, _ = rt.IFINFOMSG.unpack_from(body)
            up = bool(link_flags & rt.IFF_UP)
        case Subject.ADDRESS:
            index = rt.IFADDRMSG.unpack_from(body)[4]
        case Subject.NEIGHBOUR:
            index = rt.NDMSG.unpack_from(body)[1]
        case Subject.ROUTE:
            index = _u32(attributes(body, rt.RTMSG.size).get(rt.RTA_OIF))
        case Subject.NETCONF:
            index = _s32(attributes(body, 4).get(NETCONFA_IFINDEX))
        case Subject.TC:
            index = tc.index_of(body)
        case Subject.RULE:
            pass  # it is bound to no interface
        case Subject.NSID:
            index = _s32(attributes(body, 4).get(rt.NETNSA_NSID))
    return Event(subject, type_ in _DELETIONS, nsid, index, by_kernel, bool(flags & rt.NLM_F_REPLACE), up, body)


def _u32(value: Buffer | None) -> int:
    return int.from_bytes(value, "little") if value is not None else 0


def _s32(value: Buffer | None) -> int:
    return int.from_bytes(value, "little", signed=True) if value is not None else 0
