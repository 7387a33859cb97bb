"""PURE: what was asked for, as kernel objects. One feature a file, listed here one by one."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain

from models.attachment import Attachment
from models.kernel import KernelObject, Scope, scope_of
from models.network import Families, Node
from reconciler.render.firsthop import render_first_hop
from reconciler.render.forwarding import render_forwarding
from reconciler.render.nft import render_nft
from reconciler.render.veth import render_veth
from reconciler.render.workload import render_workload

ATTACHMENT_RENDERERS = (render_veth, render_workload)
NODE_RENDERERS = (render_forwarding, render_nft, render_first_hop)


def render_attachment(
    attachment: Attachment, node: Node, families: Families, *, reached: bool = True
) -> Iterator[KernelObject]:
    """All that one attachment is in the kernel; only the node's side while its namespace cannot be reached."""
    things: Iterator[KernelObject] = chain.from_iterable(
        renderer(attachment, node, families) for renderer in ATTACHMENT_RENDERERS
    )
    return things if reached else (thing for thing in things if scope_of(thing) is not Scope.WORKLOAD)


def render_node(node: Node) -> Iterator[KernelObject]:
    """What the node needs once, whoever is attached."""
    return chain.from_iterable(renderer(node) for renderer in NODE_RENDERERS)
