"""Senders of datagrams that never pause: what holds a flow as it began for as long as they send."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Self

from netplumb.models.flows import Flow
from netplumb.reconciler.kernel.conntrack import Conntrack
from tests.e2e.hosts import Host
from tests.e2e.streams import TIMEOUT_S, open_socket

PAUSE_S = 0.02


class Sender:
    """Sends a datagram every 20 ms from one port until it is closed. `answer` is the last that came back."""

    def __init__(self, source: Host, to: str, port: int) -> None:
        self.answer = ""
        self._socket = open_socket(source, to, socket.SOCK_DGRAM)
        self._socket.settimeout(PAUSE_S)
        self._socket.connect((to, port))
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def port(self) -> int:
        number: int = self._socket.getsockname()[1]
        return number

    def _run(self) -> None:
        while not self._ending.wait(PAUSE_S):
            with suppress(OSError):  # refused, unreachable: it sends on
                self._socket.send(b"?")
            with suppress(OSError):
                while answer := self._socket.recv(256, socket.MSG_DONTWAIT):
                    self.answer = answer.decode()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        self._thread.join(TIMEOUT_S)
        self._socket.close()
        assert not self._thread.is_alive()


def flows_from(node: Host, port: int) -> list[Flow]:
    """The flows on the node that began at this port."""
    with node.enter():
        conntrack = Conntrack()
    with conntrack:
        return [flow for flow in conntrack.flows() if flow.source[1] == port]
