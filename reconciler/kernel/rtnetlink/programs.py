"""What somebody put onto links, beside all tables: classifiers of traffic control, and XDP programs. Read by who looks
for what drops packets; what they do with one is not told by the kernel, but for how many were dropped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from struct import unpack_from

from netplumb.models.kernel import LINK_GROUP
from netplumb.models.nodestate import LinkProgram, LinkState
from netplumb.reconciler.kernel.netlink.channel import Bound, Channel
from netplumb.reconciler.kernel.netlink.wire import Buffer, attributes, string
from netplumb.reconciler.kernel.rtnetlink import tc
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

MOST = 1000
_TCA_KIND, _TCA_STATS2 = 1, 7  # include/uapi/linux/rtnetlink.h
_TCA_STATS_QUEUE, _DROPS_AT = 3, 8  # include/uapi/linux/gen_stats.h: struct gnet_stats_queue
_SIDES = {
    "clsact": {"ingress": 0xFFFFFFF2, "egress": 0xFFFFFFF3},
    "ingress": {"ingress": tc.INGRESS_HANDLE},
}
"""By the kind of the qdisc, where its classifiers are: TC_H_CLSACT with TC_H_MIN_INGRESS and TC_H_MIN_EGRESS."""


def read_programs(channel: Channel, links: Iterable[LinkState]) -> list[LinkProgram]:
    """Less what is ours. Raises Retryable."""
    asked = list(links)
    replies = channel.transact([tc.get_qdisc(link.index, tc.TC_H_INGRESS) for link in asked])
    found = []
    for link, reply in zip(asked, replies, strict=True):
        if link.xdp:
            found.append(LinkProgram(link.name, "ingress", link.xdp))
        if reply.parts and not reply.errno:
            found += _classifiers(channel, link, reply.parts[0][1])
    return found


def _classifiers(channel: Channel, link: LinkState, qdisc: Buffer) -> Iterator[LinkProgram]:
    told = attributes(qdisc, tc.HEADER_BYTES)
    queue = attributes(told.get(_TCA_STATS2, b"")).get(_TCA_STATS_QUEUE, b"")
    dropped = unpack_from("=I", queue, _DROPS_AT)[0] if len(queue) >= _DROPS_AT + 4 else 0
    for side, parent in _SIDES.get(string(told.get(_TCA_KIND)), {}).items():
        bodies, _ = channel.dump_at_most(rt.RTM_GETTFILTER, tc.dump_filters(link.index, parent), Bound(MOST))
        foreign = (body for _, body in bodies if link.group != LINK_GROUP or not tc.is_ours(body))
        kinds = {tc.preference_of(it): string(attributes(it, tc.HEADER_BYTES).get(_TCA_KIND)) for it in foreign}
        yield from (LinkProgram(link.name, side, kind, preference, dropped) for preference, kind in kinds.items())
