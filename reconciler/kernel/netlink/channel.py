"""A channel to the kernel: one rtnetlink socket, bound for life to the namespace where it was opened.

Requests go out several in one send, and the kernel carries them out in order before that send returns; their
acknowledgements are then read together. A failed request does not stop those behind it.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from math import inf
from struct import pack, unpack_from
from typing import Self

from netplumb.models.errors import DumpInterrupted, Retryable, TooLarge, errno_name
from netplumb.reconciler.kernel.descriptors import RESERVE, opened
from netplumb.reconciler.kernel.netlink.wire import HEADER, Buffer, Request, attributes, messages, string

NETLINK_NETFILTER = 12
SOL_NETLINK = 270
NETLINK_ADD_MEMBERSHIP = 1
NETLINK_CAP_ACK = 10
NETLINK_EXT_ACK = 11
NETLINK_GET_STRICT_CHK = 12

NLMSG_ERROR = 2
NLMSG_DONE = 3
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_CAPPED = 0x100
NLM_F_ACK_TLVS = 0x200
NLM_F_DUMP = 0x300
NLMSGERR_ATTR_MSG = 1

# rtnetlink's types come in fours: new, delete, get, set.
_KIND_OF_REQUEST = 3
_GET = 2

SO_NETNS_COOKIE = 71

REPLY_TIMEOUT_S = 10
_REPLY_TIMEOUT = pack("@ll", REPLY_TIMEOUT_S, 0)  # struct timeval
_RECEIVE_BYTES = 1 << 16
# Acknowledgements wait in the socket's buffer while a send is carried out; this many fit the kernel's default.
_REQUESTS_A_SEND = 64

_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)  # socket(2)
_TRIES_IN_PART = 5

# A port id tells our own echoes on the listener, also after its channel was closed. One chosen by the kernel would be
# the process id as its pid namespace counts it, which a container's process may share; so ours are a random block.
OWN_PORT_IDS_MASK = 0xFFFF0000


class _PortIds:
    """A process that is forked from another has a block of its own."""

    def __init__(self) -> None:
        self._numbers = count()
        self.draw()
        os.register_at_fork(after_in_child=self.draw)

    def draw(self) -> None:
        self.block = (secrets.randbits(14) | 1 << 14) << 16

    def next(self) -> int:
        return self.block | next(self._numbers) & 0xFFFF


OWN_PORT_IDS = _PortIds()


@dataclass(frozen=True, slots=True)
class Bound:
    """How much is read of one dump, in messages and in bytes, and how often one that was interrupted is begun again."""

    most: float = inf
    most_bytes: float = inf
    tries: int = 20


UNBOUND = Bound()
"""For what is on the node."""

OF_A_WORKLOAD = Bound(most_bytes=1 << 17, tries=2)
"""For what a workload can make large, and can change all the time. All that is ever asked for of an interface, 256
routes and 16 addresses, is a third of it."""

AT_ONCE = Bound(most_bytes=1 << 15, tries=1)
"""For the same where others wait for it: some four hundred routes, in a few milliseconds."""


@dataclass(slots=True)
class Reply:
    """What the kernel said to one request: errno 0 or the error, its own words if any, and any message it sent."""

    errno: int = 0
    words: str = ""
    parts: list[tuple[int, Buffer]] = field(default_factory=list)


class Channel:
    """Not safe for use by two threads at once."""

    def __init__(self, protocol: int = socket.NETLINK_ROUTE) -> None:
        """Raises Retryable where there is no room for one more."""
        try:
            self._socket = opened(
                lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
            )
        except OSError as error:
            if error.errno not in _NO_ROOM:
                raise
            words = f"no socket to ask the kernel can be had: {errno_name(error.errno)}"
            raise Retryable(words, code=error.errno) from None
        self._port_id = OWN_PORT_IDS.next()
        try:
            self._socket.bind((self._port_id, 0))
            self._socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
            self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
            self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
            # The kernel's own timeout: with one of Python's each receive would be a poll and a receive.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _REPLY_TIMEOUT)
        except OSError:
            self._socket.close()
            raise
        self._sequence = 0

    @property
    def netns_cookie(self) -> int:
        """The kernel's number of the namespace; unique until the next boot."""
        return int.from_bytes(self._socket.getsockopt(socket.SOL_SOCKET, SO_NETNS_COOKIE, 8), "little")

    def transact(self, requests: Sequence[Request]) -> list[Reply]:
        """Carries out the requests in order and returns a reply to each.

        Raises Retryable when the kernel does not answer or the answer was lost.
        """
        replies: list[Reply] = []
        for start in range(0, len(requests), _REQUESTS_A_SEND):
            replies += self._transact(requests[start : start + _REQUESTS_A_SEND])
        return replies

    def _transact(self, requests: Sequence[Request]) -> list[Reply]:
        first = self._send(requests, NLM_F_REQUEST | NLM_F_ACK)
        replies = [Reply() for _ in requests]
        waiting = len(replies)
        while waiting:
            for type_, flags, sequence, _, body in messages(self._receive()):
                position = sequence - first
                if not 0 <= position < len(replies):
                    continue  # a late answer to a request that was given up
                if type_ == NLMSG_ERROR:
                    replies[position].errno, replies[position].words = _outcome(flags, body)
                    waiting -= 1
                else:
                    replies[position].parts.append((type_, body))
        return replies

    def carry_out(self, requests: Sequence[Request]) -> Buffer | None:
        """Carries out the requests in order, in one send, of which only failures and the last one are answered. What
        the last one was answered with, empty for one that reads nothing; None when any failed.

        Raises Retryable when the kernel does not answer or the answer was lost.
        """
        *others, last = requests
        acknowledged = 0 if last.type & _KIND_OF_REQUEST == _GET else NLM_F_ACK
        first = self._send([*others, Request(last.type, last.flags | acknowledged, last.body)], NLM_F_REQUEST)
        good = True
        while True:
            for type_, _, sequence, _, body in messages(self._receive()):
                if not first <= sequence <= self._sequence:
                    continue  # a late answer to a request that was given up
                good = good and not (type_ == NLMSG_ERROR and any(body[:4]))
                if sequence == self._sequence:
                    return (body if type_ != NLMSG_ERROR else b"") if good else None

    def dump(self, type_: int, body: bytes, bound: Bound = UNBOUND) -> list[tuple[int, Buffer]]:
        """All messages of one dump, consistent: one that the kernel marks as interrupted is repeated.

        Raises DumpInterrupted when it never comes out consistent, another Retryable when it is refused or lost, and
        TooLarge when it is past the bound; the channel is then good for no other dump.
        """
        found, whole = self.dump_at_most(type_, body, bound)
        if not whole:
            raise TooLarge(f"a dump of the kernel's is larger than the {bound.most_bytes} bytes that are read of it")
        return found

    def dump_at_most(self, type_: int, body: bytes, bound: Bound) -> tuple[list[tuple[int, Buffer]], bool]:
        """As `dump`, and whether that is all: past the bound no more is read, and the channel is then good for nothing
        but being closed."""
        for _ in range(bound.tries):
            try:
                found, interrupted, whole = self._dump(Request(type_, NLM_F_DUMP, body), bound)
            except InterruptedDumpError:
                continue
            if not (whole and interrupted):
                return found, whole
        raise DumpInterrupted(f"the kernel's dump was interrupted, as often as it was tried ({bound.tries})")

    def dump_in_part(self, type_: int, body: bytes) -> tuple[list[tuple[int, Buffer]], bool]:
        """All messages of one dump as it comes, and whether they are consistent. Each object that they tell of was so,
        but where others come and go meanwhile, some may be missing. A long dump beside many changes is never better.

        Raises DumpInterrupted when the kernel gives it up each time, another Retryable when it is refused or lost.
        """
        for _ in range(_TRIES_IN_PART):
            with suppress(InterruptedDumpError):
                found, interrupted, _ = self._dump(Request(type_, NLM_F_DUMP, body), UNBOUND)
                return found, not interrupted
        raise DumpInterrupted(f"the kernel gave its dump up, as often as it was tried ({_TRIES_IN_PART})")

    def _dump(self, request: Request, bound: Bound) -> tuple[list[tuple[int, Buffer]], bool, bool]:
        """What was found, whether it was interrupted, and whether that is all."""
        expected = self._send([request], NLM_F_REQUEST)
        found: list[tuple[int, Buffer]] = []
        interrupted = False
        received = 0
        while len(found) < bound.most and received <= bound.most_bytes:
            datagram = self._receive()
            received += len(datagram)
            for type_, flags, sequence, _, body in messages(datagram):
                if sequence != expected:
                    continue
                interrupted |= bool(flags & NLM_F_DUMP_INTR)
                if type_ in (NLMSG_DONE, NLMSG_ERROR):
                    code, words = _outcome(flags, body)
                    if code == errno.EINTR:
                        raise InterruptedDumpError
                    if code == errno.ENOENT:
                        return [], False, True  # a routing table that has never had a route does not exist yet
                    if code:
                        raise Retryable(f"the kernel refused a dump: {errno_name(code)} {words}".rstrip(), code=code)
                    return found, interrupted, True
                found.append((type_, body))
        return found, interrupted, False

    def _send(self, requests: Iterable[Request], flags: int) -> int:
        """Sends all in one datagram and returns the first one's sequence number."""
        first = self._sequence + 1
        datagram = bytearray()
        for request in requests:
            self._sequence += 1
            size = 16 + len(request.body)
            datagram += HEADER.pack(size, request.type, request.flags | flags, self._sequence, self._port_id)
            datagram += request.body
        try:
            self._socket.send(datagram)
        except OSError as error:
            raise _lost(error) from error
        return first

    def _receive(self) -> memoryview:
        try:
            return memoryview(self._socket.recv(_RECEIVE_BYTES))
        except OSError as error:
            raise _lost(error) from error

    def close(self) -> None:
        self._socket.close()
        RESERVE.keep()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class InterruptedDumpError(Exception):
    """The kernel gave a dump up half-way (EINTR)."""


def _lost(error: OSError) -> Retryable:
    if isinstance(error, BlockingIOError):
        return Retryable(f"the kernel did not answer within {REPLY_TIMEOUT_S} s", code=errno.ETIMEDOUT)
    code = error.errno or 0
    return Retryable(f"the conversation with the kernel broke: {errno_name(code)}", code=code)


def _outcome(flags: int, body: Buffer) -> tuple[int, str]:
    """errno and the kernel's own words (extended acknowledgement) of an NLMSG_ERROR or NLMSG_DONE."""
    if len(body) < 4:
        return 0, ""
    (code,) = unpack_from("=i", body)
    if not flags & NLM_F_ACK_TLVS:
        return -code, ""
    # The words follow the header of the request, or the whole request where the kernel did not cap it.
    offset = 4
    if len(body) >= 20:
        (echoed,) = unpack_from("=I", body, 4)
        offset = 20 if flags & NLM_F_CAPPED else 4 + ((echoed + 3) & ~3)
    return -code, string(attributes(body, offset).get(NLMSGERR_ATTR_MSG))
