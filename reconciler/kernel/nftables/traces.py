"""nftables' own trace: marks packets of one conversation, and hears what each chain of every table does with them.

The marks are set by rules of a table of our own that belongs to a socket: the kernel removes it when that is closed,
however the process ends. Nothing else is changed, and who else traces is not disturbed.
"""

from __future__ import annotations

import errno
import secrets
import select
import socket
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from struct import unpack

from netplumb.models.errors import Retryable, errno_name
from netplumb.reconciler.kernel.netlink.channel import NETLINK_ADD_MEMBERSHIP, NETLINK_NETFILTER, SOL_NETLINK
from netplumb.reconciler.kernel.netlink.wire import Buffer, attributes, messages, string
from netplumb.reconciler.kernel.nftables.libnftables import Libnftables

# NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_TRACE, and attributes: include/uapi/linux/netfilter/nf_tables.h
_TRACE = 10 << 8 | 17
_NFNLGRP_NFTRACE = 9
_TABLE, _CHAIN, _RULE_HANDLE, _TYPE, _VERDICT, _ID, _IIF, _OIF, _NFPROTO, _POLICY = 1, 2, 3, 4, 5, 6, 10, 12, 15, 16
_VERDICT_CODE = 1
_TYPES = {1: "policy", 2: "return", 3: "rule"}
_VERDICTS = {0: "drop", 1: "accept", 2: "stolen", 3: "queue", -1: "continue", -3: "jump", -4: "goto", -5: "return"}
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_BEFORE_ALL = -450  # before conntrack's defragmentation, NF_IP_PRI_CONNTRACK_DEFRAG
_RECEIVE_BYTES = 1 << 16
_MARKED = "limit rate 1/second burst 4 packets"
"""Of each direction the first are enough, and a server that answers with all that it has would drown them."""
_SENT, _ANSWERS = "sent", "answers"


@dataclass(frozen=True, slots=True)
class Traced:
    """What one chain did with one packet, or with an answer. `rule` is a handle; 0 where the chain's policy had its
    say."""

    packet: int
    family: str
    table: str
    chain: str
    verdict: str
    rule: int = 0
    iif: int = 0
    oif: int = 0
    is_answer: bool = False


class NftTrace:
    """Made in the namespace that it is about. `sent` and `answers` are what nft's language has for the packets of each
    direction. Raises StepError."""

    def __init__(self, sent: str, answers: str) -> None:
        self.table = f"netplumb_trace_{secrets.token_hex(4)}"
        self._answers: dict[int, bool] = {}
        """Of the packets that our table marked, whether it is an answer."""
        with ExitStack() as undo:
            self._nft = Libnftables()
            undo.callback(self._nft.close)
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
            undo.callback(self._socket.close)
            self._socket.bind((0, 0))  # one without a number would pass for the kernel itself, and hear nothing of it
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTRACE)
            self._socket.setblocking(False)
            self._nft.run_text(self._text({_SENT: sent, _ANSWERS: answers}))
            undo.pop_all()

    def _text(self, conditions: Mapping[str, str]) -> str:
        rule = f"{_MARKED} meta nftrace set 1"
        chains = "".join(
            f"chain {name}_{hook} {{ type filter hook {hook} priority {_BEFORE_ALL}; {wanted} {rule}; }}; "
            for name, wanted in conditions.items()
            for hook in ("prerouting", "output")
        )
        return f"table inet {self.table} {{ flags owner; {chains}}}"

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        """The table goes with its socket."""
        self._socket.close()
        self._nft.close()

    def heard(self) -> Iterator[Traced]:
        """What was told since it was asked last, less what our own table did, and what others trace."""
        while True:
            try:
                datagram = memoryview(self._socket.recv(_RECEIVE_BYTES))
            except BlockingIOError:
                return
            except OSError as error:
                code = error.errno or 0
                if code == errno.ENOBUFS:
                    continue  # told once; what came before the gap is still to be read
                raise Retryable(f"nftables' trace is lost: {errno_name(code)}", code=code) from None
            for type_, _, _, _, body in messages(datagram):
                if type_ != _TRACE:
                    continue
                traced = _traced(body)
                if traced.table == self.table:
                    if traced.rule:  # else it was marked before, and this chain is not for it
                        self._answers[traced.packet] = traced.chain.startswith(_ANSWERS)
                elif (is_answer := self._answers.get(traced.packet)) is not None:
                    yield replace(traced, is_answer=is_answer)


def _traced(body: Buffer) -> Traced:
    told = attributes(body, 4)
    type_ = _TYPES.get(_number(told.get(_TYPE, b"")), "")
    if type_ == "policy":
        verdict = _VERDICTS.get(_number(told.get(_POLICY, b"")), "")
    else:
        code = attributes(told.get(_VERDICT, b"")).get(_VERDICT_CODE, b"\0\0\0\0")
        verdict = _VERDICTS.get(unpack(">i", code)[0], "")
    return Traced(
        _number(told.get(_ID, b"")),
        _FAMILIES.get(body[0], ""),
        string(told.get(_TABLE)),
        string(told.get(_CHAIN)),
        verdict,
        _number(told.get(_RULE_HANDLE, b"")),
        _number(told.get(_IIF, b"")),
        _number(told.get(_OIF, b"")),
    )


def _number(value: Buffer) -> int:
    return int.from_bytes(value, "big")


def wait(traces: list[NftTrace], within_s: float) -> None:
    """Until one of them has something to tell, or the time is over."""
    select.select(traces, (), (), within_s)
