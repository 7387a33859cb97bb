"""What the CNI service needs of the daemon. The reconciler implements it; the API knows nothing else of it."""

from __future__ import annotations

from collections.abc import Set
from typing import Protocol

from netplumb.models.attachment import AttachmentKey, AttachmentSpec
from netplumb.models.status import AttachmentView, CheckReport, NodeStatus


class Networks(Protocol):
    """The attachments of CNI networks; each network is a source of its own, `cni/<network>`, and sees only its own.

    An attachment is known by the container and the interface, as runtimes know it; where the daemon lost its record of
    that, and rebuilt it from the kernel, by `netns`, the path of the container's namespace. Refusals and step errors of
    `netplumb.models.errors` are what is raised.
    """

    async def attach(self, source: str, spec: AttachmentSpec) -> AttachmentView:
        """Record the wish and wait until the kernel agrees. AlreadyHeld if another has the key or the interface."""
        ...

    async def detach(self, source: str, container_id: str, if_name: str, netns: str) -> None:
        """Withdraw the wish and wait until the interface is gone. What the source does not hold is left alone."""
        ...

    async def check(self, source: str, container_id: str, if_name: str, netns: str) -> CheckReport:
        """Compare with the kernel; what is just being repaired has a moment. NotFound if there is none."""
        ...

    async def gc(self, source: str, alive: Set[AttachmentKey]) -> None:
        """Detach what the source holds and does not name as alive, by container and interface."""
        ...

    def status(self, pool: str) -> NodeStatus:
        """The daemon as a whole. NotReady or PoolExhausted if a network with this pool, any where it is empty, could
        not be given an address now."""
        ...
