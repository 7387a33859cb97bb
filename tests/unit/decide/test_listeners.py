"""Which listeners a mapping takes a port from."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.models.attachment import AttachmentSpec
from netplumb.models.ports import Protocol
from netplumb.models.sockets import Listener, Process
from netplumb.reconciler.decide.listeners import TOLD, condition, in_use, ranges


def spec(*ports: str, **more: Any) -> AttachmentSpec:
    wish = {"workload_id": "web", "netns": {"name": "web"}, "port_mappings": ports, **more}
    return AttachmentSpec.model_validate(wish)


def listener(at: str = "", port: int = 80, protocol: str = "tcp", versions: tuple[int, ...] = (4,)) -> Listener:
    process = Process(77, "nginx", ("nginx", "-g", "daemon off;"))
    return Listener(Protocol(protocol), port, versions, ip_address(at) if at else None, 5, process)


def found(wish: AttachmentSpec, *listeners: Listener) -> list[str]:
    return in_use(wish, wish.port_mappings, listeners)


@pytest.mark.parametrize(
    ("mapping", "there", "taken"),
    [
        ("80:1", listener(), True),
        ("80:1", listener("127.0.0.53"), True),
        ("80:1", listener(versions=(6,)), True),
        ("80:1", listener(port=81), False),
        ("80:1", listener(protocol="udp"), False),
        ("80:1/udp", listener(protocol="udp"), True),
        ("79-81:1", listener(), True),
        ("0.0.0.0:80:1", listener(versions=(6,)), False),
        ("0.0.0.0:80:1", listener(versions=(4, 6)), True),
        ("[::]:80:1", listener(), False),
        ("127.0.0.1:80:1", listener("127.0.0.1"), True),
        ("127.0.0.1:80:1", listener(), True),
        ("127.0.0.1:80:1", listener("192.0.2.1"), False),
        ("[::1]:80:1", listener("::1", versions=(6,)), True),
        ("80:1/udp", listener("224.0.0.251", protocol="udp"), False),
        ("80:1/udp", listener("ff02::fb", protocol="udp", versions=(6,)), False),
    ],
)
def test_a_listener_that_the_mapped_packets_would_have_reached(mapping: str, there: Listener, taken: bool) -> None:
    assert bool(found(spec(mapping), there)) is taken


def test_the_words_name_port_address_and_process() -> None:
    (words,) = found(spec("80:1"), listener("127.0.0.1"))
    assert words == "tcp port 80 (IPv4) is listened on at 127.0.0.1 by nginx (process 77)"
    told = condition([words] * (TOLD + 2))
    assert told is not None
    assert "and 2 more" in told.message
    assert condition([]) is None


def test_what_the_runtime_holds_the_port_with_is_none() -> None:
    """Podman's monitor has the container's id among its arguments, and the container's ports open."""
    monitor = Listener(Protocol.TCP, 80, (4,), None, 5, Process(9, "conmon", ("conmon", "-c", "4f1c22", "-n", "web")))
    assert not found(spec("80:1", container_id="4f1c22"), monitor)
    assert found(spec("80:1", container_id="9be017"), monitor)
    assert found(spec("80:1"), monitor)


@given(st.sets(st.integers(1, 65535), max_size=200), st.integers(1, 64))
def test_ranges_hold_all_ports_and_are_few(ports: set[int], most: int) -> None:
    made = ranges(ports, most)
    assert len(made) <= most
    assert all(any(first <= port <= last for first, last in made) for port in ports)
    assert all(first in ports and last in ports for first, last in made)
    if len(ports) <= most:
        assert {port for first, last in made for port in range(first, last + 1)} == ports
