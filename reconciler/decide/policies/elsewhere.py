"""PURE: workloads of other nodes, as this node's policies see them.

They have no link here, so they are known by their addresses: members of the sets that rules by selectors look in, and
never of what isolates anybody, which is for their own node to do. An address is one workload's; what its node says of
it last holds. Elements carry the address as their owner, so that each is looked at, put right and taken away alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache

from netplumb.models.base import IPAddress
from netplumb.models.network import Node
from netplumb.models.nft import NftElement, peer_addresses
from netplumb.models.policyset import Combination, PolicySet
from netplumb.reconciler.decide.policies.selection import selection
from netplumb.reconciler.decide.policies.verdict import Endpoint

_OWNER = "elsewhere/"
"""No link can be called so."""


def owner(address: IPAddress) -> str:
    return f"{_OWNER}{address}"


def is_elsewhere(element: NftElement) -> bool:
    return element.owner.startswith(_OWNER)


def needed(endpoint: Endpoint, policies: PolicySet, sets: frozenset[str]) -> bool:
    """Whether some rule that looks in these sets can mean it."""
    found = selection(policies).of_labels(endpoint.namespace, endpoint.labels).peers
    return not sets.isdisjoint(found)


@lru_cache(maxsize=4)
def looked_in(policies: PolicySet, combinations: frozenset[Combination]) -> frozenset[str]:
    """The sets of peers that policies look in which isolate somebody here; the others stay empty."""
    return selection(policies).peers_in(combinations) if policies.policies else frozenset()


def render_at(address: IPAddress, endpoint: Endpoint | None, node: Node) -> Iterator[NftElement]:
    """What one address is a member of."""
    if endpoint is None or address.version not in {pool.version for pool in node.cluster_prefixes}:
        return
    sets = looked_in(node.policies, node.combinations)
    for name in selection(node.policies).of_labels(endpoint.namespace, endpoint.labels).peers:
        if name in sets:
            yield NftElement(peer_addresses(name, address.version).name, (str(address),), owner=owner(address))
