"""Our one nftables table, `inet netplumb`: read whole when the ruleset has changed, written in one transaction.

The kernel numbers the generations of the ruleset; asking for the number costs microseconds, listing the table as much
as the host's whole ruleset makes it cost. So an unchanged number means that the last reading still holds.
"""

from __future__ import annotations

import errno
import json
import socket
from collections.abc import Iterator, Mapping, Sequence
from struct import pack
from typing import Any

from models.errors import Retryable, StepError
from models.kernel import NftChain, Step, Verb
from models.nft import canonical_rule
from reconciler.kernel.libnftables import Libnftables
from reconciler.kernel.wire import HEADER, attributes, messages

NETLINK_NETFILTER = 12
FAMILY, TABLE = "inet", "netplumb"
_NFT_MSG_NEWGEN = 10 << 8 | 15
_NFT_MSG_GETGEN = 10 << 8 | 16  # NFNL_SUBSYS_NFTABLES << 8 | message, include/uapi/linux/netfilter/nf_tables.h
_NFTA_GEN_ID = 1
_READS = 5


class Nftables:
    """Made and used in the node's namespace, by one thread at a time."""

    def __init__(self) -> None:
        self._nft = Libnftables()
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
        self._socket.settimeout(5)
        self._read_at: int | None = None
        self._chains: Sequence[NftChain] = ()

    def close(self) -> None:
        self._nft.close()
        self._socket.close()

    def generation(self) -> int:
        """The kernel's number of the ruleset as it is now."""
        request = pack("=BBH", 0, 0, 0)  # struct nfgenmsg
        try:
            self._socket.send(HEADER.pack(16 + len(request), _NFT_MSG_GETGEN, 1, 0, 0) + request)
            for type_, _, _, _, body in messages(self._socket.recv(8192)):
                if type_ == _NFT_MSG_NEWGEN:
                    return int.from_bytes(attributes(body, 4)[_NFTA_GEN_ID], "big")
        except OSError as error:
            raise Retryable(f"nftables does not answer: {error}", code=error.errno or 0) from None
        raise Retryable("nftables does not tell its generation", reason="NftablesFailed")

    def observe(self) -> Sequence[NftChain]:
        """The table's chains in canonical form; none when the table is missing."""
        for _ in range(_READS):
            before = self.generation()
            if before == self._read_at:
                break
            chains = tuple(self._list())
            if self.generation() == before:  # else somebody wrote while it was read, and it may be of two halves
                self._chains, self._read_at = chains, before
                break
        else:
            raise Retryable("the nftables ruleset changes faster than it can be read", reason="NftablesBusy")
        return self._chains

    def _list(self) -> Iterator[NftChain]:
        try:
            listed = self._nft.run([{"list": {"table": {"family": FAMILY, "name": TABLE}}}])
        except StepError as error:
            if error.code == errno.ENOENT:
                return
            raise
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

    def apply(self, steps: Sequence[Step]) -> None:
        """Carries out chain steps in one transaction, all or nothing. Raises StepError."""
        self._nft.run([{"add": {"table": {"family": FAMILY, "name": TABLE}}}, *_commands(steps)])

    def delete_table(self) -> None:
        """Removes the table and all in it; a missing one is fine."""
        table = {"table": {"family": FAMILY, "name": TABLE}}
        self._nft.run([{"add": table}, {"delete": table}])


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
