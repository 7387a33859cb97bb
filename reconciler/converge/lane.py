"""The fast path for a new attachment: what was rendered is written without reading first, and without a plan.

A new attachment consists of additions only, and reading that nothing exists takes as long as writing. So nothing is
read: the pair, the rest of the node's side and the workload's side are three sends, for which the kernel reports only
failures. Any failure (a name that is taken, a route that exists, IPv6 that is off) ends the attempt, and the ordinary
pass that follows in the same turn finds what was made by reading it, as it finds everything else. So the fast path may
give up anywhere. It must not make anything that a pass would not make, which a test compares object by object.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from netplumb.models.errors import StepError
from netplumb.models.kernel import Address, KernelObject, Link, LinkUp, Neighbour, Route, Scope, Sysctl
from netplumb.reconciler.converge.apply import carry_at_once, ipv6_switches
from netplumb.reconciler.kernel.namespaces import LO_INDEX, Namespace
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.netlink.wire import Request
from netplumb.reconciler.kernel.rtnetlink import decode, encode, encodelinks

_PAIR = 2
_Bound = LinkUp | Address | Neighbour | Route


def make_new(
    things: Sequence[KernelObject], node: Channel, workload: Namespace, write: Callable[[Sysctl], None]
) -> Link | None:
    """Makes an attachment's objects, given in the order of a plan. The node's end as read back; None where it is not
    all as it should be, or is not of what the lane knows how to make.

    Raises Retryable when the kernel does not answer at all.
    """
    ends = [thing for thing in things if isinstance(thing, Link)]
    bound = [thing for thing in things if isinstance(thing, _Bound)]
    if len(ends) != _PAIR or len(ends) + len(bound) != len(things):
        return None
    near, far = ends
    read = node.carry_out([encodelinks.create_pair(near, far, workload.fd), encodelinks.get_link_by_name(near.name)])
    if read is None:
        return None
    made, _ = decode.link(Scope.NODE, read)
    if near.proxy_ndp and made.ipv6_disabled:
        return None
    try:
        for switch in ipv6_switches(near, made):
            write(switch)
    except StepError:
        return None
    # By index, never by name: where making the pair failed, a stranger may have the name.
    settled = encodelinks.settle(near, encodelinks.link_header(made.index))
    if node.carry_out([*settled, *_additions(bound, Scope.NODE, made.index)]) is None:
        return None
    if workload.channel.carry_out(_additions(bound, Scope.WORKLOAD, made.peer_index)) is None:
        return None
    carry_at_once(node, made)
    return made


def _additions(bound: Iterable[_Bound], scope: Scope, index: int) -> list[Request]:
    """Those on one side, of what is bound to the interface with this index or to the loopback."""
    return [
        request
        for thing in bound
        if thing.scope is scope
        for request in encode.add(thing, LO_INDEX if thing.link == "lo" else index)
    ]
