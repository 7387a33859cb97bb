"""Changes a route over the workload's interface, so many times in all and so many times a second:

python -m tests.e2e.flooder 1000000 80000
"""

from __future__ import annotations

import socket
import sys
import time

from netplumb.models.kernel import RT_SCOPE_LINK, Route, Scope
from netplumb.reconciler.kernel.netlink.channel import NLM_F_REQUEST
from netplumb.reconciler.kernel.netlink.wire import HEADER
from netplumb.reconciler.kernel.rtnetlink import encode

IF_NAME = "eth0"
RTPROT_STATIC = 4
_A_SEND = 128


def flood(times: int, a_second: int) -> None:
    route = Route(Scope.WORKLOAD, bytes((30, 0, 0, 1)), 32, IF_NAME, rt_scope=RT_SCOPE_LINK, protocol=RTPROT_STATIC)
    index = socket.if_nametoindex(IF_NAME)
    both = encode.add_route(route, index) + encode.delete_route(route, index)
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
    flood(*map(int, sys.argv[1:]))
