"""PURE: the record that a wish makes: what it states, what it keeps of the record before, what the pools give; and
what it changes in the records of the workload's other interfaces."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from netplumb.models.attachment import REBUILT_SOURCE, Attachment, AttachmentKey, AttachmentSpec
from netplumb.models.base import IPAddress
from netplumb.models.errors import NotReady
from netplumb.models.naming import node_if_name, workload_mac
from netplumb.models.nodenetwork import NodeNetwork
from netplumb.reconciler.decide.claims import default_route_holder
from netplumb.reconciler.decide.nodenetwork import refusal
from netplumb.reconciler.decide.sharing import ports_elsewhere
from netplumb.reconciler.desired.ipam import Allocator
from netplumb.reconciler.desired.wishes import same_wish


def assigned(
    spec: AttachmentSpec,
    source: str,
    netns_cookie: int,
    before: Attachment | None,
    *,
    allocator: Allocator,
    siblings: Sequence[Attachment],
    left_over: Collection[IPAddress],
    known: NodeNetwork,
) -> Attachment:
    """The record, or the very one before where the wish is the same. `siblings` are the records of the workload's
    other interfaces, `left_over` the addresses of an unclaimed link that has this one's name.

    Raises AlreadyHeld, PoolExhausted, NotReady or InvalidRequest. The allocator is asked, not changed.
    """
    addresses = _addresses(spec, before, allocator, left_over, known)
    kept_mac = before.mac if before is not None else workload_mac(spec.key, addresses)
    sources = {a.version: n for a in reversed(addresses) if (n := allocator.node_address(a)) is not None}
    if before is not None:
        # What was given stays while its pool is away: the node keeps the address that the workload's routes prefer.
        for address in before.node_addresses:
            sources.setdefault(address.version, address)
    held = set(addresses)
    gone = [a for a in (*before.addresses, *before.releasing) if a not in held] if before is not None else []
    holder = default_route_holder((spec, *(sibling.spec for sibling in siblings)))
    after = Attachment(
        spec=spec,
        source=source,
        generation=before.generation if before is not None else 1,
        addresses=tuple(addresses),
        mac=spec.mac or kept_mac,
        node_addresses=tuple(sources[version] for version in sorted(sources)),
        releasing=tuple(dict.fromkeys(gone)),
        netns_cookie=netns_cookie,
        netns_created=before.netns_created if before is not None else False,
        default_route_by=_if_name(holder),
        siblings=addresses_of(siblings),
    )
    if siblings:
        after = after.model_copy(update={"ports_elsewhere": ports_elsewhere(after, siblings)})
    if before is None:
        return after
    return before if same_wish(before, after) else after.model_copy(update={"generation": before.generation + 1})


def _addresses(
    spec: AttachmentSpec,
    before: Attachment | None,
    allocator: Allocator,
    left_over: Collection[IPAddress],
    known: NodeNetwork,
) -> list[IPAddress]:
    addresses: list[IPAddress] = []
    for version in (4, 6):
        static = [a for a in spec.addresses if a.version == version]
        for address in static:
            if address not in left_over:
                allocator.check_static(address, spec.key)
                _check_foreign(address, spec, allocator, known)
        kept = [a for a in _kept(spec, before) if a.version == version]
        if static or kept:
            addresses += static or kept
        elif (picked := allocator.pick(version, spec.pool, spec.labels, spec.key)) is not None:
            addresses.append(picked)
    if not addresses:
        raise NotReady(
            "no address can be given: no pool serves the attachment and it states none; "
            "give the daemon --pool, or the attachment addresses or a pool"
        )
    return addresses


def _check_foreign(address: IPAddress, spec: AttachmentSpec, allocator: Allocator, known: NodeNetwork) -> None:
    """Raises the refusal of an address that is somebody else's; what it holds already it keeps."""
    if allocator.holder(address) == spec.key:
        return
    pool = allocator.pool_of(address)
    if (refused := refusal(address, pool, known, allow_foreign=spec.allow_foreign_address)) is not None:
        raise refused


def _kept(spec: AttachmentSpec, before: Attachment | None) -> Sequence[IPAddress]:
    """What was assigned before and is kept. A wish for other pools is a wish for other addresses; of what was rebuilt
    the pool is not known."""
    if before is None or not (before.is_rebuilt or spec.pool == before.spec.pool):
        return ()
    return before.addresses


def changed_with(after: Attachment, siblings: Sequence[Attachment]) -> list[Attachment]:
    """Those siblings that are not as before once this record holds: another one holds the default route, or serves a
    port that they share."""
    interfaces = [*siblings, *(() if after.removing else (after,))]
    holder = _if_name(default_route_holder(it.spec for it in interfaces))
    changed = []
    for sibling in siblings:
        others = [it for it in interfaces if it is not sibling]
        told = sibling.model_copy(update={"default_route_by": holder, "siblings": addresses_of(others)})
        told = told.model_copy(update={"ports_elsewhere": ports_elsewhere(told, others)})
        if told != sibling:
            changed.append(told)
    return changed


def addresses_of(records: Iterable[Attachment]) -> tuple[IPAddress, ...]:
    """In an order that does not depend on who came first."""
    return tuple(sorted((a for it in records for a in it.addresses), key=lambda a: (a.version, int(a))))


def _if_name(key: AttachmentKey | None) -> str:
    return key.if_name if key is not None else ""


def nameless(spec: AttachmentSpec, unclaimed: Mapping[str, Sequence[IPAddress]]) -> Attachment | None:
    """What an unclaimed link tells of the attachment whose name it has."""
    if (addresses := unclaimed.get(node_if_name(spec.key))) is None:
        return None
    mac = workload_mac(spec.key, addresses)
    return Attachment(spec=spec, source=REBUILT_SOURCE, generation=0, addresses=tuple(addresses), mac=mac)
