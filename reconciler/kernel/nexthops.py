"""Whether a next hop is found: what the kernel remembers of it may be old, forgotten, or set by somebody, so the
network is asked."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable
from ipaddress import IPv4Address

from netplumb.models.base import IPAddress
from netplumb.models.lookups import Question
from netplumb.models.nodestate import LinkState, SilentGateway
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.nextdoor import MANY, who_has, who_has_v6
from netplumb.reconciler.kernel.rtnetlink import encode
from netplumb.reconciler.kernel.rtnetlink.routelookups import look_up, neighbour, neighbour_state

SILENT = frozenset({"failed", "incomplete"})
"""States of a neighbour that does not answer."""

_SET_BY_SOMEBODY = frozenset({"permanent", "noarp"})
"""So are all neighbours behind a link that asks for none, with the first use."""
_TRIES, _EACH_S = 3, 0.3
_TAKEN_WITHIN_S, _LOOK_S = 3.5, 0.02
"""The kernel asks three times, a second apart, and by IPv6 not before its own link-local address has passed."""


def silent(node: Channel, link: LinkState, ip: IPAddress) -> SilentGateway | None:
    """What is wrong with it, None where it is found. Called in the node's namespace; takes its time only where it is
    not. Raises Retryable when the kernel does not answer."""
    state, entry = neighbour(node, link.index, ip)
    if not state and not link.asks:
        node.transact([encode.ask_neighbour(link.index, ip.packed)])
        state, entry = neighbour(node, link.index, ip)
    if not link.ethernet:
        return SilentGateway(ip, link.index) if state in SILENT else None
    try:
        if state in _SET_BY_SOMEBODY:
            # Several may answer for it. Where nobody does it may well have been set for that.
            answers = _asked(node, link.name, ip, MANY)
            wrong = answers and entry not in answers
            return SilentGateway(ip, link.index, answers[0], entry) if wrong else None
        if not link.asks:
            return None
        tries = (_asked(node, link.name, ip, 1) for _ in range(_TRIES))
        (answered, *_) = next(filter(None, tries), [""])
    except OSError as error:
        if error.errno == errno.ENOBUFS and not state:  # something on the link drops the question
            return None if _taken(node, link, ip) else SilentGateway(ip, link.index)
        return SilentGateway(ip, link.index) if state in SILENT else None
    if not answered:
        return SilentGateway(ip, link.index)
    if (state in SILENT or not state) and not _taken(node, link, ip):
        return SilentGateway(ip, link.index, answered)
    return None


def _taken(node: Channel, link: LinkState, ip: IPAddress) -> bool:
    """Whether the kernel finds it, which asks now."""
    node.transact([encode.ask_neighbour(link.index, ip.packed)])
    return _within(_TAKEN_WITHIN_S, lambda: neighbour_state(node, link.index, ip) not in SILENT)


def _within(seconds: float, holds: Callable[[], bool]) -> bool:
    ends = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > ends:
            return False
        time.sleep(_LOOK_S)
    return True


def _asked(node: Channel, link: str, ip: IPAddress, enough: int) -> list[str]:
    """As the kernel would, from the address that it would take: not everybody answers a probe from none. Raises
    OSError."""
    if not isinstance(ip, IPv4Address):
        return who_has_v6(link, ip, _EACH_S, enough=enough)
    sender = look_up(node, Question(ip)).source
    return who_has(link, ip, _EACH_S, sender=sender if isinstance(sender, IPv4Address) else None, enough=enough)
