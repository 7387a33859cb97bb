"""PURE: which interface of a workload serves a port of the node that several of them map.

Runtimes pass a container's ports to each of its networks. The interface with the default route serves what it maps,
since a server that is bound to no address answers datagrams from there; then the first by name, in each family. When
that goes, the next takes over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from netplumb.models.attachment import Attachment
from netplumb.models.ports import EVERYWHERE, PortMapping, places
from netplumb.reconciler.decide.claims import natural


def ports_elsewhere(record: Attachment, siblings: Sequence[Attachment]) -> tuple[PortMapping, ...]:
    """What interfaces of the same workload that come before this one map of its ports, in the families that they have
    addresses of."""
    mappings = record.spec.port_mappings

    def rank(if_name: str) -> tuple[bool, tuple[str, int, str]]:
        return if_name != record.default_route_by, natural(if_name)

    before = [it for it in siblings if it.spec.port_mappings and rank(it.spec.if_name) < rank(record.spec.if_name)]
    own = set(places(mappings)) if before else set()
    return tuple(
        served
        for sibling in before
        for mapping in sibling.spec.port_mappings
        for served in _served(mapping, {address.version for address in sibling.addresses})
        if not own.isdisjoint(places([served]))
    )


def _served(mapping: PortMapping, versions: set[int]) -> Iterator[PortMapping]:
    """The mapping, in these families."""
    meant = versions.intersection(mapping.versions)
    if meant == set(mapping.versions):
        yield mapping
    else:
        yield from (mapping.model_copy(update={"host_ip": EVERYWHERE[version]}) for version in meant)
