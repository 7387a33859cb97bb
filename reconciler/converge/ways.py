"""What the kernel holds of the ways to other nodes, and how it is changed. Read anew, whole or object by object.

Whatever of ours is a way is found by its own marks, whoever wants it: a VXLAN device by those of the link, and what is
on it with it; a route by our protocol and by leading to more than one address, which no workload's does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from errno import ENODEV, ENOENT

from netplumb.models.errors import Retryable, StepError, errno_name
from netplumb.models.kernel import (
    RT_PROTOCOL,
    FdbEntry,
    KernelObject,
    Key,
    Link,
    LinkUp,
    Neighbour,
    Route,
    Scope,
)
from netplumb.models.steps import Step
from netplumb.reconciler.converge.apply import apply
from netplumb.reconciler.converge.observed import Observed
from netplumb.reconciler.decide.ownership import is_our_tunnel
from netplumb.reconciler.kernel import sysctls
from netplumb.reconciler.kernel.netlink.channel import Channel, Reply
from netplumb.reconciler.kernel.netlink.wire import Buffer, attributes
from netplumb.reconciler.kernel.rtnetlink import decode, dumps, encode, encodelinks
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

_WHOLE = {rt.AF_INET: 32, rt.AF_INET6: 128}


@dataclass(frozen=True, slots=True)
class Seen:
    """What was read, and where the links are that it concerns. In the place of what is `taken` there is a route of
    somebody else's."""

    objects: Mapping[Key, KernelObject]
    indexes: Mapping[str, int] = field(default_factory=dict)
    taken: frozenset[Key] = frozenset()


class WaysKernel:
    """Serves one thread at a time. Raises Retryable from any method when the kernel does not answer."""

    def __init__(self) -> None:
        """Opened in the node's namespace."""
        self._node = Channel()

    def close(self) -> None:
        self._node.close()

    def read_all(self, device: str = "", links: Iterable[str] = ()) -> Seen:
        """All that there is. Our device is held under the name that it should have, `device`; `links` are those of the
        node's that routes are to go by."""
        objects = _Found()
        names = {link.index: link.name for link in self._links(dict.fromkeys(links))}
        for link, up, name in self._tunnels(device):
            objects[(Link, Scope.NODE, name)] = link
            if not is_our_tunnel(link):
                continue
            names[link.index] = name
            if up:
                objects.add(LinkUp(Scope.NODE, name))
            self._read_bound(objects, link.index, name)
        for route in self._routes(names):
            objects.add(route)
        return Seen(objects, {name: index for index, name in names.items()})

    def _links(self, names: Iterable[str]) -> Iterator[Link]:
        for reply in self._node.transact([encodelinks.get_link_by_name(name) for name in names]):
            if (found := dumps.link_in(Scope.NODE, reply)) is not None:
                yield found[0]

    def _tunnels(self, device: str) -> list[tuple[Link, bool, str]]:
        """Our devices, of which there should be one, and what else has its name; each under the name it is held by."""
        found = [decode.link(Scope.NODE, body) for _, body in self._node.dump(rt.RTM_GETLINK, _TUNNELS)]
        ours = {link.index: (link, up, link.name) for link, up in found if is_our_tunnel(link)}
        if not device:
            return list(ours.values())
        (reply,) = self._node.transact([encodelinks.get_link_by_name(device)])
        if (named := dumps.link_in(Scope.NODE, reply)) is not None:
            ours.setdefault(named[0].index, (*named, device))
        elif ours:
            index, (link, up, _) = next(iter(ours.items()))
            ours[index] = link, up, device
        return list(ours.values())

    def _read_bound(self, objects: _Found, index: int, name: str) -> None:
        names = {index: name}
        body = encode.dump_neighbours(index=index)
        for neighbour in dumps.neighbours(self._node, body, Scope.NODE, names):
            objects.add(neighbour)
        for _, message in self._node.dump(rt.RTM_GETNEIGH, encode.dump_fdb(index)):
            if (entry := decode.fdb_entry(message, names)) is not None:
                objects.add(entry)

    def _routes(self, names: dict[int, str]) -> Iterator[Route]:
        """Of the workloads' routes, thousands, no more than the header is looked at."""
        bodies: list[Buffer] = []
        for family, whole in _WHOLE.items():
            asked = encode.dump_routes(family, protocol=RT_PROTOCOL)
            bodies += [it for _, it in self._node.dump(rt.RTM_GETROUTE, asked) if it[1] != whole]
        unknown = {index for body in bodies if (index := _oif(body)) and index not in names}
        for reply in self._node.transact([encodelinks.get_link_by_index(index) for index in sorted(unknown)]):
            if (found := dumps.link_in(Scope.NODE, reply)) is not None:
                names[found[0].index] = found[0].name
        for body in bodies:
            if (route := decode.route(Scope.NODE, body, names)) is not None:
                yield route

    def with_links_of(self, things: Iterable[KernelObject], indexes: Mapping[str, int]) -> Mapping[str, int]:
        """The indexes of links with those of routes' that are not among them: no way may have gone by them before."""
        new = {thing.link for thing in things if isinstance(thing, Route) and thing.link} - indexes.keys()
        return {**indexes, **{link.name: link.index for link in self._links(sorted(new))}} if new else indexes

    def read_some(self, things: Iterable[KernelObject], indexes: Mapping[str, int]) -> Seen:
        """Of these objects what there is, each asked for by itself. Raises Retryable where a link is not where it was.

        Of two routes to one place the kernel names the first alone.
        """
        objects, taken = _Found(), set()
        names = {index: name for name, index in indexes.items()}
        asked: list[tuple[KernelObject, bytes]] = []
        requests = []
        for thing in things:
            match thing:
                case Route():
                    requests.append(encode.get_route(thing.dst))
                    asked.append((thing, thing.dst))
                case Neighbour() if thing.link in indexes:
                    requests.append(encode.get_neighbour(indexes[thing.link], thing.ip))
                    asked.append((thing, thing.ip))
                case FdbEntry() if thing.link in indexes:
                    requests.append(encode.get_fdb(indexes[thing.link], thing.mac))
                    asked.append((thing, thing.mac))
        for (thing, _), reply in zip(asked, self._node.transact(requests), strict=True):
            found = _told(thing, reply, names)
            if found is not None and found.key == thing.key:
                objects.add(found)
            elif isinstance(thing, Route) and isinstance(found, Route) and _is_in_place_of(found, thing):
                taken.add(thing.key)
        return Seen(objects, indexes, frozenset(taken))

    def apply(self, steps: Sequence[Step], seen: Seen) -> list[StepError]:
        observed = Observed()
        for name, index in seen.indexes.items():
            observed.add(Link(Scope.NODE, name, index=index))
        return apply(steps, self._node, None, observed, lambda switch: sysctls.write(switch.name, switch.value)).errors


_TUNNELS = encodelinks.dump_links_of("vxlan")


class _Found(dict[Key, KernelObject]):
    """What is found twice under one key is held under another too, where nobody wants it, and so it goes."""

    def add(self, thing: KernelObject) -> None:
        key = thing.key
        while key in self and self[key] != thing:
            key = (*key, len(self))
        self[key] = thing


def _oif(body: Buffer) -> int:
    value = attributes(body, rt.RTMSG.size).get(rt.RTA_OIF)
    return int.from_bytes(value, "little") if value is not None else 0


def _is_in_place_of(found: Route, wanted: Route) -> bool:
    return (found.dst, found.prefix_len) == (wanted.dst, wanted.prefix_len) and found.metric <= wanted.metric


def _told(thing: KernelObject, reply: Reply, names: Mapping[int, str]) -> KernelObject | None:
    """What the kernel has there, which of a route may be any. That there is no way at all is no error."""
    if reply.errno and not isinstance(thing, Route) and reply.errno != ENOENT:
        words = f"cannot read {thing}: {errno_name(reply.errno)} {reply.words}".rstrip()
        raise Retryable(words, code=ENODEV)
    if reply.errno or not reply.parts:
        return None
    body = reply.parts[0][1]
    match thing:
        case Route():
            index = _oif(body)  # somebody else's may go by any link
            return decode.route(Scope.NODE, body, {index: names.get(index, f"link {index}")})
        case Neighbour():
            return decode.neighbour(Scope.NODE, body, names)
        case _:
            return decode.fdb_entry(body, names)
