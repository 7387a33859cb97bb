"""PURE: what was asked for, as kernel objects. One feature a file, listed here one by one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from netplumb.models.attachment import Attachment
from netplumb.models.kernel import KernelObject, Scope, scope_of
from netplumb.models.network import Families, Node
from netplumb.models.nft import TABLE_SETS, NftElement
from netplumb.reconciler.decide.render.bandwidth import render_bandwidth
from netplumb.reconciler.decide.render.crowding import render_crowding
from netplumb.reconciler.decide.render.departing import render_departing
from netplumb.reconciler.decide.render.firsthop import render_first_hop
from netplumb.reconciler.decide.render.forwarding import render_forwarding
from netplumb.reconciler.decide.render.guards import render_guard_chains, render_guard_elements
from netplumb.reconciler.decide.render.hooks import render_hooks
from netplumb.reconciler.decide.render.hostroutes import render_host_routes
from netplumb.reconciler.decide.render.masquerade import render_masquerade
from netplumb.reconciler.decide.render.policies import render_policy_chains, render_policy_elements
from netplumb.reconciler.decide.render.policy import render_policy
from netplumb.reconciler.decide.render.ports import render_localhost, render_port_chains, render_port_elements
from netplumb.reconciler.decide.render.sourcerouting import render_source_routing
from netplumb.reconciler.decide.render.untranslated import render_untranslated
from netplumb.reconciler.decide.render.veth import render_veth
from netplumb.reconciler.decide.render.workload import render_workload

ATTACHMENT_RENDERERS = (
    render_veth,
    render_host_routes,
    render_workload,
    render_source_routing,
    render_bandwidth,
    render_localhost,
)
ELEMENT_RENDERERS = (render_port_elements, render_guard_elements)
NODE_RENDERERS = (
    render_forwarding,
    render_hooks,
    lambda _: TABLE_SETS,
    render_guard_chains,
    render_crowding,
    render_policy_chains,
    render_departing,
    render_port_chains,
    render_masquerade,
    render_untranslated,
    render_first_hop,
    render_policy,
)


def render_attachment(
    attachment: Attachment, node: Node, families: Families, *, reached: bool = True
) -> Iterator[KernelObject]:
    """All that one attachment is in the kernel less its elements; only the node's side while its namespace cannot be
    reached."""
    things = chain.from_iterable(renderer(attachment, node, families) for renderer in ATTACHMENT_RENDERERS)
    return things if reached else (thing for thing in things if scope_of(thing) is not Scope.WORKLOAD)


def render_elements(attachment: Attachment, node: Node) -> Iterator[NftElement]:
    """An attachment's elements of the nftables table's sets, which follow from its record and the policies."""
    return chain(render_own_elements(attachment), render_policy_elements(attachment, node))


def render_own_elements(attachment: Attachment) -> Iterator[NftElement]:
    """Those that follow from its record alone."""
    return chain.from_iterable(renderer(attachment) for renderer in ELEMENT_RENDERERS)


def render_node(node: Node) -> Iterator[KernelObject]:
    """What the node needs once, whoever is attached."""
    return chain.from_iterable(renderer(node) for renderer in NODE_RENDERERS)
