"""What is still named is not removed."""

from __future__ import annotations

from netplumb.models.kernel import KernelObject
from netplumb.models.nft import NftChain, NftElement, canonical_rule, peers_set
from netplumb.models.policyset import NO_POLICIES, PolicySet
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.decide.policies.naming import staying

PEERS, OTHERS = peers_set("peers_1"), peers_set("peers_2")
BY = NftChain("ingress_by_1", rules=(canonical_rule([{"match": {"op": "==", "left": 1, "right": "@peers_1"}}]),))
OF = NftChain("ingress_of_1", rules=(canonical_rule([{"jump": {"target": "ingress_by_1"}}]),))
ELEMENT = NftElement("policy_ingress", ("np1",), "ingress_of_1", "np1")


PEER, GONE = NftElement("peers_1", ("np2",), owner="np2"), NftElement("peers_1", ("np3",), owner="np3")
ASKS = NftChain("policy_ingress", "filter", "forward", 1, "accept")


def removed(*things: KernelObject, policies: PolicySet = NO_POLICIES) -> set[KernelObject]:
    observed: tuple[KernelObject, ...] = (PEERS, OTHERS, BY, OF, ASKS, ELEMENT, PEER, GONE)
    steps = [Step(Verb.REMOVE, it) for it in things]
    return {step.thing for step in staying(steps, lambda: observed, policies, lambda: {"np1", "np2"})}


def test_what_an_element_leads_to_stays_with_all_that_it_names() -> None:
    """The kernel would refuse the whole transaction."""
    assert removed(PEERS, OTHERS, BY, OF) == {OTHERS}


def test_what_goes_together_goes() -> None:
    """The element goes first."""
    assert removed(PEERS, OTHERS, BY, OF, ELEMENT, PEER, GONE) == {PEERS, OTHERS, BY, OF, ELEMENT, PEER, GONE}


def test_what_is_held_stays_whole() -> None:
    """With what isolates the link, and with those that it lets in that are there; what asks for it too."""
    held = PolicySet(held=frozenset({"ingress_of_1"}))
    everything = (PEERS, OTHERS, BY, OF, ASKS, ELEMENT, PEER, GONE)
    assert removed(*everything, policies=held) == {OTHERS, GONE}
    assert removed(*everything) == set(everything)
