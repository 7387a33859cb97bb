"""PURE: a rule of nf_tables, as the kernel tells it → expressions in the words of libnftables-json(5).

libnftables itself is not asked for what others wrote: its JSON holds Python's lock while it is decoded, iptables' own
matches are only names in it, and a name that is not UTF-8 ends the process (1.0.6). Here each expression is followed
through the registers; what is not known becomes a condition that cannot be judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from netplumb.reconciler.kernel.firewalls import nftfields, nftsets
from netplumb.reconciler.kernel.firewalls.nftfields import FLAGS, TURNED, Field, unknown
from netplumb.reconciler.kernel.firewalls.nftsets import Element
from netplumb.reconciler.kernel.firewalls.xtmatches import Expression, decoded, matching, targeted
from netplumb.reconciler.kernel.netlink.wire import Buffer, attributes, every_attribute, string

# Attributes and numbers: include/uapi/linux/netfilter/nf_tables.h
_NAME, _DATA = 1, 2  # NFTA_EXPR_*
_VALUE = 1  # NFTA_DATA_VALUE
_OPS = ("==", "!=", "<", "<=", ">", ">=")
_PLAIN = {
    "counter": "counter",
    "log": "log",
    "notrack": "notrack",
    "last": "last",
    "flow_offload": "flow",
    "reject": "reject",
    "queue": "queue",
    "masq": "masquerade",
    "redir": "redirect",
    "connlimit": "ct count",
}
_LOADS = frozenset({"numgen", "hash", "exthdr", "rt", "socket", "osf", "xfrm", "tunnel", "inner", "secmark"})
_OBJECT_LIMITS = frozenset({2, 4, 5})  # NFT_OBJECT_QUOTA, _LIMIT, _CONNLIMIT
_DYNSET_STATEMENTS = frozenset({7, 10})  # NFTA_DYNSET_EXPR, _EXPRESSIONS
_BASE_NETWORK, _BASE_TRANSPORT = 1, 2
_BYTEORDER_OP, _HTON = 3, 1  # NFTA_BYTEORDER_OP, NFT_BYTEORDER_HTON
_META_MARK = 3  # NFT_META_MARK
_CT_KEY, _CT_DIRECTION, _CT_ZONE, _ORIGINAL = 2, 3, 17, 0  # NFTA_CT_*, NFT_CT_ZONE, IP_CT_DIR_ORIGINAL
_FIB_REGISTER, _FIB_RESULT, _FIB_FLAGS, _FIB_OIF, _FIB_TYPE = 1, 2, 3, 1, 3
_FIB_FLAG_NAMES = ((1, "saddr"), (2, "daddr"), (4, "mark"), (8, "iif"), (16, "oif"))
_REG32_00 = 8
_ORDERED = frozenset({"number", "address"})
_VERSIONS = {2: 4, 10: 6, 0x0800: 4, 0x86DD: 6}
_IMPLIED = [
    (matching({"meta": {"key": "nfproto"}}, "ipv4"), {"ip", "icmp"}),
    (matching({"meta": {"key": "nfproto"}}, "ipv6"), {"ip6", "icmpv6"}),
    *((matching({"meta": {"key": "l4proto"}}, number), {name}) for number, name in nftfields.HEADERS.items()),
]

_Told = Mapping[int, Buffer]
Elements = Callable[[str], Sequence[Element] | None]
"""The elements of a set by its name; None where they were not read."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """Decodes rules of one table. `version` is that of its family, 0 where it may be either; `link` knows the names of
    interfaces by their indexes."""

    version: int
    elements: Elements
    link: Callable[[int], str]

    def rule(self, expressions: Buffer) -> list[Expression]:
        return _tidied(list(_Rule(self).expressions(expressions)))


class _Rule:
    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._version = decoder.version
        self._protocol: int | None = None
        self._registers: dict[int, list[Field]] = {}

    def expressions(self, data: Buffer) -> Iterator[Expression]:
        for _, element in every_attribute(data):
            told = attributes(element)
            yield from self._expression(string(told.get(_NAME)), attributes(told.get(_DATA, b"")))

    def _expression(self, name: str, told: _Told) -> Iterator[Expression]:
        match name:
            case "meta" | "ct" | "payload" | "fib":
                if (register := told.get(_FIB_REGISTER if name == "fib" else 1)) is not None:
                    self._registers[_register(register)] = self._loaded(name, told)
                else:
                    yield {_set_by(name, told): None}
            case "bitwise":
                self._mask(told)
            case "cmp":
                yield from self._compare(told)
            case "range":
                fields = self._fields(told[1])
                first, last = _bytes(told[3]), _bytes(told[4])
                yield self._match(fields[:1], _OPS[_number(told.get(2, b""))], first, last)
            case "lookup":
                yield self._lookup(told)
            case "immediate":
                yield from self._immediate(told)
            case "match":
                known = decoded(string(told[1]), _number(told.get(2, b"")), bytes(told.get(3, b"")), self._version or 4)
                yield from [{"xt": {"type": "match", "name": string(told[1])}}] if known is None else known
            case "target":
                yield targeted(string(told[1]), _number(told.get(2, b"")), bytes(told.get(3, b"")))
            case "nat":
                yield {"dnat" if _number(told.get(1, b"")) else "snat": None}
            case "objref":
                yield {"limit" if _number(told.get(1, b"")) in _OBJECT_LIMITS else "counter": None}
            case "dynset":
                yield {"set": {"stmt": True} if told.keys() & _DYNSET_STATEMENTS else {}}
            case "byteorder":
                self._turn(told)
            case _ if name in _PLAIN:
                yield {_PLAIN[name]: None}
            case _ if name in _LOADS:
                self._registers.clear()  # a value that is not known, judged where it is compared
            case _:
                yield {name: None}

    def _loaded(self, name: str, told: _Told) -> list[Field]:
        if name == "payload":
            base, offset, size = (_number(told[at]) for at in (2, 3, 4))
            if base == _BASE_NETWORK:
                return list(nftfields.network(self._version or _guessed(offset, size), offset, size))
            if base == _BASE_TRANSPORT:
                return list(nftfields.transport(self._protocol, offset, size))
            return [unknown("frame", size)]
        if name == "fib":
            return [_fib(_number(told[_FIB_RESULT]), _number(told.get(_FIB_FLAGS, b"")))]
        key, kind = (nftfields.META if name == "meta" else nftfields.CT).get(_number(told[2]), ("other", "other"))
        words = {"key": key} if name == "meta" or 3 not in told or key == "direction" else {"key": key, "dir": "any"}
        return [Field({name: words}, kind, nftfields.SIZES.get(kind, 4))]

    def _fields(self, register: Buffer) -> list[Field]:
        return self._registers.get(_register(register)) or [unknown("value")]

    def _mask(self, told: _Told) -> None:
        """Only masks are followed; what is shifted or combined otherwise cannot be judged."""
        fields = self._fields(told[1])
        mask, other = _bytes(told.get(4, b"")), _bytes(told.get(5, b""))
        plain = len(fields) == 1 and len(mask) == fields[0].size and not any(other)
        self._registers[_register(told[2])] = [replace(fields[0], mask=mask)] if plain else [unknown("bits")]

    def _turn(self, told: _Told) -> None:
        """As ranges of numbers want it, which the kernel compares byte by byte. Other uses of it are not followed."""
        fields = self._fields(told[1])
        turned = len(fields) == 1 and fields[0].kind in TURNED and _number(told.get(_BYTEORDER_OP, b"")) == _HTON
        self._registers[_register(told[2])] = [replace(fields[0], kind="number")] if turned else [unknown("order")]

    def _compare(self, told: _Told) -> Iterator[Expression]:
        fields, op, data = self._fields(told[1]), _OPS[_number(told.get(2, b""))], _bytes(told[3])
        if len(fields) > 1 and (op != "==" or len(data) < sum(field.size for field in fields)):
            yield self._match([unknown("fields")], op, data, data)
            return
        at = 0
        for number, field in enumerate(fields):
            part = data[at : at + field.size] if number < len(fields) - 1 else data[at:]
            yield self._match([field], op, part, part)
            at += field.size

    def _match(self, fields: Sequence[Field], op: str, first: bytes, last: bytes) -> Expression:
        (field,) = fields
        if field.kind in FLAGS and field.mask and not any(first):
            names = nftfields.flag_names(field.kind, field.mask)
            return matching(field.left, names, op="in" if op == "!=" else "!")
        if field.kind == "flags" or (field.mask and field.kind != "address"):
            mask = nftfields.number(field.kind, field.mask) if field.mask else 0xFF
            return matching({"&": [field.left, mask]}, nftfields.number(field.kind, first), op=op)
        if op == "==":
            self._learn(field, first)
        if op in ("<", "<=", ">", ">=") and field.kind not in _ORDERED:
            return matching(unknown("order").left, 0, op=op)
        return matching(field.left, nftfields.value(field, first, last, self._decoder.link), op=op)

    def _learn(self, field: Field, data: bytes) -> None:
        """What later loads depend on: which header it is that they are from."""
        match field.left:
            case {"meta": {"key": "nfproto"}}:
                self._version = _VERSIONS.get(data[0], self._version)
            case {"meta": {"key": "protocol"}}:
                self._version = _VERSIONS.get(int.from_bytes(data, "big"), self._version)
            case {"meta": {"key": "l4proto"}} | {"payload": {"field": "protocol" | "nexthdr"}}:
                self._protocol = data[0]

    def _lookup(self, told: _Told) -> Expression:
        name, at = string(told[1]), _register(told[2])
        inverted = bool(_number(told.get(5, b"")) & 1)
        fields = [unknown("bits") if field.mask else field for field in self._beside(at)]
        elements = self._decoder.elements(name)
        right: Any = f"@{name}"
        if elements is not None:
            fields, words = nftsets.listed(fields, elements, self._decoder.link)
            right = {"set": words} if name.startswith("__") else {"set": words, "name": name}
        left = fields[0].left if len(fields) == 1 else {"concat": [field.left for field in fields]}
        if 3 not in told:
            return matching(left, right, inverted=inverted)
        target = _register(told[3])
        if target >= 0:
            self._registers.pop(target, None)
            return {"counter": None}  # it looks a value up
        return {"vmap": {"key": left, "data": right}}

    def _beside(self, at: int) -> list[Field]:
        """What stands in registers side by side, from this one on."""
        found: list[Field] = []
        while there := self._registers.get(at):
            found += there
            at += sum(-(-field.size // 4) for field in there)
        return found or [unknown("value")]

    def _immediate(self, told: _Told) -> Iterator[Expression]:
        if (verdict := nftsets.verdict(told[2])) is not None:
            yield verdict
        else:
            self._registers.pop(_register(told[1]), None)


def _set_by(name: str, told: _Told) -> str:
    """What a statement that sets something of the packet sets. A zone for one direction alone is the flow's own: what
    comes back is known by the other."""
    key = _number(told.get(_CT_KEY, b""))
    if name == "meta":
        return "mark" if key == _META_MARK else "mangle"
    of_original = _CT_DIRECTION in told and _number(told[_CT_DIRECTION]) == _ORIGINAL
    return "ct zone" if name == "ct" and key == _CT_ZONE and not of_original else "mangle"


def _fib(result: int, flags: int) -> Field:
    names = [name for bit, name in _FIB_FLAG_NAMES if flags & bit]
    if result == _FIB_TYPE:
        return Field({"fib": {"result": "type", "flags": names}}, "route", 4)
    if result == _FIB_OIF:
        return Field({"fib": {"result": "oif", "flags": names}}, "exists", 4)
    return unknown("fib")


def _guessed(offset: int, size: int) -> int:
    """The family by where the addresses stand, where no condition named it."""
    return 4 if (offset, size) in ((12, 4), (16, 4), (12, 8)) else 6 if size in (16, 32) else 0


def _register(data: Buffer) -> int:
    """Counted in words of four bytes; -1 is the verdict."""
    number = _number(data)
    return -1 if number == 0 else number - _REG32_00 if number >= _REG32_00 else 4 * (number - 1)


def _number(data: Buffer) -> int:
    return int.from_bytes(data, "big")


def _bytes(data: Buffer) -> bytes:
    return bytes(attributes(data).get(_VALUE, b""))


def _tidied(expressions: list[Expression]) -> list[Expression]:
    """Without conditions that only say which header the others are from, and with ranges in one, as nft writes them."""
    headers = {header for expression in expressions for header in _headers(expression)}
    tidied: list[Expression] = []
    for expression in expressions:
        match (tidied[-1] if tidied else {}), expression:
            case (
                {"match": {"op": ">=", "left": left, "right": first}},
                {"match": {"op": "<=", "left": again, "right": last}},
            ) if left == again:
                tidied[-1] = matching(left, {"range": [first, last]})
            case _ if not any(expression == implied and headers & of for implied, of in _IMPLIED):
                tidied.append(expression)
    return tidied


def _headers(thing: Any) -> Iterator[str]:
    if isinstance(thing, Mapping):
        if isinstance(payload := thing.get("payload"), Mapping):
            yield payload["protocol"]
        for each in thing.values():
            yield from _headers(each)
    elif isinstance(thing, list):
        for each in thing:
            yield from _headers(each)
