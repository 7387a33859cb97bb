"""PURE: which mapped ports of the node are taken from a process of the node that listens there.

A mapping comes before any socket, so that the process is sent nothing more, and nothing fails.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from netplumb.models.attachment import AttachmentSpec
from netplumb.models.ports import HostPort, PortMapping, overlapping
from netplumb.models.sockets import Listener
from netplumb.models.status import Condition
from netplumb.models.words import several

HOST_PORT_IN_USE = "HostPortInUse"
TOLD = 10

Range = tuple[int, int]


def in_use(spec: AttachmentSpec, mappings: Iterable[PortMapping], listeners: Iterable[Listener]) -> list[str]:
    """A sentence for each of the listeners that these mappings of an attachment take a port from. What its own runtime
    holds the port with, until the workload ends, is none: it has the container's id on its command line (conmon)."""
    own = {spec.container_id} - {""}
    found: dict[str, None] = {}
    for listener in listeners:
        if listener.ip is not None and listener.ip.is_multicast:
            continue  # only what is sent to an address of the node is mapped
        if listener.process is not None and own.intersection(listener.process.arguments):
            continue
        for mapping in mappings:
            for version in _versions_taken(mapping, listener):
                found[_words(HostPort(version, listener.protocol, listener.port), listener)] = None
    return list(found)


def _versions_taken(mapping: PortMapping, listener: Listener) -> Iterator[int]:
    is_of_mapping = (
        mapping.protocol is listener.protocol and mapping.host_port <= listener.port <= mapping.last_host_port
    )
    if is_of_mapping and overlapping(mapping.bound_ip, listener.ip):
        yield from (version for version in listener.versions if version in mapping.versions)


def _words(port: HostPort, listener: Listener) -> str:
    at = f" at {listener.ip}" if listener.ip is not None else ""
    return f"{port} is listened on{at} by {listener.process or 'a process of the node'}"


def condition(found: Sequence[str]) -> Condition | None:
    """The attachment's condition, where there is anything to tell."""
    if not found:
        return None
    message = f"{several(found, TOLD)}; what is sent there reaches the workload instead"
    return Condition(HOST_PORT_IN_USE, status=True, reason="ListenedOn", message=message)


def ranges(ports: Iterable[int], most: int) -> list[Range]:
    """At most so many ranges that hold all of these ports, and few others: parted where the gaps are widest."""
    ordered = sorted(set(ports))
    gaps = sorted((before - after, position) for position, (before, after) in enumerate(pairwise(ordered), 1))
    cuts = sorted(position for gap, position in gaps[: most - 1] if gap < -1)
    return [(ordered[first], ordered[end - 1]) for first, end in pairwise([0, *cuts, len(ordered)]) if first < end]
