"""Whether a next hop is there: what the kernel remembers of it may be old or forgotten, so the network is asked."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import IPv4Address

from netplumb.models.base import IPAddress
from netplumb.models.lookups import Question
from netplumb.models.nodestate import LinkState
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.nextdoor import who_has, who_has_v6
from netplumb.reconciler.kernel.rtnetlink.routelookups import look_up, neighbour_state

SILENT = frozenset({"failed", "incomplete"})
"""States of a neighbour that does not answer."""

_SET_BY_SOMEBODY = frozenset({"permanent", "noarp"})
_TRIES, _EACH_S = 3, 0.3


def is_silent(node: Channel, link: LinkState, ip: IPAddress) -> bool:
    """Called in the node's namespace; takes its time only where nobody answers. Raises Retryable when the kernel does
    not answer."""
    state = neighbour_state(node, link.index, ip)
    if state in _SET_BY_SOMEBODY:
        return False
    if link.asks:
        with suppress(OSError):
            return not any(_asked(node, link.name, ip) for _ in range(_TRIES))
    return state in SILENT


def _asked(node: Channel, link: str, ip: IPAddress) -> list[str]:
    """As the kernel would, from the address that it would take: not everybody answers a probe from none. Raises
    OSError."""
    if not isinstance(ip, IPv4Address):
        return who_has_v6(link, ip, _EACH_S, enough=1)
    sender = look_up(node, Question(ip)).source
    return who_has(link, ip, _EACH_S, sender=sender if isinstance(sender, IPv4Address) else None, enough=1)
