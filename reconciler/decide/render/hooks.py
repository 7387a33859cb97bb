"""PURE: what keeps established connections translated while our table is away."""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.models.network import Node
from netplumb.models.nft import NftHooks


def render_hooks(node: Node) -> Iterator[NftHooks]:
    if node.owns_tables:
        yield NftHooks()
