"""The other nodes of a cluster as one more kind of wish, and what the kernel must hold of the ways to them: written
down a second time."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from netplumb.models.naming import node_mac
from tests.chaos.readings import Reading
from tests.e2e.hosts import Host

MODES = ("", "routes", "vxlan")
"""How nodes reach each other; the first is of a node that is in no cluster."""

POOLS = ("10.128.0.0/14", "fd80::/48")
NODE, UNDERLAY, DEVICE = "node-1", "up0", "np-vxlan"
OWN_V4, OWN_V6 = "198.18.0.1", "2001:db8:18::1"
MTU = {"": 1500, "routes": 1500, "vxlan": 1450}
DEVICE_GROUP = "28273"


@dataclass(frozen=True, slots=True)
class Peer:
    """At an address of each IP version, with a prefix of each."""

    number: int
    moved: bool = False

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    @property
    def at(self) -> tuple[str, str]:
        last = self.number + 100 * self.moved
        return f"198.18.0.{last}", f"2001:db8:18::{last}"

    @property
    def prefixes(self) -> tuple[str, str]:
        return f"10.128.{self.number}.0/24", f"fd80:0:0:{self.number}::/64"

    def record(self) -> dict[str, Any]:
        return {"underlay": list(self.at), "prefixes": list(self.prefixes)}


PEERS = tuple(Peer(number, moved) for number in (2, 3, 4) for moved in (False, True))

DAMAGES = (
    f"ip link delete {DEVICE}",
    f"ip link set {DEVICE} down",
    f"ip link set {DEVICE} mtu 1300",
    f"ip link set {DEVICE} name stray0",
    f"sysctl -qw net.ipv6.conf.{DEVICE}.disable_ipv6=1",
    f"bridge fdb delete {node_mac('node-2').hex(':')} dev {DEVICE} dst 198.18.0.2",
    f"bridge fdb append 00:00:00:00:00:00 dev {DEVICE} dst 198.18.0.9",
    f"ip neighbour delete 10.128.2.0 dev {DEVICE}",
    "ip -4 route delete 10.128.2.0/24",
    "ip -6 route delete fd80:0:0:3::/64",
)
"""Damage to ways, of which there may be none."""


def settle(node: Host) -> None:
    """A link on which the other nodes would be."""
    node.ip(f"link add {UNDERLAY} type bridge")
    node.set_sysctl(f"net/ipv6/conf/{UNDERLAY}/accept_dad", "0")
    node.ip(f"link set {UNDERLAY} up")
    node.ip(f"address add {OWN_V4}/24 dev {UNDERLAY}")
    node.ip(f"address add {OWN_V6}/64 dev {UNDERLAY} nodad")


def settings(mode: str) -> dict[str, Any]:
    """Of the node; nobody is at its endpoint, and a file tells it of the others."""
    pools = [{"cidr": cidr} for cidr in POOLS]
    return {
        "endpoints": ["http://127.0.0.1:1"],
        "node_name": NODE,
        "mode": mode,
        "underlay": UNDERLAY,
        "pools": pools,
    }


def view(mode: str, peers: Collection[Peer]) -> str:
    """What the file tells. The node itself holds nothing of the cluster, and gives addresses from pools of its own."""
    others = {it.name: it.record() for it in peers}
    own = {"underlay": [OWN_V4, OWN_V6], "prefixes": []}
    return json.dumps({"node": NODE, "mode": mode, "pools": list(POOLS), **own, "peers": others})


def is_way(route: dict[str, Any]) -> bool:
    return route["dev"] in (UNDERLAY, DEVICE)


def differences(node: Host, reading: Reading, mode: str, peers: Collection[Peer]) -> Iterator[str]:
    """What differs of the routes, and of the device and all that is on it."""
    dev = DEVICE if mode == "vxlan" else UNDERLAY
    routes = {
        (prefix, prefix.partition("/")[0] if mode == "vxlan" else at, dev)
        for it in peers
        for prefix, at in zip(it.prefixes, it.at, strict=True)
    }
    found = {(it["dst"], it.get("gateway"), it["dev"]) for it in reading.routes_of_ours() if is_way(it)}
    yield from _compared("way", routes if mode else set(), found)
    if mode != "vxlan":
        if DEVICE in reading.links:
            yield f"{DEVICE} should not be"
        return
    if DEVICE not in reading.links:
        yield f"{DEVICE} is missing"
        return
    link = reading.links[DEVICE]
    told = link["linkinfo"].get("info_data", {})
    looks = (link["address"], link["mtu"], link["group"], "UP" in link["flags"], told.get("id"), told.get("local"))
    wanted = (node_mac(NODE).hex(":"), MTU[mode], DEVICE_GROUP, True, 78, OWN_V4)
    if looks != wanted:
        yield f"{DEVICE} is {looks}, wanted: {wanted}"
    entries = json.loads(node.run(f"bridge -json fdb show dev {DEVICE}") or "[]")
    yield from _compared(
        "entry",
        {(node_mac(it.name).hex(":"), it.at[0]) for it in peers},
        {(it["mac"], it.get("dst")) for it in entries},
    )
    yield from _compared(
        "neighbour",
        {(prefix.partition("/")[0], node_mac(it.name).hex(":")) for it in peers for prefix in it.prefixes},
        {(it["dst"], it.get("lladdr")) for it in reading.neighbours if it["dev"] == DEVICE},
    )


def _compared(what: str, wanted: set[Any], found: set[Any]) -> Iterator[str]:
    for thing in sorted(wanted - found, key=str):
        yield f"{what} to another node missing: {thing}"
    for thing in sorted(found - wanted, key=str):
        yield f"{what} to another node that should not be: {thing}"
