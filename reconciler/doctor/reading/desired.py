"""What is wanted of the node: from the store's file, beside a daemon that may be writing it, else from the kernel's
marks, as a daemon would rebuild it."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from ipaddress import collapse_addresses, ip_network
from pathlib import Path

from netplumb.models.attachment import Attachment
from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.network import Node, Pool
from netplumb.models.networkpolicy import ManifestKey
from netplumb.models.policyset import NO_POLICIES, PolicySet
from netplumb.reconciler.converge.marks import begin_anew
from netplumb.reconciler.desired.policies import in_force
from netplumb.reconciler.desired.store import Contents, boot_id, contents_of
from netplumb.reconciler.desired.storefile import Verdict, read_only
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.nftables.table import Nftables


@dataclass(frozen=True, slots=True)
class Wanted:
    """`trouble` is what is wrong with the store, empty where it was read or where there is none to miss. `left_alone`
    are links whose attachment nobody knows; `mtu` is what the daemon took for the uplink's, and `policy_sources` tell
    whose word on a policy counts."""

    attachments: tuple[Attachment, ...] = ()
    left_alone: frozenset[str] = frozenset()
    mtu: int = 0
    made_at: float = 0.0
    trouble: str = field(default="", compare=False)
    policies: PolicySet = field(default=NO_POLICIES, compare=False)
    policy_sources: Mapping[ManifestKey, str] = field(default_factory=dict, compare=False)

    def node_addresses(self, pools: Sequence[Pool]) -> tuple[IPAddress, ...]:
        """Those of the pools, and of pools that are gone and still in use."""
        found = dict.fromkeys(pool.node_address for pool in pools)
        found.update((address, None) for it in self.attachments for address in it.node_addresses)
        return tuple(found)

    def prefixes(self, pools: Sequence[Pool]) -> tuple[IPNetwork, ...]:
        """Where workloads' addresses lie."""
        cidrs: list[IPNetwork] = [pool.cidr for pool in pools]
        outside = [a for it in self.attachments for a in it.addresses if not any(a in cidr for cidr in cidrs)]
        for version in (4, 6):
            cidrs += collapse_addresses(ip_network(a) for a in outside if a.version == version)  # type: ignore[type-var]
        return tuple(cidrs)


def read_wanted(data_dir: Path, pools: Sequence[Pool]) -> Wanted:
    """Raises StepError where there is no store and the kernel does not tell its marks."""
    path = data_dir / "netplumb.db"
    with Channel() as channel:
        node = f"{boot_id()}/{channel.netns_cookie}"
    trouble = ""
    try:
        database = read_only(path, node)
        if not isinstance(database, Verdict):
            with closing(database):
                return _of_store(database)
        if database is Verdict.DAMAGED:
            trouble = f"{path} is damaged"
    except (sqlite3.Error, OSError, ValueError) as error:
        trouble = f"{path} cannot be read ({error})"
    with closing(Nftables()) as nftables:
        change = begin_anew(pools, Node().mtu, nftables.observe(), nftables.elements().values())
    if not trouble and change.put:
        trouble = f"{path} is missing"
    policies = in_force({}, change.lost or {})
    return Wanted(tuple(change.put), frozenset(change.unclaimed), policies=policies, trouble=trouble)


def _of_store(database: sqlite3.Connection) -> Wanted:
    contents: Contents = contents_of(database)
    meta = dict(database.execute("SELECT name, value FROM meta"))
    return Wanted(
        tuple(contents.attachments[key] for key in sorted(contents.attachments)),
        frozenset(contents.unclaimed),
        int(meta.get("uplink_mtu", 0)),
        float(meta.get("made_at", 0)),
        policies=in_force(contents.policies, contents.lost),
        policy_sources={key: next(iter(by)) for key, by in contents.policies.items()},
    )
