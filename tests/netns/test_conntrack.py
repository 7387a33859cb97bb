"""Flows in the kernel's table: listed as they are, and forgotten one by one, by the real kernel."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from ipaddress import ip_address
from itertools import product
from struct import pack

import pytest

from netplumb.models.flows import DESTINATION_REPLACED, SOURCE_REPLACED, Flow, Walk
from netplumb.models.ports import End
from netplumb.reconciler.kernel.conntrack import Conntrack
from netplumb.reconciler.kernel.netlink.channel import NETLINK_NETFILTER, NLM_F_ACK, NLM_F_REQUEST
from netplumb.reconciler.kernel.netlink.wire import HEADER, attribute

TCP, UDP, ICMP = 6, 17, 1
_CREATE, _NESTED, _TIMEOUT = 0x400, 1 << 15, 600


def end(ip: str, port: int) -> End:
    return ip_address(ip).packed, port


def datagrams(source: End, to: End, answerer: End | None = None, answered: End | None = None) -> Flow:
    return Flow(UDP, source, to, answerer or to, answered or source)


@pytest.fixture
def conntrack() -> Iterator[Conntrack]:
    with Conntrack() as opened:
        yield opened


def put(*flows: Flow) -> None:
    """Puts flows into the table, translated as they say."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as channel:
        channel.settimeout(5)
        for flow in flows:
            body = _tuple(1, flow.protocol, flow.source, flow.to) + _tuple(2, flow.protocol, flow.to, flow.source)
            if flow.is_masked:
                body += _replaced(6, flow.answered)
            if flow.is_redirected:
                body += _replaced(13, flow.answerer)
            body += attribute(3, pack(">I", 1 << 3)) + attribute(7, pack(">I", _TIMEOUT))
            family = socket.AF_INET if len(flow.to[0]) == 4 else socket.AF_INET6
            payload = pack("=BBH", family, 0, 0) + body
            flags = NLM_F_REQUEST | NLM_F_ACK | _CREATE
            channel.send(HEADER.pack(16 + len(payload), 1 << 8, flags, 1, 0) + payload)
            assert not any(channel.recv(1 << 12)[16:20])


def _replaced(type_: int, by: End) -> bytes:
    ip = attribute(1 if len(by[0]) == 4 else 4, by[0])
    return attribute(type_ | _NESTED, ip + attribute(3 | _NESTED, attribute(1, pack(">H", by[1]))))


def _tuple(type_: int, protocol: int, source: End, to: End) -> bytes:
    src, dst = (1, 2) if len(to[0]) == 4 else (3, 4)
    proto = attribute(1, bytes((protocol,)))
    if protocol == ICMP:
        proto += attribute(4, pack(">H", 7)) + attribute(5, b"\x08" if type_ == 1 else b"\0") + attribute(6, b"\0")
    else:
        proto += attribute(2, pack(">H", source[1])) + attribute(3, pack(">H", to[1]))
    ip = attribute(src, source[0]) + attribute(dst, to[0])
    return attribute(type_ | _NESTED, attribute(1 | _NESTED, ip) + attribute(2 | _NESTED, proto))


PLAIN = datagrams(end("10.0.0.1", 7), end("192.0.2.1", 53))
MASKED = datagrams(end("10.0.0.1", 8), end("192.0.2.1", 53), answered=end("192.0.2.9", 9))
LED = datagrams(end("fd00::1", 7), end("fd00::2", 8080), answerer=end("fd00::3", 80))
ECHO = Flow(ICMP, end("10.0.0.1", 0), end("192.0.2.1", 0), end("192.0.2.1", 0), end("10.0.0.1", 0))


def test_flows_are_told_as_they_are(conntrack: Conntrack) -> None:
    """Of both families, translated or not, with ports or without."""
    put(PLAIN, MASKED, LED, ECHO)
    assert sorted(conntrack.flows()) == sorted((PLAIN, MASKED, LED, ECHO))


@pytest.mark.parametrize(
    ("walk", "met"),
    [
        (Walk(4), {PLAIN, MASKED, ECHO}),
        (Walk(6), {LED}),
        (Walk(6, UDP, 8080), {LED}),
        (Walk(4, UDP, 8080), set()),
        (Walk(4, UDP), {PLAIN, MASKED}),
        (Walk(status=0, mask=SOURCE_REPLACED | DESTINATION_REPLACED), {PLAIN, ECHO}),
        (Walk(status=DESTINATION_REPLACED, mask=DESTINATION_REPLACED), {LED}),
        (Walk(4, UDP, 0, SOURCE_REPLACED, SOURCE_REPLACED), {MASKED}),
    ],
)
def test_a_walk_meets_what_it_asks_for(conntrack: Conntrack, walk: Walk, met: set[Flow]) -> None:
    put(PLAIN, MASKED, LED, ECHO)
    assert set(conntrack.flows(walk)) == met


def test_what_is_wrong_is_forgotten_and_nothing_else(conntrack: Conntrack) -> None:
    """Also where more go than fit one send, and where IPv6 addresses are told apart."""
    flows = [
        datagrams(end(source, port), end(to, 53))
        for (source, to), port in product((("10.0.0.1", "192.0.2.1"), ("fd00::5", "2001:db8::1")), range(1000, 1200))
    ]
    put(*flows, LED, ECHO)
    wrong = {flow for flow in flows if flow.source[1] % 2}
    assert conntrack.forget(Walk(), wrong.__contains__) == len(wrong)
    assert set(conntrack.flows()) == {*flows, LED, ECHO} - wrong
    assert conntrack.forget(Walk(), wrong.__contains__) == 0


def test_a_newer_flow_between_the_same_ends_is_left_alone(conntrack: Conntrack) -> None:
    """One that came into the place of the wrong one while that was being forgotten."""
    put(PLAIN)

    def replaced_meanwhile(flow: Flow) -> bool:
        with Conntrack() as another:
            assert another.forget(Walk(), lambda _: True) == 1
        put(LED, flow)  # the kernel tells flows apart by where they lie in memory, too
        return True

    assert conntrack.forget(Walk(), replaced_meanwhile) == 0
    assert set(conntrack.flows()) == {LED, PLAIN}


def test_some_of_the_flows_that_are_meant_are_forgotten_and_none_that_is_cut(conntrack: Conntrack) -> None:
    """Of more than fit one message, and no more than a message beyond what was asked for."""
    ours = [datagrams(end("10.9.0.1", 1000 + number), end("10.9.0.2", 53)) for number in range(300)]
    others = [datagrams(end("10.9.0.3", 1000 + number), end("10.9.0.2", 53)) for number in range(100)]
    put(*ours, *others)
    cut = ours[:50]
    conntrack.forget(Walk(), lambda flow: flow in cut, lambda _: True)

    def is_meant(flow: Flow) -> bool:
        return flow.source[0] == ours[0].source[0]

    with Conntrack() as another:
        assert 150 <= another.thin_out(is_meant, 150) < 150 + 64
    left = set(conntrack.flows())
    assert left >= {*cut, *others}
    assert len(left) < 400 - 150 + 1
    assert conntrack.thin_out(is_meant, 1000) == len(left) - len(cut) - len(others)
