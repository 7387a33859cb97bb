"""Rules of others that drop VXLAN between nodes are told, with what lets it pass; and only those."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.nodes import running
from tests.e2e.test_foreign_firewalls import LATE_S, condition, told
from tests.e2e.waiting import until
from tests.e2e.wishes import v4

COMMON = (
    "iif lo accept; ct state established,related accept; tcp dport 22 accept; meta l4proto { icmp, ipv6-icmp } accept;"
)
GUARD = "nft 'table inet guard {{ chain in {{ type filter hook input priority 0; policy drop; {} }}; }}'"
BLOCKING = {
    "a policy of nftables": ([GUARD.format(COMMON)], "chain inet guard in (policy drop) drops VXLAN from other nodes"),
    "a policy of iptables": (
        [
            "iptables -P INPUT DROP",
            "iptables -A INPUT -i lo -j ACCEPT",
            "iptables -A INPUT -p icmp -j ACCEPT",
            "iptables -A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT",
        ],
        "chain ip filter INPUT (policy drop) drops VXLAN from other nodes",
    ),
    "a rule on the way out": (
        ["nft 'table ip guard { chain out { type filter hook output priority 0; udp dport 4789 drop; }; }'"],
        "udp dport 4789 drop) drops VXLAN to other nodes",
    ),
}
LETTING_PASS = {
    "by the port": GUARD.format(f"{COMMON} udp dport 4789 accept;"),
    "by where nodes are": GUARD.format(f"{COMMON} ip saddr 192.0.2.0/28 accept;"),
    "by the interface": GUARD.format(f"{COMMON} iifname up0 accept;"),
}


@pytest.mark.parametrize("how", BLOCKING)
async def test_what_drops_vxlan_between_nodes_is_told_with_what_heals_it(directory: Path, how: str) -> None:
    """What heals is taken from the message, and heals."""
    lines, words = BLOCKING[how]
    async with running(2, "vxlan", directory) as lan:
        one, other = lan.machines
        web, _ = await one.attach("web")
        _, has = await other.attach("db")
        await until(lambda: web.ping(v4(has)), "they reach each other")
        for line in lines:
            one.host.run(line)
        assert not web.ping(v4(has))
        async with one.client() as client:
            message = await told(client, "ForwardBlocked", words, within_s=LATE_S)
            for heal in message.partition("let it pass: ")[2].split(" && "):
                one.host.run(heal)
            assert web.ping(v4(has))

            async def untold() -> bool:
                return await condition(client, "ForwardBlocked") is None

            await until(untold, "it is told no more", within_s=LATE_S)


@pytest.mark.parametrize("how", LETTING_PASS)
async def test_what_lets_vxlan_pass_is_not_told(directory: Path, how: str) -> None:
    async with running(2, "vxlan", directory) as lan:
        one, other = lan.machines
        web, _ = await one.attach("web")
        _, has = await other.attach("db")
        one.host.run(LETTING_PASS[how])
        one.host.run("nft 'table ip other { chain in { type filter hook input priority 9; udp dport 9 drop; }; }'")
        assert web.ping(v4(has))
        async with one.client() as client:
            one.host.run("nft 'table ip sign { chain passing { type filter hook forward priority 9; policy drop; }; }'")
            await told(client, "ForwardBlocked", "sign", within_s=LATE_S)
            found = await condition(client, "ForwardBlocked")
            assert found is not None
            assert "VXLAN" not in found.message


async def test_other_ways_between_nodes_want_no_port(directory: Path) -> None:
    async with running(2, "routes", directory) as lan:
        one, _ = lan.machines
        one.host.run(GUARD.format(COMMON))
        async with one.client() as client:
            one.host.run("nft 'table ip sign { chain passing { type filter hook forward priority 9; policy drop; }; }'")
            message = await told(client, "ForwardBlocked", "sign", within_s=LATE_S)
            assert "guard" not in message
