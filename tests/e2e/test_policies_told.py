"""What network policies deny is counted by workload and direction, and told: with both ends, and not more of it than
anybody reads."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from contextlib import suppress

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.policyset import DENIED_GROUP
from netplumb.reconciler.pacing.denials import OTHER_END
from tests.e2e.conftest import OUTSIDE_V4, MakeHost
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.packets import packet
from tests.e2e.statefiles import declare
from tests.e2e.streams import open_socket
from tests.e2e.test_events import told
from tests.e2e.test_metrics import ADDRESS, scrape
from tests.e2e.test_policies import DENY_ALL, FROM_WEB, HEAD, enforced
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, v4, v6

PORT = 5432
ONLY_DNS = HEAD + (
    "metadata: {name: only-dns}\nspec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Egress],"
    " egress: [{ports: [{port: 53, protocol: UDP}]}]}\n"
)
FLOODED_PORTS = 3000
IPPROTO_SCTP = 132


def send(host: Host, address: str, port: int = PORT, times: int = 1) -> None:
    with open_socket(host, address, socket.SOCK_DGRAM) as made:
        for _ in range(times):
            made.sendto(b"x", (address, port))


async def denials(client: AsyncClient, about: str = "") -> list[str]:
    return [it.message for it in await told(client, about) if it.kind == "Denied"]


async def denied(client: AsyncClient, workload: str) -> tuple[int, int]:
    found = (await client.get(workload)).denied
    return found.ingress, found.egress


def listened(node: Host) -> bool:
    """Whether somebody hears the group of denied packets."""
    lines = node.run("cat /proc/net/netfilter/nfnetlink_log").splitlines()
    return str(DENIED_GROUP) in [line.split()[0] for line in lines]


async def test_what_is_denied_is_counted_and_told(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host, make_host: MakeHost
) -> None:
    """By the workload that a policy isolates, for either direction, with both ends, protocol and port, in both
    families: an event for the ends, and a count in every view; what passes is neither."""
    spy = make_host("spy")
    declare(daemon, "policies.yaml", FROM_WEB, ONLY_DNS)
    await until(lambda: enforced(node), "the policies")
    answer = await client.attach(attach(db, labels={"app": "db"}))
    spy_at = v4(await client.attach(attach(spy)))
    web_at = v4(await client.attach(attach(web, labels={"app": "web"})))
    assert await denied(client, "db") == (0, 0)
    assert (await client.get("db")).denied.HasField("ingress")
    assert not (await client.get("db")).denied.HasField("egress")
    assert not (await client.get("spy")).HasField("denied")
    send(spy, v4(answer), times=3)
    send(spy, v6(answer))
    send(web, OUTSIDE_V4, 443)
    send(web, OUTSIDE_V4, 53)
    with open_socket(spy, v4(answer), socket.SOCK_STREAM) as asking:
        asking.settimeout(0.1)
        with suppress(TimeoutError):
            asking.connect((v4(answer), PORT))
    spy.ping(v4(answer))
    with spy.enter(), socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
        chunk = PORT.to_bytes(2, "big") * 2 + bytes(8)
        raw.sendto(packet(spy_at, v4(answer), IPPROTO_SCTP, chunk), (v4(answer), 0))
    why = "no ingress rule of default/from-web allows it"
    to_db = f"from {spy_at} (spy/eth0) to {v4(answer)} (db/eth0)"

    async def all_told() -> bool:
        return len(await denials(client)) == 6

    await until(all_told, "an event for each of the ends")
    assert await denials(client, "web") == [
        f"udp from {web_at} (web/eth0) to {OUTSIDE_V4} port 443 denied: no egress rule of default/only-dns allows it"
    ]
    found = await denials(client, "db")
    for protocol in ("udp", "tcp", "sctp"):
        assert f"{protocol} {to_db} port {PORT} denied: {why}" in found
    assert f"icmp {to_db} denied: {why}" in found
    assert any("(spy/eth0) to " + v6(answer) in it for it in found)
    assert await denied(client, "web") == (0, 1)
    assert (await denied(client, "db"))[0] >= 3 + 1 + 1 + 1 + 1
    (described,) = await client.describe("db")
    assert described.attachment.denied.ingress == (await denied(client, "db"))[0]
    by_list = {it.workload_id: it.denied async for it in client.list()}
    assert by_list["web"].egress == 1
    assert not by_list["spy"].HasField("ingress")
    socket_flag = f"--socket={daemon.socket}"
    assert "from it 1" in daemon.command("list", "-o", "wide", socket_flag).stdout
    assert "from it 1" in daemon.command("describe", "web", socket_flag).stdout
    assert json.loads(daemon.command("get", "web", "-o", "json", socket_flag).stdout)["denied"]["egress"] == 1
    assert "Denied" in daemon.command("events", "web", socket_flag).stdout


async def test_scrapes_have_what_is_denied(daemon: Daemon, node: Host, web: Host, db: Host) -> None:
    """By rule, and by workload where that was asked for."""
    daemon.configure(metrics=ADDRESS, metrics_per_workload=True)
    await daemon.restart()
    declare(daemon, "policies.yaml", DENY_ALL)
    await until(lambda: enforced(node), "the policy")
    async with daemon.client() as client:
        await client.attach(attach(web))
        address = v4(await client.attach(attach(db)))
        send(web, address, times=5)
        found = scrape(node)
        where = {"workload": "db", "interface": "eth0", "direction": "Ingress"}
        assert found("netplumb_workload_denied_packets_total", **where) == 5
        rule = {"chain": "policy_ingress", "rule": "no policy allows this ingress"}
        assert found("netplumb_dropped_packets_total", **rule) == 5


async def test_who_is_denied_much_floods_nothing(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host, make_host: MakeHost
) -> None:
    """A tenant that tries every port has a few events and no more, what is denied another is told beside it, all of it
    is counted, and clients wait no longer."""
    declare(daemon, "policy.yaml", DENY_ALL)
    await until(lambda: enforced(node), "the policy")
    spy = make_host("spy")
    addresses = {it.name: v4(await client.attach(attach(it))) for it in (web, db, spy)}
    with open_socket(spy, addresses["db"], socket.SOCK_DGRAM) as made:
        for port in range(1, FLOODED_PORTS + 1):
            made.sendto(b"x", (addresses["db"], port))
    send(db, addresses["web"])

    async def others_is_told() -> bool:
        return bool(await denials(client, "web"))

    await until(others_is_told, "what is denied another")
    assert len(await denials(client, "db")) <= OTHER_END.at_once
    assert await denied(client, "db") == (FLOODED_PORTS, 0)
    assert not [it for it in await told(client) if it.kind == "Repaired"]

    async def from_web() -> bool:
        send(web, addresses["db"])  # the kernel tells of the workload again seconds after the flood
        return any(f"from {addresses['web']}" in it for it in await denials(client, "db"))

    await until(from_web, "what the flooded one denies another")


async def test_counts_last_as_long_as_the_isolation(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """Neither another policy nor a daemon that dies loses them."""
    declare(daemon, "policy.yaml", DENY_ALL)
    await until(lambda: enforced(node), "the policy")
    await client.attach(attach(web))
    address = v4(await client.attach(attach(db, labels={"app": "db"})))
    send(web, address, times=4)
    declare(daemon, "policy.yaml", DENY_ALL, FROM_WEB)

    async def both() -> bool:
        return len((await client.get("db")).policies) == 2

    await until(both, "both policies")
    daemon.kill9()
    send(web, address)
    await daemon.start()
    async with daemon.client() as again:
        assert await denied(again, "db") == (5, 0)
        await until(lambda: listened(node), "heard again")
        assert not (await again.plan()).changes


async def test_nothing_is_open_where_there_are_no_policies(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """The first policy opens what hears of denied packets, and the last one that goes closes it."""
    await client.attach(attach(db))
    assert not listened(node)
    declare(daemon, "policy.yaml", DENY_ALL)
    await until(lambda: listened(node), "heard")
    (daemon.state_files / "policy.yaml").unlink()
    await until(lambda: not listened(node), "closed")


def test_before_there_are_policies_nothing_of_it_is_imported() -> None:
    program = (
        "import sys, netplumb.reconciler.daemon, netplumb.reconciler.main;"
        "print([it for it in sys.modules if 'nflog' in it or 'denials' in it])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"


async def test_another_program_that_hears_the_group_keeps_nothing_from_being_enforced(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """Then it is counted, and not told."""
    from netplumb.reconciler.kernel.nftables.nflog import Nflog

    with node.enter():
        theirs = Nflog(DENIED_GROUP, 64)
    declare(daemon, "policy.yaml", DENY_ALL)
    await until(lambda: enforced(node), "the policy")
    await client.attach(attach(web))
    address = v4(await client.attach(attach(db)))
    send(web, address)
    assert await denied(client, "db") == (1, 0)
    assert not await denials(client)
    theirs.close()
