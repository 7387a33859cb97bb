"""The node's own objects: switches, first hop, node addresses, the nftables table. They come before any attachment."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass, replace

from netplumb.models.attachment import Attachment
from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.cluster import ClusterView
from netplumb.models.errors import Retryable, StepError, StoreUnwritable
from netplumb.models.flows import NO_CROWDING
from netplumb.models.kernel import KernelObject, Rule, Sysctl
from netplumb.models.network import Node
from netplumb.models.nft import NftChain, NftElement, NftSet, is_of_policies
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.models.policyset import NO_POLICIES, PolicySet
from netplumb.models.settings import Settings
from netplumb.models.status import Condition
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.decide.nodeconditions import node_conditions
from netplumb.reconciler.decide.nodenetwork import network_conditions
from netplumb.reconciler.decide.plan import Plan, plan
from netplumb.reconciler.decide.policies.elsewhere import is_elsewhere
from netplumb.reconciler.decide.policies.naming import staying
from netplumb.reconciler.decide.render import render_node
from netplumb.reconciler.decide.render.policies import render_combinations
from netplumb.reconciler.decide.uplinks import mtu_with_ways
from netplumb.reconciler.loop.policing import Policing
from netplumb.reconciler.pacing.backoff import backoff_s
from netplumb.reconciler.pacing.fights import Fights, part_of, subject_of
from netplumb.reconciler.status.outcomes import worst_of
from netplumb.reconciler.status.statuses import timed

RETRY_FIRST_S = 0.1
RETRY_MOST_S = 10.0


@dataclass(frozen=True, slots=True)
class NodeWish:
    """What is wanted of the node as a whole: gathered on the event loop, and compared with the kernel on any thread.
    `node` lacks what only the kernel can tell. Elements of the nftables table are not compared where None are asked
    for. Those that belong to nobody go once every source has loaded, which `may_remove` says; those of links that are
    `left_alone` stay, such as of one that goes and takes them with it, and so do policies' of links that are
    `unlabelled`: what they belong to was rebuilt, and nobody has said its labels yet. Of a link whose pass is
    `under_way` only that pass knows what it is to have, beside policies'. One that is there though nobody wants it, as
    `attached` tells, is guarded until it goes, and its removal takes them. Addresses of other nodes' workloads stay
    until it is known who is there, which `knows_elsewhere` says."""

    node: Node
    elements: Callable[[Node], Iterable[NftElement]] | None
    left_alone: frozenset[str]
    may_remove: bool
    unlabelled: frozenset[str] = frozenset()
    under_way: frozenset[str] = frozenset()
    attached: Callable[[], Iterable[str]] = tuple
    knows_elsewhere: bool = True

    def compared(self, kernel: LinuxKernel, *, elements_unless_read: int | None = None) -> tuple[Node, Plan]:
        """What is known of the node now, and what differs; changes nothing. The elements are compared unless the
        table's reading of that number was the last."""
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
        """The links that nobody wants, and that are there, among those whose elements would go."""
        owners = {it.thing.owner for it in steps if it.verb is Verb.REMOVE and isinstance(it.thing, NftElement)}
        unwanted = owners - {"", *self.attached()} if owners else owners
        return kernel.there(unwanted) if unwanted else unwanted

    def _may_take(self, step: Step) -> bool:
        if isinstance(step.thing, NftElement):
            if step.thing.owner in self.under_way and not is_of_policies(step.thing.set):
                return False
            if step.verb is not Verb.REMOVE:
                return True
            if is_elsewhere(step.thing) and not self.knows_elsewhere:
                return False
            stays = self.left_alone | (self.unlabelled if is_of_policies(step.thing.set) else frozenset())
            return self.may_remove and step.thing.owner not in stays
        if self.may_remove or not _is_policies(step.thing):
            return True
        # Which policies there are is not known before every source has loaded.
        return step.verb is not Verb.REMOVE and not _asks_less(step)


class NodeWide:
    """Converges the node. `node` is what rendering knows of it, as of the last pass, and `known` what was seen of its
    network; `cause` tells why it is not as desired, `conditions` what others set up that is in the way. Without an
    uplink the MTU stays what it was. `cluster` is what is known of other nodes, where there are any, and `crowding` who
    holds too many flows."""

    def __init__(
        self,
        *,
        settings: Settings,
        node_addresses: Callable[[], Iterable[IPAddress]],
        prefixes: Callable[[], tuple[IPNetwork, ...]],
        elements: Callable[[Node], Iterable[NftElement]],
        record_sysctl: Callable[[str, str, int], None],
        forget_sysctl: Callable[[str], None],
        left_alone: Callable[[], Iterable[str]] = tuple,
        unlabelled: Callable[[], Iterable[str]] = tuple,
        without_pass: Callable[[], Iterable[str]] = tuple,
        uppers: Callable[[], tuple[str, ...]] = tuple,
        under_way: Callable[[], Iterable[str]] = tuple,
        attached: Callable[[], Iterable[str]] = tuple,
        knows_elsewhere: Callable[[], bool] = lambda: True,
        mtu: int = Node().mtu,
    ) -> None:
        self.settings = settings
        self.known = NodeNetwork()
        self.cluster: ClusterView | None = None
        self.crowding = NO_CROWDING
        self.may_remove = False
        self._node_addresses = node_addresses
        self._prefixes = prefixes
        self._elements = elements
        self._left_alone = left_alone
        self._unlabelled = unlabelled
        self._without_pass = without_pass
        self._uppers = uppers
        self._under_way = under_way
        self._attached = attached
        self._knows_elsewhere = knows_elsewhere
        self._compared_reading = 0
        self._lets_policies_go = False
        self.policing = Policing()
        self._enforced = NO_POLICIES
        self._record_sysctl = record_sysctl
        self._forget_sysctl = forget_sysctl
        self.node = Node(mtu=mtu)
        self.ready = False
        self.cause = "not converged yet"
        self.since = time.time()
        """From when on it is as desired, or is not."""
        self.failures = 0
        self.looks_again = False
        """Whether elements were compared while passes were under way, so that theirs are still to be."""
        self.conditions: tuple[Condition, ...] = ()
        self._fights: Fights[str] = Fights()

    @property
    def is_outdated(self) -> bool:
        """Whether workloads came to lie where they did not at the last pass, or do no more."""
        return self._is_outdated(self.node)

    def _is_outdated(self, node: Node) -> bool:
        return (
            self._prefixes() != node.workload_prefixes
            or self.crowding != node.crowding
            or self.policing.policies is not node.policies
            or self.policing.combinations != node.combinations
            or _of_the_node(self.cluster) != _of_the_node(node.cluster)
        )

    @property
    def retry_after_s(self) -> float | None:
        return backoff_s(RETRY_FIRST_S, RETRY_MOST_S, self.failures - 1) if self.failures else None

    @property
    def next_look_s(self) -> float | None:
        """When to look again, whether or not something is heard until then."""
        waits = (self.retry_after_s, self._fights.next_look_s(time.monotonic()))
        return min((wait for wait in waits if wait is not None), default=None)

    def compare_elements(self) -> None:
        """With the next pass, though nobody touched them."""
        self._compared_reading = 0

    def let_policies_go(self) -> None:
        """What stayed of policies that are no more, for those who were held by them, goes with the next pass."""
        self.compare_elements()
        self._lets_policies_go = True

    def wish(self) -> NodeWish:
        """What is wanted now; the elements are asked for when they are needed."""
        unlabelled = frozenset(self._unlabelled())
        node = replace(
            self.node,
            node_addresses=tuple(self._node_addresses()),
            workload_prefixes=self._prefixes(),
            masquerade=self.settings.masquerade,
            sources=self.known.sources,
            uppers=self._uppers(),
            crowding=self.crowding,
            mtu=self.settings.mtu or mtu_with_ways(self.cluster, self.known) or self.node.mtu,
            isolate_node=self.settings.isolate_node,
            isolate_workloads=self.settings.isolate_workloads,
            policies=self.policing.policies,
            combinations=self.policing.combinations,
            unlabelled=bool(unlabelled),
            cluster=self.cluster,
        )
        left_alone, under_way = frozenset(self._left_alone()), frozenset(self._under_way())
        return NodeWish(
            node,
            self._elements,
            left_alone,
            self.may_remove,
            unlabelled,
            under_way,
            self._attached,
            self._knows_elsewhere(),
        )

    def gathered_wish(self) -> NodeWish:
        """The wish with its elements, for a thread that may not read what the event loop changes."""
        wish = self.wish()
        elements, attached = tuple(self._elements(wish.node)), tuple(self._attached())
        return replace(wish, elements=lambda _: elements, attached=lambda: attached)

    def rehearsed_wish(self, policies: PolicySet, attachments: Iterable[Attachment]) -> NodeWish:
        """What would be wanted if other policies were in force."""
        policing, wish = Policing(), self.wish()
        policing.take(policies, attachments)
        node = replace(wish.node, policies=policies, combinations=policing.combinations)
        elements, attached = tuple(self._elements(node)), tuple(self._attached())
        return replace(wish, node=node, elements=lambda _: elements, attached=lambda: attached)

    def foundation_wish(self) -> NodeWish:
        """The wish for what belongs to no attachment."""
        return replace(self.wish(), elements=None)

    def add_chains(self, kernel: LinuxKernel) -> bool:
        """Where workloads came that are the first to be selected by just these policies, their chains are all that is
        missing, and a pass over all of the node would cost what many attaches do. False where more is outdated, or it
        failed: then a pass is due."""
        node = replace(self.node, combinations=self.policing.combinations)
        if not self.ready or self._is_outdated(node):
            return False
        chains = render_combinations(node.combinations - self.node.combinations, tells=node.tells_denied)
        if kernel.apply_node([Step(Verb.ADD, chain) for chain in chains]):
            return False
        self.node = node
        return True

    def converge(self, kernel: LinuxKernel) -> list[Step]:
        """One pass over the node; returns the repairs. Once ready, the node stays so for
        attachments: a failed repair is told, tried again, and holds up nobody."""
        repaired: list[Step] = []
        before = self.node
        try:
            wish = self.wish()
            compared = self._compared_reading if wish.node.policies is self._enforced else None
            self.node, planned = wish.compared(kernel, elements_unless_read=compared)
            steps = [step for step in planned.steps if not self._is_held(step)]
            reading = kernel.table_readings
            self.looks_again |= bool(wish.under_way) and self._compared_reading != reading
            self._record_switches(steps)
            errors = kernel.apply_node(steps)
            for name in kernel.left_as_set:
                self._forget_sysctl(name)
            whole = self.may_remove and wish.knows_elsewhere and not wish.under_way
            if not errors and whole and len(steps) == len(planned.steps):
                self._compared_reading = reading
            if not errors:
                self._enforced = self.node.policies
            if self.ready:
                repaired = self._repairs(_carried_out(steps, errors), before)
                self._count(repaired)
            if not errors:
                self._lets_policies_go = False
        except StepError as error:
            errors = [error]
        except StoreUnwritable as error:
            errors = [Retryable(str(error), reason="StoreUnwritable")]
        own = {ip for ip, _ in self.known.foreign}
        told = (*node_conditions(self.node, own, self.known), *network_conditions(self.known))
        self.conditions = timed(told, self.conditions)
        if bool(errors) is not bool(self.cause):
            self.since = time.time()
        if errors:
            self.failures += 1
            self.cause = str(worst_of(errors))
        else:
            self.failures, self.cause, self.ready = 0, "", True
        return repaired

    def _repairs(self, steps: Sequence[Step], before: Node) -> list[Step]:
        """Those that put right what somebody else changed; the others follow from another wish, or from what others
        set up. A rule of ours that is put before another's counts, since two may contend for the first place. Elements
        do once a pass over their attachment has ended, and those of policies where the policies are those from
        before."""
        if not steps:
            return []
        was = {thing.key: thing for thing in render_node(before)}
        new = frozenset(self._without_pass())
        with_policies = self.node.has_policies_of(before)

        def is_repair(step: Step) -> bool:
            if self._lets_policies_go and step.verb is Verb.REMOVE and _is_policies(step.thing):
                return False
            if isinstance(step.thing, NftElement):
                return step.thing.owner not in new and (with_policies or not is_of_policies(step.thing.set))
            wanted = was.get(step.thing.key)
            if step.verb is Verb.REMOVE or wanted is None:
                return step.verb is Verb.REMOVE and wanted is None
            if isinstance(wanted, Rule) and isinstance(step.thing, Rule):
                return step.thing.preference <= wanted.preference
            return wanted == step.thing

        return [step for step in steps if is_repair(step)]

    def _is_held(self, step: Step) -> bool:
        """Whether a repair has to wait, since somebody undoes each at once. The node's other parts do not wait."""
        return self.ready and self._fights.held_s(part_of(step), time.monotonic()) > 0

    def _count(self, steps: Iterable[Step]) -> None:
        subjects = defaultdict(list)
        for step in steps:
            subjects[part_of(step)].append(subject_of(step.thing))
        for part, names in subjects.items():
            self._fights.repaired(part, names, time.monotonic())

    def fighting(self) -> Condition | None:
        """What of the node somebody keeps changing."""
        if not (fights := self._fights.fights(time.monotonic())):
            return None
        since = time.time() - max(fight.lasted_s for fight in fights)
        return Condition("Fighting", True, "KeepsChanging", "; ".join(map(str, fights)), since)

    def _record_switches(self, steps: Iterable[Step]) -> None:
        """Values from before netplumb are kept for `purge` to restore; what others set in between is theirs."""
        for step in steps:
            if isinstance(step.thing, Sysctl) and isinstance(step.observed, Sysctl):
                self._record_sysctl(step.thing.name, step.observed.value, step.observed.interface)


def _carried_out(steps: Iterable[Step], errors: Sequence[StepError]) -> list[Step]:
    """Those that did not fail. What is in the nftables table fails as one."""
    failed = tuple(it.subject for it in errors if it.subject)
    table = any(it.reason == "NftablesFailed" for it in errors)

    def has_failed(thing: KernelObject) -> bool:
        return (table and isinstance(thing, NftSet | NftChain | NftElement)) or str(thing).startswith(failed)

    return [it for it in steps if not has_failed(it.thing)]


def _is_policies(thing: KernelObject) -> bool:
    if isinstance(thing, NftElement):
        return is_of_policies(thing.set)
    return isinstance(thing, NftSet | NftChain) and is_of_policies(thing.name)


def _asks_less(step: Step) -> bool:
    """Whether a chain would look up no more who is isolated."""
    chain, was = step.thing, step.observed
    if not isinstance(chain, NftChain) or not isinstance(was, NftChain):
        return False
    return any('"@policy_' in rule for rule in {*was.rules} - {*chain.rules})


def _of_the_node(cluster: ClusterView | None) -> object:
    return cluster.of_the_node if cluster is not None else None
