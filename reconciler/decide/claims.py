"""PURE: what attachments hold that only one can have: ports of the node, and a workload's default route."""

from __future__ import annotations

from collections.abc import Iterable

from netplumb.models.attachment import AttachmentKey, AttachmentSpec
from netplumb.models.base import IPAddress
from netplumb.models.errors import AlreadyHeld
from netplumb.models.ports import HostPort, PortMapping, colliding


class PortHolders:
    """Which attachment each port of the node leads to."""

    def __init__(self) -> None:
        self._holders: dict[HostPort, dict[IPAddress | None, AttachmentKey]] = {}

    def check(self, mappings: Iterable[PortMapping], key: AttachmentKey) -> None:
        """Raises AlreadyHeld, naming the holder, when one of the ports leads to another attachment."""
        for mapping in mappings:
            for port in mapping.host_ports():
                others = {ip: holder for ip, holder in self._holders.get(port, {}).items() if holder != key}
                if (holder := colliding(others, mapping.bound_ip)) is not None:
                    raise AlreadyHeld(f"port_mappings: {port} is held by attachment {holder}")

    def hold(self, mappings: Iterable[PortMapping], key: AttachmentKey) -> None:
        for mapping in mappings:
            for port in mapping.host_ports():
                self._holders.setdefault(port, {})[mapping.bound_ip] = key

    def release(self, mappings: Iterable[PortMapping], key: AttachmentKey) -> None:
        for mapping in mappings:
            for port in mapping.host_ports():
                holders = self._holders.get(port, {})
                if holders.get(mapping.bound_ip) == key:
                    del holders[mapping.bound_ip]
                    if not holders:
                        del self._holders[port]


def default_route_holder(specs: Iterable[AttachmentSpec]) -> AttachmentKey | None:
    """Which of a workload's interfaces holds its default route: the first that asks for it, else the first that says
    nothing; first by the name's number, so that eth2 comes before eth10."""
    candidates = [spec for spec in specs if spec.default_route is not False]
    first = min(candidates, key=lambda spec: (not spec.default_route, *_natural(spec.if_name)), default=None)
    return first.key if first is not None else None


def _natural(if_name: str) -> tuple[str, int, str]:
    prefix = if_name.rstrip("0123456789")
    return prefix, int(if_name[len(prefix) :] or 0), if_name
