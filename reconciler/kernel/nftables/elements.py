"""PURE: elements of our table's sets → messages of nf_tables.

libnftables reads the whole ruleset of the host before it changes anything of it, which beside hundreds of chains takes
as long as many attaches. What an attachment adds and takes are elements alone, and these are said directly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from ipaddress import ip_address
from itertools import groupby
from struct import pack

from netplumb.models.nft import PORT_SETS, TABLE_SETS, VERDICT, Match, NftElement, NftSet, peers_set
from netplumb.models.steps import Step, Verb
from netplumb.reconciler.kernel.netlink.wire import attribute, text
from netplumb.reconciler.kernel.nftables.batch import DELETE_ELEMENT, NEW_ELEMENT, Message
from netplumb.reconciler.kernel.nftables.jsonobjects import TABLE

ELEMENTS_MAX = 64
"""Of more, libnftables makes a batch of the size that the kernel takes."""

# Attributes: include/uapi/linux/netfilter/nf_tables.h
_NESTED = 0x8000
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS, _LIST_ELEMENT = 1, 2, 3, 1
_KEY, _DATA, _USERDATA = 1, 2, 6
_DATA_VALUE, _DATA_VERDICT, _VERDICT_CODE, _VERDICT_CHAIN = 1, 2, 1, 2
_GOTO = -4
_COMMENT = 0  # NFTNL_UDATA_SET_ELEM_COMMENT, libnftnl's udata.h

_TYPES: Mapping[str, Callable[[str | int], bytes]] = {
    "ifname": lambda name: str(name).encode().ljust(16, b"\0"),
    "ipv4_addr": lambda address: ip_address(address).packed,
    "ipv6_addr": lambda address: ip_address(address).packed,
    "inet_proto": lambda number: pack("B", number),
    "inet_service": lambda port: pack(">H", port),
}
_PORT_SETS = frozenset(declared.name for _, pair in PORT_SETS for declared in pair)
_SETS_OF_A_PORT = 4  # where it leads, and to which port there, in both families
_SETS: Mapping[str, NftSet] = {declared.name: declared for declared in TABLE_SETS}


def messages(steps: Sequence[Step]) -> list[Message] | None:
    """Removals before additions; None where something else than a few elements is among the steps."""
    if len(steps) > ELEMENTS_MAX:
        return None
    gone: defaultdict[str, list[bytes]] = defaultdict(list)
    added: defaultdict[str, list[bytes]] = defaultdict(list)
    for step in steps:
        if not isinstance(element := step.thing, NftElement):
            return None
        if step.verb is not Verb.ADD:
            there = step.observed if isinstance(step.observed, NftElement) else element
            gone[element.set].append(_key(there))
        if step.verb is not Verb.REMOVE:
            added[element.set].append(_key(element) + _rest(element))
    return [*_lists(DELETE_ELEMENT, gone), *_lists(NEW_ELEMENT, added)]


def portions(steps: Sequence[Step]) -> Iterator[Sequence[Step]]:
    """Steps of elements, as many at a time as are said directly. Those of one port stay together, so that it leads
    somewhere or nowhere at any time; and ports come last, behind what guards the workload that they lead to."""
    portion: list[Step] = []
    for _, together in groupby(sorted(steps, key=_port_of), key=_port_of):
        for step in together:
            portion.append(step)
            if not _port_of(step) and len(portion) == ELEMENTS_MAX:
                yield portion
                portion = []
        if len(portion) > ELEMENTS_MAX - _SETS_OF_A_PORT:
            yield portion
            portion = []
    if portion:
        yield portion


def _port_of(step: Step) -> tuple[str, ...]:
    """Which port of the node an element is of; empty for others."""
    element = step.thing
    is_of_a_port = isinstance(element, NftElement) and element.set in _PORT_SETS
    return tuple(map(str, element.match)) if is_of_a_port and isinstance(element, NftElement) else ()


def _lists(type_: int, by_set: Mapping[str, Sequence[bytes]]) -> Iterator[Message]:
    for name, elements in by_set.items():
        listed = b"".join(attribute(_LIST_ELEMENT | _NESTED, it) for it in elements)
        yield type_, _of_set(name) + attribute(_LIST_ELEMENTS | _NESTED, listed)


@lru_cache(maxsize=1024)
def _of_set(name: str) -> bytes:
    return text(_LIST_TABLE, TABLE) + text(_LIST_SET, name)


def _declared(element: NftElement) -> NftSet:
    return _SETS.get(element.set) or _peers_set(element.set)


_peers_set = lru_cache(maxsize=1024)(peers_set)


def _key(element: NftElement) -> bytes:
    return _encoded(_declared(element).types, element.match)


@lru_cache(maxsize=64)
def _encoded(types: tuple[str, ...], values: Match) -> bytes:
    """A link is in many sets."""
    parts = [_TYPES[type_](value) for type_, value in zip(types, values, strict=True)]
    # Each part of a concatenation begins at a word.
    key = b"".join(it + bytes(-len(it) % 4) for it in parts) if len(parts) > 1 else parts[0]
    return attribute(_KEY | _NESTED, attribute(_DATA_VALUE, key))


def _rest(element: NftElement) -> bytes:
    said = b""
    if element.value is not None:
        said += attribute(_DATA | _NESTED, _value(element.value, _declared(element).value_type))
    return said + _owned(element.owner) if element.owner else said


@lru_cache(maxsize=64)
def _owned(owner: str) -> bytes:
    comment = owner.encode() + b"\0"
    return attribute(_USERDATA, bytes((_COMMENT, len(comment))) + comment)


def _value(value: str | int, value_type: str) -> bytes:
    if value_type != VERDICT:
        return attribute(_DATA_VALUE, _TYPES[value_type](value))
    verdict = attribute(_VERDICT_CODE, pack(">i", _GOTO)) + text(_VERDICT_CHAIN, str(value))
    return attribute(_DATA_VERDICT | _NESTED, verdict)
