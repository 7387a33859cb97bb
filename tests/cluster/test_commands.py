"""The commands about a cluster: they ask etcd alone, and say what it says."""

from __future__ import annotations

import asyncio
import json
from ipaddress import ip_network
from pathlib import Path

from typer.testing import CliRunner, Result

from netplumb.reconciler.main import app
from tests.cluster.etcds import Etcd
from tests.cluster.members import Node, nodes
from tests.e2e.waiting import until

LONG_S = 30.0


async def netplumb(etcd: Etcd, *words: str, given: str = "") -> Result:
    """With the settings of a node of the cluster."""
    config = etcd.place / "netplumb.yaml"
    config.write_text(json.dumps({"cluster": {"endpoints": list(etcd.endpoints)}}))
    words = (*words, "--config", str(config))
    return await asyncio.to_thread(CliRunner().invoke, app, words, prog_name="netplumb", input=given)


async def test_status_tells_who_is_there_and_what_they_hold(etcd: Etcd, tmp_path: Path) -> None:
    async with nodes(etcd, tmp_path, "a", "b") as (a, b):
        await b.leave(etcd)
        table = await netplumb(etcd, "cluster", "status")
        assert table.exit_code == 0, table.output
        rows = {line.split()[0]: line.split()[1:] for line in table.stdout.splitlines()[1:3]}
        assert rows["a"] == ["yes", rows["a"][1], "ago", a.address, *a.prefixes, "routes", "1.0", "well"]
        assert int(rows["a"][1].removesuffix("s")) < 3
        assert " ".join(rows["b"]) == f"no - {b.address} {b.prefixes[0]} routes 1.0 away"
        told = json.loads((await netplumb(etcd, "cluster", "status", "-o", "json")).stdout)
        assert [(it["name"], it["present"], it["prefixes"]) for it in told["nodes"]] == [
            ("a", True, a.prefixes),
            ("b", False, b.prefixes),
        ]
        assert told["revision"] == etcd.revision()
        assert [[why["reason"] for why in it["troubles"]] for it in told["nodes"]] == [[], ["Away"]]
        assert told["nodes"][0]["heard_s"] < 3


async def test_status_tells_what_is_wrong_with_a_node(etcd: Etcd, tmp_path: Path) -> None:
    """One that is silent within its lease; one that was removed and runs on; one whose prefix another had before."""
    async with nodes(etcd, tmp_path, "a", "b", lease_s=40.0) as (a, b):
        (lost,) = b.prefixes
        b.used[ip_network(lost)] = 1
        await netplumb(etcd, "cluster", "remove", "b", "--force", "--yes")
        await until(lambda: "PrefixLost" in b.conditions, "b knows it")
        address = str(next(ip_network(lost).hosts()))
        endpoint = {"workload_id": "web", "if_name": "eth0", "namespace": "default", "addresses": [address]}
        etcd.ctl("put", "/netplumb/endpoints/b/web/eth0", json.dumps(endpoint))
        etcd.ctl("put", f"/netplumb/shared/prefixes/c/{a.prefixes[0].replace('/', '-')}", '{"pool": "10.200.0.0/16"}')
        silent = etcd.ctl("lease", "grant", "40").split()[1]
        etcd.ctl("put", "/netplumb/shared/presence/c", "{}", f"--lease={silent}")
        etcd.ctl("put", "/netplumb/shared/nodes/c", '{"identity": {"boot": "1"}, "mode": "vxlan"}')

        async def told() -> dict[str, dict[str, str]]:
            found = json.loads((await netplumb(etcd, "cluster", "status", "-o", "json")).stdout)["nodes"]
            return {it["name"]: {why["reason"]: why["message"] for why in it["troubles"]} for it in found}

        async def is_silent() -> bool:
            return "Silent" in (await told())["c"]

        await until(is_silent, "c was not heard for two beats", within_s=LONG_S)
        found = await told()
        assert found["a"] == {}
        assert found["b"].keys() == {"Removed"}
        assert "web/eth0" in found["b"]["Removed"]
        assert a.prefixes[0] in found["c"]["PrefixVoid"]
        assert {"ModesDiffer", "NoUnderlay"} < found["c"].keys()


async def test_members_tells_of_each_and_of_one_that_is_away(three: Etcd) -> None:
    leader = three.leader()
    dead = next(it for it in three.members if it is not leader)
    dead.kill()
    told = json.loads((await netplumb(three, "cluster", "members", "-o", "json")).stdout)
    by_name = {it["name"]: it for it in told}
    assert [name for name, it in by_name.items() if it["leader"]] == [leader.name]
    assert by_name[dead.name]["trouble"]
    assert not by_name[leader.name]["trouble"]
    for _ in range(6):  # whichever of them is asked first
        assert "yes" in (await netplumb(three, "cluster", "members")).stdout


async def test_remove_gives_a_node_up_and_not_one_that_is_there(etcd: Etcd, tmp_path: Path) -> None:
    async with nodes(etcd, tmp_path, "a", "b") as (a, b):
        there = await netplumb(etcd, "cluster", "remove", "b", "--yes")
        assert there.exit_code == 1
        assert "b is there: stop netplumb on it and wait until it counts as away, or say --force" in there.stderr
        (prefix,) = b.prefixes
        await b.leave(etcd)
        etcd.ctl("put", "/netplumb/nodes/b/attachments/web", "kind: Attachment")
        etcd.ctl("put", "/netplumb/nodes/b/status/web", "{}")
        assert (await netplumb(etcd, "cluster", "remove", "b", given="n\n")).exit_code == 1
        assert b.name in a.view.peers
        removed = await netplumb(etcd, "cluster", "remove", "b", "--yes")
        assert removed.stdout.startswith(f"b is removed; {prefix} is free again.\nWhat documents want of it stays (1)")
        assert "/netplumb/nodes/b/attachments/web" in etcd.key_names(), "what runs there would end if it came back"
        assert "/netplumb/nodes/b/status/web" not in etcd.key_names()
        await until(lambda: "b" not in a.view.peers, "a knows b no more")
        missing = await netplumb(etcd, "cluster", "remove", "b", "--yes")
        assert (missing.exit_code, "there is no node b" in missing.stderr) == (1, True)
        new = Node(a.settings, "c", tmp_path).start()
        await until(lambda: new.is_well, "c is well")
        assert new.prefixes == [prefix]
        await new.stop()


async def test_remove_refuses_before_it_asks(etcd: Etcd, tmp_path: Path) -> None:
    """What cannot be done is not asked for; whoever forces it is told what that does to a node that is there."""
    async with nodes(etcd, tmp_path, "a", "b") as (a, b):
        before = etcd.revision()
        there = await netplumb(etcd, "cluster", "remove", "b", given="y\n")
        assert (there.exit_code, there.stdout) == (1, "")
        missing = await netplumb(etcd, "cluster", "remove", "c", given="y\n")
        assert (missing.exit_code, missing.stdout) == (1, "")
        etcd.ctl("put", "/netplumb/endpoints/b/web/eth0", "{}")
        forced = await netplumb(etcd, "cluster", "remove", "b", "--force", given="n\n")
        assert forced.exit_code == 1
        assert "b is there, and keeps what it runs (1 interfaces)" in forced.stdout
        assert "[y/N]" in forced.stdout
        assert (etcd.revision(), "b" in a.view.peers, bool(b.prefixes)) == (before + 1, True, True)


async def test_accept_ends_the_waiting_of_every_node(etcd: Etcd, tmp_path: Path) -> None:
    async with nodes(etcd, tmp_path, "a", "b") as both:
        snapshot = etcd.save()
        etcd.ctl("put", "/netplumb/shared/nodes/x", "{}")
        revision = etcd.revision()
        await until(lambda: all(it.view.revision >= revision for it in both), "both saw that")
        etcd.restore(snapshot)
        await until(lambda: all("EtcdWentBack" in it.conditions for it in both), "both say so", within_s=LONG_S)
        assert (await netplumb(etcd, "cluster", "accept", given="n\n")).exit_code == 1
        accepted = await netplumb(etcd, "cluster", "accept", "--yes")
        assert accepted.exit_code == 0, accepted.output
        await until(lambda: all(it.is_well for it in both), "both are well", within_s=LONG_S)
        assert all("x" not in it.view.peers for it in both)


async def test_what_cannot_be_asked_is_told(etcd: Etcd, tmp_path: Path) -> None:
    config = tmp_path / "netplumb.yaml"
    config.write_text("pools: [10.99.0.0/24]\n")
    alone = CliRunner().invoke(app, ["cluster", "status", "--config", str(config)], prog_name="netplumb")
    assert (alone.exit_code, "this node is none of a cluster" in alone.stderr) == (2, True)
    etcd.kill()
    away = await netplumb(etcd, "cluster", "status")
    assert (away.exit_code, away.stdout) == (1, "")
    assert etcd.endpoints[0] in away.stderr


async def test_documents_for_a_node_that_is_not_there_are_told(etcd: Etcd, tmp_path: Path) -> None:
    """They may be for one that is yet to come. What cannot be a node's name would be a key of somebody else's."""
    file = tmp_path / "web.yaml"
    file.write_text("kind: Attachment\nworkload_id: web\nnetns: {name: web}\n")
    async with nodes(etcd, tmp_path, "a"):
        known = await netplumb(etcd, "apply", "-f", str(file), "--node", "a")
        assert (known.exit_code, known.stderr) == (0, "")
        unknown = await netplumb(etcd, "apply", "-f", str(file), "--node", "b")
        assert unknown.exit_code == 0
        assert "no node b was ever in this cluster" in unknown.stderr
        before = etcd.revision()
        for name in ("a/attachments", "..", ""):
            refused = await netplumb(etcd, "apply", "-f", str(file), "--node", name)
            assert refused.exit_code == 2, name
        assert etcd.revision() == before
