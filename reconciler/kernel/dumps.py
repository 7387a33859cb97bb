"""What the kernel holds of a kind of object, decoded, less what the decoder does not take for its kind.

`names` are of the links that are asked about, by index. What is in a workload's namespace is read within bounds. Raises
Retryable where no consistent dump can be had, TooLarge where it is past them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from errno import ENOENT
from typing import TypeVar

from netplumb.models.errors import Retryable, errno_name
from netplumb.models.kernel import Address, Neighbour, Route, Rule, Scope
from netplumb.models.policy import ForeignRule
from netplumb.reconciler.kernel import decode, encode
from netplumb.reconciler.kernel import rtnetlink as rt
from netplumb.reconciler.kernel.channel import OF_A_WORKLOAD, UNBOUND, Channel
from netplumb.reconciler.kernel.wire import Buffer

_T = TypeVar("_T", Address, Route, Neighbour)


def addresses(channel: Channel, scope: Scope, names: Mapping[int, str]) -> list[Address]:
    """Those of the one named interface."""
    (index,) = names
    return _read(channel, rt.RTM_GETADDR, encode.dump_addresses(index), decode.address, scope, names)


def node_addresses() -> frozenset[bytes]:
    """Every address of the namespace of the calling thread, whoever's it is."""
    with Channel() as channel:
        return frozenset(decode.address_ip(body) for _, body in channel.dump(rt.RTM_GETADDR, encode.dump_addresses(0)))


def routes(channel: Channel, body: bytes, scope: Scope, names: Mapping[int, str]) -> list[Route]:
    """`body` is of `encode.dump_routes`."""
    return _read(channel, rt.RTM_GETROUTE, body, decode.route, scope, names)


def rules(channel: Channel, scope: Scope) -> list[Rule]:
    """Ours, of both families, in their order."""
    found = channel.dump(rt.RTM_GETRULE, encode.dump_rules())
    return [rule for _, message in found if (rule := decode.rule(scope, message)) is not None]


def foreign_rules(channel: Channel) -> list[ForeignRule]:
    """Those of others, of both families, in their order."""
    found = channel.dump(rt.RTM_GETRULE, encode.dump_rules())
    return [rule for _, message in found if (rule := decode.foreign_rule(message)) is not None]


def neighbours(channel: Channel, body: bytes, scope: Scope, names: Mapping[int, str]) -> list[Neighbour]:
    """`body` is of `encode.dump_neighbours`."""
    return _read(channel, rt.RTM_GETNEIGH, body, decode.neighbour, scope, names)


def neighbours_at(
    channel: Channel, addresses: Iterable[bytes], scope: Scope, names: Mapping[int, str], *, proxy: bool = False
) -> list[Neighbour]:
    """Those at these addresses on the one named interface. Each is asked for by itself, since a dump walks the table of
    the whole kernel, whichever namespace asks."""
    (index,) = names
    found = []
    for reply in channel.transact([encode.get_neighbour(index, ip, proxy=proxy) for ip in addresses]):
        if reply.errno not in (0, ENOENT):
            words = f"cannot read a neighbour of {names[index]}: {errno_name(reply.errno)} {reply.words}".rstrip()
            raise Retryable(words, code=reply.errno)
        found += [it for _, body in reply.parts if (it := decode.neighbour(scope, body, names)) is not None]
    return found


def _read(
    channel: Channel,
    type_: int,
    body: bytes,
    decoded: Callable[[Scope, Buffer, Mapping[int, str]], _T | None],
    scope: Scope,
    names: Mapping[int, str],
) -> list[_T]:
    bound = OF_A_WORKLOAD if scope is Scope.WORKLOAD else UNBOUND
    return [thing for _, it in channel.dump(type_, body, bound) if (thing := decoded(scope, it, names)) is not None]
