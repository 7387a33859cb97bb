"""What a packet is asked in the hooks of network policies, by which policies there are."""

from __future__ import annotations

import pytest

from netplumb.models.network import Node
from netplumb.models.networkpolicy import Direction
from netplumb.models.nft import NftChain
from netplumb.models.policyset import PolicySet
from netplumb.reconciler.decide.render.policies import render_policy_chains
from tests.unit.decide.policies.manifests import DENY_ALL, DENY_INGRESS, policies

HELD = "egress_of_1"
"""A chain of the table that judges by policies which a lost store knew."""


def hooks(node: Node) -> dict[str, str]:
    chains = [it for it in render_policy_chains(node) if isinstance(it, NftChain)]
    return {it.name: " ".join(it.rules) for it in chains if it.hook}


def test_nobody_is_looked_up_in_a_direction_that_no_policy_is_about() -> None:
    """What a workload sends that is isolated for what it is sent alone is asked whether it is a late answer."""
    found = hooks(Node(policies=PolicySet(tuple(policies(DENY_INGRESS)))))
    assert "@policy_ingress" in found["policy_ingress"]
    assert "late answers" not in found["policy_ingress"], "nobody is isolated for what it sends alone"
    assert '"vmap"' not in found["policy_egress"]
    assert "@policy_ingress_alone" in found["policy_egress"]
    assert "flows that were cut" in found["policy_egress"], "in either direction"


@pytest.mark.parametrize(
    "node",
    [
        Node(policies=PolicySet(tuple(policies(DENY_ALL)))),
        Node(policies=PolicySet(tuple(policies(DENY_INGRESS)), held=frozenset({HELD}))),
        Node(policies=PolicySet(tuple(policies(DENY_INGRESS))), unlabelled=True),
    ],
    ids=["policies of both directions", "what a lost store knew", "a workload whose labels nobody knows"],
)
def test_whoever_may_be_isolated_is_looked_up(node: Node) -> None:
    found = hooks(node)
    for direction in Direction:
        name = f"policy_{direction.lower()}"
        assert f'"@{name}"' in found[name]
        assert "late answers" in found[name]
