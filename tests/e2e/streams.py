"""Traffic between hosts, by plain sockets in their namespaces, served by threads."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Self

from tests.e2e.hosts import Host

PORT = 7007
TIMEOUT_S = 5.0
BLOCK = bytes(range(256)) * 16


def family_of(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def open_socket(host: Host, address: str, kind: socket.SocketKind) -> socket.socket:
    """A socket of the host, of the family of the address. A socket stays in the namespace in which it was opened."""
    with host.enter():
        made = socket.socket(family_of(address), kind)
    made.settimeout(TIMEOUT_S)
    return made


class Served:
    """A socket that a thread serves until it is closed."""

    def __init__(self, bound: socket.socket, serve: Callable[[socket.socket], None]) -> None:
        self.socket = bound
        self._serve = serve
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        with suppress(OSError):
            self._serve(self.socket)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        self._thread.join(TIMEOUT_S)
        assert not self._thread.is_alive()


class TcpStream:
    """A TCP connection from one host to another over which a pattern flows until it is closed; to the target's own
    address, or `by` an address and a port that lead there. `received` counts the bytes that came as they were sent;
    `error` is what ended the stream before its time."""

    def __init__(self, source: Host, target: Host, address: str, *, by: tuple[str, int] | None = None) -> None:
        self.received = 0
        self.error: BaseException | None = None
        self._ending = threading.Event()
        with open_socket(target, address, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address, PORT))
            listener.listen()
            self._sender = open_socket(source, address, socket.SOCK_STREAM)
            self._sender.connect(by or (address, PORT))
            self._receiver, _ = listener.accept()
        self._receiver.settimeout(TIMEOUT_S)
        self._threads = [threading.Thread(target=self._guarded, args=(run,)) for run in (self._send, self._receive)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(2 * TIMEOUT_S)
            assert not thread.is_alive()
        self._receiver.close()

    def moves_on(self) -> Callable[[], bool]:
        """Whether anything more than by now has been received, to be asked later."""
        by_now = self.received
        return lambda: self.received > by_now

    def _guarded(self, run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:
            self.error = error
            self._ending.set()

    def _send(self) -> None:
        with self._sender:
            while not self._ending.wait(0.001):
                self._sender.sendall(BLOCK)

    def _receive(self) -> None:
        while chunk := self._receiver.recv(len(BLOCK)):
            start = self.received % len(BLOCK)
            assert chunk == (BLOCK + BLOCK)[start : start + len(chunk)], "the stream is damaged"
            self.received += len(chunk)
