"""How often each of our rules that drop something dropped a packet, from the rules' own counters.

The kernel forgets a count where the chain is written anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from netplumb.reconciler.kernel.netlink.wire import Buffer, attributes, every_attribute, string
from netplumb.reconciler.kernel.nftables.dumps import Budget, told_rules
from netplumb.reconciler.kernel.nftables.jsonobjects import TABLE

# NFTA_RULE_*, _EXPR_*, _COUNTER_*, _IMMEDIATE_*, _DATA_*, _VERDICT_*: include/uapi/linux/netfilter/nf_tables.h
_RULE_CHAIN, _RULE_EXPRESSIONS, _RULE_USERDATA = 2, 4, 7
_EXPR_NAME, _EXPR_DATA = 1, 2
_COUNTER_PACKETS = 2
_IMMEDIATE_DATA, _DATA_VERDICT, _VERDICT_CODE = 2, 2, 1
_DROP = bytes(4)  # NF_DROP
_COMMENT = 0  # NFTNL_UDATA_RULE_COMMENT, in libnftnl's TLVs of one byte each for type and length
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Dropped:
    """`rule` is the rule's comment, which says what is dropped."""

    chain: str
    rule: str
    packets: int


def dropped() -> list[Dropped]:
    """Those of the calling thread's namespace. Raises StepError where the kernel does not answer, or where the ruleset
    changed meanwhile."""
    return list(_dropped())


def _dropped() -> Iterator[Dropped]:
    for told in told_rules("inet", TABLE, Budget(_MOST_BYTES)):
        packets, drops = None, False
        for _, element in every_attribute(told.get(_RULE_EXPRESSIONS, b"")):
            expression = attributes(element)
            data = attributes(expression.get(_EXPR_DATA, b""))
            match string(expression.get(_EXPR_NAME)):
                case "counter":
                    packets = int.from_bytes(data[_COUNTER_PACKETS], "big")
                case "immediate":
                    verdict = attributes(attributes(data.get(_IMMEDIATE_DATA, b"")).get(_DATA_VERDICT, b""))
                    drops |= verdict.get(_VERDICT_CODE) == _DROP
        if packets is not None and drops:
            yield Dropped(string(told.get(_RULE_CHAIN)), _comment(told.get(_RULE_USERDATA, b"")), packets)


def _comment(data: Buffer) -> str:
    offset = 0
    while offset + 2 <= len(data):
        type_, size = data[offset], data[offset + 1]
        if type_ == _COMMENT:
            return string(data[offset + 2 : offset + 2 + size])
        offset += 2 + size
    return ""
