"""IPv6 that is switched off in a part of the node: IPv4 works all the same, and a condition names the switch."""

from __future__ import annotations

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import node_if_name
from tests.e2e.conftest import NODE_V4, OUTSIDE_V4, OUTSIDE_V6, UPLINK, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import KINDS, ask, serving
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition, texts

PORT = 9600
SWITCH = "net/ipv6/conf/{}/disable_ipv6"
LINK = node_if_name(AttachmentKey("web", "eth0"))


def assert_reaches(web: Host, outside: Host, *addresses: str) -> None:
    with serving(outside, PORT):
        for address in addresses:
            for protocol in KINDS:
                assert ask(web, address, PORT, protocol), f"{address} {protocol}"


async def told_of_the_node(client: AsyncClient) -> str:
    return next((it.message for it in (await client.status()).conditions if it.type == "IPv6Disabled"), "")


async def told(client: AsyncClient) -> str:
    found = condition(await client.get("web"), "IPv6Disabled")
    return found.message if found is not None and found.status else ""


@pytest.mark.parametrize("which", ["lo", "all"])
async def test_off_from_the_start(start_daemon: StartDaemon, node: Host, outside: Host, web: Host, which: str) -> None:
    """The daemon is ready, workloads have IPv4, and each and the node say which switch it is; when that is on again,
    they get their IPv6 addresses without anybody asking. What is said to help does."""
    node.set_sysctl(SWITCH.format(which), "1")
    daemon = await start_daemon()
    async with daemon.client() as client:
        answer = texts(await client.attach(attach(web)))
        assert len(answer) == 1
        assert_reaches(web, outside, OUTSIDE_V4)
        for said in (await told(client), await told_of_the_node(client)):
            assert f"net.ipv6.conf.{which}.disable_ipv6" in said
        assert {it.reason for it in (await client.check("web")).unmet} == {"IPv6Disabled"}
        node.run((await told_of_the_node(client)).partition("run: ")[2])
        if which == "all":  # what went with it
            node.ip(f"-6 address add 2001:db8::1/64 dev {UPLINK} nodad")
            node.ip(f"-6 route add default via {OUTSIDE_V6}")

        async def over() -> bool:
            return not await told_of_the_node(client)

        await until(over, "the node has IPv6 again")
        await until(lambda: len(web.addresses("eth0")) == 2, "the workload has both")
        await until(lambda: web.ping(OUTSIDE_V6), "it reaches the outside")
        assert_reaches(web, outside, OUTSIDE_V4, OUTSIDE_V6)
        assert (await client.check("web")).in_sync


async def test_the_loopback_loses_it_later(
    daemon: Daemon, client: AsyncClient, node: Host, outside: Host, web: Host, db: Host
) -> None:
    """What is attached keeps IPv4 and says which switch took the rest; it is not tried again and again. It comes back
    with the switch."""
    first = texts(await client.attach(attach(web)))
    assert len(first) == 2
    node.set_sysctl(SWITCH.format("lo"), "1")
    await until(lambda: told(client), "it is told")
    assert "net.ipv6.conf.lo.disable_ipv6 on the node" in await told(client)
    for command in ("check", "check web", "list", "status", "plan"):
        done = daemon.command(*command.split(), f"--socket={daemon.socket}")
        assert done.returncode == ("check" in command)
        assert "IPv6Disabled" in done.stdout
    assert (await client.get("web")).phase == "Attached"
    assert (await client.status()).ready
    assert len(texts(await client.attach(attach(db)))) == 1
    assert_reaches(web, outside, OUTSIDE_V4)
    assert_reaches(db, outside, OUTSIDE_V4)
    node.set_sysctl(SWITCH.format("lo"), "0")
    await until(lambda: web.ping(OUTSIDE_V6) and db.ping(OUTSIDE_V6), "both have it again")
    assert_reaches(web, outside, OUTSIDE_V4, OUTSIDE_V6)
    assert texts(await client.attach(attach(web))) == first
    assert daemon.running


async def test_our_link_alone_loses_it(client: AsyncClient, node: Host, outside: Host, web: Host) -> None:
    """The switch of our own link is ours: it is put right, and with it all that went."""
    addresses = texts(await client.attach(attach(web)))
    for _ in range(2):
        node.set_sysctl(SWITCH.format(LINK), "1")
        await until(lambda: node.sysctl(SWITCH.format(LINK)) == "0", "it is on again")

        async def repaired() -> bool:
            return (await client.check("web")).in_sync

        await until(repaired, "all is as it was")
        assert_reaches(web, outside, OUTSIDE_V4, OUTSIDE_V6)
        with serving(web, PORT):
            assert ask(node, addresses[1], PORT)
    assert not await told(client)


async def test_the_uplink_loses_it(client: AsyncClient, node: Host, outside: Host, web: Host, db: Host) -> None:
    """Without IPv6 towards the outside, workloads reach each other and the node by it as before."""
    await client.attach(attach(web))
    other = texts(await client.attach(attach(db)))
    node.set_sysctl(SWITCH.format(UPLINK), "1")
    assert_reaches(web, outside, OUTSIDE_V4)
    with serving(db, PORT), serving(node, PORT):
        for protocol in KINDS:
            assert all(ask(web, address, PORT, protocol) for address in (*other, "10.213.0.1", "fd13::1"))
        assert ask(web, NODE_V4, PORT)
    assert await told(client) == ""
    assert (await client.check("web")).in_sync


async def test_new_links_have_none(client: AsyncClient, node: Host, outside: Host, web: Host, db: Host) -> None:
    """`conf.default` is for links to come: who is attached keeps it, who comes has IPv4 and is told."""
    await client.attach(attach(db))
    node.set_sysctl(SWITCH.format("default"), "1")
    assert len(texts(await client.attach(attach(web)))) == 1
    assert "net.ipv6.conf." in await told(client)
    assert {it.reason for it in (await client.check("web")).unmet} == {"IPv6Disabled"}
    assert (await client.check("db")).in_sync
    assert_reaches(web, outside, OUTSIDE_V4)
    assert_reaches(db, outside, OUTSIDE_V4, OUTSIDE_V6)
    assert await told_of_the_node(client) == ""
    node.set_sysctl(SWITCH.format("default"), "0")
    node.ip("-4 rule add to 203.0.113.7 lookup 4242")  # of the default nothing tells; of this the kernel does
    await until(lambda: len(web.addresses("eth0")) == 2, "what came without it has it too")
    assert_reaches(web, outside, OUTSIDE_V6)


@pytest.mark.parametrize("which", ["eth0", "all"])
async def test_a_workload_loses_it_and_has_it_again(client: AsyncClient, outside: Host, web: Host, which: str) -> None:
    """Whoever switched it in there; it is not the next resync that brings it back."""
    first = texts(await client.attach(attach(web)))
    for _ in range(3):
        web.set_sysctl(SWITCH.format(which), "1")
        await until(lambda: told(client), "it is told")
        assert (await client.check("web")).in_sync, "that is the workload's own business"
        assert_reaches(web, outside, OUTSIDE_V4)
        web.set_sysctl(SWITCH.format(which), "0")
        await until(lambda: len(web.addresses("eth0")) == 2, "it has both addresses again", within_s=5)
        await until(lambda: web.ping(OUTSIDE_V6), "it reaches the outside")
        assert not await told(client)
    assert texts(await client.attach(attach(web))) == first
