"""What can be damaged, who notices it and how it is repaired: the one source of docs/damage.md, of the tests that
repair each kind by its event and by the resync, and of the benchmark that measures them.

A kind of damage is what a person would type. A new one is a new entry below; nothing else needs to know of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum

from netplumb.models.kernel import FIRST_HOP_MAC
from netplumb.models.words import mac_words


class Place(Enum):
    """Where the commands are typed."""

    NODE = "On the node"
    WORKLOAD = "In the workload's namespace"
    WAYS = "To the ways to other nodes"
    NAMESPACE = "To the namespace itself"


class Noticed(Enum):
    EVENT = "event"
    LOOK = "look"  # a cheap read of this one thing, since the kernel tells nobody
    RESYNC = "resync"


class Group(Enum):
    """Kinds that share an object. One that is broken again and again is fought over, and its repair then waits; so who
    measures leaves time between the turns of a group."""

    ATTACHMENT = "attachment"  # each time another one
    LOOPBACK = "loopback"
    RULES = "rules"
    FORWARDING = "forwarding"
    TABLE = "table"
    POLICIES = "policies"  # in the same table


@dataclass(frozen=True, slots=True)
class Damage:
    """`commands` are what is typed. In them {np} is the node's interface, {ifb} the one that shapes what the workload
    sends, {if_name} the workload's, {v4} and {v6} the workload's addresses, {node_v4} and {node_v6} the node's, {port}
    a port of the node that leads to the workload, {rule} the handle of the masquerading rule, {peers} the set of those
    whom a network policy names, {policy} the chain of one. `undo` takes away what the damage put beside ours.
    `of_features` says that only an attachment with ports, limits and policies has what is damaged."""

    name: str
    place: Place
    commands: tuple[str, ...]
    told_by: str
    repaired: str
    noticed: Noticed = Noticed.EVENT
    group: Group = Group.ATTACHMENT
    undo: tuple[str, ...] = ()
    of_features: bool = False

    @property
    def id(self) -> str:
        return f"{self.place.name.lower()}: {self.name}"

    def lines(self, words: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(command.format(**words) for command in self.commands)

    def undo_lines(self, words: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(command.format(**words) for command in self.undo)


OTHER_MAC, OUR_MAC = "02:00:00:00:00:77", mac_words(FIRST_HOP_MAC)
RULE_PREFERENCE = 1078
FIRST_HOP_V4, FIRST_HOP_V6 = "169.254.77.1", "fe80::1"


def _on_the_node() -> Iterator[Damage]:
    yield from (
        _node(
            "interface deleted", "ip link delete {np}", "RTM_DELLINK", "the pair is made anew, with the same addresses"
        ),
        Damage(
            "interface moved to another namespace",
            Place.NODE,
            ("ip netns add {np}-away", "ip link set {np} netns {np}-away"),
            "RTM_DELLINK",
            "what is left in the workload goes, and the pair is made anew, with the same addresses",
            undo=("ip netns delete {np}-away",),
        ),
        _node(
            "interface down",
            "ip link set {np} down",
            "RTM_NEWLINK",
            "set up; routes and neighbours that went are added",
        ),
        _node("interface renamed", "ip link set {np} name stray0", "RTM_NEWLINK", "named back"),
        _node("MAC changed", f"ip link set {{np}} address {OTHER_MAC}", "RTM_NEWLINK", "set back"),
        _node("MTU changed", "ip link set {np} mtu 1300", "RTM_NEWLINK", "set back"),
        _node(
            "MTU too small for IPv6", "ip link set {np} mtu 600", "RTM_NEWLINK", "set back; all that is IPv6 is added"
        ),
        _node("alias changed", "ip link set {np} alias something", "RTM_NEWLINK", "set back"),
        _node("alias removed", "ip link set {np} alias ''", "RTM_NEWLINK", "set back"),
        _node("link group changed", "ip link set {np} group 7", "RTM_NEWLINK", "set back"),
        _node("addr_gen_mode changed", "ip link set {np} addrgenmode eui64", "RTM_NEWLINK", "set back"),
        _node("proxy_ndp switched off", "sysctl -qw net.ipv6.conf.{np}.proxy_ndp=0", "RTM_NEWNETCONF", "switched on"),
        _node(
            "IPv4 forwarding of the interface switched off",
            "sysctl -qw net.ipv4.conf.{np}.forwarding=0",
            "RTM_NEWNETCONF",
            "switched on",
        ),
        _node(
            "IPv6 forwarding of the interface switched off",
            "sysctl -qw net.ipv6.conf.{np}.forwarding=0",
            "RTM_NEWNETCONF",
            "switched on",
        ),
        _node(
            "IPv6 of the interface switched off",
            "sysctl -qw net.ipv6.conf.{np}.disable_ipv6=1",
            "nothing in the kernel",
            "switched on; all that is IPv6 is added",
            noticed=Noticed.LOOK,
        ),
        _node("ARP switched off", "ip link set {np} arp off", "RTM_NEWLINK", "switched on; all neighbours are added"),
        _node(
            "ARP switched off and on",
            "sh -c '(echo link set {np} arp off; echo link set {np} arp on) | ip -batch -'",
            "RTM_NEWLINK",
            "all neighbours are added",
        ),
        _node(
            "MAC changed and set back",
            f"sh -c '(echo link set {{np}} address {OTHER_MAC}; echo link set {{np}} address {OUR_MAC}) | ip -batch -'",
            "RTM_NEWLINK",
            "all neighbours are added",
        ),
        _node(
            "ARP answers to any sender",
            "sysctl -qw net.ipv4.conf.{np}.arp_filter=0",
            "nothing in the kernel",
            "answers to the workload's own addresses alone",
            noticed=Noticed.RESYNC,
        ),
        _node("IPv4 host route deleted", "ip -4 route delete {v4}", "RTM_DELROUTE", "added"),
        _node("IPv6 host route deleted", "ip -6 route delete {v6}", "RTM_DELROUTE", "added"),
        _node(
            "IPv4 host route replaced by another protocol's",
            "ip -4 route replace {v4} dev lo proto static",
            "RTM_NEWROUTE",
            "ours is put before the foreign one, which stays",
            undo="ip -4 route delete {v4} dev lo proto static",
        ),
        _node(
            "IPv6 host route replaced by another protocol's",
            "ip -6 route replace {v6} dev lo proto static metric 16",
            "RTM_NEWROUTE",
            "ours is added beside the foreign one, which stays",
            undo="ip -6 route delete {v6} dev lo proto static",
        ),
        _node("IPv4 neighbour deleted", "ip neighbour delete {v4} dev {np}", "RTM_DELNEIGH", "added"),
        _node("IPv6 neighbour deleted", "ip neighbour delete {v6} dev {np}", "RTM_DELNEIGH", "added"),
        _node(
            "neighbour changed",
            f"ip neighbour replace {{v4}} lladdr {OTHER_MAC} dev {{np}} nud permanent",
            "RTM_NEWNEIGH",
            "set back",
        ),
        _node(
            "neighbour no longer permanent",
            f"ip neighbour replace {{v6}} lladdr {OTHER_MAC} dev {{np}} nud stale",
            "RTM_NEWNEIGH",
            "set back",
        ),
        _node(
            "neighbour with our mark added",
            f"ip neighbour add 192.0.2.77 lladdr {OTHER_MAC} dev {{np}} nud permanent protocol 78",
            "nothing that is listened to: without a route there it decides nothing",
            "removed",
            noticed=Noticed.RESYNC,
        ),
        _node(
            "proxy neighbour deleted",
            f"ip neighbour delete proxy {FIRST_HOP_V6} dev {{np}}",
            "nothing in the kernel",
            "added",
            noticed=Noticed.LOOK,
        ),
    )
    yield _bridged("interface put under a bridge", "{np}")
    for name, command, told_by, repaired in (
        ("first hop's address deleted", f"ip address delete {FIRST_HOP_V4}/32 dev lo", "RTM_DELADDR", "added"),
        (
            "node's IPv4 address deleted",
            "ip address delete {node_v4}/32 dev lo",
            "RTM_DELADDR",
            "added, and with it the route to each workload, all of which went with it",
        ),
        (
            "node's IPv6 address deleted",
            "ip address delete {node_v6}/128 dev lo",
            "RTM_DELADDR",
            "added, and the route to each workload prefers it again",
        ),
        (
            "node's IPv6 address made a source for anything",
            "ip address change {node_v6}/128 dev lo preferred_lft forever",
            "RTM_NEWADDR",
            "deprecated again",
        ),
        ("loopback down", "ip link set lo down", "RTM_NEWLINK", "set up, and its addresses added"),
    ):
        yield Damage(name, Place.NODE, (command,), told_by, repaired, group=Group.LOOPBACK)
    for family, address in (("IPv4", "{node_v4}"), ("IPv6", "{node_v6}")):
        flag = f"-{family[-1]}"
        yield Damage(
            f"{family} rule of the pool deleted",
            Place.NODE,
            (f"ip {flag} rule delete preference {RULE_PREFERENCE}",),
            "RTM_DELRULE",
            "added",
            group=Group.RULES,
        )
        yield Damage(
            f"{family} rule of another put before that of the pool",
            Place.NODE,
            (f"ip {flag} rule add from {address} lookup 4242",),
            "RTM_NEWRULE",
            "ours is put before the foreign one, which stays",
            group=Group.RULES,
            undo=(f"ip {flag} rule delete from {address} lookup 4242",),
        )
    for family, switch in (("IPv4", "net.ipv4.ip_forward"), ("IPv6", "net.ipv6.conf.all.forwarding")):
        yield Damage(
            f"{family} forwarding switched off",
            Place.NODE,
            (f"sysctl -qw {switch}=0",),
            "RTM_NEWNETCONF",
            "switched on",
            group=Group.FORWARDING,
        )
    for name, command in (
        ("whole ruleset flushed", "nft flush ruleset"),
        ("table deleted", "nft delete table inet netplumb"),
        ("chain flushed", "nft flush chain inet netplumb postrouting"),
        ("chain deleted", "nft delete chain inet netplumb postrouting"),
        ("rule deleted", "nft delete rule inet netplumb postrouting handle {rule}"),
        ("rule added to our table", "nft add rule inet netplumb postrouting counter drop"),
        ("chain added to our table", "nft add chain inet netplumb stray"),
    ):
        yield Damage(
            name,
            Place.NODE,
            (command,),
            "NFNLGRP_NFTABLES",
            "what differs in the table is made anew in one transaction",
            group=Group.TABLE,
        )


def _node(
    name: str, command: str, told_by: str, repaired: str, *, noticed: Noticed = Noticed.EVENT, undo: str = ""
) -> Damage:
    return Damage(name, Place.NODE, (command,), told_by, repaired, noticed, undo=(undo,) if undo else ())


def _bridged(name: str, link: str, *, of_features: bool = False) -> Damage:
    return Damage(
        name,
        Place.NODE,
        ("ip link add stray2 type bridge", f"ip link set {link} master stray2"),
        "RTM_NEWLINK",
        "taken out of the bridge, which stays",
        undo=("ip link delete stray2",),
        of_features=of_features,
    )


def _to_features() -> Iterator[Damage]:
    """Ports and limits, all of which are on the node."""
    for name, command, told_by, repaired, noticed in (
        ("token bucket deleted", "tc qdisc delete dev {np} root", "RTM_DELQDISC", "added", Noticed.EVENT),
        (
            "token bucket changed",
            "tc qdisc replace dev {np} root tbf rate 1mbit burst 16k limit 100k",
            "RTM_NEWQDISC",
            "replaced",
            Noticed.EVENT,
        ),
        (
            "another qdisc in its place",
            "tc qdisc replace dev {np} root pfifo",
            "RTM_NEWQDISC",
            "replaced",
            Noticed.EVENT,
        ),
        ("ingress qdisc deleted", "tc qdisc delete dev {np} ingress", "RTM_DELQDISC", "added", Noticed.EVENT),
        ("redirect deleted", "tc filter delete dev {np} ingress", "RTM_DELTFILTER", "added", Noticed.EVENT),
        ("ifb deleted", "ip link delete {ifb}", "RTM_DELLINK", "made anew, and the redirect to it", Noticed.EVENT),
        ("ifb down", "ip link set {ifb} down", "RTM_NEWLINK", "set up", Noticed.EVENT),
        ("ifb renamed", "ip link set {ifb} name stray1", "RTM_NEWLINK", "named back", Noticed.EVENT),
        (
            "token bucket of the ifb deleted",
            "tc qdisc delete dev {ifb} root",
            "RTM_DELQDISC",
            "added",
            Noticed.EVENT,
        ),
        (
            "local route to ::1 deleted",
            "ip -6 route delete local ::1 dev {np} table local",
            "RTM_DELROUTE",
            "added",
            Noticed.EVENT,
        ),
        (
            "route_localnet switched off",
            "sysctl -qw net.ipv4.conf.{np}.route_localnet=0",
            "nothing in the kernel",
            "switched on",
            Noticed.RESYNC,
        ),
    ):
        yield Damage(name, Place.NODE, (command,), told_by, repaired, noticed, of_features=True)
    yield _bridged("ifb put under a bridge", "{ifb}", of_features=True)
    for name, command in (
        ("element deleted from our table", "nft delete element inet netplumb port4_port {{ tcp . {port} }}"),
        ("element added to our table", "nft add element inet netplumb node_open {{ npstray }}"),
        ("set flushed", "nft flush set inet netplumb workloads_open"),
    ):
        yield Damage(
            name,
            Place.NODE,
            (command,),
            "NFNLGRP_NFTABLES",
            "what differs in the table is made anew in one transaction",
            group=Group.TABLE,
            of_features=True,
        )


def _to_policies() -> Iterator[Damage]:
    for name, command in (
        ("element removed from a policy's set of peers", "nft delete element inet netplumb {peers} {{ {np} }}"),
        ("policy's set of peers flushed", "nft flush set inet netplumb {peers}"),
        ("stranger added to a policy's set of peers", "nft add element inet netplumb {peers} {{ npstray }}"),
        ("verdict map of policies flushed", "nft flush map inet netplumb policy_ingress"),
        ("count of denied packets deleted", "nft delete element inet netplumb policy_ingress_denied {{ {np} }}"),
        ("chain of a policy flushed", "nft flush chain inet netplumb {policy}"),
        ("hook of policies flushed", "nft flush chain inet netplumb policy_ingress"),
    ):
        yield Damage(
            name,
            Place.NODE,
            (command,),
            "NFNLGRP_NFTABLES",
            "what differs in the table is made anew in one transaction",
            group=Group.POLICIES,
            of_features=True,
        )


def _in_the_workload() -> Iterator[Damage]:
    for name, command, told_by, repaired in (
        (
            "interface deleted",
            "ip link delete {if_name}",
            "RTM_DELLINK",
            "the pair is made anew, with the same addresses",
        ),
        ("interface renamed", "ip link set {if_name} name other0", "RTM_NEWLINK", "named back"),
        ("interface down", "ip link set {if_name} down", "RTM_NEWLINK", "set up; what went with it is added"),
        (
            "MAC changed",
            f"ip link set {{if_name}} address {OTHER_MAC}",
            "RTM_NEWLINK",
            "set back; neighbours are added",
        ),
        ("MTU changed", "ip link set {if_name} mtu 1300", "RTM_NEWLINK", "set back"),
        ("ARP switched off", "ip link set {if_name} arp off", "RTM_NEWLINK", "switched on; all neighbours are added"),
        ("IPv4 address removed", "ip address delete {v4}/32 dev {if_name}", "RTM_DELADDR", "added, and its routes"),
        ("IPv6 address removed", "ip address delete {v6}/128 dev {if_name}", "RTM_DELADDR", "added, and its routes"),
        ("addresses flushed", "ip address flush dev {if_name} scope global", "RTM_DELADDR", "added, and their routes"),
        ("IPv4 default route removed", "ip -4 route delete default", "RTM_DELROUTE", "added"),
        ("IPv6 default route removed", "ip -6 route delete default", "RTM_DELROUTE", "added"),
        (
            "IPv4 default route replaced by another protocol's",
            "ip -4 route replace default dev lo proto static",
            "RTM_NEWROUTE",
            "ours is put before the foreign one, which stays",
        ),
        ("first hop's route removed", f"ip -4 route delete {FIRST_HOP_V4}", "RTM_DELROUTE", "added"),
        ("routes flushed", "ip -4 route flush table main", "RTM_DELROUTE", "added"),
        (
            "IPv4 first hop's neighbour deleted",
            f"ip neighbour delete {FIRST_HOP_V4} dev {{if_name}}",
            "RTM_DELNEIGH",
            "added",
        ),
        (
            "IPv6 first hop's neighbour deleted",
            f"ip neighbour delete {FIRST_HOP_V6} dev {{if_name}}",
            "RTM_DELNEIGH",
            "added",
        ),
        (
            "first hop's neighbour changed",
            f"ip neighbour replace {FIRST_HOP_V6} lladdr {OTHER_MAC} dev {{if_name}} nud permanent",
            "RTM_NEWNEIGH",
            "set back",
        ),
        ("loopback down", "ip link set lo down", "RTM_NEWLINK", "set up"),
    ):
        undo = ("ip -4 route delete default dev lo proto static",) if "replaced" in name else ()
        yield Damage(name, Place.WORKLOAD, (command,), told_by, repaired, undo=undo)
    yield Damage(
        "kernel parameter changed",
        Place.WORKLOAD,
        ("sysctl -qw net.core.somaxconn=99",),
        "nothing in the kernel",
        "set back",
        Noticed.RESYNC,
        of_features=True,
    )


DAMAGES = (*_on_the_node(), *_to_features(), *_to_policies(), *_in_the_workload())
"""Every kind that is repaired."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of an attachment when something happens to its namespace. `proven_by` is the test of that."""

    name: str
    told_by: str
    becomes: str
    proven_by: str


_WATCH = f"a watch on /run/netns; elsewhere the next {Noticed.RESYNC.value}"

FATES = (
    Fate(
        "namespace deleted, attached by an RPC",
        "event: RTM_DELNSID, RTM_DELLINK",
        "`Lost`, reason `NetnsGone`. What it had on the node is removed. Its addresses are kept for "
        "`netns_gone_grace_s`, for a sandbox that is made again under the same key, and given back then or at Detach.",
        "test_a_deleted_namespace_leaves_nothing_but_its_addresses",
    ),
    Fate(
        "namespace deleted, declared by a state file",
        "event: RTM_DELNSID, RTM_DELLINK",
        "`Pending`, reason `PathMissing`. What it had on the node is removed, its addresses are kept for as long as "
        "the file declares it.",
        "test_a_declared_namespace_that_is_deleted_is_waited_for",
    ),
    Fate(
        "deleted and made anew at the same path, attached by an RPC",
        "event: RTM_DELNSID, RTM_DELLINK",
        "`Lost`, and the stranger at the path is not touched. The next Attach has the same addresses.",
        "test_a_namespace_made_anew_is_a_stranger_to_an_rpc",
    ),
    Fate(
        "deleted and made anew at the same path, declared by a state file",
        "event: RTM_DELLINK, and a watch on /run/netns",
        "`Attached` again, with the same addresses.",
        "test_a_namespace_made_anew_is_the_same_to_a_file",
    ),
    Fate(
        "path gone while the namespace lives",
        _WATCH,
        "`Attached`, with the condition `NetnsUnreachable`, reason `PathMissing`: only the node's side is kept in "
        "repair.",
        "test_a_path_that_is_gone_is_told",
    ),
    Fate(
        "path replaced by something that is no network namespace",
        _WATCH,
        "`Attached`, with the condition `NetnsUnreachable`, reason `PathIsNoNamespace`: only the node's side is kept "
        "in repair.",
        "test_a_path_to_something_else_is_told",
    ),
    Fate(
        "path replaced by another network namespace, attached by an RPC",
        _WATCH,
        "`Attached`, with the condition `NetnsUnreachable`, reason `PathIsAnotherNamespace`: only the node's side is "
        "kept in repair, and the stranger at the path is not touched.",
        "test_a_path_to_another_namespace_is_told",
    ),
)
"""What cannot be repaired, or not as it was."""
