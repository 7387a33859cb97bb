"""PURE: links of ours on the node, and what was read around them → the records that a lost store held of them.

The key is in the link's alias; addresses, MAC and the node's addresses are in routes and neighbours on it and in its
elements of our table; the rest is what the renderers tell, read backwards. What is in no mark (container id, labels …)
is not known until a client or a state file says it again. A link whose attachment cannot be told is left alone and
keeps its addresses.

Only the node is believed: inside its namespace a workload can mark what it likes. What is said there counts for what is
nowhere else and concerns nobody else: where its routes lead, and in which order it has the addresses that it has; and
where nothing on the node names an address of it, within the limits of `silent`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address

from pydantic import ValidationError

from netplumb.models.attachment import (
    NETNS_DIR,
    REBUILT_SOURCE,
    Attachment,
    AttachmentKey,
    AttachmentSpec,
    NetnsRef,
)
from netplumb.models.base import IPAddress
from netplumb.models.fields import MTU_MAX, MTU_MIN
from netplumb.models.kernel import KernelObject, Link, Neighbour, Route, Scope
from netplumb.models.naming import alias_of, ifb_name_beside, key_of_alias, node_if_name, workload_mac
from netplumb.models.network import Pool
from netplumb.models.nft import NftElement
from netplumb.models.status import Condition
from netplumb.models.words import several
from netplumb.reconciler.decide import unrender
from netplumb.reconciler.decide.claims import default_route_holder
from netplumb.reconciler.decide.ownership import is_ours
from netplumb.reconciler.decide.silent import claimed

UNKNOWN_NETNS = "/nonexistent/netns"
"""The path in a record whose namespace no path was found to. Nothing is there, so only the node's side is repaired."""

NOT_KNOWN = "container id, labels, annotations, DNS, kernel parameters and the pool that was named"

SHOWN = 20  # names in a message; `netplumb list` has them all


@dataclass(frozen=True, slots=True)
class Found:
    """A link of ours on the node, the objects of the node that belong to it, and what the workload `told` of the other
    end. `path` leads to the namespace of that, `cookie` is the namespace's and `mark` what netplumb left at its name if
    it made it; empty where no way was found."""

    link: Link
    objects: Sequence[KernelObject] = ()
    path: str = ""
    cookie: int = 0
    mark: str = ""
    told: Sequence[KernelObject] = ()


@dataclass(slots=True)
class Rebuilt:
    """Records in the order of their keys, and the links that none could be made of, with the addresses they hold."""

    attachments: dict[AttachmentKey, Attachment] = field(default_factory=dict)
    unclaimed: dict[str, tuple[IPAddress, ...]] = field(default_factory=dict)

    def cursors(self, pools: Iterable[Pool]) -> Iterator[tuple[str, int]]:
        """Allocation goes on behind what is held, so that what was freed a moment ago is not given out at once."""
        held = [*(a for it in self.attachments.values() for a in it.addresses), *sum(self.unclaimed.values(), ())]
        for pool in pools:
            if within := [int(a) for a in held if a.version == pool.version and a in pool.cidr]:
                yield pool.prefix, max(within) + 1


def rebuild(found: Sequence[Found], pools: Sequence[Pool], node_mtu: int) -> Rebuilt:
    """What a new store begins with."""
    rebuilt = Rebuilt()
    named = [(_key(it), it) for it in found]
    named.sort(key=_precedence)
    siblings = unrender.siblings(thing for it in found for thing in it.objects)
    by_node = {it.link.name: addresses_on_node(it) for it in found}
    silent = {it.link.name: it.told for it in found if not by_node[it.link.name]}
    by_workload = claimed(silent, {a for addresses in by_node.values() for a in addresses}, pools)
    held: set[IPAddress] = set()
    for key, it in named:
        name = it.link.name
        addresses = tuple(address for address in by_node[name] or by_workload[name] if address not in held)
        held.update(addresses)
        attachment = None
        if key is not None and key not in rebuilt.attachments:
            default_route = unrender.default_route(it.link.name, it.told, siblings)
            attachment = _attachment(key, it, addresses, pools, node_mtu, default_route=default_route)
        if attachment is None:
            rebuilt.unclaimed[it.link.name] = addresses
        else:
            rebuilt.attachments[attachment.key] = attachment
    _settle_default_routes(rebuilt.attachments)
    return rebuilt


def _settle_default_routes(attachments: dict[AttachmentKey, Attachment]) -> None:
    """Where its default route is, a workload's interfaces agree about as they would have by themselves; only what
    they do not is taken for said."""
    by_workload: defaultdict[str, list[Attachment]] = defaultdict(list)
    for attachment in attachments.values():
        by_workload[attachment.key.workload_id].append(attachment)
    for interfaces in by_workload.values():
        anyway = default_route_holder(it.spec.model_copy(update={"default_route": None}) for it in interfaces)
        specs = {it.key: _saying(it.spec, has_it_anyway=it.key == anyway) for it in interfaces}
        holder = default_route_holder(specs.values())
        by = holder.if_name if holder is not None else ""
        for it in interfaces:
            others = tuple(address for other in interfaces if other is not it for address in other.addresses)
            attachments[it.key] = it.model_copy(
                update={"spec": specs[it.key], "default_route_by": by, "siblings": others}
            )


def _saying(spec: AttachmentSpec, *, has_it_anyway: bool) -> AttachmentSpec:
    """The wish, that says of the default route only what would not be so without being said."""
    if spec.default_route in (None, has_it_anyway):
        return spec.model_copy(update={"default_route": None})
    return spec


def _precedence(named: tuple[AttachmentKey | None, Found]) -> tuple[bool, AttachmentKey, bool]:
    """What is known comes first and has the addresses; of two links with one mark the one that has the key's name."""
    key, it = named
    if key is None:
        return True, AttachmentKey(it.link.name, ""), True
    return False, key, node_if_name(key) != it.link.name


def _key(found: Found) -> AttachmentKey | None:
    """The key in the alias. Where that is damaged, a guess which the link's name proves, being a digest of the key."""
    if (key := key_of_alias(found.link.alias or "")) is not None:
        return key
    guesses = [key_of_alias(found.mark)]
    if found.path and (if_name := _if_name(found)):
        guesses.append(AttachmentKey(found.path.rpartition("/")[2], if_name))
    return next((key for key in guesses if key is not None and node_if_name(key) == found.link.name), None)


def _if_name(found: Found) -> str:
    return next((it.name for it in found.told if isinstance(it, Link)), "")


def _attachment(
    key: AttachmentKey,
    found: Found,
    addresses: tuple[IPAddress, ...],
    pools: Sequence[Pool],
    node_mtu: int,
    *,
    default_route: bool | None,
) -> Attachment | None:
    """The record; None when what is in the marks could never have been asked for."""
    link = found.link
    outside = tuple(a for a in addresses if not any(a in pool.cidr for pool in pools if a.version == pool.version))
    mtu = link.mtu or 0
    made = found.mark == alias_of(key) and found.path.startswith(f"{NETNS_DIR}/")
    isolate_node, isolate_workloads = unrender.isolation(found.objects)
    try:
        spec = AttachmentSpec(
            workload_id=key.workload_id,
            if_name=key.if_name,
            netns=_netns(found.path, made=made),
            addresses=outside,  # no pool gave them, so they were stated
            mtu=mtu if mtu != node_mtu and MTU_MIN <= mtu <= MTU_MAX else 0,
            port_mappings=unrender.port_mappings(link, found.objects, {it.version for it in addresses}),
            bandwidth=unrender.bandwidth(found.objects, link.name, ifb_name_beside(link.name), mtu),
            routes=unrender.extra_routes(found.told),
            default_route=default_route,
            isolate_node=isolate_node,
            isolate_workloads=isolate_workloads,
        )
    except ValidationError:
        return None
    return Attachment(
        spec=spec,
        source=REBUILT_SOURCE,
        addresses=addresses,
        mac=_mac(found) or workload_mac(key, addresses),
        node_addresses=_node_addresses(found, addresses, pools),
        netns_cookie=found.cookie,
        netns_created=made,
    )


def _netns(path: str, *, made: bool) -> NetnsRef:
    """A namespace that netplumb made goes by its name, since that is removed with the attachment."""
    try:
        return NetnsRef(name=path.removeprefix(f"{NETNS_DIR}/")) if made else NetnsRef(path=path or UNKNOWN_NETNS)
    except ValidationError:
        return NetnsRef(path=UNKNOWN_NETNS)


def addresses_on_node(found: Found) -> list[IPAddress]:
    """What the node says that the workload was given: IPv4 first, and of each family first the one that ports lead to,
    else the one that the workload's routes prefer."""
    leading = unrender.first_addresses(found.objects)
    preferred = {thing.prefsrc for thing in found.told if isinstance(thing, Route)}
    packed = dict.fromkeys(ip for thing in found.objects if is_ours(thing) and (ip := _host(thing)) is not None)
    ordered = sorted(packed, key=lambda ip: (len(ip), ip not in leading, ip not in preferred))
    return [address for ip in ordered if _is_assignable(address := ip_address(ip))]


def _host(thing: KernelObject) -> bytes | None:
    """The workload's address that an object of ours on the node names, if it names one."""
    match thing:
        case Route(scope=Scope.NODE) if thing.prefix_len == 8 * len(thing.dst):
            return thing.dst
        case Neighbour(scope=Scope.NODE, proxy=False):
            return thing.ip
        case NftElement():
            return unrender.address_of(thing)
        case _:
            return None


def _is_assignable(address: IPAddress) -> bool:
    return not (address.is_link_local or address.is_loopback or address.is_multicast or address.is_unspecified)


def _mac(found: Found) -> str:
    """What the neighbours on the node say, not the interface: its own the workload may have changed."""
    macs = (it.mac for it in found.objects if isinstance(it, Neighbour) and is_ours(it))
    return next((mac.hex(":") for mac in macs if mac and len(mac) == 6), "")


def _node_addresses(found: Found, addresses: tuple[IPAddress, ...], pools: Sequence[Pool]) -> tuple[IPAddress, ...]:
    """What the host routes prefer; where one is gone, the node's address in the pool."""
    sources: dict[int, IPAddress] = {}
    for thing in found.objects:
        if isinstance(thing, Route) and is_ours(thing) and thing.prefsrc is not None:
            source = ip_address(thing.prefsrc)
            sources.setdefault(source.version, source)
    for address in addresses:
        if (pool := next((p for p in pools if p.version == address.version and address in p.cidr), None)) is not None:
            sources.setdefault(address.version, pool.node_address)
    return tuple(sources[version] for version in sorted(sources))


def condition(
    attachments: Iterable[Attachment],
    unclaimed: Iterable[str],
    policies: Sequence[str] = (),
    *,
    why: str,
    kept_as: str,
    made_at: float,
) -> Condition | None:
    """What of desired state was made from marks and has not been said again since, and which policies have not; None
    where there is nothing to say.
    `why` is what was wrong with the store that is kept at `kept_as`."""
    names = sorted(str(attachment.key) for attachment in attachments if attachment.is_rebuilt)
    links = sorted(unclaimed)
    if not (names or links or policies or why == "damaged"):
        return None
    kept = f" (kept as {kept_as})" if kept_as else ""
    message = f"the store was {why}{kept}; {_count(names, 'attachment')} as the kernel had them{_listed(names)}"
    if names:
        message += f"; not known of them: {NOT_KNOWN}"
    if links:
        message += f"; left alone, since it cannot be told whose they are: {_count(links, 'link')}{_listed(links)}"
    if policies:
        message += (
            f"; lost: {_count(policies, 'network policy', 'network policies')}{_listed(policies)}; whom they isolated "
            "stays isolated until they are said again, or are let go by `netplumb delete`"
        )
    return Condition("StoreRebuilt", status=True, reason="StoreLost", message=message, last_transition=made_at)


def _count(names: Sequence[str], what: str, several: str = "") -> str:
    return f"{len(names)} {what if len(names) == 1 else several or what + 's'}"


def _listed(names: Sequence[str]) -> str:
    return f" ({several(names, SHOWN, ', ')})" if names else ""
