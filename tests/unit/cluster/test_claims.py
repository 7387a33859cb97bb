"""Whose a prefix is, and which is free: pure decisions over what etcd holds."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from netplumb.models.base import IPNetwork
from netplumb.models.clustersettings import ClusterPool
from netplumb.reconciler.cluster.claims import claims, free_part
from netplumb.reconciler.cluster.etcd.entries import Entry
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.records import PrefixRecord

LAYOUT = Layout("/netplumb")
POOL = ClusterPool.model_validate({"cidr": "10.0.0.0/24", "node_prefix_len": 28})


def entries(*said: tuple[str, str, int]) -> dict[str, Entry]:
    record = PrefixRecord(pool=ip_network("10.0.0.0/24")).written()
    return {
        LAYOUT.prefix_of(node, ip_network(cidr)): Entry(record, created=since, modified=since)
        for node, cidr, since in said
    }


def held(*said: tuple[str, str, int]) -> list[tuple[str, str]]:
    return [(it.node, str(it.cidr)) for it in claims(LAYOUT, entries(*said))]


def test_a_prefix_is_the_first_nodes_that_claimed_it() -> None:
    assert held(("a", "10.0.0.0/28", 7), ("b", "10.0.0.0/28", 5)) == [("b", "10.0.0.0/28")]


def test_one_that_overlaps_an_older_one_does_not_hold() -> None:
    said = [("a", "10.0.0.0/28", 3), ("b", "10.0.0.0/25", 4), ("c", "10.0.0.64/28", 5)]
    assert held(*said) == [("a", "10.0.0.0/28"), ("c", "10.0.0.64/28")]


def test_a_key_that_says_nothing_is_passed_over() -> None:
    found = entries(("a", "10.0.0.0/28", 3)) | {
        LAYOUT.prefixes.first + "b/nonsense": Entry(b"{}", 1, 1),
        LAYOUT.prefix_of("c", ip_network("10.0.0.16/28")): Entry(b"not json", 1, 1),
        LAYOUT.node("a"): Entry(b"{}", 1, 1),
    }
    assert [it.node for it in claims(LAYOUT, found)] == ["a"]


def test_a_layout_reads_what_it_writes() -> None:
    for cidr in ("10.0.0.0/28", "fd80:0:0:1::/64"):
        assert LAYOUT.prefix_in(LAYOUT.prefix_of("node-a", ip_network(cidr))) == ("node-a", ip_network(cidr))


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(24, 30)), max_size=40))
def test_the_first_free_part_is_found_and_none_else(taken: list[tuple[int, int]]) -> None:
    """Whatever is taken, of whatever length: the part is free, and no earlier one is."""
    networks: list[IPNetwork] = [ip_network((f"10.0.0.{last}", length), strict=False) for last, length in taken]
    parts: list[IPNetwork] = [ip_network((f"10.0.0.{number}", POOL.node_length)) for number in range(0, 256, 16)]
    free = [part for part in parts if not any(part.overlaps(it) for it in networks)]
    assert free_part(POOL, networks) == (free[0] if free else None)


def test_a_pool_of_many_parts_is_searched_quickly() -> None:
    pool = ClusterPool.model_validate({"cidr": "fd80::/16", "node_prefix_len": 120})
    first = int(pool.cidr.network_address)
    taken = [ip_network((first + (number << 8), 120)) for number in range(5000)]
    assert free_part(pool, taken) == ip_network((first + (5000 << 8), 120))
