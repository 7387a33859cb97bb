"""What is still named is not removed."""

from __future__ import annotations

from netplumb.models.kernel import KernelObject
from netplumb.models.nft import NftChain, NftElement, canonical_rule, peers_set
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.decide.policies.naming import without_named

PEERS, OTHERS = peers_set("peers_1"), peers_set("peers_2")
BY = NftChain("ingress_by_1", rules=(canonical_rule([{"match": {"op": "==", "left": 1, "right": "@peers_1"}}]),))
OF = NftChain("ingress_of_1", rules=(canonical_rule([{"jump": {"target": "ingress_by_1"}}]),))
ELEMENT = NftElement("policy_ingress", ("np1",), "ingress_of_1", "np1")


def removed(*things: KernelObject) -> set[KernelObject]:
    observed: tuple[KernelObject, ...] = (PEERS, OTHERS, BY, OF, ELEMENT)
    return {step.thing for step in without_named([Step(Verb.REMOVE, it) for it in things], observed)}


def test_what_an_element_leads_to_stays_with_all_that_it_names() -> None:
    """The kernel would refuse the whole transaction."""
    assert removed(PEERS, OTHERS, BY, OF) == {OTHERS}


def test_what_goes_together_goes() -> None:
    """The element goes first."""
    assert removed(PEERS, OTHERS, BY, OF, ELEMENT) == {PEERS, OTHERS, BY, OF, ELEMENT}
