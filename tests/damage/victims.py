"""An attached workload that is to be damaged, and what `ip`, `nft` and /proc show of it."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass

from api.v1 import netplumb_pb2 as pb
from models.attachment import AttachmentKey
from models.naming import node_if_name
from tests.damage.table import Damage, Group, Place
from tests.e2e.hosts import COMMAND_TIMEOUT_S, Host

NODE_V4, NODE_V6 = "10.213.0.1", "fd13::1"
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
        }
        if damage.group is Group.TABLE:
            words["rule"] = self._rule()
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
            "neighbours": sorted(
                str(entry) for host in (self.node, self.workload) for entry in host.ip("neighbour show nud permanent")
            ),
            "proxies": sorted(map(str, self.node.proxy_neighbours())),
            "table": sorted(self.node.run("nft -s list table inet netplumb").splitlines()),
            "forwarding": [self.node.sysctl(name) for name in FORWARDING],
            "proxy_ndp": [self.node.sysctl(f"net/ipv6/conf/{self.link}/proxy_ndp")],
        }


def _is_ours(route: dict[str, object]) -> bool:
    return str(route["protocol"]) == "78"


def _link_words(host: Host, name: str) -> str:
    link = host.link(name)
    fields = [link.get(field) for field in ("ifname", "address", "mtu", "group", "ifalias", "inet6_addr_gen_mode")]
    return str([*fields, "UP" in link["flags"]])


def _route_words(route: dict[str, object]) -> str:
    return str(sorted((key, value) for key, value in route.items() if key not in ("flags", "pref")))


def victim(
    node: Host, workload: Host, answer: pb.AttachResponse, *, node_v4: str = NODE_V4, node_v6: str = NODE_V6
) -> Victim:
    attached = answer.attachment
    v4, v6 = sorted(attached.addresses, key=lambda address: ":" in address)
    return Victim(node, workload, AttachmentKey(attached.workload_id, attached.if_name), v4, v6, node_v4, node_v6)


class Poised:
    """A damage that is ready to be done: its shell waits for a word, so that the time of its start is not counted."""

    def __init__(self, host: Host, lines: tuple[str, ...]) -> None:
        script = "read -r _ && " + " && ".join(lines)
        self._shell = subprocess.Popen(host.command("sh", "-c", script), stdin=subprocess.PIPE, text=True)

    def strike(self) -> None:
        """Returns when it is done."""
        self._shell.communicate("now\n", timeout=COMMAND_TIMEOUT_S)
        assert self._shell.returncode == 0, self._shell.args
