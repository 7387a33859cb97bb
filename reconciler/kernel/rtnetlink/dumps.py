"""What the kernel holds of a kind of object, decoded, less what the decoder does not take for its kind.

`names` are of the links that are asked about, by index. What is in a workload's namespace is read within a bound.
Raises Retryable where no consistent dump can be had, TooLarge where it is past the bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from errno import ENODEV, ENOENT
from typing import TypeVar

from netplumb.models.errors import Retryable, TooLarge, errno_name
from netplumb.models.kernel import Address, Link, Neighbour, Route, Rule, Scope
from netplumb.models.policy import ForeignRule
from netplumb.reconciler.kernel.netlink.channel import OF_A_WORKLOAD, UNBOUND, Bound, Channel, Reply
from netplumb.reconciler.kernel.netlink.wire import Buffer
from netplumb.reconciler.kernel.rtnetlink import decode, encode
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt

_T = TypeVar("_T", Address, Route, Neighbour)


def link_in(scope: Scope, reply: Reply) -> tuple[Link, bool] | None:
    """The link that was asked for, and whether it is up; None only where the kernel says that there is none."""
    if reply.errno == ENODEV:
        return None
    if reply.errno:
        raise Retryable(f"cannot read a link: {errno_name(reply.errno)} {reply.words}".rstrip(), code=reply.errno)
    return decode.link(scope, reply.parts[0][1])


def addresses(channel: Channel, scope: Scope, names: Mapping[int, str], bound: Bound | None = None) -> list[Address]:
    """Those of the one named interface."""
    (index,) = names
    found = _dump(channel, rt.RTM_GETADDR, encode.dump_addresses(index), scope, bound, "addresses")
    return decoded(found, decode.address, scope, names)


def node_addresses() -> frozenset[bytes]:
    """Every address of the namespace of the calling thread, whoever's it is."""
    with Channel() as channel:
        return frozenset(decode.address_ip(body) for _, body in channel.dump(rt.RTM_GETADDR, encode.dump_addresses(0)))


def routes(
    channel: Channel, body: bytes, scope: Scope, names: Mapping[int, str], bound: Bound | None = None
) -> list[Route]:
    """`body` is of `encode.dump_routes`."""
    found = _dump(channel, rt.RTM_GETROUTE, body, scope, bound, "routes")
    return decoded(found, decode.route, scope, names)


def rules(channel: Channel, scope: Scope, bound: Bound | None = None) -> list[Rule]:
    """Ours, of both families, in their order."""
    found = _dump(channel, rt.RTM_GETRULE, encode.dump_rules(), scope, bound, "rules")
    return [rule for _, message in found if (rule := decode.rule(scope, message)) is not None]


def foreign_rules(channel: Channel) -> list[ForeignRule]:
    """Those of others, of both families, in their order."""
    found = channel.dump(rt.RTM_GETRULE, encode.dump_rules())
    rules = [rule for _, message in found if (rule := decode.foreign_rule(message)) is not None]
    by_mark = {(it.version, it.table) for it in rules if it.looks_up and it.wants_mark}
    delivering = {(version, table) for version, table in by_mark if _delivers(channel, version, table)}
    return [replace(it, delivers=it.wants_mark and (it.version, it.table) in delivering) for it in rules]


def _delivers(channel: Channel, version: int, table: int) -> bool:
    """Whether some route of a table makes packets the node's own. Only such are asked for, of which there are few."""
    family = rt.AF_INET if version == 4 else rt.AF_INET6
    return bool(channel.dump(rt.RTM_GETROUTE, encode.dump_routes(family, table=table, type_=rt.RTN_LOCAL)))


def neighbours(channel: Channel, body: bytes, scope: Scope, names: Mapping[int, str]) -> list[Neighbour]:
    """`body` is of `encode.dump_neighbours`."""
    return decoded(_dump(channel, rt.RTM_GETNEIGH, body, scope, None, "neighbours"), decode.neighbour, scope, names)


def neighbours_at(
    channel: Channel,
    addresses: Iterable[bytes],
    scope: Scope,
    names: Mapping[int, str],
    *,
    proxied: Iterable[bytes] = (),
) -> list[Neighbour]:
    """Those at these addresses on the one named interface, and those that are answered for there. Each is asked for by
    itself, since a dump walks the table of the whole kernel, whichever namespace asks."""
    (index,) = names
    requests = [encode.get_neighbour(index, ip) for ip in addresses]
    requests += [encode.get_neighbour(index, ip, proxy=True) for ip in proxied]
    found = []
    for reply in channel.transact(requests):
        if reply.errno not in (0, ENOENT):
            words = f"cannot read a neighbour of {names[index]}: {errno_name(reply.errno)} {reply.words}".rstrip()
            raise Retryable(words, code=reply.errno)
        found += [it for _, body in reply.parts if (it := decode.neighbour(scope, body, names)) is not None]
    return found


def _dump(
    channel: Channel, type_: int, body: bytes, scope: Scope, bound: Bound | None, what: str
) -> list[tuple[int, Buffer]]:
    if bound is None:
        bound = OF_A_WORKLOAD if scope is Scope.WORKLOAD else UNBOUND
    try:
        return channel.dump(type_, body, bound)
    except TooLarge:
        raise TooLarge(f"there are more {what} than the {bound.most_bytes} bytes of them that are read") from None


def decoded(
    found: Iterable[tuple[int, Buffer]],
    decode_one: Callable[[Scope, Buffer, Mapping[int, str]], _T | None],
    scope: Scope,
    names: Mapping[int, str],
) -> list[_T]:
    return [thing for _, message in found if (thing := decode_one(scope, message, names)) is not None]
