"""`python -m tests.e2e.crowder ADDRESS`: begins as many flows to an address as the kernel tracks, and goes on in each.

What has been answered, and goes on for two seconds, the kernel gives up for nobody. More of them than there is room for
would be worse at it, since each new one gives way to the next."""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress
from itertools import islice, product
from pathlib import Path

_PORTS = range(10_000, 60_000)
_PAUSE_S = 2.0
_MOST = Path("/proc/sys/net/netfilter/nf_conntrack_max")


def crowd(to: str) -> None:
    count = int(_MOST.read_text())
    sources = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(-(-count // len(_PORTS)))]
    while True:
        for source, port in islice(product(sources, _PORTS), count):
            with suppress(OSError):
                source.sendto(b"", (to, port))
        time.sleep(_PAUSE_S)


if __name__ == "__main__":
    crowd(sys.argv[1])
