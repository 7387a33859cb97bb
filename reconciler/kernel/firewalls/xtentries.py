"""PURE: a table of iptables-legacy, as the kernel hands it out → chains and rules in the words of
libnftables-json(5), so that one evaluation weighs both.

A table is one run of entries. A chain begins at a hook's first entry, or after an entry that only bears its name; the
last entry of a hook's chain is its policy. Structures: include/uapi/linux/netfilter_ipv4/ip_tables.h,
netfilter_ipv6/ip6_tables.h and netfilter/x_tables.h.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from struct import unpack_from
from typing import Any

from netplumb.reconciler.kernel.firewalls.xtmatches import Expression, decoded, header, matching, targeted

PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
"""Of the tables that drop."""

NAT = "nat"
_NAT_PRIORITIES = {"prerouting": -100, "input": 100, "output": -100, "postrouting": 100}

_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
_VERDICTS = {-1: "drop", -2: "accept", -4: "queue", -5: "return"}  # -NF_* - 1, XT_RETURN
_INV_IN, _INV_OUT, _INV_SRC, _INV_DST, _INV_FRAGMENT, _INV_PROTO = 0x01, 0x02, 0x08, 0x10, 0x20, 0x40
_NAME_BYTES = 16
_EXTENSION_BYTES = 32  # struct xt_entry_match and xt_entry_target: size, name, revision


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the parts of `struct ipt_entry` or `struct ip6t_entry` stand, and its flags."""

    family: str
    version: int
    address_bytes: int
    protocol_at: int
    flags_at: int
    offsets_at: int
    entry_bytes: int
    goto: int
    fragment: int


IP = Layout("ip", 4, 4, protocol_at=80, flags_at=82, offsets_at=88, entry_bytes=112, goto=2, fragment=1)
IP6 = Layout("ip6", 6, 16, protocol_at=128, flags_at=132, offsets_at=140, entry_bytes=168, goto=4, fragment=0)


@dataclass(frozen=True, slots=True)
class _Extension:
    """A match or a target."""

    name: str
    revision: int
    data: bytes


@dataclass(frozen=True, slots=True)
class _Entry:
    offset: int
    following: int
    packet: bytes
    matches: Sequence[_Extension]
    target: _Extension

    @property
    def chain_name(self) -> str:
        """Of one that only bears a name."""
        return _text(self.target.data[:30]) if self.target.name == "ERROR" else ""

    @property
    def verdict(self) -> int:
        """Of a standard target: a verdict, or from 0 on where to go on."""
        return int(unpack_from("=i", self.target.data)[0])


def listed(layout: Layout, table: str, info: bytes, data: bytes) -> Iterator[Mapping[str, Any]]:
    """`info` is struct ipt_getinfo less the name. Raises ValueError for what is no table."""
    valid, *offsets = unpack_from("=I5I5I", info)
    hooks = {offsets[hook]: name for hook, name in enumerate(_HOOKS) if valid >> hook & 1}
    policies = {offsets[5 + hook]: name for hook, name in enumerate(_HOOKS) if valid >> hook & 1}
    entries = list(_entries(layout, data))
    by_policy = {policies[entry.offset]: entry for entry in entries if entry.offset in policies}
    chains = {offset: hook.upper() for offset, hook in hooks.items()}
    chains |= {entry.following: name for entry in entries if (name := entry.chain_name)}
    fields = {"family": layout.family, "table": table, "legacy": True}
    chain = ""
    for entry in entries:
        if entry.offset in chains:
            chain = chains[entry.offset]
            hooked: dict[str, Any] = {}
            if (hook := hooks.get(entry.offset)) is not None:
                policy = _VERDICTS.get(by_policy[hook].verdict, "accept")
                type_, prio = (NAT, _NAT_PRIORITIES[hook]) if table == NAT else ("filter", PRIORITIES[table])
                hooked = {"type": type_, "hook": hook, "prio": prio, "policy": policy}
            yield {"chain": fields | {"name": chain} | hooked}
        if entry.offset not in policies and not entry.chain_name:
            yield {"rule": fields | {"chain": chain, "expr": _rule(layout, entry, chains)}}


def _entries(layout: Layout, data: bytes) -> Iterator[_Entry]:
    offset = 0
    while offset + layout.entry_bytes <= len(data):
        target_at, size = unpack_from("=HH", data, offset + layout.offsets_at)
        if not layout.entry_bytes <= target_at < size <= len(data) - offset:
            raise ValueError("an entry that is not one")
        matches = list(_extensions(data, offset + layout.entry_bytes, offset + target_at))
        (target,) = list(_extensions(data, offset + target_at, offset + size))[:1]
        yield _Entry(offset, offset + size, data[offset : offset + layout.entry_bytes], matches, target)
        offset += size


def _extensions(data: bytes, at: int, end: int) -> Iterator[_Extension]:
    while at + _EXTENSION_BYTES <= end:
        (size,) = unpack_from("=H", data, at)
        if size < _EXTENSION_BYTES:
            raise ValueError("an extension that is not one")
        yield _Extension(_text(data[at + 2 : at + 31]), data[at + 31], data[at + _EXTENSION_BYTES : at + size])
        at += size


def _rule(layout: Layout, entry: _Entry, chains: Mapping[int, str]) -> list[Expression]:
    found = list(_conditions(layout, entry.packet))
    for match in entry.matches:
        known = decoded(match.name, match.revision, match.data, layout.version)
        found += [{"xt": {"type": "match", "name": match.name}}] if known is None else known
    return [*found, *_target(layout, entry, chains)]


def _conditions(layout: Layout, packet: bytes) -> Iterator[Expression]:
    size, names_at = layout.address_bytes, 4 * layout.address_bytes
    flags, inverted = packet[layout.flags_at], packet[layout.flags_at + 1]
    for number, key, bit in ((0, "iifname", _INV_IN), (1, "oifname", _INV_OUT)):
        at = names_at + number * _NAME_BYTES
        if any(packet[at + 32 : at + 32 + _NAME_BYTES]):
            name = _interface(packet[at : at + _NAME_BYTES], packet[at + 32 : at + 32 + _NAME_BYTES])
            yield matching({"meta": {"key": key}}, name, inverted=bool(inverted & bit))
    for number, field, bit in ((0, "saddr", _INV_SRC), (1, "daddr", _INV_DST)):
        address = packet[number * size : (number + 1) * size]
        mask = packet[(number + 2) * size : (number + 3) * size]
        if any(mask) or inverted & bit:
            yield matching(header(layout.family, field), _prefix(address, mask), inverted=bool(inverted & bit))
    (protocol,) = unpack_from("=H", packet, layout.protocol_at)
    if protocol:
        yield matching({"meta": {"key": "l4proto"}}, protocol, inverted=bool(inverted & _INV_PROTO))
    if flags & layout.fragment:
        yield {"xt": {"type": "match", "name": "fragment"}}


def _interface(name: bytes, mask: bytes) -> str:
    """A mask that ends with the name leaves its end open; one that holds the closing NUL does not."""
    text, meant = _text(name), len(mask.rstrip(b"\0"))
    return text if meant > len(text) else f"{text[:meant]}*"


def _prefix(address: bytes, mask: bytes) -> Any:
    number, bits = int.from_bytes(mask, "big"), 8 * len(mask)
    length = number.bit_count()
    if number != ((1 << bits) - 1) ^ ((1 << (bits - length)) - 1):
        return {"xt": "a mask with holes"}
    return {"prefix": {"addr": str(ip_address(address)), "len": length}}


def _target(layout: Layout, entry: _Entry, chains: Mapping[int, str]) -> list[Expression]:
    if entry.target.name:
        return [targeted(entry.target.name, entry.target.revision, entry.target.data)]
    if entry.verdict < 0:
        return [{_VERDICTS.get(entry.verdict, "continue"): None}]
    if entry.verdict == entry.following:
        return []  # a rule without a target
    word = "goto" if entry.packet[layout.flags_at] & layout.goto else "jump"
    return [{word: {"target": chains.get(entry.verdict, "")}}]


def _text(data: bytes) -> str:
    return data.split(b"\0", 1)[0].decode(errors="replace")
