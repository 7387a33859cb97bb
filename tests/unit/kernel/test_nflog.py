"""What is read of a packet that a rule told of, and that none can be so odd that it is not survived."""

from __future__ import annotations

from ipaddress import ip_address
from struct import pack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.reconciler.kernel.netlink.wire import attribute
from netplumb.reconciler.kernel.nftables.nflog import Told, told_of
from tests.e2e.packets import datagram, icmp, packet

V4, V6 = ("192.0.2.1", "192.0.2.2"), ("2001:db8::1", "2001:db8::2")
UDP = pack(">HHHH", 7, 53, 8, 0)


def message(content: bytes) -> memoryview:
    """As the kernel sends it: the header, the prefix, both interfaces, the packet."""
    prefix = attribute(10, b"ingress\0")
    return memoryview(
        bytes(4) + prefix + attribute(4, pack(">I", 3)) + attribute(5, pack(">I", 4)) + attribute(9, content)
    )


def extended(*headers: tuple[int, bytes], last: bytes) -> bytes:
    """An IPv6 packet with headers before the last, each given by the type that the one before names."""
    types = [type_ for type_, _ in headers] + [17]
    content = b"".join(pack("B", after) + body for after, (_, body) in zip(types[1:], headers, strict=True))
    return packet(*V6, types[0], content + last)


@pytest.mark.parametrize(
    ("content", "protocol", "port"),
    [
        (datagram((V4[0], 7), (V4[1], 53)), 17, 53),
        (datagram((V6[0], 7), (V6[1], 53)), 17, 53),
        (icmp(*V4, 8), 1, 0),
        (icmp(*V6, 128), 58, 0),
        (packet(*V4, 132, pack(">HH", 7, 5000)), 132, 5000),
        (packet(*V4, 47, UDP), 47, 0),
        (extended((0, b"\0" + bytes(6)), (60, b"\1" + bytes(14)), last=UDP), 17, 53),
        (extended((44, b"\0" + pack(">HI", 1, 9)), last=UDP), 17, 53),
        (extended((44, b"\0" + pack(">HI", 8 << 3, 9)), last=UDP), 17, 0),
    ],
)
def test_both_ends_and_the_port_are_read(content: bytes, protocol: int, port: int) -> None:
    """In both families, behind IPv6's extension headers, and of the first fragment alone."""
    source, destination = map(ip_address, V6 if content[0] >> 4 == 6 else V4)
    assert told_of(message(content)) == Told("ingress", 3, 4, source, destination, protocol, port)


@given(st.binary(max_size=160))
def test_whatever_is_sent_is_survived(content: bytes) -> None:
    """What a tenant wrote is read: nothing of it is believed to be there."""
    told_of(message(content))


@given(st.integers(0, 127), st.sampled_from([datagram((V6[0], 7), (V6[1], 53)), extended((0, bytes(7)), last=UDP)]))
def test_a_packet_that_is_cut_is_survived(length: int, whole: bytes) -> None:
    told_of(message(whole[:length]))
