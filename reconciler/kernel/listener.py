"""One rtnetlink socket that hears link, address, route, neighbour and traffic control changes on the node and in every
namespace that has a veth to it. What it hears only marks keys; what is marked is read anew.

Decoding notifications whole costs more than the attach that caused them, so of each the header is read, and of links
and routes a few attributes more, to tell our own echoes from damage.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from netplumb.models.errors import Terminal, errno_name
from netplumb.models.kernel import RT_PROTOCOL, Link, Scope
from netplumb.reconciler.kernel import decode, tc
from netplumb.reconciler.kernel import rtnetlink as rt
from netplumb.reconciler.kernel.channel import OWN_PORT_IDS, OWN_PORT_IDS_MASK, SOL_NETLINK
from netplumb.reconciler.kernel.socketfilter import Consequences, attach_filter, echo_filter
from netplumb.reconciler.kernel.wire import Buffer, attributes, messages, string

NETLINK_ADD_MEMBERSHIP = 1
NETLINK_LISTEN_ALL_NSID = 8
SO_RCVBUFFORCE = 33

# enum rtnetlink_groups, include/uapi/linux/rtnetlink.h: LINK, NEIGH, TC, IPV4_IFADDR, IPV4_ROUTE, IPV6_IFADDR,
# IPV6_ROUTE, IPV4_NETCONF, IPV6_NETCONF, NSID, and what leads a packet beside routes: IPV4_RULE, IPV6_RULE, NEXTHOP
_GROUPS = (1, 3, 4, 5, 7, 9, 11, 24, 25, 28, 8, 19, 32)
_RECEIVE_BYTES = 1 << 15
_BUFFER_BYTES = 8 << 20
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
# the kernel tells of by itself whoever gave it; and ::1, which it sets when the loopback has IPv6 again. The offsets
# are those of rtm_protocol and ifa_scope.
_BY_ROUTER = (16 + 5, (rt.RTPROT_RA,))
_CONSEQUENCES = (
    Consequences(rt.RTM_NEWADDR, but_for=(16 + 3, (rt.RT_SCOPE_UNIVERSE, rt.RT_SCOPE_HOST))),
    Consequences(rt.RTM_NEWROUTE, but_for=_BY_ROUTER),
    Consequences(rt.RTM_DELROUTE, but_for=_BY_ROUTER),
    Consequences(rt.RTM_NEWNEIGH),
    Consequences(rt.RTM_DELNEIGH),
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
        if self.body[1] not in (32, 128):
            return None
        dst = attributes(self.body, rt.RTMSG.size).get(rt.RTA_DST)
        return bytes(dst) if dst is not None else None


class Listener:
    """Raises Terminal when the kernel does not let it hear, naming the capability."""

    def __init__(self) -> None:
        flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, flags, socket.NETLINK_ROUTE)
        try:
            self._grow_buffer()
            attach_filter(self._socket, echo_filter(OWN_PORT_IDS, OWN_PORT_IDS_MASK, _CONSEQUENCES))
            self._socket.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
            self._socket.bind((0, 0))
            for group in _GROUPS:
                self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, group)
        except OSError as error:
            self._socket.close()
            hint = " (CAP_NET_BROADCAST is needed)" if error.errno == errno.EPERM else ""
            code = error.errno or 0
            raise Terminal(f"cannot listen to kernel events: {errno_name(code)}{hint}", code=code) from None

    def _grow_buffer(self) -> None:
        try:
            self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, _BUFFER_BYTES)
        except PermissionError:  # without root in the first user namespace; losses are met by a resync
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def drain(self, most: int) -> Iterator[Event | None]:
        """What was heard, at most so many datagrams. None stands for lost messages (ENOBUFS)."""
        receive = self._socket.recvmsg
        for _ in range(most):
            try:
                data, ancillary, _, _ = receive(_RECEIVE_BYTES, 64)
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield None
                continue
            nsid = int.from_bytes(ancillary[0][2][:4], "little", signed=True) if ancillary else NODE_NSID
            for type_, flags, _, port_id, body in messages(data):
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
