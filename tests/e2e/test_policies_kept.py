"""Network policies as desired state: kept, swept with their source, told by Plan, Check and Watch; and in place before
a workload's link is."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import node_if_name
from tests.damage.altered import PROGRAMS
from tests.e2e.conftest import MakeHost
from tests.e2e.connections import connected
from tests.e2e.connections import passes as goes_on
from tests.e2e.daemons import Daemon, daemon_alone
from tests.e2e.echoes import serving
from tests.e2e.hosts import Host, temporary
from tests.e2e.runtimes import Runtime
from tests.e2e.statefiles import declare, document
from tests.e2e.test_detach_guarded import NO_EGRESS, NO_INGRESS, Flood, bound, received
from tests.e2e.test_metrics import ADDRESS, scrape
from tests.e2e.test_policies import DENY_ALL, FROM_WEB, HEAD, PORT, denied, enforced, in_force, passes
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, v4

WORKLOADS = 24


async def test_applied_policies_outlive_the_daemon(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host, tmp_path: Path
) -> None:
    """They are in the store, as what is attached: a daemon that died knows them when it comes again."""
    (tmp_path / "deny.yaml").write_text(DENY_ALL)
    assert not daemon.command("apply", "-f", str(tmp_path / "deny.yaml"), f"--socket={daemon.socket}").returncode
    await until(lambda: enforced(node), "the policy")
    await client.attach(attach(web))
    address = v4(await client.attach(attach(db)))
    daemon.kill9()
    await daemon.start()
    async with daemon.client() as again:
        await until(lambda: in_force(again), "in sync")
        assert [(it.name, it.source, it.in_force) for it in await again.policies()] == [("deny", "applied", True)]
        with serving(db, PORT):
            assert denied(web, address)


async def test_who_waits_for_a_namespace_is_no_difference(
    daemon: Daemon, client: AsyncClient, node: Host, make_host: MakeHost
) -> None:
    """What policies select and is not there has nothing in the table: before there ever was a namespace, and after it
    went. Once there is one, it is isolated."""
    declare(daemon, "policy.yaml", DENY_ALL)
    await until(lambda: enforced(node), "the policy")
    name = node_if_name(AttachmentKey("late", "eth0"))
    declare(daemon, "late.yaml", document("late", Host("late")))

    async def waits() -> bool:
        return [found.phase async for found in client.list()] == ["Pending"]

    await until(waits, "it waits")
    await until(lambda: in_force(client), "in sync")
    assert name not in node.run("nft list map inet netplumb policy_ingress")
    late = make_host("late")
    await until(lambda: "eth0" in late.links(), "it is attached")
    await until(lambda: name in node.run("nft list map inet netplumb policy_ingress"), "it is isolated")
    late.remove()
    await until(waits, "it waits again")
    await until(lambda: in_force(client), "in sync")
    assert name not in node.run("nft list map inet netplumb policy_ingress")
    late.create()


async def test_policies_of_a_file_that_went_meanwhile_go_too(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """A source is swept when it has been read, whether the daemon saw it change or not; until then nothing opens."""
    file = declare(daemon, "policy.yaml", DENY_ALL)
    await until(lambda: enforced(node), "the policy")
    await client.attach(attach(web))
    address = v4(await client.attach(attach(db)))
    daemon.kill9()
    file.unlink()
    with serving(db, PORT):
        assert denied(web, address)
        await daemon.start()
        async with daemon.client() as again:
            await until(lambda: not enforced(node), "it went with its file")
            assert passes(web, address)
            assert not await again.policies()


async def test_policies_that_go_with_those_they_select_leave_nothing(
    daemon: Daemon, client: AsyncClient, node: Host, make_host: MakeHost
) -> None:
    """What such a workload is judged by stays until its link is gone, and goes then."""
    for number in range(5):
        host = make_host(f"w{number}")
        file = declare(daemon, "all.yaml", document(host.name, host), DENY_ALL)
        await until(lambda: enforced(node), "the policy")
        await until(lambda: in_force(client), "in sync")
        if number % 2:
            daemon.kill9()
        file.unlink()
        if not daemon.running:
            await daemon.start()
        await until(lambda: not enforced(node), "its chains go")


async def test_a_plan_tells_what_policies_in_a_file_would_change(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, tmp_path: Path
) -> None:
    """Rules, chains, and the elements of those whom they select; nothing is changed."""
    await client.attach(attach(web))
    file = tmp_path / "policy.yaml"
    file.write_text(DENY_ALL)
    planned = daemon.command("plan", "-f", str(file), f"--socket={daemon.socket}").stdout
    assert "chain" in planned
    assert node_if_name(AttachmentKey("web", "eth0")) in planned
    assert not enforced(node)
    assert not await client.policies()


def test_a_check_tells_what_is_damaged(tmp_path: Path) -> None:
    """Of the workload whose element is gone, where nobody heard of it."""
    with daemon_alone(PROGRAMS["deaf"]) as daemon, temporary("web") as web:
        declare(daemon, "policy.yaml", DENY_ALL)
        socket = f"--socket={daemon.socket}"
        assert not daemon.command("attach", "web", f"--netns={web.path}", socket).returncode
        daemon.reload()
        while not enforced(daemon.node):
            time.sleep(0.05)
        assert not daemon.command("check", "web", socket).returncode
        daemon.node.run("nft flush map inet netplumb policy_ingress")
        checked = daemon.command("check", "web", socket)
        assert checked.returncode
        assert "policy_ingress" in checked.stdout


async def test_a_watch_tells_when_others_select_a_workload(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """Whoever watches has the policies of each workload as they are."""
    await client.attach(attach(web))
    async for event in client.watch():
        policies = list(event.attachment.policies)
        if event.attachment.workload_id == "web" and not policies:
            declare(daemon, "policy.yaml", DENY_ALL)
        if policies == ["default/deny"]:
            return


async def test_a_pod_is_known_by_its_namespace_and_its_annotations(
    daemon: Daemon, client: AsyncClient, runtime: Runtime, node: Host, web: Host, db: Host, make_host: MakeHost
) -> None:
    """What a runtime says of a pod by CNI is what policies find it by."""
    daemon.configure(label_annotation_prefix="labels.example.org/")
    await daemon.restart()
    spy = make_host("spy")
    declare(daemon, "policy.yaml", FROM_WEB.replace("{name: from-web}", "{name: from-web, namespace: shop}"))
    await until(lambda: enforced(node), "the policy")
    address = ""
    for host, namespace, app in ((db, "shop", "db"), (web, "shop", "web"), (spy, "other", "web")):
        annotations = {"labels.example.org/app": app, "example.org/other": "x"}
        args = f"IgnoreUnknown=1;K8S_POD_NAMESPACE={namespace};K8S_POD_NAME={host.name};K8S_POD_UID={host.name}"
        container = runtime.container(f"c-{host.name}", host, args=args)
        added = container.add(runtimeConfig={"io.kubernetes.cri.pod-annotations": annotations}).result()
        address = address or added["ips"][0]["address"].partition("/")[0]
    with serving(db, PORT):
        assert passes(web, address)
        assert denied(spy, address)
    async with daemon.client() as again:
        assert list((await again.get("db")).policies) == ["shop/from-web"]


async def test_a_workload_is_never_open_while_it_comes(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, make_host: MakeHost
) -> None:
    """Dozens are attached while they are sent, and send, all that a policy forbids: not one frame comes through."""
    declare(daemon, "policies.yaml", NO_EGRESS, NO_INGRESS)
    await until(lambda: enforced(node), "the policies")
    witness_at = v4(await client.attach(attach(web)))
    flood = Flood()
    with ExitStack() as stack:
        witnesses, sender = [bound(web, stack, PORT)], bound(web, stack)
        hosts = [make_host(f"w{number}") for number in range(WORKLOADS)]
        for number, host in enumerate(hosts):
            said, at = host.name.encode(), f"10.213.0.{100 + number}"
            witnesses.append(bound(host, stack, PORT))
            flood.ways += [(sender, said, (at, PORT)), (bound(host, stack), said, (witness_at, PORT))]
        mute, heard = {host.name for host in hosts[::2]}, set[str]()

        def all_heard() -> bool:
            heard.update(received(witnesses[1::2]))
            return heard == mute

        with flood.sent():
            for number, host in enumerate(hosts):
                kind = "deaf" if number % 2 else "mute"
                await client.attach(attach(host, labels={"kind": kind}, addresses=[f"10.213.0.{100 + number}"]))
            await until(all_heard, "the others hear it")
        assert not mute & set(received(witnesses[:1])), "one that may not send has sent"
        assert received(witnesses[2::2]) == [], "one that may not be sent anything has heard it"


async def test_a_policed_workload_is_one_transaction(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """What an attach, another label and a detach change of the table is said in one transaction each, where others are
    selected so already."""
    daemon.configure(metrics=ADDRESS)
    await daemon.restart()
    declare(daemon, "policy.yaml", DENY_ALL, FROM_WEB)
    await until(lambda: enforced(node), "the policies")
    async with daemon.client() as again:
        await again.attach(attach(db, labels={"app": "db"}))
        await again.attach(attach(web, workload_id="other", if_name="eth1", labels={"app": "web"}))
        await until(lambda: in_force(again), "in sync")
        for labels in ({"app": "web"}, {"app": "db"}):
            before = scrape(node)("netplumb_nftables_transactions_total")
            await again.attach(attach(web, labels=labels))
            assert scrape(node)("netplumb_nftables_transactions_total") == before + 1


async def test_connections_that_isolation_forbids_end(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """A workload that is isolated from others now is cut from those it had, as policies cut; the node's go on."""
    await client.attach(attach(web))
    address = v4(await client.attach(attach(db)))
    with connected(web, db, address, 9000) as ends, connected(node, db, address, 9001) as of_node:
        await client.attach(attach(db, isolate_workloads=True))
        await until(lambda: not goes_on(*reversed(ends)), "its answers end")
        assert not goes_on(*ends)
        assert goes_on(*of_node)


async def test_explanations_are_objects_too(daemon: Daemon, client: AsyncClient, node: Host, web: Host) -> None:
    declare(daemon, "policy.yaml", HEAD + "metadata: {name: mute}\nspec: {podSelector: {}, policyTypes: [Egress]}\n")
    await until(lambda: enforced(node), "the policy")
    await client.attach(attach(web))
    said = daemon.command(
        "policy", "explain", "web", "192.0.2.9", "--port=53", "-o", "json", f"--socket={daemon.socket}"
    )
    assert said.returncode == 1
    assert json.loads(said.stdout)["allowed"] is False
