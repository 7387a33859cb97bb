"""Dumps of nf_tables that end where a bound is reached: what others make large is not read to its end."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from struct import pack, unpack
from typing import Any

from netplumb.models.errors import Retryable
from netplumb.reconciler.kernel.netlink.channel import (
    NETLINK_NETFILTER,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    REPLY_TIMEOUT_S,
)
from netplumb.reconciler.kernel.netlink.wire import HEADER, Buffer, attributes, every_attribute, messages, string, text
from netplumb.reconciler.kernel.nftables.libnftables import failure

# NFNL_SUBSYS_NFTABLES << 8 | message, and attributes: include/uapi/linux/netfilter/nf_tables.h
_GET_TABLE, _GET_CHAIN, _GET_RULE, _GET_SET, _GET_SETELEM = (10 << 8 | message for message in (1, 4, 7, 10, 13))
_TABLE_NAME, _TABLE_FLAGS, _DORMANT = 1, 2, 1
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_HOOK, _CHAIN_POLICY, _CHAIN_TYPE = 1, 3, 4, 5, 7
_HOOK_NUM, _HOOK_PRIORITY, _HOOK_DEVICE, _HOOK_DEVICES = 1, 2, 3, 4
_DEVICE_PREFIX = 2
_RULE_TABLE, _RULE_CHAIN, _RULE_HANDLE, _RULE_EXPRESSIONS = 1, 2, 3, 4
_SET_TABLE, _SET_NAME, _SET_FLAGS, _SET_EVAL = 1, 2, 3, 0x20
_SETELEM_TABLE, _SETELEM_SET, _SETELEM_ELEMENTS = 1, 2, 3

_FAMILIES = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
_NAMES = {number: name for name, number in _FAMILIES.items()}
_HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
_HOOKS_OF = {"netdev": ("ingress", "egress"), "arp": ("input", "output", "forward")}
_RECEIVE_BYTES = 1 << 16


class TooMuchError(Exception):
    """More bytes than are taken."""


@dataclass(slots=True)
class Budget:
    """How many bytes may still be read."""

    left: int

    def take(self, size: int) -> None:
        self.left -= size
        if self.left < 0:
            raise TooMuchError


def dormant_tables(budget: Budget) -> set[tuple[str, str]]:
    """Tables that are switched off, by family and name."""
    found = set()
    for family, body in _dump(_GET_TABLE, 0, b"", budget):
        told = attributes(body, 4)
        if int.from_bytes(told.get(_TABLE_FLAGS, b""), "big") & _DORMANT:
            found.add((family, string(told.get(_TABLE_NAME))))
    return found


def base_chains(budget: Budget) -> list[dict[str, Any]]:
    """Chains that hang on a hook, as libnftables-json(5) has them, devices included."""
    found = []
    for family, body in _dump(_GET_CHAIN, 0, b"", budget):
        told = attributes(body, 4)
        if _CHAIN_HOOK in told and family:
            name, table = string(told.get(_CHAIN_NAME)), string(told.get(_CHAIN_TABLE))
            policy = "accept" if int.from_bytes(told.get(_CHAIN_POLICY, b"\1"), "big") else "drop"
            hooked = {"type": string(told.get(_CHAIN_TYPE)), "policy": policy, **_hook(family, told[_CHAIN_HOOK])}
            found.append({"family": family, "table": table, "name": name, **hooked})
    return found


def _hook(family: str, data: Buffer) -> dict[str, Any]:
    told = attributes(data)
    number = int.from_bytes(told[_HOOK_NUM], "big")
    names = _HOOKS_OF.get(family, _HOOKS)
    devices = [_device(*each) for each in every_attribute(told.get(_HOOK_DEVICES, b""))]
    if not devices and _HOOK_DEVICE in told:
        devices = [string(told[_HOOK_DEVICE])]
    (priority,) = unpack(">i", told[_HOOK_PRIORITY])
    return {"hook": names[number] if number < len(names) else "", "prio": priority, "dev": devices}


def _device(type_: int, name: Buffer) -> str:
    return string(name) + ("*" if type_ == _DEVICE_PREFIX else "")


def rules(family: str, table: str, chain: str, budget: Budget) -> Iterator[tuple[int, Buffer]]:
    """The rules of a chain: each one's handle, and its expressions."""
    for told in told_rules(family, table, budget, text(_RULE_CHAIN, chain)):
        yield int.from_bytes(told.get(_RULE_HANDLE, b""), "big"), told.get(_RULE_EXPRESSIONS, b"")


def told_rules(family: str, table: str, budget: Budget, which: bytes = b"") -> Iterator[dict[int, Buffer]]:
    """The rules of a table as the kernel tells them, by attribute; `which` are attributes that narrow it down."""
    for _, body in _dump(_GET_RULE, _FAMILIES[family], text(_RULE_TABLE, table) + which, budget):
        yield attributes(body, 4)


def dynamic_sets(family: str, table: str, budget: Budget) -> set[str]:
    """The names of a table's sets that rules may put elements into."""
    found = set()
    for _, body in _dump(_GET_SET, _FAMILIES[family], text(_SET_TABLE, table), budget):
        told = attributes(body, 4)
        if int.from_bytes(told.get(_SET_FLAGS, b""), "big") & _SET_EVAL:
            found.add(string(told.get(_SET_NAME)))
    return found


def elements(family: str, table: str, name: str, budget: Budget) -> Iterator[Buffer]:
    """The elements of a set or map."""
    asked = text(_SETELEM_TABLE, table) + text(_SETELEM_SET, name)
    for _, body in _dump(_GET_SETELEM, _FAMILIES[family], asked, budget):
        for _, each in every_attribute(attributes(body, 4).get(_SETELEM_ELEMENTS, b"")):
            yield each


def _dump(type_: int, family: int, body: bytes, budget: Budget) -> Iterator[tuple[str, Buffer]]:
    """The families that are weighed and their messages. Raises TooMuchError, or StepError as the kernel refuses."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER) as asked:
        asked.settimeout(REPLY_TIMEOUT_S)
        payload = pack("=BBH", family, 0, 0) + body
        try:
            asked.send(HEADER.pack(16 + len(payload), type_, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + payload)
            for datagram in _datagrams(asked):
                budget.take(len(datagram))
                for kind, flags, _, _, told in messages(memoryview(datagram)):
                    if flags & NLM_F_DUMP_INTR:
                        raise Retryable("the ruleset changed while it was read", reason="DumpInterrupted")
                    if kind in (NLMSG_DONE, NLMSG_ERROR):
                        _refused(told)
                        return
                    yield _NAMES.get(told[0], ""), told
        except OSError as error:
            raise Retryable(f"nftables does not answer: {error}", code=error.errno or 0) from None


def _datagrams(asked: socket.socket) -> Iterator[bytes]:
    while True:
        yield asked.recv(_RECEIVE_BYTES)


def _refused(told: Buffer) -> None:
    code = -int.from_bytes(told[:4], sys.byteorder, signed=True) if len(told) >= 4 else 0
    if code:
        raise failure(code, "the kernel does not tell its ruleset")
