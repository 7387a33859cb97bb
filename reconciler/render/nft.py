"""PURE: the chains of the table `inet netplumb`, in the form in which libnftables lists them back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from models.kernel import LINK_GROUP, NftChain
from models.network import Node
from models.nft import canonical_rule

SRCNAT_PRIORITY = 100  # NF_IP_PRI_NAT_SRC


def _group(key: str, op: str) -> dict[str, Any]:
    return {"match": {"op": op, "left": {"meta": {"key": key}}, "right": LINK_GROUP}}


def render_nft(node: Node) -> Iterator[NftChain]:
    """Masquerades what comes from a workload and leaves elsewhere than to a workload. Both ends are told by our link
    group, so that the rule is one, however many workloads there are (iifgroup in postrouting: Linux 5.7)."""
    rules = []
    if node.masquerade:
        expressions = [_group("iifgroup", "=="), _group("oifgroup", "!="), {"counter": None}, {"masquerade": None}]
        rules.append(canonical_rule(expressions, "workloads to outside"))
    yield NftChain("postrouting", "nat", "postrouting", SRCNAT_PRIORITY, "accept", tuple(rules))
