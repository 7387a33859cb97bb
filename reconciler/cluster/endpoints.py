"""What is known of other nodes' workloads, for network policies. What a rule of this node can select is kept in memory;
the rest stays on the shelf (`shelf`), where it is looked up when policies come to need it.

- A node is believed only for addresses in prefixes that it holds: one that claims another's address is reported, and
  that address gets no labels from it.
- The shelf is read in small steps, so that only those wait for it who ask to (`settled`).
- Nothing is dropped because etcd is away; what is known is as of the last contact.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping

from netplumb.models.attachment import AttachmentKey
from netplumb.models.base import IPAddress, IPNetwork
from netplumb.models.cluster import Peer
from netplumb.models.clustersettings import is_node_name
from netplumb.models.policyset import NO_POLICIES, PolicySet
from netplumb.models.status import Condition
from netplumb.models.words import several
from netplumb.reconciler.cluster.etcd.entries import Entry
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.records import EndpointRecord, parsed
from netplumb.reconciler.cluster.shelf import Shelf
from netplumb.reconciler.decide.policies.elsewhere import needed
from netplumb.reconciler.decide.policies.verdict import Endpoint

AT_ONCE = 100
TOLD_MAX = 8
STOLEN_MAX = 1000


class Endpoints:
    """Of all nodes but `itself`. `changed` is told of addresses that are somebody else's now, or that others mean."""

    def __init__(self, layout: Layout, itself: str, shelf: Shelf, pools: Collection[IPNetwork]) -> None:
        self._first = layout.endpoints.first
        self._itself = itself
        self._shelf = shelf
        self._pools = pools
        self._prefixes: dict[str, tuple[IPNetwork, ...]] = {}
        self._changes = 0  # of these
        self._policies = NO_POLICIES
        self._sets: frozenset[str] = frozenset()
        self._soon: tuple[PolicySet, frozenset[str]] = NO_POLICIES, frozenset()
        self._kept: dict[str, tuple[int, Endpoint]] = {}
        self._at: defaultdict[IPAddress, set[str]] = defaultdict(set)
        self._stolen: dict[str, str] = {}
        self._due: set[str] = set()
        """Nodes whose endpoints are to be looked through, "" for all."""
        self._wake = asyncio.Event()
        self._wake.set()  # also where no other node is known, and no policy is in force, that is found out
        self._settled = asyncio.Event()
        self.changed: Callable[[Collection[IPAddress]], None] = lambda _: None

    # What it is told

    def said(self, keys: Collection[str]) -> None:
        """Other endpoints are on the shelf under these keys than before."""
        self._tell(ip for key in keys for ip in self._look_at(key, self._shelf.get(key)))

    def seen(self, peers: Mapping[str, Peer | None]) -> None:
        """What these nodes hold by now; None of those that are gone. Of all others it is as before."""
        others = set()
        for name, peer in peers.items():
            held = tuple(it.cidr for it in peer.prefixes) if peer is not None else ()
            if held != self._prefixes.get(name, ()):
                others.add(name)
                self._changes += 1
                self._prefixes[name] = held
                if not held:
                    del self._prefixes[name]
        self._look_through(others)

    def foresee(self, policies: PolicySet, sets: frozenset[str]) -> None:
        """These are about to be in force: what they need is kept besides what is needed now, until they are."""
        self._soon = policies, sets
        self._look_through({""})

    def need(self, policies: PolicySet, sets: frozenset[str]) -> None:
        """Rules of these policies look in these sets of peers."""
        if policies is self._soon[0]:
            self._soon = NO_POLICIES, frozenset()
        if policies is self._policies and sets <= self._sets:
            return
        self._policies, self._sets = policies, sets
        self._look_through({""})

    def _look_through(self, nodes: Collection[str]) -> None:
        if nodes:
            self._due.update(nodes)
            self._settled.clear()
            self._wake.set()

    # What it answers

    @property
    def is_settled(self) -> bool:
        """Whether all that is needed is at hand."""
        return not self._due

    async def settled(self) -> None:
        if self._due:
            await self._settled.wait()

    def at(self, address: IPAddress) -> Endpoint | None:
        """Whose the address is, among those that are needed: of two that say so, the one that said it last."""
        keys = self._at.get(address)
        return max((self._kept[key] for key in keys), key=lambda it: it[0])[1] if keys else None

    @property
    def addresses(self) -> Collection[IPAddress]:
        return self._at.keys()

    @property
    def kept(self) -> list[Endpoint]:
        return [it for _, it in self._kept.values()]

    async def found(self, meant: Callable[[Endpoint], bool] = lambda _: True) -> list[Endpoint]:
        """Whoever is meant of all on the shelf, needed or not."""
        found = []
        for number, (key, entry) in enumerate(self._shelf_below(self._first), 1):
            said = self._understood(key, entry)
            mine = self._trusted(said) if said is not None else None
            if mine is not None and meant(mine):
                found.append(mine)
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
        return found

    @property
    def conditions(self) -> Iterator[Condition]:
        if self._stolen:
            words = (
                f"{several(list(self._stolen.values()), TOLD_MAX)}: in no prefix of that node, so no policy goes by it"
            )
            yield Condition("EndpointOfAnother", True, "NotOfItsNode", words)

    # What is done

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wake.wait()
            while self._due:
                await self._look_through_one(min(self._due))
            self._wake.clear()  # not before: a look that ended in a bug is begun again by who runs this anew
            self._settled.set()
            self.changed(())

    async def _look_through_one(self, node: str) -> None:
        began = self._asked
        first = f"{self._first}{node}/" if node else self._first
        if not self._sets and not self._soon[1]:
            for key in [it for it in self._kept if it.startswith(first)]:
                self._tell(self._look_at(key, None))
            for key in [it for it in self._stolen if it.startswith(first)]:
                self._tell(self._look_at(key, self._shelf.get(key)))
        else:
            for number, (key, entry) in enumerate(self._shelf_below(first), 1):
                self._tell(self._look_at(key, entry))
                if number % AT_ONCE == 0:
                    await asyncio.sleep(0)
        if began == self._asked:
            self._due = set() if not node else self._due - {node}

    @property
    def _asked(self) -> object:
        """What a look goes by; if it changes meanwhile, the look is made again."""
        return self._policies, self._sets, self._soon, self._changes

    def _shelf_below(self, first: str) -> Iterator[tuple[str, Entry]]:
        after = first
        while some := list(self._shelf.below(first, after, AT_ONCE)):
            yield from some
            after = some[-1][0]

    def _look_at(self, key: str, entry: Entry | None) -> set[IPAddress]:
        """Keeps it, or does so no more; the addresses for which that changes anything."""
        before = self._kept.pop(key, None)
        endpoint = self._understood(key, entry) if entry is not None else None
        self._note_stolen(key, endpoint)
        now = None
        if entry is not None and endpoint is not None:
            mine = self._trusted(endpoint)
            if mine is not None and (needed(mine, self._policies, self._sets) or needed(mine, *self._soon)):
                now = self._kept[key] = (entry.modified, mine)
        was = set(before[1].addresses) if before is not None else set()
        has = set(now[1].addresses) if now is not None else set()
        for ip in was - has:
            self._at[ip].discard(key)
            if not self._at[ip]:
                del self._at[ip]
        for ip in has - was:
            self._at[ip].add(key)
        return set() if before == now else was | has

    def _tell(self, addresses: Collection[IPAddress] | Iterator[IPAddress]) -> None:
        if found := set(addresses):
            self.changed(found)

    def _understood(self, key: str, entry: Entry) -> Endpoint | None:
        node = key.removeprefix(self._first).partition("/")[0]
        is_others = node != self._itself and is_node_name(node)
        record = parsed(EndpointRecord, entry.value) if is_others else None
        if record is None:
            return None
        name = str(AttachmentKey(record.workload_id, record.if_name))
        return Endpoint(name, record.namespace, record.labels, record.addresses, node)

    def _trusted(self, said: Endpoint) -> Endpoint | None:
        """With those of its addresses that its node may speak of."""
        prefixes = self._prefixes.get(said.node, ())
        mine = tuple(ip for ip in said.addresses if any(ip in cidr for cidr in prefixes))
        return Endpoint(said.name, said.namespace, said.labels, mine, said.node) if mine else None

    def _note_stolen(self, key: str, said: Endpoint | None) -> None:
        """An address outside of the cluster's pools is of a pool of that node alone, which is no harm."""
        prefixes = self._prefixes.get(said.node, ()) if said is not None else ()
        stolen = [
            ip
            for ip in (said.addresses if said is not None else ())
            if any(ip in pool for pool in self._pools) and not any(ip in cidr for cidr in prefixes)
        ]
        if not stolen or said is None:
            self._stolen.pop(key, None)
        elif len(self._stolen) < STOLEN_MAX and key not in self._stolen:
            self._stolen[key] = f"{said} with {', '.join(map(str, stolen))}"
