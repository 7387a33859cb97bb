"""sd_notify(3): tells systemd that the daemon is ready, stopping, or still alive."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from typing import Self


class Notifier:
    """Says nothing where nobody listens, and never fails: a service must not die of a lost datagram."""

    def __init__(self, address: str) -> None:
        # A leading @ stands for the abstract namespace, unix(7).
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._socket: socket.socket | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Self:
        return cls(environ.get("NOTIFY_SOCKET", ""))

    def ready(self) -> None:
        self._send("READY=1")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self) -> None:
        """The last that is told."""
        self._send("STOPPING=1")
        if self._socket is not None:
            self._socket.close()

    def _send(self, state: str) -> None:
        if not self._address:
            return
        with suppress(OSError):
            # Kept open: a daemon that lives must be able to say so where no descriptor is free.
            if self._socket is None:
                self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.sendto(state.encode(), self._address)
