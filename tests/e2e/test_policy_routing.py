"""Rules of the node that choose routing tables, as multi-uplink guides and VPNs have them: traffic to workloads stays
on our routes, whoever put his rule where."""

from __future__ import annotations

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import node_if_name
from netplumb.reconciler.decide.render.policy import RULE_PREFERENCE
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, UPLINK, StartDaemon
from tests.e2e.daemons import Daemon
from tests.e2e.echoes import ask, serving, unanswered
from tests.e2e.hosts import Host
from tests.e2e.test_guards import spoofed
from tests.e2e.waiting import until
from tests.e2e.wishes import attach, condition, detach, texts

PORT, HOST_PORT = 9400, 8400
FAR_V6 = "2001:db8:77::7"
TABLE = 4242
TO_POOLS = {"10.213.0.0", "fd13::"}

FOREIGN_RULES = {
    "from the node's address": ("from {node_v4} lookup 4242", "from {node_v6} lookup 4242"),
    "from the pool": ("from 10.213.0.0/24 lookup 4242", "from fd13::/64 lookup 4242"),
    "from anybody": ("from all lookup 4242 preference 100", "from all lookup 4242 preference 100"),
    "a VPN": ("not fwmark 51820 lookup 4242", "not fwmark 51820 lookup 4242"),
    "at the very front": ("from all lookup 4242 preference 1", "from all lookup 4242 preference 1"),
    "for what has no mark": ("fwmark 0/1 lookup 4242 preference 5", "fwmark 0/1 lookup 4242 preference 5"),
    "by an interface": ("iif {uplink} lookup 4242 preference 50", "iif {uplink} lookup 4242 preference 50"),
    "unreachable": ("from {node_v4} unreachable preference 9", "from {node_v6} unreachable preference 9"),
}


@pytest.fixture
def second_table(node: Host) -> None:
    """A table with a default route, as of a second uplink. Nobody at its end knows any workload."""
    node.ip(f"-4 route add default via {OUTSIDE_V4} table {TABLE}")
    node.ip(f"-6 route add default via {OUTSIDE_V6} table {TABLE}")


def add_rules(node: Host, rules: tuple[str, str]) -> None:
    for family, rule in zip((4, 6), rules, strict=True):
        node.ip(f"-{family} rule add {rule.format(node_v4=NODE_V4, node_v6=NODE_V6, uplink=UPLINK)}")


def ours(node: Host) -> list[tuple[str, int]]:
    """Destinations and preferences of our rules."""
    listed = node.ip("-4 rule") + node.ip("-6 rule")
    return [(rule["dst"], rule["priority"]) for rule in listed if rule["protocol"] == "78"]


def order(node: Host, family: int) -> list[bool]:
    """Which of the rules are ours, in the order in which the kernel asks them, less its own."""
    return [rule["protocol"] == "78" for rule in node.ip(f"-{family} rule") if rule["protocol"] != "kernel"]


async def assert_all_ways_open(
    node: Host, outside: Host, web: Host, db: Host, addresses: tuple[str, ...], *, outward: bool = True
) -> None:
    """The node, by each of its addresses, workloads and the outside reach the workload, and it reaches them."""
    with serving(web, PORT), serving(db, PORT), serving(outside, PORT), serving(node, PORT):
        for protocol in ("tcp", "udp"):
            nodes, outsides = ((NODE_V4, "10.213.0.1"), (NODE_V6, "fd13::1")), (OUTSIDE_V4, OUTSIDE_V6)
            for address, (own, own_in_pool), out in zip(addresses, nodes, outsides, strict=True):
                for source, target, bind in (
                    (node, address, ""),
                    (node, address, own),
                    (db, address, ""),
                    (web, own_in_pool, ""),
                    *([(web, out, "")] if outward else []),
                ):
                    assert ask(source, target, PORT, protocol, bind=bind), f"{source.name} → {target} {protocol} {bind}"
                if protocol == "tcp" and outward:
                    assert ask(outside, own, HOST_PORT), f"outside → {own}"


@pytest.mark.parametrize("rules", FOREIGN_RULES.values(), ids=FOREIGN_RULES)
@pytest.mark.parametrize(("first", "rp_filter"), [("the rule", "2"), ("netplumb", "0"), ("netplumb", "1")])
@pytest.mark.usefixtures("second_table")
async def test_traffic_to_workloads_stays_on_our_routes(
    node: Host,
    outside: Host,
    web: Host,
    db: Host,
    start_daemon: StartDaemon,
    rules: tuple[str, str],
    first: str,
    rp_filter: str,
) -> None:
    """Whether the foreign rule was there before or comes later, with a preference or without one. What a workload sends
    from its own address is not taken for spoofed, also where the node checks the reverse path."""
    for which in ("all", "default"):
        node.set_sysctl(f"net/ipv4/conf/{which}/rp_filter", rp_filter)
    if first == "the rule":
        add_rules(node, rules)
    daemon = await start_daemon()
    async with daemon.client() as client:
        addresses = texts(await client.attach(attach(web, ports=(f"{HOST_PORT}:{PORT}/tcp",))))
        await client.attach(attach(db))
        if first == "netplumb":
            add_rules(node, rules)
        await until(lambda: all(order(node, family)[0] for family in (4, 6)), "ours is before the foreign one")
        # What the foreign rule says of other traffic holds.
        outward = "unreachable" not in rules[0]
        await assert_all_ways_open(node, outside, web, db, addresses, outward=outward)
        assert spoofed(node) == 0
        assert (await client.check("web")).in_sync
        assert not (await client.plan()).changes


@pytest.fixture
async def attached(client: AsyncClient, web: Host) -> tuple[str, ...]:
    return texts(await client.attach(attach(web, ports=(f"{HOST_PORT}:{PORT}/tcp",))))


async def test_one_place_unless_it_must_be_another(node: Host, daemon: Daemon) -> None:
    """Ours stand where they do not come before what leaves workloads alone, and go back when what they had to precede
    is gone."""
    at_home = [("10.213.0.0", RULE_PREFERENCE), ("fd13::", RULE_PREFERENCE)]
    assert ours(node) == at_home
    for which, to in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
        node.ip(f"{which} route add local {to} dev lo table 4243")
    for harmless in ("fwmark 7 lookup 4243", "oif up0 lookup 4242", "to 192.0.2.0/24 lookup 4242", "lookup main"):
        for family in (4, 6) if "192" not in harmless else (4,):
            node.ip(f"-{family} rule add {harmless} preference 50")
    node.ip("-4 rule add from 203.0.113.7 lookup 4242 preference 500")
    await until(lambda: ours(node) == [("10.213.0.0", 499), at_home[1]], "it goes before that one, and not further")
    node.ip("-4 rule delete preference 500")
    await until(lambda: ours(node) == at_home, "it is back in its place")
    assert daemon.running


# What else the main table may say of the pool, or of all.
AROUND_POOLS = {
    "a default route": (),
    "a network around the pool": (
        f"-4 route add 10.0.0.0/8 via {OUTSIDE_V4}",
        f"-6 route add fd00::/8 via {OUTSIDE_V6}",
    ),
}


def move_the_local_rule(node: Host) -> None:
    """Behind those of VRFs, as guides to them have it."""
    for family in (4, 6):
        node.ip(f"-{family} rule add preference 32765 lookup local")
        node.ip(f"-{family} rule delete preference 0")


@pytest.mark.parametrize("around", AROUND_POOLS.values(), ids=AROUND_POOLS)
@pytest.mark.parametrize("first", ["the move", "netplumb"])
async def test_the_rule_of_the_local_table_may_stand_behind_ours(
    node: Host, outside: Host, web: Host, db: Host, start_daemon: StartDaemon, first: str, around: tuple[str, ...]
) -> None:
    """The node's own addresses in the pools are the node's, whatever the main table says of more than one address."""
    for route in around:
        node.ip(route)
    if first == "the move":
        move_the_local_rule(node)
    daemon = await start_daemon()
    async with daemon.client() as client:
        addresses = texts(await client.attach(attach(web, ports=(f"{HOST_PORT}:{PORT}/tcp",))))
        await client.attach(attach(db))
        if first == "netplumb":
            move_the_local_rule(node)
        await assert_all_ways_open(node, outside, web, db, addresses)


async def test_a_rule_that_any_route_answered_is_replaced(daemon: Daemon, client: AsyncClient, node: Host) -> None:
    """As daemons of before have left it."""
    wanted = [node.ip(f"-{family} rule") for family in (4, 6)]
    daemon.terminate()
    for family, pool in ((4, "10.213.0.0/24"), (6, "fd13::/64")):
        node.ip(f"-{family} rule delete preference {RULE_PREFERENCE}")
        node.ip(f"-{family} rule add to {pool} lookup main preference {RULE_PREFERENCE} protocol 78")
    await daemon.start()
    await until(lambda: [node.ip(f"-{family} rule") for family in (4, 6)] == wanted, "each is as it was, and alone")
    assert (await client.status()).ready


async def test_a_program_that_adds_rules_again_and_again(node: Host, client: AsyncClient) -> None:
    """Each that comes without a preference is put before ours by the kernel, and ours before it, in the order in which
    they would be without us."""
    for table in (100, 101, 102):
        node.ip(f"-4 rule add from {NODE_V4} lookup {table}")
        await until(lambda: order(node, 4)[0], "ours is before it")
    foreign = [rule["table"] for rule in node.ip("-4 rule") if rule["protocol"] == "unspec"]
    assert foreign == ["102", "101", "100"]
    assert (await client.status()).ready


async def test_addresses_outside_of_pools_have_rules_too(
    client: AsyncClient, daemon: Daemon, node: Host, outside: Host, web: Host, second_table: None
) -> None:
    """A static address that no pool holds, and one whose pool was taken away, for as long as they are held."""
    add_rules(node, FOREIGN_RULES["from the node's address"])
    static = ("198.51.100.7", "2001:db8:77::7")
    await client.attach(attach(web, addresses=static))
    with serving(web, PORT):
        for address, own in zip(static, (NODE_V4, NODE_V6), strict=True):
            for protocol in ("tcp", "udp"):
                assert ask(node, address, PORT, protocol, bind=own)
    assert {"198.51.100.7", "2001:db8:77::7"} <= {dst for dst, _ in ours(node)}
    await client.detach(detach("web"))
    await until(lambda: {dst for dst, _ in ours(node)} == TO_POOLS, "their rules go with them")
    kept = texts(await client.attach(attach(web)))
    daemon.configure(pools=("10.214.0.0/24", "fd14::/64"))
    daemon.reload()
    await until(lambda: {dst for dst, _ in ours(node)} == {"10.214.0.0", "fd14::", *kept}, "rules for what is left")
    with serving(web, PORT):
        for address, own in zip(kept, (NODE_V4, NODE_V6), strict=True):
            assert ask(node, address, PORT, "udp", bind=own)
    assert outside.exists


async def test_marks_of_several_uplinks(
    node: Host, outside: Host, web: Host, start_daemon: StartDaemon, second_table: None
) -> None:
    """Connections are marked by the uplink that they came in by, and packets by that mark, which chooses a table with
    a way out alone: what came in and answers to workloads go on to them all the same."""
    node.run(
        "nft 'table inet mw { chain pre { type filter hook prerouting priority mangle; "
        f'iifname "{UPLINK}" ct mark set 1; meta mark set ct mark; }}; }}\''
    )
    add_rules(node, ("fwmark 1 lookup 4242 preference 5", "fwmark 1 lookup 4242 preference 5"))
    daemon = await start_daemon()
    async with daemon.client() as client:
        await client.attach(attach(web, ports=(f"{HOST_PORT}:{PORT}/tcp", f"{HOST_PORT}:{PORT}/udp")))
        with serving(web, PORT), serving(outside, PORT):
            for protocol in ("tcp", "udp"):
                for address in (NODE_V4, NODE_V6):
                    assert ask(outside, address, HOST_PORT, protocol), f"{address} {protocol}"
                for address in (OUTSIDE_V4, OUTSIDE_V6):
                    assert ask(web, address, PORT, protocol), f"{address} {protocol}"
        assert (await client.check("web")).in_sync


async def test_a_transparent_proxys_rule_stays_before_ours(
    node: Host, web: Host, client: AsyncClient, attached: tuple[str, ...]
) -> None:
    """What it marks is meant for the node itself, also what is sent to workloads."""
    for which, to in (("-4", "0.0.0.0/0"), ("-6", "::/0")):
        node.ip(f"{which} route add local {to} dev lo table 4243")
        node.ip(f"{which} rule add fwmark 7 lookup 4243 preference 50")
    node.ip("-4 rule add from 203.0.113.7 lookup 4242 preference 60")  # which moves ours
    await until(lambda: ("10.213.0.0", 59) in ours(node), "ours goes before that one")
    assert ("fd13::", RULE_PREFERENCE) in ours(node)
    assert (await client.check("web")).in_sync


async def test_a_rule_that_cannot_be_preceded_is_told(client: AsyncClient, node: Host) -> None:
    """One with the preference 0 is named by a condition of the node, which goes with it."""
    node.ip("-4 rule add from 192.0.2.0/24 lookup 4242 preference 0")

    async def told() -> str:
        return next((it.message for it in (await client.status()).conditions if it.type == "PolicyRouted"), "")

    await until(told, "it is told")
    assert "0: from 192.0.2.0/24 lookup 4242" in await told()
    node.ip("-4 rule delete from 192.0.2.0/24 lookup 4242")

    async def over() -> bool:
        return not await told()

    await until(over, "it is over")


ENDING_RULES = {
    "of one address": ("from {} prohibit preference 500", ("tcp", "udp")),
    "of the pool": ("from {pool} unreachable preference 500", ("tcp", "udp")),
    "of all": ("from all blackhole preference 2000", ("tcp", "udp")),
    "of what has no mark": ("fwmark 0/2 prohibit preference 2000", ("tcp", "udp")),
    "of a protocol": ("from {pool} ipproto udp blackhole preference 2000", ("udp",)),
    "of an interface of ours": ("iif {link} prohibit preference 900", ("tcp", "udp")),
}


@pytest.mark.parametrize(("rule", "ended"), ENDING_RULES.values(), ids=ENDING_RULES)
async def test_a_rule_that_ends_what_workloads_send_is_told(
    client: AsyncClient,
    node: Host,
    outside: Host,
    web: Host,
    attached: tuple[str, ...],
    rule: str,
    ended: tuple[str, ...],
) -> None:
    """With the attachment, by the whole rule and what takes it away, and not before traffic ends, nor after."""
    for address, out, pool, flag in zip(
        attached, (OUTSIDE_V4, OUTSIDE_V6), ("10.213.0.0/24", "fd13::/64"), ("-4", "-6"), strict=True
    ):
        words = rule.format(address, pool=pool, link=node_if_name(AttachmentKey("web", "eth0")))
        with serving(outside, PORT):
            for protocol in ("tcp", "udp"):
                assert ask(web, out, PORT, protocol)
            node.ip(f"{flag} rule add {words}")
            assert [it for it in ("tcp", "udp") if unanswered(web, out, PORT, it)] == list(ended)
            await until(lambda: nowhere(client), "it is told")
            selected = words.partition(" preference")[0].replace(
                f"from {address} ", f"from {address}/{'32' if flag == '-4' else '128'} "
            )
            for word in selected.replace("fwmark 0/2", "fwmark 0x0/0x2").split():
                assert word in await nowhere(client)
            assert [it.reason for it in (await client.check("web")).unmet] == ["RoutedNowhere"]
            node.run((await nowhere(client)).partition("should flow: ")[2])
            for protocol in ("tcp", "udp"):
                assert ask(web, out, PORT, protocol)

        async def over() -> bool:
            return not await nowhere(client)

        await until(over, "it is over")
        assert (await client.check("web")).in_sync


ENDED_WAYS = {
    "in the table of a rule for the pool": (
        "rule add from {pool} lookup 4242 preference 900",
        "route add unreachable default table 4242",
    ),
    "in the table of a rule for one address": (
        "rule add from {address} lookup 4242 preference 900",
        "route add blackhole default table 4242",
    ),
    "in the main table, before its way out": ("route add prohibit {half}",),
}


@pytest.mark.parametrize("lines", ENDED_WAYS.values(), ids=ENDED_WAYS)
async def test_a_route_that_ends_what_workloads_send_is_told(
    client: AsyncClient,
    node: Host,
    outside: Host,
    web: Host,
    db: Host,
    attached: tuple[str, ...],
    lines: tuple[str, ...],
) -> None:
    """As a VPN's kill switch leaves it behind: with the attachments that it ends, and with what takes it away."""
    await client.attach(attach(db))
    for flag, address, pool, half, beyond in (
        ("-4", attached[0], "10.213.0.0/24", "128.0.0.0/1", "203.0.113.7"),
        ("-6", attached[1], "fd13::/64", "2000::/3", "2001:db8:7::7"),
    ):
        outside.ip(f"{flag} address add {beyond} dev lo")
        with serving(outside, PORT):
            assert ask(web, beyond, PORT)
            for line in lines:
                node.ip(f"{flag} {line.format(address=address, pool=pool, half=half)}")
            assert unanswered(web, beyond, PORT)
            await until(lambda: nowhere(client), "it is told")
            assert [it.reason for it in (await client.check("web")).unmet] == ["RoutedNowhere"]
            assert (await client.check("db")).in_sync is ("{address}" in lines[0])
            node.run((await nowhere(client)).partition("should flow: ")[2])
            assert ask(web, beyond, PORT)

        async def over() -> bool:
            return not await nowhere(client)

        await until(over, "it is over")
    assert (await client.check("web")).in_sync


async def nowhere(client: AsyncClient) -> str:
    found = condition(await client.get("web"), "RoutedNowhere")
    return found.message if found is not None else ""


async def test_a_rule_against_a_served_port_is_told(
    client: AsyncClient, node: Host, outside: Host, web: Host, db: Host, attached: tuple[str, ...]
) -> None:
    """Who serves that port is told, and nobody else; nor are rules behind those that lead out, or for some destinations
    or marks, which somebody wished for."""
    await client.attach(attach(db))
    for wished in (
        "to 203.0.113.0/24 prohibit preference 600",
        "fwmark 9 prohibit preference 600",
        "dport 25 ipproto tcp prohibit preference 600",
        "iif up7 prohibit preference 600",
        "from all prohibit preference 32800",
        "from 10.213.0.200 prohibit preference 600",
        "sport 81 prohibit preference 600",
    ):
        node.ip(f"-4 rule add {wished}")
    node.ip(f"-4 rule add sport {PORT} prohibit preference 900")
    with serving(web, PORT):
        assert unanswered(outside, NODE_V4, HOST_PORT)
        await until(lambda: nowhere(client), "it is told")
        assert f"`900: from all sport {PORT} prohibit` of the node" in await nowhere(client)
        assert "," not in await nowhere(client)
        assert (await client.check("db")).in_sync
        node.ip("-4 rule del preference 900")
        assert ask(outside, NODE_V4, HOST_PORT)

    async def over() -> bool:
        return not await nowhere(client)

    await until(over, "it is over")


async def test_rules_survive_the_daemon_and_go_with_the_purge(
    daemon: Daemon, client: AsyncClient, node: Host, attached: tuple[str, ...]
) -> None:
    """Those of others stay, whatever becomes of ours."""
    node.ip("-4 rule add to 10.213.0.0/24 lookup main preference 1100")
    node.ip("-6 rule add to fd13::/64 lookup main preference 1100")
    before = ours(node)
    daemon.terminate()
    assert ours(node) == before
    await daemon.start()
    assert ours(node) == before
    daemon.terminate()
    assert daemon.purge(answer="y\n").returncode == 0
    assert ours(node) == []
    for family in (4, 6):
        assert [rule["priority"] for rule in node.ip(f"-{family} rule") if rule["protocol"] != "kernel"] == [1100]


async def test_ports_at_a_second_uplink_are_told(client: AsyncClient, node: Host) -> None:
    """A rule for what the node answers from one of its addresses does not hold for what workloads answer."""

    async def told() -> dict[str, str]:
        return {it.type: it.message for it in (await client.status()).conditions if it.type.startswith("PortsBy")}

    assert await told() == {}
    node.ip(f"-4 rule add from {NODE_V4} lookup 4242 preference 90")
    await until(told, "it is told")
    assert f"90: from {NODE_V4}/32 lookup 4242" in (await told())["PortsByMainTable"]


async def test_ports_of_pools_with_a_table_of_their_own_are_told(client: AsyncClient, node: Host) -> None:
    """What workloads answer goes where all goes that they send; the node's address in the pool is no uplink's."""
    node.ip("-4 rule add from 10.213.0.0/24 lookup 4242 preference 90")
    node.ip("-6 rule add from fd13::/64 lookup 4242 preference 90")

    async def told() -> dict[str, str]:
        return {it.type: it.message for it in (await client.status()).conditions if it.type.startswith("PortsBy")}

    await until(told, "it is told")
    assert {*await told()} == {"PortsByPoolsTable"}
    assert "90: from fd13::/64 lookup 4242" in (await told())["PortsByPoolsTable"]


async def test_ports_of_a_node_behind_a_vpn_are_told(client: AsyncClient, node: Host) -> None:
    """All but its own packets goes by it, as with `wg-quick`, and so do the answers of ports that were asked at the
    uplink; not where its table has no way out yet."""

    async def told() -> dict[str, str]:
        return {it.type: it.message for it in (await client.status()).conditions if it.type.startswith("PortsBy")}

    node.ip("link add vpn0 type veth peer name vpn1")
    for link in ("vpn0", "vpn1"):
        node.ip(f"link set {link} up")
    for family in (4, 6):
        node.ip(f"-{family} rule add not fwmark 51820 lookup 51820")
        node.ip(f"-{family} rule add lookup main suppress_prefixlength 0")
    await until(lambda: len(ours(node)) == 2, "ours go before it")
    assert await told() == {}
    for family in (4, 6):
        node.ip(f"-{family} route add default dev vpn0 table 51820")

    async def all_told() -> bool:
        said = await told()
        return {*said} == {"PortsByPoolsTable"} and said["PortsByPoolsTable"].count("lookup 51820") == 2

    await until(all_told, "it is told")
    for family in (4, 6):
        node.ip(f"-{family} rule delete not fwmark 51820 lookup 51820")

    async def untold() -> bool:
        return await told() == {}

    await until(untold, "it is told no more")


@pytest.mark.parametrize(("family", "out"), [(4, OUTSIDE_V4), (6, OUTSIDE_V6)])
async def test_a_node_whose_main_table_no_rule_leads_to(
    client: AsyncClient, node: Host, outside: Host, web: Host, family: int, out: str
) -> None:
    """Nothing leaves it, which is told with what helps, until the rule is there again."""
    await client.attach(attach(web))

    async def told() -> str:
        return " ".join(it.message for it in (await client.status()).conditions if it.type == "MainTableUnused")

    with serving(outside, PORT):
        assert ask(web, out, PORT) is not None
        assert not await told()
        node.ip(f"-{family} rule del preference 32766")
        assert unanswered(web, out, PORT)
        await until(told, "it is told")
        assert f"ip -{family} rule add preference 32766 lookup main" in await told()
        assert not (await client.check("web")).in_sync
        node.ip(f"-{family} rule add preference 32766 lookup main")

        async def over() -> bool:
            return not await told()

        await until(over, "it is over")
        assert ask(web, out, PORT) is not None
        assert (await client.check("web")).in_sync


async def test_a_way_out_by_another_table_needs_no_rule_for_the_main_one(
    client: AsyncClient, node: Host, outside: Host, web: Host, second_table: None
) -> None:
    """What is led out otherwise is not said to be lost."""
    await client.attach(attach(web))
    node.ip(f"-4 rule add preference 32765 lookup {TABLE}")
    node.ip("-4 rule del preference 32766")
    node.ip("-6 rule del preference 32766")

    async def told() -> list[str]:
        return [it.message for it in (await client.status()).conditions if it.type == "MainTableUnused"]

    await until(told, "IPv6 is told")
    assert "leads IPv6 to" in (await told())[0]
    with serving(outside, PORT):
        assert ask(web, OUTSIDE_V4, PORT) is not None


async def test_a_default_route_for_other_senders_alone_is_told(
    client: AsyncClient, node: Host, outside: Host, web: Host
) -> None:
    """As of a node that was given a prefix by each of its providers: it has a way out, and its workloads have none."""
    await client.attach(attach(web))

    async def told() -> str:
        return " ".join(it.message for it in (await client.status()).conditions if it.type == "DefaultRouteOfOthers")

    narrow = f"-6 route add default from {NODE_V6}/128 via {OUTSIDE_V6} dev {UPLINK}"
    outside.ip(f"address add {FAR_V6}/128 dev lo")
    with serving(outside, PORT):
        assert ask(web, FAR_V6, PORT) is not None
        node.ip(narrow)
        node.ip(f"-6 route delete default via {OUTSIDE_V6} metric 1024")
        assert ask(node, FAR_V6, PORT) is not None
        assert unanswered(web, FAR_V6, PORT)
        await until(told, "it is told")
        assert f"default from {NODE_V6}/128 via {OUTSIDE_V6} dev {UPLINK}" in await told()
        assert not (await client.check("web")).in_sync
        node.ip(f"-6 route add default via {OUTSIDE_V6} dev {UPLINK} metric 2048")
        assert ask(web, FAR_V6, PORT) is not None

        async def over() -> bool:
            return not await told()

        await until(over, "it is told no more")
