"""Desired state in memory, and the rules by which sources change it.

Each source owns its partition. A key belongs to one source at a time: the first holder keeps it; the claim of another
file waits, and takes over when the first releases the key. Every change is durable before it is visible here, and marks
its key for the loop. Nothing here touches the kernel.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from ipaddress import ip_address

from netplumb.models.attachment import (
    APPLIED_SOURCE,
    CLUSTER_SOURCE,
    RPC_SOURCE,
    Attachment,
    AttachmentKey,
    AttachmentSpec,
    DetachSpec,
)
from netplumb.models.base import IPAddress
from netplumb.models.errors import AlreadyHeld, HeldBySource, Refusal, StoreUnwritable
from netplumb.models.naming import node_if_name
from netplumb.models.nodenetwork import EndedWay, NodeNetwork
from netplumb.models.policy import ForeignRule
from netplumb.models.settings import Settings
from netplumb.reconciler.decide.claims import PortHolders
from netplumb.reconciler.decide.nodenetwork import lost_to
from netplumb.reconciler.decide.sending import ends_of
from netplumb.reconciler.desired.admission import admitted
from netplumb.reconciler.desired.assignment import assigned, changed_with, nameless
from netplumb.reconciler.desired.claims import Claims
from netplumb.reconciler.desired.held import Held
from netplumb.reconciler.desired.ipam import Allocator
from netplumb.reconciler.desired.policies import Policies
from netplumb.reconciler.desired.scene import Scene
from netplumb.reconciler.desired.store import Change, Contents, Records
from netplumb.reconciler.desired.wishes import is_dead, means

_TRIM_EVERY = 4096
_FREED_COPIED = 1000  # of each pool; those that are given next come first


_INSTEAD = {APPLIED_SOURCE: "`netplumb delete` it", CLUSTER_SOURCE: "`netplumb delete --node` it"}
"""What to do with what a document declares, where that is no state file."""


class Desired:
    """What all sources want. `mark` is called with each key whose wish changed, and `let_go` when something was
    released that a claim may wait for: then `settling` is due. `check_ports`, given a wish and the record before it,
    refuses ports that processes of the node hold. `claim_changed` and `policies_changed` are the `changed` of claims
    and of policies. `released` is called with addresses that may be given out again, and `left` with the former record
    when an attachment moves out of a namespace that netplumb made."""

    def __init__(
        self,
        store: Records,
        settings: Settings,
        mark: Callable[[AttachmentKey], None],
        let_go: Callable[[], None],
        check_ports: Callable[[AttachmentSpec, Attachment | None], None] = lambda *_: None,
        claim_changed: Callable[[str, AttachmentKey], None] = lambda *_: None,
        policies_changed: Callable[[], None] = lambda: None,
        released: Callable[[Sequence[IPAddress]], None] = lambda _: None,
        left: Callable[[Attachment], None] = lambda _: None,
    ) -> None:
        contents = store.load()
        self._store = store
        self._settings = settings
        self._mark = mark
        self._let_go = let_go
        self._check_ports = check_ports
        self._released = released
        self._left = left
        self._held = Held(contents.attachments)
        self.claims = Claims(store, contents.claims, claim_changed)
        self.policies = Policies(store, contents.policies, policies_changed, contents.lost)
        self._unclaimed = contents.unclaimed
        self._allocator = Allocator()
        self._known = NodeNetwork()
        self._ports = PortHolders()
        for attachment in self._held.records.values():
            self._allocator.hold(attachment.key, (*attachment.addresses, *attachment.releasing))
            if not attachment.removing:
                self._ports.hold(attachment.spec.port_mappings, attachment.key)
        for link, addresses in self._unclaimed.items():
            self._allocator.hold(AttachmentKey(link, ""), addresses)
        freed = {pool.prefix: [a for a in contents.freed if a in pool.cidr] for pool in settings.pools}
        self._allocator.configure(settings.pools, contents.cursors, freed)
        self._allocator.awaited, self._allocator.parted = settings.awaited_pools, settings.parted_pools
        self._allocator.reservations.make(contents.reserved)
        self._releases = 0
        self.inherited = set(self._held.records)
        """Keys that were in the store when the daemon started, and have been held since."""

    @property
    def attachments(self) -> Mapping[AttachmentKey, Attachment]:
        return self._held.records

    @property
    def unclaimed(self) -> Mapping[str, Sequence[IPAddress]]:
        """Links on the node, by name, whose attachments only a lost store knew. They are left alone."""
        return self._unclaimed

    @property
    def allocator(self) -> Allocator:
        return self._allocator

    def configure(self, settings: Settings) -> None:
        """Takes new settings for future wishes; what is attached keeps its addresses."""
        self._settings = settings
        self._allocator.configure(settings.pools, {}, {})
        self._allocator.awaited, self._allocator.parted = settings.awaited_pools, settings.parted_pools
        self._allocator.surround(self._known.taken, self._known.covered)
        self._let_go()

    def surround(self, known: NodeNetwork) -> set[AttachmentKey]:
        """Takes what is now known of the node's network. Returns the keys for which that changes something: their
        addresses came into conflict with others, or are free of one; or routes and rules that end what they send
        came or went."""
        others = [{*it.own, *it.next_hops, *it.ended, *it.outdone} for it in (self._known, known)]
        was, now = ({*it.local, *it.before} for it in (self._known, known))
        prefixes = {network for network, _ in was ^ now}
        was_ending, is_ending = ((it.ending_rules, it.ended_ways) for it in (self._known, known))
        sending = self._held.records.values() if was_ending != is_ending else ()
        ended = {it.key for it in sending if self.ends_of(it) != ends_of(it, known)}
        self._known = known
        self._allocator.surround(known.taken, known.covered)
        self._let_go()
        turned = (others[0] ^ others[1]) | self._allocator.held_in(prefixes).keys()
        return {key for ip in turned if (key := self._allocator.holder(ip)) is not None} | ended

    def ends_of(self, attachment: Attachment) -> tuple[ForeignRule | EndedWay, ...]:
        """The node's rules and routes that drop some of what it sends."""
        return ends_of(attachment, self._known)

    def taken(self, attachment: Attachment) -> tuple[str, ...]:
        """Which of its addresses others have too, and who."""
        return tuple(f"{ip} is {whose}" for ip in attachment.addresses if (whose := lost_to(ip, self._known)))

    def gives(self, address: bytes) -> bool:
        """Whether an attachment has this address now. An address that its attachment has given up does not count,
        though it is still held. May be called on any thread."""
        ip = ip_address(address)
        holder = self._allocator.holder(ip)
        record = self._held.records.get(holder) if holder is not None else None
        return record is not None and ip in record.addresses

    def node_addresses(self) -> tuple[IPAddress, ...]:
        """The node's own addresses: of the pools, and of removed pools that attachments still use."""
        found = {pool.node_address: None for pool in self._allocator.pools}
        for attachment in self._held.records.values():
            found.update(dict.fromkeys(attachment.node_addresses))
        return tuple(found)

    def attach(self, spec: AttachmentSpec, netns_cookie: int, source: str = RPC_SOURCE) -> Attachment:
        """Records a wish and returns the record. The same wish again changes nothing.

        Raises AlreadyHeld, PoolExhausted, TooMany, NotReady, InvalidRequest or StoreUnwritable; then nothing has
        changed.
        """
        after = self.preview(spec, netns_cookie, source)
        if after is not self._held.records.get(spec.key):
            self._put(after)
        return after

    def preview(self, spec: AttachmentSpec, netns_cookie: int, source: str = RPC_SOURCE) -> Attachment:
        """The record that `attach` would make, with the same refusals. Nothing is recorded."""
        before = self._held.records.get(spec.key)
        if before is not None and before.source != source and not (before.removing or before.is_rebuilt):
            raise AlreadyHeld(f"attachment {spec.key} is held by {before.source}")
        spec = admitted(spec, self._settings)
        return self._assigned(spec, source, netns_cookie, before or nameless(spec, self._unclaimed))

    def _assigned(self, spec: AttachmentSpec, source: str, netns_cookie: int, before: Attachment | None) -> Attachment:
        self._ports.check(spec.port_mappings, spec.key)
        self._check_ports(spec, before)
        return assigned(
            spec,
            source,
            netns_cookie,
            before,
            allocator=self._allocator,
            siblings=self._held.siblings(spec.key),
            left_over=self._unclaimed.get(node_if_name(spec.key), ()),
            known=self._known,
        )

    def _put(self, after: Attachment) -> None:
        new = [a for a in (*after.addresses, *after.releasing) if self._allocator.holder(a) != after.key]
        taken = [a for a in new if self._allocator.is_freed(a)]
        unreserved = [a for a in new if self._allocator.reservations.knows(a)]
        cursors = tuple(self._allocator.cursors()) if new else ()
        others = changed_with(after, self._held.siblings(after.key))
        claimed = [link for link in (node_if_name(after.key),) if link in self._unclaimed]
        self._store.commit(
            Change(put=(after, *others), taken=taken, unreserved=unreserved, cursors=cursors, claimed=claimed)
        )
        before = self._held.records.get(after.key)
        self._keep(after, *others)
        self._allocator.hold(after.key, new)
        if before is not None:
            self._ports.release(before.spec.port_mappings, after.key)
        self._ports.hold(after.spec.port_mappings, after.key)
        for link in claimed:
            del self._unclaimed[link]
        if before is None:
            return
        if not set(before.spec.port_mappings) <= set(after.spec.port_mappings):
            self._let_go()
        if before.netns_created and before.spec.netns.where != after.spec.netns.where:
            self._left(before)

    def _keep(self, *records: Attachment) -> None:
        """Makes stored records the desired ones."""
        for record in records:
            self._held.keep(record)
            self._mark(record.key)

    def interfaces(self, workload_id: str) -> list[AttachmentKey]:
        """The keys of a workload, in their order."""
        return self._held.interfaces(workload_id)

    def ordered(self) -> Sequence[AttachmentKey]:
        """All keys in their order; not to be modified."""
        return self._held.ordered()

    def at_name(self, name: str) -> Collection[AttachmentKey]:
        """Keys of attachments in a namespace whose path ends in this name."""
        return self._held.at_name(name)

    def is_meant(self, where: str) -> bool:
        """Whether any attachment, or any waiting claim, is for the namespace at this path."""
        records = (self._held.records[key] for key in self._held.at_name(where.rpartition("/")[2]))
        return self.claims.mean(where) or any(not it.removing and it.spec.netns.where == where for it in records)

    def detach(self, spec: DetachSpec, path_cookie: int) -> Attachment | None:
        """Withdraws an RPC's wish. None when there is nothing to wait for: no such attachment, or a late echo of a
        Detach for an older sandbox. `path_cookie` is that of the namespace at the given path, 0 if there is none.

        Raises HeldBySource when a document declares the attachment, StoreUnwritable when nothing could be changed.
        """
        record = self._held.records.get(spec.key)
        if record is None or not means(spec, path_cookie, record):
            return None
        if record.removing:
            return record
        if record.is_declared:
            instead = _INSTEAD.get(record.source, "remove it from that file")
            raise HeldBySource(f"attachment {spec.key} is declared by {record.source}; {instead} instead")
        return self.withdraw(spec.key)

    def withdraw(self, key: AttachmentKey) -> Attachment | None:
        """Withdraws the holder's wish: the key goes to the next waiting claim, or else the attachment is removed."""
        record = self._held.records.get(key)
        if record is None or record.removing:
            return record
        for source, spec in self.claims.of_others(record.source, key):
            try:
                self._hand_over(record, source, spec)
            except StoreUnwritable:
                raise
            except Refusal as error:  # such as an address that a third one holds; this claim goes on waiting
                self.claims.wait(source, key, error)
            else:
                return None
        removing = record.model_copy(update={"removing": True, "generation": record.generation + 1})
        others = changed_with(removing, self._held.siblings(key))
        self._store.commit(Change(put=(removing, *others)))
        self._keep(removing, *others)
        if record.spec.port_mappings:
            self._ports.release(record.spec.port_mappings, key)
            self._let_go()
        return removing

    def _hand_over(self, record: Attachment, source: str, spec: AttachmentSpec) -> None:
        cookie = record.netns_cookie if spec.netns == record.spec.netns else 0
        after = self._assigned(spec, source, cookie, record)
        self._put(after)
        self.claims.met(source, record.key)

    def garbage(self, source: str, alive: Set[AttachmentKey]) -> list[Attachment]:
        """What the source holds and does not name as alive, by container id (the workload's id if there is none). What
        is already being removed is included, so that a client that asks again waits for it again."""
        return [record for record in self._held.records.values() if record.source == source and is_dead(record, alive)]

    def forget(self, key: AttachmentKey) -> None:
        """A removed attachment is gone from the kernel: its addresses may be given out again."""
        record = self._held.records.get(key)
        if record is None or not record.removing:
            return
        addresses = (*record.addresses, *record.releasing)
        reservations = self._allocator.reservations
        kept = reservations.proposed(key, record.addresses, self._settings.pod_address_grace_s) if record.is_pod else []
        self._store.commit(
            Change(delete=(key,), freed=addresses, reserved=kept, unreserved=reservations.over() if kept else ())
        )
        self._held.drop(key)
        self.inherited.discard(key)
        reservations.make(kept)
        self._release(addresses)

    def links_seen(self, present: Set[str]) -> None:
        """Takes the names of all existing links of ours: addresses of unclaimed links that are gone are free again."""
        for link in [link for link in self._unclaimed if link not in present]:
            addresses = self._unclaimed[link]
            self._store.commit(Change(claimed=(link,), freed=addresses))
            del self._unclaimed[link]
            self._release(addresses)

    def converged(self, key: AttachmentKey, generation: int) -> None:
        """The kernel holds this generation: addresses of earlier ones may be given out again."""
        record = self._held.records.get(key)
        if record is None or not record.releasing or record.generation != generation:
            return
        after = record.model_copy(update={"releasing": ()})
        self._store.commit(Change(put=(after,), freed=record.releasing))
        self._held.keep(after)
        self._release(record.releasing)

    def _release(self, addresses: Sequence[IPAddress]) -> None:
        self._allocator.release(addresses)
        self._released(addresses)
        self._releases += 1
        if self._releases % _TRIM_EVERY == 0:
            self._store.trim_freed(self._allocator.freed_kept)
        self._let_go()

    def placed(self, key: AttachmentKey, netns_cookie: int, *, created: bool) -> Attachment:
        """Records which namespace was found at a state file's path."""
        record = self._held.records[key]
        if record.netns_cookie == netns_cookie and record.netns_created == created:
            return record
        after = record.model_copy(update={"netns_cookie": netns_cookie, "netns_created": created})
        self._store.commit(Change(put=(after,)))
        self._held.keep(after)
        return after

    def followed(self, found: Attachment) -> Attachment:
        """Records the MAC and the MTU that others gave the interface, if a pass follows them."""
        record = self._held.records[found.key]
        if (found.mac, found.chain_mtu) == (record.mac, record.chain_mtu):
            return record
        after = record.model_copy(update={"mac": found.mac, "chain_mtu": found.chain_mtu})
        self._store.commit(Change(put=(after,)))
        self._held.keep(after)
        return after

    def scene(self) -> Scene:
        """A copy of all that desired state depends on."""
        contents = Contents(
            attachments=dict(self._held.records),
            claims=self.claims.copied(),
            cursors=dict(self._allocator.cursors()),
            freed=self._allocator.freed(_FREED_COPIED),
            reserved=self._allocator.reservations.made(),
            unclaimed=dict(self._unclaimed),
        )
        return Scene(contents, tuple(self.claims.waiting()), self._settings, self._known)

    def wishes(self) -> Iterator[AttachmentSpec]:
        """The specs of what is attached, and of claims that wait."""
        yield from (record.spec for record in self._held.records.values() if not record.removing)
        yield from (spec for _, spec, _ in self.claims.waiting())
