"""Members of a cluster on a real etcd: prefixes, presence, and what holds while etcd is away or wrong."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import ExitStack
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from netplumb.models.nodenetwork import NodeNetwork
from netplumb.models.status import Condition
from netplumb.reconciler.cluster import administration
from netplumb.reconciler.cluster.etcd import connection as transport
from netplumb.reconciler.cluster.etcd.client import Client, Delete, Put
from netplumb.reconciler.cluster.etcd.connection import Connection
from netplumb.reconciler.cluster.etcd.entries import Keys, key_text
from netplumb.reconciler.cluster.keys import Layout
from netplumb.reconciler.cluster.known import Known
from netplumb.reconciler.cluster.lineage import WentBack
from netplumb.reconciler.cluster.records import Identity, NodeRecord
from tests.cluster.etcds import Etcd, running
from tests.cluster.members import V4, Node, nodes
from tests.e2e.waiting import until

LONG_S = 30.0


async def test_nodes_see_each_other_with_their_prefixes(etcd: Etcd, tmp_path: Path) -> None:
    """Each holds a part of each pool that nobody else does, and knows the others' and where they are reached."""
    async with nodes(etcd, tmp_path, "a", "b", "c", pools=[V4, {"cidr": "fd80::/48"}]) as (a, b, c):
        held = [prefix for node in (a, b, c) for prefix in node.prefixes]
        assert len(held) == len(set(held)) == 6
        await until(lambda: len(a.view.peers) == 2 and a.view.peers["b"].present, "a sees b and c")
        await until(lambda: len(a.view.peers["b"].prefixes) == 2, "a knows all that b holds")
        peer = a.view.peers["b"]
        assert [str(it.cidr) for it in peer.prefixes] == b.prefixes
        assert (str(peer.underlay), peer.boot_id, peer.version) == (b.address, "boot-1", "1.0")


async def test_a_node_that_goes_away_keeps_its_prefixes_and_is_not_present(etcd: Etcd, tmp_path: Path) -> None:
    async with nodes(etcd, tmp_path, "a", "b") as (a, b):

        def is_known() -> bool:
            known = a.view.peers.get("b")
            return known is not None and known.present and bool(known.prefixes)

        await until(is_known, "b is there, with its prefix")
        before = a.view
        await b.stop()
        await until(lambda: not a.view.peers["b"].present, "b is away", within_s=LONG_S)
        assert a.view == before, "which changes nothing of the ways to it"


async def test_a_second_prefix_is_taken_before_the_first_is_full(etcd: Etcd, tmp_path: Path) -> None:
    async with nodes(etcd, tmp_path, "a", pools=[V4 | {"node_prefix_len": 28}]) as (a,):
        (first,) = a.prefixes
        a.used[ip_network(first)] = 13
        await until(lambda: len(a.prefixes) == 2, "a second prefix")
        assert a.prefixes[0] == first
        await asyncio.sleep(1.5)
        assert len(a.prefixes) == 2


async def test_a_pool_without_a_part_left_is_told(etcd: Etcd, tmp_path: Path) -> None:
    async with nodes(etcd, tmp_path, "a", pools=[{"cidr": "10.200.0.0/24"}]) as (a,):
        b = Node(a.settings, "b", tmp_path).start()
        await until(lambda: "ClusterPoolFull" in b.conditions, "b is told that nothing is left")
        assert "no /24 of 10.200.0.0/24 is free" in b.conditions["ClusterPoolFull"].message
        assert b.prefixes == []
        await b.stop()


async def test_a_bug_in_one_part_ends_no_other(etcd: Etcd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is met in what others wrote: it is told, what was being learnt is learnt, and all else goes on."""
    async with nodes(etcd, tmp_path, "a") as (a,):
        standing = a.membership.standing
        learnt = standing.learnt

        def fails_once(*args: Any) -> Collection[str]:
            monkeypatch.setattr(standing, "learnt", learnt)
            raise RecursionError

        monkeypatch.setattr(standing, "learnt", fails_once)
        b = Node(a.settings, "b", tmp_path).start()
        await until(lambda: "b" in a.view.peers and a.view.peers["b"].prefixes, "b is learnt of", within_s=LONG_S)
        assert "learning (RecursionError)" in a.conditions["ClusterInternalError"].message
        await b.stop()


async def test_a_restart_keeps_prefixes_while_etcd_is_away(etcd: Etcd, tmp_path: Path) -> None:
    """A daemon that starts while etcd is away knows its prefixes and its peers, and since when etcd is away."""
    async with nodes(etcd, tmp_path, "a", "b") as (a, b):
        await until(lambda: b.view.peers["a"].prefixes and a.view.peers["b"].prefixes, "they see each other")
        view, prefixes = a.view, a.prefixes
        etcd.kill()
        await until(lambda: "EtcdAway" in a.conditions, "a says that etcd is away", within_s=LONG_S)
        since = a.conditions["EtcdAway"].last_transition
        assert a.view == view
        await a.stop()
        again = a.again().start()
        assert (again.view, again.prefixes) == (view, prefixes)
        await asyncio.sleep(1)
        assert (again.view, again.prefixes) == (view, prefixes)
        assert abs(again.conditions["EtcdAway"].last_transition - since) < 3
        etcd.start()
        await until(lambda: again.is_well and b.is_well, "both are well again", within_s=LONG_S)
        assert all(it == view for it in again.views), "nobody was ever missing"
        await again.stop()


async def test_a_boot_while_etcd_is_away_keeps_what_the_machine_knew(etcd: Etcd, tmp_path: Path) -> None:
    """Where the file outlives the boot; another machine that finds such a file believes none of it."""
    async with nodes(etcd, tmp_path, "a") as (a,):
        prefixes = a.prefixes
        await a.stop()
        etcd.kill()
        booted = a.again(boot="boot-2")
        assert booted.prefixes == prefixes
        assert a.again(boot="boot-2", machine="another").prefixes == []
        etcd.start()
        booted.start()
        await until(lambda: booted.is_well, "it is well", within_s=LONG_S)
        assert booted.prefixes == prefixes
        await booted.stop()


async def test_a_damaged_file_is_as_good_as_none(etcd: Etcd, tmp_path: Path) -> None:
    async with nodes(etcd, tmp_path, "a") as (a,):
        prefixes = a.prefixes
        await a.stop()
        file = tmp_path / "a" / "cluster.json"
        file.write_bytes(file.read_bytes()[:100])
        again = a.again()
        assert again.prefixes == []
        again.start()
        await until(lambda: again.is_well, "it is well", within_s=LONG_S)
        assert again.prefixes == prefixes
        await again.stop()


async def test_the_leader_dies(three: Etcd, tmp_path: Path) -> None:
    """Changes reach every node while the leader is killed, one member after the other."""
    async with nodes(three, tmp_path, "a", "b", "c") as (a, _, _):
        for number in range(3):
            leader = three.leader()
            leader.kill()
            name = f"new-{number}"
            node = Node(a.settings, name, tmp_path).start()
            await until(
                lambda node=node, name=name: node.is_well and name in a.view.peers and a.view.peers[name].prefixes,  # type: ignore[misc]
                f"{name} is seen with a prefix",
                within_s=LONG_S,
            )
            await node.stop()
            leader.start(three.members)
            three.wait()
        assert all(len(it.peers) >= 2 for it in a.views if it.revision > a.views[-1].revision - 1)


async def test_a_silent_member_is_left(three: Etcd, tmp_path: Path) -> None:
    """A member that is stopped keeps its connections ESTABLISHED and says nothing: a change is seen all the same."""
    async with nodes(three, tmp_path, "a", "b") as (a, b):
        endpoint = a.membership.client.connection.stubs().endpoint
        member = next(it for it in three.members if it.endpoint == endpoint)
        member.pause()
        try:
            await b.stop()
            await until(lambda: not a.view.peers["b"].present, "a sees that b went", within_s=LONG_S)
        finally:
            member.resume()


async def test_a_member_without_the_others_is_away(three: Etcd, tmp_path: Path) -> None:
    """It answers, and cannot know what the cluster agrees on: that is away, too, and not silence."""
    async with nodes(three, tmp_path, "a") as (a,):
        view, lonely = a.view, three.members[0]
        for member in three.members[1:]:
            member.kill()
        await until(lambda: "EtcdAway" in a.conditions, "a says that etcd is away", within_s=LONG_S)
        assert lonely.process is not None
        assert (a.view, len(a.prefixes)) == (view, 1)
        for member in three.members[1:]:
            member.start(three.members)
        await until(lambda: a.is_well, "a is well", within_s=LONG_S)
        assert a.view == view


async def test_all_of_etcd_is_silent(three: Etcd, tmp_path: Path) -> None:
    """Every connection is ESTABLISHED and nobody answers: that is told as away, nothing is forgotten, and what happened
    meanwhile is seen afterwards."""
    async with nodes(three, tmp_path, "a", "b") as (a, b):
        await until(lambda: "b" in a.view.peers and a.view.peers["b"].prefixes, "a sees b")
        view, prefixes = a.view, a.prefixes
        a.views.clear()
        for member in three.members:
            member.pause()
        try:
            await until(lambda: "EtcdAway" in a.conditions, "a says that etcd is away", within_s=LONG_S)
            await asyncio.sleep(a.settings.lease_s)
            assert (a.view, a.prefixes) == (view, prefixes)
            await b.stop()
        finally:
            for member in three.members:
                member.resume()
        await until(lambda: a.is_well, "a is well", within_s=LONG_S)
        assert all(it == view for it in a.views)
        assert a.prefixes == prefixes


async def test_a_compaction_while_away_is_made_up_for(etcd: Etcd, tmp_path: Path) -> None:
    """What went and came while a node did not follow is found by comparison: deletions too."""
    async with nodes(etcd, tmp_path, "a", "b", "c") as (a, b, c):
        await until(lambda: len(a.view.peers) == 2, "a sees both")
        await a.stop()
        await c.stop()
        etcd.ctl("del", "--prefix", "/netplumb/shared/prefixes/c/")
        etcd.ctl("del", "/netplumb/shared/nodes/c")
        new = Node(a.settings, "d", tmp_path).start()
        await until(lambda: new.is_well, "d is well")
        etcd.compact()
        again = a.again().start()
        assert set(again.view.peers) == {"b", "c"}
        await until(lambda: again.is_well, "a is well again")
        await until(lambda: "c" not in again.view.peers or not again.view.peers["c"].prefixes, "c's prefix is gone")
        assert again.view.peers["d"].prefixes
        await new.stop()
        await again.stop()
        assert b.is_well


async def test_compactions_under_churn_lose_nothing(etcd: Etcd, tmp_path: Path) -> None:
    async with nodes(etcd, tmp_path, "a") as (a,):
        for number in range(30):
            record = {"identity": {"boot": str(number)}, "underlay": ["192.0.2.77"]}
            etcd.ctl("put", f"/netplumb/shared/nodes/x{number}", json.dumps(record))
            if number % 3 == 2:
                etcd.ctl("del", f"/netplumb/shared/nodes/x{number - 1}")
                etcd.compact()
        wanted = {f"x{it}" for it in range(30) if it % 3 != 1}
        await until(lambda: set(a.view.peers) == wanted, "all and only what is left")


def restored(condition: dict[str, Condition]) -> bool:
    return "EtcdWentBack" in condition


async def test_an_older_snapshot_removes_nothing_until_it_is_accepted(etcd: Etcd, tmp_path: Path) -> None:
    """A node that joined after the backup stays on the others, and says again what it holds once that is accepted."""
    async with nodes(etcd, tmp_path, "a") as (a,):
        snapshot = etcd.save()
        async with nodes(etcd, tmp_path, "b") as (b,):
            await until(lambda: "b" in a.view.peers and a.view.peers["b"].prefixes, "a sees b")
            view, held = a.view, b.prefixes
            a.views.clear()
            b.views.clear()
            etcd.restore(snapshot)
            await until(lambda: restored(a.conditions) and restored(b.conditions), "both say so", within_s=LONG_S)
            assert "netplumb cluster accept" in a.conditions["EtcdWentBack"].message
            await asyncio.sleep(2)
            assert restored(a.conditions)
            assert (a.view, b.prefixes) == (view, held)
            etcd.ctl("put", "/netplumb/shared/accepted/token", "{}")
            await until(lambda: a.is_well and b.is_well, "both are well", within_s=LONG_S)
            assert (a.view, b.prefixes) == (view, held)
            assert all(it == view for it in a.views), "b was never missing"


async def test_a_prefix_that_was_lost_before_a_restore_is_not_had_again(etcd: Etcd, tmp_path: Path) -> None:
    """It was given to another node after the backup was made; that one keeps it, whose workloads have its addresses."""
    pool = {"cidr": "10.200.0.0/24"}
    async with nodes(etcd, tmp_path, "a", pools=[pool]) as (a,):
        (prefix,) = a.prefixes
        snapshot = etcd.save()
        a.used[ip_network(prefix)] = 1
        etcd.ctl("del", f"/netplumb/shared/prefixes/a/{prefix.replace('/', '-')}")
        await until(lambda: not a.prefixes, "a has lost it")
        b = Node(a.settings, "b", tmp_path, address="192.0.2.2").start()
        await until(lambda: b.prefixes == [prefix] and "b" in a.view.peers, "b has it")
        a.used.clear()
        await until(lambda: "PrefixLost" not in a.conditions, "a has nothing to do with it any more")
        etcd.restore(snapshot)
        await until(lambda: restored(a.conditions) and restored(b.conditions), "both say so", within_s=LONG_S)
        etcd.ctl("put", "/netplumb/shared/accepted/token", "{}")
        await until(lambda: not restored(a.conditions) and not restored(b.conditions), "accepted", within_s=LONG_S)
        await until(lambda: b.is_well, "b is well", within_s=LONG_S)
        await asyncio.sleep(1)
        assert (a.prefixes, b.prefixes) == ([], [prefix])
        await b.stop()


async def test_a_prefix_outside_the_pools_leads_nowhere(etcd: Etcd, tmp_path: Path) -> None:
    """Who may write below a node's name does not have the others send to it what is anybody's."""
    async with nodes(etcd, tmp_path, "a", "b") as (a, b):
        await until(lambda: "b" in a.view.peers and a.view.peers["b"].prefixes, "a sees b")
        view = a.view
        for prefix in ("192.0.2.0-25", "0.0.0.0-1", "127.1.0.0-16", "10.0.0.0-8"):
            etcd.ctl("put", f"/netplumb/shared/prefixes/b/{prefix}", '{"pool": "10.200.0.0/16"}')
        await until(lambda: "PrefixOutsidePools" in a.conditions, "it is told")
        assert "192.0.2.0/25 of b" in a.conditions["PrefixOutsidePools"].message
        assert a.view == view
        assert a.prefixes
        assert b.prefixes


@pytest.mark.parametrize("mode", ["vxlan", "none"])
async def test_another_mode_is_told_on_both_sides(etcd: Etcd, tmp_path: Path, mode: str) -> None:
    """Nothing would pass between them. Where there is no mode, the ways are somebody else's."""
    async with nodes(etcd, tmp_path, "a") as (a,):
        b = Node(etcd.settings(pools=[V4], mode=mode), "b", tmp_path, address="192.0.2.2").start()
        await until(lambda: _knows(a, "b") and _knows(b, "a"), "they know each other", within_s=20)
        told = {"vxlan": [True, True], "none": [False, False]}[mode]
        await until(lambda: ["ModesDiffer" in it.conditions for it in (a, b)] == told, "it is told where it is so")
        assert mode == "none" or "b (vxlan)" in a.conditions["ModesDiffer"].message
        await b.stop()


async def test_another_vxlan_network_is_told_on_both_sides(etcd: Etcd, tmp_path: Path) -> None:
    """By its number or by its port: neither takes what the other sends."""
    async with nodes(etcd, tmp_path, "a", mode="vxlan") as (a,):
        b = Node(etcd.settings(pools=[V4], mode="vxlan", vxlan_port=8472), "b", tmp_path).start()
        await until(lambda: all("ModesDiffer" in it.conditions for it in (a, b)), "it is told", within_s=20)
        told = a.conditions["ModesDiffer"].message
        assert "b (vxlan 78 at port 8472): this node's `cluster.mode` is vxlan 78 at port 4789" in told
        seen = {it.peer.node: it.troubles for it in (await administration.nodes(a.settings)).nodes}
        assert [it.reason for it in seen["b"]] == ["ModesDiffer"]
        await b.stop()


async def test_two_nodes_at_one_address_are_told_on_all(etcd: Etcd, tmp_path: Path) -> None:
    """As where one's settings are a copy of the other's: what is sent to either reaches one of them."""
    async with nodes(etcd, tmp_path, "a", "c") as (a, c):
        b = Node(a.settings, "b", tmp_path, address=a.address).start()
        await until(lambda: all("UnderlayShared" in it.conditions for it in (a, b, c)), "it is told", within_s=20)
        assert c.conditions["UnderlayShared"].message.startswith(f"{a.address} of a and b: ")
        seen = {it.peer.node: it.troubles for it in (await administration.nodes(a.settings)).nodes}
        assert {name: [it.reason for it in why] for name, why in seen.items()} == {
            "a": ["UnderlayShared"],
            "b": ["UnderlayShared"],
            "c": [],
        }
        await b.leave(etcd)
        await until(lambda: c.is_well, "it is not told of one that is away", within_s=20)


def _knows(node: Node, other: str) -> bool:
    return other in node.view.peers and bool(node.view.peers[other].prefixes)


async def test_a_node_that_is_removed_while_it_is_there_says_that_it_is_there(etcd: Etcd, tmp_path: Path) -> None:
    """It has no prefix any more, and takes none before what runs with the lost one is gone."""
    async with nodes(etcd, tmp_path, "a", "b") as (a, b):
        (lost,) = b.prefixes
        b.used[ip_network(lost)] = 1
        await administration.remove(a.settings, "b", force=True)
        await until(lambda: "PrefixLost" in b.conditions, "b says so")

        def is_there() -> bool:
            seen = a.view.peers.get("b")
            return seen is not None and seen.present and not seen.prefixes

        await until(is_there, "a sees that it is there, with nothing", within_s=20)
        assert b.prefixes == []
        assert "w0/eth0 has addresses of it" in b.conditions["PrefixLost"].message
        b.used.clear()
        await until(lambda: b.prefixes, "it is a node as any then", within_s=20)


async def test_a_prefix_of_its_own_outside_the_pools_is_told_with_who_uses_it(etcd: Etcd, tmp_path: Path) -> None:
    """As where a pool is taken out of the settings."""
    async with nodes(etcd, tmp_path, "a") as (a,):
        (prefix,) = a.prefixes
        await a.stop()
        used = {ip_network(prefix): 2}
        moved = Node(etcd.settings(pools=[{"cidr": "10.201.0.0/16"}]), "a", tmp_path, used=used).start()
        await until(lambda: moved.prefixes, "it has a prefix of the other pool", within_s=20)
        told = moved.conditions["PrefixOutsidePools"].message
        assert told.startswith(f"{prefix} is this node's and in no pool of its settings")
        assert "w0/eth0, w1/eth0 have addresses of it" in told
        assert "no way to it" not in told
        await moved.stop()


async def test_a_machine_that_was_cloned_with_its_id_is_told(etcd: Etcd, tmp_path: Path) -> None:
    """Under another name on both, as long as both are there. Daemons in namespaces of one machine are no copies."""
    async with nodes(etcd, tmp_path, "a") as (a,):
        copy = Node(a.settings, "b", tmp_path, boot="boot-2", machine="machine-of-a", address="192.0.2.2").start()
        beside = Node(a.settings, "c", tmp_path, boot="boot-1/7", machine="machine-of-a", address="192.0.2.3").start()
        for node, others in ((a, "b"), (copy, "a, c")):
            await until(lambda node=node: "MachineIdShared" in node.conditions, f"{node.name} says so", within_s=20)  # type: ignore[misc]
            await until(
                lambda node=node, others=others: (  # type: ignore[misc]
                    node.conditions["MachineIdShared"].message.startswith(f"{others}: with the machine-id machine-of-a")
                ),
                f"{node.name} names {others}",
            )
        await copy.stop()
        await until(lambda: "MachineIdShared" not in a.conditions, "the copy is away", within_s=20)
        await beside.stop()


@pytest.mark.parametrize(
    ("boot", "words"),
    [
        ("boot-2/1", "is a copy of the other, with its machine-id machine-of-a"),
        ("boot-1/2", "in another network namespace"),
    ],
)
async def test_who_has_this_nodes_name_is_told_by_what_it_is(etcd: Etcd, tmp_path: Path, boot: str, words: str) -> None:
    """The name is the first's; a copy of its machine, and a namespace beside it, are told as such."""
    first = Node(etcd.settings(pools=[V4]), "a", tmp_path / "1", boot="boot-1/1").start()
    await until(lambda: first.is_well, "the first is well", within_s=20)
    second = Node(first.settings, "a", tmp_path / "2", boot=boot).start()
    await until(lambda: "NodeNameTaken" in second.conditions, "the second is told", within_s=20)
    assert words in second.conditions["NodeNameTaken"].message
    assert first.is_well
    await second.stop()
    await first.stop()


async def test_daemons_that_know_many_nodes_do_not_ask_etcd_at_one_moment(etcd: Etcd, tmp_path: Path) -> None:
    """As all of a cluster's do that are started anew together; what was known holds until then. A new node asks at
    once."""
    async with nodes(etcd, tmp_path, "a") as (a,):
        layout, record = Layout("/netplumb"), NodeRecord(identity=Identity(boot="1")).written()
        for first in range(0, 500, 100):
            some = [Put(layout.node(f"x{it}"), record) for it in range(first, first + 100)]
            assert await a.membership.client.commit([], some)
        await until(lambda: len(a.view.peers) == 500, "a knows all")
        await a.stop()
        with mock.patch("netplumb.reconciler.cluster.membership.random.uniform", lambda _, most: most):
            again, began = a.again().start(), time.monotonic()
            assert (len(again.view.peers), again.prefixes) == (500, a.prefixes)
            await until(lambda: again.is_well, "it follows etcd", within_s=20)
            assert time.monotonic() - began > 2.5
            new, began = Node(a.settings, "new", tmp_path).start(), time.monotonic()
            await until(lambda: len(new.view.peers) == 501, "it knows all")
            assert time.monotonic() - began < 2.5
            await new.stop()
            await again.stop()


async def test_an_answer_from_before_that_comes_late_stops_nothing_for_good(etcd: Etcd, tmp_path: Path) -> None:
    """What was asked before somebody accepted, and is answered after it, compares with what counts no more."""
    async with nodes(etcd, tmp_path, "a") as (a,):
        snapshot = etcd.save()
        etcd.ctl("put", "/netplumb/shared/nodes/x", "{}")
        revision = etcd.revision()
        await until(lambda: a.view.revision >= revision, "a saw that")
        etcd.restore(snapshot)
        await until(lambda: restored(a.conditions), "a says so", within_s=LONG_S)
        etcd.ctl("put", "/netplumb/shared/accepted/token", "{}")
        recovery = a.membership._recovery
        await until(lambda: recovery.writing.is_open, "it may write again", within_s=LONG_S)
        recovery.stop_at(WentBack("late"))
        await until(lambda: a.is_well, "a is well", within_s=LONG_S)
        assert recovery.writing.is_open
        assert "x" not in a.view.peers


@pytest.mark.parametrize("at_once", [False, True], ids=["after it is noticed", "before it is noticed"])
async def test_one_range_that_is_as_it_was_swallows_no_answer(etcd: Etcd, tmp_path: Path, at_once: bool) -> None:
    """What all nodes share is the same in the backup, so that it is followed before it is found that what is wanted of
    this node is not; the answer that comes then is one all the same, and counts for this restore alone."""
    async with nodes(etcd, tmp_path, "a") as (a,):
        membership = a.membership
        shared, own, presence = membership._shared, membership._own, membership._presence
        snapshot, key = etcd.save(), f"{membership._layout.attachments('a').first}x"
        answer, grown = "/netplumb/shared/accepted/token", asyncio.Event()
        etcd.ctl("put", key, "{}")
        await until(lambda: "x" in membership.documents[0], "it is wanted")

        def after(ready: Callable[[], Awaitable[object]], check: Callable[[], Awaitable[object]]) -> Any:
            async def checked() -> object:
                await ready()
                return await check()

            return checked

        async def shared_is_followed() -> None:
            if restored(a.conditions):
                return
            await until(lambda: shared.following, "what is shared is followed", within_s=LONG_S)
            if at_once:
                etcd.ctl("put", answer, "{}")
                await until(lambda: shared.entries.get(answer), "the answer came", within_s=LONG_S)

        with ExitStack() as patched:
            for it, name in ((shared, "check"), (membership._others, "check"), (presence, "_check")):
                patched.enter_context(mock.patch.object(it, name, after(grown.wait, getattr(it, name))))
            patched.enter_context(mock.patch.object(own, "check", after(shared_is_followed, own.check)))
            etcd.restore(snapshot)
            for number in range(5):
                etcd.ctl("put", f"/elsewhere/{number}", "")  # so that the revision alone tells nothing
            grown.set()
            if not at_once:
                await until(lambda: restored(a.conditions), "a says so", within_s=LONG_S)
                assert not shared.following
                assert "x" in membership.documents[0]
                etcd.ctl("put", answer, "{}")
            await until(lambda: "x" not in membership.documents[0], "etcd counts as it is", within_s=LONG_S)
        await until(lambda: a.is_well, "a is well", within_s=LONG_S)
        snapshot = etcd.save()
        etcd.ctl("put", key, "{}")
        await until(lambda: "x" in membership.documents[0], "it is wanted again")
        etcd.restore(snapshot)
        await until(lambda: restored(a.conditions), "a says so again", within_s=LONG_S)
        await asyncio.sleep(2)
        assert restored(a.conditions), "the answer is in the backup"


async def test_an_etcd_that_stood_in_its_place_for_a_moment_is_forgotten(etcd: Etcd, tmp_path: Path) -> None:
    """What was followed is there again, which needs nobody's word."""
    async with nodes(etcd, tmp_path, "a") as (a,):
        held = a.prefixes
        etcd.kill()
        moved = [(member.place, member.place.with_name(f"{member.place.name}-kept")) for member in etcd.members]
        for place, kept in moved:
            place.rename(kept)
            place.mkdir()
        etcd.start()
        await until(lambda: restored(a.conditions), "a says so", within_s=LONG_S)
        etcd.kill()
        for place, kept in moved:
            shutil.rmtree(place)
            kept.rename(place)
        etcd.start()
        await until(lambda: a.is_well, "a is well", within_s=LONG_S)
        assert a.prefixes == held


async def test_an_endpoint_that_leads_to_another_etcd_is_left_again(etcd: Etcd, tmp_path: Path) -> None:
    """As a member that was made anew as a cluster of its own: who comes to it takes nothing from it, and is back with
    the one that was followed as soon as that answers."""
    with running() as stranger:
        endpoints = (*etcd.endpoints, *stranger.endpoints)
        a = Node(etcd.settings(pools=[V4]), "a", tmp_path)
        a.start()
        await until(lambda: a.is_well, "a is well", within_s=LONG_S)
        held = a.prefixes
        await a.stop()
        again = Node(etcd.settings(pools=[V4], endpoints=endpoints), "a", tmp_path).start()
        try:
            await until(lambda: again.is_well, "it is well", within_s=LONG_S)
            etcd.kill()
            await until(lambda: restored(again.conditions), "it is at the other", within_s=LONG_S)
            etcd.start()
            await until(lambda: again.is_well, "it is well again", within_s=LONG_S)
            assert again.prefixes == held
            assert stranger.key_names("/") == []
        finally:
            await again.stop()


async def test_keys_that_say_nothing_are_in_nobodys_way(etcd: Etcd, tmp_path: Path) -> None:
    """Whatever one node writes below its own name, all others go on with the rest: also where they resume the watch, or
    read all."""
    connection = Connection(etcd.settings())
    client = Client(connection)
    below = [
        b"shared/prefixes/bad/",
        b"endpoints/bad/",
        b"shared/nodes/",
        b"nodes/a/attachments/",
        b"shared/documents/",
    ]
    rest = [b"\xff", b"\xfe", b"a\xff", b"\0", b"a/b", b"\\xff", b"10.200.9.0/24", b"10.200.9.0-24", b"\x1b[31m"]
    names = [key_text(b"/netplumb/" + first + name) for first in below for name in rest]
    values = [b'{"pool": "10.200.0.0/16"}', b"\xff\xfe", b"{" * 1000]
    async with nodes(etcd, tmp_path, "a", "b") as (a, b):
        for value in values:
            await client.commit((), [Put(name, value) for name in names])
        await client.commit((), [Delete(Keys(name, is_prefix=False)) for name in names[1::2]])
        await a.stop()
        again = a.again().start()
        new = Node(a.settings, "c", tmp_path).start()
        try:
            for node in (b, again, new):
                await until(lambda node=node: node.is_well, f"{node.name} is well", within_s=LONG_S)  # type: ignore[misc]
            await client.commit((), [Delete(Keys(name, is_prefix=False)) for name in names])
            await client.commit(
                (), [Put("/netplumb/shared/nodes/z", NodeRecord(identity=Identity(boot="z")).written())]
            )
            for node in (b, again, new):
                await until(lambda node=node: "z" in node.view.peers, f"{node.name} follows", within_s=LONG_S)  # type: ignore[misc]
                assert node.is_well
        finally:
            await again.stop()
            await new.stop()
            await connection.close()


async def test_what_one_node_writes_much_of_is_read_in_parts(etcd: Etcd, tmp_path: Path) -> None:
    """More than is taken at once, by who reads all and by who resumes a watch."""
    connection = Connection(etcd.settings())
    async with nodes(etcd, tmp_path, "a") as (a,):
        await a.stop()
        with mock.patch.object(transport, "MESSAGE_MAX_BYTES", 8 << 20):
            for number in range(12):
                name = f"/netplumb/endpoints/bad/w{number}/eth0"
                await Client(connection).commit((), [Put(name, b"x" * (1 << 20))])
            again, new = a.again().start(), Node(a.settings, "b", tmp_path).start()
            try:
                for node in (again, new):
                    await until(lambda node=node: node.is_well, f"{node.name} is well", within_s=LONG_S)  # type: ignore[misc]
            finally:
                await again.stop()
                await new.stop()
                await connection.close()


async def test_a_pool_that_is_enlarged_has_the_prefixes_that_are_held(etcd: Etcd, tmp_path: Path) -> None:
    """They go on to give addresses; of a pool that is replaced they are given back once nobody uses them."""
    small = {"cidr": "10.200.0.0/25", "node_prefix_len": 26}
    async with nodes(etcd, tmp_path, "a", pools=[small]) as (a,):
        (held,) = a.prefixes
        await a.stop()
        larger = Node(etcd.settings(pools=[small | {"cidr": "10.200.0.0/24"}]), "a", tmp_path).start()
        await until(lambda: larger.is_well, "it is well", within_s=LONG_S)
        await asyncio.sleep(1.5)
        assert larger.prefixes == [held]
        await larger.stop()
        other = Node(etcd.settings(pools=[small | {"cidr": "10.201.0.0/24"}]), "a", tmp_path)
        other.used[ip_network(held)] = 1
        other.start()
        await until(lambda: other.prefixes, "it has one of the other", within_s=20)
        assert other.prefixes[0].startswith("10.201.")
        assert etcd.key_names("/netplumb/shared/prefixes/a/10.200")
        other.used.clear()
        await until(lambda: not etcd.key_names("/netplumb/shared/prefixes/a/10.200"), "the former is free", within_s=20)
        await other.stop()


async def test_who_waits_for_a_name_does_not_have_it_while_its_node_starts_again(etcd: Etcd, tmp_path: Path) -> None:
    """As a copy of its machine would."""
    async with nodes(etcd, tmp_path, "a") as (a,):
        held = a.prefixes
        copied = tmp_path / "copy"
        copied.mkdir()
        copy = Node(a.settings, "a", copied, boot="boot-2").start()
        await until(lambda: "NodeNameTaken" in copy.conditions, "it is refused", within_s=LONG_S)
        await a.stop()
        await asyncio.sleep(1)
        again = a.again().start()
        await until(lambda: again.is_well, "it is itself again", within_s=LONG_S)
        assert again.prefixes == held
        assert "NodeNameTaken" in copy.conditions
        await again.stop()
        await copy.stop()


async def test_an_etcd_that_is_made_anew_is_not_taken_for_empty(etcd: Etcd, tmp_path: Path) -> None:
    async with nodes(etcd, tmp_path, "a") as (a,):
        held = a.prefixes
        etcd.kill()
        for member in etcd.members:
            for path in sorted(member.place.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            member.client_port, member.peer_port = member.client_port, member.peer_port
        etcd.start()
        await until(lambda: restored(a.conditions), "a says so", within_s=LONG_S)
        assert a.prefixes == held


async def test_an_older_snapshot_whose_revision_has_caught_up_is_known_by_what_it_says(
    etcd: Etcd, tmp_path: Path
) -> None:
    """Others wrote to the restored etcd while this node's daemon did not run, so that its revision is past all that was
    known; what they wrote at revisions that were followed gives it away."""
    async with nodes(etcd, tmp_path, "a") as (a,):
        snapshot = etcd.save()
        for number in range(5):
            etcd.ctl("put", f"/netplumb/shared/nodes/x{number}", "{}")
        revision = etcd.revision()
        await until(lambda: a.view.revision >= revision, "a saw that")
        view = a.view
        await a.stop()
        etcd.restore(snapshot)
        for number in range(20):
            etcd.ctl("put", f"/netplumb/shared/nodes/y{number}", "{}")
        again = a.again().start()
        await until(lambda: restored(again.conditions), "a says so", within_s=LONG_S)
        assert again.view == view
        await again.stop()


async def test_a_token_of_the_backup_is_no_answer(etcd: Etcd, tmp_path: Path) -> None:
    """What was accepted before the backup was made says nothing about this restore, also to a node that restarts."""
    async with nodes(etcd, tmp_path, "a") as (a,):
        etcd.ctl("put", "/netplumb/shared/accepted/old", "{}")
        snapshot = etcd.save()
        etcd.ctl("put", "/netplumb/shared/nodes/x", "{}")
        revision = etcd.revision()
        await until(lambda: a.view.revision >= revision, "a saw that")
        etcd.restore(snapshot)
        await until(lambda: restored(a.conditions), "a says so", within_s=LONG_S)
        await a.stop()
        again = a.again().start()
        await until(lambda: restored(again.conditions), "so it does after a restart", within_s=LONG_S)
        await asyncio.sleep(2)
        assert restored(again.conditions)
        await again.stop()


async def test_a_name_that_is_in_use_is_refused(etcd: Etcd, tmp_path: Path) -> None:
    """The second says so, gives no addresses, and the first is not disturbed; when it goes, the name is free."""
    async with nodes(etcd, tmp_path / "1", "a") as (a,):
        held = a.prefixes
        second = Node(a.settings, "a", tmp_path / "2", boot="boot-2", machine="another").start()
        await until(lambda: "NodeNameTaken" in second.conditions, "the second is refused")
        assert second.prefixes == []
        await asyncio.sleep(1)
        assert a.is_well
        assert a.prefixes == held
        await a.stop()
        await until(lambda: second.is_well, "the name is free", within_s=LONG_S)
        assert second.prefixes == held, "what the name holds is its"
        await second.stop()


async def test_of_many_that_claim_a_name_at_one_moment_one_has_it(etcd: Etcd, tmp_path: Path) -> None:
    """Machines that were made from one image, with all of it the same but the boot: the others are refused and told,
    and no prefix has two that give its addresses."""
    settings = etcd.settings(pools=[V4])
    alike = [Node(settings, "a", tmp_path / str(it), boot=f"boot-{it}", machine="one").start() for it in range(5)]
    try:
        await until(lambda: sum(it.is_well for it in alike) == 1, "one of them is well", within_s=LONG_S)
        refused = [it for it in alike if not it.is_well]
        await until(lambda: all("NodeNameTaken" in it.conditions for it in refused), "four are told", within_s=LONG_S)
        assert sum(bool(it.prefixes) for it in alike) == 1
        assert "one of two is a copy of the other" in refused[0].conditions["NodeNameTaken"].message
    finally:
        for it in alike:
            await it.stop()


async def test_what_is_read_in_pages_is_of_one_moment(etcd: Etcd, tmp_path: Path) -> None:
    """However many pages it takes, and whatever is written meanwhile: a node that joins knows each of a thousand
    others, as they were at one revision, and then what changed."""
    connection = Connection(etcd.settings())
    client = Client(connection)
    record = b'{"identity": {"boot": "x"}, "underlay": ["192.0.2.9"]}'
    for first in range(0, 1200, 100):
        names = [f"/netplumb/shared/nodes/x{number:04}" for number in range(first, first + 100)]
        await client.commit((), [Put(name, record) for name in names])
    turns = 0

    async def swaps() -> None:
        """One node goes and another comes, in one transaction: at every moment there are as many."""
        nonlocal turns
        while True:
            gone, came = (
                f"/netplumb/shared/nodes/x{it}" for it in (("0000", "9999") if turns % 2 == 0 else ("9999", "0000"))
            )
            await client.commit((), [Delete(Keys(gone, is_prefix=False)), Put(came, record)])
            turns += 1

    swapping = asyncio.ensure_future(swaps())
    try:
        for _ in range(20):
            snapshot = await client.read(Layout("/netplumb").nodes)
            assert len(snapshot.entries) == 1200
        assert turns > 5
        async with nodes(etcd, tmp_path, "a") as (a,):
            await until(lambda: len(a.view.peers) == 1200, "it knows them all", within_s=LONG_S)
    finally:
        swapping.cancel()
        await connection.close()


async def test_a_node_that_was_suspended_finds_its_name_taken(etcd: Etcd, tmp_path: Path) -> None:
    """It was away for longer than its lease, and was made anew meanwhile: it gives nothing and overwrites nothing."""
    async with nodes(etcd, tmp_path / "1", "a") as (a,):
        await a.leave(etcd)
        other = Node(a.settings, "a", tmp_path / "2", boot="boot-2", machine="another").start()
        await until(lambda: other.is_well, "the new one has the name")
        back = a.again().start()
        await until(lambda: "NodeNameTaken" in back.conditions, "the old one is refused")
        assert back.prefixes == []
        assert other.is_well
        await back.stop()
        await other.stop()


async def test_a_prefix_that_was_taken_away_gives_nothing_and_is_told(etcd: Etcd, tmp_path: Path) -> None:
    """Removed while away and given to another: what runs stays, nothing new is given, nothing is overwritten. When what
    ran is gone, the node takes another."""
    async with nodes(etcd, tmp_path, "a") as (a,):
        (lost,) = a.prefixes
        a.used[ip_network(lost)] = 3
        await a.leave(etcd)
        etcd.ctl("del", "--prefix", "/netplumb/shared/prefixes/a/")
        other = Node(a.settings, "b", tmp_path).start()
        await until(lambda: other.is_well, "b has a prefix")
        assert other.prefixes == [lost]
        back = a.again().start()
        await until(lambda: "PrefixLost" in back.conditions, "a says so")
        assert f"{lost} is held by b" in back.conditions["PrefixLost"].message
        await asyncio.sleep(2)
        assert back.prefixes == []
        assert other.prefixes == [lost]
        await back.stop()
        back = back.again().start()
        await until(lambda: "PrefixLost" in back.conditions, "also after a restart")
        back.used.clear()
        await until(lambda: back.is_well, "it joins anew", within_s=LONG_S)
        assert set(back.prefixes) & {lost} == set()
        await back.stop()
        await other.stop()


async def test_an_event_that_etcd_lost_is_found_by_reading_anew(etcd: Etcd, tmp_path: Path) -> None:
    """Of what came, and of what went: no position moves on, and nothing is taken for an etcd that went back."""
    async with nodes(etcd, tmp_path, "a", "b", reread_s=1.0) as (a, _):
        await until(lambda: "b" in a.view.peers, "a sees b")
        shared = a.membership._kept.shared
        key = "/netplumb/shared/nodes/b"
        entry = shared.pop(key)  # as if its event had never come
        ghost = "/netplumb/shared/nodes/ghost"
        shared[ghost] = entry  # and that of its deletion neither
        a.membership._shared_changed([key, ghost])
        await until(lambda: "ghost" in a.view.peers and not a.view.peers["b"].underlay.addresses, "a is mistaken")
        await until(lambda: a.view.peers["b"].underlay.addresses, "b is whole again")
        assert "ghost" not in a.view.peers
        assert not a.conditions


async def test_a_prefix_that_is_lost_gives_nothing_from_that_moment(etcd: Etcd, tmp_path: Path) -> None:
    """Whatever the disk is doing, which a prefix that is gained waits for."""
    async with nodes(etcd, tmp_path, "a") as (a,):
        (lost,) = a.prefixes
        written, save = threading.Event(), a.membership._kept._file.save

        def slow(known: Known) -> None:
            written.wait(20)
            save(known)

        a.membership._kept._file = mock.Mock(save=slow)
        a.used[ip_network(lost)] = 1
        etcd.ctl("del", f"/netplumb/shared/prefixes/a/{lost.replace('/', '-')}")
        await until(lambda: "PrefixLost" in a.conditions, "it is lost")
        assert a.prefixes == []
        etcd.ctl("put", "/netplumb/shared/prefixes/a/10.200.9.0-24", '{"pool": "10.200.0.0/16"}')
        await asyncio.sleep(0.5)
        assert a.prefixes == []
        written.set()
        await until(lambda: a.prefixes == ["10.200.9.0/24"], "the other is written")


async def test_a_node_that_is_away_for_days_gives_way_where_nothing_is_free(etcd: Etcd, tmp_path: Path) -> None:
    """Not before, not without the setting, and what comes back finds its prefix gone."""
    pool = {"cidr": "10.200.0.0/23"}
    async with nodes(etcd, tmp_path, "a", "b", pools=[pool], away_days=2 / 86400) as (a, b):
        b.used[ip_network(b.prefixes[0])] = 1
        (lost,) = b.prefixes
        await b.stop()
        never = Node(etcd.settings(pools=[pool]), "never", tmp_path).start()
        await until(lambda: "ClusterPoolFull" in never.conditions, "nothing is free")
        await asyncio.sleep(3)
        assert never.prefixes == []
        await never.stop()
        a.used[ip_network(a.prefixes[0])] = 250
        await until(lambda: len(a.prefixes) == 2, "a has the other's", within_s=LONG_S)
        assert lost in a.prefixes
        back = b.again().start()
        await until(lambda: "PrefixLost" in back.conditions, "b says so")
        assert f"{lost} is held by a" in back.conditions["PrefixLost"].message
        assert back.prefixes == []
        await back.stop()


async def test_an_etcd_that_is_full_is_told_and_followed(tmp_path: Path) -> None:
    """Its alarm lets nothing be written, which is not for another member to answer: the watches go on."""
    with running(flags=["--quota-backend-bytes=2000000"]) as etcd:
        async with nodes(etcd, tmp_path, "a", "b") as (a, b):
            big = "x" * 200_000
            while etcd.tried("put", "/elsewhere", given=big).returncode == 0:
                pass
            a.used[ip_network(a.prefixes[0])] = 250
            await until(lambda: "EtcdRefuses" in a.conditions, "it is told", within_s=20)
            assert "its alarm disarmed" in a.conditions["EtcdRefuses"].message
            for _ in range(20):
                await asyncio.sleep(0.1)
                assert a.conditions.keys() == {"EtcdRefuses"}
            assert b.is_well, "it has nothing to write"
            etcd.ctl("del", "/elsewhere")
            etcd.compact()
            etcd.ctl("defrag")
            etcd.ctl("alarm", "disarm")
            await until(lambda: a.is_well and len(a.prefixes) == 2, "it has a further prefix", within_s=20)


@pytest.mark.parametrize(
    ("on_link", "taken"), [("10.200.0.128/25", "10.200.1.0/24"), ("10.200.0.0/16", "10.200.0.0/24")]
)
async def test_a_part_that_is_on_a_link_of_the_node_is_taken_last(
    etcd: Etcd, tmp_path: Path, on_link: str, taken: str
) -> None:
    """Workloads with its addresses would cut off what is there; it is told where there is no other."""
    it = Node(etcd.settings(pools=[V4]), "a", tmp_path, on_link=ip_network(on_link)).start()
    await until(lambda: it.is_well, "it is well", within_s=20)
    assert it.prefixes == [taken]
    await it.stop()


async def test_a_node_without_an_address_for_a_moment_is_told_of_as_before(etcd: Etcd, tmp_path: Path) -> None:
    """Also over a restart of its daemon; so that the others keep their ways to it until it has one again."""
    async with nodes(etcd, tmp_path, "a") as (a,):
        await until(lambda: "a" in a.membership.standing.peers, "it knows what it told", within_s=20)
        told = a.membership.standing.record
        a.network = NodeNetwork()
        assert a.membership.standing.record == told
        await a.stop()
        again = a.again()
        again.network = NodeNetwork()
        assert again.membership.standing.record == told
        again.network = NodeNetwork(foreign=frozenset({(ip_address("192.0.2.9"), "eth0")}), uplinks=frozenset({"eth0"}))
        assert [str(it) for it in again.membership.standing.record.underlay] == ["192.0.2.9"]
        again.membership._kept.close()
