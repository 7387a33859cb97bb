"""PURE: which chains of other tables drop what the node forwards for workloads.

A packet passes when no base chain drops it, and an accept in our table overrules none of the others. So what Docker's
policy or firewalld drops can only be reported, with what would let it pass; it is never changed.

What can be told from a listing: a chain whose policy, or whose last rule, drops everything, and that nothing before it
lets our links' traffic pass. Conditions on ports and the like are not weighed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from netplumb.models.kernel import LINK_GROUP
from netplumb.models.naming import NODE_IF_PREFIX
from netplumb.models.status import Condition

FORWARD_BLOCKED = "ForwardBlocked"
_FAMILIES = frozenset({"ip", "ip6", "inet"})
_VERDICTS = frozenset({"accept", "drop", "reject", "jump", "goto", "return", "queue"})
_CONDITIONS = frozenset({"match", "vmap", "limit", "ct"})
_XT_REJECT = {"type": "target", "name": "REJECT"}  # iptables' own, which libnftables only names
_NAMES = f"{NODE_IF_PREFIX}*"

Rule = Sequence[Mapping[str, Any]]
ChainId = tuple[str, str, str]  # family, table, name


@dataclass(frozen=True, slots=True)
class Blocked:
    """A chain that drops what workloads send or are sent, how, and what would let it pass."""

    chain: str
    how: str
    remedy: str


def blocking(listed: Iterable[Mapping[str, Any]]) -> list[Blocked]:
    """The chains of a listed ruleset (libnftables-json(5)) that drop what is forwarded for workloads."""
    chains: dict[ChainId, Mapping[str, Any]] = {}
    rules: dict[ChainId, list[Rule]] = {}
    for thing in listed:
        if (chain := thing.get("chain")) is not None:
            chains[(chain["family"], chain["table"], chain["name"])] = chain
        elif (rule := thing.get("rule")) is not None:
            rules.setdefault((rule["family"], rule["table"], rule["chain"]), []).append(rule["expr"])
    return [
        Blocked(f"{' '.join(id_)}", how, _remedy(id_, chains))
        for id_, chain in chains.items()
        if chain.get("hook") == "forward" and chain.get("type") == "filter" and id_[0] in _FAMILIES
        if (how := _how(chain, rules.get(id_, []))) and not _lets_pass(id_, rules)
    ]


def condition(blocked: Sequence[Blocked]) -> Condition:
    """The node's condition: true while a foreign chain is in the way."""
    if not blocked:
        return Condition(FORWARD_BLOCKED, status=False, reason="NothingInTheWay")
    message = "; ".join(
        f"chain {it.chain} ({it.how}) drops what is forwarded for workloads; let it pass: {it.remedy}" for it in blocked
    )
    return Condition(FORWARD_BLOCKED, status=True, reason="ForeignChain", message=message)


def _how(chain: Mapping[str, Any], rules: Sequence[Rule]) -> str:
    if chain.get("policy") == "drop":
        return "policy drop"
    if rules and (verdict := _verdict(rules[-1])) in ("drop", "reject") and not _is_conditional(rules[-1]):
        return f"its last rule is {verdict}"
    return ""


def _verdict(rule: Rule) -> str:
    for expression in rule:
        for word, value in expression.items():
            if word in _VERDICTS:
                return word
            if word == "xt" and value == _XT_REJECT:
                return "reject"
    return ""


def _is_conditional(rule: Rule) -> bool:
    return any(
        word in _CONDITIONS or (word == "xt" and value != _XT_REJECT)
        for expression in rule
        for word, value in expression.items()
    )


def _lets_pass(start: ChainId, rules: Mapping[ChainId, Sequence[Rule]]) -> bool:
    """Whether what comes from our links and what goes to them is accepted, here or in a chain that is jumped to.
    Answers may be accepted by their state instead."""
    leaving = arriving = False
    seen, ahead = set(), [start]
    while ahead:
        id_ = ahead.pop()
        if id_ in seen:
            continue
        seen.add(id_)
        for rule in rules.get(id_, ()):
            if (target := _target(rule)) is not None:
                ahead.append((id_[0], id_[1], target))
            elif _verdict(rule) == "accept":
                leaving |= _is_about_ours(rule, "iif")
                arriving |= _is_about_ours(rule, "oif") or _is_about_answers(rule)
    return leaving and arriving


def _target(rule: Rule) -> str | None:
    for expression in rule:
        for word in ("jump", "goto"):
            if isinstance(found := expression.get(word), Mapping):
                return str(found["target"])
    return None


def _is_about_ours(rule: Rule, side: str) -> bool:
    for expression in rule:
        if not isinstance(match := expression.get("match"), Mapping) or match["op"] != "==":
            continue
        key = match["left"].get("meta", {}).get("key") if isinstance(match["left"], Mapping) else None
        if (key, match["right"]) in ((f"{side}group", LINK_GROUP), (f"{side}name", _NAMES)):
            return True
    return False


def _is_about_answers(rule: Rule) -> bool:
    return any("established" in str(expression.get("match", "")) for expression in rule)


def _remedy(id_: ChainId, chains: Mapping[ChainId, Mapping[str, Any]]) -> str:
    """Commands to run. iptables' own chains are changed by iptables, Docker's in the chain that it leaves to others."""
    family, table, name = id_
    if family in ("ip", "ip6") and name == "FORWARD":
        command = "iptables" if family == "ip" else "ip6tables"
        into = "DOCKER-USER" if (family, table, "DOCKER-USER") in chains else name
        return " && ".join(f"{command} -I {into} {way} {NODE_IF_PREFIX}+ -j ACCEPT" for way in ("-i", "-o"))
    return " && ".join(
        f"nft insert rule {family} {table} {name} {side}group {LINK_GROUP} accept" for side in ("iif", "oif")
    )
