"""PURE: elements of a set of nf_tables, as the kernel tells them → values in the words of libnftables-json(5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from struct import unpack
from typing import Any

from netplumb.reconciler.kernel.firewalls import nftfields
from netplumb.reconciler.kernel.firewalls.nftfields import Field, unknown
from netplumb.reconciler.kernel.firewalls.xtmatches import Expression
from netplumb.reconciler.kernel.netlink.wire import Buffer, attributes, string

# Attributes and numbers: include/uapi/linux/netfilter/nf_tables.h
_KEY, _DATA, _FLAGS, _KEY_END = 1, 2, 3, 10
_INTERVAL_END, _CATCHALL = 1, 2
_VALUE, _VERDICT = 1, 2
_CODE, _CHAIN = 1, 2
_VERDICTS = {0: "drop", 1: "accept", 3: "queue", -1: "continue", -2: "continue", -5: "return"}
_JUMPS = {-3: "jump", -4: "goto"}

Link = Callable[[int], str]


@dataclass(frozen=True, slots=True)
class Element:
    """`last` is the end of a range that is told with its element; `ends` marks one that closes a range of a set whose
    elements are told one by one."""

    first: bytes
    last: bytes = b""
    ends: bool = False
    rest: bool = False
    verdict: Expression | None = None


SOMETHING = Element(b"", rest=True)
"""What may be in a set beside the elements that are known."""


def element(data: Buffer) -> Element:
    told = attributes(data)
    flags = int.from_bytes(told.get(_FLAGS, b""), "big")
    first, last = (bytes(attributes(told.get(at, b"")).get(_VALUE, b"")) for at in (_KEY, _KEY_END))
    verdict_ = verdict(told[_DATA]) if _DATA in told else None
    return Element(first, last, bool(flags & _INTERVAL_END), bool(flags & _CATCHALL), verdict_)


def verdict(data: Buffer) -> Expression | None:
    """Of what an element or a rule holds; None where that is a value."""
    if (found := attributes(data).get(_VERDICT)) is None:
        return None
    told = attributes(found)
    (code,) = unpack(">i", told[_CODE])
    if code in _JUMPS:
        return {_JUMPS[code]: {"target": string(told.get(_CHAIN))}}
    return {_VERDICTS.get(code, "continue"): None}


def listed(fields: Sequence[Field], elements: Sequence[Element], link: Link) -> tuple[list[Field], list[Any]]:
    """The fields that make the key, and the elements' words: of a map, pairs with the verdict."""
    size = max((len(it.first) for it in elements), default=0)
    key = _key(fields, size)
    words = []
    for first, last, each in sorted(_ranges(elements), key=lambda it: it[2].rest):  # which comes where no other did
        matched = {"unjudged": "the rest"} if each.rest else _words(key, first, last, link)
        words.append(matched if each.verdict is None else [matched, each.verdict])
    return key, words


def _key(fields: Sequence[Field], size: int) -> list[Field]:
    """As many fields as fill it; each begins at a word."""
    key: list[Field] = []
    filled = 0
    for field in fields:
        if filled >= size and key:
            break
        key.append(field)
        filled += -(-field.size // 4) * 4
    return key if len(key) == 1 or filled == size else [unknown("key", size)]


def _ranges(elements: Sequence[Element]) -> Iterator[tuple[bytes, bytes, Element]]:
    """Both ends of each element, the last included. A range that is told by two elements ends before the second."""
    if not any(it.ends for it in elements):
        for each in elements:
            yield each.first, each.last or each.first, each
        return
    began: Element | None = None
    for each in sorted(elements, key=lambda it: (it.first, not it.ends)):
        if each.rest:
            yield b"", b"", each
            continue
        if began is not None:
            yield began.first, _before(each.first), began
        began = None if each.ends else each
    if began is not None:
        yield began.first, b"\xff" * len(began.first), began


def _before(key: bytes) -> bytes:
    return (int.from_bytes(key, "big") - 1).to_bytes(len(key), "big") if any(key) else key


def _words(key: Sequence[Field], first: bytes, last: bytes, link: Link) -> Any:
    if len(key) == 1:
        return nftfields.value(key[0], first, last, link)
    parts, at = [], 0
    for field in key:
        end = at + field.size
        parts.append(nftfields.value(field, first[at:end], last[at:end], link))
        at += -(-field.size // 4) * 4
    return {"concat": parts}
