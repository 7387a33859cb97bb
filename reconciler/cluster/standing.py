"""How this node stands in its cluster, as far as is known: what it holds, what it lost, which other nodes there are,
and what is to be reported. It is given what was found out, and answers from memory at any time; it does not ask etcd.

- While etcd is away, everything stays as it was last known, also over a restart.
- The prefixes are this node's only while its name is, or was when etcd last answered.
- Prefixes of other nodes outside of the cluster's pools are ignored, and reported: whoever may write below a node's
  name could otherwise divert anyone's traffic to that node.
- A prefix gives addresses only once this node's disk has recorded that it is held, and none from the moment that it is
  lost. It is reported for as long as workloads have addresses of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_network

import structlog

from netplumb.models.base import IPNetwork, is_within
from netplumb.models.cluster import ClusterMode, ClusterView, Peer
from netplumb.models.clustersettings import ClusterPool, ClusterSettings
from netplumb.models.network import Pool
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.models.status import UNDERLAY_SHARED, Condition
from netplumb.models.words import several
from netplumb.reconciler.cluster.claims import Claim, Claims, is_inside
from netplumb.reconciler.cluster.etcd.entries import Entry, shown
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.known import Known
from netplumb.reconciler.cluster.parts import ahead_of, has_of_each
from netplumb.reconciler.cluster.records import Identity, NodeRecord
from netplumb.reconciler.cluster.roster import Roster
from netplumb.reconciler.cluster.troubles import Troubles
from netplumb.reconciler.cluster.views import otherwise, own_way, pools_of, underlay_of, view

SPARE_SHARE, SPARE_MOST = 8, 16
TOLD_MAX = 8

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Fullness:
    """Of a pool: how many addresses are free of all that it gives."""

    free: int
    size: int

    @property
    def is_nearly_full(self) -> bool:
        """So that the next prefix is there when it is needed, and none is taken for a few workloads."""
        return self.free < min(SPARE_MOST, max(1, self.size // SPARE_SHARE))


@dataclass(frozen=True, slots=True)
class Itself:
    """What does not change: the node's name in the cluster, which machine it is, and which netplumb."""

    node: str
    identity: Identity
    version: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the rest of the daemon knows: the node's network, how full its pools are, by prefix, and of some prefixes
    those of which addresses are in use, each with who has them, as far as that is known."""

    network: Callable[[], NodeNetwork]
    fullness: Callable[[], Mapping[IPNetwork, Fullness]]
    users: Callable[[Collection[IPNetwork]], Mapping[IPNetwork, Collection[str]]]


class Standing:
    def __init__(
        self,
        settings: ClusterSettings,
        itself: Itself,
        surroundings: Surroundings,
        known: Known | None,
        shared: Mapping[str, Entry],
        revision: int,
    ) -> None:
        """Begins with what was known before: of what all nodes share, as of a revision."""
        self._settings = settings
        self._itself = itself
        self._around = surroundings
        pools = [it.cidr for it in settings.pools]
        self._roster = Roster(Layout(settings.prefix), itself.node, pools)
        self._roster.take(shared)
        self._is_ours = known is not None
        self._started_at = time.time()
        self.heard_at = known.heard_at if known else None
        self._written = frozenset(it.cidr for it in self.held)
        self.lost: dict[IPNetwork, str] = {ip_network(it): why for it, why in (known.lost if known else {}).items()}
        self.troubles = Troubles()
        self.revision = revision
        self.former_name = itself.node
        """What this node was called last, since its boot."""

    # What it is told

    def name_is(self, *, ours: bool, why_not: str = "") -> bool:
        """Whether this changes anything."""
        if (ours, why_not) == (self._is_ours, self.troubles.name_taken):
            return False
        if not ours:
            log.error("this node's name is taken", cause=why_not)
        self._is_ours, self.troubles.name_taken = ours, why_not
        return True

    def learnt(self, changes: Mapping[str, Entry | None], revision: int) -> Collection[str]:
        """Of the keys that all nodes share these say something else than before, complete as of a revision. The names
        of the nodes that this is about."""
        before = self.held
        about = self._roster.take(changes)
        self.revision = revision
        after = {it.cidr for it in self.held}
        for claim in before:
            if claim.cidr not in after and self._is_ours:
                self.lost[claim.cidr] = self._why_lost(claim.cidr)
                log.warning("a prefix is this node's no more", prefix=str(claim.cidr), cause=self.lost[claim.cidr])
        for cidr in after & self.lost.keys():
            del self.lost[cidr]
        self.forget_lost()
        return about

    def _why_lost(self, cidr: IPNetwork) -> str:
        other = self._roster.holder_of(cidr)
        return f"is held by {other.node} since revision {other.since}" if other else "was taken from this node"

    def forget_lost(self) -> bool:
        """Of lost prefixes those that no workload has addresses of any more; whether there was one."""
        used = self._around.users(list(self.lost)) if self.lost else {}
        over = [it for it in self.lost if it not in used]
        for cidr in over:
            del self.lost[cidr]
        return bool(over)

    def wrote(self, cidrs: Iterable[IPNetwork]) -> None:
        """That this node holds these is on its disk, so that their addresses may be given."""
        self._written = frozenset(cidrs)

    # What it answers

    @property
    def name_is_ours(self) -> bool:
        return self._is_ours

    @property
    def other_name(self) -> str:
        """Under which this machine holds prefixes, where its name was changed in the settings since."""
        former = self._roster.peers.get(self.former_name)
        return former.node if former is not None and former.node != self._itself.node and former.prefixes else ""

    @property
    def held(self) -> list[Claim]:
        return self._roster.held_by(self._itself.node)

    @property
    def void(self) -> list[Claim]:
        """What this node claimed and another came before with; but not what it held once and runs workloads with. And
        what is of none of the cluster's pools any more, once no workload has an address of it."""
        void = [it for it in self._roster.void_of(self._itself.node) if it.cidr not in self.lost]
        pools = [it.cidr for it in self._settings.pools]
        over = [it for it in self.held if not is_inside(it.cidr, pools)]
        used = self._around.users([it.cidr for it in over]) if over else {}
        return [*void, *(it for it in over if it.cidr not in used)]

    @property
    def peers(self) -> Mapping[str, Peer]:
        """All nodes by name, this one among them."""
        return self._roster.peers

    @property
    def claims(self) -> Claims:
        """Of all nodes."""
        return self._roster.claims

    @property
    def pools(self) -> tuple[Pool, ...]:
        """Those that this node gives addresses from, besides its own."""
        return pools_of(self._given, self._settings.pools) if self._is_ours else ()

    @property
    def _given(self) -> list[Claim]:
        return [it for it in self.held if it.cidr in self._written]

    @property
    def has_of_each_pool(self) -> bool:
        return has_of_each(self._settings.pools, [it.cidr for it in self._given])

    @property
    def record(self) -> NodeRecord:
        """What this node tells the others of itself. Where it has no address to be reached at for a moment, it is told
        with those of before: the ways that are there are none the worse, and lead to it as soon as it has one again."""
        own = underlay_of(self._settings.underlay, self._around.network())
        if not own.addresses and (before := self._roster.peers.get(self._itself.node)) is not None:
            own = before.underlay
        return NodeRecord(
            identity=self._itself.identity,
            underlay=own.addresses,
            mode=self._settings.mode,
            vxlan=self._settings.vxlan,
            version=self._itself.version,
        )

    @property
    def view(self) -> ClusterView:
        return view(
            self._roster.peers,
            node=self._itself.node,
            mode=self._settings.mode,
            own=underlay_of(self._settings.underlay, self._around.network()),
            pools=[it.cidr for it in self._settings.pools],
            revision=self.revision,
            away_since=self.away_since,
        )

    @property
    def away_since(self) -> float | None:
        return None if self.troubles.away is None else self.heard_at or self._started_at

    @property
    def _otherwise(self) -> dict[str, str]:
        """Nodes that do not understand what this one sends, and how they send."""
        others = sorted(self._roster.peers.values(), key=lambda it: it.node)
        return {it.node: how for it in others if it.prefixes and (how := otherwise(it, self._settings))}

    def wants(self, pool: ClusterPool) -> bool:
        """A first prefix, or one more when the others are nearly full. One that was taken away is not made good for
        before what runs in it is gone: somebody wanted this node to have no more."""
        if not self._is_ours or any(it.overlaps(pool.cidr) for it in self.lost):
            return False
        mine = [it.cidr for it in self.held if is_within(it.cidr, pool.cidr)]
        fullness = self._around.fullness()
        found = [fullness[cidr] for cidr in mine if cidr in fullness]
        if len(found) < len(mine):
            return False  # the pools are on their way to where that is known
        return Fullness(sum(it.free for it in found), max((it.size for it in found), default=0)).is_nearly_full

    def _outside_pools(self) -> Iterator[str]:
        """Of this node's own those that workloads have addresses of: the others are in nobody's way."""
        mine = [it.cidr for it in self._roster.strays if it.node == self._itself.node]
        for cidr, names in self._around.users(mine).items() if mine else ():
            yield (
                f"{cidr} is this node's and in no pool of its settings, so no further address of it is given, and what "
                f"its workloads send to others is masqueraded{_had_by(names)}"
            )
        others = [f"{it.cidr} of {it.node}" for it in self._roster.strays if it.node != self._itself.node]
        if others:
            yield (
                f"{several(others, TOLD_MAX, ', ')}: in no pool of this node's settings, so there is no way to it from "
                "here, nor for its answers"
            )

    @property
    def sees_itself(self) -> bool:
        """Whether all is known of those that came before this node, as it is once its own presence has been told."""
        return self._itself.node in self._roster.present

    def reached_otherwise(self, pool: ClusterPool) -> set[IPNetwork]:
        """What this node has of a pool on its links, and by routes of others, which workloads with such addresses would
        cut off."""
        known = self._around.network()
        found = {it.network for it in known.connected} | {it.dst for it in known.crossing}
        found |= {ip_network(ip) for ip, _ in known.foreign}
        return {it for it in found if is_within(it, pool.cidr)}

    def ahead(self, pool: ClusterPool) -> int:
        """How many parts of the pool are for nodes that came before this one."""
        return ahead_of(self._itself.node, pool.cidr, self.claims.held, self._roster.present)

    def conditions(self) -> Iterator[Condition]:
        told = self.troubles
        if told.went_back:
            words = f"{told.went_back}; nothing is taken from it until somebody says `netplumb cluster accept`"
            yield Condition("EtcdWentBack", True, "WentBack", words)
        if told.refused:
            yield Condition("EtcdRefuses", True, "Refused", "; ".join(dict.fromkeys(told.refused.values())))
        if told.away is not None and not told.went_back:
            words = f"what was last known holds: {told.away}"
            yield Condition("EtcdAway", True, "NotFollowed", words, self.away_since or 0)
        if told.name_taken:
            words = f"{told.name_taken}; no prefix of the cluster is this node's"
            yield Condition("NodeNameTaken", True, "NameTaken", words)
        if self.lost:
            users = self._around.users(list(self.lost))
            words = "; ".join(f"{cidr} {why}{_had_by(users.get(cidr, ()))}" for cidr, why in self.lost.items())
            yield Condition("PrefixLost", True, "NotHeld", f"{words}; what has addresses of it is left as it is")
        if words := "; ".join(self._outside_pools()):
            told_of = f"{words}; name its pool in `cluster.pools`"
            yield Condition("PrefixOutsidePools", True, "NotOfTheCluster", told_of)
        if others := self._otherwise:
            words = several([f"{node} ({how})" for node, how in others.items()], TOLD_MAX, ", ")
            own = own_way(self._settings)
            told_of = f"{words}: this node's `cluster.mode` is {own}, so nothing passes between them"
            yield Condition("ModesDiffer", True, "SetOtherwise", told_of)
        if self._settings.mode is not ClusterMode.NONE and (shared := self._roster.at_one_address):
            words = several([f"{ip} of {' and '.join(nodes)}" for ip, nodes in shared.items()], TOLD_MAX)
            told_of = f"{words}: what is sent to one of them reaches another; give each an underlay address of its own"
            yield Condition(UNDERLAY_SHARED, True, "AtOneAddress", told_of)
        if copies := self._roster.copies_of(self._itself.identity):
            words = (
                f"{several(copies, TOLD_MAX, ', ')}: with the machine-id {self._itself.identity.machine} of this node, "
                "so that one was cloned from the other. netplumb tells them apart by their names; "
                "give the copy an id of its own: rm /etc/machine-id, systemd-machine-id-setup, and a boot"
            )
            yield Condition("MachineIdShared", True, "Cloned", words)
        if broken := told.broken | {shown(key): error for key, error in self._roster.broken.items()}:
            words = several([f"{what} ({error})" for what, error in broken.items()], TOLD_MAX, ", ")
            told_of = f"internal errors in {words}: all else goes on; see the daemon's log, and report what it says"
            yield Condition("ClusterInternalError", True, "InternalError", told_of)
        if told.full:
            yield Condition("ClusterPoolFull", True, "NoPrefixLeft", "; ".join(told.full.values()))


def _had_by(names: Collection[str]) -> str:
    """Who has addresses of a prefix, as far as that is known."""
    return (
        f" ({several(list(names), TOLD_MAX, ', ')} {'has' if len(names) == 1 else 'have'} addresses of it)"
        if names
        else ""
    )
