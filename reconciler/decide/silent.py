"""PURE: addresses of workloads of which nothing on the node tells any more, as where somebody set the link down while
the daemon was away: its routes and neighbours went with that, and what the workload answers at is all that is left.

A workload can write there what it likes. So its word takes nothing from anybody: it counts for one address a family,
of a pool, that nobody holds and that no other such workload names.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from ipaddress import ip_address

from netplumb.models.base import IPAddress
from netplumb.models.kernel import Address, KernelObject, Route
from netplumb.models.network import Pool
from netplumb.reconciler.decide.ownership import is_ours


def claimed(
    told: Mapping[str, Sequence[KernelObject]], held: Collection[IPAddress], pools: Sequence[Pool]
) -> dict[str, list[IPAddress]]:
    """By the name of the link, IPv4 first."""
    claims = {link: _addresses(objects) for link, objects in told.items()}
    often = Counter(address for addresses in claims.values() for address in addresses)
    taken = {*held, *(pool.node_address for pool in pools), *(address for pool in pools for address in pool.reserved)}
    free = {
        link: [a for a in addresses if often[a] == 1 and a not in taken and any(a in pool.cidr for pool in pools)]
        for link, addresses in claims.items()
    }
    return {
        link: [next(a for a in addresses if a.version == version) for version in sorted({a.version for a in addresses})]
        for link, addresses in free.items()
    }


def _addresses(told: Sequence[KernelObject]) -> list[IPAddress]:
    """Those that its routes prefer come first."""
    preferred = {it.prefsrc for it in told if isinstance(it, Route)}
    packed = dict.fromkeys(
        it.ip for it in told if isinstance(it, Address) and is_ours(it) and it.prefix_len == 8 * len(it.ip)
    )
    return [ip_address(ip) for ip in sorted(packed, key=lambda ip: ip not in preferred)]
