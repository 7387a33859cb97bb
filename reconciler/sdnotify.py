"""sd_notify(3): tells systemd that the daemon is ready, stopping, or still alive."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from typing import Self


class Notifier:
    """Says nothing where nobody listens, and never fails: a service must not die of a lost datagram."""

    def __init__(self, address: str) -> None:
        # A leading @ stands for the abstract namespace, unix(7).
        self._address = "\0" + address[1:] if address.startswith("@") else address

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        return cls(environ.get("NOTIFY_SOCKET", ""))

    def ready(self) -> None:
        self._send("READY=1")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        self._send("STOPPING=1")

    def _send(self, state: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
            try:
                sock.sendto(state.encode(), self._address)
            except OSError:
                return
