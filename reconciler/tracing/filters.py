"""A packet before the chains of one hook: passes, ends, or is translated."""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.base import IPAddress
from netplumb.models.kernel import LINK_GROUP
from netplumb.models.lookups import Question
from netplumb.models.nodestate import LinkState
from netplumb.reconciler.decide.firewalls.exact import OnePacket, judge
from netplumb.reconciler.decide.firewalls.ruleset import Chain, Rule
from netplumb.reconciler.decide.firewalls.weigh import DROPS, MARKS, NOTRACKS, SOURCES, TRANSLATES, ZONES, met_by
from netplumb.reconciler.decide.render.expressions import PRIORITY_CONNTRACK
from netplumb.reconciler.tracing.flow import Flow
from netplumb.reconciler.tracing.hops import PacketEndsError
from netplumb.reconciler.tracing.views import View
from netplumb.reconciler.tracing.words import OUR_TABLE, dropped_by, inside_workload

_UNTRANSLATED = {
    NOTRACKS: "kept from connection tracking, and so from translation, by",
    ZONES: "put into a zone of connection tracking, where it may not be known as what it answers, by",
}
_MASQUERADES = frozenset({"masquerade"})
_FAMILIES = {4: frozenset({"inet", "ip", "netdev"}), 6: frozenset({"inet", "ip6", "netdev"})}


class Filters:
    """Those of one namespace. `doubts` are rules that were met and cannot be judged, each with what may help, and
    what could not be read."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.marked: dict[bool, str] = {}
        """What may have set a mark on the packet, or on the answer, so far."""
        self.doubts = {f"{view.name}: not looked at: {what}": "" for what in view.unread}

    def chains(self, hook: str, version: int) -> list[Chain]:
        """In the order in which a packet comes to them. Of those with the same priority the older is first, which
        nobody tells; ours is taken for it."""
        found = (it for it in self._view.ruleset.chains.values() if it.hook == hook)
        return sorted(
            (it for it in found if it.id.family in _FAMILIES[version]),
            key=lambda it: (it.priority, it.id.table != OUR_TABLE),
        )

    def drops(self, chain: Chain, flow: Flow, iif: LinkState | None, oif: LinkState | None = None) -> None:
        """Raises PacketEndsError where the chain certainly drops it."""
        for rule, certain in self._met(chain, flow, iif, oif, DROPS):
            words, heal = self.words(chain, rule, flow, iif, oif)
            if certain:
                raise PacketEndsError(words, heal)
            self.doubt(words.replace("dropped by", "may be dropped by", 1), heal, flow)
        if chain.hook == "prerouting" and chain.priority < PRIORITY_CONNTRACK:
            for verdicts, done in _UNTRANSLATED.items():
                for rule, _ in self._met(chain, flow, iif, oif, verdicts):
                    words, heal = self.words(chain, rule, flow, iif, oif)
                    self.doubt(words.replace("dropped by", done, 1), heal, flow)
        for rule, _ in self._met(chain, flow, iif, oif, MARKS):
            words, _ = self.words(chain, rule, flow, iif, oif)
            self.marked.setdefault(flow.answer, words.replace("dropped by ", "", 1))

    def doubt(self, words: str, heal: str, flow: Flow) -> None:
        what = ("the answer " if words.startswith("may") else "the answer is ") if flow.answer else ""
        self.doubts[f"{self._view.name}: {what}{words}"] = inside_workload(heal, self._view.path)

    def words(
        self, chain: Chain, rule: Rule | None, flow: Flow, iif: LinkState | None, oif: LinkState | None
    ) -> tuple[str, str]:
        """What drops it, and what lets it pass."""
        ours = any(link is not None and link.group == LINK_GROUP for link in (iif, oif))
        return dropped_by(chain, rule, self._view.ruleset, flow, ours=ours, policed=self._view.policed)

    def translates(
        self, chain: Chain, flow: Flow, iif: LinkState | None, oif: LinkState | None = None
    ) -> Iterator[tuple[Rule, bool]]:
        """The rules of a chain that give it another destination, or where it leaves another source."""
        wanted = TRANSLATES if chain.hook in ("prerouting", "output") else SOURCES | _MASQUERADES
        yield from ((rule, certain) for rule, certain in self._met(chain, flow, iif, oif, wanted) if rule is not None)

    def named_sources(
        self, chain: Chain, flow: Flow, iif: LinkState | None, oif: LinkState | None
    ) -> list[Rule | None]:
        """Those of them that name the source that it is to leave with."""
        return [rule for rule, _ in self._met(chain, flow, iif, oif, SOURCES)]

    def _met(
        self, chain: Chain, flow: Flow, iif: LinkState | None, oif: LinkState | None, verdicts: frozenset[str]
    ) -> list[tuple[Rule | None, bool]]:
        one = OnePacket(
            flow.src,
            flow.dst,
            flow.protocol,
            flow.sport,
            flow.dport,
            iif.name if iif is not None else "",
            oif.name if oif is not None else "",
            iif.group if iif is not None else 0,
            oif.group if oif is not None else 0,
            "established" if flow.answer else "new",
            flow.translated,
            self._type(flow.src),
            self._type(flow.dst),
            iif is None or self._view.route(Question(flow.src)).oif == iif.index,
            None if flow.answer in self.marked else 0,
        )
        tracked = chain.hook not in ("prerouting", "output", "ingress") or (
            chain.hook != "ingress" and chain.priority >= PRIORITY_CONNTRACK
        )
        family, table, *_ = chain.id
        sets = self._view.ruleset.sets
        exact = judge(one, lambda name: sets.get((family, table, name)), tracked=tracked)
        try:
            return list(met_by(chain, self._view.ruleset, exact, verdicts).items())
        except (LookupError, TypeError, ValueError, AttributeError) as error:  # words of a newer kernel
            self.doubts[f"chain {chain.id} is not understood ({error!r:.80})"] = ""
            return []

    def _type(self, ip: IPAddress) -> str:
        return self._view.route(Question(ip)).type or "unicast"
