"""A kernel on dicts, held to the real one by the contract suite: links, what is bound to them, namespaces, and faults.

It knows what a pass depends on: what must be there before what, and what goes with what. A fault is an errno that one
step meets in place of being carried out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from errno import EACCES, EEXIST, EINVAL, ENETDOWN, ENETUNREACH, ENODEV
from ipaddress import ip_address, ip_network
from typing import Any

from netplumb.models.attachment import NETNS_DIR, Attachment, AttachmentKey
from netplumb.models.errors import Conflict, NotANetworkNamespace, StepError
from netplumb.models.kernel import Address, KernelObject, Key, Link, LinkUp, Neighbour, Route, Scope, scope_of
from netplumb.models.naming import alias_of, key_of_alias, node_if_name
from netplumb.models.network import Families
from netplumb.models.nft import NftElement
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.converge.apply import Applied, step_error
from netplumb.reconciler.converge.observe import NodeSnapshot
from netplumb.reconciler.converge.observed import Observed
from netplumb.reconciler.converge.removal import Doomed
from netplumb.reconciler.decide.ownership import is_our_link
from netplumb.reconciler.kernel.namespaces import Namespace, NamespaceMissingError

Bound = LinkUp | Address | Neighbour | Route
_REPLACED_MAC = bytes.fromhex("0200000000ee")


class KernelRefusal(Exception):
    """An errno, as the kernel gives it."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class Side:
    """One network namespace: its interfaces by name, and what is bound to them by key."""

    def __init__(self, scope: Scope, cookie: int, mark: str = "") -> None:
        self.scope = scope
        self.cookie = cookie
        self.mark = mark
        self.ipv6_off = False
        self.links: dict[str, Link] = {"lo": Link(scope, "lo", kind="", index=1, ipv6=True)}
        self.bound: dict[Key, Bound] = {}

    def by_index(self, index: int) -> Link | None:
        return next((link for link in self.links.values() if link.index == index), None)

    def is_up(self, name: str) -> bool:
        return LinkUp(self.scope, name).key in self.bound

    def on(self, name: str) -> list[Bound]:
        return [thing for thing in self.bound.values() if thing.link == name]

    def drop(self, things: Iterable[Bound]) -> None:
        for thing in list(things):
            self.bound.pop(thing.key, None)

    def set_down(self, name: str) -> None:
        """Routes, neighbours and IPv6 addresses go; IPv4 addresses stay."""
        self.drop(t for t in self.on(name) if not (isinstance(t, Address) and len(t.ip) == 4))

    def lose_carrier(self, name: str) -> None:
        """What follows from the other end going down: proxy neighbours go, permanent ones stay."""
        self.drop(t for t in self.on(name) if isinstance(t, Neighbour) and t.proxy)

    def change(self, name: str, **fields: Any) -> None:
        """A link with another MAC loses its neighbours."""
        before = self.links[name]
        self.links[name] = replace(before, **fields)
        if self.links[name].mac != before.mac:
            self.drop(t for t in self.on(name) if isinstance(t, Neighbour) and not t.proxy)

    def rename(self, name: str, new: str) -> None:
        things = self.on(name)
        self.drop(things)
        self.links[new] = replace(self.links.pop(name), name=new)
        self.bound.update({moved.key: moved for thing in things for moved in (replace(thing, link=new),)})

    def switch_ipv6_off(self) -> None:
        """All that is IPv6 goes, and interfaces to come have none."""
        self.ipv6_off = True
        self.links = {name: replace(link, ipv6=False) for name, link in self.links.items()}
        self.drop(thing for thing in self.bound.values() if not isinstance(thing, LinkUp) and _is_v6(thing))

    def delete_address(self, address: Address) -> None:
        """An IPv4 route goes with the address that it prefers, an IPv6 one loses the preference; with a link's last
        IPv4 address all that is IPv4 on that link goes."""
        self.drop([address])
        if len(address.ip) == 4 and not any(isinstance(t, Address) and len(t.ip) == 4 for t in self.on(address.link)):
            self.drop(t for t in self.on(address.link) if not isinstance(t, LinkUp) and not _is_v6(t))
        for route in [t for t in self.bound.values() if isinstance(t, Route) and t.prefsrc == address.ip]:
            self.drop([route])
            if len(address.ip) == 16:
                self.bound[route.key] = replace(route, prefsrc=None)

    def add(self, thing: Bound) -> None:
        link = self.links.get(thing.link)
        if link is None:
            raise KernelRefusal(ENODEV)
        if not isinstance(thing, LinkUp) and _is_v6(thing) and link.ipv6_disabled:
            raise KernelRefusal(EINVAL if isinstance(thing, Neighbour) else EACCES)
        if isinstance(thing, Route):
            self._check_route(thing)
        self.bound[thing.key] = thing

    def _check_route(self, route: Route) -> None:
        if not self.is_up(route.link):
            raise KernelRefusal(ENETDOWN)
        if route.gateway is not None and not self._reaches(route.gateway, route.link):
            raise KernelRefusal(ENETUNREACH)
        owned = {thing.ip for thing in self.bound.values() if isinstance(thing, Address)}
        if route.prefsrc is not None and route.prefsrc not in owned:
            raise KernelRefusal(EINVAL)
        if self.bound.get(route.key) == route:
            raise KernelRefusal(EEXIST)

    def _reaches(self, gateway: bytes, link: str) -> bool:
        """A link-local gateway is on the link that is named; any other needs an on-link route."""
        ip = ip_address(gateway)
        if ip.version == 6 and ip.is_link_local:
            return True
        return any(
            ip in ip_network((thing.dst, thing.prefix_len), strict=False)
            for thing in self.on(link)
            if isinstance(thing, Route) and thing.gateway is None and len(thing.dst) == len(gateway)
        )


class FakeNamespace(Namespace):
    """An open side. It counts itself, so that a pass that forgets to close one is found."""

    def __init__(self, side: Side, still_open: list[FakeNamespace]) -> None:
        self.fd = -1
        self.cookie = side.cookie
        self.side = side
        self._still_open = still_open
        still_open.append(self)

    def close(self) -> None:
        self._still_open.remove(self)


class FakeKernel:
    """Implements what a pass needs of a kernel. `faults` are errnos by the number of the step, counted from 0 over all
    plans; `read_faults` are what the
    next reads raise."""

    def __init__(self) -> None:
        self._cookies = iter(range(4096, 1 << 20))
        self._indexes = iter(range(2, 1 << 20))
        self.node = Side(Scope.NODE, next(self._cookies))
        self.paths: dict[str, Side | None] = {}
        self.dangling: set[str] = set()
        self.faults: dict[int, int] = {}
        self.read_faults: list[StepError] = []
        self.steps_tried = 0
        self.still_open: list[FakeNamespace] = []

    # Namespaces.

    def place(self, path: str, *, mark: str = "") -> Side:
        """A new namespace at the path; whatever was there has lost its last name, so its interfaces go."""
        self.displace(path)
        side = Side(Scope.WORKLOAD, next(self._cookies), mark)
        self.paths[path] = side
        return side

    def displace(self, path: str) -> None:
        """The namespace at the path goes, and each pair with its end in it."""
        side = self.paths.pop(path, None)
        for link in list(side.links.values()) if side is not None else ():
            if (other := self._other_end(link)) is not None:
                self.remove_link(*other)

    def open(self, path: str) -> Namespace:
        if path not in self.paths:
            raise NamespaceMissingError(f"{path} does not exist")
        side = self.paths[path]
        if side is None or side is self.node:
            raise NotANetworkNamespace(f"{path} is not a network namespace")
        return FakeNamespace(side, self.still_open)

    def create(self, name: str, mark: str) -> None:
        path = f"{NETNS_DIR}/{name}"
        if path in self.paths or path in self.dangling:
            raise Conflict(f"{path} is there and is not a network namespace")
        self.place(path, mark=mark)

    def mark_of(self, name: str) -> str:
        self._meet_read_fault()
        side = self.paths.get(f"{NETNS_DIR}/{name}")
        return side.mark if side is not None else ""

    # Reading.

    def _meet_read_fault(self) -> None:
        if self.read_faults:
            raise self.read_faults.pop(0)

    def observe(
        self,
        attachment: Attachment,
        namespace: Namespace | None,
        *,
        elements: Sequence[NftElement],  # noqa: ARG002 - the table is not played here
        hint_indexes: Sequence[int] = (),
        snapshot: NodeSnapshot | None = None,  # noqa: ARG002 - each read is anew here
        node_ipv6: bool = True,
        at_once: bool = False,  # noqa: ARG002 - a dict is read at once
    ) -> Observed:
        self._meet_read_fault()
        observed = Observed()
        key = attachment.key
        name = node_if_name(key)
        found = self._node_link(name, key, hint_indexes)
        if found is not None:
            self._read_bound(self.node, found, name, observed)
        named = None
        lo_ipv6 = True
        if namespace is not None:
            side = _side(namespace)
            lo_ipv6 = not side.links["lo"].ipv6_disabled
            if side.is_up("lo"):
                observed.add(LinkUp(Scope.WORKLOAD, "lo"))
            named = self._workload_link(side, found, key.if_name, observed)
        if found is not None:
            paired = named is not None and bool(named.peer)
            observed.node_link = replace(found, peer=key.if_name if paired else None)
            observed.objects[(Link, Scope.NODE, name)] = observed.node_link
        node_on = node_ipv6 or (found is not None and bool(found.ipv6))
        workload_on = not named.ipv6_disabled if named is not None and named.peer else lo_ipv6
        observed.families = Families(v6=node_on and workload_on)
        return observed

    def _node_link(self, name: str, key: AttachmentKey, hint_indexes: Sequence[int]) -> Link | None:
        if (named := self.node.links.get(name)) is not None:
            return named
        hinted = (self.node.by_index(index) for index in hint_indexes)
        return next((it for it in hinted if it and is_our_link(it) and it.alias == alias_of(key)), None)

    def _workload_link(self, side: Side, node_link: Link | None, if_name: str, observed: Observed) -> Link | None:
        ours = side.by_index(node_link.peer_index) if node_link is not None and node_link.peer_index else None
        if ours is not None and node_link is not None and ours.peer_index == node_link.index:
            self._read_bound(side, ours, if_name, observed)
            ours = replace(ours, peer=node_link.name)
        else:
            ours = None
        found = ours or side.links.get(if_name)
        if found is not None:
            observed.workload_link = found
            observed.objects[(Link, Scope.WORKLOAD, if_name)] = found
        return found

    @staticmethod
    def _read_bound(side: Side, link: Link, name: str, observed: Observed) -> None:
        for thing in side.on(link.name):
            if not (isinstance(thing, Address) and side.scope is Scope.NODE):
                observed.add(replace(thing, link=name))

    # Writing.

    def make_new(
        self,
        name: str,  # noqa: ARG002 - the table is not played here
        elements: Sequence[NftElement],  # noqa: ARG002
        things: Sequence[KernelObject],
        namespace: Namespace,
        is_wished: Callable[[], bool] = lambda: True,  # noqa: ARG002
    ) -> Link | None:
        taken = self.node.links.keys() | _side(namespace).links.keys()
        if any(isinstance(thing, Link) and thing.name in taken for thing in things):
            return None
        applied = self.apply([Step(Verb.ADD, thing) for thing in things], namespace, Observed())
        return applied.made if not applied.errors else None

    def apply(
        self,
        steps: Sequence[Step],
        namespace: Namespace | None,
        observed: Observed,
        is_wished: Callable[[], bool] = lambda: True,  # noqa: ARG002
    ) -> Applied:
        side = _side(namespace) if namespace is not None else None
        applied = Applied()
        indexes = {(Scope.NODE, "lo"): 1, (Scope.WORKLOAD, "lo"): 1}
        for key, thing in observed.objects.items():
            if isinstance(thing, Link):
                indexes[(thing.scope, str(key[2]))] = thing.index
        ends = {s.thing.peer: s.thing for s in steps if isinstance(s.thing, Link) and s.thing.scope is Scope.WORKLOAD}
        for step in steps:
            code = self.faults.pop(self.steps_tried, 0)
            self.steps_tried += 1
            try:
                if code:
                    raise KernelRefusal(code)
                self._carry_out(step, side, ends, indexes, applied)
            except KernelRefusal as refusal:
                if not (refusal.code == EEXIST and isinstance(step.thing, Route)):
                    applied.errors.append(step_error(step, refusal.code, ""))
        return applied

    def _carry_out(
        self,
        step: Step,
        workload: Side | None,
        ends: Mapping[str | None, Link],
        indexes: dict[tuple[Scope, str], int],
        applied: Applied,
    ) -> None:
        thing = step.thing
        side = self.node if scope_of(thing) is Scope.NODE else workload
        if isinstance(thing, Link) and step.verb is Verb.ADD:
            end = ends.get(thing.name)
            if thing.scope is Scope.NODE and workload is not None and end is not None:
                applied.made = self._create(thing, end, workload)
                indexes[(Scope.NODE, thing.name)] = applied.made.index
                indexes[(Scope.WORKLOAD, end.name)] = applied.made.peer_index
            return
        if side is None:
            return
        if isinstance(thing, Link):
            if step.verb is Verb.REMOVE:
                self.remove_link(side, thing.index)
                indexes.pop((Scope.NODE, thing.name), None)
                indexes.pop((Scope.WORKLOAD, thing.peer or ""), None)
            elif isinstance(step.observed, Link):
                self._change(side, thing, step.observed)
            return
        if not isinstance(thing, Bound):
            raise TypeError(f"no part of an attachment: {thing}")
        link = side.by_index(indexes.get((thing.scope, thing.link), 0))
        if link is None:
            return  # the step that should have made the link has told why
        placed = replace(thing, link=link.name)
        if step.verb is Verb.REMOVE:
            side.delete_address(placed) if isinstance(placed, Address) else side.drop([placed])
            return
        if step.verb is Verb.CHANGE:
            side.drop([placed])
        side.add(placed)

    def _create(self, node: Link, end: Link, workload: Side) -> Link:
        if node.name in self.node.links or end.name in workload.links:
            raise KernelRefusal(EEXIST)
        index, peer_index = next(self._indexes), next(self._indexes)
        made = _new(node, index, peer_index, ipv6_off=self.node.ipv6_off)
        self.node.links[node.name] = made
        workload.links[end.name] = _new(end, peer_index, index, ipv6_off=workload.ipv6_off)
        return made

    def _change(self, side: Side, wanted: Link, observed: Link) -> None:
        there = side.by_index(observed.index)
        if there is None:
            raise KernelRefusal(ENODEV)
        fields = {name: getattr(wanted, name) for name in wanted.differences(observed)}
        if (name := fields.pop("name", there.name)) != there.name:
            self.set_down(side, there.name)
            side.rename(there.name, name)
        side.change(name, **fields)

    def set_down(self, side: Side, name: str) -> None:
        """Takes an interface down, and with it the carrier of the other end."""
        side.set_down(name)
        if (other := self._other_end(side.links[name])) is not None:
            far, index = other
            if (link := far.by_index(index)) is not None:
                far.lose_carrier(link.name)

    def _other_end(self, link: Link) -> tuple[Side, int] | None:
        for side in (self.node, *(side for side in self.paths.values() if side is not None)):
            other = side.by_index(link.peer_index) if link.peer_index else None
            if other is not None and other.peer_index == link.index and other.index != link.index:
                return side, other.index
        return None

    def remove_link(self, side: Side, index: int) -> None:
        """The pair goes, with all that is bound to either end."""
        link = side.by_index(index)
        if link is None:
            return
        other = self._other_end(link)
        del side.links[link.name]
        side.drop(side.on(link.name))
        if other is not None:
            self.remove_link(*other)

    def remove_links(self, doomed: Sequence[Doomed]) -> dict[AttachmentKey, StepError | None]:
        for thing in doomed:
            hints = (thing.hint_index,) if thing.hint_index else ()
            link = self._node_link(node_if_name(thing.key), thing.key, hints)
            if link is not None and is_our_link(link) and key_of_alias(link.alias or "") in (None, thing.key):
                self.remove_link(self.node, link.index)
        return dict.fromkeys(thing.key for thing in doomed)


def _side(namespace: Namespace) -> Side:
    assert isinstance(namespace, FakeNamespace)
    return namespace.side


def _is_v6(thing: Address | Neighbour | Route) -> bool:
    return len(thing.dst if isinstance(thing, Route) else thing.ip) == 16


def _new(wanted: Link, index: int, peer_index: int, *, ipv6_off: bool) -> Link:
    return Link(
        wanted.scope,
        wanted.name,
        wanted.kind,
        mac=wanted.mac or _REPLACED_MAC,
        mtu=wanted.mtu or 1500,
        group=wanted.group or 0,
        alias=wanted.alias or "",
        addr_gen_mode=wanted.addr_gen_mode or 0,
        proxy_ndp=bool(wanted.proxy_ndp),
        route_localnet=bool(wanted.route_localnet),
        forwarding_v4=bool(wanted.forwarding_v4),
        forwarding_v6=bool(wanted.forwarding_v6),
        arp=True,
        arp_filter=bool(wanted.arp_filter),
        master=0,
        index=index,
        peer_index=peer_index,
        ipv6=not ipv6_off,
    )


def objects(side: Side) -> set[KernelObject]:
    """All that a side holds, to compare before and after."""
    return {*side.links.values(), *side.bound.values()}
