"""Our one nftables table, `inet netplumb`: read whole when the ruleset has changed, written in one transaction.

The kernel numbers the generations of the ruleset; asking for the number costs microseconds, listing the table as much
as the host's whole ruleset makes it cost. So an unchanged number means that the last reading still holds.
"""

from __future__ import annotations

import errno
import json
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from struct import pack
from typing import Any

from models.errors import Retryable, StepError
from models.kernel import NftChain, Step, Verb
from models.nft import canonical_rule
from reconciler.kernel.channel import NLM_F_REQUEST, NLMSG_ERROR
from reconciler.kernel.libnftables import Libnftables, failure
from reconciler.kernel.wire import HEADER, Buffer, attributes, messages, text

NETLINK_NETFILTER = 12
FAMILY, TABLE = "inet", "netplumb"
_TABLE: Mapping[str, Any] = {"table": {"family": FAMILY, "name": TABLE}}

# NFNL_SUBSYS_NFTABLES << 8 | message, include/uapi/linux/netfilter/nf_tables.h
_NFT_MSG_NEWTABLE = 10 << 8 | 0
_NFT_MSG_GETTABLE = 10 << 8 | 1
_NFT_MSG_NEWGEN = 10 << 8 | 15
_NFT_MSG_GETGEN = 10 << 8 | 16
_NFTA_TABLE_NAME = 1
_NFTA_TABLE_FLAGS = 2
_NFTA_GEN_ID = 1
_NFPROTO_INET = 1
_OURS = frozenset({"metainfo", "table", "chain", "rule"})
_READS = 5


class Nftables:
    """Made and used in the node's namespace, by one thread at a time."""

    def __init__(self) -> None:
        self._nft = Libnftables()
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.settimeout(5)
        self._read_at: int | None = None
        self._chains: Sequence[NftChain] = ()
        self._spoilt = False

    def close(self) -> None:
        self._nft.close()
        self._socket.close()

    def generation(self) -> int:
        """The kernel's number of the ruleset as it is now. Raises StepError, for example without CAP_NET_ADMIN."""
        told = self._ask(_NFT_MSG_GETGEN, _NFT_MSG_NEWGEN, b"", "the generation of its ruleset")
        return int.from_bytes(told[_NFTA_GEN_ID], "big")

    def _flags(self) -> int | None:
        """The table's flags; None when the table is missing."""
        name = text(_NFTA_TABLE_NAME, TABLE)
        try:
            told = self._ask(_NFT_MSG_GETTABLE, _NFT_MSG_NEWTABLE, name, "the flags of the table")
        except StepError as error:
            if error.code == errno.ENOENT:
                return None
            raise
        return int.from_bytes(told.get(_NFTA_TABLE_FLAGS, b""), "big")

    def _ask(self, request: int, answer: int, body: bytes, what: str) -> dict[int, Buffer]:
        """The attributes of the kernel's one answer. Raises StepError."""
        payload = pack("=BBH", _NFPROTO_INET, 0, 0) + body  # struct nfgenmsg
        try:
            self._socket.send(HEADER.pack(16 + len(payload), request, NLM_F_REQUEST, 0, 0) + payload)
            for type_, _, _, _, told in messages(self._socket.recv(8192)):
                if type_ == answer:
                    return attributes(told, 4)
                if type_ == NLMSG_ERROR:
                    code = -int.from_bytes(told[:4], sys.byteorder, signed=True)
                    raise failure(code, f"the kernel does not tell {what}")
        except OSError as error:
            raise Retryable(f"nftables does not answer: {error}", code=error.errno or 0) from None
        raise Retryable(f"nftables does not tell {what}", reason="NftablesFailed")

    def observe(self) -> Sequence[NftChain]:
        """The table's chains in canonical form; none when the table is missing.

        None either when it holds what we never make, such as a flag, a set or a map: the next `apply` makes it anew.
        """
        for _ in range(_READS):
            before = self.generation()
            if before == self._read_at:
                break
            chains = self._read()
            if self.generation() == before:  # else somebody wrote while it was read, and it may be of two halves
                self._chains, self._spoilt, self._read_at = chains or (), chains is None, before
                break
        else:
            raise Retryable("the nftables ruleset changes faster than it can be read", reason="NftablesBusy")
        return self._chains

    def _read(self) -> Sequence[NftChain] | None:
        """The table's chains, None where it holds what we never make.

        Flags are asked for apart: a dormant table lists as usual yet does nothing, and libnftables 1.0.6 prints the
        JSON of a table with flags from memory that is not its own.
        """
        if flags := self._flags():
            return None
        try:
            listed = self._nft.run([{"list": _TABLE}]) if flags is not None else []
        except StepError as error:
            if error.code == errno.ENOENT:
                return ()
            raise
        return tuple(_chains(listed)) if all(_OURS.issuperset(thing) for thing in listed) else None

    def apply(self, steps: Sequence[Step]) -> None:
        """Carries out chain steps in one transaction, all or nothing. Raises StepError.

        A spoilt table goes in the same transaction. Since it was observed as empty, the steps bring all that is wanted.
        The kernel would refuse new chains in the transaction that wakes a dormant table, and to delete a chain that a
        map names.
        """
        anew = [{"add": _TABLE}, {"delete": _TABLE}] if self._spoilt else []
        self._nft.run([*anew, {"add": _TABLE}, *_commands(steps)])
        self._spoilt = False

    def delete_table(self) -> None:
        """Removes the table and all in it; a missing one is fine."""
        self._nft.run([{"add": _TABLE}, {"delete": _TABLE}])


def _chains(listed: Sequence[Mapping[str, Any]]) -> Iterator[NftChain]:
    rules: dict[str, list[str]] = {}
    for thing in listed:
        if (rule := thing.get("rule")) is not None:
            rules.setdefault(rule["chain"], []).append(canonical_rule(rule["expr"], rule.get("comment")))
    for thing in listed:
        if (chain := thing.get("chain")) is not None:
            name = chain["name"]
            yield NftChain(
                name,
                chain.get("type", ""),
                chain.get("hook", ""),
                chain.get("prio", 0),
                chain.get("policy", ""),
                tuple(rules.get(name, ())),
            )


def _commands(steps: Sequence[Step]) -> Iterator[Mapping[str, Any]]:
    """The steps as commands, in an order that does not depend on theirs.

    Rules may jump from chain to chain: the kernel refuses a rule whose target is not there yet (ENOENT) and to delete
    a chain that a rule still names (EBUSY). So chains come first, rules last, and all that go are emptied before any is
    deleted. What is there already may be added again, so a chain that vanished since it was observed is made anew.
    """
    wanted, gone = [], []
    for step in steps:
        if isinstance(chain := step.thing, NftChain):
            if step.verb is not Verb.REMOVE:
                wanted.append(chain)
            if step.verb is Verb.REMOVE or (
                isinstance(step.observed, NftChain) and _base(step.observed) != _base(chain)
            ):
                gone.append(chain)
    kept = [chain for chain in wanted if chain not in gone]
    yield from ({"add": {"chain": _declaration(chain)}} for chain in kept)
    yield from ({"flush": {"chain": _name(chain)}} for chain in (*kept, *gone))
    yield from ({"delete": {"chain": _name(chain)}} for chain in gone)
    yield from ({"add": {"chain": _declaration(chain)}} for chain in wanted if chain in gone)
    for chain in wanted:
        for rule in chain.rules:
            yield {"add": {"rule": {"family": FAMILY, "table": TABLE, "chain": chain.name, **json.loads(rule)}}}


def _name(chain: NftChain) -> dict[str, Any]:
    return {"family": FAMILY, "table": TABLE, "name": chain.name}


def _declaration(chain: NftChain) -> dict[str, Any]:
    if not chain.hook:
        return _name(chain)
    return _name(chain) | {"type": chain.type, "hook": chain.hook, "prio": chain.priority, "policy": chain.policy}


def _base(chain: NftChain) -> tuple[str, str, int, str]:
    return chain.type, chain.hook, chain.priority, chain.policy
