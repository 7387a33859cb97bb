"""What is told of foreign drops: the conditions of the node, each drop with its rule and with what lets ours pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from shlex import quote
from typing import Any

from netplumb.models.kernel import LINK_GROUP
from netplumb.models.naming import NODE_IF_PREFIX
from netplumb.models.nodestate import IpsecPolicy
from netplumb.models.status import Condition
from netplumb.reconciler.decide.firewalls.ruleset import Chain, ChainId, Expression, Rule, Ruleset
from netplumb.reconciler.decide.firewalls.traffic import Side
from netplumb.reconciler.decide.firewalls.weigh import DROPS, NOTRACKS, TRANSLATES, ZONES, Drop

FORWARD_BLOCKED = "ForwardBlocked"
FORWARD_FILTERED = "ForwardFiltered"

_MOST_TOLD = 5
_MOST_WORDS = 120
_IPTABLES = {"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}
_PROTOCOL_NAMES = {1: "icmp", 6: "tcp", 17: "udp", 58: "ipv6-icmp", 132: "sctp"}
_UNTOLD = frozenset({"counter", "log", "last"})
_VERDICTS = frozenset({"accept", "drop", "return", "continue", "queue", "jump", "goto"})
_DOES = {
    NOTRACKS: (
        "keeps from connection tracking, and so from translation,",
        "may keep from connection tracking, and so from translation,",
    ),
    ZONES: (
        "puts into another zone of connection tracking than what goes the other way, and so keeps from translation,",
        "may put into another zone of connection tracking than what goes the other way, and so keep from translation,",
    ),
    TRANSLATES: ("leads elsewhere, before netplumb can,", "may lead elsewhere, before netplumb can,"),
}
_SIDES = {
    "forward": ("iif", "oif"),
    "postrouting": ("iif", "oif"),
    "input": ("iif",),
    "output": ("oif",),
    "prerouting": ("iif",),
}
"""By which of our links a chain at a hook can tell what is ours."""


def conditions(
    drops: Sequence[Drop],
    ruleset: Ruleset,
    unread: Sequence[str] = (),
    ipsec: Iterable[tuple[IpsecPolicy, bool]] = (),
) -> tuple[Condition, ...]:
    """Whether something certainly drops, and where there is such, what may. `unread` is what was not looked at, `ipsec`
    are the policies that concern workloads, each with whether it does all of them."""
    blocking = [it for it in ipsec if it[0].blocks]
    certain = _told([it for it in drops if it.certain], ruleset, [it for it, is_wide in blocking if is_wide])
    doubtful = _told([it for it in drops if not it.certain], ruleset, [it for it, is_wide in blocking if not is_wide])
    left = _printable(f"not looked at: {_several(unread)}") if unread else ""
    if certain:
        message = "; ".join(filter(None, (certain, left)))
        reason = "ForeignChain" if any(it.certain for it in drops) else "IpsecPolicy"
        blocked = Condition(FORWARD_BLOCKED, status=True, reason=reason, message=message)
    else:
        reason = "NotAllLookedAt" if left else "NothingInTheWay"
        blocked = Condition(FORWARD_BLOCKED, status=False, reason=reason, message=left)
    if not doubtful:
        return (blocked,)
    return blocked, Condition(FORWARD_FILTERED, status=True, reason="ForeignRule", message=doubtful)


def _told(drops: Sequence[Drop], ruleset: Ruleset, policies: Sequence[IpsecPolicy]) -> str:
    of_ipsec = dict.fromkeys(map(_policy, policies))  # a default is of both IP versions
    told = [_drop(drop, ruleset) for drop in drops[:_MOST_TOLD]] + [*of_ipsec][:_MOST_TOLD]
    return _printable(_several(told, len(drops) + len(of_ipsec)))


def _policy(policy: IpsecPolicy) -> str:
    return f"the IPsec policy `{policy}` blocks packets of workloads; if they should pass: {policy.heal}"


def _printable(text: str) -> str:
    """Names of others may hold any bytes."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _drop(drop: Drop, ruleset: Ruleset) -> str:
    so = "let it pass" if drop.certain else "if it should pass"
    return f"chain {where(drop)} {does(drop)} {about(drop)}; {so}: {remedy(drop, ruleset)}"


def does(drop: Drop) -> str:
    """What it does to packets, as a verb that they can follow."""
    sure, may = _DOES.get(drop.by, ("drops", "may drop"))
    return sure if drop.certain else may


def _several(told: Sequence[str], total: int = 0) -> str:
    more = (total or len(told)) - min(len(told), _MOST_TOLD)
    return "; ".join([*told[:_MOST_TOLD], *([f"and {more} more"] if more else [])])


def where(drop: Drop) -> str:
    """The base chain, and the rule, which may stand in a chain that it leads to."""
    if drop.rule is None:
        return f"{drop.chain.id} (policy drop)"
    inside = "" if drop.rule.chain == drop.chain.id else f" in chain {drop.rule.chain.name}"
    number = f"rule {drop.rule.position}" if _by_iptables(drop.chain) else f"rule handle {drop.rule.handle}"
    return f"{drop.chain.id} ({number}{inside}: {rule_words(drop.rule)})"


def about(drop: Drop) -> str:
    """The kinds of packets."""
    return ", ".join(dict.fromkeys(packet.about for packet in drop.packets))


def rule_words(rule: Rule) -> str:
    """As nft would write it, nearly."""
    words = " ".join(filter(None, (_expression(it) for it in rule.expressions)))
    return words if len(words) <= _MOST_WORDS else words[: _MOST_WORDS - 1] + "…"


def _expression(expression: Expression) -> str:
    if expression is None:
        return "…"
    ((word, value), *_) = expression.items()
    match word, value:
        case "match", {"op": op, "left": left, "right": right}:
            shown = "" if op in ("==", "in") else f"{op} "
            return f"{_value(left)} {shown}{_value(right)}"
        case "vmap", {"key": key, "data": data}:
            return f"{_value(key)} vmap {_value(data)}"
        case "jump" | "goto", {"target": target}:
            return f"{word} {target}"
        case "xt", {"name": name}:
            return str(name)
    return "" if word in _UNTOLD else word


def _value(value: Any) -> str:
    match value:
        case {"meta": {"key": key}}:
            return key if key.startswith(("iif", "oif")) else f"meta {key}"
        case {"payload": {"protocol": protocol, "field": field}}:
            return f"{protocol} {field}"
        case {"ct": {"key": key}}:
            return f"ct {key}"
        case {"fib": {"result": result, "flags": flags}}:
            return f"fib {' . '.join([flags] if isinstance(flags, str) else flags)} {result}"
        case {"prefix": {"addr": text, "len": length}}:
            return f"{text}/{length}"
        case {"range": [first, last]}:
            return f"{first}-{last}"
        case {"concat": parts}:
            return " . ".join(map(_value, parts))
        case {"set": _, "name": name}:
            return f"@{name}"
        case {"set": list(elements)}:
            return f"{{ {', '.join(map(_value, elements))} }}"
        case {"unjudged": str(what)}:
            return f"({what})"
        case {"&": [left, mask]}:
            return f"{_value(left)} & {_value(mask)}"
        case {"elem": {"val": inner}}:
            return _value(inner)
        case [key, Mapping() as verdict] if verdict.keys() <= _VERDICTS:
            return f"{_value(key)} : {_expression(verdict)}"
        case list():
            return ",".join(map(_value, value))
        case bool():
            return "exists" if value else "missing"
        case _:
            return str(value)


def remedy(drop: Drop, ruleset: Ruleset) -> str:
    """Commands to run: what lets ours pass ahead of the rest, where the hook can tell ours by its links, and what is
    between nodes by its port; else what takes the rule away. iptables' own chains are changed by iptables, Docker's in
    the chain that it leaves to others."""
    between = [it for it in drop.packets if it.is_between_nodes]
    rest = tuple(it for it in drop.packets if not it.is_between_nodes)
    by_port = [remedy_by_port(drop, it.protocol, it.dports[0][0], ruleset, answer=False) for it in between[:1]]
    by_link = [_remedy(replace(drop, packets=rest), ruleset)] if rest or not between else []
    return " && ".join([*by_link, *by_port])


def _remedy(drop: Drop, ruleset: Ruleset) -> str:
    id_ = drop.chain.id
    if drop.by is not DROPS:  # to let ours pass ahead would leave it to the next chain
        return _iptables(drop, (), ruleset) if _by_iptables(drop.chain) else _deleted(drop)
    outside = drop.chain.hook == "prerouting" and any(packet.iif is Side.OUTSIDE for packet in drop.packets)
    sides = () if outside else _SIDES.get(drop.chain.hook, ())
    if _by_iptables(drop.chain):
        return _iptables(drop, sides, ruleset)
    into = f"{id_.family} {quote(id_.table)} {quote(id_.name)}"
    if sides:
        return " && ".join(f"nft insert rule {into} {side}group {LINK_GROUP} accept" for side in sides)
    return _deleted(drop)


def _deleted(drop: Drop) -> str:
    id_ = drop.chain.id
    if drop.rule is None:
        return f"nft chain {id_.family} {quote(id_.table)} {quote(id_.name)} '{{ policy accept; }}'"
    return f"nft delete rule {id_.family} {quote(id_.table)} {quote(drop.rule.chain.name)} handle {drop.rule.handle}"


def remedy_by_port(drop: Drop, protocol: int, port: int, ruleset: Ruleset, *, answer: bool) -> str:
    """The same for what no link tells to be ours: ahead of the rest what has this port, as an answer its source's. Of
    translations the rule goes, since to let one packet pass would leave it to the next chain."""
    id_ = drop.chain.id
    if drop.chain.type == "nat":
        return _iptables(drop, (), ruleset) if _by_iptables(drop.chain) else _deleted(drop)
    side = "sport" if answer else "dport"
    name = _PROTOCOL_NAMES.get(protocol, str(protocol))
    if _by_iptables(drop.chain):
        ports = f" --{side} {port}" if port else ""
        return f"{_iptables_command(id_)} -I {id_.name} -p {name}{ports} -j ACCEPT"
    met = f"{name} {side} {port}" if port else f"meta l4proto {name}"
    return f"nft insert rule {id_.family} {quote(id_.table)} {quote(id_.name)} {met} accept"


def _by_iptables(chain: Chain) -> bool:
    return chain.id.legacy or (chain.id.family in ("ip", "ip6") and chain.id.name in _IPTABLES)


def _iptables(drop: Drop, sides: Sequence[str], ruleset: Ruleset) -> str:
    id_ = drop.chain.id
    command = _iptables_command(id_)
    if sides and drop.chain.hook != "postrouting":  # where iptables knows no -i
        into = "DOCKER-USER" if id_.name == "FORWARD" and _docker(id_) in ruleset.chains else id_.name
        return " && ".join(f"{command} -I {into} -{side[0]} {NODE_IF_PREFIX}+ -j ACCEPT" for side in sides)
    if drop.rule is None:
        return f"{command} -P {id_.name} ACCEPT"
    return f"{command} -D {quote(drop.rule.chain.name)} {drop.rule.position}"


def _iptables_command(id_: ChainId) -> str:
    command = "iptables" if id_.family == "ip" else "ip6tables"
    if id_.legacy:
        command += "-legacy"
    return command if id_.table == "filter" else f"{command} -t {id_.table}"


def _docker(id_: ChainId) -> ChainId:
    return id_._replace(name="DOCKER-USER")
