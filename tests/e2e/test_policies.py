"""Network policies by the real daemon: from state files to real packets, through restarts, changes and losses."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, UPLINK, MakeHost, StartDaemon
from tests.e2e.connections import connected
from tests.e2e.connections import passes as goes_on
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import UNANSWERED_S, ask, serving, unanswered
from tests.e2e.hosts import Host
from tests.e2e.packets import datagram, put
from tests.e2e.statefiles import declare, document
from tests.e2e.streams import open_socket
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, texts, v4, v6

PORT = 9300
WEB_V4, DB_V4, SPY_V4 = "10.213.0.10", "10.213.0.11", "10.213.0.12"

HEAD = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
DENY_ALL = HEAD + "metadata: {name: deny}\nspec: {podSelector: {}, policyTypes: [Ingress]}\n"
FROM_WEB = HEAD + (
    "metadata: {name: from-web}\n"
    "spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}\n"
)


def passes(source: Host, address: str, protocol: str = "tcp") -> bool:
    return ask(source, address, PORT, protocol) is not None


def denied(source: Host, address: str) -> bool:
    return unanswered(source, address, PORT)


async def attached(client: AsyncClient, *workloads: str) -> bool:
    found = {it.workload_id: it.phase async for it in client.list()}
    return all(found.get(it) == "Attached" for it in workloads)


def enforced(node: Host) -> bool:
    return "chain policy_ingress" in node.run("nft list table inet netplumb")


async def in_force(client: AsyncClient) -> bool:
    """Whether the daemon has nothing left to do."""
    return not (await client.plan()).changes


async def test_only_the_app_that_is_allowed_comes_in(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host, make_host: MakeHost
) -> None:
    """A file of policies is enforced before the workloads that it is about come up, in both families; the node reaches
    its own workloads, and a workload that no policy selects is open."""
    spy = make_host("spy")
    declare(
        daemon,
        "site.yaml",
        document("web", web, addresses=[WEB_V4, "fd13::10"], app="web"),
        document("db", db, addresses=[DB_V4, "fd13::11"], app="db"),
        document("spy", spy, addresses=[SPY_V4, "fd13::12"], app="spy"),
        FROM_WEB,
    )
    await until(lambda: attached(client, "web", "db", "spy"), "attached")
    with serving(db, PORT), serving(web, PORT):
        for address in (DB_V4, "fd13::11"):
            assert passes(web, address)
            assert passes(web, address, "udp")
            assert passes(node, address)
            assert denied(spy, address)
        assert passes(spy, WEB_V4)
    assert await in_force(client)


async def test_labels_that_change_change_what_passes(
    client: AsyncClient, daemon: Daemon, web: Host, db: Host, node: Host
) -> None:
    """A label is changed in place, at either end."""
    declare(daemon, "policy.yaml", FROM_WEB)
    await client.attach(attach(web, labels={"app": "web"}))
    address = v4(await client.attach(attach(db, labels={"app": "db"})))
    with serving(db, PORT):
        await until(lambda: enforced(node), "the policy")
        assert passes(web, address)
        await client.attach(attach(web, labels={"app": "other"}))
        assert denied(web, address)
        await client.attach(attach(db, labels={"app": "other"}))
        assert passes(web, address)


async def test_policies_that_come_and_go(client: AsyncClient, daemon: Daemon, node: Host, web: Host, db: Host) -> None:
    """What an edit of the file says holds for workloads that are there; without policies nothing of them is left."""
    await client.attach(attach(web, labels={"app": "web"}))
    address = v4(await client.attach(attach(db, labels={"app": "db"})))
    with serving(db, PORT):
        declare(daemon, "policy.yaml", DENY_ALL)
        await until(lambda: denied(web, address), "denied")
        declare(daemon, "policy.yaml", DENY_ALL, FROM_WEB)
        await until(lambda: passes(web, address), "allowed by the second")
        (daemon.state_files / "policy.yaml").unlink()
        await until(lambda: not enforced(node), "all gone")
        assert passes(web, address)
    assert await in_force(client)


async def test_a_daemon_that_is_down_leaves_them_enforced(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """Killed, away and back: denied all the time, and nothing of the table is made anew."""
    declare(daemon, "policy.yaml", DENY_ALL)
    await until(lambda: enforced(node), "the policy")
    addresses = [texts(await client.attach(attach(host, labels={"app": host.name}))) for host in (web, db)]
    with serving(db, PORT):
        assert denied(web, addresses[1][0])
        before = node.run("nft -a -s list table inet netplumb")
        daemon.kill9()
        assert denied(web, addresses[1][0])
        await daemon.start()
        async with daemon.client() as again:
            await until(lambda: in_force(again), "in sync")
        assert node.run("nft -a -s list table inet netplumb") == before
        assert denied(web, addresses[1][0])


async def test_a_store_that_is_lost_opens_nothing(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """Nobody knows the labels of what was rebuilt, so what the table has of it stays until its wish is said again."""
    declare(daemon, "policy.yaml", FROM_WEB)
    await until(lambda: enforced(node), "the policy")
    await client.attach(attach(web, labels={"app": "web"}))
    address = v4(await client.attach(attach(db, labels={"app": "db"})))
    with serving(db, PORT):
        assert passes(web, address)
        daemon.kill9()
        for file in daemon.data_dir.glob("netplumb.db*"):
            file.unlink()
        await daemon.start()
        async with daemon.client() as again:
            await until(lambda: in_force(again), "in sync")
            assert passes(web, address)
            await again.attach(attach(web, labels={"app": "other"}))
            # The file that says the policy may be read just now.
            await until(lambda: denied(web, address), "the policy knows its labels")
            await again.attach(attach(db, labels={"app": "other"}))
            assert passes(web, address)


async def test_outside_clients_of_a_published_port_are_judged_by_their_address(
    daemon: Daemon, client: AsyncClient, outside: Host, web: Host, node: Host
) -> None:
    """An ipBlock sees the client's address as it came, and the port is the workload's."""
    for last in (7, 8):
        outside.ip(f"address add 192.0.2.{last}/24 dev eth0")
    declare(
        daemon,
        "policy.yaml",
        HEAD + "metadata: {name: outside}\nspec:\n  podSelector: {}\n  ingress:\n"
        "  - from: [{ipBlock: {cidr: 192.0.2.0/24, except: [192.0.2.8/32]}}]\n"
        f"    ports: [{{port: {PORT}}}]\n",
    )
    await until(lambda: enforced(node), "the policy")
    await client.attach(attach(web, ports=[f"80:{PORT}"]))
    with serving(web, PORT):
        assert ask(outside, NODE_V4, 80, bind="192.0.2.7") == "web 192.0.2.7"
        assert unanswered(outside, NODE_V4, 80, bind="192.0.2.8")


async def test_a_workload_reaches_itself_by_a_port_of_the_node(
    daemon: Daemon, client: AsyncClient, web: Host, node: Host
) -> None:
    """Whatever the policies say."""
    declare(daemon, "policy.yaml", DENY_ALL.replace("[Ingress]", "[Ingress, Egress]"))
    await until(lambda: enforced(node), "the policy")
    await client.attach(attach(web, ports=[f"80:{PORT}"]))
    with serving(web, PORT):
        assert ask(web, NODE_V4, 80) is not None


@pytest.mark.parametrize("version", [4, 6])
async def test_nobody_elsewhere_is_the_workload_itself(
    daemon: Daemon, client: AsyncClient, outside: Host, web: Host, node: Host, version: int
) -> None:
    """What comes from outside to a port of the node, with the workload's own address as its source, is denied as all
    else is."""
    declare(daemon, "policy.yaml", DENY_ALL)
    await until(lambda: enforced(node), "the policy")
    own = (v4, v6)[version == 6](await client.attach(attach(web, ports=[f"80:{PORT}/udp"])))
    outside_address, node_address = {4: (OUTSIDE_V4, NODE_V4), 6: (OUTSIDE_V6, NODE_V6)}[version]
    with open_socket(web, own, socket.SOCK_DGRAM) as server:
        server.bind((own, PORT))
        server.settimeout(UNANSWERED_S)
        for source in (own, outside_address):
            put(outside, "eth0", node.link(UPLINK)["address"], datagram((source, 5000), (node_address, 80), b"?"))
            with pytest.raises(TimeoutError):
                server.recv(16)
        (daemon.state_files / "policy.yaml").unlink()
        await until(lambda: not enforced(node), "nothing denies")
        put(outside, "eth0", node.link(UPLINK)["address"], datagram((outside_address, 5000), (node_address, 80), b"?"))
        assert server.recv(16) == b"?"


async def test_what_the_guards_forbid_no_policy_allows(
    start_daemon: StartDaemon, node: Host, web: Host, db: Host
) -> None:
    """Isolated by the setting, and allowed by a policy: what forbids wins."""
    daemon = await start_daemon(flags="--isolate-workloads")
    declare(daemon, "policy.yaml", FROM_WEB)
    async with daemon.client() as client:
        await until(lambda: enforced(node), "the policy")
        await client.attach(attach(web, labels={"app": "web"}))
        address = v4(await client.attach(attach(db, labels={"app": "db"})))
        with serving(db, PORT):
            assert denied(web, address)
            await client.attach(attach(web, labels={"app": "web"}, isolate_workloads=False))
            assert passes(web, address)


async def test_connections_that_a_policy_forbids_end(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host, make_host: MakeHost
) -> None:
    """In both directions, in both families; those that it allows, and the node's, go on."""
    spy = make_host("spy")
    for host in (web, spy):
        await client.attach(attach(host, labels={"app": host.name}))
    answer = await client.attach(attach(db, labels={"app": "db"}))
    with (
        connected(web, db, v4(answer), 9000) as allowed,
        connected(spy, db, v4(answer), 9001) as forbidden,
        connected(spy, db, v6(answer), 9002) as forbidden_v6,
        connected(node, db, v6(answer), 9003) as of_node,
        connected(db, spy, texts(await client.attach(attach(spy, labels={"app": "spy"})))[0], 9004) as back,
    ):
        declare(daemon, "policy.yaml", FROM_WEB)
        await until(lambda: enforced(node), "the policy")
        await until(lambda: not goes_on(*reversed(forbidden)), "its answers end")
        for near, far in (forbidden, forbidden_v6):
            assert not goes_on(near, far)
            assert not goes_on(far, near)
        for near, far in (allowed, of_node, back):
            assert goes_on(near, far)
            assert goes_on(far, near)


@pytest.mark.parametrize("subject", ["db", "spy"])
async def test_a_server_that_goes_on_sending_keeps_no_connection(
    daemon: Daemon, client: AsyncClient, node: Host, db: Host, make_host: MakeHost, subject: str
) -> None:
    """Where the workload is isolated in both directions, and may be asked, or may ask, whatever the forbidden one is
    not: what is sent on begins no flow the other way, by which the rest would pass for answers."""
    spy = make_host("spy")
    await client.attach(attach(spy, labels={"app": "spy"}))
    address = v4(await client.attach(attach(db, labels={"app": "db"})))
    allowed = {"db": ("[]", "[{}]"), "spy": ("[{}]", "[]")}[subject]
    policy = HEAD + (
        f"metadata: {{name: both}}\nspec:\n  podSelector: {{matchLabels: {{app: {subject}}}}}\n"
        f"  policyTypes: [Ingress, Egress]\n  ingress: {allowed[0]}\n  egress: {allowed[1]}\n"
    )
    with connected(spy, db, address, 9000) as (near, far):
        declare(daemon, "policy.yaml", policy)
        await sent_on(far, until_true=lambda: enforced(node))
        await sent_on(far)
        drained(near)
        assert not goes_on(far, near)
        assert not goes_on(near, far)
        assert not goes_on(near, far)


@pytest.mark.parametrize("version", [4, 6])
async def test_datagrams_that_a_policy_forbids_end(
    daemon: Daemon, client: AsyncClient, node: Host, db: Host, make_host: MakeHost, version: int
) -> None:
    """Where the server goes on sending, which may ask whom it likes: what the forbidden client sends does not come in
    as answers, and nothing of the flow goes out, while others' flows go on; it passes again when the policy is gone."""
    spy = make_host("spy")
    address = (v4, v6)[version == 6](await client.attach(attach(db, labels={"app": "db"})))
    await client.attach(attach(spy, labels={"app": "spy"}))
    family = socket.AF_INET6 if version == 6 else socket.AF_INET
    with open_socket(db, address, socket.SOCK_DGRAM) as server, open_socket(spy, address, socket.SOCK_DGRAM) as asking:
        assert server.family == family
        server.bind((address, 9000))
        asking.connect((address, 9000))
        asking.send(b"hello")
        _, asker = server.recvfrom(16)
        server.connect(asker)
        for end in (server, asking):
            end.settimeout(0.3)
        assert goes_on(server, asking)
        file = declare(daemon, "policy.yaml", FROM_WEB)
        await sent_on(server, until_true=lambda: enforced(node))
        await sent_on(server)
        drained(asking)
        drained(server)
        for _ in range(5):
            assert not goes_on(asking, server)
            assert not goes_on(server, asking)
        file.unlink()
        await until(lambda: goes_on(asking, server), "allowed again")
        assert goes_on(server, asking)


async def sent_on(end: socket.socket, until_true: Callable[[], bool] | None = None) -> None:
    """Sends now and then, for three seconds or until something is so."""
    for _ in range(150):
        with suppress(OSError):
            end.send(b"pushed", socket.MSG_DONTWAIT)
        await asyncio.sleep(0.02)
        if until_true is not None and until_true():
            return


def drained(end: socket.socket) -> None:
    """Reads what has come so far."""
    with suppress(OSError):
        while end.recv(1 << 16, socket.MSG_DONTWAIT):
            pass


async def test_connections_that_a_label_forbids_end(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """A label that a workload loses is as good as a policy that came."""
    declare(daemon, "policy.yaml", FROM_WEB)
    await until(lambda: enforced(node), "the policy")
    await client.attach(attach(web, labels={"app": "web"}))
    answer = await client.attach(attach(db, labels={"app": "db"}))
    with connected(web, db, v4(answer), 9000) as ends:
        await client.attach(attach(web, labels={"app": "other"}))
        await until(lambda: not goes_on(*reversed(ends)), "its answers end")
        assert not goes_on(*ends)


async def test_masqueraded_connections_that_a_policy_forbids_end(
    daemon: Daemon, client: AsyncClient, node: Host, outside: Host, web: Host, db: Host
) -> None:
    """What goes out with the node's address is known by the workload's own."""
    for host in (web, db):
        await client.attach(attach(host, labels={"app": host.name}))
    with (
        connected(db, outside, OUTSIDE_V4, 9000) as forbidden,
        connected(db, outside, OUTSIDE_V6, 9001) as allowed,
        connected(web, outside, OUTSIDE_V4, 9002) as of_other,
    ):
        declare(
            daemon,
            "policy.yaml",
            HEAD + "metadata: {name: only-v6}\nspec:\n  podSelector: {matchLabels: {app: db}}\n"
            "  policyTypes: [Egress]\n  egress: [{to: [{ipBlock: {cidr: '::/0'}}]}]\n",
        )
        await until(lambda: not goes_on(*reversed(forbidden)), "its answers end")
        assert not goes_on(*forbidden)
        for near, far in (allowed, of_other):
            assert goes_on(near, far)
            assert goes_on(far, near)


async def test_the_command_tells_of_policies(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host, tmp_path: Path
) -> None:
    """What there is, who reaches whom and why, and what others would change, before anything changes."""
    declare(daemon, "policy.yaml", FROM_WEB)
    await until(lambda: enforced(node), "the policy")
    address = v4(await client.attach(attach(web, labels={"app": "web"})))
    answer = await client.attach(attach(db, labels={"app": "db"}))
    socket = f"--socket={daemon.socket}"

    def said(*words: str) -> tuple[int, str]:
        done = daemon.command("policy", *words, socket)
        return done.returncode, done.stdout

    code, listed = said("list")
    assert (code, listed.splitlines()[1].split()) == (
        0,
        ["NetworkPolicy", "default", "from-web", "file/policy.yaml", "yes", "1"],
    )
    assert "isolates: db/eth0" in said("show", "from-web")[1]
    assert list((await client.get("db")).policies) == ["default/from-web"]
    assert not (await client.get("web")).policies
    assert said("show", "other")[0] != 0
    code, why = said("explain", "web", "db", "--port", "5432")
    assert (code, "allowed by default/from-web, rule 1" in why) == (0, True)
    code, why = said("explain", "198.51.100.7", "db/eth0")
    assert (code, "no rule of default/from-web allows it" in why) == (1, True)
    assert said("explain", "nobody", "db")[0] not in (0, 1)

    other = tmp_path / "policy.yaml"
    other.write_text(FROM_WEB.replace("app: web", "app: other"))
    with connected(web, db, v4(answer), 9000) as ends:
        code, lost = said("diff", "-f", str(other))
        assert code == 1
        assert "- web/eth0 to db/eth0 TCP\n" in lost
        assert f"! cut: tcp {address} port" in lost
        assert goes_on(*ends)
        assert goes_on(*reversed(ends))
    assert said("diff", "-f", str(daemon.state_files / "policy.yaml")) == (0, "")
    waits = other.rename(tmp_path / "other.yaml")
    assert said("diff", "-f", str(waits)) == (
        0,
        "= NetworkPolicy default/from-web would wait: it is file/policy.yaml's\n",
    )


async def test_what_is_always_allowed_is_explained_so(
    daemon: Daemon, client: AsyncClient, node: Host, db: Host
) -> None:
    """The node by whichever of its addresses, as a port published there reaches an isolated workload; a workload to
    itself."""
    declare(daemon, "policy.yaml", DENY_ALL)
    await until(lambda: enforced(node), "the policy")
    await client.attach(attach(db, ports=[f"8001:{PORT}"]))
    with serving(db, PORT):
        for loopback in ("127.0.0.1", "::1"):
            assert ask(node, loopback, 8001) is not None
            explained = daemon.command("policy", "explain", loopback, "db", f"--socket={daemon.socket}")
            assert (explained.returncode, "its own node always" in explained.stdout) == (0, True)
        explained = daemon.command("policy", "explain", "db", "db", f"--socket={daemon.socket}")
        assert (explained.returncode, "a workload always reaches itself" in explained.stdout) == (0, True)


async def test_a_port_of_the_node_is_explained_as_where_it_leads(
    daemon: Daemon, client: AsyncClient, node: Host, outside: Host, db: Host
) -> None:
    """At whichever of the node's addresses, in whichever spelling; another port concerns no workload."""
    declare(daemon, "policy.yaml", DENY_ALL)
    await until(lambda: enforced(node), "the policy")
    await client.attach(attach(db, ports=[f"8001:{PORT}"]))

    def explained(to: str, port: int) -> tuple[int, str]:
        ends = ("policy", "explain", OUTSIDE_V4 if "." in to else OUTSIDE_V6, to, f"--port={port}")
        said = daemon.command(*ends, f"--socket={daemon.socket}")
        return said.returncode, said.stdout

    with serving(db, PORT):
        for to in (NODE_V4, NODE_V6, f"::ffff:{NODE_V4}"):
            code, said = explained(to, 8001)
            assert code == 1
            assert f"this port of the node leads to db/eth0, port {PORT}" in said
            assert "no rule of default/deny allows it" in said
            assert unanswered(outside, to.rpartition("ffff:")[2], 8001)
    code, said = explained(NODE_V4, 8002)
    assert (code, "neither end is a workload's" in said) == (0, True)


async def test_policies_that_are_applied(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host, tmp_path: Path
) -> None:
    """They are a source like files: one that a file declares stays the file's; those that are deleted are gone."""
    await client.attach(attach(web, labels={"app": "web"}))
    address = v4(await client.attach(attach(db, labels={"app": "db"})))
    file = tmp_path / "policies.yaml"
    file.write_text(f"{DENY_ALL}---\n{FROM_WEB}")
    socket = f"--socket={daemon.socket}"
    with serving(db, PORT):
        assert daemon.command("apply", "-f", str(file), socket).stdout == (
            "NetworkPolicy default/deny created\nNetworkPolicy default/from-web created\n"
        )
        await until(lambda: enforced(node), "the policies")
        assert passes(web, address)
        file.write_text(DENY_ALL)
        assert "pruned" in daemon.command("apply", "--prune", "-f", str(file), socket).stdout
        await until(lambda: denied(web, address), "the rest denies")
        declare(daemon, "deny.yaml", DENY_ALL)
        await until(lambda: waits(client), "the file's waits")
        assert daemon.command("delete", "-f", str(file), socket).stdout == "NetworkPolicy default/deny deleted\n"
        assert denied(web, address)
        assert daemon.command("delete", "-f", str(file), socket).returncode != 0


async def waits(client: AsyncClient) -> bool:
    return any(it.type == "PolicyWaiting" for it in (await client.status()).conditions)
