"""Reads what others set up on the node and what the node's own objects must take into account.

Links of others are few, ours may be thousands: none of ours is read here.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import suppress

from netplumb.models.errors import Retryable, errno_name
from netplumb.models.kernel import RT_PROTOCOL, Scope
from netplumb.models.naming import is_our_name
from netplumb.models.network import Surroundings
from netplumb.reconciler.kernel import sysctls
from netplumb.reconciler.kernel.descriptors import opened
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.rtnetlink import dumps, encode
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

_NO_INTERFACES = ("all", "default", "lo")


def read_surroundings(node: Channel) -> Surroundings:
    """Made in the node's namespace. Raises Retryable."""
    return Surroundings(
        accept_ra_interfaces=tuple(_with_switch("ipv6", "accept_ra", "1")),
        not_forwarding=tuple(_not_forwarding(node)),
        rules=tuple(dumps.foreign_rules(node)),
    )


def _with_switch(family: str, switch: str, value: str) -> list[str]:
    """The interfaces of others that have it so, in order."""
    try:
        # Ours are thousands, and no Path is wanted of each.
        names = opened(lambda: os.listdir(f"/proc/sys/net/{family}/conf"))  # noqa: PTH208
    except FileNotFoundError:
        return []
    except OSError as error:
        code = error.errno or 0
        raise Retryable(f"the node's interfaces cannot be listed: {errno_name(code)}", code=code) from None
    foreign = (name for name in names if name not in _NO_INTERFACES and not is_our_name(name))
    return [name for name in sorted(foreign) if sysctls.read(f"net/{family}/conf/{name}/{switch}") == value]


def _not_forwarding(node: Channel) -> Iterator[str]:
    """Only where forwarding is on for the node: all are switched on with it. One without routes reaches nobody."""
    if sysctls.read("net/ipv4/ip_forward") != "1":
        return
    for name in _with_switch("ipv4", "forwarding", "0"):
        with suppress(OSError):  # it went meanwhile
            index = socket.if_nametoindex(name)
            body = encode.dump_routes(rt.AF_INET, index=index)
            if any(route.protocol != RT_PROTOCOL for route in dumps.routes(node, body, Scope.NODE, {index: name})):
                yield name
