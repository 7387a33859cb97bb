"""Which nodes there are and which prefixes they hold, kept up to date key by key: the cost of a change does not grow
with the cluster.

It is given what the keys say that all nodes share, and knows nothing of how that was found out.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar

import structlog

from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.cluster import HeldPrefix, Peer, Underlay
from netplumb.models.clustersettings import is_node_name
from netplumb.reconciler.cluster.claims import Claim, Claims, Ledger, is_inside
from netplumb.reconciler.cluster.etcd.entries import Entry, shown
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.records import Identity, NodeRecord, PrefixRecord, read
from netplumb.reconciler.cluster.views import underlay

V = TypeVar("V")

log = structlog.get_logger(__name__)


class Roster:
    """`peers` are all nodes by name. Of other nodes than `itself` prefixes count only where they are in the `pools`;
    without pools, for people who look from outside, all do."""

    def __init__(self, layout: Layout, itself: str = "", pools: Collection[IPNetwork] | None = None) -> None:
        self._layout = layout
        self._itself = itself
        self._pools = pools
        self._ledger = Ledger(layout)
        self._records: dict[str, NodeRecord | None] = {}
        self._strays: dict[str, Claim] = {}
        self._starts = (layout.nodes.first, layout.presences.first, layout.prefixes.first)
        self.present: dict[str, int] = {}
        self.peers: dict[str, Peer] = {}
        self.broken: dict[str, str] = {}
        """Keys that nothing is made of, since a bug ends it, and in which error."""

    def take(self, changes: Mapping[str, Entry | None]) -> Collection[str]:
        """What keys say by now; None of those that are gone. The names of the nodes that this is about."""
        touched: set[str] = set()
        for key, entry in changes.items():
            self.broken.pop(key, None)
            try:
                touched.update(self._take(key, entry))
            except Exception as error:
                # Whatever one node wrote, the others are learnt of: else it would stop all nodes, at each start anew.
                log.exception("a key of the cluster led to an unexpected error; it is passed over", key=shown(key))
                self.broken[key] = type(error).__name__
        for name in touched:
            _keep(self.peers, name, self._peer(name))
        return touched

    def _take(self, key: str, entry: Entry | None) -> Collection[str]:
        nodes, presences, prefixes = self._starts
        if (name := _node_in(key, presences)) is not None:
            _keep(self.present, name, None if entry is None else entry.created)
            return {name}
        if (name := _node_in(key, nodes)) is not None:
            if entry is None:
                self._records.pop(name, None)
            else:
                self._records[name] = read(NodeRecord, entry.value)
            return {name}
        if not key.startswith(prefixes):
            return ()
        touched = self._ledger.take(key, entry)
        _keep(self._strays, key, self._stray(key, entry))
        return touched

    def _stray(self, key: str, entry: Entry | None) -> Claim | None:
        """One that is in no pool of the settings, or not in the one that it is said to be of."""
        said = self._layout.prefix_in(key)
        record = read(PrefixRecord, entry.value) if entry is not None else None
        if said is None or entry is None or record is None or self._pools is None:
            return None
        claim = Claim(*said, record.pool, entry.modified)
        return None if is_inside(claim.cidr, self._pools) and is_inside(claim.cidr, [claim.pool]) else claim

    def _peer(self, name: str) -> Peer | None:
        held = self._ledger.held_by(name)
        if self._strays and name != self._itself:
            strays = set(self._strays.values())
            held = [it for it in held if it not in strays]
        if name not in self._records and not held:
            return None
        record = self._records.get(name)
        return Peer(
            name,
            underlay(record.underlay) if record is not None else Underlay(),
            _prefixes(held),
            record.mode if record is not None else "",
            record.vxlan if record is not None else None,
            record.identity.boot if record is not None else "",
            record.version if record is not None else "",
            name in self.present,
        )

    def copies_of(self, identity: Identity) -> list[str]:
        """Other nodes that are there and have its machine-id."""
        return sorted(
            name
            for name, record in self._records.items()
            if name != self._itself and name in self.present and record and record.identity.is_copy_of(identity)
        )

    @property
    def at_one_address(self) -> dict[IPAddress, list[str]]:
        """Underlay addresses that several nodes say to have, of those that are there and hold something."""
        at: defaultdict[IPAddress, list[str]] = defaultdict(list)
        for name, it in self.peers.items():
            if it.present and it.prefixes:
                for address in it.underlay.addresses:
                    at[address].append(name)
        return {address: sorted(names) for address, names in at.items() if len(names) > 1}

    @property
    def claims(self) -> Claims:
        return self._ledger.claims

    def held_by(self, node: str) -> list[Claim]:
        """The oldest first."""
        return self._ledger.held_by(node)

    def void_of(self, node: str) -> list[Claim]:
        return self._ledger.void_of(node)

    def holder_of(self, cidr: IPNetwork) -> Claim | None:
        """The oldest that holds addresses of it."""
        return self._ledger.holder_of(cidr)

    @property
    def strays(self) -> list[Claim]:
        return sorted(self._strays.values(), key=lambda it: (it.node, str(it.cidr)))


def _node_in(key: str, first: str) -> str | None:
    """Which node a key of these speaks of; None for any other key, and where nobody can be called so."""
    name = key.removeprefix(first)
    return name if key.startswith(first) and is_node_name(name) else None


def _keep(kept: dict[str, V], name: str, value: V | None) -> None:
    if value is None:
        kept.pop(name, None)
    else:
        kept[name] = value


def _prefixes(held: Iterable[Claim]) -> tuple[HeldPrefix, ...]:
    in_order = sorted(held, key=lambda it: (it.cidr.version, it.cidr.network_address.packed))
    return tuple(HeldPrefix(it.pool, it.cidr) for it in in_order)
