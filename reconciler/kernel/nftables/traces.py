"""nftables' own trace: marks packets of one conversation, and hears what each chain of every table does with them.

The marks are set by rules of a table of our own that belongs to a socket: the kernel removes it when that is closed,
however the process ends. Nothing else is changed, and who else traces is not disturbed.
"""

from __future__ import annotations

import secrets
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
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
_FAMILIES = {1: "inet", 2: "ip", 5: "netdev", 10: "ip6"}
_BEFORE_ALL = -450  # before conntrack's defragmentation, NF_IP_PRI_CONNTRACK_DEFRAG
_RECEIVE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Traced:
    """What one chain did with one packet. `rule` is a handle; 0 where the chain's policy had its say."""

    packet: int
    family: str
    table: str
    chain: str
    verdict: str
    rule: int = 0
    iif: int = 0
    oif: int = 0


class NftTrace:
    """Made in the namespace that it is about. `condition` is what nft's language has for the packets, as a list of
    alternatives. Raises StepError."""

    def __init__(self, conditions: list[str]) -> None:
        self.table = f"netplumb_trace_{secrets.token_hex(4)}"
        self._packets: set[int] = set()
        """Those that our table marked."""
        with ExitStack() as undo:
            self._nft = Libnftables()
            undo.callback(self._nft.close)
            self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
            undo.callback(self._socket.close)
            self._socket.bind((0, 0))  # one without a number would pass for the kernel itself, and hear nothing of it
            self._socket.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, _NFNLGRP_NFTRACE)
            self._socket.setblocking(False)
            self._nft.run_text(self._text(conditions))
            undo.pop_all()

    def _text(self, conditions: list[str]) -> str:
        rules = "".join(f"{condition} meta nftrace set 1; " for condition in conditions)
        chains = "".join(
            f"chain {hook} {{ type filter hook {hook} priority {_BEFORE_ALL}; {rules}}}; "
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
                raise Retryable(f"nftables' trace is lost: {errno_name(code)}", code=code) from None
            for type_, _, _, _, body in messages(datagram):
                if type_ != _TRACE:
                    continue
                traced = _traced(body)
                if traced.table == self.table:
                    self._packets.add(traced.packet)
                elif traced.packet in self._packets:
                    yield traced


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
