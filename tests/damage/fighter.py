"""A program that undoes repairs as fast as they come, as badly set up tools do:

python -m tests.damage.fighter route np7477lkuvnjvk 10.99.0.2
python -m tests.damage.fighter sysctl net/ipv4/ip_forward 0
"""

from __future__ import annotations

import socket
import sys
import time
from ipaddress import ip_address
from pathlib import Path
from typing import NoReturn

from netplumb.models.kernel import RT_SCOPE_LINK, Route, Scope
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.rtnetlink import encode

BREATH_S = 0.002


def fight_route(link: str, address: str) -> NoReturn:
    """Deletes the route to a workload whenever it is there."""
    route = Route(Scope.NODE, ip_address(address).packed, 32, link, rt_scope=RT_SCOPE_LINK)
    requests = encode.delete_route(route, socket.if_nametoindex(link))
    with Channel() as channel:
        while True:
            channel.transact(requests)
            time.sleep(BREATH_S)


def fight_sysctl(name: str, value: str) -> NoReturn:
    """Sets a switch of the node all the time."""
    while True:
        Path("/proc/sys", name).write_text(value)
        time.sleep(BREATH_S)


if __name__ == "__main__":
    {"route": fight_route, "sysctl": fight_sysctl}[sys.argv[1]](*sys.argv[2:])
