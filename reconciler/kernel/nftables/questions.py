"""What is asked of nf_tables without reading anything whole: the generation of the ruleset, the flags of a table.

Such an answer costs microseconds, where a listing through libnftables costs what the whole ruleset of the host does.
"""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Sequence
from struct import pack

from netplumb.models.errors import Retryable, StepError
from netplumb.reconciler.kernel.netlink.channel import NETLINK_NETFILTER, NLM_F_REQUEST, NLMSG_ERROR
from netplumb.reconciler.kernel.netlink.wire import HEADER, Buffer, attributes, messages, text
from netplumb.reconciler.kernel.nftables import counts
from netplumb.reconciler.kernel.nftables.batch import GET_TABLE, NEW_ELEMENT, NEW_TABLE, TABLE_FLAGS, TABLE_NAME
from netplumb.reconciler.kernel.nftables.libnftables import failure

# NFNL_SUBSYS_NFTABLES << 8 | message, include/uapi/linux/netfilter/nf_tables.h
_NEW_GENERATION = 10 << 8 | 15
_GET_GENERATION = 10 << 8 | 16
_GENERATION_ID = 1
_NFPROTO_INET = 1
_ANSWER_WITHIN_S = 5
_RECEIVE_BYTES = 8192
_COUNTED_AT_ONCE = 64  # so many answers fit the socket's buffer


class Questions:
    """Asks in the namespace where it was made, one question at a time. Raises StepError when the kernel refuses."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.settimeout(_ANSWER_WITHIN_S)
        self._sequence = 0

    def close(self) -> None:
        self._socket.close()

    def generation(self) -> int:
        """The kernel's number of the ruleset as it is now."""
        told = self._ask(_GET_GENERATION, _NEW_GENERATION, b"", "the generation of its ruleset")
        return int.from_bytes(told[_GENERATION_ID], "big")

    def flags(self, table: str) -> int | None:
        """A table's flags; None when the table is missing."""
        try:
            told = self._ask(GET_TABLE, NEW_TABLE, text(TABLE_NAME, table), "the flags of the table")
        except StepError as error:
            if error.code == errno.ENOENT:
                return None
            raise
        return int.from_bytes(told.get(TABLE_FLAGS, b""), "big")

    def counts(self, declared: str, links: Sequence[str]) -> list[int | None]:
        """The packets that met these links' elements of a set that counts; None for those that have none."""
        found: list[int | None] = []
        for first in range(0, len(links), _COUNTED_AT_ONCE):
            asked = links[first : first + _COUNTED_AT_ONCE]
            began, self._sequence = self._sequence + 1, self._sequence + len(asked)
            told = self._tell_each([counts.request(declared, link) for link in asked], began)
            found += (told.get(began + number) for number in range(len(asked)))
        return found

    def _tell_each(self, bodies: Sequence[bytes], began: int) -> dict[int, int | None]:
        """By the number of each question."""
        answers: dict[int, int | None] = {}
        sent = (
            HEADER.pack(20 + len(body), counts.GET_ELEMENT, NLM_F_REQUEST, number, 0)
            + pack("=BBH", _NFPROTO_INET, 0, 0)
            + body
            for number, body in enumerate(bodies, began)
        )
        try:
            self._socket.send(b"".join(sent))
            while len(answers) < len(bodies):
                for type_, _, sequence, _, told in messages(self._socket.recv(_RECEIVE_BYTES)):
                    if sequence >= began:
                        answers[sequence] = counts.packets(told) if type_ == NEW_ELEMENT else None
        except OSError as error:
            raise Retryable(f"nftables does not answer: {error}", code=error.errno or 0) from None
        return answers

    def _ask(self, request: int, answer: int, body: bytes, what: str) -> dict[int, Buffer]:
        """The attributes of the kernel's one answer."""
        payload = pack("=BBH", _NFPROTO_INET, 0, 0) + body  # struct nfgenmsg
        self._sequence += 1
        try:
            self._socket.send(HEADER.pack(16 + len(payload), request, NLM_F_REQUEST, self._sequence, 0) + payload)
            while True:
                for type_, _, sequence, _, told in messages(self._socket.recv(_RECEIVE_BYTES)):
                    if sequence != self._sequence:
                        continue  # a late answer to a question that was given up
                    if type_ == answer:
                        return attributes(told, 4)
                    if type_ == NLMSG_ERROR:
                        code = -int.from_bytes(told[:4], sys.byteorder, signed=True)
                        raise failure(code, f"the kernel does not tell {what}")
        except OSError as error:
            raise Retryable(f"nftables does not answer: {error}", code=error.errno or 0) from None
