"""Damage to what is attached and to the node: the contract suite's table, with the addresses of the one who is hit."""

from __future__ import annotations

from dataclasses import dataclass

from netplumb.api.v1 import netplumb_pb2 as pb
from netplumb.models.kernel import Scope
from tests.chaos import peers
from tests.contract.damages import DAMAGES, NODE_LINK_RENAMED, V4, V6, Damage
from tests.e2e.hosts import Host

ATTACHMENT_DAMAGES: tuple[Damage, ...] = (*DAMAGES, NODE_LINK_RENAMED)

MARKS = frozenset({"group changed", "alias changed", "link renamed"})
"""What takes one of the three marks from a link on the node. With two of them gone it is nobody's, and in the way."""

UNTOLD = frozenset({"proxy neighbour gone"})
"""What the kernel tells nobody; a resync finds it."""

LINES = (
    "ip link delete {nq}",
    "ip link set {nq} down",
    "tc qdisc delete dev {np} root",
    "tc qdisc replace dev {np} root tbf rate 1mbit burst 16k limit 100k",
    "tc qdisc delete dev {np} ingress",
    "tc filter delete dev {np} ingress",
    "tc qdisc delete dev {nq} root",
)
"""Damage to what limits an attachment's bandwidth, which it may not have."""

NODE_DAMAGES = (
    "ip address delete 169.254.77.1/32 dev lo",
    "ip address delete 10.213.0.1/32 dev lo",
    "ip address delete fd13::1/128 dev lo",
    "ip link set lo down",
    "nft delete table inet netplumb",
    "nft flush table inet netplumb",
    "nft add rule inet netplumb postrouting counter drop",
    "nft 'add chain inet netplumb stray; add rule inet netplumb stray drop'",
    "nft flush map inet netplumb port4_address",
    "nft delete element inet netplumb port6_address { tcp . 8080 }",
    "nft add element inet netplumb port4_port { tcp . 99 : 99 }",
    "nft flush chain inet netplumb ports",
    "nft flush map inet netplumb policy_ingress",
    "nft flush set inet netplumb policy_egress_denied",
    "nft flush chain inet netplumb policy_egress",
    "sysctl -qw net.ipv4.ip_forward=0",
    "sysctl -qw net.ipv6.conf.all.forwarding=0",
    *peers.DAMAGES,
)


@dataclass(frozen=True, slots=True)
class Victim:
    """An attachment as the list shows it."""

    node: Host
    attachment: pb.Attachment

    @property
    def workload(self) -> Host:
        return Host(self.attachment.netns_path.rpartition("/")[2])

    def link(self, scope: Scope) -> str:
        return self.attachment.node_if_name if scope is Scope.NODE else self.attachment.if_name

    def __str__(self) -> str:
        return f"{self.attachment.workload_id}/{self.attachment.if_name}"

    def endure(self, line: str) -> None:
        """A command on the node, which may find nothing to damage."""
        name = self.attachment.node_if_name
        self.node.run(line.format(np=name, nq=name.replace("np", "nq", 1)), ok=False)

    def suffer(self, damage: Damage) -> bool:
        """Whether there was something to damage; after earlier damage there may not be."""
        host = self.node if damage.scope is Scope.NODE else self.workload
        for command in damage.commands:
            line = self._addressed(command).format(link=self.link(damage.scope))
            try:
                if line.startswith("sysctl "):
                    _, switch, value = line.split()
                    host.set_sysctl(switch, value)
                else:
                    host.ip(line)
            except (AssertionError, OSError):
                return False
        return True

    def _addressed(self, command: str) -> str:
        for theirs in (V4, V6):
            mine = next((a for a in self.attachment.addresses if (":" in a) == (theirs.version == 6)), str(theirs))
            command = command.replace(f"{theirs}/", f"{mine}/").replace(f"{theirs} ", f"{mine} ")
        return command
