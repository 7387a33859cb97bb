"""What the daemon is in the middle of when a fault meets it. Together they reach every kind of step that a plan has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.attachment import AttachmentKey
from netplumb.models.kernel import RT_PROTOCOL
from netplumb.models.naming import ifb_name, node_if_name
from tests.e2e.daemons import POOLS
from tests.e2e.faultydaemons import WITHIN_S
from tests.e2e.sites import Site
from tests.e2e.statefiles import declare, document
from tests.e2e.waiting import until
from tests.e2e.wishes import detach

KEY = AttachmentKey("web", "eth0")
NAME, IFB = node_if_name(KEY), ifb_name(KEY)
MADE = "made"
OTHER_MAC = "02:00:00:00:00:77"
CALLS_REACH_A_HELD_DAEMON_S = 0.05

Act = Callable[[Site], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Scenario:
    """`act` is done with a fault armed, after `prepare`; `undo` takes the site back to where it was. An act that is
    `answered` is a call: once it returns, all that was asked for is in the kernel."""

    name: str
    prepare: Act
    act: Act
    undo: Act
    answered: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def kind(self) -> str:
        """What it begins with: attach, detach, repair, police, make, remove."""
        return self.name.split()[0].rstrip(",")


async def nothing(_: Site) -> None:
    """Nothing to do."""


# Attach, and Attach again.

WISH: dict[str, Any] = {
    "labels": {"app": "web"},
    "ports": ("8080:80", "8081:81/udp"),
    "bandwidth": pb.Bandwidth(ingress_rate=8_000_000, egress_rate=16_000_000),
}
CHANGED: dict[str, Any] = {
    "labels": {"app": "changed"},
    "ports": ("8080:8080", "8082:82"),
    "bandwidth": pb.Bandwidth(ingress_rate=4_000_000),
    "mtu": 1400,
    "mac": OTHER_MAC,
    "addresses": ("10.213.0.200", "fd13::200"),
}


async def attach_web(site: Site) -> None:
    await site.attach(site.web, **WISH)


async def change_web(site: Site) -> None:
    assert await site.attach(site.web, **CHANGED) == CHANGED["addresses"]


async def attach_limited(site: Site) -> None:
    await site.attach(site.web, bandwidth=WISH["bandwidth"])


async def limit_one_way(site: Site) -> None:
    await site.attach(site.web, bandwidth=pb.Bandwidth(egress_rate=4_000_000))


async def move_web(site: Site) -> None:
    before = site.addresses["web"]
    assert await site.attach(site.spare, "web", **WISH) == before


# Detach.


async def detach_web(site: Site) -> None:
    await site.detach("web")


SEVERAL = tuple(f"eth{number}" for number in range(1, 5))


async def attach_several(site: Site) -> None:
    for if_name in SEVERAL:
        await site.attach(site.web, f"web-{if_name}", if_name=if_name)


async def detach_several(site: Site) -> None:
    """All at once, so that their links are removed together."""
    with site.daemon.held():
        calls = [
            asyncio.ensure_future(site.client.detach(detach(f"web-{if_name}", if_name=if_name), timeout_s=WITHIN_S))
            for if_name in SEVERAL
        ]
        await asyncio.sleep(CALLS_REACH_A_HELD_DAEMON_S)
    for failure in await asyncio.gather(*calls, return_exceptions=True):
        if failure is not None:
            raise failure
    for if_name in SEVERAL:
        site.addresses.pop(f"web-{if_name}")


# Repair. The daemon hears of all the damage at once.


async def damage_the_nodes_side(site: Site) -> None:
    v4 = site.addresses["web"][0]
    with site.daemon.held():
        site.node.ip(f"link set {NAME} mtu 1400 alias mine")
        site.node.ip(f"-4 route delete {v4}/32 dev {NAME}")
        site.node.ip(f"-4 route add 203.0.113.7/32 dev {NAME} proto 78")
        site.node.ip(f"neighbour replace {v4} lladdr {OTHER_MAC} dev {NAME} nud permanent")
        site.node.ip(f"neighbour delete proxy fe80::1 dev {NAME}")


async def rename_the_nodes_end(site: Site) -> None:
    with site.daemon.held():
        site.node.ip(f"link set {NAME} down")
        site.node.ip(f"link set {NAME} name renamed0")


async def damage_the_workloads_side(site: Site) -> None:
    v4, v6 = site.addresses["web"]
    with site.daemon.held():
        site.web.ip("link set lo down")
        site.web.ip(f"link set eth0 address {OTHER_MAC}")
        site.web.ip("-4 route replace 169.254.77.1/32 dev eth0 proto 78 scope link")
        site.web.ip(f"address delete {v6}/128 dev eth0")
        site.web.ip("-6 route delete default")
        site.web.ip(f"address delete {v4}/32 dev eth0")
        site.web.ip(f"address add {v4}/32 dev eth0")


async def damage_the_limits(site: Site) -> None:
    with site.daemon.held():
        site.node.run(f"tc qdisc change dev {NAME} root handle 6e70: tbf rate 1mbit burst 10kb limit 10kb")
        site.node.run(f"tc filter delete dev {NAME} ingress")
        site.node.run(
            f"tc filter add dev {NAME} ingress protocol all pref 28272 "
            "u32 match u32 0 0 action mirred egress redirect dev foreign0"
        )
        site.node.run(f"tc qdisc delete dev {IFB} root")


async def damage_the_ports(site: Site) -> None:
    with site.daemon.held():
        site.node.run("nft delete element inet netplumb port4_port '{ udp . 8081 }'")
        site.node.run("nft delete element inet netplumb port6_port '{ tcp . 8080 }'")
        site.node.run("nft add element inet netplumb port6_port '{ tcp . 8080 : 79 }'")
        site.node.run("nft add element inet netplumb port4_port '{ tcp . 8083 : 83 }'")


async def delete_the_interface(site: Site) -> None:
    with site.daemon.held():
        site.web.ip("link delete eth0")


async def damage_the_node(site: Site) -> None:
    with site.daemon.held():
        site.node.run("nft insert rule inet netplumb postrouting counter drop")
        site.node.run("nft add chain inet netplumb strange")
        site.node.set_sysctl("net/ipv4/ip_forward", "0")
        site.node.ip("address delete 169.254.77.1/32 dev lo")
        v4, v6 = POOLS
        site.node.ip(f"rule delete to {v4} lookup main")
        site.node.ip(f"-6 rule delete to {v6} lookup main")
        site.node.ip(f"-6 rule add to {v6} lookup main suppress_prefixlength 127 pref 2000 protocol {RT_PROTOCOL}")
        site.node.ip(f"rule add to 192.0.2.128/25 lookup main preference 2000 protocol {RT_PROTOCOL}")


async def delete_the_table(site: Site) -> None:
    with site.daemon.held():
        site.node.run("nft delete table inet netplumb")


# State files, with a namespace that netplumb makes.


async def declare_made(site: Site) -> None:
    declare(site.daemon, f"{MADE}.yaml", document(MADE, MADE, create=True))

    async def attached() -> bool:
        found = await site.found(MADE)
        if found is None or found.phase != "Attached" or found.observed_generation != found.generation:
            return False
        site.addresses[MADE] = tuple(found.addresses)
        return True

    await until(attached, "made and attached", within_s=WITHIN_S)


async def drop_made(site: Site) -> None:
    (site.daemon.state_files / f"{MADE}.yaml").unlink(missing_ok=True)

    async def gone() -> bool:
        return await site.found(MADE) is None

    await until(gone, "withdrawn and removed", within_s=WITHIN_S)
    site.addresses.pop(MADE, None)


# Network policies, by a file.

POLICY_FILE = "policy.yaml"
POLICIES = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: among-themselves}
spec:
  podSelector: {}
  ingress: [{from: [{podSelector: {matchLabels: {app: web}}}], ports: [{port: 80}]}]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: no-egress}
spec: {podSelector: {}, policyTypes: [Egress]}
"""
"""They select the keeper too: the chain of policies that select somebody together stays after the last of those whom
they select, while they are there and the daemon runs."""


async def police(site: Site) -> None:
    declare(site.daemon, POLICY_FILE, POLICIES)
    await _has_policies(site, 2)


async def police_no_more(site: Site) -> None:
    (site.daemon.state_files / POLICY_FILE).unlink(missing_ok=True)
    await _has_policies(site, 0)


async def _has_policies(site: Site, count: int) -> None:
    async def enforced() -> bool:
        return len(await site.client.policies()) == count and not (await site.client.plan()).changes

    await until(enforced, f"{count} policies in force", within_s=WITHIN_S)


async def attach_policed(site: Site) -> None:
    await police(site)
    await attach_web(site)


async def detach_policed(site: Site) -> None:
    await detach_web(site)
    await police_no_more(site)


async def damage_the_policies(site: Site) -> None:
    with site.daemon.held():
        site.node.run(f"nft delete element inet netplumb policy_egress {{ {NAME} }}")
        site.node.run("nft flush map inet netplumb policy_ingress")
        site.node.run("nft flush chain inet netplumb policy_ingress")
        site.node.run("nft add element inet netplumb policy_egress_denied { npstray }")


SCENARIOS = (
    Scenario("attach", nothing, attach_web, detach_web, answered=True),
    Scenario("attach again, changed", attach_web, change_web, detach_web, answered=True),
    Scenario("attach again, limited one way", attach_limited, limit_one_way, detach_web, answered=True),
    Scenario("attach again, elsewhere", attach_web, move_web, detach_web, answered=True),
    Scenario("detach", attach_web, detach_web, nothing, answered=True),
    Scenario("detach several", attach_several, detach_several, nothing, answered=True),
    Scenario("repair the node's side", attach_web, damage_the_nodes_side, detach_web),
    Scenario("repair the node's end, renamed", attach_web, rename_the_nodes_end, detach_web),
    Scenario("repair the workload's side", attach_web, damage_the_workloads_side, detach_web),
    Scenario("repair the limits", attach_web, damage_the_limits, detach_web),
    Scenario("repair the ports", attach_web, damage_the_ports, detach_web),
    Scenario("repair a deleted interface", attach_web, delete_the_interface, detach_web),
    Scenario("repair the node", attach_web, damage_the_node, detach_web),
    Scenario("repair the table", attach_web, delete_the_table, detach_web),
    Scenario("police what is attached", attach_web, police, detach_policed),
    Scenario("police no more", attach_policed, police_no_more, detach_web),
    Scenario("attach, policed", police, attach_web, detach_policed, answered=True),
    Scenario("attach again, policed otherwise", attach_policed, change_web, detach_policed, answered=True),
    Scenario("detach, policed", attach_policed, detach_web, police_no_more, answered=True),
    Scenario("repair the policies", attach_policed, damage_the_policies, detach_policed),
    Scenario("make a namespace", nothing, declare_made, drop_made, answered=True),
    Scenario("remove a namespace", declare_made, drop_made, nothing, answered=True),
)
