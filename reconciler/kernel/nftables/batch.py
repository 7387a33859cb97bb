"""Messages of nf_tables of our own, for what libnftables cannot say, table flags, or says dearly: elements."""

from __future__ import annotations

import errno
import socket
import sys
from contextlib import suppress
from struct import pack

from netplumb.models.errors import Retryable, errno_name
from netplumb.reconciler.kernel.netlink.channel import NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR
from netplumb.reconciler.kernel.netlink.datagrams import waiting
from netplumb.reconciler.kernel.netlink.wire import HEADER, Buffer, attribute, messages, text

# NFNL_SUBSYS_NFTABLES << 8 | message, and attributes: include/uapi/linux/netfilter/nf_tables.h
NEW_TABLE, GET_TABLE, DELETE_TABLE, NEW_CHAIN, NEW_RULE = (10 << 8 | message for message in (0, 1, 2, 3, 6))
NEW_ELEMENT, DELETE_ELEMENT = 10 << 8 | 12, 10 << 8 | 14
TABLE_NAME, TABLE_FLAGS, TABLE_USERDATA, TABLE_OWNER = 1, 2, 6, 7
OWNER, PERSIST = 2, 4
"""NFT_TABLE_F_OWNER (Linux 5.12): only the socket that made the table may change it, and the table goes with it. With
NFT_TABLE_F_PERSIST (6.9) it stays, nobody's, until the next one takes it by making it again."""

REFUSED = frozenset({errno.EOPNOTSUPP, errno.EINVAL})
"""What a kernel says of a flag that it does not know."""

_MAKE = 0x400  # NLM_F_CREATE
_NFTABLES = 10  # NFNL_SUBSYS_NFTABLES
_NFPROTO_INET = 1
_RECEIVE_BYTES = 1 << 14

Message = tuple[int, bytes]
"""Type and body."""


def commit(channel: socket.socket, *made: Message) -> int:
    """Carries out the messages, all or none; returns 0, or the errno of the first that was refused. Raises Retryable
    where the kernel does not say."""
    *first, last = made
    sent = (_message(type_, _MAKE, body) for type_, body in first)  # what is refused is told in any case
    answers = _ask(channel, _BEGIN, *sent, _message(last[0], _MAKE | NLM_F_ACK, last[1]), _END)
    codes = [_code(body) for type_, body in answers if type_ == NLMSG_ERROR]
    if not codes:
        raise Retryable("nftables does not answer to a transaction", code=errno.ETIMEDOUT)
    return next((code for code in codes if code), 0)


def table(channel: socket.socket, name: str) -> Buffer | None:
    """What the kernel tells of a table; None where it says that there is none, Retryable where it says neither."""
    code = 0
    for type_, body in _ask(channel, _message(GET_TABLE, 0, text(TABLE_NAME, name))):
        if type_ == NEW_TABLE:
            return body
        code = _code(body)
    if code == errno.ENOENT:
        return None
    raise Retryable(f"nftables does not tell of table {name}: {errno_name(code)}", code=code)


def _code(body: Buffer) -> int:
    """Of an NLMSG_ERROR."""
    return -int.from_bytes(body[:4], sys.byteorder, signed=True)


def table_body(name: str, flags: int) -> bytes:
    return text(TABLE_NAME, name) + attribute(TABLE_FLAGS, pack(">I", flags))


def _ask(channel: socket.socket, *requests: bytes) -> list[tuple[int, Buffer]]:
    """The kernel's answers, all of which wait when the send returns."""
    answers: list[tuple[int, Buffer]] = []
    discard_late_answers(channel)
    try:
        channel.send(b"".join(requests))
        with suppress(BlockingIOError):
            while True:
                datagram = memoryview(channel.recv(_RECEIVE_BYTES, socket.MSG_DONTWAIT))
                answers += ((type_, body) for type_, _, _, _, body in messages(datagram))
    except OSError as error:
        raise Retryable(f"nftables does not answer: {error}", code=error.errno or 0) from None
    return answers


def discard_late_answers(channel: socket.socket) -> None:
    """Those to what was given up: whoever asks next would take them for its own. libnftables does with
    acknowledgements of ours, and then says that there is no table."""
    try:
        for _ in waiting(channel, _RECEIVE_BYTES):
            pass
    except OSError as error:
        raise Retryable(f"nftables does not answer: {error}", code=error.errno or 0) from None


def _message(type_: int, flags: int, body: bytes, family: int = _NFPROTO_INET, resource: int = 0) -> bytes:
    payload = pack("=BB", family, 0) + pack(">H", resource) + body  # struct nfgenmsg
    return HEADER.pack(16 + len(payload), type_, NLM_F_REQUEST | flags, 0, 0) + payload


_BEGIN, _END = (_message(type_, 0, b"", socket.AF_UNSPEC, _NFTABLES) for type_ in (0x10, 0x11))  # NFNL_MSG_BATCH_*
