"""PURE: what a status and attachments come to as a picture: who has addresses of which pools, and what is wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from netplumb.api.text import NO_UPLINK
from netplumb.api.v1 import netplumb_pb2 as pb


@dataclass(frozen=True, slots=True)
class Group:
    """The attachments with addresses of the same pools, in the order of their keys; without `pools`, with others."""

    pools: tuple[pb.PoolUsage, ...]
    attachments: tuple[pb.Attachment, ...]

    @property
    def name(self) -> str:
        return ", ".join(pool.name for pool in self.pools) or "outside all pools"


@dataclass(frozen=True, slots=True)
class Picture:
    """`problems` are the node's, `notes` what may be one: conditions that are no obstacles by themselves."""

    ready: bool
    uplinks: tuple[pb.Uplink, ...]
    groups: tuple[Group, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]
    broken: int

    @property
    def attached(self) -> int:
        return sum(len(group.attachments) for group in self.groups)


def picture(status: pb.StatusResponse, attachments: Iterable[pb.Attachment]) -> Picture:
    networks = [(ip_network(pool.name), pool) for pool in status.pools]
    grouped: defaultdict[tuple[str, ...], list[pb.Attachment]] = defaultdict(list)
    broken = 0
    for it in attachments:
        grouped[_pools_of(it, networks)].append(it)
        broken += bool(it.unmet)
    used = {name for names in grouped for name in names}
    for pool in status.pools:
        if pool.name not in used:
            grouped[(pool.name,)] = []
    by_name = {pool.name: pool for pool in status.pools}
    groups = [Group(tuple(by_name[name] for name in names), tuple(them)) for names, them in sorted(grouped.items())]
    problems = tuple(words(it) for it in status.unmet if not it.workload_id)
    if not status.uplinks:
        problems = (f"no uplink: {NO_UPLINK}", *problems)
    told = {it.reason for it in status.unmet}
    notes = tuple(
        f"{it.type}: {it.message}" for it in status.conditions if it.status and it.message and it.type not in told
    )
    return Picture(status.ready, tuple(status.uplinks), tuple(groups), problems, notes, broken)


def words(it: pb.Unmet) -> str:
    return f"{it.reason}: {it.message}" if it.message else it.reason


def size(pool: pb.PoolUsage) -> str:
    """Of IPv6 pools about how many, as a power of two."""
    number = int(pool.size)
    return pool.size if number < 10**7 else f"2^{number.bit_length()}"


def port(it: pb.PortMapping) -> str:
    """Short, for a box that is small."""
    host = f"{it.host_port}-{it.host_port_end}" if it.host_port_end > it.host_port else str(it.host_port)
    suffix = "" if it.protocol in ("", "tcp") else f"/{it.protocol}"
    return f"{host}→{it.container_port}{suffix}"


def limits(it: pb.Bandwidth) -> str:
    told = (("↓", it.ingress_rate), ("↑", it.egress_rate))
    return " ".join(f"{sign}{_rate(rate)}" for sign, rate in told if rate)


def _rate(bits: int) -> str:
    for factor, suffix in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if bits >= factor:
            return f"{bits / factor:.3g}{suffix}"
    return str(bits)


def _pools_of(it: pb.Attachment, networks: Sequence[tuple[IPv4Network | IPv6Network, pb.PoolUsage]]) -> tuple[str, ...]:
    addresses = [ip_address(text) for text in it.addresses]
    return tuple(pool.name for network, pool in networks if any(address in network for address in addresses))
