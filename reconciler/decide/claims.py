"""PURE: what attachments hold that only one can have: ports of the node, and a workload's default route."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from netplumb.models.attachment import AttachmentKey, AttachmentSpec
from netplumb.models.base import IPAddress
from netplumb.models.errors import AlreadyHeld, TooMany
from netplumb.models.ports import HostPort, PortMapping, overlapping

NODE_PORTS_MAX = 1 << 18
"""Of all attachments together: all that TCP and UDP have, in both families. Each may be mapped at any number of
addresses, and each of these is a part of the table, and of the daemon's memory."""


class PortHolders:
    """Which attachments each port of the node leads to: one, or several interfaces of a workload that share it."""

    def __init__(self) -> None:
        self._holders: dict[HostPort, dict[tuple[AttachmentKey, IPAddress | None], int]] = {}
        self._held: Counter[AttachmentKey] = Counter()
        self._total = 0

    def check(self, mappings: Iterable[PortMapping], key: AttachmentKey) -> None:
        """Raises AlreadyHeld, naming the holder, when one of the ports leads to another workload, or elsewhere in the
        same one; TooMany when all attachments would have more than is held in all."""
        mappings = tuple(mappings)
        more = sum(mapping.size * len(mapping.versions) for mapping in mappings) - self._held[key]
        if more > 0 and self._total + more > NODE_PORTS_MAX:
            raise TooMany(
                f"port_mappings: {self._total} ports are mapped on this node, both families counted, and no more than "
                f"{NODE_PORTS_MAX} may be; these would be {more} more"
            )
        for mapping in mappings:
            for port, leads_to in mapping.leads():
                for (holder, ip), held_for in self._by_holder(port):
                    if holder == key or not overlapping(ip, mapping.bound_ip):
                        continue
                    if holder.workload_id != key.workload_id:
                        raise AlreadyHeld(f"port_mappings: {port} is held by attachment {holder}")
                    if held_for != leads_to:
                        raise AlreadyHeld(
                            f"port_mappings: {port} is held by attachment {holder} and leads to its port {held_for}; "
                            f"interfaces of one workload share what leads to the same port, not to {leads_to}"
                        )

    def _by_holder(self, port: HostPort) -> list[tuple[tuple[AttachmentKey, IPAddress | None], int]]:
        """In an order that does not depend on who came first, as the one that is named does not."""
        return sorted(self._holders.get(port, {}).items(), key=lambda it: it[0][0])

    def hold(self, mappings: Iterable[PortMapping], key: AttachmentKey) -> None:
        for mapping in mappings:
            for port, leads_to in mapping.leads():
                holders = self._holders.setdefault(port, {})
                if (key, mapping.bound_ip) not in holders:
                    self._count(key, 1)
                holders[key, mapping.bound_ip] = leads_to

    def release(self, mappings: Iterable[PortMapping], key: AttachmentKey) -> None:
        for mapping in mappings:
            for port in mapping.host_ports():
                holders = self._holders.get(port, {})
                if holders.pop((key, mapping.bound_ip), None) is not None:
                    self._count(key, -1)
                if not holders:
                    self._holders.pop(port, None)

    def _count(self, key: AttachmentKey, more: int) -> None:
        self._total += more
        self._held[key] += more
        if not self._held[key]:
            del self._held[key]


def default_route_holder(specs: Iterable[AttachmentSpec]) -> AttachmentKey | None:
    """Which of a workload's interfaces holds its default route: the first that asks for it, else the first that says
    nothing; first by the name's number, so that eth2 comes before eth10."""
    candidates = [spec for spec in specs if spec.default_route is not False]
    first = min(candidates, key=lambda spec: (not spec.default_route, *natural(spec.if_name)), default=None)
    return first.key if first is not None else None


def natural(if_name: str) -> tuple[str, int, str]:
    """What interfaces are sorted by: net2 before net10."""
    prefix = if_name.rstrip("0123456789")
    return prefix, int(if_name[len(prefix) :] or 0), if_name
