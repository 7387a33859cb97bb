"""How often packets met an element of a set that counts: a question about one, or all of a set.

The kernel forgets a count where the element is made anew.
"""

from __future__ import annotations

from collections.abc import Iterator

from netplumb.reconciler.kernel.netlink.wire import Buffer, attribute, attributes, every_attribute, string, text
from netplumb.reconciler.kernel.nftables.dumps import Budget, elements
from netplumb.reconciler.kernel.nftables.jsonobjects import FAMILY, TABLE

GET_ELEMENT = 10 << 8 | 13  # NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM

# Attributes: include/uapi/linux/netfilter/nf_tables.h
_NESTED = 0x8000
_LIST_TABLE, _LIST_SET, _LIST_ELEMENTS, _LIST_ELEMENT = 1, 2, 3, 1
_KEY, _EXPRESSION, _EXPRESSIONS, _DATA_VALUE = 1, 7, 11, 1
_EXPR_NAME, _EXPR_DATA, _COUNTER_PACKETS = 1, 2, 2
_MOST_BYTES = 1 << 24
_IFNAMSIZ = 16


def request(declared: str, link: str) -> bytes:
    """What asks for a link's element of a set."""
    key = attribute(_KEY | _NESTED, attribute(_DATA_VALUE, link.encode().ljust(_IFNAMSIZ, b"\0")))
    listed = attribute(_LIST_ELEMENTS | _NESTED, attribute(_LIST_ELEMENT | _NESTED, key))
    return text(_LIST_TABLE, TABLE) + text(_LIST_SET, declared) + listed


def packets(told: Buffer) -> int | None:
    """Those of the element that an answer tells of."""
    for _, element in every_attribute(attributes(told, 4).get(_LIST_ELEMENTS, b"")):
        return _packets(attributes(element))
    return None


def of_set(declared: str) -> Iterator[tuple[str, int]]:
    """Each link of a set with its count. Raises StepError where the kernel does not answer."""
    for element in elements(FAMILY, TABLE, declared, Budget(_MOST_BYTES)):
        fields = attributes(element)
        if (count := _packets(fields)) is not None:
            yield string(attributes(fields.get(_KEY, b"")).get(_DATA_VALUE)), count


def _packets(element: dict[int, Buffer]) -> int | None:
    one = element.get(_EXPRESSION)
    for expression in [one] if one is not None else (it for _, it in every_attribute(element.get(_EXPRESSIONS, b""))):
        told = attributes(expression)
        if string(told.get(_EXPR_NAME)) == "counter":
            return int.from_bytes(attributes(told.get(_EXPR_DATA, b"")).get(_COUNTER_PACKETS, b""), "big")
    return None
