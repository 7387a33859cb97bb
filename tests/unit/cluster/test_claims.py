"""Whose a prefix is, and which is free: pure decisions over what etcd holds."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.models.base import IPNetwork
from netplumb.models.clustersettings import ClusterPool
from netplumb.reconciler.cluster.claims import Claim, Ledger, claims
from netplumb.reconciler.cluster.etcd.entries import Entry
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.parts import ahead_of, free_part
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
    return [(it.node, str(it.cidr)) for it in claims(LAYOUT, entries(*said)).held]


def test_a_prefix_is_the_first_nodes_that_claimed_it() -> None:
    assert held(("a", "10.0.0.0/28", 7), ("b", "10.0.0.0/28", 5)) == [("b", "10.0.0.0/28")]


def test_one_that_overlaps_an_older_one_does_not_hold() -> None:
    said = [("a", "10.0.0.0/28", 3), ("b", "10.0.0.0/25", 4), ("c", "10.0.0.128/28", 5)]
    assert held(*said) == [("a", "10.0.0.0/28"), ("c", "10.0.0.128/28")]


def test_one_that_a_void_one_overlaps_does_not_hold_either() -> None:
    """Or it would no longer hold as soon as what makes the other void is deleted."""
    assert held(("a", "10.0.0.0/25", 3), ("b", "10.0.0.64/26", 4), ("c", "10.0.0.0/24", 5)) == [("a", "10.0.0.0/25")]
    assert held(("b", "10.0.0.64/26", 4), ("c", "10.0.0.0/24", 5)) == [("b", "10.0.0.64/26")]


def test_one_of_a_single_address_or_two_is_none() -> None:
    """No settings give a node so little; and nobody else is given it, since a key says that it is somebody's."""
    said = [("a", "10.0.0.7/32", 3), ("b", "10.0.0.4/31", 4), ("c", "10.0.0.0/28", 5)]
    assert held(*said) == [("c", "10.0.0.0/28")]
    found = claims(LAYOUT, entries(*said[:2]))
    assert not found.held
    assert found.taken == {ip_network("10.0.0.7/32"), ip_network("10.0.0.4/31")}


def test_a_claim_is_as_old_as_its_last_write() -> None:
    """One that was none when it was made cannot be changed into the oldest."""
    found = entries(("a", "10.0.0.0/28", 5), ("b", "10.0.0.0/28", 3))
    key = LAYOUT.prefix_of("b", ip_network("10.0.0.0/28"))
    found[key] = Entry(found[key].value, created=3, modified=9)
    assert [it.node for it in claims(LAYOUT, found).held] == ["a"]


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 255), st.integers(24, 30)), max_size=20), st.data())
def test_what_holds_goes_on_doing_so_until_it_is_deleted(said: list[tuple[str, int, int]], data: st.DataObject) -> None:
    """Whatever else is claimed after it or deleted; and nothing that holds has an address in common."""
    networks = [(node, ip_network((f"10.0.0.{last}", length), strict=False)) for node, last, length in said]
    order = {it: since for since, it in reversed(list(enumerate(networks, 1)))}
    all_said = [(node, str(cidr), since) for (node, cidr), since in order.items()]
    before = held(*all_said)
    pairs = [(one, other) for one in before for other in before if one[0] != other[0]]
    assert not [pair for pair in pairs if ip_network(pair[0][1]).overlaps(ip_network(pair[1][1]))]
    left = [it for it in all_said if data.draw(st.booleans())]
    later = [(data.draw(st.sampled_from("abc")), "10.0.0.0/24", len(said) + 1)] if data.draw(st.booleans()) else []
    after = held(*{it[:2]: it for it in (*later, *left)}.values())
    assert {it for it in before if it in {one[:2] for one in left}} <= set(after)


CHANGE = st.tuples(
    st.sampled_from("abc"), st.integers(0, 255), st.integers(24, 30), st.sampled_from(["put", "put", "delete", "junk"])
)


@given(st.lists(CHANGE, max_size=40))
def test_a_change_comes_to_the_same_as_reading_all_anew(changes: list[tuple[str, int, int, str]]) -> None:
    """Of claims that overlap in any way, come, are written again, go, and say nothing; and it is told of which nodes
    something is otherwise."""
    ledger, found = Ledger(LAYOUT), dict[str, Entry]()
    for revision, (node, last, length, what) in enumerate(changes, 1):
        before = {it: (ledger.held_by(it), ledger.void_of(it)) for it in "abc"}
        cidr = ip_network((f"10.0.0.{last}", length), strict=False)
        said = entries((node, str(cidr), revision))
        (key, entry) = said.popitem()
        if what == "delete":
            found.pop(key, None)
            touched = ledger.take(key, None)
        else:
            found[key] = entry if what == "put" else Entry(b"junk", revision, revision)
            touched = ledger.take(key, found[key])
        assert ledger.claims == claims(LAYOUT, found)
        after = {it: (ledger.held_by(it), ledger.void_of(it)) for it in "abc"}
        assert {it for it in "abc" if before[it] != after[it]} <= touched


def test_nodes_that_join_at_once_leave_each_other_a_part() -> None:
    """In the order in which they came; who has one already, or goes, is nobody's to wait for."""
    present = {"c": 5, "a": 7, "b": 9}
    pool = ip_network("10.0.0.0/24")
    assert [ahead_of(it, pool, [], present) for it in ("c", "a", "b", "unseen")] == [0, 1, 2, 3]
    having = [Claim("c", ip_network("10.0.0.0/28"), pool, 11)]
    assert [ahead_of(it, pool, having, present) for it in ("a", "b", "c")] == [0, 1, 2]


def test_a_key_that_says_nothing_is_passed_over() -> None:
    found = entries(("a", "10.0.0.0/28", 3)) | {
        LAYOUT.prefixes.first + "b/nonsense": Entry(b"{}", 1, 1),
        LAYOUT.prefix_of("c", ip_network("10.0.0.16/28")): Entry(b"not json", 1, 1),
        LAYOUT.node("a"): Entry(b"{}", 1, 1),
    }
    assert [it.node for it in claims(LAYOUT, found).held] == ["a"]


def test_a_layout_reads_what_it_writes() -> None:
    for cidr in ("10.0.0.0/28", "fd80:0:0:1::/64"):
        assert LAYOUT.prefix_in(LAYOUT.prefix_of("node-a", ip_network(cidr))) == ("node-a", ip_network(cidr))


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(24, 30)), max_size=40), st.integers(0, 40))
def test_a_free_part_is_found_and_none_else(taken: list[tuple[int, int]], ahead: int) -> None:
    """Whatever is taken, of whatever length: the first that is free, or the one after those that are ahead."""
    networks: list[IPNetwork] = [ip_network((f"10.0.0.{last}", length), strict=False) for last, length in taken]
    parts: list[IPNetwork] = [ip_network((f"10.0.0.{number}", POOL.node_length)) for number in range(0, 256, 16)]
    free = [part for part in parts if not any(part.overlaps(it) for it in networks)]
    assert free_part(POOL, networks, ahead) == (free[ahead % len(free)] if free else None)


@pytest.mark.parametrize("around", ["10.0.0.0/8", "10.0.0.0/24", "0.0.0.0/0"])
def test_nothing_is_free_where_all_is_taken(around: str) -> None:
    assert free_part(POOL, [ip_network(around)]) is None


def test_a_pool_of_many_parts_is_searched_quickly() -> None:
    pool = ClusterPool.model_validate({"cidr": "fd80::/16", "node_prefix_len": 120})
    first = int(pool.cidr.network_address)
    taken = [ip_network((first + (number << 8), 120)) for number in range(5000)]
    assert free_part(pool, taken) == ip_network((first + (5000 << 8), 120))
