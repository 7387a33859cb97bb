"""What is desired of the node as a whole, compared with what the kernel holds. The comparison changes nothing: it
returns the node as rendering knows it now, and the steps that a pass may take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, replace

from netplumb.models.kernel import KernelObject, Sysctl
from netplumb.models.network import Node
from netplumb.models.nft import NftChain, NftElement, is_of_policies
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.decide.plan import Plan, plan
from netplumb.reconciler.decide.policies.elsewhere import is_elsewhere
from netplumb.reconciler.decide.policies.naming import belongs_to_policies, staying
from netplumb.reconciler.decide.render import render_node


@dataclass(frozen=True, slots=True)
class NodeWish:
    """Gathered on the event loop, and compared with the kernel on any thread."""

    node: Node
    """Without what only the kernel can tell."""
    elements: Callable[[Node], Iterable[NftElement]] | None
    """What the nftables table is to hold of attachments; None leaves the elements out of the comparison."""
    left_alone: frozenset[str]
    """Links whose elements stay, such as those of a link whose removal takes them along."""
    may_remove: bool
    """Whether every source has loaded, so that elements without an owner may go."""
    unlabelled: frozenset[str] = frozenset()
    """Links whose policy elements stay: their attachments were rebuilt, and nobody has named their labels yet."""
    under_way: frozenset[str] = frozenset()
    """Links with a pass under way: only that pass knows what they are to have, except for policies."""
    attached: Callable[[], Iterable[str]] = tuple
    """Links that are desired. One that exists and is not keeps its guards until its removal takes them along."""
    knows_elsewhere: bool = True
    """Whether it is known which workloads run on other nodes; until then the elements for their addresses stay."""

    def compared(self, kernel: LinuxKernel, *, elements_unless_read: int | None = None) -> tuple[Node, Plan]:
        """The node as it is known now, and what differs. The elements are compared unless the table's last reading is
        the one with this number."""
        facts = kernel.facts()
        node = replace(
            self.node,
            ipv6=facts.ipv6,
            ipv6_for_new_links=facts.ipv6_for_new_links,
            ipv6_switch=facts.ipv6_switch,
            around=facts.around,
            owns_tables=facts.owns_tables,
            tells_denied=bool(self.node.policies.policies) and kernel.tells_denied,
        )
        desired: list[KernelObject] = list(render_node(node))
        observed = kernel.observe_node([thing for thing in desired if isinstance(thing, Sysctl)])
        if self.elements is not None and kernel.table_readings != elements_unless_read:
            desired += self.elements(node)
            observed |= kernel.observe_elements()
        steps = [step for step in plan(desired, observed).steps if self._may_take(step)]
        orphans = self._orphans(steps, kernel)
        steps = [step for step in steps if not isinstance(step.thing, NftElement) or step.thing.owner not in orphans]
        left = staying(
            steps,
            lambda: (*observed.values(), *kernel.observe_elements().values()),
            node.policies,
            lambda: frozenset(self.attached()),
        )
        return node, Plan(tuple(left))

    def _orphans(self, steps: Iterable[Step], kernel: LinuxKernel) -> Set[str]:
        """Of the links whose elements would go: those that exist though nobody wants them."""
        owners = {it.thing.owner for it in steps if it.verb is Verb.REMOVE and isinstance(it.thing, NftElement)}
        unwanted = owners - {"", *self.attached()} if owners else owners
        return kernel.there(unwanted) if unwanted else unwanted

    def _may_take(self, step: Step) -> bool:
        if isinstance(step.thing, NftElement):
            return self._may_take_element(step, step.thing)
        if self.may_remove or not belongs_to_policies(step.thing):
            return True
        # Which policies there are is not known before every source has loaded.
        return step.verb is not Verb.REMOVE and not _isolates_less(step)

    def _may_take_element(self, step: Step, element: NftElement) -> bool:
        by_policies = is_of_policies(element.set)
        if element.owner in self.under_way and not by_policies:
            return False
        if step.verb is not Verb.REMOVE:
            return True
        if is_elsewhere(element) and not self.knows_elsewhere:
            return False
        stays = element.owner in self.left_alone or (by_policies and element.owner in self.unlabelled)
        return self.may_remove and not stays


def _isolates_less(step: Step) -> bool:
    """Whether a chain would no longer look up who is isolated."""
    chain, was = step.thing, step.observed
    if not isinstance(chain, NftChain) or not isinstance(was, NftChain):
        return False
    return any('"@policy_' in rule for rule in {*was.rules} - {*chain.rules})
