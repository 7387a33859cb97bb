"""PURE: why a next hop is not found, in words, and what helps."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from netplumb.models.nodestate import LinkProgram, LinkState, SilentGateway
from netplumb.models.words import asking
from netplumb.reconciler.decide.firewalls.neighbours import hidden
from netplumb.reconciler.decide.firewalls.ruleset import Ruleset

HOLDING_BACK = frozenset({"tbf", "netem", "htb", "hfsc", "cbq", "red", "plug"})
"""Kinds of queues that nobody has by default, and that may hold back or drop what they should not."""
_TAKES_PORTS = frozenset({"bridge", "bond", "team", "openvswitch"})


def taker(link: LinkState, links: Mapping[int, LinkState]) -> LinkState | None:
    """What takes all that arrives by a link; one of a VRF keeps that."""
    master = links.get(link.master)
    return master if master is not None and master.kind in _TAKES_PORTS else None


def unfound(
    it: SilentGateway,
    link: LinkState,
    links: Mapping[int, LinkState],
    ruleset: Ruleset,
    programs: Iterable[LinkProgram] = (),
) -> tuple[str, str]:
    """What is said of it, and what heals. Of the `programs` those of the link may be behind it."""
    protocol = "ARP" if it.ip.version == 4 else "neighbour discovery"
    if (above := taker(link, links)) is not None:
        return f"is not found: {link.name} is a port of {above.name}, which takes all that arrives there", _freed(
            link, above
        )
    if it.entry and not link.asks:
        return (
            f"is sent to {it.entry}, and answers {protocol} from {it.answers}: ARP is off on {link.name}",
            f"ip link set {link.name} arp on",
        )
    if it.entry:
        return (
            f"is sent to {it.entry}, which somebody set for good, and answers {protocol} from {it.answers}",
            f"ip neigh del {it.ip} dev {link.name}",
        )
    words, heal = hidden(ruleset, it.ip, link.name, answers=bool(it.answers))
    if it.answers:
        by = words or "see which firewall drops it"
        return (
            f"answers {protocol} from {it.answers}, and the node does not take the answer: {by}",
            heal or f"tcpdump -eni {link.name} {'arp' if it.ip.version == 4 else 'icmp6'}",
        )
    if words:
        return f"does not answer {protocol}, which {words} here", heal
    if met := [program for program in programs if program.link == link.name]:
        told = " and ".join(map(str, met))
        heal = " && ".join(it.heal for it in met)
        return f"does not answer {protocol}, which may be dropped by {told}", f"{heal} # unless that is meant"
    why, heal = f"does not answer {protocol}", f"see whether it is up and has this address: {asking(link.name, it.ip)}"
    if link.qdisc in HOLDING_BACK:
        why += f"; it is asked through a queue of others, {link.qdisc} on {link.name}"
        heal += f"; and what that queue drops: tc -s qdisc show dev {link.name}"
    return why, heal


def _freed(link: LinkState, above: LinkState) -> str:
    return f"have its addresses and routes on {above.name}; or take it out: ip link set {link.name} nomaster"
