"""What systemd is told, over a real datagram socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from netplumb.reconciler.sdnotify import Notifier


@pytest.fixture
def systemd() -> Iterator[tuple[str, socket.socket]]:
    """A socket that plays systemd, and its path."""
    with TemporaryDirectory(prefix="np-") as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        path = str(Path(directory, "notify"))
        listening.bind(path)
        listening.settimeout(5)
        yield path, listening


def test_each_state_is_one_datagram(systemd: tuple[str, socket.socket]) -> None:
    """Ready, alive and stopping are told in sd_notify's words."""
    path, listening = systemd
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": path})
    notifier.ready()
    notifier.alive()
    notifier.stopping()
    assert [listening.recv(64) for _ in range(3)] == [b"READY=1", b"WATCHDOG=1", b"STOPPING=1"]


def test_an_abstract_address_is_understood() -> None:
    """A leading @ stands for the abstract namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0netplumb-test-notify")
        listening.settimeout(5)
        notifier = Notifier("@netplumb-test-notify")
        notifier.ready()
        notifier.stopping()
        assert listening.recv(64) == b"READY=1"


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": "/nowhere/notify"}])
def test_where_nobody_listens_nothing_fails(environ: dict[str, str]) -> None:
    """A service does not die of a notification that cannot be sent."""
    notifier = Notifier.from_environment(environ)
    notifier.ready()
    notifier.stopping()
