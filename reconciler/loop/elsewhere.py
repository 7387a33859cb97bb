"""Workloads of other nodes, as peers of this node's policies. When an address there changes hands, only its elements of
the nftables table change, and they are compared and corrected by themselves.

A pass over the node (`NodeWide`) compares all of them along with the rest of the table. None is removed before it is
known which workloads there are. Runs on the event loop's thread, after the node's own pass, which makes the sets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterator
from typing import Protocol

import structlog

from netplumb.models.base import IPAddress
from netplumb.models.errors import StepError
from netplumb.models.network import Node
from netplumb.models.nft import NftElement
from netplumb.models.policyset import PolicySet
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.decide.plan import plan
from netplumb.reconciler.decide.policies.elsewhere import owner, render_at
from netplumb.reconciler.decide.policies.verdict import Endpoint
from netplumb.reconciler.loop.policing import Policing

AT_ONCE = 200
"""Addresses in one transaction."""

FORESEEN_S = 0.5
"""For so long new policies wait, at most, until it is known whom they mean on other nodes."""

log = structlog.get_logger(__name__)


class Others(Protocol):
    """What is known of other nodes' workloads, as far as policies need it."""

    changed: Callable[[Collection[IPAddress]], None]

    @property
    def is_settled(self) -> bool:
        """Whether all that is needed is known."""

    @property
    def addresses(self) -> Collection[IPAddress]: ...

    @property
    def kept(self) -> Collection[Endpoint]: ...

    def at(self, address: IPAddress) -> Endpoint | None: ...

    def foresee(self, policies: PolicySet, sets: frozenset[str]) -> None: ...

    def need(self, policies: PolicySet, sets: frozenset[str]) -> None: ...

    async def settled(self) -> None: ...


class Elsewhere:
    """`wake` is called when something is due, and `settled` when all that is needed has become known."""

    def __init__(self, others: Others, wake: Callable[[], None], settled: Callable[[], None]) -> None:
        self._others = others
        self._wake = wake
        self._has_settled = settled
        self._was_settled = False
        self._due: set[IPAddress] = set()
        others.changed = self._changed

    def _changed(self, addresses: Collection[IPAddress]) -> None:
        self._due.update(addresses)
        if self._others.is_settled and not self._was_settled:
            self._was_settled = True
            self._has_settled()
        self._wake()

    def foresee(self, policing: Policing) -> None:
        """Policies are about to be in force, at the latest after `FORESEEN_S`."""
        self._others.foresee(policing.policies, policing.looked_in)
        asyncio.get_running_loop().call_later(FORESEEN_S, self._wake)

    def need(self, policing: Policing) -> None:
        """Policies, or the workloads that they select, have changed."""
        self._others.need(policing.policies, policing.looked_in)
        self._was_settled = self._others.is_settled

    async def settled(self) -> None:
        await self._others.settled()

    @property
    def is_settled(self) -> bool:
        return self._others.is_settled

    @property
    def endpoints(self) -> Collection[Endpoint]:
        return self._others.kept

    @property
    def due(self) -> Iterator[str]:
        """The owners of elements that are about to change."""
        return map(owner, self._due)

    def elements(self, node: Node) -> Iterator[NftElement]:
        for address in self._others.addresses:
            yield from render_at(address, self._others.at(address), node)

    def converge(self, kernel: LinuxKernel, node: Node, *, may_remove: bool) -> None:
        """Converges some of what is due; if the kernel refuses, it stays due until the next turn."""
        if not self._due or not node.policies.policies:
            self._due.clear()
            return
        some = [self._due.pop() for _ in range(min(AT_ONCE, len(self._due)))]
        try:
            steps = [it for ip in some for it in self._steps(ip, kernel, node)]
            if steps := [it for it in steps if may_remove or it.verb is not Verb.REMOVE]:
                errors = kernel.apply_node(steps)
                if errors:
                    raise errors[0]
        except StepError as error:
            log.warning("workloads of other nodes are not among the peers of policies yet", cause=str(error))
            self._due.update(some)
            return
        if self._due:
            self._wake()

    def _steps(self, address: IPAddress, kernel: LinuxKernel, node: Node) -> Iterator[Step]:
        wanted = list(render_at(address, self._others.at(address), node))
        there = kernel.elements_of(owner(address), [it.key for it in wanted])
        yield from plan(wanted, {it.key: it for it in there}).steps
