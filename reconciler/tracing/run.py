"""One trace from the words of a command line: opens what it needs to see, walks, and lets go of it."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext, suppress
from functools import partial
from ipaddress import IPv4Address

from netplumb.models.attachment import Attachment
from netplumb.models.errors import InvalidRequest
from netplumb.models.lookups import Question
from netplumb.models.networkpolicy import ManifestKey, NetworkPolicy, PolicyKey
from netplumb.models.ports import End as MappedTo
from netplumb.models.ports import Port
from netplumb.models.settings import Settings
from netplumb.reconciler.decide.policies.selection import selection
from netplumb.reconciler.decide.portmaps import target_of
from netplumb.reconciler.doctor.reading.cluster import elsewhere, with_cluster
from netplumb.reconciler.doctor.reading.desired import Wanted, read_wanted
from netplumb.reconciler.kernel.namespaces import LO_INDEX, NamespaceMissingError, Namespaces
from netplumb.reconciler.kernel.netlink.channel import Channel
from netplumb.reconciler.kernel.nextdoor import who_has
from netplumb.reconciler.kernel.nftables.table import Nftables
from netplumb.reconciler.kernel.rtnetlink.nodenetwork import read_network
from netplumb.reconciler.tracing.course import Course
from netplumb.reconciler.tracing.ends import End, end, version_of
from netplumb.reconciler.tracing.flow import Flow
from netplumb.reconciler.tracing.hops import Hop, Outcome, PacketEndsError, Trace
from netplumb.reconciler.tracing.live import sent
from netplumb.reconciler.tracing.nodeway import NodeWay
from netplumb.reconciler.tracing.sizes import Sizes, sizes_passed
from netplumb.reconciler.tracing.views import View
from netplumb.reconciler.tracing.walk import Walk
from netplumb.reconciler.tracing.words import Judges, inside_workload
from netplumb.reconciler.tracing.workloads import Workloads

PROTOCOLS = {"tcp": 6, "udp": 17, "sctp": 132}
_ICMP = {4: 1, 6: 58}
_FROM_PORT = 40_000
_DEFAULT_PORT = 80
_ARP_WITHIN_S = 0.3


def trace(
    settings: Settings, source: str, target: str, *, protocol: str, port: int, ipv6: bool, live: bool = False
) -> Trace:
    """Called in the node's namespace. With `live` a packet is sent, and what became of it counts.

    Raises InvalidRequest for words that mean nobody, StepError where the kernel does not answer."""
    others = elsewhere(settings)
    settings, view = with_cluster(settings)
    wanted = read_wanted(settings.data_dir, settings.pools)
    attachments = wanted.attachments
    network = read_network()
    addresses = network.addresses
    own = [it.ip for it in addresses]
    links = {it.ip: it.index for it in addresses if it.index != LO_INDEX}
    ends = end(source, attachments, own, others), end(target, attachments, own, others)
    version = version_of(*ends, ipv6=ipv6)
    with ExitStack() as stack:
        channel = stack.enter_context(Channel())
        namespaces = Namespaces()
        stack.callback(namespaces.close)
        nftables = Nftables()
        stack.callback(nftables.close)
        node = View("node", channel, nullcontext, policed=_policed(wanted), addresses=addresses, ending=network.ending)
        course = Course()
        pools = [pool.cidr for pool in settings.pools]
        workloads = Workloads(course, node, attachments, partial(_open, stack, namespaces), pools)
        way = NodeWay(course, node, workloads, partial(_target, nftables), network.routes)
        walk = Walk(course, node, workloads, way, links, view.pools if view is not None else ())
        flow = _flow(node, *ends, version, protocol, port)
        expected = walk.follow(ends[0], flow)
        return _live(walk, ends[0], flow, expected) if live else expected


def _policed(wanted: Wanted) -> dict[str, Judges]:
    """By the name of the chain that judges so."""
    selected = selection(wanted.policies)
    combinations = {it for attachment in wanted.attachments for it in selected.of(attachment).combinations}
    sources = wanted.policy_sources

    def told(key: PolicyKey) -> str:
        return f"{key} ({sources[ManifestKey(NetworkPolicy.__name__, *key)]})"

    return {it.chain: Judges(it.direction, tuple(map(told, it.policies))) for it in combinations}


def _live(walk: Walk, source: End, flow: Flow, expected: Trace) -> Trace:
    """What became of a packet that was sent; where it was lost without a word, what was expected tells why."""
    if source.attachment is None and not source.is_node:
        raise InvalidRequest("", "--live sends from a workload or from the node; nobody can send as somebody outside")
    if flow.protocol == PROTOCOLS["sctp"]:
        raise InvalidRequest("", "--live sends tcp, udp and icmp")
    try:
        views = walk.views(source)
    except PacketEndsError:  # nobody can send from where it starts, which was told
        return expected
    lost_before = walk.connections_lost()
    try:
        found = sent(flow, views, views[0].inside, walk.met)
    except OSError as error:
        found = Trace(outcome=Outcome.ENDS, why=f"{views[0].name}: it cannot be sent: {error.strerror or error}")
        if error.errno == errno.EADDRINUSE:
            found.why, found.heal = _without_port(views[0], flow)
    found.hops = [*expected.hops, *found.hops]
    twice: list[str] = []
    if found.outcome is not Outcome.ENDS:
        with suppress(OSError):  # an uplink that lets no question out
            twice += _answered_twice(walk, flow)
    found.hops += [Hop("network", words, seen=True) for words in twice]
    if found.outcome is Outcome.UNKNOWN and twice:
        found.outcome, found.why = Outcome.ENDS, f"{'; '.join(twice)}: what is sent back reaches the other"
        found.heal = "take the address from one of the two"
    elif found.outcome is not Outcome.ARRIVES and expected.outcome is Outcome.ENDS and not found.heal:
        found.outcome, found.heal = Outcome.ENDS, expected.heal
        found.why = f"{found.why}; {expected.why}"
    elif found.outcome is Outcome.UNKNOWN:
        _supposed(found, walk, source, flow, expected)
        if (lost := walk.connections_lost() - lost_before) > 0:
            found.why += f"; meanwhile the node's connection tracking could not begin {lost} connections: it is full, "
            found.why += "or no port is left to translate to"
            found.heal = f"see who has so many: conntrack -L -d {flow.dst}; and how many there may be: netplumb doctor"
    elif found.outcome is Outcome.ARRIVES:
        _with_more(found, walk, source, flow)
        if found.outcome is Outcome.ARRIVES:
            walk.tell_beside(found)
    return found


def _without_port(view: View, flow: Flow) -> tuple[str, str]:
    switch = "net/ipv4/ip_local_port_range"
    first, _, last = (view.switch(switch) or "").partition("\t")
    ports = f"every {flow.told_protocol} port of {flow.src} from {first} to {last}"
    look = f"who has them: ss -nap src {flow.src}"
    heal = f"sysctl -w {switch.replace('/', '.')}='1024 65535' # {look}"
    return f"{view.name}: it cannot be sent: {ports} is taken", inside_workload(heal, view.path)


def _with_more(found: Trace, walk: Walk, source: End, flow: Flow) -> None:
    """Whether packets that are as large as may be pass as well, where it left the node."""
    if walk.way.left_by is None:
        return
    here = False
    sizes = Sizes()
    for view, link, src in walk.senders(source, flow):
        asked = Sizes()
        with suppress(OSError):  # one that may not be sent tells nothing
            asked = sizes_passed(src, flow.dst, link.mtu, view.inside)
        if sizes.lost:
            here = bool(asked.passed) and not asked.lost  # the node itself is told by whoever they are too large for
        elif not sizes.passed:
            sizes = asked
    if not sizes.lost:
        return
    found.outcome, found.heal = Outcome.ENDS, walk.smaller(source, flow, sizes.passed)
    where = "for the workload, since no ICMP error comes to it" if here else "beyond the node without a word"
    found.why += f"; but packets of {sizes.lost} bytes are lost {where}, and those of {sizes.passed} are not: "
    found.why += "connections open, and hang with the first data"
    if here:
        found.heal = "see what drops ICMP errors to workloads: netplumb doctor"


def _supposed(found: Trace, walk: Walk, source: End, flow: Flow, expected: Trace) -> None:
    """Why a packet that was lost without a word may be lost."""
    if walk.doubts:
        found.why = f"{found.why}; what may be behind that: {'; '.join(walk.doubts)}"
        found.heal = "if it is that: " + ", or: ".join(filter(None, walk.doubts.values()))
    elif expected.why:
        found.why, found.heal = f"{found.why}; {expected.why}", expected.heal
    elif walk.way.left_by is not None:
        uplink, hop = walk.way.left_by
        if (carrier := walk.way.carried) is not None:
            found.why = f"{found.why}; it leaves for the node at {carrier.dst}, in UDP to port {carrier.port}"
            comes = f"tcpdump -ni {uplink} host {carrier.dst} and udp port {carrier.port}"
            found.heal = f"netplumb doctor on that node; and see what comes and goes on the wire: {comes}"
        elif any(flow.dst in pool for pool in walk.cluster):
            found.why = f"{found.why}; it leaves for the node at {hop}"
            wire = f"tcpdump -ni {uplink} host {flow.dst}"
            found.heal = f"netplumb doctor on that node; and see what comes and goes on the wire: {wire}"
        elif source.attachment is not None and walk.way.left_as in source.addresses:
            found.why = f"{found.why}; it leaves with the workload's own address, to which there may be no way back"
            found.heal = f"have {hop} route {walk.way.left_as} to this node; or set masquerade: true"
        else:
            found.why += f"; it leaves as {walk.way.left_as}, to which answers have to find"
            found.heal = f"see what comes and goes on the wire: tcpdump -ni {uplink} host {flow.dst}"
    for view, link in walk.queues(source):
        found.why += f"; it goes through a queue of others, {link.qdisc} on {link.name} of {view.name}"
        look = inside_workload(f"tc -s qdisc show dev {link.name}", view.path)
        found.heal = f"see how full that is, and what it drops: {look}"
    if programs := list(walk.programs()):
        found.why += "".join(f"; it may be dropped in {view.name} by {program}" for view, program in programs)
        heal = " && ".join(inside_workload(program.heal, view.path) for view, program in programs)
        found.heal = f"{heal} # unless that is meant"


def _answered_twice(walk: Walk, flow: Flow) -> Iterator[str]:
    """Addresses on the uplink's network that two hosts have, one of them the node or not."""
    if walk.way.left_by is None or flow.dst.version != 4:
        return
    link, hop = walk.way.left_by
    own = walk.own_macs
    asked = dict.fromkeys(it for it in (flow.src, walk.way.left_as) if isinstance(it, IPv4Address))
    for address in asked:
        if macs := [mac for mac in who_has(link, address, _ARP_WITHIN_S) if mac not in own]:
            yield f"{address} is had by another host on {link} too ({', '.join(macs)})"
    if isinstance(hop, IPv4Address) and len(macs := who_has(link, hop, _ARP_WITHIN_S)) > 1:
        yield f"{hop} is had by {len(macs)} hosts on {link} ({', '.join(macs)})"


def _open(stack: ExitStack, namespaces: Namespaces, attachment: Attachment) -> View:
    namespace = stack.enter_context(namespaces.open(attachment.spec.netns.where))
    if attachment.netns_cookie not in (0, namespace.cookie) and not attachment.is_declared:
        raise NamespaceMissingError(f"another one is at {attachment.spec.netns.where}")
    inside = partial(namespaces.inside, namespace.fd)
    return View(str(attachment.key), namespace.channel, inside, attachment.spec.netns.where, attachment.spec.if_name)


def _target(nftables: Nftables, port: Port, at: bytes) -> MappedTo | None:
    return target_of(port, at, nftables.elements().get)


def _flow(node: View, source: End, target: End, version: int, protocol: str, port: int) -> Flow:
    """The node is asked, and answers, by the address that it has towards the other."""
    addresses = []
    for here, there in ((source, target), (target, source)):
        address = here.address(version) if not (here.is_node and here.name == "node") else None
        if address is None:
            other = there.address(version)
            asked = Question(other) if other is not None else None
            address = node.route(asked).source if asked is not None else None
            address = address or here.address(version)
        addresses.append(address)
    src, dst = addresses
    if src is None or dst is None:
        raise InvalidRequest("", f"the node has no address towards {source.name if src is not None else target.name}")
    number = PROTOCOLS.get(protocol) or _ICMP[version]
    ports = (_FROM_PORT, port or _DEFAULT_PORT) if protocol in PROTOCOLS else (0, 0)
    return Flow(src, dst, number, *ports)
