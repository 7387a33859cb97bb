"""Ports of the node that lead to workloads, by real traffic in both families."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import Any

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.reconciler.kernel.nftables.table import Nftables
from tests.e2e import wishes
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, UPLINK, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import ASK_S, KINDS, ask, serving, unanswered
from tests.e2e.hosts import Host
from tests.e2e.sctp import sctp_init
from tests.e2e.senders import Sender
from tests.e2e.statefiles import declare, document
from tests.e2e.streams import family_of, open_socket
from tests.e2e.waiting import until

PORT, INNER = 8080, 80
BOTH = (f"{PORT}:{INNER}/tcp", f"{PORT}:{INNER}/udp")
PROTOCOLS = ("tcp", "udp")


@pytest.fixture
async def mapped(client: AsyncClient, web: Host) -> pb.AttachResponse:
    return await client.attach(wishes.attach(web, ports=BOTH))


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_from_wherever_it_is_asked(
    mapped: pb.AttachResponse, client: AsyncClient, node: Host, outside: Host, web: Host, db: Host, protocol: str
) -> None:
    """From outside and from another workload the asker's own address is seen; from the node by every address of its
    own, loopback too; from the workload itself."""
    other = await client.attach(wishes.attach(db))
    with serving(web, INNER):
        for version, node_ip, outside_ip, pool_ip, loopback in (
            (4, NODE_V4, OUTSIDE_V4, "10.213.0.1", "127.0.0.1"),
            (6, NODE_V6, OUTSIDE_V6, "fd13::1", "::1"),
        ):
            own = wishes.v4(other) if version == 4 else wishes.v6(other)
            assert ask(outside, node_ip, PORT, protocol) == f"web {outside_ip}"
            assert ask(db, node_ip, PORT, protocol) == f"web {own}"
            assert ask(db, pool_ip, PORT, protocol) == f"web {own}"
            for address in (node_ip, pool_ip, loopback):
                assert (ask(node, address, PORT, protocol) or "").startswith("web "), address
            for address in (node_ip, pool_ip):
                assert (ask(web, address, PORT, protocol) or "").startswith("web "), address


@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_who_asks_from_a_link_local_address_asks_the_node(
    mapped: pb.AttachResponse, client: AsyncClient, node: Host, outside: Host, web: Host, protocol: str
) -> None:
    """The kernel forwards nothing from there, so that a workload could not be asked."""
    (uplink,) = node.ip(f"-6 address show dev {UPLINK} scope link")
    link = next(info["local"] for info in uplink["addr_info"] if info)
    with serving(web, INNER), serving(node, PORT, protocols=(protocol,), at=("::",)):
        for host, over in ((outside, "eth0"), (node, UPLINK)):
            with open_socket(host, link, KINDS[protocol]) as asking:
                asking.connect((link, PORT, 0, host.link(over)["ifindex"]))
                asking.send(b"?")
                assert asking.recv(64).startswith(b"node fe80:"), host.name
        assert ask(outside, NODE_V6, PORT, protocol) == f"web {OUTSIDE_V6}"


async def test_sctp_is_mapped(client: AsyncClient, outside: Host, web: Host) -> None:
    """The first packet of an association, made by hand since this kernel may have no SCTP sockets."""
    answer = await client.attach(wishes.attach(web, ports=(f"{PORT}:{INNER}/sctp",)))
    for to, inner in ((NODE_V4, wishes.v4(answer)), (NODE_V6, wishes.v6(answer))):
        family = family_of(to)
        with outside.enter():
            sending = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_SCTP)
        with web.enter():
            receiving = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_SCTP)
        with sending, receiving:
            receiving.settimeout(ASK_S)
            sending.sendto(sctp_init(5000, PORT), (to, 0))
            packet, peer = receiving.recvfrom(256)
        assert peer[0] == (OUTSIDE_V4 if family == socket.AF_INET else OUTSIDE_V6)
        assert packet[-32:][2:4] == INNER.to_bytes(2, "big"), inner


async def test_a_protocol_of_its_own(client: AsyncClient, outside: Host, web: Host) -> None:
    """What is mapped for TCP is not for UDP."""
    await client.attach(wishes.attach(web, ports=(f"{PORT}:{INNER}",)))
    with serving(web, INNER):
        assert ask(outside, NODE_V4, PORT, "tcp")
        assert unanswered(outside, NODE_V4, PORT, "udp")


async def test_a_range_leads_port_by_port(client: AsyncClient, outside: Host, web: Host) -> None:
    """Each port of the range to the one as far from the first; those beside it nowhere."""
    answer = await client.attach(
        wishes.attach(web, ports=("7000-7002:9000-9002", "[2001:db8::1]:7001-7002:9500-9501/udp"))
    )
    assert [str(port) for port in answer.attachment.port_mappings]
    with serving(web, 9000, "a"), serving(web, 9001, "b"), serving(web, 9002, "c"), serving(web, 9501, "d"):
        assert [ask(outside, NODE_V4, port) for port in (6999, 7003)] == [None, None]
        assert [(ask(outside, NODE_V6, port) or "")[:1] for port in (7000, 7001, 7002)] == ["a", "b", "c"]
        assert (ask(outside, NODE_V6, 7002, "udp") or "")[:1] == "d"


async def test_at_one_address_of_the_node_alone(
    client: AsyncClient, node: Host, outside: Host, web: Host, db: Host
) -> None:
    """A host address narrows the mapping; two workloads may have one port at two addresses, or one in each family."""
    node.ip("address add 192.0.2.77/24 dev up0")
    await client.attach(wishes.attach(web, ports=("192.0.2.77:8080:80", "127.0.0.1:8081:80", "[::]:8082:80")))
    await client.attach(wishes.attach(db, ports=(f"{NODE_V4}:8080:80", "0.0.0.0:8082:80")))
    with serving(web, 80), serving(db, 80):
        assert [(ask(outside, ip, 8080) or "")[:3] for ip in ("192.0.2.77", NODE_V4)] == ["web", "db "]
        assert [(ask(node, ip, 8080) or "")[:3] for ip in ("192.0.2.77", NODE_V4, "127.0.0.1")] == ["web", "db ", ""]
        assert [(ask(who, ip, 8081) or "")[:3] for who, ip in ((node, "127.0.0.1"), (outside, NODE_V4))] == ["web", ""]
        assert [(ask(outside, ip, 8082) or "")[:3] for ip in (NODE_V6, NODE_V4)] == ["web", "db "]


async def test_what_goes_to_a_foreign_host_goes_there(
    mapped: pb.AttachResponse, client: AsyncClient, outside: Host, db: Host
) -> None:
    """A workload that asks somebody else on a mapped port is answered by that one."""
    await client.attach(wishes.attach(db))
    with serving(outside, PORT):
        assert (ask(db, OUTSIDE_V4, PORT) or "").startswith("outside")
        assert (ask(db, OUTSIDE_V6, PORT, "udp") or "").startswith("outside")


async def test_workloads_do_not_reach_the_nodes_loopback(mapped: pb.AttachResponse, node: Host, web: Host) -> None:
    """What makes 127.0.0.1 work on the node opens nothing to the workload."""
    with serving(node, 9100):
        assert ask(node, "127.0.0.1", 9100)
        web.ip("route add 127.0.0.0/8 via 169.254.77.1 dev eth0 table 99")
        web.ip("rule add to 127.0.0.0/8 lookup 99 pref 1")
        web.set_sysctl("net/ipv4/conf/all/route_localnet", "1")
        web.ip("rule del pref 0")
        assert unanswered(web, "127.0.0.1", 9100, bind=wishes.v4(mapped))


@pytest.mark.parametrize("mapping", [f"{PORT}:81", f"0.0.0.0:{PORT}:81", f"192.0.2.1:{PORT}:81", "8000-8100:9000-9100"])
async def test_a_port_that_is_mapped_names_its_holder(
    mapped: pb.AttachResponse, client: AsyncClient, db: Host, mapping: str
) -> None:
    """Nothing is recorded of a wish for another's port; the holder may change its own."""
    with wishes.refused(grpc.StatusCode.ALREADY_EXISTS, "tcp port 8080", "web/eth0"):
        await client.attach(wishes.attach(db, ports=(mapping,)))
    assert [it.workload_id async for it in client.list()] == ["web"]
    await client.attach(wishes.attach("/run/netns/web", ports=(f"{PORT}:81",)))
    await client.attach(wishes.attach(db, ports=(f"{PORT}:80/udp",)))


async def test_mappings_change_in_place(client: AsyncClient, node: Host, outside: Host, web: Host) -> None:
    """A second Attach moves a port; the link stays, and a connection by another port lives on."""
    await client.attach(wishes.attach(web, ports=("8080:80", "9090:90")))
    before = {link["ifindex"] for link in node.links().values()}
    with serving(web, 80), serving(web, 81, "moved"), serving(web, 90):
        assert ask(outside, NODE_V4, 8080)
        await client.attach(wishes.attach(web, ports=("8081:81", "9090:90")))
        assert unanswered(outside, NODE_V4, 8080)
        assert (ask(outside, NODE_V4, 8081) or "").startswith("moved")
        assert ask(outside, NODE_V6, 9090)
    assert {link["ifindex"] for link in node.links().values()} == before
    await client.attach(wishes.attach(web))
    assert "8081" not in node.ruleset()
    assert (await client.check("web")).in_sync


async def test_a_change_is_one_transaction(client: AsyncClient, node: Host, web: Host, db: Host) -> None:
    """However much of the table a wish changes, readers see it before or after, and never half of it."""
    changes: tuple[tuple[Host, dict[str, Any], int], ...] = (
        (web, {"ports": ("8000-8009:80", "53:53/udp"), "isolate_node": True, "isolate_workloads": True}, 1),
        (web, {"ports": ("8005-8019:90", "[::]:53:54/udp"), "isolate_node": False}, 1),
        (db, {}, 0),
        (web, {}, 1),
    )
    with node.enter():
        ruleset = Nftables()
    with closing(ruleset):
        for host, wish, transactions in changes:
            before = ruleset.generation()
            await client.attach(wishes.attach(host, **wish))
            assert ruleset.generation() - before == transactions, wish


async def test_a_sender_of_datagrams_follows_the_mapping(
    client: AsyncClient, node: Host, outside: Host, web: Host, db: Host
) -> None:
    """One that never stops sending from one port is led to the workload when the mapping comes, to the next when it
    moves, and to the node when it goes."""
    asking = open_socket(outside, NODE_V4, socket.SOCK_DGRAM)
    with asking, serving(web, 53), serving(db, 53), serving(node, 5300):
        asking.settimeout(ASK_S)
        asking.connect((NODE_V4, 5300))

        def answered_by() -> str:
            asking.send(b"?")
            return asking.recv(64).decode().split()[0]

        assert answered_by() == "node"
        await client.attach(wishes.attach(web, ports=("5300:53/udp",)))
        assert answered_by() == "web"
        await client.detach(wishes.detach("web"))
        await client.attach(wishes.attach(db, ports=("5300:53/udp",)))
        assert answered_by() == "db"
        await client.attach(wishes.attach(db))
        assert answered_by() == "node"


@pytest.mark.open_table
async def test_a_repair_breaks_no_connection(mapped: pb.AttachResponse, node: Host, outside: Host, web: Host) -> None:
    """Flows that lead where they should are kept when the rules come back."""
    with open_socket(web, "0.0.0.0", socket.SOCK_STREAM) as listener:
        listener.bind(("0.0.0.0", INNER))
        listener.listen()
        with open_socket(outside, NODE_V4, socket.SOCK_STREAM) as sender:
            sender.connect((NODE_V4, PORT))
            receiver, _ = listener.accept()
            with receiver:
                node.run("nft flush ruleset")
                await until(lambda: "8080" in node.ruleset(), "the mapping came back")
                sender.sendall(b"still here")
                assert receiver.recv(64) == b"still here"


DAMAGES = {
    "ruleset flushed": "nft flush ruleset",
    "elements flushed": "nft flush map inet netplumb port4_address",
    "element deleted": "nft delete element inet netplumb port4_address { tcp . 8080 }",
    "mapping led elsewhere": "nft 'delete element inet netplumb port4_address { tcp . 8080 };"
    " add element inet netplumb port4_address { tcp . 8080 : 10.213.0.99 }'",
    "stranger's element added": "nft 'add element inet netplumb port4_address { tcp . 99 : 10.213.0.99 };"
    " add element inet netplumb port4_port { tcp . 99 : 99 }'",
    "rules of a chain removed": "nft flush chain inet netplumb ports",
    "set removed": "nft 'flush chain inet netplumb workload_to_node; delete set inet netplumb node_open'",
    "localhost route removed": "ip -6 route del local ::1 dev LINK table local",
}


@pytest.mark.open_table
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_damage_is_repaired(
    mapped: pb.AttachResponse, client: AsyncClient, node: Host, outside: Host, web: Host, damage: str
) -> None:
    """Whatever part of a mapping is damaged comes back at once, and what a stranger put beside it goes."""
    link = mapped.attachment.node_if_name
    before = sorted(node.ruleset().splitlines())
    node.run(damage.replace("LINK", link))
    await until(lambda: sorted(node.ruleset().splitlines()) == before, damage)

    async def in_sync() -> bool:
        return (await client.check("web")).in_sync and not (await client.plan()).changes

    await until(in_sync, damage)
    with serving(web, INNER):
        assert ask(outside, NODE_V4, PORT)
        assert ask(node, "::1", PORT)
        assert ask(node, "127.0.0.1", PORT, "udp")


async def test_a_resync_switches_localhost_on_again(start_daemon: StartDaemon, node: Host, web: Host) -> None:
    """The kernel tells nobody of this switch, so only a full comparison finds it changed."""
    daemon = await start_daemon(flags="--resync-s 0.5")
    async with daemon.client() as client:
        link = (await client.attach(wishes.attach(web, ports=BOTH))).attachment.node_if_name
    node.set_sysctl(f"net/ipv4/conf/{link}/route_localnet", "0")
    with serving(web, INNER):
        await until(lambda: ask(node, "127.0.0.1", PORT), "the switch is on again")


async def test_a_restart_and_a_detach(
    daemon: Daemon, mapped: pb.AttachResponse, client: AsyncClient, node: Host, outside: Host, web: Host
) -> None:
    """Another daemon takes the mappings over as they are; a detach leaves none of them."""
    before = node.ruleset()
    daemon.kill9()
    await daemon.restart()
    assert node.ruleset() == before
    with serving(web, INNER):
        assert ask(outside, NODE_V6, PORT, "udp")
    await client.detach(wishes.detach("web"))
    assert "8080" not in node.ruleset()
    assert node.ip("-6 route show table local ::1 proto 78") == []


async def test_from_a_state_file(client: AsyncClient, daemon: Daemon, outside: Host, web: Host) -> None:
    """A file says it in either form, and an edit changes it in place."""
    path = daemon.state_files / "web.yaml"
    wish = "kind: Attachment\nworkload_id: web\nnetns: {name: web}\nport_mappings:\n"
    path.write_text(wish + "  - 8080:80\n  - {host_port: 9000-9001, container_port: 90, protocol: udp}\n")
    with serving(web, 80), serving(web, 91, "range"):
        await until(lambda: ask(outside, NODE_V4, 8080), "the file is followed")
        assert (ask(outside, NODE_V6, 9001, "udp") or "").startswith("range")
        path.write_text(wish + "  - 8081:80\n")
        await until(lambda: ask(outside, NODE_V4, 8081), "the edit is followed")
        assert unanswered(outside, NODE_V4, 8080)


@pytest.mark.parametrize("together", [True, False], ids=["one file", "a file each"])
async def test_two_workloads_swap_their_ports(
    daemon: Daemon, client: AsyncClient, outside: Host, web: Host, db: Host, together: bool
) -> None:
    """Neither waits for the other, and who sends all the time is led to the new one."""

    def say(of_web: int, of_db: int) -> None:
        documents = [
            document(name, name) + f"port_mappings: ['{port}:80', '{port}:80/udp']\n"
            for name, port in (("web", of_web), ("db", of_db))
        ]
        if together:
            declare(daemon, "both.yaml", *documents)
        else:
            for name, each in zip(("web.yaml", "db.yaml"), documents, strict=True):
                declare(daemon, name, each)

    with serving(web, 80), serving(db, 80), Sender(outside, NODE_V4, 8080) as v4, Sender(outside, NODE_V6, 8081) as v6:
        say(8080, 8081)
        await until(lambda: v4.answer.startswith("web") and v6.answer.startswith("db"), "both are reached")
        say(8081, 8080)
        await until(lambda: v4.answer.startswith("db") and v6.answer.startswith("web"), "they have swapped")
        assert (ask(outside, NODE_V4, 8081) or "").startswith("web")
        assert (ask(outside, NODE_V6, 8080) or "").startswith("db")
        assert not (await client.plan()).changes
        assert {it.phase async for it in client.list()} == {"Attached"}
