"""The node's own objects: switches, first hop, node addresses, the nftables table. They come before any attachment."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

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
from netplumb.reconciler.decide.policies.naming import belongs_to_policies
from netplumb.reconciler.decide.render import render_node
from netplumb.reconciler.decide.render.policies import render_combinations
from netplumb.reconciler.decide.uplinks import mtu_with_ways
from netplumb.reconciler.loop.nodewish import NodeWish
from netplumb.reconciler.loop.policing import Policing
from netplumb.reconciler.pacing.backoff import backoff_s
from netplumb.reconciler.pacing.fights import Fights, part_of, subject_of
from netplumb.reconciler.status.outcomes import worst_of
from netplumb.reconciler.status.statuses import timed

RETRY_FIRST_S = 0.1
RETRY_MOST_S = 10.0


class NodeWide:
    """Converges the node. `node` is what rendering knows of it, as of the last pass, and `known` what was seen of its
    network. `cause` says why it is not as desired, and `conditions` what others set up that is in the way. Without an
    uplink the MTU stays what it was. `cluster` is what is known of other nodes, if there are any, and `crowding` who
    holds too many flows. The callables answer with what is so at the moment; `NodeWish` explains those it takes."""

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
        """When it last became as desired, or ceased to be."""
        self.failures = 0
        self.looks_again = False
        """Whether elements were compared while passes were under way, so that those still have to be."""
        self.conditions: tuple[Condition, ...] = ()
        self._fights: Fights[str] = Fights()

    @property
    def is_outdated(self) -> bool:
        """Whether what the last pass rendered from has changed: prefixes, policies, crowding, other nodes."""
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
        """The next pass compares the elements even if the table was not touched."""
        self._compared_reading = 0

    def let_policies_go(self) -> None:
        """The next pass removes what stayed of former policies for the sake of workloads that they held."""
        self.compare_elements()
        self._lets_policies_go = True

    def wish(self) -> NodeWish:
        """What is desired now; the elements are asked for when they are needed."""
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
        """What would be desired if these policies were in force."""
        policing, wish = Policing(), self.wish()
        policing.take(policies, attachments)
        node = replace(wish.node, policies=policies, combinations=policing.combinations)
        elements, attached = tuple(self._elements(node)), tuple(self._attached())
        return replace(wish, node=node, elements=lambda _: elements, attached=lambda: attached)

    def foundation_wish(self) -> NodeWish:
        """The wish for what belongs to no attachment."""
        return replace(self.wish(), elements=None)

    def add_chains(self, kernel: LinuxKernel) -> bool:
        """Adds the chains of combinations of policies that select a workload for the first time. Usually nothing else
        is missing, and a pass over the whole node would cost as much as many attaches. False if more is outdated, or
        if it failed: then a pass is due."""
        node = replace(self.node, combinations=self.policing.combinations)
        if not self.ready or self._is_outdated(node):
            return False
        chains = render_combinations(node.combinations - self.node.combinations, tells=node.tells_denied)
        if kernel.apply_node([Step(Verb.ADD, chain) for chain in chains]):
            return False
        self.node = node
        return True

    def converge(self, kernel: LinuxKernel) -> list[Step]:
        """One pass over the node; returns the repairs. Once ready, the node stays so for attachments: a failed repair
        is reported, tried again, and holds up nobody."""
        repaired: list[Step] = []
        try:
            repaired, errors = self._pass(kernel)
        except StepError as error:
            errors = [error]
        except StoreUnwritable as error:
            errors = [Retryable(str(error), reason="StoreUnwritable")]
        own = {ip for ip, _ in self.known.foreign}
        found = (*node_conditions(self.node, own, self.known), *network_conditions(self.known))
        self.conditions = timed(found, self.conditions)
        if bool(errors) is not bool(self.cause):
            self.since = time.time()
        if errors:
            self.failures += 1
            self.cause = str(worst_of(errors))
        else:
            self.failures, self.cause, self.ready = 0, "", True
        return repaired

    def _pass(self, kernel: LinuxKernel) -> tuple[list[Step], list[StepError]]:
        """The repairs, and what failed."""
        before, wish = self.node, self.wish()
        compared = self._compared_reading if wish.node.policies is self._enforced else None
        self.node, planned = wish.compared(kernel, elements_unless_read=compared)
        steps = [step for step in planned.steps if not self._is_held(step)]
        reading = kernel.table_readings
        self.looks_again |= bool(wish.under_way) and self._compared_reading != reading
        self._record_switches(steps)
        errors = kernel.apply_node(steps)
        for name in kernel.left_as_set:
            self._forget_sysctl(name)
        repaired = self._repairs(_carried_out(steps, errors), before) if self.ready else []
        self._count(repaired)
        if not errors:
            all_taken = len(steps) == len(planned.steps)
            if all_taken and self.may_remove and wish.knows_elsewhere and not wish.under_way:
                self._compared_reading = reading
            self._enforced = self.node.policies
            self._lets_policies_go = False
        return repaired, errors

    def _repairs(self, steps: Sequence[Step], before: Node) -> list[Step]:
        """The steps that undo what another program changed; the others follow from a change of what is desired, or of
        the node's surroundings. Moving our rule ahead of another's counts, since two programs may contend for the first
        place. Elements count once a pass over their attachment has ended, those of policies if the policies are the
        same as before."""
        if not steps:
            return []
        was = {thing.key: thing for thing in render_node(before)}
        new = frozenset(self._without_pass())
        with_policies = self.node.has_policies_of(before)

        def is_repair(step: Step) -> bool:
            if self._lets_policies_go and step.verb is Verb.REMOVE and belongs_to_policies(step.thing):
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
        """Whether a repair has to wait, since another program undoes each at once. The node's other parts do not."""
        return self.ready and self._fights.held_s(part_of(step), time.monotonic()) > 0

    def _count(self, steps: Iterable[Step]) -> None:
        subjects = defaultdict(list)
        for step in steps:
            subjects[part_of(step)].append(subject_of(step.thing))
        for part, names in subjects.items():
            self._fights.repaired(part, names, time.monotonic())

    def fighting(self) -> Condition | None:
        """What of the node another program keeps changing."""
        if not (fights := self._fights.fights(time.monotonic())):
            return None
        since = time.time() - max(fight.lasted_s for fight in fights)
        return Condition("Fighting", True, "KeepsChanging", "; ".join(map(str, fights)), since)

    def _record_switches(self, steps: Iterable[Step]) -> None:
        """Keeps the values from before netplumb for `purge` to restore; what others set in between is theirs."""
        for step in steps:
            if isinstance(step.thing, Sysctl) and isinstance(step.observed, Sysctl):
                self._record_sysctl(step.thing.name, step.observed.value, step.observed.interface)


def _carried_out(steps: Iterable[Step], errors: Sequence[StepError]) -> list[Step]:
    """The steps that did not fail. Those of the nftables table fail as one."""
    failed = tuple(it.subject for it in errors if it.subject)
    table = any(it.reason == "NftablesFailed" for it in errors)

    def has_failed(thing: KernelObject) -> bool:
        return (table and isinstance(thing, NftSet | NftChain | NftElement)) or str(thing).startswith(failed)

    return [it for it in steps if not has_failed(it.thing)]


def _of_the_node(cluster: ClusterView | None) -> object:
    return cluster.of_the_node if cluster is not None else None
