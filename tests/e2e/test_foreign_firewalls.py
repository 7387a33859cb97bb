"""What other tables drop of real traffic is told, by the daemon, with what helps; and is told no more when it is gone.

`iptables`, `iptables-legacy` and `nft`, the commands, play the firewalls. Only what they do is in the way: nothing of
theirs is changed.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from netplumb.api.client.asynchronous import AsyncClient
from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.reconciler.watch.firewalls import LOOK_AGAIN_S
from tests.e2e import wishes
from tests.e2e.conftest import NODE_V4, NODE_V6, OUTSIDE_V4, OUTSIDE_V6, UPLINK
from tests.e2e.echoes import ask, serving, unanswered
from tests.e2e.hosts import Host
from tests.e2e.waiting import until
from tests.sweeps import swept

PORT = 9200
LEGACY = "iptables-legacy"
LATE_S = 20.0  # legacy tables are looked at now and then, and after a long look comes a pause


async def condition(client: AsyncClient, type_: str) -> pb.Condition | None:
    """The condition, while it is true."""
    conditions = (await client.status()).conditions
    return next((it for it in conditions if it.type == type_ and it.status), None)


async def told(client: AsyncClient, type_: str, words: str, *, within_s: float = 5.0) -> str:
    """The message of a condition once it has these words."""

    async def there() -> bool:
        found = await condition(client, type_)
        return found is not None and words in found.message

    await until(there, f"{type_} tells of {words}", within_s=within_s)
    found = await condition(client, type_)
    assert found is not None
    return found.message


async def untold(client: AsyncClient, *, within_s: float = 5.0) -> None:
    async def gone() -> bool:
        return not [it for it in ("ForwardBlocked", "ForwardFiltered") if await condition(client, it)]

    await until(gone, "nothing is told any more", within_s=within_s)


FIREWALLD = (
    "table inet firewalld { chain filter_FORWARD { type filter hook forward priority 10;"
    " ct state established,related accept; reject with icmpx admin-prohibited; }; }"
)
BLOCKING = {
    "ip filter FORWARD ": "iptables -P FORWARD DROP",
    "ip6 filter FORWARD ": "ip6tables -N DOCKER-USER; ip6tables -A FORWARD -j DOCKER-USER;"
    " ip6tables -A FORWARD -j REJECT",
    "inet firewalld filter_FORWARD ": f"nft '{FIREWALLD}'",
    "ip filter FORWARD of iptables-legacy ": "iptables-legacy -P FORWARD DROP",
    "ip6 filter FORWARD of iptables-legacy ": "ip6tables-legacy -N U; ip6tables-legacy -A U -j REJECT;"
    " ip6tables-legacy -A FORWARD -i np+ -j U",
    "ip6 raw PREROUTING of iptables-legacy ": "ip6tables-legacy -t raw -A PREROUTING -i np+ -j DROP",
    "inet theirs c ": "nft 'table inet theirs { chain c { type filter hook forward priority 0;"
    " ip saddr 10.213.0.0/24 ct state new counter drop; }; }'",
    "ip6 theirs pre ": "nft 'table ip6 theirs { chain x { drop; };"
    " chain pre { type filter hook prerouting priority -300; iifname vmap { np* : jump x }; }; }'",
}


@pytest.mark.parametrize("chain", swept(BLOCKING, lambda chain: LEGACY if LEGACY in chain else chain))
async def test_a_foreign_firewall_is_reported_and_left_alone(
    client: AsyncClient, node: Host, outside: Host, web: Host, chain: str
) -> None:
    """The chain that drops what we forward is named with a remedy, which helps, and the condition goes with it."""
    await client.attach(wishes.attach(web))
    target = OUTSIDE_V6 if chain.startswith("ip6") else OUTSIDE_V4
    with serving(outside, PORT):
        await untold(client)
        assert ask(web, target, PORT, "tcp")
        assert ask(web, target, PORT, "udp")
        node.run(f'sh -c "{BLOCKING[chain]}"')
        before = node.run("nft -s list ruleset")
        message = await told(client, "ForwardBlocked", f"chain {chain}", within_s=LATE_S)
        assert unanswered(web, target, PORT, "tcp")
        assert unanswered(web, target, PORT, "udp")
        assert node.run("nft -s list ruleset") == before
        node.run(f"sh -c '{message.partition('let it pass: ')[2]}'")
        await untold(client, within_s=LATE_S)
        assert ask(web, target, PORT, "tcp")
        assert ask(web, target, PORT, "udp")
        happened = [it async for it in client.events() if it.kind.startswith("Forward")]
        assert f"chain {chain}" in happened[0].message
        assert (happened[0].kind, happened[-1].kind) == ("ForwardBlocked", "ForwardFree")


@pytest.mark.parametrize(
    ("chain", "rule"),
    [
        ("hook prerouting priority raw", "{protocol} dport 8080 drop"),
        ("hook forward priority 0", "{protocol} dport 9200 reject"),
        ("hook forward priority 0", "oifname np* ct state new {protocol} dport 9000-9300 drop"),
    ],
)
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
async def test_a_rule_against_a_mapped_port_is_named(
    client: AsyncClient, node: Host, outside: Host, web: Host, protocol: str, chain: str, rule: str
) -> None:
    """By the node's port where it is not translated yet, by the workload's behind; gone with the rule at once."""
    ports = [f"8080:{PORT}/{kind}" for kind in ("tcp", "udp")]
    await client.attach(wishes.attach(web, ports=ports))
    node.run(f"nft 'table inet theirs {{ chain c {{ type filter {chain}; }}; }}'")
    with serving(web, PORT):
        await untold(client)
        assert ask(outside, NODE_V4, 8080, protocol)
        node.run(f"nft add rule inet theirs c {rule.format(protocol=protocol)}")
        message = await told(client, "ForwardBlocked", "chain inet theirs c (rule handle")
        assert f"{protocol} dport" in message
        assert "what is sent to mapped ports" in message
        for address in (NODE_V4, NODE_V6):
            assert unanswered(outside, address, 8080, protocol)
            assert ask(outside, address, 8080, "udp" if protocol == "tcp" else "tcp")
        node.run("nft flush chain inet theirs c")
        await untold(client)
        assert ask(outside, NODE_V6, 8080, protocol)


UNTRANSLATED = {
    "notrack of all": ("type filter hook prerouting priority -300", "iifname np* notrack"),
    "notrack of answers": ("type filter hook prerouting priority -300", f"iifname {UPLINK} notrack"),
    "zone of answers": ("type filter hook prerouting priority -300", f"iifname {UPLINK} ct zone set 5"),
    "zone of what is sent": ("type filter hook prerouting priority -300", "iifname np* ct zone set 5"),
    "netdev": (f"type filter hook ingress device {UPLINK} priority 0", "meta l4proto { tcp, udp } drop"),
}


@pytest.mark.parametrize("what", UNTRANSLATED)
async def test_what_keeps_traffic_from_translation_is_told(
    client: AsyncClient, node: Host, outside: Host, web: Host, what: str
) -> None:
    """Nothing of it drops what workloads send, and yet nothing flows: both families, TCP and UDP."""
    await client.attach(wishes.attach(web))
    chain, rule = UNTRANSLATED[what]
    family = "netdev" if what == "netdev" else "inet"
    with serving(outside, PORT):
        await untold(client)
        node.run(f"nft 'table {family} theirs {{ chain c {{ {chain}; {rule}; }}; }}'")
        message = await told(client, "ForwardBlocked", f"chain {family} theirs c (rule handle")
        assert ("keeps from connection tracking" in message) == what.startswith("notrack")
        assert ("another zone of connection tracking" in message) == what.startswith("zone")
        for target in (OUTSIDE_V4, OUTSIDE_V6):
            for protocol in ("tcp", "udp"):
                assert unanswered(web, target, PORT, protocol)
        node.run(message.partition("let it pass: ")[2])
        await untold(client)
        for target in (OUTSIDE_V4, OUTSIDE_V6):
            for protocol in ("tcp", "udp"):
                assert ask(web, target, PORT, protocol)


async def test_a_zone_that_answers_are_in_too_is_nothing_to_tell(
    client: AsyncClient, node: Host, outside: Host, web: Host
) -> None:
    """All in one zone is translated, and so is what has one for its own direction alone; of zones that several rules
    set nobody knows whether they are one."""
    await client.attach(wishes.attach(web, ports=(f"8080:{PORT}/tcp", f"8080:{PORT}/udp")))
    node.run("nft 'table inet theirs { chain c { type filter hook prerouting priority -300; ct zone set 5; }; }'")
    node.run(f"nft add rule inet theirs c iifname {UPLINK} ct original zone set 6")
    node.run("nft 'table inet other { chain c { type filter hook prerouting priority -299; }; }'")
    with serving(web, PORT), serving(outside, PORT):
        await untold(client)
        for protocol in ("tcp", "udp"):
            assert ask(outside, NODE_V4, 8080, protocol)
            assert ask(web, OUTSIDE_V6, PORT, protocol)
        node.run("nft delete table inet theirs")
        for link in (UPLINK, "np*"):
            node.run(f"nft add rule inet other c iifname {link} ct zone set 7")
        await told(client, "ForwardFiltered", "may put into another zone of connection tracking")
        assert ask(web, OUTSIDE_V4, PORT)


async def test_a_zone_by_iptables_is_told(client: AsyncClient, node: Host, outside: Host, web: Host) -> None:
    """As one of nftables is, and not where it is for one direction alone."""
    await client.attach(wishes.attach(web))
    with serving(outside, PORT):
        await untold(client)
        node.run(f"iptables -t raw -A PREROUTING -i {UPLINK} -j CT --zone-orig 7")
        assert ask(web, OUTSIDE_V4, PORT)
        await untold(client)
        node.run("iptables -t raw -F PREROUTING")  # of several such targets the first counts
        node.run(f"iptables -t raw -A PREROUTING -i {UPLINK} -j CT --zone 7")
        message = await told(client, "ForwardBlocked", "another zone of connection tracking")
        assert unanswered(web, OUTSIDE_V4, PORT)
        node.run(message.partition("let it pass: ")[2])
        await untold(client)
        assert ask(web, OUTSIDE_V4, PORT)


async def test_a_port_that_another_leads_elsewhere_is_told(
    client: AsyncClient, node: Host, outside: Host, web: Host
) -> None:
    """The first chain that translates a packet is the only one; behind ours it is too late, and nothing is told."""
    await client.attach(wishes.attach(web, ports=(f"8080:{PORT}/tcp", f"8080:{PORT}/udp")))
    late = "type nat hook prerouting priority -90"
    node.run(f"nft 'table inet theirs {{ chain c {{ {late}; tcp dport 8080 redirect to :1; }}; }}'")
    with serving(web, PORT):
        await untold(client)
        assert ask(outside, NODE_V4, 8080)
        node.run("nft delete table inet theirs")
        early = "type nat hook prerouting priority -150"
        node.run(f"nft 'table inet theirs {{ chain c {{ {early}; tcp dport 8080 redirect to :1; }}; }}'")
        message = await told(client, "ForwardBlocked", "leads elsewhere, before netplumb can, what is sent to mapped")
        for address in (NODE_V4, NODE_V6):
            assert unanswered(outside, address, 8080)
            assert ask(outside, address, 8080, "udp")
        node.run(message.partition("let it pass: ")[2])
        await untold(client)
        assert ask(outside, NODE_V6, 8080)


async def test_what_may_drop_is_told_apart(client: AsyncClient, node: Host, web: Host) -> None:
    """A condition that cannot be judged, or that is about whom ours talk to, blocks nothing for certain."""
    await client.attach(wishes.attach(web))
    node.run(
        "nft 'table inet theirs { chain c { type filter hook forward priority 0; ct state invalid drop;"
        " ip daddr 192.168.0.0/16 drop; iifname docker0 drop; iifname np* ip daddr 169.254.169.254 drop; }; }'"
    )
    message = await told(client, "ForwardFiltered", "may drop what workloads send out")
    assert "iifname np* ip daddr 169.254.169.254 drop" in message
    assert message.count("chain inet theirs c") == 1
    assert await condition(client, "ForwardBlocked") is None
    assert web.ping(OUTSIDE_V4)
    node.run("nft flush chain inet theirs c")
    await untold(client)


async def test_a_mapping_that_comes_later_is_weighed(client: AsyncClient, node: Host, web: Host) -> None:
    """A rule against a port that nobody maps is nobody's business until somebody does."""
    rule = "tcp dport 8080 drop"
    node.run(
        f"nft 'table inet theirs {{ chain c {{ type filter hook prerouting priority -300; iifname up0 {rule}; }}; }}'"
    )
    await client.attach(wishes.attach(web))
    await untold(client)
    await client.attach(wishes.attach(web, ports=(f"8080:{PORT}",)))
    await told(client, "ForwardBlocked", rule, within_s=LATE_S)


LARGE = "add table inet large\nadd chain inet large c { type filter hook forward priority 0; }\n"


async def test_a_large_ruleset_is_said_to_be_unread(
    client: AsyncClient, node: Host, web: Host, directory: Path
) -> None:
    """Beside tens of thousands of rules clients are answered as ever, and the condition says that they were not
    weighed; what is in another table is told all the same."""
    script = directory / "large.nft"
    for number in range(10):
        rules = "".join(f"add rule inet large c ip saddr 10.{number}.{n >> 8}.{n & 255} drop\n" for n in range(2000))
        script.write_text(
            f"add table inet large\nadd chain inet large c {{ type filter hook forward priority 0; }}\n{rules}"
        )
        node.run(f"nft -f {script}")
    node.run("nft 'table inet theirs { chain c { type filter hook forward priority 0; policy drop; }; }'")
    await client.attach(wishes.attach(web))
    message = await told(client, "ForwardBlocked", "chain inet theirs c (policy drop)", within_s=LATE_S)
    assert "not looked at: table inet large" in message
    node.run("nft delete table inet theirs")

    async def said() -> bool:
        conditions = (await client.status()).conditions
        return any(it.reason == "NotAllLookedAt" and "table inet large" in it.message for it in conditions)

    await until(said, "only what was not looked at is told", within_s=LATE_S)


async def test_a_legacy_translation_of_a_mapped_port_is_told(
    client: AsyncClient, node: Host, outside: Host, web: Host
) -> None:
    """It stands before ours, since its chain is the older one; and only where a port of ours is meant."""
    node.run("iptables-legacy -t nat -A PREROUTING -p tcp --dport 8080 -j DNAT --to-destination 192.0.2.77")
    await client.attach(wishes.attach(web, ports=["8081:80/tcp"]))
    await asyncio.sleep(2 * LOOK_AGAIN_S)
    await untold(client)
    await client.attach(wishes.attach(web, ports=[f"8080:{PORT}/tcp"]))
    message = await told(client, "ForwardFiltered", "chain ip nat PREROUTING of iptables-legacy", within_s=LATE_S)
    node.run(f"sh -c '{message.partition('should pass: ')[2]}'")
    await untold(client, within_s=LATE_S)
    with serving(web, PORT):
        assert ask(outside, NODE_V4, 8080)


BLOCKS = {
    "all that workloads send out": ("10.213.0.0/24", "0.0.0.0/0", "fwd", "ForwardBlocked"),
    "all that is forwarded, IPv6": ("::/0", "::/0", "out", "ForwardBlocked"),
    "what is sent to somewhere": ("10.213.0.0/24", f"{OUTSIDE_V4}/32", "fwd", "ForwardFiltered"),
}


async def test_a_default_of_ipsec_that_blocks_is_told(
    client: AsyncClient, node: Host, outside: Host, web: Host
) -> None:
    """What no policy is about; where there are policies, it may be that one of them lets ours pass."""
    await client.attach(wishes.attach(web))
    with serving(outside, PORT):
        assert ask(web, OUTSIDE_V4, PORT)
        node.run("ip xfrm policy setdefault fwd block")
        message = await told(client, "ForwardBlocked", "`setdefault fwd block` blocks", within_s=LATE_S)
        assert message.count("setdefault fwd block") == 1
        for target in (OUTSIDE_V4, OUTSIDE_V6):
            assert unanswered(web, target, PORT)
        node.run("ip xfrm policy add src 198.51.100.0/24 dst 203.0.113.0/24 dir fwd")
        await told(client, "ForwardFiltered", "`setdefault fwd block` blocks", within_s=LATE_S)
        node.run(message.partition("should pass: ")[2])
        await untold(client, within_s=LATE_S)
        for target in (OUTSIDE_V4, OUTSIDE_V6):
            assert ask(web, target, PORT)


@pytest.mark.parametrize("what", swept(BLOCKS, lambda what: BLOCKS[what][3]))
async def test_an_ipsec_policy_that_blocks_is_told(
    client: AsyncClient, node: Host, outside: Host, web: Host, what: str
) -> None:
    """No rule of a firewall lets pass what it stops; with what takes it away, and gone with it."""
    await client.attach(wishes.attach(web))
    src, dst, direction, type_ = BLOCKS[what]
    target = OUTSIDE_V6 if ":" in src else OUTSIDE_V4
    with serving(outside, PORT):
        for protocol in ("tcp", "udp"):
            assert ask(web, target, PORT, protocol)
        node.run(f"ip xfrm policy add src {src} dst {dst} dir {direction} action block")
        message = await told(client, type_, f"`src {src} dst {dst} dir {direction}` blocks", within_s=LATE_S)
        for protocol in ("tcp", "udp"):
            assert unanswered(web, target, PORT, protocol)
        assert (await client.check("web")).in_sync is (type_ == "ForwardFiltered")
        node.run(message.partition("should pass: ")[2])
        await untold(client, within_s=LATE_S)
        for protocol in ("tcp", "udp"):
            assert ask(web, target, PORT, protocol)
