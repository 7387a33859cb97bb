"""Settings: taken anew at SIGHUP, refused when they are wrong, and the purge that takes everything away again."""

from __future__ import annotations

import json
from functools import partial

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from tests import namespaces
from tests.e2e import asks
from tests.e2e.conftest import OUTSIDE_V4, UPLINK, MakeHost, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import Host
from tests.e2e.statefiles import declare, document
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition, detach, texts, v4

FORWARDING = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")
ACCEPT_RA = f"net/ipv6/conf/{UPLINK}/accept_ra"


async def test_reloaded_pools_are_for_new_attachments(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, db: Host
) -> None:
    """After SIGHUP new attachments have the new pools' addresses; older ones keep theirs, and a condition says so."""
    first = await client.attach(attach(web))
    daemon.configure(pools=("10.214.0.0/24", "fd14::/64"))
    daemon.reload()

    async def reloaded() -> bool:
        return [pool.name for pool in (await client.status()).pools] == ["10.214.0.0/24", "fd14::/64"]

    await until(reloaded, "the new pools are told")
    second = await client.attach(attach(db))
    assert v4(second).startswith("10.214.0.")

    async def told() -> bool:
        removed = condition(await client.get("web"), "PoolRemoved")
        return removed is not None and v4(first) in removed.message

    await until(told, "the condition tells of the removed pool")
    assert condition(await client.get("db"), "PoolRemoved") is None
    assert list((await client.get("web")).addresses) == list(texts(first))
    assert {"10.213.0.1/32", "10.214.0.1/32"} <= node.addresses("lo")
    for source, target in ((web, v4(second)), (db, v4(first)), (node, v4(first)), (node, v4(second))):
        assert source.ping(target)


@pytest.mark.parametrize("detached", [True, False], ids=["detached", "moved"])
async def test_the_nodes_address_in_a_removed_pool_goes_with_its_last_attachment(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, detached: bool
) -> None:
    """Loopback keeps the node's address in a former pool as long as somebody's routes prefer it, and no longer."""
    await client.attach(attach(web))
    daemon.configure(pools=("10.214.0.0/24", "fd14::/64"))
    daemon.reload()
    await until(lambda: "10.214.0.1/32" in node.addresses("lo"), "the new pool's address")
    former = {"10.213.0.1/32", "fd13::1/128"}
    assert former <= node.addresses("lo")
    if detached:
        await client.detach(detach("web"))
    else:
        await client.attach(attach(web, addresses=["10.214.0.9", "fd14::9"]))
    await until(lambda: not former & node.addresses("lo"), "the last one lets them go")


async def test_masquerading_is_switched_at_once(daemon: Daemon, client: AsyncClient, node: Host, web: Host) -> None:
    """SIGHUP turns masquerading off and on for everyone who is attached."""
    await client.attach(attach(web))
    assert web.ping(OUTSIDE_V4)
    for masquerade in (False, True):
        daemon.configure(masquerade=masquerade)
        daemon.reload()
        await until(partial(_masquerades, node, masquerade), "the rule is as set")
    assert web.ping(OUTSIDE_V4)


def _masquerades(node: Host, wanted: bool) -> bool:
    return ("masquerade" in node.ruleset()) is wanted


async def test_a_mistake_in_reloaded_settings_changes_nothing(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """Settings that are wrong at SIGHUP are logged, and those from before stay in force."""
    daemon.config.write_text("pools: [nonsense]\n")
    daemon.reload()
    await until(lambda: "not reloaded" in daemon.logged(), "the mistake is logged")
    refused = next(it for it in (await client.status()).conditions if it.type == "SettingsRefused")
    assert refused.status
    assert f"{daemon.config}:1: pools[0]" in refused.message
    assert not (await client.check_all())[0].in_sync
    assert [pool.name for pool in (await client.status()).pools] == ["10.213.0.0/24", "fd13::/64"]
    assert (await client.attach(attach(web))).attachment.phase == "Attached"


async def test_a_pool_in_force_is_not_refused_for_what_came_into_it(
    daemon: Daemon, client: AsyncClient, node: Host
) -> None:
    """Nobody has an address of it yet; what else was changed is taken."""
    node.ip(f"address add 10.213.0.77/25 dev {UPLINK}")

    async def overlaps() -> bool:
        return any(it.type == "PoolOverlap" and it.status for it in (await client.status()).conditions)

    await until(overlaps, "the overlap is told")
    daemon.configure(masquerade=False)
    daemon.reload()
    await until(partial(_masquerades, node, wanted=False), "the rule is as set")


async def test_what_files_wish_is_judged_anew_by_reloaded_settings(
    daemon: Daemon, client: AsyncClient, web: Host
) -> None:
    """As a start judges it: annotations that are labels now, annotations that are kept, parameters that may not be
    set."""
    annotations = 'annotations: {labels/app: web, owner: me}\nsysctls: {net.core.somaxconn: "100"}\n'
    declare(daemon, "web.yaml", document("web", web) + annotations)

    async def attached() -> bool:
        return [it.phase async for it in client.list()] == ["Attached"]

    await until(attached, "the file's wish comes true")
    daemon.configure(label_annotation_prefix="labels/", annotation_keys=["owner"])
    daemon.reload()

    async def known() -> bool:
        found = await client.get("web")
        return (dict(found.labels), dict(found.annotations)) == ({"app": "web"}, {"owner": "me"})

    await until(known, "its labels are known")
    daemon.configure(workload_sysctls=[])
    daemon.reload()

    async def told() -> bool:
        return any("workload_sysctls" in it.message for it in (await client.check("web")).unmet)

    await until(told, "what may not be set any more is told")
    assert web.sysctl("net/core/somaxconn") == "100"
    daemon.configure()
    daemon.reload()

    async def as_before() -> bool:
        found = await client.get("web")
        return not (found.labels or found.annotations) and (await client.check("web")).in_sync

    await until(as_before, "it is as it was")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--pool", "nonsense"], ["nonsense"]),
        (["--pool", "10.0.0.0/8", "--pool", "10.1.0.0/16"], ["10.1.0.0/16", "overlaps"]),
        (["--mtu", "100"], ["mtu", "1280"]),
        (["--resync-s", "-1"], ["resync-s"]),
        (["--log-format", "prose"], ["prose"]),
    ],
    ids=lambda value: " ".join(value),
)
async def test_wrong_settings_are_told_in_one_line_each(
    node: Host, daemon: Daemon, flags: list[str], words: list[str]
) -> None:
    """A daemon with a wrong setting exits with 2 and a line that names it."""
    done = daemon.command("daemon", *flags)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr


async def test_every_mistake_of_a_settings_file_has_its_line(daemon: Daemon) -> None:
    """Three mistakes in a file are three lines, and exit 2."""
    daemon.config.write_text("pools: [nonsense]\nresync: 3\nmtu: 7\n")
    done = daemon.command("daemon", f"--config={daemon.config}")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == 3, done.stderr
    for name in ("pools", "resync", "mtu"):
        assert any(name in line for line in lines)


async def test_a_pool_that_overlaps_a_route_of_the_node_is_refused(daemon: Daemon, node: Host) -> None:
    """A pool that would cut off a network of the node is refused, naming the route and its interface."""
    daemon.terminate()
    node.ip(f"route add 10.213.0.128/25 dev {UPLINK}")
    done = daemon.command("daemon", f"--config={daemon.config}", f"--data-dir={daemon.data_dir}")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    for word in ("10.213.0.0/24", "10.213.0.128/25", UPLINK):
        assert word in line


async def test_purge_removes_all_of_ours_and_only_ours(
    daemon: Daemon, client: AsyncClient, node: Host, web: Host, make_host: MakeHost
) -> None:
    """The purge shows what it will do, does nothing when told no, and then leaves only what is not ours."""
    node.run("nft add table inet theirs")
    node.ip("link add np-foreign type veth peer name other")
    node.ip("address add 198.51.100.77/32 dev lo")
    node.ip(f"route add 203.0.113.0/24 dev {UPLINK}")
    await client.attach(attach(web))
    declare(daemon, "made.yaml", document("made", "made", create=True))
    made = Host("made")

    async def attached() -> bool:
        return (await client.status()).phases.get("Attached", 0) == 2

    await until(attached, "both are attached")
    daemon.terminate()

    shown = daemon.purge(answer="n\n")
    assert shown.returncode == 1
    for word in ("- link np", "- address 10.213.0.1/32", "- address 169.254.77.1/32", "ip_forward", "netplumb"):
        assert word in shown.stdout, shown.stdout
    assert "eth0" in web.links()

    done = daemon.purge(answer="y\n")
    assert done.returncode == 0, done.stderr
    assert node.links().keys() == {"lo", UPLINK, "np-foreign", "other"}
    assert node.addresses("lo") == {"127.0.0.1/8", "::1/128", "198.51.100.77/32"}
    assert not [route for route in node.routes() if route["protocol"] == "78"]
    assert node.route("203.0.113.0/24") is not None
    assert "netplumb" not in node.ruleset()
    assert "table inet theirs" in node.ruleset()
    assert [node.sysctl(name) for name in FORWARDING] == ["0", "0"]
    assert "eth0" not in web.links()
    assert made.path not in map(str, namespaces.NETNS_DIR.iterdir())
    assert "Nothing" in daemon.purge(answer="").stdout


async def test_purge_is_refused_while_a_daemon_runs(daemon: Daemon, client: AsyncClient, web: Host) -> None:
    """A purge beside a running daemon, which would undo it, exits with 1 and changes nothing."""
    await client.attach(attach(web))
    done = daemon.purge(answer="y\n")
    assert done.returncode == 1
    assert "another netplumb daemon" in done.stderr
    assert "eth0" in web.links()


async def test_a_route_learnt_from_router_advertisements_stays(
    daemon: Daemon, node: Host, outside: Host, web: Host
) -> None:
    """A default route that the node learnt from a real advertisement outlives the start of the daemon, which turns
    forwarding on; the purge gives the switch back its value."""
    daemon.terminate()
    daemon.purge(answer="y\n")
    node.ip("-6 route delete default")
    assert node.sysctl(ACCEPT_RA) == "1"
    # Again and again: one that goes out before the router's link-local address is settled has the wrong source.
    await until(lambda: _learns(node, outside), "the node learns a default route")
    await daemon.start()
    assert node.sysctl(ACCEPT_RA) == "2"
    assert node.sysctl("net/ipv6/conf/all/forwarding") == "1"
    assert _learnt(node)
    async with daemon.client() as client:
        await client.attach(attach(web))
    assert web.ping("2001:db8::2")
    asks.advertise_router(outside, "eth0", lifetime_s=0)
    await until(lambda: not _learnt(node), "advertisements are still heard")
    daemon.terminate()
    assert daemon.purge(answer="y\n").returncode == 0
    assert node.sysctl(ACCEPT_RA) == "1"


@pytest.mark.parametrize("value", ["0", "2"])
async def test_a_purge_leaves_what_others_set(daemon: Daemon, node: Host, value: str) -> None:
    """A switch that somebody else has set by now, or that is of another interface of the same name, is theirs."""
    switch = "net/ipv6/conf/dyn0/accept_ra"
    node.ip("link add dyn0 type veth peer name dyn1")
    await until(lambda: node.sysctl(switch) == "2", "netplumb keeps its default route")
    if value == "2":
        node.ip("link delete dyn0")
        node.set_sysctl("net/ipv6/conf/default/accept_ra", value)
        node.ip("link add dyn0 type veth peer name dyn1")
    else:
        node.set_sysctl(switch, value)
    daemon.terminate()
    shown = daemon.purge(answer="y\n")
    assert shown.returncode == 0
    assert "dyn0" not in shown.stdout
    assert node.sysctl(switch) == value


def _learns(node: Host, router: Host) -> bool:
    asks.advertise_router(router, "eth0")
    return _learnt(node)


def _learnt(node: Host) -> bool:
    default = node.default_route(6)
    return default is not None and default["protocol"] == "ra"


async def test_a_mistyped_variable_is_told_in_the_log(
    start_daemon: StartDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It changes nothing, and the daemon starts."""
    monkeypatch.setenv("NETPLUMB_ISOLATE_WORKLOAD", "true")
    daemon = await start_daemon()
    (line,) = [it for line in daemon.logged().splitlines() if (it := json.loads(line)).get("level") == "warning"]
    assert line["variable"] == "NETPLUMB_ISOLATE_WORKLOAD"
    assert line["cause"] == "is unknown; did you mean NETPLUMB_ISOLATE_WORKLOADS?"
