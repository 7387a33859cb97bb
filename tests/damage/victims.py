"""An attached workload that is to be damaged, and what `ip`, `nft` and /proc show of it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.attachment import AttachmentKey
from netplumb.models.naming import ifb_name, node_if_name
from tests.damage.table import Damage, Group, Place
from tests.e2e.daemons import Daemon
from tests.e2e.hosts import COMMAND_TIMEOUT_S, Host
from tests.e2e.statefiles import declare
from tests.e2e.waiting import until
from tests.e2e.wishes import attach

NODE_V4, NODE_V6 = "10.213.0.1", "fd13::1"
LIMITS = {"ingress_rate": 8_000_000, "egress_rate": 16_000_000}
SOMAXCONN = "net.core.somaxconn"
LINK_SWITCHES = (
    "ipv6/conf/{}/proxy_ndp",
    "ipv4/conf/{}/forwarding",
    "ipv6/conf/{}/forwarding",
    "ipv4/conf/{}/arp_filter",
)
FORWARDING = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding")


@dataclass(frozen=True, slots=True)
class Victim:
    node: Host
    workload: Host
    key: AttachmentKey
    v4: str
    v6: str
    node_v4: str
    node_v6: str
    port: int = 0

    @property
    def link(self) -> str:
        """The name of its interface on the node."""
        return node_if_name(self.key)

    def words(self, damage: Damage) -> dict[str, str]:
        """What stands in the table's commands for this one."""
        words = {
            "np": self.link,
            "if_name": self.key.if_name,
            "v4": self.v4,
            "v6": self.v6,
            "node_v4": self.node_v4,
            "node_v6": self.node_v6,
            "ifb": ifb_name(self.key),
            "port": str(self.port),
        }
        if "{rule}" in "".join(damage.commands):
            words["rule"] = self._rule()
        if damage.group is Group.POLICIES:
            listed = self.node.run("nft list table inet netplumb")
            for name, pattern in (("peers", r"set (peers_\w+)"), ("policy", r"chain (ingress_by_\w+)")):
                found = re.search(pattern, listed)
                assert found is not None, f"no policy is in force:\n{listed}"
                words[name] = found[1]
        return words

    def _rule(self) -> str:
        listed = self.node.run("nft -a list chain inet netplumb postrouting")
        return next(line for line in listed.splitlines() if "masquerade" in line).rpartition("handle ")[2]

    def host(self, damage: Damage) -> Host:
        return self.node if damage.place is Place.NODE else self.workload

    def inflict(self, damage: Damage) -> None:
        for line in damage.lines(self.words(damage)):
            self.host(damage).run(line)

    def undo(self, damage: Damage) -> None:
        """Takes away what the damage put beside ours."""
        for line in damage.undo_lines(self.words(damage)):
            self.host(damage).run(line)

    def is_as(self, before: dict[str, list[str]]) -> bool:
        try:
            return self.look() == before
        except (AssertionError, KeyError, FileNotFoundError):
            return False  # something that is looked at is not there

    def look(self) -> dict[str, list[str]]:
        """All that may be damaged, in words, without what a remade object may have anew: its index, its place in a
        list. What is foreign or was derived by the kernel is left out."""
        return {
            "links": [_link_words(self.node, self.link), _link_words(self.workload, self.key.if_name)],
            "up": [name for host in (self.node, self.workload) if "UP" in host.link("lo")["flags"] for name in ("lo",)],
            "addresses": sorted((*self.node.addresses("lo"), *self.workload.addresses(self.key.if_name))),
            "routes": sorted(
                _route_words(route) for host in (self.node, self.workload) for route in host.routes() if _is_ours(route)
            ),
            "deprecated": [
                info["local"]
                for entry in self.node.ip("-6 address show dev lo")
                for info in entry["addr_info"]
                if "deprecated" in info
            ],
            "rules": [_rule_words(self.node, family) for family in (4, 6)],
            "neighbours": sorted(
                str(entry) for host in (self.node, self.workload) for entry in host.ip("neighbour show nud permanent")
            ),
            "proxies": sorted(map(str, self.node.proxy_neighbours())),
            "table": table_words(self.node),
            "features": self._features() if self.port else [],
            "forwarding": [self.node.sysctl(name) for name in FORWARDING],
            "switches": [self.node.sysctl(f"net/{name.format(self.link)}") for name in LINK_SWITCHES],
        }

    def _features(self) -> list[str]:
        """What limits it, what lets the node's own loopback reach its ports, and its kernel parameter."""
        ifb = ifb_name(self.key)
        qdiscs = [self.node.run(f"tc qdisc show dev {link}") for link in (self.link, ifb)]
        filters = self.node.run(f"tc filter show dev {self.link} ingress").splitlines()
        shaper = self.node.link(ifb)
        return [
            *(re.sub(r"refcnt \d+ ", "", qdisc) for qdisc in qdiscs),
            *(line.partition("mirred")[2] for line in filters if "mirred" in line),
            str([shaper["mtu"], shaper["group"], shaper.get("master"), shaper.get("ifalias"), "UP" in shaper["flags"]]),
            self.node.sysctl(f"net/ipv4/conf/{self.link}/route_localnet"),
            self.workload.sysctl(SOMAXCONN.replace(".", "/")),
            str([route["dst"] for route in self.node.ip(f"-6 route show dev {self.link} table local proto 78")]),
        ]


def table_words(node: Host) -> list[str]:
    """Sorted, since elements are listed in the order of their hashes, which is another in a set that was made anew."""
    return sorted(re.split(r"[\s,]+", node.run("nft -s list table inet netplumb", ok=False)))


def _is_ours(route: dict[str, object]) -> bool:
    return str(route["protocol"]) == "78"


def _link_words(host: Host, name: str) -> str:
    link = host.link(name)
    fields = [
        link.get(field) for field in ("ifname", "address", "mtu", "group", "master", "ifalias", "inet6_addr_gen_mode")
    ]
    return str([*fields, *(flag in link["flags"] for flag in ("UP", "NOARP"))])


def _rule_words(host: Host, family: int) -> str:
    """Where ours lead, in the order of the kernel, and whether they all come before those of others."""
    rules = [rule for rule in host.ip(f"-{family} rule") if rule["protocol"] != "kernel"]
    ours = [rule for rule in rules if rule["protocol"] == "78"]
    return str([sorted(str(rule.get("dst")) for rule in ours), rules[: len(ours)] == ours])


def _route_words(route: dict[str, object]) -> str:
    return str(sorted((key, value) for key, value in route.items() if key not in ("flags", "pref")))


POLICED = {"app": "policed"}
_POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: among-themselves}
spec:
  podSelector: {matchLabels: {app: policed}}
  ingress: [{from: [{podSelector: {matchLabels: {app: policed}}}]}]
"""


async def police(daemon: Daemon) -> None:
    """Has a network policy select those that have all that can be damaged."""
    declare(daemon, "policy.yaml", _POLICY)
    await until(lambda: "chain policy_ingress" in daemon.node.run("nft list table inet netplumb"), "the policy")


def wish(workload: Host, port: int = 0) -> pb.AttachRequest:
    """With a port, an attachment that has all that can be damaged."""
    if not port:
        return attach(workload)
    return attach(
        workload,
        labels=POLICED,
        ports=(f"{port}:80/tcp",),
        bandwidth=pb.Bandwidth(**LIMITS),
        isolate_workloads=False,
        sysctls={SOMAXCONN: "777"},
    )


def victim(
    node: Host,
    workload: Host,
    answer: pb.AttachResponse,
    *,
    node_v4: str = NODE_V4,
    node_v6: str = NODE_V6,
) -> Victim:
    attached = answer.attachment
    v4, v6 = sorted(attached.addresses, key=lambda address: ":" in address)
    key = AttachmentKey(attached.workload_id, attached.if_name)
    port = next((mapping.host_port for mapping in attached.port_mappings), 0)
    return Victim(node, workload, key, v4, v6, node_v4, node_v6, port)


class Poised:
    """A damage that is ready to be done: its shell waits for a word, so that the time of its start is not counted."""

    def __init__(self, host: Host, lines: tuple[str, ...]) -> None:
        script = "read -r _ && " + " && ".join(lines)
        self._shell = subprocess.Popen(host.command("sh", "-c", script), stdin=subprocess.PIPE, text=True)

    def strike(self) -> None:
        """Returns when it is done."""
        self._shell.communicate("now\n", timeout=COMMAND_TIMEOUT_S)
        assert self._shell.returncode == 0, self._shell.args
