"""Nodes with the real daemon on a real etcd: workloads reach each other, whatever happens to etcd."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from grpc import StatusCode

from netplumb.api.client.errors import Unavailable
from tests.cluster.churn import flowing
from tests.cluster.sites import conditions, held, site
from tests.e2e.echoes import ask, serving
from tests.e2e.nodes import GATEWAY_V4, GATEWAY_V6, POOLS, Lan, Machine
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, refused, texts, v4, v6

LONG_S = 30.0


async def test_workloads_of_two_nodes_reach_each_other_while_etcd_comes_and_goes(directory: Path) -> None:
    """Each node gives addresses from its own prefixes; with all of etcd away, what runs goes on, nodes restart, and
    attach goes on too."""
    async with site(2, directory) as it:
        one, other = it.machines
        assert not {*await held(one)} & {*await held(other)}
        web, web_has = await one.attach("web")
        db, db_has = await other.attach("db")
        with serving(db, 81):

            def reaches() -> bool:
                asked = [(ask(web, address(db_has), 81), address(web_has)) for address in (v4, v6)]
                return all(answer == f"db {mine}" for answer, mine in asked)

            await until(reaches, "they reach each other", within_s=LONG_S)
            it.etcd.kill()

            async def away() -> bool:
                return "EtcdAway" in await conditions(one)

            await until(away, "it is told that etcd is away", within_s=LONG_S)
            assert reaches()
            await one.daemon.restart()
            assert reaches()
            assert "EtcdAway" in await conditions(one)
            one.daemon.kill9()
            assert reaches()
            await one.daemon.start()
            assert reaches()
            _, late = await one.attach("late")
            assert v4(late).rpartition(".")[0] == v4(web_has).rpartition(".")[0]
            it.etcd.start()

            async def back() -> bool:
                return "EtcdAway" not in await conditions(one)

            await until(back, "etcd is followed again", within_s=LONG_S)
            assert reaches()


async def test_attaches_go_on_when_a_prefix_is_full(directory: Path) -> None:
    """A further prefix is taken while who asks for an address waits, which nobody is refused for."""
    small: list[dict[str, Any]] = [{"cidr": "10.128.0.0/14", "node_prefix_len": 29}, {"cidr": "fd80::/48"}]
    async with site(1, directory, pools=small) as it:
        (node,) = it.machines
        given = [v4((await node.attach(f"w{number}"))[1]) for number in range(14)]
        assert len(set(given)) == 14
        assert len(await held(node)) >= 4


async def test_without_a_prefix_an_attach_says_why(directory: Path) -> None:
    async with site(1, directory, pools=[{"cidr": "10.128.0.0/24"}]) as it:
        (node,) = it.machines
        it.etcd.ctl("put", "/netplumb/shared/prefixes/other/10.128.0.0-24", '{"pool": "10.128.0.0/24"}')
        it.etcd.ctl("del", "--prefix", f"/netplumb/shared/prefixes/{node.name}/")

        async def full() -> bool:
            return "ClusterPoolFull" in await conditions(node)

        await until(full, "it is told that no prefix is left", within_s=LONG_S)
        with pytest.raises(Unavailable, match="the cluster has given this node no prefix yet"):
            await node.attach("web")


async def test_a_node_that_is_cut_off_goes_on_and_catches_up(directory: Path) -> None:
    """Its link to etcd and to the others is down for longer than its lease, while prefixes come and go and etcd is
    compacted: what runs on it runs on, the others keep their routes to it, and it learns what it missed."""
    async with site(3, directory) as it:
        one, other, third = it.machines
        web, web_has = await one.attach("web")
        db, db_has = await other.attach("db")
        with serving(db, 81):
            assert ask(web, v4(db_has), 81) == f"db {v4(web_has)}"
            it.lan.outside.ip("link set n1 down")

            async def away() -> bool:
                return "EtcdAway" in await conditions(one)

            await until(away, "it says that etcd is away", within_s=LONG_S)
            route = (await held(one))[0]
            third.daemon.terminate()
            for key in it.etcd.key_names():
                if f"/{third.name}" in key:
                    it.etcd.ctl("del", key)
            await until(lambda: f"/presence/{one.name}" not in " ".join(it.etcd.key_names()), "its lease has ended")
            it.etcd.compact()
            assert other.host.route(route), "the others keep their routes to it"
            _, late = await one.attach("late")
            assert v4(late).rpartition(".")[0] == v4(web_has).rpartition(".")[0]
            it.lan.outside.ip("link set n1 up")

            async def back() -> bool:
                return "EtcdAway" not in await conditions(one)

            await until(back, "it follows etcd again", within_s=LONG_S)
            await until(
                lambda: ask(web, v4(db_has), 81) == f"db {v4(web_has)}", "they reach each other", within_s=LONG_S
            )
            gone = (await held(other))[0].rsplit(".", 2)[0]
            await until(
                lambda: len([it for it in one.host.routes() if it["dst"].startswith(gone) and "/24" in it["dst"]]) == 1,
                "its route to the node that went is gone",
                within_s=LONG_S,
            )


async def test_what_runs_on_a_node_that_is_removed_runs_on(directory: Path) -> None:
    """Removed by force while it lives: its workload keeps its namespace's addresses and reaches the node, also after a
    restart; `check` says what is wrong; what became of the workload is in etcd again."""
    async with site(2, directory) as it:
        one, other = it.machines
        web, has = await one.attach("web")
        (prefix,) = [name for name in await held(one) if name.startswith(v4(has).rpartition(".")[0])]
        before = web.addresses("eth0")
        status_key = f"/netplumb/nodes/{one.name}/status/web/eth0"
        await until(lambda: status_key in it.etcd.key_names(), "its state is in etcd", within_s=LONG_S)
        config = f"--config={other.daemon.config}"
        done = other.daemon.command("cluster", "remove", one.name, "--force", "--yes", config)
        assert done.returncode == 0, done.stderr

        async def told() -> bool:
            return "PrefixLost" in await conditions(one)

        def checked() -> None:
            check = one.daemon.command("check", f"--socket={one.daemon.socket}")
            assert check.returncode == 1
            assert prefix in check.stdout
            assert "PrefixLost" in check.stdout

        def runs_on() -> bool:
            return web.addresses("eth0") == before and web.ping("169.254.77.1") and one.host.ping(v4(has))

        await until(told, "it says that its prefix is lost", within_s=LONG_S)
        assert "web/eth0 has addresses of it" in (await conditions(one))["PrefixLost"]
        await until(lambda: not other.host.route(prefix), "the other has no way to it", within_s=LONG_S)
        checked()
        assert runs_on()
        await until(lambda: status_key in it.etcd.key_names(), "its state is in etcd again", within_s=LONG_S)
        await one.daemon.restart()
        await until(told, "it still says so", within_s=LONG_S)
        checked()
        assert runs_on()


@pytest.mark.parametrize("mode", ["routes", "vxlan"])
async def test_the_doctor_takes_nothing_of_a_cluster_for_a_difference(directory: Path, mode: str) -> None:
    """It knows the node's prefixes and the others from what the daemon keeps, beside a daemon and without one."""
    async with site(2, directory, mode=mode) as it:
        one, _ = it.machines
        await one.attach("web")
        where = (f"--config={one.daemon.config}", f"--data-dir={one.daemon.data_dir}", f"--socket={one.daemon.socket}")

        def differences() -> list[str]:
            done = one.daemon.command("doctor", *where)
            assert " found" in done.stdout, done.stderr
            return [line for line in done.stdout.splitlines() if "not-as-desired" in line]

        assert differences() == []
        one.daemon.terminate()
        assert differences() == []
        await one.daemon.start()


def new_address(node: Machine, _: Lan) -> str:
    """In the place of the old one, with which the kernel takes all routes by that link."""
    node.host.ip("-4 address delete 192.0.2.1/24 dev up0")
    node.host.ip("address add 192.0.2.51/24 dev up0")
    node.host.ip(f"-4 route add default via {GATEWAY_V4}")
    return "192.0.2.51"


def new_interface(node: Machine, lan: Lan) -> str:
    """Under another name and with other addresses; the old one is gone."""
    node.host.ip(f"link add up1 type veth peer name n1b netns {lan.outside.name}")
    lan.outside.ip("link set n1b master br0 up")
    node.host.set_sysctl("net/ipv6/conf/up1/accept_dad", "0")
    node.host.ip("link delete up0")
    node.host.ip("link set up1 up")
    node.host.ip("address add 192.0.2.52/24 dev up1")
    node.host.ip("address add 2001:db8::52/64 dev up1 nodad")
    node.host.ip(f"-4 route add default via {GATEWAY_V4}")
    node.host.ip(f"-6 route add default via {GATEWAY_V6}")
    return "192.0.2.52"


@pytest.mark.parametrize("mode", ["routes", "vxlan"])
@pytest.mark.parametrize("change", [new_address, new_interface])
async def test_a_node_whose_underlay_changes_is_reached_there(
    directory: Path, mode: str, change: Callable[[Machine, Lan], str]
) -> None:
    """While it runs, and with no word to netplumb: it tells the others, and both reach each other's workloads again."""
    async with site(2, directory, mode=mode) as it:
        one, other = it.machines
        web, web_has = await one.attach("web")
        db, db_has = await other.attach("db")
        with serving(db, 81), serving(web, 81):
            at = change(one, it.lan)

            def is_told() -> bool:
                if mode == "vxlan":
                    return f"dst {at} " in other.host.run("bridge fdb show dev np-vxlan")
                return any(route.get("gateway") == at for route in other.host.routes())

            await until(is_told, "the other node knows where it is", within_s=LONG_S)

            def reaches() -> bool:
                return all(
                    (ask(web, address(db_has), 81), ask(db, address(web_has), 81))
                    == (f"db {address(web_has)}", f"web {address(db_has)}")
                    for address in (v4, v6)
                )

            await until(reaches, "they reach each other", within_s=LONG_S)
        for machine in it.machines:
            async with machine.client() as client:
                assert not (await client.plan()).changes


async def test_no_workload_has_an_address_of_another_nodes(directory: Path) -> None:
    """Whether somebody has it, or the node itself, or nobody yet."""
    async with site(2, directory) as it:
        one, other = it.machines
        _, has = await other.attach("db")
        thief = one.workload("thief")
        async with one.client() as client:
            for address in (v4(has), v6(has), "10.128.1.1", "10.131.7.7"):
                with refused(StatusCode.INVALID_ARGUMENT, f"{address} is in no prefix that this node holds"):
                    await client.attach(attach(thief, addresses=[address]))
            own = v4(await client.attach(attach(thief, addresses=["10.128.0.77"])))
        assert own == "10.128.0.77"


@pytest.mark.parametrize("mode", ["routes", "vxlan"])
async def test_a_node_that_is_called_otherwise_goes_on_and_says_so(directory: Path, mode: str) -> None:
    """Nothing of what it has under its former name is touched, documents included, and it is itself again with that
    name."""
    async with site(2, directory, mode=mode) as it:
        one, other = it.machines
        web, _ = await one.attach("web")
        db, has = await other.attach("db")
        job = one.workload("job")
        document = {"kind": "Attachment", "workload_id": "job", "netns": {"name": "job"}}
        it.etcd.ctl("put", f"/netplumb/nodes/{one.name}/attachments/job", json.dumps(document))
        await until(lambda: "eth0" in job.links(), "what etcd wants is attached", within_s=LONG_S)
        mine = await held(one)

        async def says() -> bool:
            return f"this machine is {one.name}" in (await conditions(one)).get("NodeNameTaken", "")

        def called(name: str) -> None:
            cluster = it.cluster(one, pools=[{"cidr": cidr} for cidr in POOLS]) | {"node_name": name}
            one.daemon.configure(pools=(), cluster=cluster)

        async with flowing(web, db, (v4(has), v6(has))):
            one.daemon.terminate()
            called("other-name")
            await one.daemon.start(ready=False)
            await until(says, "it says so", within_s=LONG_S)
            await asyncio.sleep(3)
            assert await says()
            assert "eth0" in job.links()
            assert "EndpointOfAnother" not in await conditions(one)
            one.daemon.terminate()
            called(one.name)
            await one.daemon.start(ready=False)

            async def is_itself() -> bool:
                return await held(one) == mine and "NodeNameTaken" not in await conditions(one)

            await until(is_itself, "it is itself again", within_s=LONG_S)
        assert "eth0" in job.links()


async def test_a_daemon_that_stood_still_gives_no_address_of_what_was_lost_meanwhile(directory: Path) -> None:
    """Whoever asked it meanwhile is answered once it knows what is its own."""
    async with site(1, directory) as it:
        (one,) = it.machines
        lost = await held(one)
        hosts = [one.workload(f"w{number}") for number in range(5)]
        os.kill(one.daemon.process.pid, signal.SIGSTOP)
        try:
            await asyncio.sleep(11)  # longer than the lease, and than any pause between two tries
            it.etcd.ctl("del", "--prefix", f"/netplumb/shared/prefixes/{one.name}/")
            for cidr, pool in zip(lost, POOLS, strict=True):
                key = f"/netplumb/shared/prefixes/another/{cidr.replace('/', '-')}"
                it.etcd.ctl("put", key, json.dumps({"pool": pool}))
            async with one.client() as client:
                asked = [asyncio.ensure_future(client.attach(attach(host))) for host in hosts]
                await asyncio.sleep(0.5)
                os.kill(one.daemon.process.pid, signal.SIGCONT)
                answers = await asyncio.gather(*asked, return_exceptions=True)
        finally:
            os.kill(one.daemon.process.pid, signal.SIGCONT)
        given = [ip_address(ip) for it in answers if not isinstance(it, BaseException) for ip in texts(it)]
        assert not [ip for ip in given if any(ip in ip_network(cidr) for cidr in lost)], given
        await until(lambda: is_given_anew(one, lost), "it has other prefixes", within_s=LONG_S)
        await one.attach("late")


async def is_given_anew(machine: Machine, lost: list[str]) -> bool:
    return len(now := await held(machine)) == len(lost) and not {*now} & {*lost}


@pytest.mark.parametrize("mode", ["routes", "vxlan"])
async def test_a_node_that_says_an_address_that_it_has_not_is_not_as_it_should_be(directory: Path, mode: str) -> None:
    """As one whose settings were copied from another's; `check` says so until it has it."""
    async with site(2, directory, mode=mode) as it:
        one, other = it.machines
        cluster = it.cluster(other, pools=[{"cidr": cidr} for cidr in POOLS], underlay="192.0.2.77")
        other.daemon.configure(pools=(), cluster=cluster)
        await other.daemon.restart()

        async def says() -> bool:
            return "underlay address 192.0.2.77" in (await conditions(other)).get("UnderlayMissing", "")

        async def is_over() -> bool:
            return "UnderlayMissing" not in await conditions(other)

        await until(says, "it says so", within_s=LONG_S)
        check = other.daemon.command("check", f"--socket={other.daemon.socket}")
        assert (check.returncode, "UnderlayMissing" in check.stdout) == (1, True)
        other.host.ip("address add 192.0.2.77/24 dev up0")
        await until(is_over, "it is over", within_s=LONG_S)
        assert "UnderlayMissing" not in await conditions(one)


async def test_another_cluster_in_the_settings_wants_a_restart_and_says_so(directory: Path) -> None:
    """Nothing of it is gone by before; nor is it told any more once the settings are as they were."""
    async with site(2, directory) as it:
        one, other = it.machines
        before = one.daemon.config.read_text()
        (theirs, _), ours = await held(other), await held(one)
        way = one.host.route(theirs)
        cluster = it.cluster(one, pools=[{"cidr": "10.64.0.0/16"}], mode="vxlan")
        one.daemon.configure(pools=(), cluster=cluster)
        one.daemon.reload()

        async def wanted() -> bool:
            return "RestartWanted" in await conditions(one)

        async def is_not_wanted() -> bool:
            return not await wanted()

        await until(wanted, "it says so", within_s=LONG_S)
        assert (await conditions(one))["RestartWanted"].startswith("cluster: ")
        async with one.client() as client:
            assert not (await client.plan()).changes
        assert (one.host.route(theirs), "np-vxlan" in one.host.links(), await held(one)) == (way, False, ours)
        one.daemon.config.write_text(before)
        one.daemon.reload()
        await until(is_not_wanted, "it is over", within_s=LONG_S)
        assert (one.host.route(theirs), await held(one)) == (way, ours)


async def test_settings_that_are_refused_keep_nobody_from_the_clusters_prefixes(directory: Path) -> None:
    """Those from before are in force with all that the cluster gives from then on, and why is told until it is mended;
    so is a pool that may only be the node's own once it has left the cluster."""
    small = [{"cidr": "10.128.0.0/14", "node_prefix_len": 29}]
    async with site(1, directory, pools=small) as it:
        (node,) = it.machines
        before = node.daemon.config.read_text()

        async def told(*words: str) -> bool:
            message = (await conditions(node)).get("SettingsRefused", "")
            return bool(message) and all(word in message for word in words)

        node.daemon.configure(pools=["192.0.2.0/25"], cluster=it.cluster(node, pools=small))
        node.daemon.reload()
        await until(lambda: told("192.0.2.0/24", "up0"), "the overlap is told", within_s=LONG_S)
        given = [v4((await node.attach(f"w{number}"))[1]) for number in range(7)]
        assert len(set(given)) == 7
        prefixes = await held(node)
        node.daemon.configure(pools=["10.128.0.0/14"])
        node.daemon.reload()
        await until(lambda: told("10.128.0.0/14", "start it again"), "the cluster's pool is told", within_s=LONG_S)
        assert await held(node) == prefixes
        node.daemon.config.write_text(before)
        node.daemon.reload()

        async def is_over() -> bool:
            return not {"SettingsRefused", "RestartWanted"} & (await conditions(node)).keys()

        await until(is_over, "nothing is refused any more", within_s=LONG_S)
