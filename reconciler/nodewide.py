"""The node's own objects: switches, first hop, node addresses, the nftables table. They come before any attachment."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from models.base import IPAddress
from models.errors import Retryable, StepError, StoreUnwritable
from models.kernel import KernelObject, Step, Sysctl, kind_of
from models.network import Node
from reconciler.linux import LinuxKernel
from reconciler.outcomes import worst_of
from reconciler.plan import Plan, plan
from reconciler.render import render_node

RETRY_FIRST_S = 0.1
RETRY_MOST_S = 10.0


class NodeWide:
    """Converges the node. `node` is what rendering knows of it, as of the last pass; `cause` tells why it is not."""

    def __init__(
        self,
        *,
        masquerade: bool,
        mtu: int,
        node_addresses: Callable[[], Iterable[IPAddress]],
        record_sysctl: Callable[[str, str], None],
    ) -> None:
        self.masquerade = masquerade
        self.mtu = mtu
        self._node_addresses = node_addresses
        self._record_sysctl = record_sysctl
        self.node = Node()
        self.ready = False
        self.cause = "not converged yet"
        self.failures = 0

    @property
    def retry_after_s(self) -> float | None:
        return min(RETRY_FIRST_S * 2 ** (self.failures - 1), RETRY_MOST_S) if self.failures else None

    def plan(self, kernel: LinuxKernel) -> Plan:
        """What differs on the node. Changes nothing but what is known of the node."""
        facts = kernel.facts()
        self.node = replace(
            self.node,
            node_addresses=tuple(self._node_addresses()),
            masquerade=self.masquerade,
            mtu=self.mtu or facts.mtu,
            ipv6=facts.ipv6,
            accept_ra_interfaces=facts.accept_ra_interfaces,
        )
        desired: list[KernelObject] = list(render_node(self.node))
        switches = [thing for thing in desired if isinstance(thing, Sysctl)]
        return plan(desired, kernel.observe_node(switches))

    def converge(self, kernel: LinuxKernel) -> list[str]:
        """One pass over the node; returns the kinds of what was repaired. Once ready, the node stays so for
        attachments: a failed repair is told, tried again, and holds up nobody."""
        repaired: list[str] = []
        try:
            steps = self.plan(kernel).steps
            self._record_switches(steps)
            errors = kernel.apply_node(steps)
            if self.ready:
                repaired = [kind_of(step.thing) for step in steps]
        except StepError as error:
            errors = [error]
        except StoreUnwritable as error:
            errors = [Retryable(str(error), reason="StoreUnwritable")]
        if errors:
            self.failures += 1
            self.cause = str(worst_of(errors))
        else:
            self.failures, self.cause, self.ready = 0, "", True
        return repaired

    def _record_switches(self, steps: Iterable[Step]) -> None:
        """Values from before netplumb are kept for `purge` to restore."""
        for step in steps:
            if isinstance(step.thing, Sysctl) and isinstance(step.observed, Sysctl):
                self._record_sysctl(step.thing.name, step.observed.value)
