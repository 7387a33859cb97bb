"""Who there is and who holds what, learnt key by key."""

from __future__ import annotations

from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplumb.reconciler.cluster import roster
from netplumb.reconciler.cluster.etcd.entries import Entry
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.records import Identity, NodeRecord, PrefixRecord, R, read
from netplumb.reconciler.cluster.roster import Roster

LAYOUT = Layout("/netplumb")
POOL = ip_network("10.0.0.0/24")
POOLS = [POOL, ip_network("fd80::/48")]
NAMES = ("a", "b", "c")


def node(name: str, boot: str = "1") -> tuple[str, bytes]:
    record = NodeRecord(identity=Identity(boot=boot), underlay=(ip_address("192.0.2.1"),), version="1.0")
    return LAYOUT.node(name), record.written()


def prefix(name: str, cidr: str, pool: str = "10.0.0.0/24") -> tuple[str, bytes]:
    return LAYOUT.prefix_of(name, ip_network(cidr)), PrefixRecord(pool=ip_network(pool)).written()


def keys() -> list[tuple[str, bytes]]:
    found = [(LAYOUT.presence(name), b"{}") for name in NAMES]
    found += [node(name, boot) for name in NAMES for boot in ("1", "2")]
    found += [prefix(name, cidr) for name in NAMES for cidr in ("10.0.0.0/28", "10.0.0.0/27", "10.0.0.16/28")]
    found += [prefix(name, "192.0.2.0/24") for name in NAMES]
    return [*found, (LAYOUT.node("a"), b"junk"), (LAYOUT.documents.first + "x", b"{}"), (LAYOUT.shared.first, b"")]


def test_nobody_is_called_what_no_node_can_be_called() -> None:
    """What lies below the name of a node, as the keys of another cluster whose `prefix` is among these would."""
    roster = Roster(LAYOUT)
    names = ("", "a/b", "a/attachments/web", " a", "\udcff")
    record = node("a")[1]
    roster.take({first + it: Entry(record, 1, 1) for first in (LAYOUT.node(""), LAYOUT.presence("")) for it in names})
    assert (roster.peers, roster.present) == ({}, {})


def test_an_address_of_several_nodes_is_found_while_they_are_there() -> None:
    """One that is away may have lost it to a machine that came in its place; who holds nothing is sent nothing."""
    roster = Roster(LAYOUT)
    found = [node("a"), node("b"), node("c"), prefix("a", "10.0.0.0/28"), prefix("b", "10.0.0.16/28")]
    for key, value in found:
        roster.take({key: Entry(value, 1, 1)})
    assert roster.at_one_address == {}
    for name in NAMES:
        roster.take({LAYOUT.presence(name): Entry(b"{}", 1, 1)})
    assert roster.at_one_address == {ip_address("192.0.2.1"): ["a", "b"]}
    roster.take({LAYOUT.presence("b"): None})
    assert roster.at_one_address == {}


@given(st.lists(st.tuples(st.sampled_from(keys()), st.booleans(), st.booleans()), max_size=40))
def test_key_by_key_comes_to_the_same_as_all_at_once(changes: list[tuple[tuple[str, bytes], bool, bool]]) -> None:
    """Whatever comes, changes and goes, one after the other or several together."""
    roster, entries, together = Roster(LAYOUT, "a", POOLS), dict[str, Entry](), dict[str, Entry | None]()
    for revision, ((key, value), is_put, is_last) in enumerate(changes, 1):
        if is_put:
            created = entries[key].created if key in entries else revision
            entries[key] = Entry(value, created, revision)
        else:
            entries.pop(key, None)
        together[key] = entries.get(key)
        if is_last:
            roster.take(together)
            together.clear()
            whole = Roster(LAYOUT, "a", POOLS)
            whole.take(entries)
            assert roster.peers == whole.peers
            assert {name: (it.boot_id, it.version, it.present) for name, it in roster.peers.items()} == {
                name: (it.boot_id, it.version, it.present) for name, it in whole.peers.items()
            }
            assert (roster.claims, roster.strays, roster.present) == (whole.claims, whole.strays, whole.present)


def test_what_lies_outside_of_the_pools_is_no_others_prefix() -> None:
    """Neither outside of those of the settings, nor of the one that it is said to be of; people are shown it all."""
    said = dict([prefix("b", "10.0.0.0/28"), prefix("b", "192.0.2.0/25", "192.0.2.0/24"), prefix("c", "10.0.0.64/28")])
    said |= dict([prefix("c", "10.0.9.0/28"), node("b")])
    entries = {key: Entry(value, 1, 1) for key, value in said.items()}
    roster, everything = Roster(LAYOUT, "a", POOLS), Roster(LAYOUT)
    roster.take(entries)
    everything.take(entries)
    assert {name: [str(it.cidr) for it in peer.prefixes] for name, peer in roster.peers.items()} == {
        "b": ["10.0.0.0/28"],
        "c": ["10.0.0.64/28"],
    }
    assert [str(it.cidr) for it in roster.strays] == ["192.0.2.0/25", "10.0.9.0/28"]
    assert [str(it.cidr) for it in everything.peers["b"].prefixes] == ["10.0.0.0/28", "192.0.2.0/25"]


def test_a_key_that_meets_a_bug_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of such a key nothing is made, and all others count, also at a start."""

    def fails_at(kind: type[R], value: bytes) -> R | None:
        if value == b"hostile":
            raise RecursionError
        return read(kind, value)

    monkeypatch.setattr(roster, "read", fails_at)
    known = Roster(LAYOUT)
    changes = {LAYOUT.node("a"): b"hostile", **dict([node("b"), prefix("b", "10.0.0.0/28")])}
    known.take({key: Entry(value, 1, 1) for key, value in changes.items()})
    assert known.peers.keys() == {"b"}
    assert known.broken == {LAYOUT.node("a"): "RecursionError"}
    known.take({LAYOUT.node("a"): Entry(node("a")[1], 1, 2)})
    assert known.peers.keys() == {"a", "b"}
    assert not known.broken
