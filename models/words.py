"""Kernel objects in words: addresses as people write them, and one word for each kind; and how many more there are."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import ip_address

from netplumb.models.base import IPAddress


@lru_cache(4096)
def address_words(address: IPAddress) -> str:
    """Kept, since of an IPv6 address it takes long, and the same ones come again and again."""
    return str(address)


@lru_cache(4096)
def _words_of(ip: bytes) -> str:
    return str(ip_address(ip))


def ip_words(ip: bytes, prefix_len: int | None = None) -> str:
    text = _words_of(ip)
    if prefix_len is None:
        return text
    if prefix_len == 0:
        return "default" if len(ip) == 4 else "default (IPv6)"
    return f"{text}/{prefix_len}"


def asking(link: str, address: IPAddress) -> str:
    """The command that asks for a neighbour."""
    if address.version == 4:
        return f"arping -c 3 -I {link} {address}"
    return f"ping -c 3 {address}%{link}" if address.is_link_local else f"ping -c 3 {address}"


def link_switch(version: int, link: str, switch: str) -> str:
    """A kernel parameter of one link, as sysctl takes it: a dot in the link's name, as a VLAN's, is a slash there."""
    return f"net.ipv{version}.conf.{link.replace('.', '/')}.{switch}"


def no_carrier(link: str) -> str:
    """What to look at."""
    return f"check its cable, the switch's port, or what {link} stands on: ip -d link show {link}"


def mac_words(mac: bytes | None) -> str:
    return mac.hex(":") if mac else "any"


def several(told: Sequence[str], most: int, between: str = "; ") -> str:
    """So many of them, and how many more there are: `a; b; and 3 more`, or between commas `a, b and 3 more`."""
    more = len(told) - most
    end = f"{between.replace(',', '')}and {more} more" if more > 0 else ""
    return between.join(told[:most]) + end


_KINDS = {
    "LinkUp": "link_up",
    "FdbEntry": "fdb",
    "NftHooks": "nft_hooks",
    "NftSet": "nft_set",
    "NftChain": "nft_chain",
    "NftElement": "nft_element",
    "Tbf": "qdisc",
    "IngressQdisc": "qdisc",
    "Redirect": "filter",
}


def kind_of(thing: object) -> str:
    """The word for a kind of object in counters and reports: `route`, `link`, `nft_chain`."""
    return _KINDS.get(type(thing).__name__, type(thing).__name__.lower())
