"""PURE: kernel objects → the part of a wish that they were rendered from; the renderers, read backwards.

What comes out, rendered again, is what went in. It need not be word for word what was asked for: a range of ports and
its ports one by one are the same in the kernel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from itertools import groupby, product

from pydantic import ValidationError

from netplumb.models.attachment import ROUTES_MAX
from netplumb.models.bandwidth import Bandwidth, packet_bytes
from netplumb.models.base import IPAddress
from netplumb.models.kernel import (
    FIRST_HOP_V4,
    FIRST_HOP_V6,
    RT_TABLE_LOCAL,
    RT_TABLE_MAIN,
    KernelObject,
    Link,
    Neighbour,
    Route,
    Scope,
)
from netplumb.models.nft import (
    NODE_CLOSED,
    NODE_OPEN,
    PORT_SETS,
    WORKLOADS_CLOSED,
    WORKLOADS_OPEN,
    NftElement,
    NftSet,
    hairpin_set,
    sibling_set,
)
from netplumb.models.ports import EVERYWHERE, PortMapping, Protocol
from netplumb.models.routing import ExtraRoute
from netplumb.models.tc import Tbf, queue_bytes
from netplumb.reconciler.decide.ownership import is_ours

_PROTOCOLS = {protocol.number: protocol for protocol in Protocol}
_PORT_MAPS = {ports.name: version for version, (_, ports) in PORT_SETS}
_PORT_ADDRESSES = frozenset(addresses.name for _, (addresses, _) in PORT_SETS)
_HAIRPIN_SETS = frozenset(hairpin_set(version).name for version in (4, 6))
_SIBLING_SETS = frozenset(sibling_set(version).name for version in (4, 6))
_FIRST_HOPS = (FIRST_HOP_V4, FIRST_HOP_V6)

_Port = tuple[str, IPAddress | None, int, int, int]
"""The text of `host_ip`, by which to sort; host_ip, protocol, the node's port, the workload's port."""


def port_mappings(link: Link, objects: Sequence[KernelObject], versions: Iterable[int]) -> tuple[PortMapping, ...]:
    """The ports of the node that lead to a workload which has addresses of these families."""
    ends: dict[tuple[IPAddress | None, int, int, int], set[int]] = {}
    for it in objects:
        if isinstance(it, NftElement) and (version := _PORT_MAPS.get(it.set)) is not None and it.value is not None:
            *at, protocol, port = it.match
            where = ip_address(str(at[0])) if at else None
            ends.setdefault((where, int(protocol), int(port), int(it.value)), set()).add(version)
    meant = set(versions)
    if meant == {4} and not any(_is_localhost_route(it) for it in objects):
        meant = {4, 6}  # it would lead to [::1] if every family were meant
    if meant == {6} and not link.route_localnet:
        meant = {4, 6}  # and here to 127.0.0.1
    ports: list[_Port] = []
    for (where, protocol, port, to), found in ends.items():
        # Mapped in one of two families means that the other one was left out on purpose.
        ips = [where] if where is not None or found >= meant else [EVERYWHERE[version] for version in found]
        ports += [(str(ip or ""), ip, protocol, port, to) for ip in ips]
    return tuple(_ranges(ports))


def _ranges(ports: list[_Port]) -> Iterator[PortMapping]:
    """Ports that follow one another on both sides are one mapping."""
    ports.sort(key=lambda port: (port[0], *port[2:]))
    numbered = enumerate(ports)
    for _, group in groupby(numbered, key=lambda it: (it[1][0], it[1][2], it[1][3] - it[0], it[1][4] - it[0])):
        run = [port for _, port in group]
        _, ip, protocol, first, to = run[0]
        yield PortMapping(
            host_port=first,
            host_port_end=run[-1][3] if len(run) > 1 else 0,
            container_port=to,
            protocol=_PROTOCOLS[protocol],
            host_ip=ip,
        )


def isolation(objects: Iterable[KernelObject]) -> tuple[bool | None, bool | None]:
    """Whether the wish keeps the workload from the node and from others; None where it left that to the node."""
    sets = {it.set for it in objects if isinstance(it, NftElement)}

    def said(closed: NftSet, opened: NftSet) -> bool | None:
        return True if closed.name in sets else False if opened.name in sets else None

    return said(NODE_CLOSED, NODE_OPEN), said(WORKLOADS_CLOSED, WORKLOADS_OPEN)


def bandwidth(objects: Iterable[KernelObject], link: str, ifb: str, mtu: int) -> Bandwidth:
    """The limits that the token buckets of a link and its ifb enforce."""
    buckets = {it.link: it for it in objects if isinstance(it, Tbf) and is_ours(it)}
    ingress_rate, ingress_burst = _limit(buckets.get(link), mtu)
    egress_rate, egress_burst = _limit(buckets.get(ifb), mtu)
    return Bandwidth(
        ingress_rate=ingress_rate,
        ingress_burst=ingress_burst,
        egress_rate=egress_rate,
        egress_burst=egress_burst,
    )


def _limit(bucket: Tbf | None, mtu: int) -> tuple[int, int]:
    """Rate and burst in bits. The kernel has whole bytes, so any of eight rates may have been meant."""
    if bucket is None:
        return 0, 0
    burst_bytes = max(bucket.limit - queue_bytes(bucket.rate, packet_bytes(mtu)), 0)
    rates = range(bucket.rate * 8, bucket.rate * 8 + 8)
    for burst, rate in product((0, burst_bytes * 8), rates):
        if (
            Bandwidth.model_construct(ingress_rate=rate, ingress_burst=burst).capped(mtu).ingress_burst // 8
            == burst_bytes
        ):
            return rate, burst
    return rates[0], burst_bytes * 8


def first_addresses(objects: Iterable[KernelObject]) -> frozenset[bytes]:
    """The first address of each family of a workload that ports of the node lead to."""
    elements = (it for it in objects if isinstance(it, NftElement) and it.set in _HAIRPIN_SETS)
    return frozenset(ip for it in elements if (ip := address_of(it)) is not None)


def address_of(element: NftElement) -> bytes | None:
    """The workload's address that an element of the table names, if it names one."""
    if element.set in _PORT_ADDRESSES:
        return ip_address(str(element.value)).packed
    if element.set in _HAIRPIN_SETS or element.set in _SIBLING_SETS:
        return ip_address(str(element.match[-1])).packed
    return None


@dataclass(frozen=True, slots=True)
class Siblings:
    """Links of workloads with several interfaces: those that hold the workload's default route, and the others."""

    holders: frozenset[str]
    others: frozenset[str]


def siblings(objects: Iterable[KernelObject]) -> Siblings:
    elements = [it for it in objects if isinstance(it, NftElement) and it.set in _SIBLING_SETS]
    return Siblings(frozenset(str(it.match[0]) for it in elements), frozenset(it.owner for it in elements))


def extra_routes(told: Iterable[KernelObject]) -> tuple[ExtraRoute, ...]:
    """What the workload reaches over the link beside what its default route leads to, by its own word: nothing, where
    that is what nobody could have asked for."""
    dsts = dict.fromkeys((it.dst, it.prefix_len) for it in _workload_routes(told) if it.gateway in _FIRST_HOPS)
    routes = []
    for dst, prefix_len in dsts:
        if prefix_len:
            with suppress(ValidationError, ValueError):
                routes.append(ExtraRoute(dst=ip_network((dst, prefix_len))))
    return tuple(routes) if len(routes) <= ROUTES_MAX else ()


def default_route(link: str, told: Sequence[KernelObject], among: Siblings) -> bool | None:
    """Whether the workload's default route goes over the link. Of several interfaces the node knows; of one alone the
    workload tells. None where not even its first hop is seen: then the link is half-built or out of sight, and nothing
    follows from what is missing."""
    if link in among.others:
        return False
    if link in among.holders:
        return True
    if any(not it.prefix_len and it.table == RT_TABLE_MAIN for it in _workload_routes(told)):
        return True
    first_hop = any(isinstance(it, Neighbour) and is_ours(it) for it in told)
    return False if first_hop else None


def _is_localhost_route(thing: KernelObject) -> bool:
    """By which the node's ::1 leads to the workload."""
    return isinstance(thing, Route) and thing.scope is Scope.NODE and thing.table == RT_TABLE_LOCAL


def _workload_routes(told: Iterable[KernelObject]) -> Iterator[Route]:
    """Where its traffic goes; the local routes, by which it answers, follow from its addresses."""
    return (it for it in told if isinstance(it, Route) and is_ours(it) and it.table != RT_TABLE_LOCAL)
