"""A foreign ruleset as it is weighed: base chains, their rules, and sets, from objects as libnftables lists them
(libnftables-json(5)). The tables of iptables-legacy are read into the same objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Expression = Mapping[str, Any] | None
"""One part of a rule. libnftables lists what it has no JSON for as null."""


class ChainId(NamedTuple):
    family: str
    table: str
    name: str
    legacy: bool = False

    def __str__(self) -> str:
        return f"{self.family} {self.table} {self.name}" + (" of iptables-legacy" if self.legacy else "")


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """`position` counts from 1 within its chain, as iptables does."""

    chain: ChainId
    handle: int
    position: int
    expressions: Sequence[Expression]


@dataclass(slots=True)
class Chain:
    """A regular chain has no hook. `devices` are those of a chain that hangs on interfaces."""

    id: ChainId
    type: str = ""
    hook: str = ""
    priority: int = 0
    policy: str = "accept"
    devices: Sequence[str] = ()
    rules: list[Rule] = field(default_factory=list)


@dataclass(slots=True)
class Ruleset:
    """`sets` hold elements of sets and maps, by family, table and name; one that was not read is missing."""

    chains: dict[ChainId, Chain] = field(default_factory=dict)
    sets: dict[tuple[str, str, str], Sequence[Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, listed: Iterable[Mapping[str, Any]]) -> Ruleset:
        found = cls()
        for thing in listed:
            if (chain := thing.get("chain")) is not None:
                id_ = _id(chain, chain["name"])
                devices = chain.get("dev", ())
                found.chains[id_] = Chain(
                    id_,
                    chain.get("type", ""),
                    chain.get("hook", ""),
                    chain.get("prio", 0),
                    chain.get("policy", "accept"),
                    (devices,) if isinstance(devices, str) else tuple(devices),
                )
            elif (rule := thing.get("rule")) is not None:
                id_ = _id(rule, rule["chain"])
                rules = found.chains.setdefault(id_, Chain(id_)).rules
                rules.append(Rule(id_, rule.get("handle", 0), len(rules) + 1, rule["expr"]))
            elif (declared := thing.get("set") or thing.get("map")) is not None:
                key = (declared["family"], declared["table"], declared["name"])
                found.sets[key] = declared.get("elem", ())
        return found


def _id(fields: Mapping[str, Any], name: str) -> ChainId:
    return ChainId(fields["family"], fields["table"], name, bool(fields.get("legacy")))
