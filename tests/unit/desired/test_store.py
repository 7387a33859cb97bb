"""The durable store: what was committed survives, what was not leaves no trace, and one daemon at a time."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netplumb.models.attachment import Attachment, AttachmentKey, AttachmentSpec, NetnsRef
from netplumb.models.errors import StoreUnwritable
from netplumb.models.naming import workload_mac
from netplumb.reconciler.desired.store import Change, Store, boot_id
from netplumb.reconciler.desired.storefile import StoreUnusableError, Verdict

NODE = "boot-1/4711"


def attachment(workload_id: str = "web", number: int = 2) -> Attachment:
    spec = AttachmentSpec(workload_id=workload_id, netns=NetnsRef(name="web"), labels={"app": "web"})
    return Attachment(
        spec=spec,
        source="rpc",
        addresses=(ip_address(f"10.1.0.{number}"), ip_address(f"fd01::{number}")),
        mac=workload_mac(spec.key),
        node_addresses=(ip_address("10.1.0.1"),),
        releasing=(ip_address("10.1.0.99"),),
        netns_cookie=2**63 + 5,
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store(tmp_path, NODE)
    yield opened
    opened.close()


def reopened(store: Store, tmp_path: Path, node: str = NODE) -> Store:
    store.close()
    return Store(tmp_path, node)


def test_what_was_committed_is_read_back_by_the_next_daemon(tmp_path: Path) -> None:
    """Attachments, claims, cursors, freed addresses and switches come back as they were."""
    store = Store(tmp_path, NODE)
    one, two = attachment(), attachment("db", 3)
    store.commit(
        Change(
            put=(one, two),
            claims={"file/web.yaml": {one.key: one.spec}},
            freed=[ip_address("10.1.0.7"), ip_address("10.1.0.5")],
            cursors=[("10.1.0.0/24", 2**40)],
        )
    )
    store.record_sysctl("net/ipv4/ip_forward", "0")
    store = reopened(store, tmp_path)
    contents = store.load()
    assert contents.attachments == {one.key: one, two.key: two}
    assert contents.claims == {"file/web.yaml": {one.key: one.spec}}
    assert contents.freed == [ip_address("10.1.0.7"), ip_address("10.1.0.5")]
    assert contents.cursors == {"10.1.0.0/24": 2**40}
    assert contents.sysctls == {"net/ipv4/ip_forward": "0"}
    assert store.used_pools() == {"10.1.0.0/24"}
    assert not store.is_new
    store.close()


def test_an_open_daemon_need_not_close_for_its_commits_to_last(store: Store, tmp_path: Path) -> None:
    """A commit is in the file when it returns: another reader sees it at once."""
    store.commit(Change(put=(attachment(),)))
    with sqlite3.connect(tmp_path / "netplumb.db") as other:
        rows = other.execute("SELECT workload_id, if_name FROM attachment").fetchall()
    other.close()
    assert rows == [("web", "eth0")]


def test_a_failed_commit_changes_nothing(store: Store) -> None:
    """Half of a change is never kept: the error that ends it takes all of it back."""
    one = attachment()
    store.commit(Change(put=(one,), freed=[ip_address("10.1.0.7")]))
    before = store.load()
    unwritable: Any = [("10.1.0.0/24", 1), (object(), 1)]
    broken = Change(put=(attachment("db"),), delete=(one.key,), cursors=unwritable)
    with pytest.raises(StoreUnwritable, match="nothing was changed"):
        store.commit(broken)
    assert store.load() == before


def test_a_full_disk_is_told_and_changes_nothing(tmp_path: Path) -> None:
    """Where the file may not grow, the commit is refused whole and what was there is still read."""
    store = Store(tmp_path, NODE)
    one = attachment()
    store.commit(Change(put=(one,)))
    limited = store._database
    (pages,) = limited.execute("PRAGMA page_count").fetchone()
    limited.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(StoreUnwritable):
        store.commit(Change(put=tuple(attachment(f"w{number}") for number in range(200))))
    assert store.load().attachments == {one.key: one}
    store.close()


@pytest.mark.parametrize("node", ["boot-2/4711", "boot-1/1234"])
def test_a_file_of_another_boot_or_node_is_set_aside(tmp_path: Path, node: str) -> None:
    """Namespaces do not outlive a boot, so nothing of the old file is believed, and it is kept for reading."""
    store = Store(tmp_path, NODE)
    store.commit(Change(put=(attachment(),)))
    fresh = reopened(store, tmp_path, node)
    try:
        assert fresh.load().attachments == {}
        assert fresh.origin.kept_as == str(tmp_path / "netplumb.db.other-boot-or-node")
        assert (tmp_path / "netplumb.db.other-boot-or-node").exists()
    finally:
        fresh.close()


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    """A file that is no database does not keep the daemon from starting."""
    (tmp_path / "netplumb.db").write_bytes(b"no database" * 1000)
    store = Store(tmp_path, NODE)
    assert store.origin.kept_as == str(tmp_path / "netplumb.db.damaged")
    assert store.load().attachments == {}
    store.close()


def test_a_file_of_an_unknown_schema_is_left_alone(tmp_path: Path) -> None:
    """A downgrade is refused with what to do, the newer file is not touched, and a refused start leaves no lock."""
    store = Store(tmp_path, NODE)
    store.commit(Change(put=(attachment(),)))
    store._database.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")
    store._database.commit()
    store.close()
    for _ in range(2):
        with pytest.raises(StoreUnusableError, match="schema 99"):
            Store(tmp_path, NODE)
    assert (tmp_path / "netplumb.db").exists()


def test_a_second_daemon_is_refused(store: Store, tmp_path: Path) -> None:
    """Two daemons never write the same file; the second is told why, and the first does not notice."""
    with pytest.raises(StoreUnusableError, match="another netplumb daemon"):
        Store(tmp_path, NODE)
    store.commit(Change(put=(attachment(),)))


def test_a_directory_that_cannot_be_is_told(tmp_path: Path) -> None:
    """A file in the directory's place is named."""
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusableError, match="cannot use the data directory"):
        Store(tmp_path / "file", NODE)


def test_a_record_that_cannot_be_read_is_damage(tmp_path: Path) -> None:
    """An unreadable record has the file set aside whole: to drop it alone would give its address out again."""
    store = Store(tmp_path, NODE)
    store._database.execute("INSERT INTO attachment VALUES ('web', 'eth0', '{}')")
    store._database.commit()
    again = reopened(store, tmp_path)
    assert again.origin.verdict is Verdict.DAMAGED
    again.close()


def test_taken_and_trimmed_addresses_are_no_longer_freed(store: Store) -> None:
    """An address given out again leaves the list, and the oldest leave it when it grows too long."""
    addresses = [ip_address(f"10.1.0.{number}") for number in range(2, 8)]
    store.commit(Change(freed=addresses))
    store.commit(Change(taken=addresses[:1]))
    assert store.load().freed == addresses[1:]
    store.trim_freed(2)
    assert store.load().freed == addresses[-2:]


def test_an_address_freed_twice_waits_from_the_last_time(store: Store) -> None:
    """The order of the list is that of the last release."""
    first, second = ip_address("10.1.0.2"), ip_address("10.1.0.3")
    store.commit(Change(freed=[first, second]))
    store.commit(Change(freed=[first]))
    assert store.load().freed == [second, first]


def test_a_file_s_claims_are_replaced_whole(store: Store) -> None:
    """What a file no longer declares is gone; other files' claims stay."""
    one, two = attachment(), attachment("db")
    store.commit(Change(claims={"file/a": {one.key: one.spec}, "file/b": {two.key: two.spec}}))
    store.commit(Change(claims={"file/a": {}}))
    assert store.load().claims == {"file/b": {two.key: two.spec}}


def test_the_first_record_of_a_switch_stands(store: Store) -> None:
    """What a switch was before netplumb is not overwritten by what netplumb made it."""
    store.record_sysctl("net/ipv4/ip_forward", "0")
    store.record_sysctl("net/ipv4/ip_forward", "1")
    assert store.load().sysctls == {"net/ipv4/ip_forward": "0"}


def test_erased_is_everything(store: Store) -> None:
    """After a purge there is nothing left to restore."""
    store.commit(Change(put=(attachment(),), freed=[ip_address("10.1.0.7")], cursors=[("10.1.0.0/24", 5)]))
    store.record_sysctl("net/ipv4/ip_forward", "0")
    store.erase()
    contents = store.load()
    assert (contents.attachments, contents.claims, contents.cursors) == ({}, {}, {})
    assert (contents.freed, contents.sysctls) == ([], {})


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(2, 200), st.booleans()), max_size=8))
def test_the_file_holds_what_the_commits_say(store: Store, some: list[tuple[str, int, bool]]) -> None:
    """After any sequence of puts and deletes the file holds the last of each key."""
    store.erase()
    expected: dict[AttachmentKey, Attachment] = {}
    for workload_id, number, put in some:
        record = attachment(workload_id, number)
        if put:
            store.commit(Change(put=(record,)))
            expected[record.key] = record
        else:
            store.commit(Change(delete=(record.key,)))
            expected.pop(record.key, None)
    assert store.load().attachments == expected


def test_the_boot_has_an_id() -> None:
    """The kernel tells one boot from another."""
    assert len(boot_id()) == 36
