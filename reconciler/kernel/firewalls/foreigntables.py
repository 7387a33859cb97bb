"""The nftables of others, as far as they can drop what is forwarded: chains at hooks, what they lead to, and the sets
that their rules name. Nothing is changed, and nothing large is read: what is too much is named instead.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from struct import error
from typing import Any

from netplumb.models.nft import HOOKS_TABLE, REMOTE_TABLE
from netplumb.reconciler.kernel.firewalls.nftrules import Decoder
from netplumb.reconciler.kernel.firewalls.nftsets import SOMETHING, Element, element
from netplumb.reconciler.kernel.nftables import dumps
from netplumb.reconciler.kernel.nftables.dumps import Budget, TooMuchError
from netplumb.reconciler.kernel.nftables.jsonobjects import FAMILY, TABLE

_OURS = ((FAMILY, TABLE), (FAMILY, HOOKS_TABLE), (FAMILY, REMOTE_TABLE))
_MOST_CHAIN_BYTES = 8 << 20
_MOST_RULE_BYTES = 1 << 20
"""Of one table; some 2,000 rules."""
_RULES_A_TURN = 16
_MOST_CHAINS = 300
_MOST_SET_BYTES = 1 << 18
_MOST_TABLES = 64
_VERSIONS = {"ip": 4, "ip6": 6}
_BELOW_IP = frozenset({"arp", "bridge"})


@dataclass(slots=True)
class ForeignTables:
    """Objects as libnftables lists them (libnftables-json(5)), and what was not looked at."""

    listed: list[Mapping[str, Any]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def read(*, with_ours: bool = False, below_ip: bool = False) -> ForeignTables:
    """Those of others, of the calling thread's namespace; where that is asked ours too, and what filters ARP and within
    bridges. Raises StepError where the kernel does not answer, or where the ruleset changed meanwhile."""
    found = ForeignTables()
    try:
        budget = Budget(_MOST_CHAIN_BYTES)
        dormant = dumps.dormant_tables(budget)
        chains = [it for it in dumps.base_chains(budget) if _place(it) not in dormant]
        chains = [it for it in chains if with_ours or _place(it) not in _OURS]
        chains = [it for it in chains if below_ip or it["family"] not in _BELOW_IP]
    except TooMuchError:
        found.unread.append("nftables, with more chains than are weighed")
        chains = []
    tables = groupby(sorted(chains, key=_unit), key=_unit)
    for number, ((family, table, is_nat), bases) in enumerate(tables):
        if number == _MOST_TABLES:
            found.unread.append(f"more than {_MOST_TABLES} tables of nftables")
            break
        try:
            found.listed += _Table(family, table).read(list(bases))
        except TooMuchError:
            if not is_nat:  # where drops do not belong, and service proxies keep thousands of rules
                found.unread.append(f"table {family} {table}, which is larger than what is weighed")
        except (LookupError, ValueError, TypeError, error) as why:  # a newer kernel's words
            found.unread.append(f"table {family} {table}, which is not understood ({why!r:.80})")
    return found


class _Table:
    def __init__(self, family: str, name: str) -> None:
        self._family, self._name = family, name
        self._budget = Budget(_MOST_RULE_BYTES)
        self._sets: dict[str, Sequence[Element] | None] = {}
        self._filled: Collection[str] | None = None
        self._decoder = Decoder(_VERSIONS.get(family, 0), self._elements, _link)

    def read(self, bases: Collection[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Base chains, and all that can be reached from them."""
        found: list[Mapping[str, Any]] = [{"chain": base} for base in bases]
        ahead = [str(base["name"]) for base in bases]
        seen = set(ahead)
        while ahead:
            rules = list(self._rules(ahead.pop()))
            found += rules
            targets = set(_targets(rules)) - seen
            found += [{"chain": {"family": self._family, "table": self._name, "name": name}} for name in targets]
            ahead += targets
            seen |= targets
            if len(seen) > _MOST_CHAINS:
                raise TooMuchError
        return found

    def _rules(self, chain: str) -> Iterator[Mapping[str, Any]]:
        # All before the first is decoded, which takes longer: it may be too much.
        told = list(dumps.rules(self._family, self._name, chain, self._budget))
        for number, (handle, expressions) in enumerate(told):
            place = {"family": self._family, "table": self._name, "chain": chain, "handle": handle}
            yield {"rule": place | {"expr": self._decoder.rule(expressions)}}
            if number % _RULES_A_TURN == 0:
                time.sleep(0)  # whoever waits for Python's lock goes first

    def _elements(self, name: str) -> Sequence[Element] | None:
        if name not in self._sets:
            try:
                told = dumps.elements(self._family, self._name, name, Budget(_MOST_SET_BYTES))
                found = [element(each) for each in told]
                self._sets[name] = [*found, SOMETHING] if self._is_filled_by_packets(name) else found
            except TooMuchError:
                self._sets[name] = None
        return self._sets[name]

    def _is_filled_by_packets(self, name: str) -> bool:
        """Whether rules put elements into it, of which nobody tells."""
        if self._filled is None:
            self._filled = dumps.dynamic_sets(self._family, self._name, Budget(_MOST_SET_BYTES))
        return name in self._filled


def _place(chain: Mapping[str, Any]) -> tuple[str, str]:
    return chain["family"], chain["table"]


def _unit(chain: Mapping[str, Any]) -> tuple[str, str, bool]:
    return chain["family"], chain["table"], chain["type"] == "nat"


def _link(index: int) -> str:
    try:
        return socket.if_indextoname(index)
    except OSError:
        return f"link {index}"  # which is gone


def _targets(thing: Any) -> Iterator[str]:
    """The chains that are jumped to, by rules or by elements of maps."""
    if isinstance(thing, Mapping):
        for word, value in thing.items():
            if word in ("jump", "goto") and isinstance(value, Mapping):
                yield str(value["target"])
            else:
                yield from _targets(value)
    elif isinstance(thing, list):
        for each in thing:
            yield from _targets(each)
