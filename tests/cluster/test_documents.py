"""Documents in etcd are wanted on a node, and what came of them is written back."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

from grpc import StatusCode

from tests.cluster.sites import Site, conditions, site
from tests.e2e.daemons import FORKED
from tests.e2e.hosts import Host
from tests.e2e.nodes import Machine
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, detach, refused, v4

LONG_S = 30.0


def document(name: str, **more: Any) -> str:
    return json.dumps({"kind": "Attachment", "workload_id": name, "netns": {"name": name}, **more})


def wanted(machine: Machine, name: str) -> str:
    return f"/netplumb/nodes/{machine.name}/attachments/{name}"


def told(it: Site, machine: Machine, name: str) -> dict[str, Any]:
    """What the node wrote back of an attachment."""
    found = it.etcd.ctl("get", "--print-value-only", f"/netplumb/nodes/{machine.name}/status/{name}/eth0")
    return json.loads(found) if found.strip() else {}


async def test_a_document_in_etcd_attaches_and_detaches(directory: Path) -> None:
    """It is a source as files are: what is wrong with it tears nothing down, and neither does an etcd that is away."""
    async with site(1, directory) as it:
        (node,) = it.machines
        web = node.workload("web")
        it.etcd.ctl("put", wanted(node, "web"), document("web"))
        await until(lambda: told(it, node, "web").get("phase") == "Attached", "it is told as attached", within_s=LONG_S)
        state = told(it, node, "web")
        assert state["source"] == "cluster"
        (row,) = json.loads((await netplumb(it, "list", "--all-nodes", "-o", "json")).stdout)
        assert set(row["addresses"]) == {address.partition("/")[0] for address in web.addresses("eth0")}

        it.etcd.ctl("put", wanted(node, "web"), "kind: [")

        async def broken() -> bool:
            return "cluster/web" in (await conditions(node)).get("StateFileBroken", "")

        await until(broken, "the mistake is told", within_s=LONG_S)
        assert "eth0" in web.links()
        it.etcd.ctl("put", wanted(node, "web"), document("web", mtu=1400))
        await until(lambda: web.link("eth0")["mtu"] == 1400, "it is changed", within_s=LONG_S)

        it.etcd.kill()
        await node.daemon.restart()
        assert web.link("eth0")["mtu"] == 1400
        it.etcd.start()

        async def followed() -> bool:
            return "EtcdAway" not in await conditions(node)

        await until(followed, "etcd is followed again", within_s=LONG_S)
        assert web.link("eth0")["mtu"] == 1400
        it.etcd.ctl("del", wanted(node, "web"))
        await until(lambda: "eth0" not in web.links(), "it is detached", within_s=LONG_S)
        await until(lambda: not told(it, node, "web"), "nothing is told of it any more", within_s=LONG_S)


async def netplumb(it: Site, *words: str, given: str = "") -> CompletedProcess[str]:
    """On a machine that is no node, by settings that say where etcd is. In a process of its own: the threads of gRPC
    are in whichever namespace the first of them was made in."""
    config = it.etcd.place / "netplumb.yaml"
    config.write_text(json.dumps({"cluster": {"endpoints": list(it.etcd.endpoints)}}))
    words = (*words, "--config", str(config))
    return await asyncio.to_thread(FORKED.run, it.lan.outside, words, given=given, within_s=LONG_S)


POLICY = """
kind: NetworkPolicy
apiVersion: networking.k8s.io/v1
metadata: {name: nobody}
spec: {podSelector: {}, ingress: []}
"""


async def test_documents_are_applied_to_another_node(directory: Path) -> None:
    """What is wanted is shown before, written for that node alone, listed with all nodes', and withdrawn."""
    async with site(2, directory) as it:
        one, other = it.machines
        web, db = one.workload("web"), other.workload("db")
        file = directory / "web.yaml"
        file.write_text(document("web"))
        shown = await netplumb(it, "apply", "-f", str(file), "--node", one.name, "--dry-run")
        assert (shown.returncode, shown.stdout) == (0, "web/eth0 created (dry run)\n"), shown.stderr
        assert not [key for key in it.etcd.key_names() if "attachments" in key]
        applied = await netplumb(it, "apply", "-f", str(file), "--node", one.name)
        assert applied.stdout == "web/eth0 created\n"
        await netplumb(it, "apply", "-f", "-", "--node", other.name, given=document("db") + "\n---\n" + POLICY)
        await until(lambda: "eth0" in web.links() and "eth0" in db.links(), "both are attached", within_s=LONG_S)
        file.write_text(document("web", mtu=1400))
        assert (await netplumb(it, "apply", "-f", str(file), "--node", one.name)).stdout.startswith(
            "web/eth0 configured, mtu: none -> 1400"
        )
        assert (await netplumb(it, "apply", "-f", str(file), "--node", one.name)).stdout == "web/eth0 unchanged\n"
        await until(lambda: web.link("eth0")["mtu"] == 1400, "it is changed", within_s=LONG_S)

        async def listed() -> bool:
            rows = [line.split() for line in (await netplumb(it, "list", "--all-nodes")).stdout.splitlines()]
            return [row[:3] for row in rows[1:]] == [
                [one.name, "web/eth0", "Attached"],
                [other.name, "db/eth0", "Attached"],
            ]

        await until(listed, "both are listed", within_s=LONG_S)
        for machine in (one, other):
            async with machine.client() as client:
                assert [policy.name for policy in await client.policies()] == ["nobody"]
        refused = await netplumb(it, "apply", "-f", "-", "--node", one.name, given="kind: Attachment")
        assert (refused.returncode, "workload_id: is missing" in refused.stderr) == (2, True)
        gone = await netplumb(it, "delete", "web", "--node", one.name)
        assert gone.stdout == "web/eth0 deleted\n"
        await until(lambda: "eth0" not in web.links(), "it is detached", within_s=LONG_S)
        missing = await netplumb(it, "delete", "web", "--node", one.name)
        assert (missing.returncode, "was not applied" in missing.stderr) == (4, True)
        assert "eth0" in db.links()


async def test_a_document_that_nobody_can_read_is_deleted_by_its_name(directory: Path) -> None:
    """Who looks for it by what it may have said is told that it is there; of one name the node's own goes first."""
    async with site(1, directory) as it:
        (one,) = it.machines
        own, shared = f"/netplumb/nodes/{one.name}/attachments/bad", "/netplumb/shared/documents/bad"
        for key in (own, shared):
            it.etcd.ctl("put", key, "kind: Attachment\nworkload_id: [")

        async def is_broken() -> bool:
            return "cluster/bad" in (await conditions(one)).get("StateFileBroken", "")

        await until(is_broken, "it is told", within_s=LONG_S)
        missing = await netplumb(it, "delete", "bad", "--node", one.name)
        assert (missing.returncode, "cannot be read, and may say what was meant: bad" in missing.stderr) == (4, True)
        tried = await netplumb(it, "delete", "--document", "bad", "--node", one.name, "--dry-run")
        assert (tried.returncode, tried.stdout) == (0, "document bad deleted (dry run)\n")
        assert {own, shared} <= set(it.etcd.key_names())
        for left in ({shared}, set()):
            gone = await netplumb(it, "delete", "--document", "bad", "--node", one.name)
            assert (gone.returncode, gone.stdout) == (0, "document bad deleted\n")
            assert {own, shared} & set(it.etcd.key_names()) == left
        again = await netplumb(it, "delete", "--document", "bad", "--node", one.name)
        assert (again.returncode, "there is no document bad" in again.stderr) == (4, True)
        assert (await netplumb(it, "delete", "--document", "bad")).returncode == 2

        async def is_over() -> bool:
            return not await is_broken()

        await until(is_over, "it is told no more", within_s=LONG_S)


async def test_what_a_node_wrote_that_is_away_is_marked(directory: Path) -> None:
    """It may be otherwise by now."""
    async with site(2, directory) as it:
        one, other = it.machines
        await one.attach("web")
        await other.attach("db")

        async def nodes_listed(*expected: str) -> bool:
            rows = (await netplumb(it, "list", "--all-nodes")).stdout.splitlines()[1:]
            return [row.rpartition("/eth0")[0].rpartition("  ")[0].strip() for row in rows] == list(expected)

        await until(lambda: nodes_listed(one.name, other.name), "both are listed", within_s=LONG_S)
        other.daemon.kill9()
        await until(lambda: nodes_listed(one.name, f"{other.name} (away)"), "it is marked", within_s=LONG_S)
        told = json.loads((await netplumb(it, "list", "--all-nodes", "-o", "json")).stdout)
        assert [(row["node"], row["present"]) for row in told] == [(one.name, True), (other.name, False)]


async def test_of_several_documents_in_one_key_one_is_changed_or_deleted_alone(directory: Path) -> None:
    """As somebody wrote them, attachments of a node and policies of all; and one that two keys declare is deleted in
    both, changed where it counts."""
    async with site(1, directory) as it:
        (node,) = it.machines
        web, db, job = (node.workload(name) for name in ("web", "db", "job"))
        it.etcd.ctl("put", wanted(node, "a"), given=f"{document('web')}\n---\n{document('db')}")
        it.etcd.ctl("put", wanted(node, "b"), given=f"{document('job')}\n---\n{document('db', mtu=1300)}")
        policies = [POLICY, POLICY.replace("nobody", "other")]
        it.etcd.ctl("put", "/netplumb/shared/documents/both", given="\n---\n".join(policies))
        await until(lambda: all("eth0" in each.links() for each in (web, db, job)), "all are attached", within_s=LONG_S)
        done = await netplumb(it, "apply", "-f", "-", "--node", node.name, given=document("db", mtu=1400))
        assert done.stdout.startswith("db/eth0 configured, mtu: none -> 1400"), done.stderr
        await until(lambda: mtu(db) == 1400, "the one that counts is changed", within_s=LONG_S)
        assert (mtu(web), mtu(job)) == (1500, 1500)
        await netplumb(it, "delete", "db", "--node", node.name)
        await until(lambda: "eth0" not in db.links(), "it is detached, whoever declared it", within_s=LONG_S)
        await netplumb(it, "delete", "-f", "-", "--node", node.name, given=POLICY)

        async def one_is_left() -> bool:
            async with node.client() as client:
                return [policy.name for policy in await client.policies()] == ["other"]

        await until(one_is_left, "the other policy is left", within_s=LONG_S)
        assert (mtu(web), mtu(job)) == (1500, 1500)
        await netplumb(it, "delete", "web", "--node", node.name)
        await until(lambda: "eth0" not in web.links(), "it is detached", within_s=LONG_S)
        assert wanted(node, "a") not in it.etcd.key_names(), "what says nothing any more is gone"


async def test_a_document_that_is_withdrawn_while_the_daemon_does_not_run_is_gone_after(directory: Path) -> None:
    async with site(1, directory) as it:
        (node,) = it.machines
        web = node.workload("web")
        it.etcd.ctl("put", wanted(node, "web"), document("web"))
        await until(lambda: "eth0" in web.links(), "it is attached", within_s=LONG_S)
        node.daemon.terminate()
        it.etcd.ctl("del", wanted(node, "web"))
        await node.daemon.start(ready=False)
        await until(lambda: "eth0" not in web.links(), "it is detached", within_s=LONG_S)


async def test_of_two_sources_that_want_one_workload_the_first_has_it(directory: Path) -> None:
    """A document in etcd waits for what a client or a state file has, and says so; it has it when that lets go. A
    client that comes after it is refused, a state file waits. Addresses are kept by who comes next."""
    async with site(1, directory) as it:
        (node,) = it.machines
        by_client, has = await node.attach("client")
        by_file, by_etcd = node.workload("file"), node.workload("etcd")
        (node.daemon.state_files / "file.yaml").write_text(document("file"))
        await until(lambda: "eth0" in by_file.links(), "the state file's is attached", within_s=LONG_S)
        for name in ("client", "file", "etcd"):
            it.etcd.ctl("put", wanted(node, name), document(name, mtu=1400))
        await until(lambda: "eth0" in by_etcd.links(), "the document's is attached", within_s=LONG_S)
        await until(lambda: waits(it, node, "client") and waits(it, node, "file"), "two wait", within_s=LONG_S)
        assert (mtu(by_client), mtu(by_file)) == (1500, 1500)

        async with node.client() as client:
            with refused(StatusCode.ALREADY_EXISTS, "cluster"):
                await client.attach(attach(by_etcd))
            with refused(StatusCode.FAILED_PRECONDITION, "`netplumb delete --node` it"):
                await client.detach(detach("etcd", by_etcd.path))
        (node.daemon.state_files / "etcd.yaml").write_text(document("etcd", mtu=1300))
        await node.daemon.restart()
        assert mtu(by_etcd) == 1400

        async with node.client() as client:
            await client.detach(detach("client", by_client.path))
        await until(
            lambda: by_client.links().get("eth0", {}).get("mtu") == 1400, "the document has it", within_s=LONG_S
        )
        assert v4(has) in {address.partition("/")[0] for address in by_client.addresses("eth0")}
        it.etcd.ctl("del", wanted(node, "etcd"))
        await until(lambda: mtu(by_etcd) == 1300, "the state file has it", within_s=LONG_S)
        (node.daemon.state_files / "file.yaml").unlink()
        await until(lambda: mtu(by_file) == 1400, "the document has it", within_s=LONG_S)


def mtu(host: Host) -> int:
    return int(host.links().get("eth0", {}).get("mtu", 0))


def waits(it: Site, machine: Machine, name: str) -> bool:
    """Whether the node wrote back that the document's wish for it waits."""
    return any(f"/status/{name}/eth0@cluster" in key for key in it.etcd.key_names())


async def test_the_node_answers_while_it_reads_a_large_document(directory: Path) -> None:
    """And tells then what is wrong with it."""
    async with site(1, directory) as it:
        (node,) = it.machines
        labels = {f"k{number}": "v" for number in range(60_000)}
        answers = 0
        it.etcd.ctl("put", wanted(node, "big"), given=document("big", labels=labels))
        while "more than" not in (await conditions(node)).get("StateFileBroken", ""):
            answers += 1
        assert answers > 20
