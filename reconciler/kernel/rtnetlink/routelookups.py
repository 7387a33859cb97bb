"""Asks the kernel which way a packet would go, as `ip route get` does: rules, tables and the reverse path filter are
judged by the kernel itself, in the namespace where the channel was opened. Nothing is sent."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from ipaddress import ip_address
from struct import pack, unpack_from

from netplumb.models.base import IPAddress
from netplumb.models.lookups import Lookup, Question
from netplumb.reconciler.kernel.netlink.channel import Channel, Reply
from netplumb.reconciler.kernel.netlink.wire import Buffer, Request, attribute, attributes
from netplumb.reconciler.kernel.rtnetlink import encode
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

# include/uapi/linux/rtnetlink.h, neighbour.h
_RTA_SRC, _RTA_IIF, _RTA_CACHEINFO, _RTA_MARK, _RTA_IP_PROTO, _RTA_DPORT = 2, 3, 12, 16, 27, 29
_RTM_F_LOOKUP_TABLE, _RTM_F_FIB_MATCH = 0x1000, 0x2000
_RTA_ERROR_AT = 12  # rta_error of struct rta_cacheinfo
_TYPES = {1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast", 6: "blackhole", 7: "unreachable"}
_TYPES |= {8: "prohibit", 9: "throw"}
_ENDING = frozenset({"local", "blackhole", "prohibit"})
_ENDED = frozenset({errno.EINVAL, errno.EACCES})
"""What the kernel says where a route ends the way (blackhole, prohibit); where there is none it says otherwise."""
_PORTS = frozenset({6, 17, 132})
_NUD = {0x01: "incomplete", 0x02: "reachable", 0x04: "stale", 0x08: "delay", 0x10: "probe", 0x20: "failed"}
_NUD |= {0x40: "noarp", 0x80: "permanent"}


def look_up(channel: Channel, asked: Question) -> Lookup:
    """Raises Retryable when the kernel does not answer; a refusal to route is an answer."""
    table = _RTM_F_LOOKUP_TABLE if asked.dst.version == 4 else 0  # IPv6 tells it unasked, and refuses the flag
    plain = channel.transact([_request(asked, table)])[0]
    if plain.errno or not plain.parts:
        return Lookup(error=plain.errno or errno.ENODATA)
    found = _decoded(plain.parts[0][1])
    matched = channel.transact([_request(asked, table | _RTM_F_FIB_MATCH)])[0]
    if matched.parts and not matched.errno:
        _, length, *_ = rt.RTMSG.unpack_from(matched.parts[0][1])
        return Lookup(found.type, found.table, found.oif, found.gateway, found.source, length, found.error)
    return found


def ends_here(channel: Channel, addresses: Sequence[IPAddress]) -> list[IPAddress]:
    """Those of which the kernel says that they are its own, or that a route ends the way to them.

    An IPv6 address has its route to itself only when a worker of the kernel had its turn, also where no duplicate is
    looked for; so it is asked for, too.
    """
    replies = channel.transact([_request(Question(address), 0) for address in addresses])
    found = [address for address, reply in zip(addresses, replies, strict=True) if _ends(reply)]
    asked = [address for address in addresses if address.version == 6 and address not in found]
    held = channel.transact([_held(address) for address in asked]) if asked else []
    return [*found, *(address for address, reply in zip(asked, held, strict=True) if reply.parts)]


def _held(address: IPAddress) -> Request:
    header = rt.IFADDRMSG.pack(rt.AF_INET6, 0, 0, 0, 0)
    return Request(rt.RTM_GETADDR, 0, header + attribute(rt.IFA_ADDRESS, address.packed))


def _ends(reply: Reply) -> bool:
    if reply.errno or not reply.parts:
        return reply.errno in _ENDED
    return _decoded(reply.parts[0][1]).type in _ENDING


def _request(asked: Question, flags: int) -> Request:
    family, length = (rt.AF_INET, 32) if asked.dst.version == 4 else (rt.AF_INET6, 128)
    body = rt.RTMSG.pack(family, length, length if asked.src else 0, 0, 0, 0, 0, 0, flags)
    body += attribute(rt.RTA_DST, asked.dst.packed)
    if asked.src is not None:
        body += attribute(_RTA_SRC, asked.src.packed)
    if asked.iif:
        body += attribute(_RTA_IIF, pack("=I", asked.iif))
    if asked.mark:
        body += attribute(_RTA_MARK, pack("=I", asked.mark))
    if asked.protocol in _PORTS and asked.dport:
        body += attribute(_RTA_IP_PROTO, bytes((asked.protocol,))) + attribute(_RTA_DPORT, pack(">H", asked.dport))
    return Request(rt.RTM_GETROUTE, 0, body)


def _decoded(body: Buffer) -> Lookup:
    _, length, _, _, table, _, _, type_, _ = rt.RTMSG.unpack_from(body)
    told = attributes(body, rt.RTMSG.size)
    error = 0
    if len(cache := told.get(_RTA_CACHEINFO, b"")) >= _RTA_ERROR_AT + 4:
        (error,) = unpack_from("=i", cache, _RTA_ERROR_AT)
    return Lookup(
        _TYPES.get(type_, str(type_)),
        unpack_from("=I", told[rt.RTA_TABLE])[0] if rt.RTA_TABLE in told else table,
        unpack_from("=I", told[rt.RTA_OIF])[0] if rt.RTA_OIF in told else 0,
        _gateway(told),
        ip_address(bytes(told[rt.RTA_PREFSRC])) if rt.RTA_PREFSRC in told else None,
        length,
        abs(error),
    )


def _gateway(told: dict[int, Buffer]) -> IPAddress | None:
    if rt.RTA_GATEWAY in told:
        return ip_address(bytes(told[rt.RTA_GATEWAY]))
    return ip_address(bytes(told[rt.RTA_VIA][2:])) if rt.RTA_VIA in told else None


def neighbour(channel: Channel, index: int, ip: IPAddress) -> tuple[str, str]:
    """What the kernel knows of a neighbour in one word, and its MAC; empty what it does not know."""
    (reply,) = channel.transact([encode.get_neighbour(index, ip.packed)])
    if reply.errno or not reply.parts:
        return "", ""
    body = reply.parts[0][1]
    _, _, state, _, _ = rt.NDMSG.unpack_from(body)
    return _NUD.get(state, ""), bytes(attributes(body, rt.NDMSG.size).get(rt.NDA_LLADDR, b"")).hex(":")


def neighbour_state(channel: Channel, index: int, ip: IPAddress) -> str:
    return neighbour(channel, index, ip)[0]
