"""The nftables of others, as far as they can drop what is forwarded: chains at hooks, what they lead to, and the sets
that their rules name. Nothing is changed, and nothing large is read: what is too much is named instead.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from netplumb.models.errors import StepError
from netplumb.reconciler.kernel import nftdumps
from netplumb.reconciler.kernel.libnftables import Libnftables
from netplumb.reconciler.kernel.nftdumps import Budget, TooMuchError, XtMatch
from netplumb.reconciler.kernel.nftjson import TABLE
from netplumb.reconciler.kernel.xtmatches import decoded

_MOST_CHAIN_BYTES = 8 << 20
_MOST_RULE_BYTES = 1 << 20
"""Of one table; some 3,000 rules. What comes of them is decoded in one go, and holds Python's lock meanwhile."""
_MOST_CHAINS = 300
_MOST_SET_BYTES = 1 << 18
_MOST_TABLES = 64


@dataclass(slots=True)
class ForeignTables:
    """Objects as libnftables lists them (libnftables-json(5)), and what was not looked at."""

    listed: list[Mapping[str, Any]] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


class ForeignTablesReader:
    """Made in the node's namespace, and asked by one thread at a time, in that namespace too."""

    def __init__(self) -> None:
        self._rules = Libnftables(terse=True)
        self._sets = Libnftables()

    def close(self) -> None:
        self._rules.close()
        self._sets.close()

    def read(self) -> ForeignTables:
        """Raises StepError where the kernel does not answer, or the ruleset changed meanwhile."""
        found = ForeignTables()
        try:
            budget = Budget(_MOST_CHAIN_BYTES)
            dormant = nftdumps.dormant_tables(budget)
            chains = [it for it in nftdumps.base_chains(budget) if _place(it) not in dormant and it["table"] != TABLE]
        except TooMuchError:
            found.unread.append("nftables, with more chains than are weighed")
            chains = []
        tables = groupby(sorted(chains, key=_unit), key=_unit)
        for number, ((family, table, is_nat), bases) in enumerate(tables):
            if number == _MOST_TABLES:
                found.unread.append(f"more than {_MOST_TABLES} tables of nftables")
                break
            try:
                found.listed += self._table(family, table, list(bases))
            except TooMuchError:
                if not is_nat:  # where drops do not belong, and service proxies keep thousands of rules
                    found.unread.append(f"table {family} {table}, which is larger than what is weighed")
        return found

    def _table(self, family: str, table: str, bases: Collection[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
        """Base chains, and all that can be reached from them."""
        budget = Budget(_MOST_RULE_BYTES)
        found: list[Mapping[str, Any]] = [{"chain": base} for base in bases]
        ahead, seen = [str(base["name"]) for base in bases], {str(base["name"]) for base in bases}
        sets: dict[str, None] = {}
        while ahead:
            chain = ahead.pop()
            rules = self._chain(family, table, chain, budget)
            found += rules
            for named in _set_names(rules):
                if named not in sets:
                    sets[named] = None
                    found += (elements := self._set(family, table, named))
                    rules += elements
            ahead += [target for target in _targets(rules) if target not in seen]
            seen.update(ahead)
            if len(seen) > _MOST_CHAINS:
                raise TooMuchError
        return found

    def _chain(self, family: str, table: str, chain: str, budget: Budget) -> list[Mapping[str, Any]]:
        matches = iter(nftdumps.xt_matches(family, table, chain, budget))
        listed = self._rules.run([{"list": {"chain": {"family": family, "table": table, "name": chain}}}])
        return [
            {"rule": rule | {"expr": list(_told(rule["expr"], matches, 6 if family == "ip6" else 4))}}
            for thing in listed
            if (rule := thing.get("rule")) is not None
        ]

    def _set(self, family: str, table: str, name: str) -> list[Mapping[str, Any]]:
        """None where it is too large, and cannot be judged."""
        try:
            nftdumps.measure_set(family, table, name, Budget(_MOST_SET_BYTES))
        except TooMuchError:
            return []
        named = {"family": family, "table": table, "name": name}
        for kind in ("set", "map"):
            try:
                return [it for it in self._sets.run([{"list": {kind: named}}]) if kind in it]
            except StepError:
                continue
        return []


def _place(chain: Mapping[str, Any]) -> tuple[str, str]:
    return chain["family"], chain["table"]


def _unit(chain: Mapping[str, Any]) -> tuple[str, str, bool]:
    return chain["family"], chain["table"], chain["type"] == "nat"


def _told(expressions: Iterable[Any], matches: Iterator[XtMatch], version: int) -> Iterator[Any]:
    """With iptables' own matches in words, where they are known."""
    for expression in expressions:
        if not isinstance(expression, Mapping) or expression.get("xt", {}).get("type") != "match":
            yield expression
            continue
        match = next(matches, None)
        known = decoded(match.name, match.revision, match.data, version) if match is not None else None
        if known is None:
            yield expression
        else:
            yield from known


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


def _set_names(thing: Any) -> Iterator[str]:
    if isinstance(thing, Mapping):
        for each in thing.values():
            yield from _set_names(each)
    elif isinstance(thing, list):
        for each in thing:
            yield from _set_names(each)
    elif isinstance(thing, str) and thing.startswith("@"):
        yield thing[1:]
