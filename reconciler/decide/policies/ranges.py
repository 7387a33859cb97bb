"""PURE: addresses and ports as the fewest ranges, in the words in which libnftables lists them back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from netplumb.models.base import IPNetwork
from netplumb.models.networkpolicy import IPBlock

Range = tuple[int, int]
"""First and last."""


def joined(ranges: Iterable[Range]) -> list[Range]:
    """In their order, those that meet or overlap as one."""
    made: list[Range] = []
    for first, last in sorted(ranges):
        if made and first <= made[-1][1] + 1:
            made[-1] = made[-1][0], max(made[-1][1], last)
        else:
            made.append((first, last))
    return made


def addresses(blocks: Iterable[IPBlock], version: int) -> list[Range]:
    """What the blocks allow of one IP version, each less what it excepts."""
    return joined(part for it in blocks if it.cidr.version == version for part in _less(it.cidr, it.except_))


def _less(network: IPNetwork, excepted: Iterable[IPNetwork]) -> Iterator[Range]:
    first, end = _range(network)
    for start, last in joined(map(_range, excepted)):
        if first < start:
            yield first, start - 1
        first = last + 1
    if first <= end:
        yield first, end


def _range(network: IPNetwork) -> Range:
    return int(network.network_address), int(network.broadcast_address)


def is_all_addresses(ranges: Sequence[Range], version: int) -> bool:
    return list(ranges) == [(0, (1 << (32 if version == 4 else 128)) - 1)]


def address_words(ranges: Sequence[Range], version: int) -> Any:
    """As the right side of a match."""
    return _one_or_set([_address_words(it, version) for it in ranges])


def _address_words(it: Range, version: int) -> Any:
    first, last = (IPv4Address(number) if version == 4 else IPv6Address(number) for number in it)
    if first == last:
        return str(first)
    spare = (it[0] ^ it[1]).bit_length()
    if it[1] - it[0] + 1 == 1 << spare:  # else it begins or ends within a network
        return {"prefix": {"addr": str(first), "len": first.max_prefixlen - spare}}
    return {"range": [str(first), str(last)]}


def port_words(ranges: Sequence[Range]) -> Any:
    return _one_or_set([first if first == last else {"range": [first, last]} for first, last in ranges])


def _one_or_set(words: list[Any]) -> Any:
    return words[0] if len(words) == 1 else {"set": words}
