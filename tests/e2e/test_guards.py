"""What a workload is kept from, by real packets in both families."""

from __future__ import annotations

import re
import socket
from functools import partial

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests.e2e import wishes
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import ANY_V4, ANY_V6, ask, serving, unanswered
from tests.e2e.hosts import Host
from tests.e2e.packets import datagram, put
from tests.e2e.streams import open_socket
from tests.e2e.waiting import until

PORT = 9200
FIRST_HOP_MAC = "02:9c:52:fe:6d:0a"


def spoofed(node: Host) -> int:
    """How many packets the guard against foreign sources dropped."""
    said = node.run("nft list chain inet netplumb from_workload")
    found = re.search(r'counter packets (\d+) bytes \d+ drop comment "spoofed sources"', said)
    assert found is not None, said
    return int(found[1])


def send_from(host: Host, source: str, target: str) -> None:
    """One UDP datagram with a source that need not be the host's."""
    put(host, "eth0", FIRST_HOP_MAC, datagram((source, 5000), (target, PORT)))


async def test_a_foreign_source_is_dropped_and_counted(client: AsyncClient, node: Host, web: Host, db: Host) -> None:
    """What a workload sends from an address of another, of the node or of nobody ends at its link."""
    await client.attach(wishes.attach(web))
    other = await client.attach(wishes.attach(db))
    dropped = spoofed(node)
    foreign = (wishes.v4(other), "10.213.0.1", "198.51.100.9", NODE_V4, wishes.v6(other), "fd13::1", "2001:db8:9::9")
    for source in foreign:
        with open_socket(node, "::" if ":" in source else ANY_V4, socket.SOCK_DGRAM) as listening:
            listening.settimeout(0.1)
            listening.bind((ANY_V6 if ":" in source else ANY_V4, PORT))
            send_from(web, source, NODE_V6 if ":" in source else NODE_V4)
            with pytest.raises(TimeoutError):
                listening.recv(64)
        assert spoofed(node) > dropped, source
        dropped = spoofed(node)


async def test_its_own_sources_pass(client: AsyncClient, node: Host, web: Host) -> None:
    """Every address of the workload is its own, also those that a change gave it."""
    addresses = ("10.213.0.50", "10.213.0.51", "fd13::50", "fd13::51")
    await client.attach(wishes.attach(web, addresses=addresses))
    dropped = spoofed(node)
    with serving(node, PORT, protocols=("udp",)):
        for address in addresses:
            to = "fd13::1" if ":" in address else "10.213.0.1"
            assert ask(web, to, PORT, "udp", bind=address) == f"node {address}"
    await client.attach(wishes.attach(web, addresses=addresses[::2]))
    send_from(web, addresses[1], NODE_V4)
    await until(lambda: spoofed(node) == dropped + 1, "an address that was taken away is a foreign one")


async def test_the_guard_is_there_before_the_link_is_up(client: AsyncClient, node: Host, web: Host) -> None:
    """What a workload sends from its first moment on is guarded: the rule names our group, which the link has from the
    message that makes it."""
    with open_socket(node, ANY_V4, socket.SOCK_DGRAM) as listening:
        listening.bind((ANY_V4, PORT))
        listening.settimeout(0.2)
        for number in range(5):
            await client.attach(wishes.attach(web))
            send_from(web, f"198.51.100.{number + 1}", NODE_V4)
            with pytest.raises(TimeoutError):
                listening.recv(64)
            await client.detach(wishes.detach("web"))


@pytest.mark.parametrize("by", ["attachment", "setting"])
async def test_a_workload_is_kept_from_the_nodes_services(
    start_daemon: StartDaemon, node: Host, outside: Host, web: Host, db: Host, by: str
) -> None:
    """On each address of the node; what the node asks of the workload is answered, and the outside is reached."""
    daemon = await start_daemon(flags="--isolate-node" if by == "setting" else "")
    async with daemon.client() as client:
        wish = wishes.attach(web, isolate_node=True) if by == "attachment" else wishes.attach(web)
        answer = await client.attach(wish)
        assert answer.attachment.isolate_node
        await client.attach(wishes.attach(db, isolate_node=False))
        with serving(node, PORT), serving(web, PORT), serving(outside, PORT):
            for address in (NODE_V4, NODE_V6, "10.213.0.1", "fd13::1", "169.254.77.1"):
                assert unanswered(web, address, PORT), address
                assert ask(db, address, PORT), address
            for own, beyond in ((wishes.v4(answer), OUTSIDE_V4), (wishes.v6(answer), OUTSIDE_V6)):
                assert ask(node, own, PORT, "udp")
                assert ask(web, beyond, PORT)
                assert web.ping(beyond)
            await client.attach(wishes.attach(web, isolate_node=False))
            assert ask(web, NODE_V6, PORT)


async def test_workloads_are_kept_from_each_other(client: AsyncClient, outside: Host, web: Host, db: Host) -> None:
    """An isolated one neither reaches others nor is reached, but by an open one; answers pass."""
    other = await client.attach(wishes.attach(db))
    isolated = await client.attach(wishes.attach(web, isolate_workloads=True))
    with serving(web, PORT), serving(db, PORT), serving(outside, PORT):
        for version in (wishes.v4, wishes.v6):
            assert unanswered(web, version(other), PORT)
            assert unanswered(db, version(isolated), PORT)
        assert ask(web, OUTSIDE_V4, PORT)
        await client.attach(wishes.attach(db, isolate_workloads=False))
        for version in (wishes.v4, wishes.v6):
            assert ask(web, version(other), PORT)
            assert ask(db, version(isolated), PORT, "udp")
        await client.attach(wishes.attach(db))
        assert unanswered(web, wishes.v6(other), PORT)
        await client.attach(wishes.attach(web))
        assert ask(web, wishes.v6(other), PORT)
    assert (await client.check("web")).in_sync


async def test_all_workloads_are_isolated_by_the_setting(
    start_daemon: StartDaemon, node: Host, web: Host, db: Host
) -> None:
    """The node's switch holds for those that say nothing, by a published port too; SIGHUP changes it."""
    daemon = await start_daemon(flags="--isolate-workloads")
    async with daemon.client() as client:
        answer = await client.attach(wishes.attach(web, ports=(f"8080:{PORT}",)))
        assert answer.attachment.isolate_workloads
        await client.attach(wishes.attach(db))
        with serving(web, PORT):
            assert unanswered(db, wishes.v4(answer), PORT)
            assert unanswered(db, NODE_V4, 8080)
            assert ask(node, wishes.v6(answer), PORT)
            await client.attach(wishes.attach(web, isolate_workloads=False))
            assert ask(db, wishes.v4(answer), PORT)


DAMAGES = {
    "ruleset flushed": "nft flush ruleset",
    "a guard's rules removed": "nft flush chain inet netplumb from_workload",
    "accept before all": "nft insert rule inet netplumb from_workload accept",
    "chain deleted": "nft 'flush chain inet netplumb input; delete chain inet netplumb input'",
    "isolation lifted": "nft flush set inet netplumb workloads_closed",
    "another isolated": "nft add element inet netplumb node_closed '{ npstranger }'",
}


@pytest.mark.open_table
@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
async def test_damaged_guards_come_back(client: AsyncClient, node: Host, web: Host, damage: str) -> None:
    """Nobody lifts them for longer than a moment."""
    await client.attach(wishes.attach(web, isolate_workloads=True, isolate_node=True))
    before = sorted(node.ruleset().splitlines())
    node.run(damage)
    await until(lambda: sorted(node.ruleset().splitlines()) == before, damage)


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "while it is away"])
async def test_a_link_under_a_bridge_is_taken_out_again(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, running: bool
) -> None:
    """What comes in by way of a bridge is nobody's to the guards, whoever sent it. A bridge takes the MAC of its one
    port, so all that the workload sends reaches the node through it."""
    link = (await client.attach(wishes.attach(web, isolate_node=True))).attachment.node_if_name
    for line in ("add br0 type bridge", "set br0 up"):
        node.ip(f"link {line}")
    with serving(node, PORT):
        if not running:
            daemon.terminate()
        node.ip(f"link set {link} master br0")
        if not running:
            assert ask(web, "10.213.0.1", PORT, "udp"), "no guard holds under the bridge"
            await daemon.start()
        await until(lambda: "master" not in node.link(link), "it is taken out")
        for address in (NODE_V4, NODE_V6, "10.213.0.1", "fd13::1"):
            assert unanswered(web, address, PORT, "udp"), address
        dropped = spoofed(node)
        send_from(web, "198.51.100.9", NODE_V4)
        await until(lambda: spoofed(node) > dropped, "the guard against foreign sources drops")
    assert "br0" in node.links()
    happened = daemon.command("events", "web", f"--socket={daemon.socket}").stdout
    assert "had master br0" in " ".join(happened.split()), happened


@pytest.mark.parametrize("running", [True, False], ids=["while it runs", "while it is away"])
async def test_what_is_put_on_top_of_a_link_passes_no_guard(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, running: bool
) -> None:
    """A macvlan on a workload's link takes what is sent to its MAC, and is of no workload to the guards. What comes in
    by it is dropped, whoever it says it is from, and every view tells of it for as long as it is there."""
    link = (await client.attach(wishes.attach(web, isolate_node=True))).attachment.node_if_name
    if not running:
        daemon.terminate()
    node.ip(f"link add mv0 link {link} address 02:00:00:00:00:77 type macvlan mode bridge")
    node.ip("link set mv0 up")
    sources = [("198.51.100.9", NODE_V4), ("2001:db8:9::9", NODE_V6)]
    if not running:
        node.set_sysctl("net/ipv4/conf/all/rp_filter", "0")
        for source, target in sources:
            assert _reaches(node, web, source, target), "the guards do not see it"
        await daemon.start()

    async def told() -> bool:
        return any(it.type == "UpperInterface" for it in (await client.get("web")).conditions)

    await until(told, "it is told")
    for source, target in sources:
        await until(partial(_is_kept_out, node, web, source, target), source)
    said = daemon.command("check", f"--socket={daemon.socket}")
    assert said.returncode == 1
    assert "macvlan mv0" in said.stdout
    assert "ip link delete mv0" in said.stdout
    assert node.links()["mv0"], "it is another's, and stays"
    node.ip("link delete mv0")

    async def over() -> bool:
        return not await told()

    await until(over, "it is told no more")
    assert daemon.command("check", f"--socket={daemon.socket}").returncode == 0
    assert "mv0" not in node.ruleset()


def _is_kept_out(node: Host, web: Host, source: str, target: str) -> bool:
    return not _reaches(node, web, source, target)


def _reaches(node: Host, web: Host, source: str, target: str) -> bool:
    """Whether a datagram that the workload sends to the macvlan arrives at a service of the node."""
    with open_socket(node, "::" if ":" in source else ANY_V4, socket.SOCK_DGRAM) as listening:
        listening.settimeout(0.1)
        listening.bind((ANY_V6 if ":" in source else ANY_V4, PORT))
        put(web, "eth0", "02:00:00:00:00:77", datagram((source, 5000), (target, PORT)))
        try:
            listening.recv(64)
        except TimeoutError:
            return False
        return True
