"""Addresses that are somebody else's: refused to workloads that ask for them, passed over for those that do not, and
told where a workload has one already."""

from __future__ import annotations

import grpc
import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.client.errors import ClientError
from tests.e2e import wishes
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, UPLINK, MakeHost, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import ask, serving, unanswered
from tests.e2e.hosts import Host
from tests.e2e.runtimes import Runtime
from tests.e2e.statefiles import declare, document
from tests.e2e.waiting import comes_true, until
from tests.e2e.wishes import attach, condition, texts

NETWORK_SETUP = f"""
address add 203.0.113.9/32 dev lo
link add off0 type veth peer name off1
address add 198.18.0.9/24 dev off0
route add local 198.18.1.0/24 dev lo
route add 198.18.2.0/24 via 192.0.2.77
route add 198.18.3.0/24 via 198.51.100.9 dev {UPLINK} onlink
route add 198.18.4.0/24 nexthop via 192.0.2.78 dev {UPLINK} nexthop via 192.0.2.79 dev {UPLINK}
-6 route add 2001:db8:5::/48 nexthop via 2001:db8::77 dev {UPLINK} nexthop via 2001:db8::78 dev {UPLINK}
route add 198.18.6.0/24 via inet6 2001:db8::79 dev {UPLINK}
nexthop add id 7 via 192.0.2.80 dev {UPLINK}
nexthop add id 8 via 192.0.2.81 dev {UPLINK}
nexthop add id 9 group 7/8
route add 198.18.7.0/24 nhid 9
rule add from 192.0.2.1 lookup 77
route add 198.18.10.0/24 via 192.0.2.83 table 88
-6 route add 2001:db8:6::/48 via 2001:db8::83 dev {UPLINK} table 88
route add default via 192.0.2.82 table 77
link add ppp0 type veth peer name far
link set ppp0 up
address add 198.18.8.1 peer 198.18.8.5/32 dev ppp0
route add 198.18.9.5/32 dev {UPLINK}
"""

ALWAYS = {
    NODE_V4: f"the node's own, on {UPLINK}",
    NODE_V6: f"the node's own, on {UPLINK}",
    "203.0.113.9": "the node's own, on lo",
    "198.18.0.9": "the node's own, on off0",
    "198.18.1.77": "the node's own, in the local prefix 198.18.1.0/24 on lo",
    "198.18.8.1": "the node's own, on ppp0",
    OUTSIDE_V4: f"default via {OUTSIDE_V4} dev {UPLINK}",
    OUTSIDE_V6: f"default via {OUTSIDE_V6} dev {UPLINK}",
    "192.0.2.77": f"198.18.2.0/24 via 192.0.2.77 dev {UPLINK}",
    "198.51.100.9": "198.18.3.0/24 via",
    "192.0.2.78": "198.18.4.0/24 via",
    "192.0.2.79": "198.18.4.0/24 via",
    "2001:db8::77": "2001:db8:5::/48 via",
    "2001:db8::78": "2001:db8:5::/48 via",
    "2001:db8::79": "198.18.6.0/24 via",
    "192.0.2.80": "198.18.7.0/24 via",
    "192.0.2.81": "198.18.7.0/24 via",
    "192.0.2.82": f"default via 192.0.2.82 dev {UPLINK} table 77",
    "192.0.2.83": f"198.18.10.0/24 via 192.0.2.83 dev {UPLINK} table 88",
    "2001:db8::83": f"2001:db8:6::/48 via 2001:db8::83 dev {UPLINK} table 88",
}
"""The node's own addresses and the next hops of its routes, with the words that tell so."""

USELESS = {
    "192.0.2.255": f"broadcast address of 192.0.2.0/24 on {UPLINK}",
    "192.0.2.0": f"network address of 192.0.2.0/24 on {UPLINK}",
    "2001:db8::": f"anycast address of 2001:db8::/64 on {UPLINK}",
}
UNLESS_MEANT = {
    "192.0.2.50": f"192.0.2.0/24, which the node is connected to on {UPLINK}",
    "2001:db8::50": f"2001:db8::/64, which the node is connected to on {UPLINK}",
    "198.18.8.5": "198.18.8.5/32, which the node is connected to on ppp0",
    "198.18.9.5": "198.18.9.5/32, which the node is connected to on",
}
NEVER = {
    "0.0.0.0": "cannot be an interface's address",
    "0.1.2.3": "0.0.0.0/8",
    "127.0.0.1": "cannot be an interface's address",
    "169.254.77.1": "link-local; the first hop",
    "224.0.0.5": "cannot be an interface's address",
    "255.255.255.255": "240.0.0.0/4",
    "::": "cannot be an interface's address",
    "::1": "cannot be an interface's address",
    "fe80::1": "link-local; the first hop",
    "ff02::1": "cannot be an interface's address",
}


def set_up(node: Host) -> None:
    for line in NETWORK_SETUP.strip().splitlines():
        node.ip(line)


async def _is_refused(client: AsyncClient, host: Host, address: str) -> bool:
    try:
        await client.plan(attach(host, addresses=[address]))
    except ClientError:
        return True
    return False


@pytest.mark.parametrize("later", [False, True], ids=["before the start", "later"])
async def test_what_is_somebodys_is_refused(start_daemon: StartDaemon, node: Host, web: Host, later: bool) -> None:
    """Each by the words that say whose it is, whenever it came; the node keeps its network."""
    if not later:
        set_up(node)
    daemon = await start_daemon()
    async with daemon.client() as client:
        if later:
            set_up(node)
            await until(lambda: _is_refused(client, web, "198.18.9.5"), "the last of it is seen")
        for address, words in ALWAYS.items():
            with wishes.refused(grpc.StatusCode.ALREADY_EXISTS, address, words):
                await client.attach(attach(web, addresses=[address], allow_foreign_address=True))
        for address, words in (USELESS | NEVER).items():
            with wishes.refused(grpc.StatusCode.INVALID_ARGUMENT, address, words):
                await client.attach(attach(web, addresses=[address], allow_foreign_address=True))
        for address, words in UNLESS_MEANT.items():
            with wishes.refused(grpc.StatusCode.INVALID_ARGUMENT, address, words, "--allow-foreign-address"):
                await client.attach(attach(web, addresses=[address]))
            meant = await client.plan(attach(web, addresses=[address], allow_foreign_address=True))
            assert any(address in change.words for change in meant.changes)
    assert "eth0" not in web.links()
    assert node.ping(OUTSIDE_V4)
    assert node.ping(OUTSIDE_V6)


async def test_a_neighbours_address_that_is_meant_works(client: AsyncClient, node: Host, web: Host) -> None:
    """The flag takes an address of a connected network to a workload, by RPC and by the command line."""
    answer = await client.attach(attach(web, addresses=["192.0.2.50"], allow_foreign_address=True))
    assert "192.0.2.50" in texts(answer)
    assert node.ping("192.0.2.50")
    assert texts(await client.attach(attach(web, addresses=["192.0.2.50"]))) == texts(answer), "what it has it keeps"


async def test_the_command_line_says_that_it_is_meant(daemon: Daemon, web: Host) -> None:
    words = ("attach", "web", "--netns", web.path, "--address", "192.0.2.50", f"--socket={daemon.socket}")
    refused = daemon.command(*words)
    assert refused.returncode != 0
    assert "--allow-foreign-address" in refused.stderr
    done = daemon.command(*words, "--allow-foreign-address")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "192.0.2.50"), done.stderr


async def test_a_runtimes_static_address_is_judged_alike(runtime: Runtime, node: Host, web: Host) -> None:
    """The capability `ips` of the CNI plugin, and the network's word that it is meant."""
    container = runtime.container("c1", web)
    ips = {"ips": ["192.0.2.50/32"]}
    assert "the node's own" in container.add(runtimeConfig={"ips": [f"{NODE_V4}/24"]}).error()["details"]
    assert "is connected to" in str(container.add(runtimeConfig=ips).error())
    assert (
        container.add(runtimeConfig=ips, allow_foreign_address=True)
        .result()["ips"][0]["address"]
        .startswith("192.0.2.50")
    )
    assert node.ping("192.0.2.50")


async def test_a_state_file_waits_until_the_address_is_nobodys(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host
) -> None:
    """It says whose address it is, and is attached as soon as it is nobody's."""
    node.ip("address add 203.0.113.9/32 dev lo")
    await until(lambda: _is_refused(client, web, "203.0.113.9"), "it is seen")
    declare(daemon, "web.yaml", document("web", web, addresses=["203.0.113.9"]))

    async def told() -> bool:
        async for it in client.list():
            if it.phase != "Attached" and (ready := condition(it, "Ready")) is not None:
                return "the node's own, on lo" in ready.message
        return False

    await until(told, "told")
    node.ip("address del 203.0.113.9/32 dev lo")

    async def attached() -> bool:
        return any([it.phase == "Attached" async for it in client.list()])

    await until(attached, "attached")
    assert node.ping("203.0.113.9")


async def test_a_state_file_says_that_it_is_meant(daemon: Daemon, client: AsyncClient, node: Host, web: Host) -> None:
    text = document("web", web, addresses=["192.0.2.50"]) + "allow_foreign_address: true\n"
    declare(daemon, "web.yaml", text)

    async def attached() -> bool:
        return any([it.phase == "Attached" async for it in client.list()])

    await until(attached, "attached")
    assert node.ping("192.0.2.50")


async def test_what_somebody_holds_in_a_pool_is_passed_over(
    start_daemon: StartDaemon, node: Host, make_host: MakeHost
) -> None:
    """An address of the node, a network and a next hop in a pool are given to nobody, and are again when they are
    nobody's."""
    node.ip("address add 10.213.0.2/32 dev lo")
    node.ip(f"address add fd13::2/128 dev {UPLINK}")
    daemon = await start_daemon(pools=("10.213.0.0/28", "fd13::/64"))
    async with daemon.client() as client:
        assert texts(await client.attach(attach(make_host("one")))) == ("10.213.0.3", "fd13::3")
        node.ip(f"route add 10.213.0.4/30 dev {UPLINK}")
        node.ip(f"-6 route add fd13::4/126 dev {UPLINK}")
        node.ip(f"route add 198.18.0.0/24 via 10.213.0.8 dev {UPLINK} onlink")
        await until(lambda: _overlaps(client, "10.213.0.4/30", "fd13::4/126", "10.213.0.8, the next hop"), "told")
        assert texts(await client.attach(attach(make_host("two")))) == ("10.213.0.9", "fd13::8")
        for number in range(10, 15):
            assert texts(await client.attach(attach(make_host(f"w{number}"))))[0] == f"10.213.0.{number}"
        last = make_host("last")
        with wishes.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "10.213.0.0/28"):
            await client.attach(attach(last))
        node.ip("address del 10.213.0.2/32 dev lo")

        async def given() -> bool:
            try:
                return texts(await client.attach(attach(last)))[0] == "10.213.0.2"
            except ClientError:
                return False

        await until(given, "what is nobody's is given")
        assert node.ping("10.213.0.2")


async def _overlaps(client: AsyncClient, *words: str) -> bool:
    found = [c for c in (await client.status()).conditions if c.type == "PoolOverlap"]
    return all(any(word in c.message and c.status for c in found) for word in words) and (bool(found) or not words)


async def test_a_workload_whose_address_the_node_takes_is_told(
    client: AsyncClient, node: Host, web: Host, make_host: MakeHost
) -> None:
    """The attachment and the node say whose it is too; that is over when the address is the workload's alone."""
    answer = texts(await client.attach(attach(web)))
    for address in answer:
        with serving(web, 4711):
            assert ask(node, address, 4711) is not None
            length = 128 if ":" in address else 32
            node.ip(f"address add {address}/{length} dev {UPLINK}")

            async def told(address: str = address) -> bool:
                found = condition(await client.get("web"), "AddressTaken")
                return found is not None and f"{address} is the node's own, on {UPLINK}" in found.message

            await until(told, f"{address} is told")
            assert await _overlaps(client, f"the node's address {address} on {UPLINK}")
            node.ip(f"address del {address}/{length} dev {UPLINK}")

            async def over() -> bool:
                return condition(await client.get("web"), "AddressTaken") is None

            await until(over, "it is over")
            assert await comes_true(lambda address=address: ask(node, address, 4711) is not None)  # type: ignore[misc]
    assert not [c for c in (await client.status()).conditions if c.type == "PoolOverlap"]


LOCAL, ENDED = "the node's own, in the local prefix", "ended by a route of the node"
LED = f"led elsewhere by the node's route {{}} dev {UPLINK}"


@pytest.mark.parametrize(
    ("which", "add", "words"),
    [
        (0, "-4 route add local 10.213.0.2/31 dev lo", LOCAL),
        (1, "-6 route add local fd13::2/127 dev lo", LOCAL),
        (0, "-4 route prepend blackhole 10.213.0.2", ENDED),
        (1, "-6 route add unreachable fd13::2 metric 1", ENDED),
        (0, f"-4 route add 10.213.0.2 via {OUTSIDE_V4} table local", LED.format(f"10.213.0.2/32 via {OUTSIDE_V4}")),
        (1, f"-6 route add fd13::2 via {OUTSIDE_V6} table local", LED.format(f"fd13::2/128 via {OUTSIDE_V6}")),
        (0, f"-4 route add 10.213.0.0/30 dev {UPLINK} table local", LED.format("10.213.0.0/30")),
        (0, "-4 route add prohibit 10.213.0.2 table local", "ended by the node's route prohibit 10.213.0.2/32 table"),
        (1, "-6 route add blackhole fd13::2 table local", "ended by the node's route blackhole fd13::2/128 table 255"),
        (0, f"-4 route prepend 10.213.0.2 via {OUTSIDE_V4}", LED.format(f"10.213.0.2/32 via {OUTSIDE_V4}")),
        (
            1,
            f"-6 route add fd13::2 from {OUTSIDE_V6} via {OUTSIDE_V6}",
            LED.format(f"fd13::2/128 from {OUTSIDE_V6}/128 via {OUTSIDE_V6}"),
        ),
        (1, "-6 route add blackhole fd13::2 from 2001:db8:9::/48", ENDED),
        (1, f"-6 route add fd13::2 via {OUTSIDE_V6} metric 1", LED.format(f"fd13::2/128 via {OUTSIDE_V6}")),
    ],
)
async def test_a_route_that_takes_addresses_of_workloads(
    client: AsyncClient, node: Host, web: Host, make_host: MakeHost, which: int, add: str, words: str
) -> None:
    """Its addresses are given to nobody, and who has one already is told, until it goes."""
    taken = texts(await client.attach(attach(web)))[which]
    with serving(web, 4711):
        assert ask(node, taken, 4711) is not None
        node.ip(add)
        assert unanswered(node, taken, 4711)

    async def told() -> bool:
        found = condition(await client.get("web"), "AddressTaken")
        return found is not None and f"{taken} is {words}" in found.message

    await until(told, "it is told")
    assert not (await client.check("web")).in_sync
    route = words.rpartition("the node's route ")[2]
    assert await _overlaps(client, {LOCAL: "the node's local prefix", ENDED: "ends the way"}.get(words, route))
    other = make_host("other")
    given = texts(await client.attach(attach(other)))[which]
    with serving(other, 4711):
        assert ask(node, given, 4711) is not None
    node.ip(add.replace(" add ", " del ").replace(" prepend ", " del "))

    async def over() -> bool:
        return condition(await client.get("web"), "AddressTaken") is None

    await until(over, "it is over")
    with serving(web, 4711):
        assert await comes_true(lambda: ask(node, taken, 4711) is not None)


async def test_a_route_that_covers_a_pool_in_the_local_table(
    client: AsyncClient, node: Host, web: Host, make_host: MakeHost
) -> None:
    """All of its workloads are told, and nobody is given an address of it; where the rule of that table was moved
    behind ours, it takes nothing away."""
    taken = texts(await client.attach(attach(web)))[0]
    node.ip(f"route add 10.213.0.0/16 dev {UPLINK} table local")

    async def told() -> bool:
        return condition(await client.get("web"), "AddressTaken") is not None

    await until(told, "it is told")
    with wishes.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, "10.213.0.0/24"):
        await client.attach(attach(make_host("other")))
    node.ip("rule add preference 32765 lookup local")
    node.ip("rule delete preference 0")

    async def over() -> bool:
        return not await told()

    await until(over, "it is over")
    with serving(web, 4711):
        assert ask(node, taken, 4711) is not None
    assert (await client.check("web")).in_sync


async def test_routes_that_outdo_nothing_are_not_told(client: AsyncClient, node: Host, web: Host) -> None:
    """One behind ours, one with a greater metric, and one to more than the address for some senders."""
    addresses = texts(await client.attach(attach(web)))
    node.ip(f"-4 route append {addresses[0]} via {OUTSIDE_V4}")
    node.ip(f"-6 route add {addresses[1]} via {OUTSIDE_V6} metric 17")
    node.ip(f"-6 route add fd13::/64 from 2001:db8:9::/48 via {OUTSIDE_V6}")
    await until(lambda: _overlaps(client, f"{addresses[1]}/128 via"), "it is seen")
    assert condition(await client.get("web"), "AddressTaken") is None
    with serving(web, 4711):
        for address in addresses:
            assert ask(node, address, 4711) is not None
    assert (await client.check("web")).in_sync


async def test_an_address_that_the_node_took_a_moment_ago_is_refused(
    client: AsyncClient, node: Host, web: Host
) -> None:
    """The kernel is asked before the answer, whatever events have told so far; the pools' own are given on."""
    for number in range(20):
        v4, v6 = f"10.213.0.{100 + number}", f"fd13::{100 + number}"
        for address in (v4, v6):
            node.ip(f"address add {address} dev lo nodad")
            with pytest.raises(ClientError) as refused:
                await client.attach(attach(web, addresses=(address,)))
            assert refused.value.code is grpc.StatusCode.ALREADY_EXISTS
            assert f"{address} is the node's own, on lo" in refused.value.message
    node.ip("route add blackhole 10.213.0.90")
    with pytest.raises(ClientError, match="ended by a route of the node"):
        await client.attach(attach(web, addresses=("10.213.0.90",)))


async def test_a_black_hole_behind_our_route_ends_nothing(client: AsyncClient, node: Host, web: Host) -> None:
    """So that nothing is told of it, and the workload is reached."""
    address = texts(await client.attach(attach(web)))[0]
    node.ip(f"route append blackhole {address}")
    node.ip("address add 10.213.0.77/32 dev lo")  # what is told of this, that look told
    await until(lambda: _overlaps(client, "the node's address 10.213.0.77"), "another look was made")
    assert not await _overlaps(client, "ends the way")
    assert condition(await client.get("web"), "AddressTaken") is None
    with serving(web, 4711):
        assert ask(node, address, 4711) is not None
    assert (await client.check("web")).in_sync
