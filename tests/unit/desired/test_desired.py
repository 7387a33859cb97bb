"""Desired state: who may change what, that every change is durable before it is seen, and what waits for whom."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from netplumb.models.attachment import AttachmentKey, AttachmentSpec, DetachSpec, NetnsRef
from netplumb.models.errors import AlreadyHeld, HeldBySource, InvalidRequest, NotReady, PoolExhausted, StoreUnwritable
from netplumb.reconciler.desired.declarations import Declarations
from netplumb.reconciler.desired.state import Desired
from netplumb.reconciler.desired.store import Change, Store
from tests.unit.benches import DB, POOLS, WEB, Bench, declare, pools, record, texts, wish


def test_a_wish_is_given_an_address_of_each_family_and_survives_a_restart(bench: Bench) -> None:
    """What was recorded is durable, and the restarted daemon has the very same."""
    made = bench.desired.attach(wish(), 7)
    assert texts(made) == ["10.0.0.2", "fd00::2"]
    assert [str(address) for address in made.node_addresses] == ["10.0.0.1", "fd00::1"]
    assert bench.marked == [WEB]
    assert bench.stored().attachments == {WEB: made}
    assert bench.restart().attachments == {WEB: made}
    assert texts(bench.desired.attach(wish("db"), 8)) == ["10.0.0.3", "fd00::3"]


def test_the_record_is_durable_before_the_key_is_marked(tmp_path: Path) -> None:
    """When the loop hears of a key, another reader of the file sees its record."""
    seen = []
    store = Store(tmp_path, "node")

    def mark(key: AttachmentKey) -> None:
        with sqlite3.connect(tmp_path / "netplumb.db") as other:
            seen.extend(other.execute("SELECT workload_id, if_name FROM attachment").fetchall())
        other.close()

    Desired(store, pools(*POOLS), mark, lambda: None).attach(wish(), 7)
    store.close()
    assert seen == [tuple(WEB)]


def test_a_preview_records_nothing(bench: Bench) -> None:
    """What an attach would make can be looked at any number of times."""
    assert bench.desired.preview(wish(), 7) == bench.desired.preview(wish(), 7)
    assert bench.desired.attachments == {}
    assert bench.marked == []
    assert bench.desired.attach(wish(), 7) == bench.desired.preview(wish(), 7)


def test_a_failed_commit_changes_nothing(bench: Bench) -> None:
    """An attach that could not be written uses up no address, marks no key, and works the next time."""
    bench.break_store()
    with pytest.raises(StoreUnwritable):
        bench.desired.attach(wish(), 7)
    assert bench.desired.attachments == {}
    assert bench.marked == []
    bench.mend_store()
    assert texts(bench.desired.attach(wish(), 7)) == ["10.0.0.2", "fd00::2"]


def test_no_failed_change_shows_in_memory(bench: Bench) -> None:
    """Detach, forget, converged, placed and declare leave everything as it was when they cannot be written."""
    desired = bench.desired
    desired.attach(wish(), 7)
    desired.attach(wish(addresses=["10.0.0.5"]), 7)
    desired.attach(wish("db"), 8)
    desired.detach(DetachSpec(workload_id="db"), 0)
    before, usage = dict(desired.attachments), desired.allocator.usage()
    bench.marked.clear()
    bench.break_store()
    changes: tuple[Callable[[], object], ...] = (
        lambda: desired.detach(DetachSpec(workload_id="web"), 0),
        lambda: desired.forget(DB),
        lambda: desired.converged(WEB, 2),
        lambda: desired.placed(WEB, 9, created=True),
        lambda: declare(desired, "file/a", [wish("new")]),
        lambda: desired.attach(wish(mtu=1400), 7),
    )
    for change in changes:
        with pytest.raises(StoreUnwritable):
            change()
    assert desired.attachments == before
    assert desired.allocator.usage() == usage
    assert bench.marked == []
    assert desired.claims.sources == ()
    bench.mend_store()
    assert bench.restart().attachments == before


def test_the_same_wish_again_changes_nothing(bench: Bench) -> None:
    """A repeated attach has the same record, generation included, and costs no pass."""
    first = bench.desired.attach(wish(labels={"a": "b"}), 7)
    bench.marked.clear()
    assert bench.desired.attach(wish(labels={"a": "b"}), 7) is first
    assert bench.marked == []


@pytest.mark.parametrize(
    ("again", "cookie"),
    [
        (wish(mtu=1400), 7),
        (wish(mac="02:00:00:00:00:09"), 7),
        (wish(addresses=["10.0.0.5"]), 7),
        (wish(labels={"a": "b"}), 7),
        (wish(container_id="c2"), 7),
        (wish(netns={"path": "/run/netns/other"}), 7),
        (wish(), 8),
    ],
)
def test_the_generation_grows_with_each_change_of_the_wish(
    desired: Desired, again: AttachmentSpec, cookie: int
) -> None:
    """Each part of a wish counts, the namespace behind the path too; what was assigned and not asked for stays."""
    before = desired.attach(wish(), 7)
    after = desired.attach(again, cookie)
    assert after.generation == before.generation + 1
    assert after.addresses[-1] == before.addresses[-1]
    if not again.addresses:
        assert after.addresses == before.addresses


@pytest.mark.parametrize("again", [{"addresses": ["10.0.0.2", "fd00::2"]}, {"addresses": ["fd00::2"]}])
def test_a_wish_for_what_it_has_is_the_same_wish(desired: Desired, again: dict[str, Any]) -> None:
    """To state the address that was assigned, or the derived MAC, is no change."""
    before = desired.attach(wish(), 7)
    assert desired.attach(wish(mac=before.mac, **again), 7).generation == before.generation


def test_without_any_pool_a_wish_must_bring_its_addresses(tmp_path: Path) -> None:
    """Nothing to give is told with what to do; static addresses need no pool."""
    bench = Bench(tmp_path, ())
    with pytest.raises(NotReady, match="--pool"):
        bench.desired.attach(wish(), 7)
    assert texts(bench.desired.attach(wish(addresses=["192.0.2.9"]), 7)) == ["192.0.2.9"]
    bench.store.close()


def test_a_full_pool_refuses_and_one_family_s_shortage_uses_up_none_of_the_other(desired: Desired) -> None:
    """The sixth workload of a /29 is refused, and no IPv6 address is lost by it."""
    for number in range(5):
        desired.attach(wish(f"w{number}"), 7)
    with pytest.raises(PoolExhausted, match=r"10\.0\.0\.0/29"):
        desired.attach(wish(), 7)
    assert [usage.held for usage in desired.allocator.usage()] == [5, 5]


def test_an_address_of_another_is_refused_with_its_holder(desired: Desired) -> None:
    """Of two wishes for one address the first keeps it."""
    desired.attach(wish(addresses=["10.0.0.5"]), 7)
    with pytest.raises(AlreadyHeld, match="web/eth0"):
        desired.attach(wish("db", addresses=["10.0.0.5"]), 8)
    with pytest.raises(InvalidRequest, match="node's own"):
        desired.attach(wish("db", addresses=["10.0.0.1"]), 8)
    assert DB not in desired.attachments


def test_a_replaced_address_is_kept_until_the_kernel_let_go_of_it(desired: Desired) -> None:
    """What an older wish held stays nobody else's until the newer one is in the kernel."""
    desired.attach(wish(), 7)
    after = desired.attach(wish(addresses=["10.0.0.5"]), 7)
    old = ip_address("10.0.0.2")
    assert after.releasing == (old,)
    assert desired.allocator.holder(old) == WEB
    desired.converged(WEB, after.generation - 1)
    assert desired.allocator.holder(old) == WEB
    desired.converged(WEB, after.generation)
    assert desired.allocator.holder(old) is None
    assert record(desired).releasing == ()
    assert record(desired).generation == after.generation


def test_an_address_that_is_wanted_back_is_not_released(desired: Desired) -> None:
    """From one address to another and back, nothing is let go that is in use."""
    desired.attach(wish(addresses=["10.0.0.2"]), 7)
    desired.attach(wish(addresses=["10.0.0.5"]), 7)
    back = desired.attach(wish(addresses=["10.0.0.2"]), 7)
    assert back.releasing == (ip_address("10.0.0.5"),)
    desired.converged(WEB, back.generation)
    assert desired.allocator.holder(ip_address("10.0.0.2")) == WEB


def test_a_detached_attachment_keeps_its_addresses_until_it_is_forgotten(bench: Bench) -> None:
    """Addresses go when the interface is gone, and then rest while others are free."""
    desired = bench.desired
    made = desired.attach(wish(), 7)
    removing = desired.detach(DetachSpec(workload_id="web"), 0)
    assert removing is not None
    assert removing.removing
    assert removing.generation == made.generation + 1
    assert desired.allocator.holder(made.addresses[0]) == WEB
    assert bench.restart().attachments[WEB].removing
    desired = bench.desired
    desired.forget(WEB)
    assert desired.attachments == {}
    assert bench.stored().attachments == {}
    assert bench.stored().freed == list(made.addresses)
    assert texts(desired.attach(wish("db"), 8)) == ["10.0.0.3", "fd00::3"]


def test_only_what_is_being_removed_is_forgotten(desired: Desired) -> None:
    """A late word of the kernel's about an older wish removes no new one."""
    made = desired.attach(wish(), 7)
    desired.forget(WEB)
    desired.forget(DB)
    assert record(desired) == made


def test_an_attach_during_removal_takes_the_record_over(desired: Desired) -> None:
    """A new wish for a key that is going has its addresses again and a later generation than the removal."""
    made = desired.attach(wish(), 7)
    removing = desired.detach(DetachSpec(workload_id="web"), 0)
    assert removing is not None
    again = desired.attach(wish(), 9)
    assert again.addresses == made.addresses
    assert not again.removing
    assert again.generation > removing.generation


@pytest.mark.parametrize(
    ("fields", "path_cookie", "meant"),
    [
        ({}, 0, True),
        ({"netns_path": "/run/netns/web"}, 0, True),
        ({"netns_path": "/proc/1/ns/net"}, 7, True),
        ({"netns_path": "/proc/1/ns/net"}, 8, False),
        ({"netns_path": "/proc/1/ns/net"}, 0, False),
        ({"container_id": "c1", "netns_path": "/proc/1/ns/net"}, 0, True),
        ({"container_id": "c0"}, 7, False),
        ({"container_id": "c0", "netns_path": "/run/netns/web"}, 7, False),
    ],
)
def test_a_late_detach_for_an_older_sandbox_is_nothing_to_do(
    desired: Desired, fields: dict[str, str], path_cookie: int, meant: bool
) -> None:
    """A Detach means this attachment by container, path or namespace; an echo for a former one removes nothing."""
    desired.attach(wish(container_id="c1"), 7)
    gone = desired.detach(DetachSpec.model_validate({"workload_id": "web", **fields}), path_cookie)
    assert (gone is not None) == meant
    assert record(desired).removing == meant


def test_detach_repeats_and_unknown_keys_are_fine(desired: Desired) -> None:
    """A second Detach waits for the same removal; one for nobody has nothing to wait for."""
    desired.attach(wish(), 7)
    first = desired.detach(DetachSpec(workload_id="web"), 0)
    assert desired.detach(DetachSpec(workload_id="web"), 0) == first
    assert desired.detach(DetachSpec(workload_id="db"), 0) is None


def test_a_files_attachment_is_not_an_rpcs_to_change(desired: Desired) -> None:
    """Attach and Detach over RPC are refused with the file's name."""
    declare(desired, "file/a.yaml", [wish()])
    with pytest.raises(HeldBySource, match=r"file/a\.yaml"):
        desired.detach(DetachSpec(workload_id="web"), 0)
    with pytest.raises(AlreadyHeld, match=r"file/a\.yaml"):
        desired.attach(wish(), 7)


def test_a_claim_on_a_held_key_waits_and_takes_over(bench: Bench) -> None:
    """The first holder keeps the key; when it lets go, the waiting file has it, addresses and all."""
    desired = bench.desired
    made = desired.attach(wish(), 7)
    declare(desired, "file/a", [wish(mtu=1400)])
    assert record(desired) == made
    assert [source for source, _, _ in desired.claims.waiting()] == ["file/a"]
    assert desired.detach(DetachSpec(workload_id="web"), 0) is None
    taken = record(desired)
    assert (taken.source, taken.spec.mtu, taken.addresses) == ("file/a", 1400, made.addresses)
    assert taken.generation == made.generation + 1
    assert taken.netns_cookie == 7
    assert list(desired.claims.waiting()) == []
    assert bench.restart().attachments == {WEB: taken}


def test_of_two_files_the_first_has_the_key_and_the_second_follows(desired: Desired) -> None:
    """What the first file no longer declares is the second's at once, and nobody's after that."""
    declare(desired, "file/a", [wish()])
    declare(desired, "file/b", [wish(mtu=1400)])
    assert record(desired).source == "file/a"
    declare(desired, "file/a", [])
    assert record(desired).source == "file/b"
    declare(desired, "file/b", [])
    assert record(desired).removing
    assert desired.claims.sources == ()


def test_a_claim_on_a_held_address_waits_for_it(desired: Desired) -> None:
    """A file's static address that another holds is had as soon as it is free."""
    desired.attach(wish(addresses=["10.0.0.5"]), 7)
    declare(desired, "file/a", [wish("db", addresses=["10.0.0.5"])])
    ((_, spec, error),) = desired.claims.waiting()
    assert spec.key == DB
    assert "web/eth0" in str(error)
    desired.detach(DetachSpec(workload_id="web"), 0)
    assert DB not in desired.attachments
    desired.forget(WEB)
    assert texts(record(desired, DB))[0] == "10.0.0.5"
    assert list(desired.claims.waiting()) == []


@pytest.mark.parametrize("let_go", ["dropped", "detached"])
def test_a_claim_on_a_held_port_has_it_once_it_is_let_go(desired: Desired, let_go: str) -> None:
    """Be it that its holder wants another port, or nothing any more."""
    port = {"host_port": 8080, "container_port": 80}
    desired.attach(wish(port_mappings=[port]), 7)
    declare(desired, "file/a", [wish("db", port_mappings=[port])])
    assert DB not in desired.attachments
    if let_go == "dropped":
        desired.attach(wish(port_mappings=[port | {"host_port": 8081}]), 7)
    else:
        desired.detach(DetachSpec(workload_id="web"), 0)
    assert DB in desired.attachments
    assert list(desired.claims.waiting()) == []


@pytest.mark.parametrize("files", [1, 2])
@pytest.mark.parametrize("first", [0, 1, 2])
def test_ports_are_handed_round(desired: Desired, files: int, first: int) -> None:
    """Each of three has the next one's port, in one file or in several, whoever is read first."""
    names = ("web", "db", "cache")

    def say(turn: int) -> None:
        specs = [
            wish(name, port_mappings=[{"host_port": 8080 + (at + turn) % 3, "container_port": 80}])
            for at, name in enumerate(names)
        ]
        specs = [*specs[first:], *specs[:first]]
        declare(desired, "file/a", specs[: len(specs) // files])
        if files > 1:
            declare(desired, "file/b", specs[len(specs) // files :])

    say(0)
    generation = record(desired).generation
    say(1)
    served = {it.spec.workload_id: it.spec.port_mappings[0].host_port for it in desired.attachments.values()}
    assert served == {"web": 8081, "db": 8082, "cache": 8080}
    assert list(desired.claims.waiting()) == []
    assert record(desired).generation > generation


def test_a_port_is_let_go_only_for_who_waits_for_it(desired: Desired) -> None:
    """Who cannot have another port keeps the one that it has, until somebody is to have that one."""
    held, wanted = {"host_port": 8080, "container_port": 80}, {"host_port": 8081, "container_port": 80}
    desired.attach(wish("rpc", port_mappings=[wanted]), 7)
    declare(desired, "file/a", [wish(port_mappings=[held])])
    declare(desired, "file/a", [wish(port_mappings=[wanted])])
    assert [it.host_port for it in record(desired).spec.port_mappings] == [8080]
    declare(desired, "file/b", [wish("db", port_mappings=[held])])
    assert record(desired).spec.port_mappings == ()
    assert record(desired, DB).source == "file/b"
    assert [source for source, *_ in desired.claims.waiting()] == ["file/a"]


def test_a_claim_that_cannot_be_written_waits_as_any_other(bench: Bench) -> None:
    """A disk that is full when the daemon starts is told of, and tried again."""
    bench.desired.attach(wish(), 7)
    declare(bench.desired, "file/a", [wish()])
    bench.store.commit(Change(delete=[WEB]))
    desired = bench.restart()
    bench.break_store()
    deque(Declarations(desired).resuming(), maxlen=0)
    ((source, _, error),) = desired.claims.waiting()
    assert (source, isinstance(error, StoreUnwritable)) == ("file/a", True)
    bench.mend_store()
    deque(Declarations(desired).settling(), maxlen=0)
    assert record(desired).source == "file/a"


def test_a_change_that_waited_is_taken_up_by_the_next_daemon(bench: Bench) -> None:
    """The file has its key, and waits for the port that it wants since."""
    ports = [{"host_port": 80, "container_port": 80}]
    bench.desired.attach(wish("db", port_mappings=ports), 8)
    declare(bench.desired, "file/a", [wish()])
    declare(bench.desired, "file/a", [wish(port_mappings=ports)])
    desired = bench.restart()
    deque(Declarations(desired).resuming(), maxlen=0)
    ((source, spec, _),) = desired.claims.waiting()
    assert (source, spec.key) == ("file/a", WEB)
    desired.detach(DetachSpec(workload_id="db"), 0)
    assert record(desired).spec.port_mappings == spec.port_mappings


def test_a_claim_that_found_no_pool_is_met_when_one_comes(tmp_path: Path) -> None:
    """Other pools settle what waited."""
    bench = Bench(tmp_path, ())
    declare(bench.desired, "file/a", [wish()])
    assert WEB not in bench.desired.attachments
    bench.desired.configure(pools("10.0.0.0/24"))
    assert texts(record(bench.desired)) == ["10.0.0.2"]
    bench.store.close()


def test_a_claim_that_cannot_take_over_does_not_hold_a_detach_up(desired: Desired) -> None:
    """A waiting file that asks for an address of a third attachment goes on waiting; the key is let go all the same."""
    desired.attach(wish("db", addresses=["10.0.0.5"]), 8)
    desired.attach(wish(), 7)
    declare(desired, "file/a", [wish(addresses=["10.0.0.5"])])
    declare(desired, "file/b", [wish(mtu=1400)])
    assert desired.detach(DetachSpec(workload_id="web"), 0) is None
    assert record(desired).source == "file/b"
    declare(desired, "file/b", [])
    assert record(desired).removing
    desired.forget(WEB)
    ((source, _, error),) = desired.claims.waiting()
    assert (source, "db/eth0" in str(error)) == ("file/a", True)


def test_an_unchanged_file_changes_nothing(bench: Bench) -> None:
    """To read the same file again, on another daemon even, costs no pass and no generation."""
    declare(bench.desired, "file/a", [wish(), wish("db")])
    before = dict(bench.desired.attachments)
    bench.restart()
    bench.marked.clear()
    declare(bench.desired, "file/a", [wish(), wish("db")])
    assert bench.desired.attachments == before
    assert bench.marked == []


def test_a_claim_no_longer_declared_does_not_take_over(desired: Desired) -> None:
    """A file that gave up waiting gets nothing."""
    desired.attach(wish(), 7)
    declare(desired, "file/a", [wish()])
    declare(desired, "file/a", [])
    assert list(desired.claims.waiting()) == []
    removing = desired.detach(DetachSpec(workload_id="web"), 0)
    assert removing is not None
    assert removing.removing


def test_a_claim_given_up_does_not_take_over_while_others_are_given_up(desired: Desired) -> None:
    """Between two steps of a declaration a client may let go of a key that the file no longer declares."""
    desired.attach(wish(), 7)
    declare(desired, "file/a", [wish(), wish("db")])
    steps = Declarations(desired).declaring("file/a", [])
    next(steps)
    removing = desired.detach(DetachSpec(workload_id="web"), 0)
    assert removing is not None
    for _ in steps:
        pass
    assert [it.removing for it in desired.attachments.values()] == [True, True]
    assert list(desired.claims.waiting()) == []


def test_a_declaration_that_could_not_be_finished_is_made_whole_by_the_next(bench: Bench) -> None:
    """A disk that fills up half-way leaves some given up; the same declaration again gives up the rest."""
    desired = bench.desired
    declare(desired, "file/a", [wish(), wish("db")])
    steps = Declarations(desired).declaring("file/a", [wish("third")])
    next(steps)
    bench.break_store()
    with pytest.raises(StoreUnwritable):
        next(steps)
    assert [it.removing for it in desired.attachments.values()] == [True, False]
    bench.mend_store()
    declare(desired, "file/a", [wish("third")])
    assert [it.removing for it in desired.attachments.values()] == [True, True, False]
    assert bench.restart().attachments == desired.attachments


def test_where_a_files_namespace_turned_out_to_be_is_recorded_without_a_generation(bench: Bench) -> None:
    """A state file's wish is a path: another namespace there is the same wish."""
    declare(bench.desired, "file/a", [wish()])
    before = record(bench.desired)
    placed = bench.desired.placed(WEB, 42, created=True)
    assert (placed.netns_cookie, placed.netns_created, placed.generation) == (42, True, before.generation)
    assert bench.desired.placed(WEB, 42, created=True) is placed
    assert bench.restart().attachments[WEB] == placed


def test_the_nodes_address_in_a_removed_pool_lives_as_long_as_its_attachments(desired: Desired) -> None:
    """Workloads of a pool that was taken away are still answered from the address that their routes prefer."""
    desired.attach(wish(), 7)
    desired.configure(pools("10.9.0.0/24"))
    assert {str(address) for address in desired.node_addresses()} == {"10.9.0.1", "10.0.0.1", "fd00::1"}
    assert desired.attach(wish(), 7).generation == 1
    desired.detach(DetachSpec(workload_id="web"), 0)
    desired.forget(WEB)
    assert {str(address) for address in desired.node_addresses()} == {"10.9.0.1"}


def test_the_namespace_reference_alone_is_enough() -> None:
    """A wish by name and one by path mean the same place."""
    assert NetnsRef(name="web").where == NetnsRef(path="/run/netns/web").where
