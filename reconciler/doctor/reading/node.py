"""The node's network, and how it differs from what is wanted; with the reconciler's own eyes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from struct import unpack_from

from netplumb.models.cluster import ClusterView
from netplumb.models.kernel import LINK_GROUP
from netplumb.models.network import Node
from netplumb.models.nodenetwork import NetworkFacts, NodeNetwork
from netplumb.models.nodestate import LinkState, SharedAddress, SilentGateway
from netplumb.models.policyset import Combination
from netplumb.models.ports import Protocol
from netplumb.models.settings import Settings
from netplumb.models.sockets import Listener
from netplumb.models.status import PlannedChange
from netplumb.reconciler.converge.linux import LinuxKernel
from netplumb.reconciler.converge.preview import in_words, preview
from netplumb.reconciler.decide.firewalls.ruleset import Ruleset
from netplumb.reconciler.decide.listeners import ranges
from netplumb.reconciler.decide.render import render_elements
from netplumb.reconciler.decide.render.crowding import crowding_of
from netplumb.reconciler.decide.uplinks import mtu_with_ways
from netplumb.reconciler.doctor.facts import PathMtu
from netplumb.reconciler.doctor.reading.desired import Wanted
from netplumb.reconciler.kernel import sysctls
from netplumb.reconciler.kernel.firewalls import foreigntables, iptables
from netplumb.reconciler.kernel.netlink.channel import Bound, Channel
from netplumb.reconciler.kernel.netlink.wire import attributes
from netplumb.reconciler.kernel.nextdoor import who_has
from netplumb.reconciler.kernel.nexthops import silent
from netplumb.reconciler.kernel.nftables.table import Nftables
from netplumb.reconciler.kernel.processes import openers
from netplumb.reconciler.kernel.rtnetlink import vocabulary as rt
from netplumb.reconciler.kernel.sockdiag import RANGES_MAX, SockDiag
from netplumb.reconciler.loop.nodewish import NodeWish
from netplumb.reconciler.loop.policing import Policing

PATHS_MOST = 1000
GATEWAYS_MOST, ADDRESSES_MOST = 32, 8
"""Each gateway that is silent takes its time, and so does each address that nobody else has."""
ASKED_S = 0.2
_COUNTERS, _FILTERED = Path("/proc/thread-self/net/netstat"), "IPReversePathFilter"
_COUNTERS_V6 = Path("/proc/thread-self/net/snmp6")
_SWITCHES = ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/arp_ignore")


def read_forwarding() -> Mapping[str, str]:
    """By the name of the switch, as sysctl has it; those that this kernel lacks are missing."""
    found = {name.replace("/", "."): sysctls.read(name) for name in _SWITCHES}
    return {name: value for name, value in found.items() if value is not None}


def read_unrouted_v6() -> int:
    with suppress(FileNotFoundError):  # a kernel without IPv6
        lines = (line.split() for line in _COUNTERS_V6.read_text().splitlines())
        return next((int(line[1]) for line in lines if line[0] == "Ip6InNoRoutes"), 0)
    return 0


def read_filtered_v4() -> int:
    with suppress(FileNotFoundError):
        names, values, *_ = (line.split() for line in _COUNTERS.read_text().splitlines())
        return int(values[names.index(_FILTERED)]) if _FILTERED in names else 0
    return 0


def read_ruleset() -> tuple[Ruleset, list[str]]:
    """What other tables hold, iptables-legacy's too, and what of it was too much to be read. Raises StepError."""
    nftables, (legacy, unread) = foreigntables.read(below_ip=True), iptables.read(iptables.ALL)
    return Ruleset.of([*nftables.listed, *legacy]), [*nftables.unread, *unread]


def read_path_mtus() -> tuple[PathMtu, ...]:
    """What the kernel remembers of destinations that took no larger packets: `ip route show cache`."""
    found = []
    for family in (rt.AF_INET, rt.AF_INET6):
        body = rt.RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, rt.RTM_F_CLONED)
        with Channel() as channel:
            for _, message in channel.dump_at_most(rt.RTM_GETROUTE, body, Bound(PATHS_MOST))[0]:
                told = attributes(message, rt.RTMSG.size)
                metrics = attributes(told.get(rt.RTA_METRICS, b""))
                if rt.RTA_DST in told and rt.RTAX_MTU in metrics:
                    (mtu,) = unpack_from("=I", metrics[rt.RTAX_MTU])
                    found.append(PathMtu(ip_address(bytes(told[rt.RTA_DST])), mtu))
    return tuple(found)


def read_silent(network: NetworkFacts, links: Iterable[LinkState]) -> tuple[SilentGateway, ...]:
    """Next hops of others' routes that are not found, those of the least specific routes first."""
    by_index = {link.index: link for link in links if link.running and link.group != LINK_GROUP}
    routes = sorted(network.routes, key=lambda it: it.dst.prefixlen)
    hops = dict.fromkeys((hop.index, hop.gateway) for route in routes for hop in route.hops)
    asked = [(ip, by_index[index]) for index, ip in hops if ip is not None and index in by_index][:GATEWAYS_MOST]
    with Channel() as channel:
        return tuple(filter(None, (silent(channel, link, ip) for ip, link in asked)))


def read_shared(network: NetworkFacts, links: Iterable[LinkState]) -> tuple[SharedAddress, ...]:
    """IPv4 addresses of the node that somebody else on the link answers for. Another link of the node itself may."""
    by_index = {link.index: link for link in links}
    own = {link.mac for link in by_index.values()}
    asked = [
        (it, it.ip, link.name)
        for it in network.addresses
        if isinstance(it.ip, IPv4Address) and not it.ours and (link := by_index.get(it.index)) is not None
        if link.asks and link.running and link.group != LINK_GROUP
    ]
    found = []
    for it, ip, name in asked[:ADDRESSES_MOST]:
        with suppress(OSError):  # a link that went meanwhile, or that lets no question out
            if macs := tuple(mac for mac in who_has(name, ip, ASKED_S) if mac not in own):
                found.append(SharedAddress(ip, it.network.prefixlen, it.index, macs))
    return tuple(found)


def read_listeners(wanted: Wanted) -> tuple[Listener, ...]:
    """Sockets of the node's processes at ports that lead to workloads."""
    ports: dict[Protocol, set[int]] = {}
    for mapping in (mapping for it in wanted.attachments for mapping in it.spec.port_mappings):
        ports.setdefault(mapping.protocol, set()).update(range(mapping.host_port, mapping.last_host_port + 1))
    with ExitStack() as stack:
        diag = SockDiag()
        stack.callback(diag.close)
        found = [
            listener
            for protocol, numbers in ports.items()
            for listener in diag.listeners(protocol, ranges(numbers, RANGES_MAX))
            if listener.port in numbers
        ]
    processes = openers([it.inode for it in found])
    return tuple(replace(it, process=processes.get(it.inode)) for it in found)


def node_of(settings: Settings, wanted: Wanted, known: NodeNetwork, view: ClusterView | None = None) -> Node:
    """What the daemon would render by, less what it reads of the kernel when it compares."""
    return Node(
        node_addresses=wanted.node_addresses(settings.pools),
        masquerade=settings.masquerade,
        mtu=settings.mtu or mtu_with_ways(view, known) or wanted.mtu or Node().mtu,
        isolate_node=settings.isolate_node,
        isolate_workloads=settings.isolate_workloads,
        workload_prefixes=wanted.prefixes(settings.pools),
        sources=known.sources,
        policies=wanted.policies,
        combinations=_combinations(wanted),
        cluster=view,
    )


def _combinations(wanted: Wanted) -> frozenset[Combination]:
    policing = Policing()
    policing.take(wanted.policies, (it for it in wanted.attachments if not it.removing))
    return policing.combinations


def read_differences(
    settings: Settings, wanted: Wanted, known: NodeNetwork, view: ClusterView | None = None
) -> tuple[Node, tuple[PlannedChange, ...]]:
    """What a daemon would change now, of the node and of each attachment, and what it would know of the node. Changes
    nothing. Raises StepError."""
    with ExitStack() as stack:
        nftables = Nftables()
        stack.callback(nftables.close)
        nftables.hooks.do_without()  # that table is the daemon's, whose socket alone can tell that it is kept
        kernel = LinuxKernel(nftables)
        stack.callback(kernel.close)
        uppers = tuple(sorted(upper.name for upper in kernel.snapshot(in_part=True).uppers.values()))
        wish = NodeWish(
            replace(
                node_of(settings, wanted, known, view),
                uppers=uppers,
                crowding=crowding_of(kernel.observe_node(()).values()),
            ),
            lambda node: [element for it in wanted.attachments for element in render_elements(it, node)],
            wanted.left_alone,
            may_remove=False,
        )
        node, planned = wish.compared(kernel)
        changes = [*in_words(None, planned.steps)]
        for record in wanted.attachments:
            if not record.removing:
                changes += in_words(record.key, preview(record, node, kernel).steps)
        return node, tuple(changes)
