"""Follows each kind of packet through each base chain, and tells what drops it, or gives it another such end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from netplumb.reconciler.decide.firewalls.answers import UNKNOWN, YES, Answer, Match
from netplumb.reconciler.decide.firewalls.matches import Judge
from netplumb.reconciler.decide.firewalls.ruleset import Chain, Expression, Rule, Ruleset
from netplumb.reconciler.decide.firewalls.traffic import Ours, Packet, Party, at_hook
from netplumb.reconciler.decide.render.expressions import PRIORITY_DSTNAT

MOST_STEPS = 100_000
"""Rules looked at for one base chain. Jumps can make a small ruleset a long way."""

DROPS = frozenset({"drop", "reject", "queue", "fwd", "tproxy"})
"""What sends a packet out by another interface ends its way here, and so does what gives it to a proxy."""
_MAYBE = frozenset({"queue", "tproxy"})
"""Somebody may be there who takes it, and lets it pass or answers in another's place."""
_ACCEPTS = frozenset({"accept", "snat", "dnat", "masquerade", "redirect"})
REDIRECTS = frozenset({"redirect"})
TRANSLATES = frozenset({"dnat", "redirect"})
SOURCES = frozenset({"snat"})
MARKS = frozenset({"mark"})
NOTRACKS = frozenset({"notrack"})
ZONES = frozenset({"ct zone"})
_GO_ON = MARKS | NOTRACKS | ZONES
"""No verdicts: the packet goes on to the next rule."""
_JUMPS = frozenset({"jump", "goto"})
_VERDICTS = DROPS | _ACCEPTS | _JUMPS | _GO_ON | {"return", "continue"}
_NO_CONDITIONS = frozenset(
    {
        "counter",
        "log",
        "mangle",
        "ct helper",
        "ct timeout",
        "ct expectation",
        "secmark",
        "flow",
        "dup",
        "last",
    }
)
_TARGET_VERDICTS = {
    "REJECT": "reject",
    "NFQUEUE": "queue",
    "DNAT": "dnat",
    "SNAT": "snat",
    "MASQUERADE": "masquerade",
    "REDIRECT": "redirect",
    "TPROXY": "tproxy",
}
"""Of targets that iptables brings along; others change or note a packet, and let it go on."""


class _TooLongError(Exception):
    """More steps than are taken."""


@dataclass(frozen=True, slots=True)
class Drop:
    """A rule, or a base chain's policy where there is no rule, that ends the way of these kinds of packets by one of
    these verdicts. `certain` where nothing of it is beyond judging."""

    chain: Chain
    rule: Rule | None
    certain: bool
    packets: tuple[Packet, ...]
    by: frozenset[str] = DROPS


def weigh(ruleset: Ruleset, ours: Ours) -> tuple[list[Drop], list[str]]:
    """What drops, and which chains could not be weighed."""
    return each_chain(ruleset, ours, packets_ended)


def met_by(base: Chain, ruleset: Ruleset, judge: Judge, verdicts: frozenset[str]) -> dict[Rule | None, bool]:
    """The rules of one base chain that give one packet one of these verdicts, or its policy, in the order in which it
    meets them; each with whether that is certain. Raises ValueError where the chain leads too far."""
    way = _Way(judge, base, ruleset, [0], verdicts)
    try:
        way.follow()
    except _TooLongError:
        raise ValueError(f"chain {base.id} leads too far") from None
    return way.found


def each_chain(
    ruleset: Ruleset, ours: Ours, of_chain: Callable[[Chain, Ruleset, Ours], Iterator[Drop]]
) -> tuple[list[Drop], list[str]]:
    """What is found of each base chain, and which could not be weighed."""
    found: list[Drop] = []
    unread: list[str] = []
    for chain in ruleset.chains.values():
        if not chain.hook:
            continue
        try:
            found += of_chain(chain, ruleset, ours)
        except _TooLongError:
            unread.append(f"chain {chain.id}, which leads too far")
        except (LookupError, TypeError, ValueError, AttributeError) as error:  # words of another libnftables
            unread.append(f"chain {chain.id}, which is not understood ({error!r:.80})")
    return found, unread


def packets_ended(base: Chain, ruleset: Ruleset, ours: Ours, ends: frozenset[str] = DROPS) -> Iterator[Drop]:
    """By each rule of a chain, those that this end would be in the way of."""
    steps = [0]
    found: dict[Rule | None, list[tuple[bool, Packet]]] = {}
    family, table, *_ = base.id
    untranslated = base.priority if ends is DROPS else min(base.priority, PRIORITY_DSTNAT - 1)
    for packet in at_hook(ours, family, base.hook, untranslated):
        if base.type == "nat" and packet.answer:
            continue  # only the first packet of a connection meets it
        if not _is_in_question(packet, ours, ends):
            continue
        judge = Judge(packet, ours, lambda name: ruleset.sets.get((family, table, name)))
        way = _Way(judge, base, ruleset, steps, ends)
        way.follow()
        for rule, certain in way.found.items():
            found.setdefault(rule, []).append((certain, packet))
    for rule, packets in found.items():
        certain = any(each for each, _ in packets)
        sure = certain and (ends is not TRANSLATES or base.priority < PRIORITY_DSTNAT)
        yield Drop(base, rule, sure, tuple(packet for each, packet in packets if each is certain), ends)


def _is_in_question(packet: Packet, ours: Ours, ends: frozenset[str]) -> bool:
    """Whether such an end would be in the way of this packet."""
    if ends is TRANSLATES:
        return packet.mapped
    masqueraded = ours.masquerade and Party.FOREIGN in (packet.src, packet.dst)
    if ends is SOURCES:
        return masqueraded and packet.src is Party.WORKLOAD and not packet.answer
    return ends not in (NOTRACKS, ZONES) or packet.mapped or masqueraded


@dataclass(slots=True)
class _Way:
    """One kind of packet on its way through one base chain. `doubtful` once it may have been accepted."""

    judge: Judge
    base: Chain
    ruleset: Ruleset
    steps: list[int]
    ends: frozenset[str] = DROPS
    """The verdicts that are looked for."""
    doubtful: bool = False
    found: dict[Rule | None, bool] = field(default_factory=dict)

    def follow(self) -> None:
        reached = self._devices()
        if reached.answer is Answer.NO:
            return
        if not self._through(self.base, reached) and self.base.policy == "drop" and "drop" in self.ends:
            self._drop(None, Match(reached.answer))

    def _devices(self) -> Match:
        if not self.base.devices:
            return YES
        key = "oifname" if self.base.hook == "egress" else "iifname"
        return self.judge.equals({"meta": {"key": key}}, {"set": list(self.base.devices)})

    def _through(self, chain: Chain, reached: Match) -> bool:
        """Whether every packet that came here has met its verdict."""
        for rule in chain.rules:
            self.steps[0] += 1
            if self.steps[0] > MOST_STEPS:
                raise _TooLongError
            for verdict, target, condition in _outcomes(rule, self.judge):
                here, surely = reached.both(condition), condition.answer is Answer.YES
                if verdict in _GO_ON:
                    if verdict in self.ends:
                        self._drop(rule, here)
                    continue
                if verdict in self.ends:
                    self._drop(rule, here.both(UNKNOWN) if verdict in _MAYBE else here)
                elif verdict in _ACCEPTS or verdict in DROPS:
                    self.doubtful |= here.answer is Answer.UNKNOWN
                elif verdict in _JUMPS:
                    ended = self._jump(chain, target, here)
                    if surely and (ended or verdict == "goto"):
                        return ended
                    continue
                elif condition.answer is Answer.UNKNOWN:
                    reached = here  # it may have returned
                if surely:
                    return verdict != "return"
        return False

    def _jump(self, chain: Chain, target: str, reached: Match) -> bool:
        there = self.ruleset.chains.get(chain.id._replace(name=target))
        return there is not None and self._through(there, reached)

    def _drop(self, rule: Rule | None, reached: Match) -> None:
        named = reached.ours or not self.judge.packet.named_only
        if named and (reached.answer > Answer.FOREIGN or (reached.answer is Answer.FOREIGN and reached.ours)):
            certain = reached.answer >= Answer.SOME and not self.doubtful
            self.found[rule] = self.found.get(rule, False) or certain


def _outcomes(rule: Rule, judge: Judge) -> Iterator[tuple[str, str, Match]]:
    """The verdicts of a rule that packets can meet: each with the chain that it leads to, and when."""
    condition = YES
    for expression in rule.expressions:
        if expression is None:
            condition = condition.both(UNKNOWN)
            continue
        for word, value in expression.items():
            if word == "vmap":
                for key, verdict in _map(value, judge):
                    found = condition.both(key)
                    if found.answer is not Answer.NO and (named := _verdict(verdict)) is not None:
                        yield *named, found
            elif (named := _verdict(expression)) is not None:
                yield *named, condition
            else:
                condition = condition.both(_condition(word, value, judge))
        if condition.answer is Answer.NO:
            return


def _map(vmap: Mapping[str, Any], judge: Judge) -> Iterator[tuple[Match, Any]]:
    """Elements of a verdict map, each with whether the key is the packet's. One that was not read may drop."""
    elements = judge.values(vmap["data"])
    if elements is None:
        yield UNKNOWN, {"drop": None}
        return
    for key, verdict in elements:
        yield judge.equals(vmap["key"], {"set": [key]}), verdict


def _verdict(expression: Expression) -> tuple[str, str] | None:
    """The verdict and the chain that it names."""
    for word, value in (expression or {}).items():
        if word in _JUMPS:
            return word, str(value["target"])
        if word in _VERDICTS:
            return None if word == "continue" else (word, "")
        if word == "xt" and value.get("type") == "target":
            name = _TARGET_VERDICTS.get(value.get("name", ""))
            return None if name is None else (name, "")
    return None


def _condition(word: str, value: Any, judge: Judge) -> Match:
    match word:
        case "match":
            return judge.match(value)
        case "set":
            return UNKNOWN if value.get("stmt") else YES
        case "xt":
            return YES if value.get("type") == "target" else UNKNOWN
        case _:
            return YES if word in _NO_CONDITIONS or word == "continue" else UNKNOWN
