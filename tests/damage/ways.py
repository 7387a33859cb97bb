"""What can be damaged of the ways to other nodes, by the mode that makes them: more of the table.

In the commands {dev} is the VXLAN device, {link} the underlay's interface, {v4} and {v6} another node's prefixes, {gw}
the gateway that stands for the first of them, {mac} that node's MAC address, {at} and {at6} its underlay addresses,
{node_v4} and {node_v6} the node's own addresses in its prefixes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.damage.table import OTHER_MAC, Damage, Noticed, Place

BACK = "set back"
ANEW = "made anew, and all that is on it"


def _damage(name: str, command: str, told_by: str, repaired: str, *undo: str) -> Damage:
    return Damage(name, Place.WAYS, tuple(command.split(" && ")), told_by, repaired, undo=undo)


def _to_routes() -> Iterator[Damage]:
    yield from (
        _damage("IPv4 route to a node deleted", "ip -4 route delete {v4}", "RTM_DELROUTE", "added"),
        _damage("IPv6 route to a node deleted", "ip -6 route delete {v6}", "RTM_DELROUTE", "added"),
        _damage(
            "all IPv4 routes of our protocol flushed",
            "ip -4 route flush proto 78",
            "RTM_DELROUTE",
            "added, each of them",
        ),
        replace(
            _damage(
                "route with our mark added",
                "ip -6 route add fd80:0:0:4d::/64 via {at6} proto 78",
                "nothing that is listened to: it is to nobody's prefix",
                "removed",
            ),
            noticed=Noticed.RESYNC,
        ),
        _damage(
            "node's IPv4 address deleted, of which routes had their source",
            "ip address delete {node_v4}/32 dev lo",
            "RTM_DELADDR",
            "added, and with it the routes to other nodes, all of which went with it",
        ),
    )


def _to_vxlan() -> Iterator[Damage]:
    yield from (
        _damage("device deleted", "ip link delete {dev}", "RTM_DELLINK", ANEW),
        _damage("device down", "ip link set {dev} down", "RTM_NEWLINK", "set up; what went with it is added"),
        _damage("device renamed", "ip link set {dev} name stray0", "RTM_NEWLINK", "named back; what went is added"),
        _damage("device's MTU changed", "ip link set {dev} mtu 1300", "RTM_NEWLINK", BACK),
        _damage(
            "device's MTU too small for IPv6",
            "ip link set {dev} mtu 600",
            "RTM_NEWLINK",
            "set back; all of the ways that is IPv6 is added",
        ),
        _damage("device's MAC changed", f"ip link set {{dev}} address {OTHER_MAC}", "RTM_NEWLINK", BACK),
        _damage("device's alias changed", "ip link set {dev} alias something", "RTM_NEWLINK", BACK),
        _damage("device's group changed", "ip link set {dev} group 7", "RTM_NEWLINK", BACK),
        _damage(
            "device put under a bridge",
            "ip link add stray2 type bridge && ip link set {dev} master stray2",
            "RTM_NEWLINK",
            "taken out of the bridge, which stays",
            "ip link delete stray2",
        ),
        _damage(
            "IPv4 forwarding of the device switched off",
            "sysctl -qw net.ipv4.conf.{dev}.forwarding=0",
            "RTM_NEWNETCONF",
            "switched on",
        ),
        _damage(
            "IPv6 forwarding of the device switched off",
            "sysctl -qw net.ipv6.conf.{dev}.forwarding=0",
            "RTM_NEWNETCONF",
            "switched on",
        ),
        replace(
            _damage(
                "IPv6 of the device switched off",
                "sysctl -qw net.ipv6.conf.{dev}.disable_ipv6=1",
                "nothing in the kernel",
                "switched on; what is IPv6 of the ways is added",
            ),
            noticed=Noticed.LOOK,
        ),
        _damage("entry deleted", "bridge fdb delete {mac} dev {dev} dst {at}", "RTM_DELNEIGH", "added"),
        _damage("entry changed", "bridge fdb replace {mac} dev {dev} dst 192.0.2.77", "RTM_NEWNEIGH", BACK),
        _damage("entry that floods added", "bridge fdb append 00:00:00:00:00:00 dev {dev} dst 192.0.2.77", *_STRAY),
        _damage("entry for a MAC of nobody's added", f"bridge fdb add {OTHER_MAC} dev {{dev}} dst 192.0.2.77", *_STRAY),
        _damage("neighbour deleted", "ip neighbour delete {gw} dev {dev}", "RTM_DELNEIGH", "added"),
        _damage(
            "neighbour changed",
            f"ip neighbour replace {{gw}} lladdr {OTHER_MAC} dev {{dev}} nud permanent",
            "RTM_NEWNEIGH",
            BACK,
        ),
        _damage("IPv4 route over the device deleted", "ip -4 route delete {v4}", "RTM_DELROUTE", "added"),
        _damage("IPv6 route over the device deleted", "ip -6 route delete {v6}", "RTM_DELROUTE", "added"),
    )


_STRAY = ("RTM_NEWNEIGH", "removed, since all on the device is ours")

WAYS = {"routes": tuple(_to_routes()), "vxlan": tuple(_to_vxlan())}
