"""Workloads on several nodes reach each other, by routes and by VXLAN, over either IP version; and nothing that happens
to a node or to its daemon makes them forget how."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from netplumb.models.cluster import KNOWN_FILE
from netplumb.reconciler.pacing.fights import FREE_REPAIRS
from tests.e2e.echoes import ask, serving, unanswered
from tests.e2e.hosts import kernel_state
from tests.e2e.nodes import DEVICE, GATEWAY_V4, GATEWAY_V6, lan, running
from tests.e2e.pings import pinging
from tests.e2e.streams import TcpStream
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, v4, v6

GROUNDS = [(mode, families) for mode in ("routes", "vxlan") for families in ((4, 6), (4,), (6,))]


@pytest.mark.parametrize(("mode", "families"), GROUNDS, ids=str)
async def test_workloads_on_two_nodes_reach_each_other_as_who_they_are(
    directory: Path, mode: str, families: tuple[int, ...]
) -> None:
    """TCP and UDP, both IP versions, and each sees the other's own address, though both nodes masquerade what goes to
    anybody else. So do the nodes themselves, from their addresses in their prefixes."""
    async with running(2, mode, directory, families=families) as site:
        one, other = site.machines
        web, web_has = await one.attach("web")
        db, db_has = await other.attach("db")
        # An IPv6 prefix cannot be routed by an IPv4 address.
        versions = [(v4, "10.128.1.1")] + ([(v6, one.own_v6)] if (mode, families) != ("routes", (4,)) else [])
        with serving(db, 81), serving(site.outside, 82):
            for address, node_address in versions:
                for protocol in ("tcp", "udp"):
                    assert ask(web, address(db_has), 81, protocol) == f"db {address(web_has)}"
                    assert ask(one.host, address(db_has), 81, protocol) == f"db {node_address}"
            for version, gateway in ((4, GATEWAY_V4), (6, GATEWAY_V6)):
                if version in families:
                    own = one.underlay[families.index(version)]
                    assert ask(web, gateway, 82) == f"lan {own}"
        await site.settled()


@pytest.mark.parametrize("mode", ["routes", "vxlan"])
async def test_a_daemon_that_dies_and_starts_again_loses_no_packet_between_nodes(directory: Path, mode: str) -> None:
    """Killed and started three times on either node, beside a TCP stream and a 1 ms ping of each IP version: nothing is
    lost, and no object of the kernel is made anew or was away."""
    async with running(2, mode, directory) as site:
        one, other = site.machines
        web, _ = await one.attach("web")
        db, db_has = await other.attach("db")
        before = kernel_state(one.host, other.host, web, db)
        with TcpStream(web, db, v4(db_has)) as stream, TcpStream(web, db, v6(db_has)) as stream6:
            async with pinging(web, v4(db_has)) as ping, pinging(web, v6(db_has)) as ping6:
                for it in (one, other, one):
                    it.daemon.kill9()
                    for flowing in (stream, stream6):
                        await until(flowing.moves_on(), "the stream moves without a daemon")
                    await it.daemon.start()
                    await site.settled(it)
                for flowing in (stream, stream6):
                    await until(flowing.moves_on(), "the stream moves with the new one")
            assert (stream.error, stream6.error) == (None, None)
        for seen in (ping, ping6):
            assert seen.sent > 100
            assert seen.sent - seen.received <= 1, seen.said
        assert kernel_state(one.host, other.host, web, db) == before
        assert not [line for line in one.daemon.logged().splitlines() if '"Repaired"' in line]


LARGEST = [("routes", (4, 6), 1500), ("vxlan", (4, 6), 1450), ("vxlan", (6,), 1430)]


@pytest.mark.parametrize(("mode", "families", "mtu"), LARGEST)
async def test_what_is_as_large_as_a_workloads_interface_takes_passes(
    directory: Path, mode: str, families: tuple[int, ...], mtu: int
) -> None:
    """The interface is as small as VXLAN's headers want it, so that nothing is fragmented; one who was told a larger
    MTU learns from the node what passes."""
    async with running(2, mode, directory, families=families) as site:
        one, other = site.machines
        web, _ = await one.attach("web")
        db, db_has = await other.attach("db")
        large, _ = await one.attach("large", mtu=1500)
        assert web.link("eth0")["mtu"] == mtu
        for address, headers in ((v4(db_has), 28), (v6(db_has), 48)):
            whole = mtu - headers
            assert " 0% packet loss" in web.run(f"ping -c 2 -W 2 -M do -s {whole} {address}")
            assert "essage too long" in web.run(f"ping -c 1 -W 1 -M do -s {whole + 1} {address}", ok=False)
            with TcpStream(large, db, address) as stream:
                await until(lambda stream=stream: stream.received > 300_000, "much has come")  # type: ignore[misc]
            assert stream.error is None


@pytest.mark.parametrize("mode", ["routes", "vxlan"])
async def test_a_peer_that_moves_is_followed_and_one_that_goes_is_forgotten(directory: Path, mode: str) -> None:
    """What the view says is in the kernel of each other node, and the ways to the third are not touched."""
    async with running(3, mode, directory) as site:
        one, two, three = site.machines
        web, _ = await one.attach("web")
        _, db_has = await two.attach("db")
        _, cache_has = await three.attach("cache")
        assert web.ping(v4(db_has))
        async with pinging(web, v4(cache_has)) as ping, pinging(web, v6(cache_has)) as ping6:
            two.host.ip("address delete 192.0.2.2/24 dev up0")
            two.host.ip("address add 192.0.2.99/24 dev up0")
            two.host.ip("address add 2001:db8::99/64 dev up0 nodad")
            two.underlay = ("192.0.2.99", "2001:db8::99")
            site.tell()
            await site.settled(one)
            await until(lambda: web.ping(v4(db_has)) and web.ping(v6(db_has)), "it is reached where it moved")
            site.tell(peers={two.name: None})
            await until(lambda: one.host.route(two.prefixes[0]) is None, "the way is gone")
            await site.settled(one)
            assert not one.host.run(f"ip -6 route show {two.prefixes[1]}")
            if mode == "vxlan":
                assert "192.0.2.99" not in one.host.run(f"bridge fdb show dev {DEVICE}")
        for seen in (ping, ping6):
            assert seen.sent - seen.received <= 1, seen.said


@pytest.mark.parametrize("mode", ["routes", "vxlan"])
async def test_a_purge_takes_the_ways_away_and_leaves_what_is_foreign(directory: Path, mode: str) -> None:
    """What was there before netplumb is there again, and nothing else."""
    with lan(2, mode, directory) as site:
        one, _ = site.machines
        one.host.ip("route add 203.0.113.0/24 via 192.0.2.9 proto static")
        one.host.ip("link add vx-foreign type vxlan id 9 local 192.0.2.1 dstport 4790")
        before = kernel_state(one.host)
        site.tell()
        await one.daemon.start()
        await site.settled(one)
        assert kernel_state(one.host) > before
        one.daemon.terminate()
        known = one.daemon.data_dir / KNOWN_FILE
        assert known.exists()
        done = one.daemon.purge(answer="y\n")
        assert done.returncode == 0, done.stderr
        assert kernel_state(one.host) == before
        assert not known.exists()


@pytest.mark.parametrize("mode", ["routes", "vxlan"])
async def test_isolation_and_policies_judge_workloads_of_other_nodes_by_their_own_address(
    directory: Path, mode: str
) -> None:
    """One that is kept from other workloads is kept from those too, and still reaches and is reached by nobody else of
    them; a policy's block is asked for the address of the client, not for its node's."""
    async with running(2, mode, directory) as site:
        one, other = site.machines
        web, web_has = await one.attach("web")
        near, _ = await one.attach("near")
        shut, shut_has = await other.attach("shut", isolate_workloads=True)
        only, only_has = await other.attach("only")
        policy = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "only-web"},
            "spec": {
                "podSelector": {"matchLabels": {"app": "only"}},
                "ingress": [{"from": [{"ipBlock": {"cidr": f"{v4(web_has)}/32"}}]}],
            },
        }
        async with other.client() as client:
            await client.attach(attach(only, labels={"app": "only"}))
        (other.daemon.state_files / "policy.yaml").write_text(json.dumps(policy))
        with serving(shut, 81), serving(only, 81), serving(web, 81):
            assert unanswered(web, v4(shut_has), 81)
            assert unanswered(shut, v4(web_has), 81)
            assert ask(other.host, v4(shut_has), 81) == f"shut {other.own_v4}"
            await until(lambda: unanswered(near, v4(only_has), 81, "udp"), "the policy is in force")
            assert ask(web, v4(only_has), 81) == f"only {v4(web_has)}"
            assert ask(only, v4(web_has), 81) == f"web {v4(only_has)}"


async def test_a_way_that_cannot_be_made_is_told_with_its_reason(directory: Path) -> None:
    """A peer on no link, and a foreign route in the place of a way: the conditions say so, the node is not in sync, the
    foreign route stays; and when it goes the way is there."""
    async with running(2, "routes", directory) as site:
        one, other = site.machines
        _, db_has = await other.attach("db")
        far = {"underlay": ["198.51.100.7"], "prefixes": ["10.128.77.0/24"]}
        site.tell(peers={"far": far})

        async def told(type_: str) -> str:
            async with one.client() as client:
                conditions = (await client.status()).conditions
            return next((it.message for it in conditions if it.type == type_ and it.status), "")

        async def not_on_link() -> bool:
            return "far at 198.51.100.7, which 10.128.77.0/24 is behind, is on no link" in await told("PeerNotOnLink")

        await until(not_on_link, "the peer is told of")
        one.host.run(f"ip route replace {other.prefixes[0]} via 192.0.2.200 proto static")
        await until(lambda: told("ForeignWay"), "the foreign route is told of")
        assert one.host.run(f"ip route show {other.prefixes[0]}").count("via") == 1
        async with one.client() as client:
            assert {it.reason for it in (await client.status()).unmet} >= {"PeerNotOnLink", "ForeignWay"}
        one.host.run(f"ip route delete {other.prefixes[0]} proto static")
        await until(lambda: one.host.ping(v4(db_has)), "the way is made")
        await until(lambda: _is_over(told), "it is told no more")


async def _is_over(told: Callable[[str], Awaitable[str]]) -> bool:
    return not await told("ForeignWay")


async def test_a_link_that_was_away_takes_no_way_with_it(directory: Path) -> None:
    """The underlay's interface goes down and comes up, its address goes and comes: workloads reach each other again
    without anybody's help."""
    async with running(2, "routes", directory) as site:
        one, other = site.machines
        web, _ = await one.attach("web")
        _, db_has = await other.attach("db")
        one.host.ip("link set up0 down")
        one.host.ip("link set up0 up")
        one.host.ip("address add 2001:db8::1/64 dev up0 nodad")
        await until(lambda: web.ping(v4(db_has)) and web.ping(v6(db_has)), "up again", within_s=15)
        one.host.ip("address delete 192.0.2.1/24 dev up0")
        one.host.ip("address add 192.0.2.1/24 dev up0")
        await until(lambda: web.ping(v4(db_has)), "with its address again", within_s=15)
        await site.settled(one)


async def test_a_link_that_comes_and_goes_is_nobodys_fight(directory: Path) -> None:
    """It was the kernel that took the routes with it: no other program is blamed, and no repair waits."""
    async with running(2, "routes", directory) as site:
        one, other = site.machines
        web, _ = await one.attach("web")
        _, db_has = await other.attach("db")
        told = []
        for _ in range(4 * FREE_REPAIRS):
            one.host.ip("link set up0 down")
            one.host.ip("link set up0 up")
            await until(lambda: one.host.route(other.prefixes[0]), "the route is there again")
            async with one.client() as client:
                told += [it for it in (await client.status()).conditions if it.type == "WaysFailed"]
        assert [it.message for it in told if it.status and it.reason == "KeepsChanging"] == []
        await until(lambda: web.ping(v4(db_has)), "up again", within_s=15)
