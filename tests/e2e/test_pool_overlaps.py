"""Pools beside the node's own network: what is no overlap, what is refused at the start, and what is told later."""

from __future__ import annotations

import json

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError
from tests.e2e.conftest import OUTSIDE_V4, OUTSIDE_V6, UPLINK, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import ask, serving
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, refused, texts

PORT = 4711
LESS_SPECIFIC = f"""
route add 0.0.0.0/1 via {OUTSIDE_V4}
route add 128.0.0.0/1 dev {UPLINK}
route add 10.0.0.0/8 via {OUTSIDE_V4}
route add 10.128.0.0/9 dev {UPLINK}
route add 10.213.0.0/16 nexthop via {OUTSIDE_V4} dev {UPLINK} nexthop via 192.0.2.77 dev {UPLINK}
route add blackhole 10.213.0.0/24
-6 route add ::/1 via {OUTSIDE_V6}
-6 route add fd00::/8 via {OUTSIDE_V6}
-6 route add 2000::/3 dev {UPLINK}
-6 route add unreachable fd13::/64 metric 4096
"""


async def test_a_less_specific_route_is_no_overlap(
    start_daemon: StartDaemon, node: Host, outside: Host, web: Host
) -> None:
    """A VPN's halves, a site's aggregate, and the pool's own blackhole: workloads and the outside are reached."""
    for line in LESS_SPECIFIC.strip().splitlines():
        node.ip(line)
    daemon = await start_daemon()
    async with daemon.client() as client:
        answer = texts(await client.attach(attach(web)))
        assert await _overlap(client) == ""
    with serving(web, PORT), serving(outside, PORT):
        for address, beyond in zip(answer, (OUTSIDE_V4, OUTSIDE_V6), strict=True):
            for protocol in ("tcp", "udp"):
                assert ask(node, address, PORT, protocol) is not None
                assert ask(web, beyond, PORT, protocol) is not None


async def _overlap(client: AsyncClient) -> str:
    return "; ".join(c.message for c in (await client.status()).conditions if c.type == "PoolOverlap" and c.status)


REFUSED = {
    "the pool itself by a gateway": f"route add 10.213.0.0/24 via {OUTSIDE_V4}",
    "a part of it by a gateway": f"route add 10.213.0.64/26 via {OUTSIDE_V4}",
    "a part of it over several": (
        f"route add 10.213.0.64/26 nexthop via {OUTSIDE_V4} dev {UPLINK} nexthop via 192.0.2.77 dev {UPLINK}"
    ),
    "a host of another runtime": f"route add 10.213.0.7/32 dev {UPLINK}",
    "a connected network in it": f"address add 10.213.0.65/26 dev {UPLINK}",
    "a connected network around it": f"address add 10.1.0.1/8 dev {UPLINK}",
    "a connected network without its route": f"address add 10.213.0.65/26 dev {UPLINK} noprefixroute",
    "a part of the IPv6 one": f"-6 route add fd13::/80 via {OUTSIDE_V6}",
    "the node's own, all of it": "route add local 10.213.0.0/24 dev lo",
    "the node's own, around the IPv6 one": "-6 route add local fd13::/48 dev lo",
    "a connected IPv6 network": f"address add fd13::7/48 dev {UPLINK}",
}


@pytest.mark.parametrize("line", REFUSED.values(), ids=REFUSED)
async def test_what_would_be_cut_off_refuses_a_new_pool(daemon: Daemon, node: Host, line: str) -> None:
    """At a first start, and for a pool that a reload brings; the one that was in use is told of and works on."""
    daemon.terminate()
    node.ip(line)
    done = daemon.command("daemon", f"--config={daemon.config}", f"--data-dir={daemon.data_dir}")
    assert done.returncode == 1
    assert "overlaps the" in done.stderr
    assert "choose another prefix" in done.stderr


async def test_an_overlap_that_comes_later_is_told_until_it_goes(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host
) -> None:
    """By its event, naming the pool and what overlaps it; a restart is not refused, and what is attached works."""
    answer = texts(await client.attach(attach(web)))
    cases = {
        f"route add 10.213.0.128/25 via {OUTSIDE_V4}": "pool 10.213.0.0/24 overlaps the node's route 10.213.0.128/25",
        f"address add 10.213.0.77/26 dev {UPLINK}": f"the connected network 10.213.0.64/26 on {UPLINK}",
        f"-6 route add fd13::8:0:0:0/80 via {OUTSIDE_V6}": "pool fd13::/64 overlaps the node's route fd13::8:0:0:0/80",
        "address add fd13::77/128 dev lo": "the node's address fd13::77 on lo",
    }
    for line, words in cases.items():
        node.ip(line)

        async def told(words: str = words) -> bool:
            return words in await _overlap(client)

        await until(told, words)
    await daemon.restart()
    async with daemon.client() as again:
        assert all([words in await _overlap(again) for words in cases.values()])
    assert all(node.ping(address) for address in answer)
    for line in cases:
        node.ip(line.replace(" add ", " del "))

    async def over() -> bool:
        async with daemon.client() as again:
            return not await _overlap(again)

    await until(over, "it is over")


async def test_a_reload_judges_alike(daemon: Daemon, client: AsyncClient, node: Host) -> None:
    """A pool that would cut a network off is not taken, one within a less specific route is."""
    node.ip(f"route add 10.0.0.0/8 via {OUTSIDE_V4}")
    node.ip(f"route add 10.214.0.64/26 via {OUTSIDE_V4}")
    daemon.configure(pools=("10.213.0.0/24", "10.214.0.0/24"))
    daemon.reload()
    refused = "pool 10.214.0.0/24 overlaps the node's route 10.214.0.64/26"
    await until(lambda: refused in daemon.logged(), "the refusal is logged")
    daemon.configure(pools=("10.213.0.0/24", "10.215.0.0/24"))
    daemon.reload()

    async def taken() -> bool:
        return "10.215.0.0/24" in {pool.name for pool in (await client.status()).pools}

    await until(taken, "the other pool is taken")
    node.ip(f"route add 10.215.0.64/26 via {OUTSIDE_V4}")

    async def told() -> bool:
        return "pool 10.215.0.0/24 overlaps" in await _overlap(client)

    await until(told, "the overlap is told")
    logged = [json.loads(line) for line in daemon.logged().splitlines() if line.startswith("{")]
    assert any(it["event"] == "a pool overlaps the node's network" for it in logged)


@pytest.mark.parametrize(
    ("line", "which"),
    [
        ("-4 route add local 10.213.0.0/16 dev lo", 0),
        ("-4 route add local 10.213.0.0/24 dev lo", 0),
        ("-6 route add local fd13::/48 dev lo", 1),
    ],
)
async def test_a_pool_that_becomes_the_nodes_own_gives_nothing(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host, line: str, which: int
) -> None:
    """Nothing that is sent there comes to a workload: new addresses are refused with the reason, whoever asks; who has
    one keeps it, and works again when the prefix is gone."""
    before = texts(await client.attach(attach(web)))
    node.ip(line)

    async def told() -> bool:
        return "the node's local prefix" in await _overlap(client)

    await until(told, "it is told")
    pool, prefix = ("10.213.0.0/24", "fd13::/64")[which], line.split()[4]
    why = f"all of {pool} is in the node's local prefix {prefix} on lo"
    for restarted in (False, True):
        if restarted:
            await daemon.restart()
        async with daemon.client() as again:
            with refused(grpc.StatusCode.RESOURCE_EXHAUSTED, why):
                await again.attach(attach(db))
            address = ("10.213.0.99", "fd13::99")[which]
            with refused(grpc.StatusCode.ALREADY_EXISTS, "the node's own, in the local prefix"):
                await again.attach(attach(db, addresses=(address,)))
            assert texts(await again.attach(attach(web))) == before, "the same wish keeps what it has"
    node.ip(line.replace(" add ", " del "))
    async with daemon.client() as again:

        async def given() -> bool:
            try:
                return len(texts(await again.attach(attach(db)))) == len(before)
            except ClientError:
                return False

        await until(given, "it is given from again")
        given_to = texts(await again.attach(attach(db)))
    with serving(web, PORT), serving(db, PORT):
        for address in (*before, *given_to):
            assert ask(node, address, PORT) is not None
