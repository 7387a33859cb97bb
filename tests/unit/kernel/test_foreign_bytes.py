"""Whatever bytes stand for a foreign rule, set or table, reading them ends in words or in an error that is expected."""

from __future__ import annotations

from contextlib import suppress
from struct import error, pack

from hypothesis import given
from hypothesis import strategies as st

from netplumb.reconciler.kernel.firewalls.nftrules import Decoder
from netplumb.reconciler.kernel.firewalls.nftsets import element
from netplumb.reconciler.kernel.firewalls.xtentries import IP, IP6, Layout, listed
from netplumb.reconciler.kernel.firewalls.xtmatches import decoded
from netplumb.reconciler.kernel.netlink.wire import attribute, text

EXPECTED = (LookupError, ValueError, TypeError, error)
NAMES = st.sampled_from(
    ["meta", "ct", "payload", "fib", "bitwise", "cmp", "range", "lookup", "immediate", "match", "nat", "dynset", "new"]
)
NUMBERS = st.integers(0, 30).map(lambda number: pack(">I", number))
VALUES = st.binary(max_size=40)
PAYLOADS = st.dictionaries(st.integers(1, 8), NUMBERS | VALUES | VALUES.map(lambda value: attribute(1, value))).map(
    lambda told: b"".join(attribute(type_, value) for type_, value in told.items())
)
RULES = st.lists(st.tuples(NAMES, PAYLOADS)).map(
    lambda parts: b"".join(attribute(1, text(1, name) + attribute(2, payload)) for name, payload in parts)
)


@given(RULES | st.binary(), st.lists(VALUES))
def test_a_rule_of_any_bytes(rule: bytes, elements: list[bytes]) -> None:
    """Of known expressions with odd content, and of no expressions at all."""
    with suppress(*EXPECTED):
        Decoder(0, lambda _: [element(attribute(1, attribute(1, each))) for each in elements], str).rule(rule)


@given(st.sampled_from([IP, IP6]), st.binary(min_size=44, max_size=44), st.binary(max_size=800))
def test_a_legacy_table_of_any_bytes(layout: Layout, info: bytes, entries: bytes) -> None:
    """It never reads on without end."""
    with suppress(*EXPECTED):
        assert len(list(listed(layout, "filter", info, entries))) <= len(entries)


MATCHES = st.sampled_from(
    ["conntrack", "state", "tcp", "udp", "multiport", "addrtype", "mark", "iprange", "devgroup", "icmp", "pkttype"]
)


@given(MATCHES, st.integers(0, 4), st.binary(max_size=200), st.sampled_from([4, 6]))
def test_a_match_of_any_bytes_is_known_or_not(name: str, revision: int, data: bytes, version: int) -> None:
    """Another kernel's structure of the same name raises nothing."""
    known = decoded(name, revision, data, version)
    assert known is None or isinstance(known, list)
