"""Damage to what is attached and to the node: the contract suite's table, with the addresses of the one who is hit."""

from __future__ import annotations

from dataclasses import dataclass

from api.v1 import netplumb_pb2 as pb
from models.kernel import Scope
from tests.contract.damages import DAMAGES, NODE_LINK_RENAMED, V4, V6, Damage
from tests.e2e.hosts import Host

ATTACHMENT_DAMAGES: tuple[Damage, ...] = (*DAMAGES, NODE_LINK_RENAMED)

MARKS = frozenset({"group changed", "alias changed", "link renamed"})
"""What takes one of the three marks from a link on the node. With two of them gone it is nobody's, and in the way."""

UNTOLD = frozenset({"proxy neighbour gone"})
"""What the kernel tells nobody; a resync finds it."""

NODE_DAMAGES = (
    "ip address delete 169.254.77.1/32 dev lo",
    "ip address delete 10.213.0.1/32 dev lo",
    "ip address delete fd13::1/128 dev lo",
    "ip link set lo down",
    "nft delete table inet netplumb",
    "nft flush table inet netplumb",
    "nft add rule inet netplumb postrouting counter drop",
    "nft 'add chain inet netplumb stray; add rule inet netplumb stray drop'",
    "sysctl -qw net.ipv4.ip_forward=0",
    "sysctl -qw net.ipv6.conf.all.forwarding=0",
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
