"""One packet that is really sent, from inside the sender's namespace, and watched on its way by nftables' trace: what
each chain of every table does with it is told by the kernel, foreign tables included.

It is what a client would send first: a SYN, a datagram, an echo. Who listens sees a connection that is closed at once.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, suppress
from dataclasses import dataclass, field
from struct import pack

from netplumb.models.base import IPAddress
from netplumb.models.errors import errno_name
from netplumb.models.nft import HOOKS_TABLE
from netplumb.models.nodestate import LinkState
from netplumb.reconciler.decide.firewalls.ruleset import ChainId
from netplumb.reconciler.kernel.nftables.traces import NftTrace, Traced, wait
from netplumb.reconciler.tracing.filters import Filters
from netplumb.reconciler.tracing.flow import Flow
from netplumb.reconciler.tracing.hops import Hop, Outcome, Trace
from netplumb.reconciler.tracing.icmp import IcmpError, error_of, listen_for_errors
from netplumb.reconciler.tracing.views import View
from netplumb.reconciler.tracing.words import inside_workload

WITHIN_S = 1.5
_STEP_S = 0.05
_KINDS = {6: socket.SOCK_STREAM, 17: socket.SOCK_DGRAM}
_TCP_SYNCNT = 7
_ECHO = {1: (8, 0), 58: (128, 0)}
_GOES_ON = frozenset({"continue", "jump", "goto", "return"})


@dataclass(slots=True)
class Watched:
    """A namespace, and what was heard there, in order."""

    view: View
    trace: NftTrace
    heard: list[Traced] = field(default_factory=list)

    @property
    def left_by(self) -> LinkState | None:
        """What it heard last told of that, once for each base chain."""
        index = next((step.oif for step in reversed(self.heard) if step.oif), 0)
        return self.view.links.get(index)


Met = Mapping[tuple[str, ChainId, bool], Flow]
"""As what a packet, or its answer, was expected to come to the chains of each namespace."""


def sent(flow: Flow, views: Sequence[View], inside: Callable[[], AbstractContextManager[None]], met: Met) -> Trace:
    """Sends it from `inside`, the first of the views, and tells what became of it. Raises StepError, or OSError where
    it cannot be sent."""
    with ExitStack() as stack:
        with inside():
            packet = stack.enter_context(closing(_Packet(flow)))
        watched = [Watched(view, stack.enter_context(closing(view.traced(*packet.conditions)))) for view in views]
        packet.send()
        came = _listen(packet, watched)
        return _told(flow, watched, came, packet.error, met)


class _Packet:
    """Made in the sender's namespace, where its socket stays."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        family = socket.AF_INET if flow.dst.version == 4 else socket.AF_INET6
        kind = _KINDS.get(flow.protocol, socket.SOCK_RAW)
        self._socket = socket.socket(
            family, kind | socket.SOCK_CLOEXEC, 0 if kind != socket.SOCK_RAW else flow.protocol
        )
        try:
            self._socket.setblocking(False)
            listen_for_errors(self._socket)
            self._socket.bind((str(flow.src), 0))
            if kind == socket.SOCK_STREAM:
                self._socket.setsockopt(socket.IPPROTO_TCP, _TCP_SYNCNT, 1)
        except OSError:
            self._socket.close()
            raise
        self.number = secrets.randbits(16) if kind == socket.SOCK_RAW else self._socket.getsockname()[1]

    @property
    def conditions(self) -> tuple[str, str]:
        """In nft's language: it, and its answer."""
        protocol = self._flow.protocol
        if protocol in _ECHO:
            name = "icmp" if protocol == 1 else "icmpv6"
            of = f"meta l4proto {protocol} {name} id {self.number} {name} type"
            return f"{of} echo-request", f"{of} echo-reply"
        of = f"meta l4proto {protocol} th"
        return f"{of} sport {self.number}", f"{of} dport {self.number}"

    def send(self) -> None:
        flow = self._flow
        if flow.protocol in _ECHO:
            type_, code = _ECHO[flow.protocol]
            body = pack("!BBHHH", type_, code, 0, self.number, 1)
            if flow.protocol == 1:
                body = pack("!BBHHH", type_, code, _checksum(body), self.number, 1)
            self._socket.sendto(body, (str(flow.dst), 0))
            return
        with suppress(BlockingIOError):
            self._socket.connect((str(flow.dst), flow.dport))
        if flow.protocol in _KINDS and _KINDS[flow.protocol] == socket.SOCK_DGRAM:
            self._socket.send(b"")

    def answer(self) -> str:
        """What came back, in words; empty where nothing did so far."""
        if _KINDS.get(self._flow.protocol) == socket.SOCK_STREAM:
            code = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                return errno_name(code)
            with suppress(OSError):
                self._socket.getpeername()
                return "answered"
            return ""
        try:
            while told := self._socket.recvfrom(1 << 11)[0]:
                if self._flow.protocol not in _ECHO or self._is_mine(told):
                    return "answered"
        except BlockingIOError:
            return ""
        except OSError as error:
            return errno_name(error.errno or 0)
        return "answered"

    def _is_mine(self, told: bytes) -> bool:
        """A raw socket of IPv4 hears the header too, and every echo reply of the namespace."""
        at = (told[0] & 0x0F) * 4 if self._flow.protocol == 1 else 0
        reply = 0 if self._flow.protocol == 1 else 129
        return told[at : at + 1] == bytes((reply,)) and told[at + 4 : at + 6] == self.number.to_bytes(2, "big")

    @property
    def error(self) -> IcmpError | None:
        """What was sent back by ICMP."""
        return error_of(self._socket)

    def close(self) -> None:
        self._socket.close()


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total = sum(int.from_bytes(data[at : at + 2], "big") for at in range(0, len(data), 2))
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF


def _listen(packet: _Packet, watched: Sequence[Watched]) -> str:
    """Until an answer came, or a drop was seen, or the time is over; a drop of what others sent is none of ours."""
    ends = time.monotonic() + WITHIN_S
    came = ""
    while not came and time.monotonic() < ends:
        wait([it.trace for it in watched], _STEP_S)
        for it in watched:
            it.heard += it.trace.heard()
        if any(step.verdict == "drop" for it in watched for step in it.heard):
            break
        came = packet.answer()
    for it in watched:
        it.heard += it.trace.heard()
    return came


def _told(flow: Flow, watched: Sequence[Watched], came: str, error: IcmpError | None, met: Met) -> Trace:
    found = Trace()
    for it in watched:
        for hop, dropped in _steps(it, flow, met):
            if hop not in found.hops:  # those behind the first packet fare alike
                found.hops.append(hop)
            if dropped is not None and not found.why:
                found.outcome, (found.why, found.heal) = Outcome.ENDS, dropped
    if found.why:
        return found
    match came:
        case "answered":
            found.why = "an answer came back"
        case "":
            found.outcome = Outcome.UNKNOWN
            found.why = f"no answer came within {WITHIN_S} s, and no chain on this node dropped it: {_last(watched)}"
        case code if error is not None and (error.sender != flow.dst or code != "ECONNREFUSED"):
            found.outcome = Outcome.ENDS
            found.why = f"{_name(error.sender, watched)} sends back that {flow.dst} is not reached: {error} ({code})"
        case "ECONNREFUSED":
            found.outcome = Outcome.ENDS
            what = f"port {flow.dport}" if flow.dport else "it"
            found.why = f"{flow.dst} refuses: nobody listens on {what} (ECONNREFUSED)"
        case code:
            found.outcome = Outcome.ENDS
            found.why = f"the kernel answers that {flow.dst} is not reached ({code})"
    return found


def _name(ip: IPAddress, watched: Sequence[Watched]) -> str:
    owner = next((it.view.name for it in watched if any(ip == own.ip for own in it.view.addresses)), "")
    return f"{owner} ({ip})" if owner else str(ip)


def _last(watched: Sequence[Watched]) -> str:
    """Where it was seen last, or its answer."""
    for it in reversed(watched):
        if it.heard:
            step = it.heard[-1]
            what = "its answer was" if step.is_answer else "it was"
            chain = f"chain {step.chain} of table {step.family} {step.table}"
            at, link = it.view.ruleset.chains.get(ChainId(step.family, step.table, step.chain)), it.left_by
            if at is not None and at.hook == "postrouting" and link is not None:
                return f"{what} seen last as it left {it.view.name} by {link.name}, by {chain}"
            return f"{what} seen last in {it.view.name}, by {chain}"
    return "it was seen nowhere"


def _steps(it: Watched, flow: Flow, met: Met) -> Iterator[tuple[Hop, tuple[str, str] | None]]:
    """What each base chain came to, and why it was dropped there and what lets it pass, if it was."""
    chains, filters = it.view.ruleset.chains, Filters(it.view)
    base: dict[tuple[int, str, str], ChainId] = {}
    links: dict[tuple[int, str, str], tuple[int, int]] = {}  # which the kernel tells once for each base chain
    for step in it.heard:
        id_ = ChainId(step.family, step.table, step.chain)
        place = (step.packet, step.family, step.table)
        if id_ in chains and chains[id_].hook:
            base[place] = id_
        if step.iif or step.oif:
            links[place] = step.iif, step.oif
        at = chains.get(base.get(place, id_))
        if step.verdict in _GOES_ON or step.table == HOOKS_TABLE:
            continue
        if step.verdict != "drop":
            words = f"{step.verdict} by chain {(at.id if at else id_).name} of table {step.family} {step.table}"
            yield Hop(it.view.name, words, step.is_answer, seen=True), None
            continue
        if at is None:  # of a table that was too large to be read
            words = f"dropped by chain {step.chain} of table {step.family} {step.table}"
            heal = f"nft -a list chain {step.family} {step.table} {step.chain}"
        else:
            rule = next((rule for rule in chains[id_].rules if step.rule and rule.handle == step.rule), None)
            iif, oif = map(it.view.links.get, links.get(place, (0, 0)))
            as_seen = met.get((it.view.name, at.id, step.is_answer), flow.back() if step.is_answer else flow)
            words, heal = filters.words(at, rule, as_seen, iif, oif)
        if step.is_answer:
            words = f"the answer is {words}"
        dropped = f"{it.view.name}: {words}", inside_workload(heal, it.view.path)
        yield Hop(it.view.name, words, step.is_answer, seen=True), dropped
