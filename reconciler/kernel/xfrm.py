"""Reads the policies of IPsec (xfrm) of the calling thread's namespace: what they take or block is no rule's to let
pass. Those of single sockets are left out."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from ipaddress import ip_network
from pathlib import Path
from struct import Struct

from netplumb.models.base import IPNetwork
from netplumb.models.errors import StepError
from netplumb.models.nodestate import IpsecPolicy
from netplumb.reconciler.kernel.descriptors import opened
from netplumb.reconciler.kernel.netlink.channel import Bound, Channel
from netplumb.reconciler.kernel.netlink.wire import Buffer, Request, attributes
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

POLICIES_MOST = 5000
_NETLINK_XFRM = 6
# include/uapi/linux/xfrm.h
_GET_POLICY, _GET_DEFAULT = 0x15, 0x28
_POLICY_ID = bytes(64)  # struct xfrm_userpolicy_id, which a dump does not look at
_SELECTOR = Struct("=16s16s8xHBBB3xi4x")  # struct xfrm_selector less ports and user
_DIRECTION_AT, _INFO_BYTES = 160, 168  # of struct xfrm_userpolicy_info, behind the lifetimes
_TEMPLATES, _MARK = 5, 21
_BLOCK = 1
_NO_IPSEC = frozenset({errno.EPROTONOSUPPORT, errno.EINVAL})
_SOCKETS = Path("/proc/thread-self/net/netlink")
_DIRECTIONS = {0: "in", 1: "out", 2: "fwd"}
_DEFAULTS = ("in", "fwd", "out")  # struct xfrm_userpolicy_default
_EVERYTHING = (ip_network("0.0.0.0/0"), ip_network("::/0"))


def read_policies() -> tuple[IpsecPolicy, ...]:
    """Up to a bound; none where the kernel has no IPsec. Raises Retryable, OSError."""
    if not _is_served():
        return ()
    try:
        with Channel(_NETLINK_XFRM) as channel:
            told, _ = channel.dump_at_most(_GET_POLICY, _POLICY_ID, Bound(POLICIES_MOST))
            (default,) = channel.transact([Request(_GET_DEFAULT, 0, bytes(4))])
    except OSError as error:
        if error.errno in _NO_IPSEC:
            return ()
        raise
    except StepError as error:
        if error.code in _NO_IPSEC:
            return ()
        raise
    blocking = [] if default.errno else [name for _, body in default.parts for name in _blocked(body)]
    return (
        *(policy for _, body in told for policy in _policy(body)),
        *(
            IpsecPolicy(direction, all_, all_, blocks=True, for_all=not told, is_default=True)
            for direction in blocking
            for all_ in _EVERYTHING
        ),
    )


def _blocked(body: Buffer) -> Iterator[str]:
    """The directions in which what no policy is about is dropped (Linux 5.15)."""
    return (direction for direction, action in zip(_DEFAULTS, body, strict=False) if action == _BLOCK)


def _is_served() -> bool:
    """Whether the kernel's own end is there. For whoever asks it without, the kernel would load a module."""
    lines = opened(_SOCKETS.read_text).splitlines()[1:]
    return any(words[1:3] == [str(_NETLINK_XFRM), "0"] for words in map(str.split, lines))


def _policy(body: Buffer) -> Iterator[IpsecPolicy]:
    dst, src, family, dst_len, src_len, protocol, index = _SELECTOR.unpack_from(body)
    direction, action = body[_DIRECTION_AT], body[_DIRECTION_AT + 1]
    found = attributes(body, _INFO_BYTES)
    takes = action == _BLOCK or _TEMPLATES in found
    if direction in _DIRECTIONS and family in (rt.AF_INET, rt.AF_INET6) and takes:
        yield IpsecPolicy(
            _DIRECTIONS[direction],
            _network(family, src, src_len),
            _network(family, dst, dst_len),
            blocks=action == _BLOCK,
            for_all=not (_MARK in found or index or protocol),  # ports want a protocol
        )


def _network(family: int, ip: bytes, length: int) -> IPNetwork:
    return ip_network((ip[:4] if family == rt.AF_INET else ip, length), strict=False)
