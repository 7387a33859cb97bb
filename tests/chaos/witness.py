"""Looks at the node all the time, for what must not be even for a moment: an address that leads to two workloads."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from netplumb.models.errors import Retryable
from netplumb.models.kernel import RT_PROTOCOL
from netplumb.models.words import ip_words
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.netlink.wire import attributes
from netplumb.reconciler.kernel.rtnetlink import encode
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt
from tests.e2e.hosts import Host

_EVERY_S = 0.01


class Witness:
    """A thread of its own; `seen` holds what it has to say."""

    def __init__(self, node: Host) -> None:
        self._node = node
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="witness")
        self.seen: dict[str, None] = {}
        self.looks = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        with self._node.enter():
            channel = Channel()
        with channel:
            while not self._stop.wait(_EVERY_S):
                try:
                    self._look(channel)
                except Retryable:
                    continue  # the routes changed faster than they could be read
                self.looks += 1

    def _look(self, channel: Channel) -> None:
        over: dict[bytes, int] = {}
        for dst, link in _host_routes(channel):
            if (other := over.setdefault(dst, link)) != link:
                self.seen[f"{ip_words(dst)} led to links {other} and {link} at the same time"] = None


def _host_routes(channel: Channel) -> Iterator[tuple[bytes, int]]:
    """Destination and interface index of each route of ours."""
    for family in (rt.AF_INET, rt.AF_INET6):
        for _, body in channel.dump(rt.RTM_GETROUTE, encode.dump_routes(family, protocol=RT_PROTOCOL)):
            found = attributes(body, rt.RTMSG.size)
            if (dst := found.get(rt.RTA_DST)) is not None and (oif := found.get(rt.RTA_OIF)) is not None:
                yield bytes(dst), int.from_bytes(oif, "little")
