"""Changes a route over the workload's interface, or the interface itself, so many times in all and so many times a
second:

python -m tests.e2e.flooder route 1000000 80000
"""

from __future__ import annotations

import socket
import sys
import time

from netplumb.models.kernel import RT_SCOPE_LINK, Route, Scope
from netplumb.reconciler.kernel.netlink.channel import NLM_F_REQUEST
from netplumb.reconciler.kernel.netlink.wire import HEADER, Request, u32
from netplumb.reconciler.kernel.rtnetlink import encode
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

IF_NAME = "eth0"
RTPROT_STATIC = 4
IFLA_TXQLEN = 13
_A_SEND = 128


def of_route(index: int) -> list[Request]:
    route = Route(Scope.WORKLOAD, bytes((30, 0, 0, 1)), 32, IF_NAME, rt_scope=RT_SCOPE_LINK, protocol=RTPROT_STATIC)
    return encode.add_route(route, index) + encode.delete_route(route, index)


def of_link(index: int) -> list[Request]:
    """Of its queue's length, which is nobody's concern; but the kernel tells all of a link each time."""
    link = rt.IFINFOMSG.pack(0, 0, index, 0, 0)
    return [Request(rt.RTM_NEWLINK, 0, link + u32(IFLA_TXQLEN, length)) for length in (1000, 1001)]


def flood(what: str, times: int, a_second: int) -> None:
    both = {"route": of_route, "link": of_link}[what](socket.if_nametoindex(IF_NAME))
    datagram = b"".join(
        HEADER.pack(16 + len(request.body), request.type, request.flags | NLM_F_REQUEST, 0, 0) + request.body
        for request in both * (_A_SEND // len(both))
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as sock:
        sock.bind((0, 0))
        began = time.monotonic()
        for sent in range(_A_SEND, times, _A_SEND):
            sock.send(datagram)
            time.sleep(max(0.0, began + sent / a_second - time.monotonic()))


if __name__ == "__main__":
    flood(sys.argv[1], *map(int, sys.argv[2:]))
