"""What a dump holds, decoded, less what the decoder does not take for its kind.

`names` are of the links that are asked about, by index. Raises Retryable where no consistent dump can be had.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from netplumb.models.kernel import Address, Neighbour, Route, Rule, Scope
from netplumb.models.policy import ForeignRule
from netplumb.reconciler.kernel import decode, encode
from netplumb.reconciler.kernel import rtnetlink as rt
from netplumb.reconciler.kernel.channel import Channel
from netplumb.reconciler.kernel.wire import Buffer

_T = TypeVar("_T", Address, Route, Neighbour)


def addresses(channel: Channel, scope: Scope, names: Mapping[int, str]) -> list[Address]:
    """Those of the one named interface."""
    (index,) = names
    return _read(channel, rt.RTM_GETADDR, encode.dump_addresses(index), decode.address, scope, names)


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


def _read(
    channel: Channel,
    type_: int,
    body: bytes,
    decoded: Callable[[Scope, Buffer, Mapping[int, str]], _T | None],
    scope: Scope,
    names: Mapping[int, str],
) -> list[_T]:
    return [thing for _, message in channel.dump(type_, body) if (thing := decoded(scope, message, names)) is not None]
