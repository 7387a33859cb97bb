"""Kernel objects in words: addresses as people write them, and one word for each kind."""

from __future__ import annotations

from ipaddress import ip_address


def ip_words(ip: bytes, prefix_len: int | None = None) -> str:
    text = str(ip_address(ip))
    if prefix_len is None:
        return text
    if prefix_len == 0:
        return "default" if len(ip) == 4 else "default (IPv6)"
    return f"{text}/{prefix_len}"


def mac_words(mac: bytes | None) -> str:
    return mac.hex(":") if mac else "any"


_KINDS = {
    "LinkUp": "link_up",
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
