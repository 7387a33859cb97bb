"""Reaches for the links of the node from a workload's namespace, by the number that the kernel gives for it there, and
prints with what errno each try is answered:

python -m tests.e2e.reaching 12
"""

from __future__ import annotations

import json
import sys

from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.netlink.wire import Request, attributes, text, u32
from netplumb.reconciler.kernel.rtnetlink import encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

IF_NAME = "eth0"
IFLA_TARGET_NETNSID = 46


def reach(index: int) -> dict[str, int]:
    """`index` is that of another's link on the node."""
    with Channel() as channel:
        (reply,) = channel.transact([encodelinks.get_link_by_name(IF_NAME)])
        nsid = attributes(reply.parts[0][1], rt.IFINFOMSG.size)[rt.IFLA_LINK_NETNSID]
        there = rt.IFINFOMSG.pack(0, 0, index, 0, 0) + u32(IFLA_TARGET_NETNSID, int.from_bytes(nsid, sys.byteorder))
        tries = {
            "read": Request(rt.RTM_GETLINK, 0, there),
            "mark": Request(rt.RTM_NEWLINK, 0, there + text(rt.IFLA_IFALIAS, "taken")),
            "remove": Request(rt.RTM_DELLINK, 0, there),
        }
        return {what: channel.transact([request])[0].errno for what, request in tries.items()}


if __name__ == "__main__":
    print(json.dumps(reach(int(sys.argv[1]))))
