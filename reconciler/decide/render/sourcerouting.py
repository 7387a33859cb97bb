"""PURE: in a workload with several interfaces, netplumb's or another's, answers leave by the one whose address they
carry.

Otherwise they would leave by that of the default route, and end where the node, or the workload, checks the reverse
path (`rp_filter`, which Ubuntu and systemd switch on): our links on the node have no address. So each address has a
rule that leads to a table of its interface. One before it leads to the main table, less default routes and less our
interfaces: what else the workload is connected to it reaches as ever.
"""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.attachment import Attachment
from netplumb.models.kernel import (
    FIRST_HOP_V4,
    FIRST_HOP_V6,
    IPV6_METRIC,
    LINK_GROUP,
    RT_SCOPE_LINK,
    KernelObject,
    Route,
    Rule,
    Scope,
)
from netplumb.models.naming import routing_table
from netplumb.models.network import Families, Node

CONNECTED_PREFERENCE = 78
OWN_TABLE_PREFERENCE = 79


def workload_group(attachment: Attachment) -> int | None:
    """The link group of a workload's interface, by which its rules tell ours from others; none where it needs none."""
    return LINK_GROUP if attachment.has_own_way else None


def render_source_routing(attachment: Attachment, _: Node, families: Families) -> Iterator[KernelObject]:
    if not attachment.has_own_way:
        return
    name = attachment.spec.if_name
    table = routing_table(name)
    addresses = [address for address in attachment.addresses if families.has(address)]
    if (first_v4 := next((a.packed for a in addresses if a.version == 4), None)) is not None:
        yield Route(Scope.WORKLOAD, FIRST_HOP_V4, 32, name, prefsrc=first_v4, rt_scope=RT_SCOPE_LINK, table=table)
        yield Route(Scope.WORKLOAD, bytes(4), 0, name, FIRST_HOP_V4, first_v4, table=table)
    if (first_v6 := next((a.packed for a in addresses if a.version == 6), None)) is not None:
        yield Route(Scope.WORKLOAD, bytes(16), 0, name, FIRST_HOP_V6, first_v6, metric=IPV6_METRIC, table=table)
    for address in addresses:
        source, whole = address.packed, address.max_prefixlen
        yield Rule(
            Scope.WORKLOAD, CONNECTED_PREFERENCE, source, whole, suppress_prefix_len=0, suppress_group=LINK_GROUP
        )
        yield Rule(Scope.WORKLOAD, OWN_TABLE_PREFERENCE, source, whole, table=table)
